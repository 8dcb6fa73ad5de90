"""Sharing: at how many places objects are being scanned, so that the room for read-ahead goes round fairly.

A *place* is an object and a stretch of it as long as the budget: handles that scan the same one read what all of them
can keep, so together they have one share. A handle counts while it reads: one that was left open in the middle of a
scan, or at its end, takes nothing from others after a moment.

Nothing here locks; ``blocks`` holds its lock around every change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

__all__ = ["Place", "Scan", "Scans"]

Place = tuple[Hashable, int]

# A handle that has not read for so long is not in a hurry: at 80 MB/s it would have got 40 MB meanwhile.
ACTIVE_SECONDS = 0.5

# How long a count holds. It is asked for at every read, and with hundreds of handles costs tens of microseconds.
COUNT_SECONDS = 0.05


class Scan:
    """What one handle tells of its scanning."""

    __slots__ = ("last", "place")

    def __init__(self) -> None:
        self.place: Place | None = None
        """Where it reads ahead of itself; None while it does not."""
        self.last = 0.0
        """When it last did, on the clock of ``Scans``."""


class Scans:
    """The places of all handles that scan."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[Place, set[Scan]] = {}
        self._count = 0
        self._counted = float("-inf")

    def read(self, scan: Scan) -> None:
        """The handle reads, wherever it was said to be. Needs no lock."""
        scan.last = self._clock()

    def move(self, scan: Scan, place: Place | None) -> None:
        """The handle scans at *place* now, or, with None, nowhere."""
        if scan.place is not None and (there := self._at.get(scan.place)) is not None:
            there.discard(scan)
            if not there:
                self._at.pop(scan.place, None)
        scan.place = place
        if place is not None:
            self._at.setdefault(place, set()).add(scan)
        self._counted = float("-inf")

    def alone(self, scan: Scan) -> bool:
        """True where the handle scans, and no other at the same place."""
        return scan.place is not None and len(self._at.get(scan.place, ())) == 1

    def count(self) -> int:
        """At how many places somebody has been reading in the last moment."""
        now = self._clock()
        if now - self._counted > COUNT_SECONDS:
            since = now - ACTIVE_SECONDS
            self._count = sum(any(scan.last >= since for scan in there) for there in self._at.values())
            self._counted = now
        return self._count
