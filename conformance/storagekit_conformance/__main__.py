"""``python -m storagekit_conformance --target mypackage.testing:target -n auto``: the suite against a driver.

What is not listed by ``--help`` goes to pytest as it is (``-n auto``, ``-x``, ``-q``, ``-W error``). The exit code is
pytest's: 0 where all held, 1 where a clause failed, 4 for what could not be begun, 5 where ``-k`` selects nothing.

The suite brings its own configuration and its own root, so it does the same in whatever folder it is started: an
author's ``pytest.ini``, ``conftest.py`` and tests have no part in it, and nothing is written there. The folder is
on the path, as for any ``python -m``, so that a target in it is found.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]

SUITE = Path(__file__).parent

CANNOT_BEGIN = 4
"""The exit code for a wrong command line, which is pytest's too."""

_NEEDED = ("pytest", "xdist", "hypothesis")

_OWN_WORLD = [
    str(SUITE),
    *("-c", str(SUITE / "suite.ini")),
    *("--rootdir", str(SUITE)),
    "--noconftest",
    # Modules come from where Python finds them; sys.path stays as it is.
    "--import-mode=importlib",
    # No .pytest_cache anywhere: the suite's folder belongs to the installation, and this one to the author.
    *("-p", "no:cacheprovider"),
]
_PLUGIN = ["-p", "storagekit_conformance.plugin"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit code 4, as pytest's."""

    def error(self, message: str) -> NoReturn:
        print(f"ERROR: {message}", file=sys.stderr)
        sys.exit(CANNOT_BEGIN)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    # pytest has letters that look like beginnings of ours, and values that look like options.
    parser = _Parser(
        prog="python -m storagekit_conformance",
        usage="%(prog)s [options] [options of pytest]",
        description="Hold drivers of storagekit to the clauses of SEMANTICS.md.",
        epilog="Everything else goes to pytest: -n auto (parallel), -x (stop at the first failure), -q (counts only).",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this text")
    parser.add_argument("--list", action="store_true", help="print the clauses, one a line, or those that -k selects")
    parser.add_argument("-k", metavar="EXPRESSION", help="only these: words of clause ids, as 'writing or stat.file'")
    parser.add_argument(
        "--new-driver", nargs=2, metavar=("NAME", "DIR"), help="lay down a package with a driver for NAME:// in DIR"
    )
    given, for_pytest = parser.parse_known_args(arguments)
    if given.new_driver:
        return _new_driver(*given.new_driver)
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        parser.error(f"the suite needs {', '.join(lacking)}: pip install 'storagekit[conformance]'")
    if given.help:
        from storagekit_conformance.command_line import add_options

        add_options(parser.add_argument)
        parser.print_help()
        return 0
    if given.list:
        return _list(given.k)
    _check(arguments)
    return _run([*(["-k", given.k] if given.k is not None else []), *for_pytest])


def _check(arguments: Sequence[str]) -> None:
    """Look at the suite's own options first: what pytest says of a wrong one is four lines about its insides."""
    from storagekit_conformance.command_line import add_options

    checker = _Parser(add_help=False, allow_abbrev=False)
    add_options(checker.add_argument)
    checker.parse_known_args(arguments)


def _run(arguments: Sequence[str]) -> int:
    import pytest

    # What a CI sends at its time limit: it shall end as Ctrl-C does, so that what was made at a place is removed.
    signal.signal(signal.SIGTERM, _interrupt)
    return int(pytest.main([*_OWN_WORLD, *_PLUGIN, *arguments]))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _list(expression: str | None) -> int:
    from storagekit_conformance.clauses import clauses

    selected = None
    if expression is not None:
        import pytest

        selection = _Selection()
        # pytest itself decides what -k selects; without its terminal it does so in silence.
        arguments = [
            *_PLUGIN,
            "-p",
            "no:terminal",
            "-o",
            "addopts=",
            "--collect-only",
            "--target",
            "memory",
            "-k",
            expression,
        ]
        code = int(pytest.main([*_OWN_WORLD, *arguments], plugins=[selection]))
        if code:
            return code
        selected = selection.ids
    for clause in clauses():
        if selected is None or clause.id in selected:
            print(f"{clause.id}: {clause.text}")
    return 0


class _Selection:
    """A plugin that notes the clauses of the tests that are left when pytest has selected."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def pytest_collection_finish(self, session: Any) -> None:
        for item in session.items:
            if mark := item.get_closest_marker("clause"):
                self.ids.add(mark.args[0])


def _new_driver(name: str, folder: str) -> int:
    from storagekit_conformance.new_driver import lay_down

    try:
        files = lay_down(name, Path(folder))
    except (OSError, ValueError) as error:
        # An OSError's own text begins with its number, which tells a person nothing.
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
        print(f"ERROR: {text}", file=sys.stderr)
        return CANNOT_BEGIN
    for file in files:
        print(file)
    print(f"\nNext:\n  cd {shlex.quote(folder)}\n  pip install -e '.[test]'")
    print(f"  python -m storagekit_conformance --target {name} -n auto")
    return 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # as from `--list | head`: nobody reads on, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
