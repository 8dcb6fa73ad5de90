"""What the documentation says is tried: docstrings, README.md and docs/*.md.

The rule for Markdown: all blocks marked ``python`` of one file run in order in one namespace, in an
empty folder, with credentials in the environment for an S3 server of their own that has the buckets of
``BUCKETS``. A block with ``>>>`` must print what it says. A block right after the comment
``<!-- no test: reason -->`` is left out.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import storagekit

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUCKETS = ["bucket", "my-bucket", "my-test-bucket"]
PACKAGES = ["storagekit", "storagekit_local", "storagekit_memory", "storagekit_s3", "storagekit_conformance"]


def modules() -> Iterator[str]:
    """Every module that we ship, except the tests of the conformance suite and programs."""
    for package in PACKAGES:
        yield package
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            last = found.name.rpartition(".")[2]
            if not last.startswith("test_") and last != "__main__":
                yield found.name


def examples(module: str) -> list[doctest.DocTest]:
    """The docstrings with examples in one module."""
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]


def run(code: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a program in a process of its own, where nothing is left from another one, in *folder*."""
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "STORAGEKIT_"))}
    hidden |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=hidden | (environment or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(storagekit.__all__))
def test_every_public_name_has_an_example_that_is_run(name: str) -> None:
    value = getattr(storagekit, name)
    text = inspect.getdoc(value) or ""
    if not callable(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
        return
    assert ">>> " in text, f"storagekit.{name} has no example in its docstring"
    found = [test.docstring for module in modules() if module.startswith("storagekit") for test in examples(module)]
    assert any(inspect.cleandoc(docstring or "") == text for docstring in found), f"nothing runs that of {name}"


@pytest.mark.parametrize("module", [module for module in modules() if examples(module)])
def test_the_examples_of_a_module_hold(module: str, tmp_path: Path) -> None:
    code = f"""
import doctest, importlib, sys
sys.exit(doctest.testmod(importlib.import_module({module!r}), optionflags=doctest.ELLIPSIS).failed)
"""
    run(code, tmp_path)


def program(text: str) -> str:
    """The ``python`` blocks of a Markdown page as one program, each on the lines that it has in the page.

    So a traceback names the page's own lines.
    """
    lines = [""] * (text.count("\n") + 2)
    skipped = False
    block: list[str] | None = None
    start = indent = 0
    for number, line in enumerate(text.splitlines()):
        if block is None:
            if line.strip().startswith("<!-- no test:"):
                skipped = True
            elif line.strip() == "```python":
                # What is indented deeper than its fence is so on purpose: a class may go on from block to block.
                block, start, indent = [], number + 1, len(line) - len(line.lstrip())
            elif line.strip():
                skipped = False
        elif line.strip() == "```":
            if not skipped and any(re.match(r"\s*>>> ", part) for part in block):
                lines[start] = f"_doctest({chr(10).join(block) + chr(10)!r}, {start})"
            elif not skipped:
                lines[start : start + len(block)] = [part[indent:] for part in block]
            block, skipped = None, False
        else:
            block.append(line)
    assert block is None, f"the block that starts at line {start} has no end"
    # On the first line, which in a page is a heading: the helper that runs the blocks with a prompt.
    return HELPER + "\n".join(lines)


HELPER = (
    "def _doctest(text, line): "
    "import doctest; "
    "test = doctest.DocTestParser().get_doctest(text, globals(), 'page', 'page', line); "
    "assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False).failed == 0"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if "```python" not in text:
        pytest.skip("no python blocks")
    servers = importlib.import_module("storagekit_conformance.servers")
    with servers.moto_server() as server:
        for bucket in BUCKETS:
            server.client().create_bucket(Bucket=bucket)
        run(program(text), tmp_path, server.environment({}))


def test_blocks_keep_their_lines_and_may_be_left_out() -> None:
    page = (
        "# Title\n\n```python\nx = 1\n```\n\n<!-- no test: needs an account -->\n\n```python\nx = 2\n```\n"
        "\n```python\n>>> x\n1\n```\n\n```python\nassert x == 1\n```\n"
    )
    code = program(page)
    assert code.splitlines()[3] == "x = 1"
    assert "x = 2" not in code
    exec(compile(code, "page", "exec"), {})
    with pytest.raises(AssertionError), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(program(page.replace("x = 1", "x = 3")), "page", "exec"), {})


def test_a_class_may_go_on_in_the_next_block_and_a_list_item_may_hold_one() -> None:
    page = (
        "# Title\n```python\nclass A:\n    x = 1\n```\ntext\n```python\n    y = 2\n```\n"
        "* item\n\n  ```python\n  z = A.y\n  ```\n"
    )
    namespace: dict[str, object] = {}
    exec(compile(program(page), "page", "exec"), namespace)
    assert namespace["z"] == 2


def test_every_public_name_is_in_all() -> None:
    for name in storagekit.__all__:
        assert hasattr(storagekit, name)
    assert sorted(set(storagekit.__all__)) == sorted(storagekit.__all__)
