"""The matrix: what came of every clause on every target, as plain data.

pytest's part of the work (``recording``) turns each test into an ``Outcome``; ``build`` folds the outcomes
into cells, one per clause and target; and everything that shows the matrix starts from here: the lines at the
end of a run and the Markdown (``report_text``), the page (``report_page``), and the JSON, which is also how a matrix
is kept and read again.

A matrix says the same whenever and wherever it was made: it holds no times, no hosts and no folders, its parts are
sorted, and what a target calls unreliable is unreliable whatever came out this time.

>>> from storagekit_conformance.clauses import Clause
>>> from storagekit_conformance.report import Outcome, Result, TargetNote, build
>>> outcomes = [Outcome("stat.file", "toy", "test_file", Result.PASSED)]
>>> build("1.0", [Clause("stat.file", "A file has its size.")], [TargetNote("toy")], outcomes).cell("stat.file", "toy")
Cell(result=<Result.PASSED: 'passed'>, tests=1, reasons=())
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storagekit_conformance.clauses import Clause

__all__ = ["NO_TARGET", "Cell", "Matrix", "Outcome", "Result", "TargetNote", "build", "from_json", "merge", "plain"]

NO_TARGET = "(no target)"
"""The column of clauses that are about storagekit itself and run once, whatever the targets."""


class Result(StrEnum):
    """What a test or a cell came to. A cell is what stands first here of all that its tests came to."""

    FAILED = "failed"
    ERROR = "error"
    GAP = "known gap"
    UNRELIABLE = "unreliable"
    PASSED = "passed"
    SKIPPED = "skipped"


_ORDER = {result: rank for rank, result in enumerate(Result)}


@dataclass(frozen=True)
class Outcome:
    """What one test came to. Its name is without its target, as in ``test_sizes[0]``."""

    clause: str
    target: str
    test: str
    result: Result
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """One clause on one target."""

    result: Result
    tests: int
    """How many tests ran or were skipped."""
    reasons: tuple[str, ...] = ()
    """Why it is not simply passed, sorted, each once; of another result than the cell's, that result comes first."""


@dataclass(frozen=True)
class TargetNote:
    """What is known of a target beside its cells."""

    name: str
    traits: Mapping[str, bool] | None = None
    """What the driver declares there; None where no test asked it."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    unreliable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """Every clause by every target. ``build`` makes one, ``from_json`` reads one."""

    storagekit: str
    """The version of storagekit."""
    clauses: tuple[Clause, ...]
    """In the order of SEMANTICS.md."""
    targets: tuple[TargetNote, ...]
    """By name; ``NO_TARGET`` last, where anything ran without one."""
    cells: Mapping[tuple[str, str], Cell]
    """By clause id and target name. What did not run has no cell."""

    def cell(self, clause: str, target: str) -> Cell | None:
        """The cell, or None where nothing ran."""
        return self.cells.get((clause, target))

    def runs_without_target(self, clause: str) -> bool:
        """True where the clause is about storagekit itself, so that no target has a cell for it."""
        return (clause, NO_TARGET) in self.cells

    def counts(self, target: str) -> Counter[Result]:
        """How many clauses came to each result on *target*."""
        return Counter(cell.result for (_, name), cell in self.cells.items() if name == target)

    def not_run(self, target: str) -> list[str]:
        """The ids of the clauses that could have run on *target* and did not, in their order."""
        if target == NO_TARGET:
            return []
        return [
            clause.id
            for clause in self.clauses
            if (clause.id, target) not in self.cells and not self.runs_without_target(clause.id)
        ]

    def to_json(self) -> str:
        """The matrix as JSON, one clause's cells on a line, so that a change shows as the lines that changed."""
        clauses = ",\n".join(
            "  " + _dumps({"id": clause.id, "family": clause.family, "text": clause.text}) for clause in self.clauses
        )
        targets = ",\n".join("  " + _dumps(_note_to_data(note)) for note in self.targets)
        cells = ",\n".join(
            f"  {_dumps(clause.id)}: {_dumps(self._row(clause.id))}" for clause in self.clauses if self._row(clause.id)
        )
        return (
            f'{{\n"storagekit": {_dumps(self.storagekit)},\n"clauses": [\n{clauses}\n],\n'
            f'"targets": [\n{targets}\n],\n"cells": {{\n{cells}\n}}\n}}\n'
        )

    def _row(self, clause: str) -> dict[str, object]:
        row: dict[str, object] = {}
        for note in self.targets:
            if cell := self.cell(clause, note.name):
                row[note.name] = {"result": cell.result, "tests": cell.tests, "reasons": list(cell.reasons)}
        return row


