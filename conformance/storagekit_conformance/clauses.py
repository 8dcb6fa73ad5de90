"""Clauses: the promises of SEMANTICS.md, and the marker by which a test says which one it holds.

SEMANTICS.md is the contract, for people; here it is read as data. A clause is a list item there
that begins with its id in backticks, as ``* `reading.seek-past-end`: …``; the part before the
dot names its family, and the test file: ``test_reading.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

import pytest

__all__ = ["Clause", "clause", "clauses", "parse"]

_ITEM = re.compile(r"^\* `(?P<id>[a-z]+\.[a-z0-9-]+)`: (?P<text>.+)")
_CONTINUED = re.compile(r"^  (?P<text>\S.*)")


@dataclass(frozen=True)
class Clause:
    """One promise: its id, and its text in one line."""

    id: str
    text: str

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


def clause(id: str) -> pytest.MarkDecorator:
    """Mark a test as the proof of one clause. A clause may have several tests; a test has one clause."""
    return pytest.mark.clause(id)


def clauses() -> list[Clause]:
    """Every clause of SEMANTICS.md, in its order."""
    return parse(resources.files(__package__).joinpath("SEMANTICS.md").read_text(encoding="utf-8"))


def parse(text: str) -> list[Clause]:
    """The clauses in a text, in its order, repeated ids included."""
    found: list[Clause] = []
    open_item = False
    for line in text.splitlines():
        if match := _ITEM.match(line):
            found.append(Clause(match["id"], match["text"]))
            open_item = True
        elif open_item and (match := _CONTINUED.match(line)):
            found[-1] = Clause(found[-1].id, f"{found[-1].text} {match['text']}")
        else:
            open_item = False
    return found
