#!/usr/bin/env python3
"""The README's table of drivers, made from docs/conformance.json, which reports of the suite are merged into.

    python -m storagekit_conformance --target memory --target s3-moto -n auto --report new.json
    scripts/driver_table.py new.json     # the targets of new.json take the place of those of the same names
    scripts/driver_table.py              # only makes the table again

The JSON is committed: it is what the table's numbers can be looked up in, clause by clause. A report takes part only
whole: one that was made with -k, or that does not know all clauses of SEMANTICS.md, is refused. Targets
that a report is not about stay as they are, so that a server which not everybody can run is measured where it can be;
tests/test_driver_table.py says when they have fallen behind. Each server stands there once, over the transport that
users get; the same target through boto3 (``NAME-boto3``) has to pass as well, and would only repeat its column.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from storagekit_conformance.clauses import clauses
from storagekit_conformance.report import NO_TARGET, Matrix, Result, from_json, merge

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
JSON = ROOT / "docs" / "conformance.json"

BEGIN = "<!-- drivers: made by scripts/driver_table.py -->"
END = "<!-- /drivers -->"
THROUGH_BOTO3 = "-boto3"

# What a user chooses a store by, in the words of somebody who has not read the traits.
TRAITS = {
    "exclusive_create": "`x`: of racing writers one wins",
    "conditional_replace": "overwrites only the version that was seen",
    "pinned_reads": "an open reader never mixes two versions",
    "ranged_reads": "reading a piece costs no more than the piece",
    "literal_keys": "every name is kept as written (`//`, `..`)",
    "file_beside_directory": "`a` and `a/b` can both be files",
    "empty_directories": "directories can be empty",
    "server_copy": "copies without the bytes passing by you",
    "atomic_rename": "renames in one step",
    "sorted_listing": "lists in order",
}


def once(matrix: Matrix) -> Matrix:
    """Without the targets that are the same servers through boto3."""
    again = {note.name for note in matrix.targets if note.name.endswith(THROUGH_BOTO3)}
    cells = {where: cell for where, cell in matrix.cells.items() if where[1] not in again}
    return replace(matrix, targets=tuple(note for note in matrix.targets if note.name not in again), cells=cells)


def table(matrix: Matrix) -> str:
    """The table in Markdown, a target a column."""
    notes = [note for note in matrix.targets if note.name != NO_TARGET]
    counts = {note.name: matrix.counts(note.name) for note in notes}
    rows = [("clauses kept", Result.PASSED), ("known gaps", Result.GAP), ("unreliable", Result.UNRELIABLE)]
    rows += [("do not apply", Result.SKIPPED), ("**failed**", Result.FAILED), ("**errors**", Result.ERROR)]
    lines = [["", *(f"`{note.name}`" for note in notes)], ["---"] * (len(notes) + 1)]
    for title, result in rows:
        numbers = [counts[note.name][result] for note in notes]
        if any(numbers) or result is Result.PASSED:
            lines.append([title, *(str(number or "–") for number in numbers)])
    for trait, title in TRAITS.items():
        lines.append([title, *("yes" if (note.traits or {}).get(trait) else "–" for note in notes)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(readme: str, matrix: Matrix) -> str:
    """The text of the README with the table in its place."""
    before, begin, rest = readme.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no place for the table: it stands between {BEGIN} and {END}")
    return f"{before}{begin}\n{table(matrix)}\n{end}{after}"


def read(path: Path) -> Matrix:
    """The report in a file; ``ValueError`` in one line for one that may not be merged."""
    try:
        matrix = from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if [clause.id for clause in matrix.clauses] != [clause.id for clause in clauses()]:
        raise ValueError(f"{path}: its clauses are not those of SEMANTICS.md; run the suite again")
    for note in matrix.targets:
        if missing := matrix.not_run(note.name):
            raise ValueError(f"{path}: {len(missing)} clauses did not run on {note.name}; run the whole suite")
    return matrix


def main(arguments: Sequence[str]) -> int:
    """Merge the reports, write the JSON and the README."""
    parser = argparse.ArgumentParser(description="Merge reports of the suite and make the README's table of drivers.")
    parser.add_argument("reports", nargs="*", type=Path, metavar="REPORT.json")
    given = parser.parse_args(arguments)
    try:
        matrix = from_json(JSON.read_text(encoding="utf-8")) if JSON.exists() else None
        for path in given.reports:
            matrix = merge(matrix, once(read(path)))
        if matrix is None:
            raise ValueError(f"there is no {JSON.name} yet: name a report")
        readme = with_table(README.read_text(encoding="utf-8"), matrix)
        JSON.write_text(matrix.to_json(), encoding="utf-8")
        README.write_text(readme, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"driver_table.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
