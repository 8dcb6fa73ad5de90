"""SEMANTICS.md and the conformance tests hold each other: every clause a test, every test a clause."""

from __future__ import annotations

import ast
import re
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from storagekit_conformance.clauses import Clause, clauses, parse

PACKAGE = Path(str(resources.files("storagekit_conformance")))
TESTS = sorted(PACKAGE.glob("test_*.py"))


def marked(path: Path) -> dict[str, list[str]]:
    """The clause ids of each test in a file, read without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    return {function.name: [id for d in function.decorator_list for id in _ids(d)] for function in functions}


def of_family(path: Path, family: str) -> bool:
    """True for ``test_<family>.py``, and for ``test_<family>_<part>.py`` where a family fills more than one file."""
    return path.stem == f"test_{family}" or path.stem.startswith(f"test_{family}_")


def _ids(decorator: ast.expr) -> list[str]:
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "clause":
        return [argument.value for argument in decorator.args if isinstance(argument, ast.Constant)]  # type: ignore[misc]
    return []


def test_ids_are_unique() -> None:
    counts = Counter(clause.id for clause in clauses())
    assert [id for id, count in counts.items() if count > 1] == []


def test_clauses_are_of_substance() -> None:
    assert len(clauses()) >= 70
    assert [clause.id for clause in clauses() if len(clause.text.split()) < 5] == []
    assert [clause.id for clause in clauses() if not clause.text.endswith((".", ".)"))] == []


def test_every_clause_has_a_test_in_the_file_of_its_family() -> None:
    held = {(path, id) for path in TESTS for ids in marked(path).values() for id in ids}
    there = {
        clause.id for clause in clauses() for path, id in held if id == clause.id and of_family(path, clause.family)
    }
    assert [clause.id for clause in clauses() if clause.id not in there] == []
    assert [(path.name, id) for path, id in held if not of_family(path, id.partition(".")[0])] == [], (
        "in another's file"
    )


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_file_is_too_long_to_find_a_clause_in(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, "split it by idea: test_<family>_<part>.py"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_test_has_one_clause(path: Path) -> None:
    known = {clause.id for clause in clauses()}
    tests = marked(path)
    assert tests, "a test file without tests"
    assert {name: ids for name, ids in tests.items() if len(ids) != 1} == {}
    assert {id for ids in tests.values() for id in ids} - known == set()


def test_the_table_names_clauses_that_exist() -> None:
    text = resources.files("storagekit_conformance").joinpath("SEMANTICS.md").read_text(encoding="utf-8")
    table = text.partition("## From questions to clauses")[2]
    named = set(re.findall(r"`([a-z]+\.[a-z0-9-]+)`", table))
    assert len(named) > 50
    assert named - {clause.id for clause in clauses()} == set()
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if not re.search(r"\| `[a-z]+\.", row)] == []


def test_a_clause_may_go_over_lines() -> None:
    text = "## reading\n\n* `reading.one`: first\n  and second.\n* `reading.two`: third.\n\n  not of a clause\n"
    assert parse(text) == [Clause("reading.one", "first and second."), Clause("reading.two", "third.")]
    assert parse(text)[0].family == "reading"
