"""The matrix in letters: the lines at the end of a run, and the Markdown of ``--report out.md``.

In the terminal a clause is a line and a target a column one character wide, because eight targets have to fit beside
the longest id; a target's name stands above its column, on a step of its own. The reasons are in the reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storagekit_conformance.report import NO_TARGET, Matrix, Result, TargetNote

__all__ = ["COUNTED", "NOT_RUN", "SIGNS", "count_lines", "matrix_lines", "to_markdown"]

SIGNS: Mapping[Result, str] = {
    Result.FAILED: "F",
    Result.ERROR: "E",
    Result.GAP: "x",
    Result.UNRELIABLE: "~",
    Result.PASSED: ".",
    Result.SKIPPED: "s",
}
"""The character of each result, those of pytest where it has one."""

NOT_RUN = " "
"""The character where nothing ran."""

COUNTED = ("passed", "failed", "error", "xfailed", "xpassed", "skipped")
"""The words of pytest that ``count_lines`` has a column for."""


def matrix_lines(matrix: Matrix) -> list[str]:
    """The matrix, one clause a line, and what the characters mean. Clauses that did not run at all are left out."""
    names = [note.name for note in matrix.targets]
    rows = [clause.id for clause in matrix.clauses if any(matrix.cell(clause.id, name) for name in names)]
    width = max(map(len, rows), default=0)
    lines = [" ".join([" " * width, *("│" for _ in names[:step]), name]) for step, name in enumerate(names)]
    for id in rows:
        signs = (SIGNS[cell.result] if (cell := matrix.cell(id, name)) else NOT_RUN for name in names)
        lines.append(" ".join([f"{id:<{width}}", *signs]).rstrip())
    lines.append("   ".join(f"{sign} {result}" for result, sign in SIGNS.items()))
    return lines


def count_lines(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """How many tests came to what, one target a line; *counts* has pytest's words by target."""
    width = max(map(len, counts), default=0)
    lines = [" ".join([" " * width, *(f"{word:>8}" for word in COUNTED)])]
    for name in sorted(counts, key=lambda name: (name == NO_TARGET, name)):
        cells = (f"{counts[name].get(word) or '-':>8}" for word in COUNTED)
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return lines


def to_markdown(matrix: Matrix) -> str:
    """The matrix as a page: a table of counts, the traits, and what is not plainly passed, with its reasons."""
    parts = [
        f"# Conformance to storagekit {matrix.storagekit}\n",
        f"{len(matrix.clauses)} clauses; `python -m storagekit_conformance --list` prints what they say.\n",
        _table(["target", *map(str, Result), "not run"], [_summary(matrix, note) for note in matrix.targets]),
    ]
    described = [note for note in matrix.targets if note.traits is not None]
    if described:
        parts += ["## Traits\n", "What each driver declares at the target's place.\n", _traits(described)]
    exceptions = _exceptions(matrix)
    if exceptions:
        parts += ["## Not plainly passed\n", _table(["clause", "targets", "result", "reason"], exceptions)]
    else:
        parts += ["Every clause that ran passed, with all of its tests.\n"]
    return "\n".join(parts)


def _summary(matrix: Matrix, note: TargetNote) -> list[str]:
    counts = matrix.counts(note.name)
    return [_escape(note.name), *(str(counts[result]) for result in Result), str(len(matrix.not_run(note.name)))]


def _traits(notes: Sequence[TargetNote]) -> str:
    names = list(dict.fromkeys(name for note in notes for name in note.traits or ()))
    rows = [[f"`{name}`", *("yes" if (note.traits or {}).get(name) else "–" for note in notes)] for name in names]
    return _table(["trait", *(_escape(note.name) for note in notes)], rows)


def _exceptions(matrix: Matrix) -> list[list[str]]:
    """A row per clause, result and reasons; the targets that share all three share the row."""
    rows: dict[tuple[str, Result, tuple[str, ...]], list[str]] = {}
    for clause in matrix.clauses:
        for note in matrix.targets:
            cell = matrix.cell(clause.id, note.name)
            if cell is not None and (cell.result is not Result.PASSED or cell.reasons):
                rows.setdefault((clause.id, cell.result, cell.reasons), []).append(note.name)
    return [
        [f"`{id}`", _escape(", ".join(names)), result, "<br>".join(map(_escape, reasons))]
        for (id, result, reasons), names in rows.items()
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escape(text: str) -> str:
    """*text* as it reads in a cell of a table, whatever Markdown would make of its characters."""
    for character in "\\`*_|<>[]~":
        text = text.replace(character, f"&#{ord(character)};" if character in "|<>`" else "\\" + character)
    return text.replace("\n", " ")