def build(
    version: str, clauses: Sequence[Clause], targets: Iterable[TargetNote], outcomes: Iterable[Outcome]
) -> Matrix:
    """The matrix of *outcomes*; a target or a clause that is described nowhere appears by its name alone."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.clause, outcome.target), []).append(outcome)
    notes = {note.name: note for note in targets}
    for _, name in found:
        notes.setdefault(name, TargetNote(name))
    known = {clause.id for clause in clauses}
    unknown = [Clause(id, "(SEMANTICS.md does not say.)") for id in sorted({id for id, _ in found} - known)]
    cells = {where: _fold(found[where]) for where in sorted(found)}
    return Matrix(version, (*clauses, *unknown), _in_order(notes.values()), cells)


def _fold(outcomes: Sequence[Outcome]) -> Cell:
    """One cell of all that its tests came to."""
    result = min((outcome.result for outcome in outcomes), key=_ORDER.__getitem__)
    reasons = set()
    for outcome in outcomes:
        text = outcome.reason or ("" if outcome.result is Result.PASSED else outcome.test)
        if text:
            reasons.add(text if outcome.result is result else f"{outcome.result}: {text}")
    return Cell(result, len({outcome.test for outcome in outcomes}), tuple(sorted(reasons)))


def _in_order(notes: Iterable[TargetNote]) -> tuple[TargetNote, ...]:
    return tuple(sorted(notes, key=lambda note: (note.name == NO_TARGET, note.name)))


def merge(old: Matrix | None, new: Matrix) -> Matrix:
    """*old* with the targets of *new* put in the place of those of the same names.

    Version and clauses are those of *new*; what *old* has for clauses that are gone is left out.
    """
    if old is None:
        return new
    names = {note.name for note in new.targets}
    ids = {clause.id for clause in new.clauses}
    kept = {where: cell for where, cell in old.cells.items() if where[1] not in names and where[0] in ids}
    notes = [*(note for note in old.targets if note.name not in names), *new.targets]
    return Matrix(new.storagekit, new.clauses, _in_order(notes), dict(sorted({**kept, **new.cells}.items())))


def from_json(text: str) -> Matrix:
    """The matrix that ``Matrix.to_json`` wrote; ``ValueError``, in one line, for anything else."""
    try:
        data = json.loads(text)
        cells = {
            (clause, target): Cell(Result(cell["result"]), int(cell["tests"]), tuple(cell["reasons"]))
            for clause, row in data["cells"].items()
            for target, cell in row.items()
        }
        return Matrix(
            data["storagekit"],
            tuple(Clause(clause["id"], clause["text"]) for clause in data["clauses"]),
            tuple(TargetNote(**note) for note in data["targets"]),
            cells,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no report of the suite: {type(error).__name__}: {error}") from error


def _note_to_data(note: TargetNote) -> dict[str, object]:
    return {
        "name": note.name,
        "traits": None if note.traits is None else dict(sorted(note.traits.items())),
        "gaps": dict(sorted(note.gaps.items())),
        "unreliable": dict(sorted(note.unreliable.items())),
    }


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# What differs from run to run in the text of a failure, and what takes its place. The order matters: a URL has a path.
_VOLATILE = (
    (re.compile(r"\b([a-z][a-z0-9+.-]+)://[^\s'\"<>()\[\]{},]*"), r"\1://…"),
    (re.compile(r"(?<![\w…./:])/[^\s'\"<>()\[\]{},:]*/[^\s'\"<>()\[\]{},:]+"), "/…"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "0x…"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\blocalhost:\d+"), "…"),
    (re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b"), "…"),
    (re.compile(r"\b\d+\.\d+ ?(s|ms|seconds)\b"), r"… \1"),
)
# More than this is for the terminal, where the whole traceback stands.
_LONGEST_REASON = 300


def plain(text: str) -> str:
    """The first line of an error's text, without what is different in each run: URLs, folders, addresses, times.

    >>> plain("FileNotFoundError: [Errno 2] No such file: 's3://bucket/4f2a/key'\\n  more")
    "FileNotFoundError: [Errno 2] No such file: 's3://…'"
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for pattern, instead in _VOLATILE:
        line = pattern.sub(instead, line)
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
