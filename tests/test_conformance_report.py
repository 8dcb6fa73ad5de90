"""The matrix as data, and in letters: cells of outcomes, JSON there and back, merging, texts without what varies."""

from __future__ import annotations

import json

import pytest

from storagekit_conformance.clauses import Clause
from storagekit_conformance.report import NO_TARGET, Cell, Matrix, Outcome, Result, TargetNote, build, from_json, merge
from storagekit_conformance.report import plain as plain_text
from storagekit_conformance.report_text import count_lines, matrix_lines, to_markdown

CLAUSES = [
    Clause("stat.file", "A file has its size."),
    Clause("names.odd", "`a|b` is a *name*."),
    Clause("local.open", "About storagekit itself."),
]


def matrix(*outcomes: Outcome, targets: tuple[TargetNote, ...] = (), version: str = "1.0") -> Matrix:
    return build(version, CLAUSES, targets, outcomes)


def one(
    result: Result, reason: str = "", test: str = "test_it", *, on: str = "toy", clause: str = "stat.file"
) -> Outcome:
    return Outcome(clause, on, test, result, reason)


SOME = matrix(
    one(Result.PASSED),
    one(Result.SKIPPED, "no links", "test_link"),
    one(Result.GAP, "it <cannot> | will not", clause="names.odd"),
    one(Result.PASSED, on="other"),
    one(Result.FAILED, "test_it: AssertionError: no", clause="names.odd", on="other"),
    one(Result.PASSED, on=NO_TARGET, clause="local.open"),
    targets=(
        TargetNote("toy", {"pinned_reads": True, "atomic_rename": False}, {"names.odd": "it <cannot> | will not"}),
        TargetNote("other", {"pinned_reads": False, "atomic_rename": False}),
    ),
)


@pytest.mark.parametrize("first", list(Result))
@pytest.mark.parametrize("second", list(Result))
def test_a_cell_is_the_gravest_of_its_tests(first: Result, second: Result) -> None:
    cell = matrix(one(first, "a", "test_a"), one(second, "b", "test_b")).cell("stat.file", "toy")
    assert cell is not None
    assert cell.tests == 2
    grave = ["failed", "error", "known gap", "unreliable", "passed", "skipped"]
    assert cell.result == min(first, second, key=grave.index)


def test_reasons_are_sorted_and_each_is_told_once_with_its_result_where_it_is_not_the_cells() -> None:
    cell = matrix(
        one(Result.GAP, "z", "test_a"),
        one(Result.GAP, "a", "test_b"),
        one(Result.GAP, "a", "test_c"),
        one(Result.SKIPPED, "no links", "test_d"),
        one(Result.PASSED, "", "test_e"),
    ).cell("stat.file", "toy")
    assert cell == Cell(Result.GAP, 5, ("a", "skipped: no links", "z"))


def test_a_test_that_fails_and_then_cannot_be_cleaned_up_is_one_test() -> None:
    cell = matrix(one(Result.FAILED, "x"), one(Result.ERROR, "y")).cell("stat.file", "toy")
    assert cell == Cell(Result.FAILED, 1, ("error: y", "x"))


def test_a_passed_cell_keeps_why_some_did_not_apply() -> None:
    assert SOME.cell("stat.file", "toy") == Cell(Result.PASSED, 2, ("skipped: no links",))


def test_counts_and_what_did_not_run() -> None:
    assert SOME.counts("toy") == {Result.PASSED: 1, Result.GAP: 1}
    assert SOME.not_run("toy") == []
    assert SOME.not_run(NO_TARGET) == []
    assert matrix(one(Result.PASSED)).not_run("toy") == ["names.odd", "local.open"]


def test_targets_stand_by_name_and_those_without_one_last() -> None:
    assert [note.name for note in SOME.targets] == ["other", "toy", NO_TARGET]


def test_what_is_described_nowhere_still_appears() -> None:
    found = matrix(one(Result.FAILED, "x", on="stranger", clause="what.ever"))
    assert found.targets == (TargetNote("stranger"),)
    assert found.clauses[-1].id == "what.ever"
    assert found.cell("what.ever", "stranger") is not None


def test_json_there_and_back() -> None:
    text = SOME.to_json()
    assert from_json(text) == SOME
    assert from_json(text).to_json() == text
    data = json.loads(text)
    assert data["clauses"][0] == {"id": "stat.file", "family": "stat", "text": "A file has its size."}
    assert data["targets"][1]["gaps"] == {"names.odd": "it <cannot> | will not"}
    assert data["cells"]["stat.file"]["toy"] == {"result": "passed", "tests": 2, "reasons": ["skipped: no links"]}


