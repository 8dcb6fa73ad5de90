#!/usr/bin/env python3
"""The README's table of benchmarks, made from a file of results.

    python -m benchmarks.table benchmarks/results/NAME.json          # writes it into README.md
    python -m benchmarks.table benchmarks/results/NAME.json --check  # fails where it would be another

Its place is between the markers ``BEGIN`` and ``END``; both must be there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.data import FULL
from benchmarks.environments import ROOT
from benchmarks.headlines import HEADLINES, Headline, best
from benchmarks.report import machine_line
from benchmarks.results import Cell, Results, number

__all__ = ["BEGIN", "END", "main", "table", "with_table"]

README = ROOT / "README.md"
BEGIN = "<!-- benchmarks: made by benchmarks/table.py -->"
END = "<!-- /benchmarks -->"


def table(results: Results) -> str:
    """The table in Markdown, and the line about the machine without which it means nothing."""
    rows = [
        ["", "**storagekit**", "best peer as it comes", "best peer tuned by hand", "plain sockets, or a local file"],
        ["---"] * 5,
    ]
    for headline in HEADLINES:
        found = best(results, headline)
        if found.ours is None and found.defaults is None:
            continue
        unit = headline.what.unit
        ours = f"**{number(found.ours.median(headline.what.name))} {unit}**" if found.ours else "–"
        others = [_shown(cell, headline) for cell in (found.defaults, found.tuned, found.limit)]
        rows.append([headline.text, ours, *others])
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{lines}\n{machine_line(results)}\n"


def _shown(cell: Cell | None, headline: Headline) -> str:
    if cell is None:
        return "–"
    return f"{number(cell.median(headline.what.name))} {headline.what.unit} ({cell.peer.removesuffix('-t')})"


def with_table(readme: str, results: Results) -> str:
    """The text of the README with the table in its place."""
    before, begin, rest = readme.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no place for the table: it stands between {BEGIN} and {END}")
    return f"{before}{begin}\n{table(results)}\n{end}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the README, or check it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="Make the README's table.")
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the table is another")
    given = parser.parse_args(arguments)
    try:
        old = README.read_text(encoding="utf-8")
        results = Results.load(given.results)
        if results.sizes != asdict(FULL):
            raise ValueError(f"{given.results} is of small data: it says that everything works, and not how fast")
        new = with_table(old, results)
        if given.check and old != new:
            raise ValueError(f"the table in README.md is not that of {given.results}: run benchmarks/table.py")
        if not given.check:
            README.write_text(new, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"table.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
