"""The results as one picture: a panel for each of a few headlines, a bar for each library, storagekit in colour.

    python -m benchmarks.plot benchmarks/results/NAME.json benchmarks/results/NAME.svg

A library has one line: the dark bar is as it comes, the light one tuned by hand. The best is on top, and the line
across is what plain sockets reach. Only who fetches nothing twice can pass it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import FULL
from benchmarks.headlines import HEADLINES, Headline, best
from benchmarks.peers import PEERS
from benchmarks.report import machine_line
from benchmarks.results import Results, number

__all__ = ["bars", "draw"]

COLOURS = {"ours": "#d1495b", "defaults": "#30638e", "tuned": "#a9c5dd", "limit": "#777777"}
LEGEND = {"ours": "storagekit, as it comes", "defaults": "others, as they come", "tuned": "tuned by hand"}
COLUMNS = 3
WIDTH = 12.0
ROW_INCHES = 0.19
PANEL_INCHES = 0.75
# Where less is better one very slow library would make all the others look alike: its bar is cut off at this many times
# the median, and its number told.
LONGEST = 3.0


@dataclass(frozen=True)
class Bar:
    """One library's line in a panel."""

    library: str
    values: dict[str, float]
    """By kind: ``ours``, ``defaults``, ``tuned``."""

    higher: bool

    @property
    def value(self) -> float:
        """The better one of them."""
        return max(self.values.values()) if self.higher else min(self.values.values())


def bars(results: Results, headline: Headline) -> list[Bar]:
    """The lines of a panel, the best first; without the limits and without other settings of ours."""
    higher = headline.what.higher
    found: dict[str, dict[str, float]] = {}
    for cell in results.cells(headline.workload, headline.profile).values():
        kind = PEERS[cell.peer].kind
        value = cell.median(headline.what.name)
        if value is not None and kind not in ("limit", "variant"):
            found.setdefault(cell.peer.removesuffix("-t"), {})[kind] = value
    lines = [Bar(library, values, higher) for library, values in found.items()]
    return sorted(lines, key=lambda bar: bar.value, reverse=higher)


def draw(results: Results, path: Path) -> None:
    """Write the picture; its format is that of the file's suffix. Without figures of ours there is none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [headline for headline in HEADLINES if headline.plotted and best(results, headline).ours]
    if not shown:
        return
    rows = -(-len(shown) // COLUMNS)
    most = max(len(bars(results, headline)) for headline in shown)
    pyplot.rcParams.update({"font.size": 8, "svg.hashsalt": "storagekit"})
    size = (WIDTH, 0.6 + rows * (PANEL_INCHES + ROW_INCHES * most))
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=size, squeeze=False, facecolor="white")
    for place, panel in enumerate(panels.flat):
        if place < len(shown):
            _panel(panel, results, shown[place])
        else:
            panel.axis("off")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[kind]) for kind in LEGEND]
    handles.append(pyplot.Line2D([], [], color=COLOURS["limit"], linestyle="--"))
    names = [*LEGEND.values(), "plain sockets, 24 ranges at once"]
    figure.legend(handles, names, loc="upper center", ncol=len(names), frameon=False, fontsize=10)
    small = "" if results.sizes == asdict(FULL) else "Small data, which say nothing about speed! "
    figure.text(
        0.5, 0.06 / size[1], small + machine_line(results), ha="center", va="bottom", fontsize=7, color="#555555"
    )
    figure.tight_layout(rect=(0, 0.22 / size[1], 1, 1 - 0.35 / size[1]), h_pad=1.5)
    # Without the time in it, the same results give the same file.
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)
    pyplot.close(figure)


def _edge(lines: list[Bar], headline: Headline) -> float:
    """Where the longest bar ends."""
    longest = max(value for bar in lines for value in bar.values.values())
    if headline.what.higher:
        return longest
    ours = next(bar.value for bar in lines if "ours" in bar.values)
    return min(longest, LONGEST * max(ours, lines[len(lines) // 2].value))


def _panel(panel: Any, results: Results, headline: Headline) -> None:
    lines = bars(results, headline)
    edge = _edge(lines, headline)
    for place, bar in enumerate(lines):
        # The longer one first, so that both are seen.
        for kind, value in sorted(bar.values.items(), key=lambda item: -item[1]):
            panel.barh(place, min(value, edge), color=COLOURS[kind], height=0.78)
        cut = " »" if max(bar.values.values()) > edge else ""
        told = " / ".join(number(bar.values[kind]) for kind in LEGEND if kind in bar.values)
        panel.text(min(max(bar.values.values()), edge) + edge * 0.015, place, told + cut, va="center", fontsize=7)
    if (limit := best(results, headline).limit) and limit.peer == "sockets":
        value = max(limit.values(headline.what.name)) if headline.what.higher else min(limit.values(headline.what.name))
        panel.axvline(value, color=COLOURS["limit"], linestyle="--", linewidth=1)
        edge = max(edge, value)
    panel.set_yticks(range(len(lines)), [bar.library for bar in lines])
    for tick, bar in zip(panel.get_yticklabels(), lines, strict=True):
        if "ours" in bar.values:
            tick.set_fontweight("bold")
            tick.set_color(COLOURS["ours"])
    panel.invert_yaxis()
    panel.set_xlim(0, edge * 1.22)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", bottom=False, labelbottom=False)
    for side in panel.spines.values():
        side.set_visible(False)
    better = "more is better" if headline.what.higher else "less is better"
    text = headline.text.replace("`", "")
    panel.set_title(f"{text}\n{headline.what.unit}, {better}", loc="left", fontsize=9)


def main() -> None:
    """Draw what the command line names."""
    draw(Results.load(Path(sys.argv[1])), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
