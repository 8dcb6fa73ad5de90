"""The results: one JSON file, from which the tables and the plot are made.

It holds every single run, so that medians and spreads can be looked up, and what it was measured on.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS, Figure

__all__ = ["Cell", "Results", "number"]

FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """What one peer showed in one workload and profile."""

    peer: str
    runs: list[dict[str, Any]]
    """Those that were timed and succeeded."""

    status: str
    """``ok``, ``not offered`` or ``failed``; also failed where some runs succeeded."""

    reason: str

    def values(self, name: str) -> list[float]:
        """The figure *name* of each run that has it: what an endpoint of somebody's own does not count, has none."""
        return [run["figures"][name] for run in self.runs if name in run["figures"]]

    def median(self, name: str) -> float | None:
        """The middle one of them."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def beside(self, name: str) -> float | None:
        """The median of what was measured beside the figures, as ``cpu_seconds``; None where nobody counted it."""
        values = [run[name] for run in self.runs if name in run]
        return statistics.median(values) if values else None

    def requests(self) -> float | None:
        """All requests, of whatever kind."""
        values = [sum(run["requests"].values()) for run in self.runs if "requests" in run]
        return statistics.median(values) if values else None


@dataclass
class Results:
    """Everything of one measurement."""

    name: str
    date: str
    machine: dict[str, Any]
    profiles: dict[str, Any]
    sizes: dict[str, int]
    repeats: int
    versions: dict[str, str]
    commit: str
    runs: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the file; a run is a line of it."""
        values = asdict(self)
        runs = ",\n".join("  " + json.dumps(run, sort_keys=True) for run in values.pop("runs"))
        head = json.dumps({"format": FORMAT, **values}, indent=1).removesuffix("\n}")
        path.write_text(f'{head},\n "runs": [\n{runs}\n ]\n}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read the file; ``ValueError`` for another one."""
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"{path}: this is no result of format {FORMAT}")
        return cls(**values)

    def add(self, older: Results) -> None:
        """Take over from *older* the workloads and profiles that this measurement does not have."""
        if older.sizes != self.sizes:
            raise ValueError("the older results were measured with other sizes")
        mine = {(run["workload"], run["profile"]) for run in self.runs}
        self.runs = [run for run in older.runs if (run["workload"], run["profile"]) not in mine] + self.runs
        self.profiles = older.profiles | self.profiles
        self.versions = older.versions | self.versions

    def workloads(self) -> list[str]:
        """Those that were run, in the order of their table."""
        ran = {run["workload"] for run in self.runs}
        return [name for name in WORKLOADS if name in ran]

    def cells(self, workload: str, profile: str) -> dict[str, Cell]:
        """By peer, in the order in which they first ran."""
        of_peer: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            # A thorough run that failed or was not offered is told of under the profile that it ran for.
            if run["workload"] == workload and run["profile"] == profile:
                of_peer.setdefault(run["peer"], []).append(run)
        # ... and then there is none in the other profiles.
        for run in self.runs:
            if run["workload"] == workload and run["status"] != "ok" and run["peer"] not in of_peer:
                of_peer[run["peer"]] = [run]
        return {peer: _cell(peer, runs) for peer, runs in of_peer.items()}

    def ranked(self, workload: str, profile: str, figure: Figure) -> list[Cell]:
        """The cells, the best first and those without a figure last."""
        return sorted(self.cells(workload, profile).values(), key=_rank(figure))


def _cell(peer: str, runs: list[dict[str, Any]]) -> Cell:
    bad = [run for run in runs if run["status"] != "ok"]
    timed = [run for run in runs if run["status"] == "ok" and run["round"] > 0]
    if bad and bad[-1]["round"] == 0:
        timed = []
    return Cell(peer, timed, bad[-1]["status"] if bad else "ok", bad[-1].get("reason", "") if bad else "")


def _rank(figure: Figure) -> Callable[[Cell], float]:
    def rank(cell: Cell) -> float:
        value = cell.median(figure.name)
        if value is None:
            return float("inf")
        return -value if figure.higher else value

    return rank


def number(value: float | None) -> str:
    """A figure as people read it: two or three digits that mean something, and no more; a dash for none."""
    if value is None:
        return "–"
    for digits, below in ((2, 10), (1, 100)):
        if abs(value) < below:
            return f"{value:.{digits if abs(value) >= 0.1 or value == 0 else 3}f}"
    return f"{value:,.0f}"