def test_the_same_outcomes_in_any_order_are_the_same_json() -> None:
    outcomes = [one(Result.SKIPPED, "b", "test_b"), one(Result.SKIPPED, "a", "test_a"), one(Result.PASSED, on="other")]
    assert matrix(*outcomes).to_json() == matrix(*reversed(outcomes)).to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": {"a": {"b": {"result": "splendid"}}}}', "null"])
def test_what_is_no_report_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="this is no report of the suite") as caught:
        from_json(text)
    assert len(str(caught.value).splitlines()) == 1


def test_merging_replaces_targets_whole_and_keeps_the_others() -> None:
    new = matrix(one(Result.PASSED, clause="names.odd"), targets=(TargetNote("toy"),), version="2.0")
    merged = merge(SOME, new)
    assert merged.storagekit == "2.0"
    assert merged.cell("stat.file", "toy") is None
    assert merged.cell("names.odd", "toy") == Cell(Result.PASSED, 1)
    assert merged.cell("stat.file", "other") == SOME.cell("stat.file", "other")
    assert [note.name for note in merged.targets] == ["other", "toy", NO_TARGET]
    assert merge(None, new) is new
    assert merge(merged, new).to_json() == merged.to_json()


def test_merging_leaves_out_clauses_that_are_gone() -> None:
    new = build("2.0", CLAUSES[1:], [TargetNote("third")], [])
    assert merge(SOME, new).cell("stat.file", "toy") is None
    assert merge(SOME, new).cell("names.odd", "toy") is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assert 3 == 4\n +  where", "assert 3 == 4"),
        ("\n\n  E: x", "E: x"),
        ("OSError: [Errno 5] no: 'file:///tmp/a b/c'", "OSError: [Errno 5] no: 'file://… b/c'"),
        ("at http://127.0.0.1:3912/x?y failed", "at http://… failed"),
        ("in /tmp/pytest-of-me/x.py: no", "in /…: no"),
        ("connect to 127.0.0.1:8080 and localhost:99", "connect to … and …"),
        ("<Thing at 0x7f00ab>", "<Thing at 0x…>"),
        ("key 3f2a9c1be0d4 of it", "key … of it"),
        ("took 0.25s", "took … s"),
        ("keys a/b and 1/2 stay", "keys a/b and 1/2 stay"),
        ("defaced facade", "defaced facade"),
    ],
)
def test_what_varies_is_taken_out_of_reasons(text: str, expected: str) -> None:
    assert plain_text(text) == expected


def test_a_reason_is_short() -> None:
    assert len(plain_text("x" * 5000)) == 300


def test_the_lines_for_the_terminal() -> None:
    assert matrix_lines(SOME) == [
        "           other",
        "           │ toy",
        "           │ │ (no target)",
        "stat.file  . .",
        "names.odd  F x",
        "local.open     .",
        "F failed   E error   x known gap   ~ unreliable   . passed   s skipped",
    ]


def test_clauses_that_did_not_run_have_no_line() -> None:
    assert [line.split()[0] for line in matrix_lines(matrix(one(Result.PASSED)))[1:-1]] == ["stat.file"]


def test_the_lines_of_counts() -> None:
    assert count_lines({NO_TARGET: {"passed": 3}, "toy": {"passed": 12, "failed": 1}}) == [
        "              passed   failed    error  xfailed  xpassed  skipped",
        "toy               12        1        -        -        -        -",
        "(no target)        3        -        -        -        -        -",
    ]


def test_markdown_has_counts_traits_and_the_reasons() -> None:
    text = to_markdown(SOME)
    assert "| toy | 0 | 0 | 1 | 0 | 1 | 0 | 0 |" in text
    assert "| `pinned_reads` | – | yes |" in text
    assert "| `names.odd` | toy | known gap | it &#60;cannot&#62; &#124; will not |" in text
    assert "| `stat.file` | toy | passed | skipped: no links |" in text
    assert "| `names.odd` | other | failed | test\\_it: AssertionError: no |" in text
    assert "`local.open`" not in text
    assert "Every clause that ran passed" in to_markdown(matrix(one(Result.PASSED)))


def test_markdown_puts_targets_with_the_same_reason_together() -> None:
    text = to_markdown(matrix(one(Result.SKIPPED, "no"), one(Result.SKIPPED, "no", on="other")))
    assert "| `stat.file` | other, toy | skipped | no |" in text
