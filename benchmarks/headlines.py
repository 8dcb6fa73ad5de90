"""The few rows that a reader of the README gets, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers import PEERS
from benchmarks.results import Cell, Results
from benchmarks.workloads import WORKLOADS, Figure

__all__ = ["HEADLINES", "Best", "Headline", "best"]


@dataclass(frozen=True)
class Headline:
    """One workload under one profile, in the words of somebody who has not read about it."""

    workload: str
    profile: str
    text: str
    figure: int = 0
    """Which of the workload's figures."""

    beside: str = "sockets"
    """The limit that says something here: what the network carries, or what is left of it on a local file."""

    plotted: bool = False
    """True: it has a panel in the picture."""

    @property
    def what(self) -> Figure:
        """The figure."""
        return WORKLOADS[self.workload].figures[self.figure]


HEADLINES = (
    Headline("sequential", "wan", "read 1 GiB, 1 MiB at a time", plotted=True),
    Headline("lines", "wan", "read 256 MiB line by line", beside="local", plotted=True),
    Headline("whole", "wan", "read 256 MiB by one `read()`"),
    Headline("threads-each", "wan", "8 threads read 8 objects", plotted=True),
    Headline("threads-shared", "wan", "8 threads read the same object", plotted=True),
    Headline("random-reads", "wan", "a random read of 64 KiB", plotted=True),
    Headline("random-reads", "wan", "the same read again", 1),
    Headline("sparse", "wan", "fetched per byte asked for, 4 KiB at random", plotted=True),
    Headline("zip-members", "wan", "20 files of a zip archive of 256 MiB", beside="local", plotted=True),
    Headline("tar-names", "wan", "the names in a tar archive of 256 MiB", beside="local", plotted=True),
    Headline("parquet-columns", "wan", "2 of 20 columns of a Parquet file", beside="local", plotted=True),
    Headline("small-bulk", "wan", "2,000 objects of 16 KiB, the call for many"),
    Headline("small-pool", "wan", "2,000 objects of 16 KiB, 16 threads"),
    Headline("write", "wan", "write 256 MiB, 1 MiB at a time"),
    Headline("write-bulk", "wan", "write 500 objects of 16 KiB, the call for many"),
    Headline("append", "wan", "append a byte to an object of 64 MiB"),
    Headline("list-folders", "wan", "list 20,000 keys in 200 folders"),
    Headline("sequential", "raw", "read 1 GiB with no network between"),
    Headline("first-byte", "wan", "a new process reads its first byte", beside="local"),
)


@dataclass(frozen=True)
class Best:
    """The best of each kind of peer; None where none has a figure."""

    ours: Cell | None
    defaults: Cell | None
    tuned: Cell | None
    limit: Cell | None


def best(results: Results, headline: Headline) -> Best:
    """Who is best, as it comes and tuned."""
    ranked = results.ranked(headline.workload, headline.profile, headline.what)
    ranked = [cell for cell in ranked if cell.values(headline.what.name)]

    def first(kind: str) -> Cell | None:
        return next((cell for cell in ranked if PEERS[cell.peer].kind == kind), None)

    beside = next((cell for cell in ranked if cell.peer == headline.beside), None)
    return Best(first("ours"), first("defaults"), first("tuned"), beside)
