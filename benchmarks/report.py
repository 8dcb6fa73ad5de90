"""The results as Markdown: all peers in one table, then each workload with what was measured beside its figure.

python -m benchmarks.report benchmarks/results/NAME.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.data import FULL
from benchmarks.peers import PEERS
from benchmarks.results import Cell, Results, number
from benchmarks.workloads import WORKLOADS, Figure

__all__ = ["machine_line", "markdown"]

GB = 1e9
# A sentence about a failure; the JSON has it whole.
LONGEST_REASON = 100


def markdown(results: Results) -> str:
    """The page."""
    parts = [
        f"# {results.name}\n",
        machine_line(results) + "\n",
        *(["**Small data: this shows that everything works, and not how fast.**\n"] * (results.sizes != asdict(FULL))),
        "Every peer runs each workload in a process of its own, in turns. A figure is the median of its runs; `–` is a "
        "function that the library does not offer, and `failed` is told of below. `-t` is tuned, all others are as "
        "they come. How to read it: `benchmarks/README.md`.\n",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items())) + ".\n",
    ]
    for profile in results.profiles:
        parts += [f"## {profile}: all peers\n", _matrix(results, profile)]
    for profile in results.profiles:
        parts += [f"## {profile}: each workload\n", *_details(results, profile)]
    return "\n".join(parts)


def machine_line(results: Results) -> str:
    """What it was measured on, in one line."""
    machine = results.machine
    return (
        f"{results.date}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, {machine['python']}, storagekit at {results.commit}; medians of {results.repeats} runs."
    )


def _matrix(results: Results, profile: str) -> str:
    workloads = results.workloads()
    rows = [["", *workloads], ["---"] * (len(workloads) + 1)]
    rows.append(["", *(", ".join(figure.unit for figure in WORKLOADS[name].figures) for name in workloads)])
    cells = {name: results.cells(name, profile) for name in workloads}
    for peer in PEERS:
        if any(peer in cells[name] for name in workloads):
            shown = [_short(cells[name].get(peer), WORKLOADS[name].figures) for name in workloads]
            rows.append([f"**{peer}**" if PEERS[peer].kind == "ours" else peer, *shown])
    return _table(rows)


def _short(cell: Cell | None, figures: Sequence[Figure]) -> str:
    if cell is None:
        return ""
    if not cell.runs:
        return "–" if cell.status == "not offered" else "failed"
    return " / ".join(number(cell.median(figure.name)) for figure in figures)


def _details(results: Results, profile: str) -> list[str]:
    parts = []
    for name in results.workloads():
        workload = WORKLOADS[name]
        ranked = results.ranked(name, profile, workload.figures[0])
        if not any(cell.runs for cell in ranked):
            continue
        heads = [f"{figure.name}, {figure.unit}" for figure in workload.figures]
        beside = ["n", "client CPU s", "requests", "fetched MB", "sent MB", "in flight", "connections", "peak MiB"]
        rows = [["", *heads, *beside], ["---"] * (1 + len(heads) + len(beside))]
        rows += [_detail(cell, workload.figures) for cell in ranked if cell.runs]
        parts += [f"### {name}\n\n{workload.text}.\n", _table(rows)]
        out = [cell for cell in ranked if cell.status != "ok"]
        parts += [f"* {cell.peer}: {_reason(cell)}" for cell in out] + [""] * bool(out)
    return parts


def _detail(cell: Cell, figures: Sequence[Figure]) -> list[str]:
    shown = [cell.peer]
    for figure in figures:
        values = cell.values(figure.name)
        spread = f" ({number(min(values))}–{number(max(values))})" if values else ""
        shown.append(f"**{number(cell.median(figure.name))}**{spread}")
    shown.append(str(len(cell.runs)))
    shown.append(_beside(cell.beside("cpu_seconds")))
    shown.append(_beside(cell.requests()))
    for name, unit in (
        ("fetched", 1e6),
        ("sent", 1e6),
        ("most_in_flight", 1),
        ("connections", 1),
        ("peak_bytes", 2**20),
    ):
        shown.append(_beside(cell.beside(name), unit))
    return shown


def _beside(value: float | None, unit: float = 1) -> str:
    if value is None:
        return ""
    return f"{value / unit:.0f}" if value / unit >= 10 or float(value / unit).is_integer() else f"{value / unit:.2f}"


def _reason(cell: Cell) -> str:
    return (
        "not offered" if cell.status == "not offered" else f"failed: {cell.reason[:LONGEST_REASON]}".replace("|", "/")
    )


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Print the page of a file of results."""
    print(markdown(Results.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
