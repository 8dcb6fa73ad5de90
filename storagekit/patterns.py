"""Patterns: what the jumps of one handle have in common. Pure arithmetic: no I/O, no threads, no clock.

Reads that jump come in *runs*: a jump, and the reads that go on from there. The members of an archive are such runs,
a header and then the data; and so are the columns in a Parquet file, one chunk per row group. Two things recur, and
each saves round trips.

*Length.* Where the last runs took several reads each, the first read of the next one asks for as much as
those: a member then costs one request, not one for its header and one for its data. And a run that is no longer
than those were is no scan, to be read ahead of.

*Distance.* Where runs lie at equal distances, there are more of them at the same distance from those, and they are
fetched side by side. That holds in whatever order they are read: one who reads columns in several threads jumps
to and fro. A guess is paid for by having been right: all that is ever fetched on it and not read is at most ``RETURN``
times what was read, and ``CREDIT`` for a beginning.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from itertools import combinations

from storagekit.ranges import Span
from storagekit.settings import BLOCK_SIZE

__all__ = ["Runs"]

KiB = 1024
MiB = 1024 * KiB

# What is more than this is a scan, and the window's business; also the most that a wrong guess of a length costs.
LONGEST_GUESS = 1 * MiB

# A read that goes on where the last ended, in a run that is just beginning, asks for as much again: a header read is
# followed by the data, whose length nobody knows yet. At 80 MB/s 256 KiB are 3 ms beside a round trip of 28.
FOLLOW = 256 * KiB

# Runs whose lengths differ by no more than this factor are alike; one that is longer is something new: a scan perhaps.
ALIKE = 2

# Among how many of the last runs distances are looked for: some row groups of a few columns.
LATEST = 12

# So many equal distances are a pattern, equal to one part in so many. Among twelve random places, four distances
# are as equal as that in less than one of a thousand cases; the parts of a file that are laid out alike differ by less.
EVIDENCE = 4
EXACTNESS = 1024
# And by no more than a block, in bytes: it is fetched on either side.
INEXACT = BLOCK_SIZE

# Bytes that may be fetched on guesses before any was right, and for each byte that was.
CREDIT = 8 * MiB
RETURN = 2

# After so many runs elsewhere, what was told is not expected any more.
UNTOLD = 4

# Runs that are told ahead at once, at most, and how many steps from one that was read.
MOST_AHEAD = 24
STEPS = 8

# So many places are remembered as read already.
REMEMBERED = 4096


class Runs:
    """The runs of one handle's reads.

    >>> from storagekit.patterns import Runs
    >>> runs = Runs()
    >>> for start in (0, 10_000, 20_000, 30_000, 40_000):
    ...     _ = runs.read(start, start + 100)
    >>> runs.ahead(limit=1_000_000)[:2]
    [(50000, 50100), (60000, 60100)]
    """

    __slots__ = ("_begun", "_credit", "_finished", "_reads", "_run", "_told", "_untold")

    def __init__(self) -> None:
        self._run: Span | None = None
        self._reads = 0
        self._finished: deque[tuple[int, int, int]] = deque(maxlen=LATEST - 1)
        """Start, stop and number of reads of the runs before this one."""
        self._begun: list[int] = []
        """Where runs began, in order of place."""
        self._told: list[Span] = []
        self._untold = 0
        """Runs since the last one that had been told."""
        self._credit = CREDIT

    def read(self, start: int, stop: int) -> int:
        """Note a read of ``[start, stop)``; answer up to where the request for it should go, at least *stop*."""
        if self._run is not None and self._run[0] < start == self._run[1]:
            self._run = (self._run[0], stop)
            self._reads += 1
            if self._reads == 2 and not self._known():
                return stop + min(stop - start, FOLLOW)
            return max(stop, self._run[0] + self._guess())
        if self._run is not None:
            self._finished.append((*self._run, self._reads))
        self._run, self._reads = (start, stop), 1
        if len(self._begun) >= REMEMBERED:  # what is farthest away is needed least
            del self._begun[0 if start - self._begun[0] > self._begun[-1] - start else -1]
        insort(self._begun, start)
        self._settle(start)
        return max(stop, start + self._guess())

    def _guess(self) -> int:
        """How long the whole of a run will be; asked for also where its beginning is here already."""
        return min(LONGEST_GUESS, self._usual_length())

    def _known(self) -> bool:
        """True where the last runs tell how long this one will be: as they were, or one read like each of them."""
        last = [reads for _, _, reads in list(self._finished)[-2:]]
        return len(last) == 2 and (max(last) == 1 or min(last) > 1)

    def _usual_length(self) -> int:
        """How long the last two runs were, if both took several reads; else nothing to go by.

        The longer counts where they are alike, because buffers round what was really read up and down.
        """
        if len(self._finished) < 2:
            return 0
        (start, stop, reads), (begin, end, more) = self._finished[-2], self._finished[-1]
        if reads < 2 or more < 2:
            return 0
        shorter, longer = sorted((stop - start, end - begin))
        return longer if longer <= ALIKE * shorter else shorter

    @property
    def usual(self) -> bool:
        """True while this run is like the ones before it, which ended soon."""
        return self._run is not None and self._run[1] - self._run[0] <= ALIKE * self._usual_length()

    @property
    def told(self) -> bool:
        """True while runs that were told are still to come."""
        return bool(self._told)

    def _settle(self, start: int) -> None:
        """A run begins at *start*. One that was told is to our credit; after a few that were not, all was in vain."""
        for place, (begin, end) in enumerate(self._told):
            if begin <= start < end:
                self._credit += RETURN * _cost(begin, end)
                self._untold = 0
                del self._told[place]
                return
        self._untold += 1
        if self._untold > UNTOLD:
            self._credit -= sum(_cost(begin, end) for begin, end in self._told)
            self._told = []

    def ahead(self, limit: int) -> list[Span]:
        """The byte ranges of runs to come that have not been told yet, the nearest first, none beyond *limit*.

        Asked when a run has just begun; at other times there is nothing new.
        """
        if self._run is None or self._reads > 1 or len(self._finished) < EVIDENCE - 1:
            return []
        known = [(start, stop) for start, stop, _ in self._finished]
        here = self._run[0]
        distance, slack = _distance([*(start for start, _ in known), here])
        if not distance:
            return []
        # How long this run will be is not known yet: as long as any before.
        known.append((here, here + max(stop - start for start, stop in known)))
        paired = [
            (start, stop)
            for start, stop in known
            if any(abs(abs(start - other) - distance) <= slack for other, _ in known)
        ]
        spans = sorted(
            (
                (start + step * distance - slack, stop + step * distance + slack)
                for start, stop in paired
                for step in range(-STEPS, STEPS + 1)
            ),
            key=lambda span: abs(span[0] + slack - here),
        )
        if not self._told:
            self._untold = 0  # counted from here
        outstanding = sum(_cost(begin, end) for begin, end in self._told)
        new: list[Span] = []
        for begin, end in spans:
            begin, end = max(0, begin), min(end, limit)
            if begin >= end or self._was_begun(begin, end) or any(begin < e and b < end for b, e in self._told):
                continue
            outstanding += _cost(begin, end)
            if outstanding > self._credit or len(self._told) >= MOST_AHEAD:
                break
            self._told.append((begin, end))
            new.append((begin, end))
        return new

    def _was_begun(self, begin: int, end: int) -> bool:
        place = bisect_left(self._begun, begin)
        return place < len(self._begun) and self._begun[place] < end


def _cost(begin: int, end: int) -> int:
    """The bytes in the blocks that a range touches, which is what fetching it brings."""
    return (-(-end // BLOCK_SIZE) - begin // BLOCK_SIZE) * BLOCK_SIZE


def _distance(starts: list[int]) -> Span:
    """The distance that lies between most of these places, and how much it differs there; or zeros.

    Of two columns that are read in turns, the distance of the one from the other recurs too, but the distance from one
    row group to the next does so for both.
    """
    distances = sorted(abs(one - other) for one, other in combinations(starts, 2))
    most, found, first = EVIDENCE - 1, (0, 0), 0
    for place, distance in enumerate(distances):
        while distances[first] + min(distances[first] // EXACTNESS, INEXACT) < distance:
            first += 1
        if place - first >= most and distances[first]:
            most, found = place - first + 1, (distances[first], distance - distances[first])
    return found
