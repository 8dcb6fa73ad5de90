"""Read-ahead: how far to read ahead, and when. Pure arithmetic: no I/O, no threads, no clock.

A window belongs to one handle. It watches the reads that reach the blocks, each a byte range, and
keeps a score of how sequential they are: a read that continues the last one counts ``CONTINUES``, one a
short stride further on counts ``STRIDES`` (the headers of a tar archive), anything else sets it
back to zero. At ``OPENS`` the window opens. The first read of a handle starts with one point if it begins
at the start of the object, as a scan does, and with all of them if it is a long one; so a scan pays for one demand
read before it runs ahead, while random reads, of which hardly ever two in a row are neighbours, never fetch more
than they touch.

An open window asks for ``size`` bytes beyond the last read, and asks again as soon as a request's worth of it has been
consumed, so requests overlap with consumption. It grows whenever the reader had to wait (a *stall*): a consumer
slower than the store never makes it grow, one that is faster gets to the largest in a few round trips. But it runs no
further ahead than ``LEAD`` times what the scan has read already, beyond a start of ``RAMP``: who stops after 10 MiB
has caused 30 MiB to be fetched at most.

How much room there is, and over how many connections a window is to be fetched, is told anew with every call
(``Room``), because other handles come and go.
"""

from __future__ import annotations

from typing import NamedTuple

from storagekit.pace import LARGEST_REQUEST, SMALLEST_REQUEST
from storagekit.settings import BLOCK_SIZE

__all__ = ["CONNECTIONS", "Room", "Window"]

KiB = 1024
MiB = 1024 * KiB

# The first step: at 80 MB/s per connection and 28 ms to the first byte, 1 MiB keeps one connection busy a third
# of the time, and is what is lost at most if the second read was the last one.
FIRST = 1 * MiB

# A longer jump is cheaper to skip than to read: 1 MiB takes 13 ms at 80 MB/s, a new request 28 ms.
STRIDE = 1 * MiB

# With 8 MiB requests, 60 MB/s per connection remain of 80 after the wait: 24 of them are 1.4 GB/s, more than one
# Python process can take in. More would be more threads for the interpreter to switch between.
CONNECTIONS = 24

# What a stall multiplies the window with: 1, 4, 16 MiB are three round trips.
GROWTH = 4
# How large a window may be right away, and how far it may lead from there on, as a multiple of what was read.
RAMP = 16 * MiB
LEAD = 2

# Who begins with a read as long as this goes on: nobody looks at a header with it.
LONG = 1 * MiB

CONTINUES = 2
STRIDES = 1
OPENS = 3


class Room(NamedTuple):
    """What one handle may use at this moment."""

    most: int
    """The largest window, in bytes."""
    connections: int = CONNECTIONS
    """How many requests a full window is to be."""
    request: int = LARGEST_REQUEST
    """The largest request, in bytes."""


class Window:
    """How far one handle reads ahead.

    >>> from storagekit.readahead import Room, Window
    >>> window, room = Window(), Room(most=1 << 26)
    >>> end = 1 << 30
    >>> window.read(0, 65536, limit=end, room=room)       # the start of the object: nothing yet
    >>> window.read(65536, 131072, limit=end, room=room)  # it goes on: this read, and 1 MiB beyond
    (65536, 1179648)
    """

    __slots__ = (
        "_began",
        "_eager",
        "_passed",
        "_promised",
        "_requested",
        "_score",
        "_stop",
        "_used",
        "moved",
        "request",
        "size",
    )

    def __init__(self, *, eager: bool = False) -> None:
        """*eager*: whoever reads has said that it will be sequential, so the window is open wherever they are."""
        self._eager = eager
        self._stop: int | None = None
        self._score = 0
        self._began = 0
        self._passed = 0
        self._promised = 0
        self._requested = 0
        self._used = 0
        self.moved = False
        """True once it has opened anew elsewhere, and what was requested before is of no use. The caller resets it."""
        self.size = 0
        """Bytes to have requested beyond the last read; 0 while the reads are not sequential."""
        self.request = SMALLEST_REQUEST
        """How large one request is to be, in bytes, so that a window is fetched over several connections."""

    def read(self, start: int, stop: int, *, limit: int, room: Room, hold: bool = False) -> tuple[int, int] | None:
        """Note a read of ``[start, stop)``; answer the byte range to request now, or None.

        The range may begin inside the read itself, where that is not requested yet; whoever fetches
        skips what is there already. Nothing at or beyond *limit* is asked for (the object's end, or the
        end of a known long read). On *hold* it does not open: this is not the beginning of a scan.
        """
        self._judge(start, stop)
        self._stop = stop
        if self._score < OPENS or (hold and not self.size):
            self.size = 0
            return None
        if not self.size:
            self.size = FIRST
            self._began = self._requested = start
            self._passed = self._used = 0
        self._used += stop - start
        self.size = min(self.size, room.most, max(RAMP, LEAD * (stop - self._began), self._promised - stop))
        # Where there is not even room for two requests, smaller ones.
        least = max(BLOCK_SIZE, min(SMALLEST_REQUEST, room.most // 2))
        self.request = max(least, min(room.request, self.size // room.connections))
        self._requested = max(self._requested, start)
        ahead = self._requested - stop
        if self.size <= 0 or (ahead > self.size // 2 and ahead + self.request > self.size):
            return None
        begin = self._requested
        # Whole requests: what is left over is asked for with the next.
        whole = max(1, (stop + self.size - begin) // self.request) * self.request
        end = min(begin + whole, stop + self.size, limit)
        self._requested = max(begin, end)
        return (begin, end) if begin < end else None

    def _judge(self, start: int, stop: int) -> None:
        last = self._stop
        if self._eager:
            self._score = OPENS
            if self.size and not self.leads_to(start):
                self.size = 0  # it opens anew, where the reads are now
                self.moved = True
        elif last is None:
            self._score = (OPENS if stop >= LONG else 1) if start == 0 else 0
        elif start == last:
            self._score += CONTINUES
        elif last < start <= max(last + STRIDE, self._requested if self.size else 0):
            self._score += STRIDES
            if start - last > STRIDE:
                # What was requested is there to be read on, but if most of it is jumped over, this is no scan.
                self._passed += start - last
                if self._passed > RAMP + LEAD * self._used:
                    self._score = 0
        elif not (self.size and last - STRIDE <= start < last):  # a short step back keeps an open window
            self._score = 0

    def leads_to(self, start: int) -> bool:
        """True where a read from *start* on is one of those that the window was opened for."""
        last = self._stop
        return self.size > 0 and last is not None and last - STRIDE <= start <= max(last + STRIDE, self._requested)

    def expects(self, start: int) -> bool:
        """True where a read from *start* on would go on with a scan that is under way."""
        return self.size > 0 and self._stop is not None and 0 <= start - self._stop <= STRIDE

    def granted(self, stop: int) -> None:
        """Only the bytes up to *stop* could be requested; the rest will be asked for again."""
        self._requested = min(self._requested, stop)

    def stalled(self) -> None:
        """The reader had to wait for its bytes: grow, if the window is open."""
        self.size *= GROWTH

    def open_wide(self, start: int, size: int) -> None:
        """So many bytes will be read from *start* on: have them requested at once."""
        if not self.leads_to(start):
            self.moved = self.size > 0
            self._began = self._requested = start
            self._passed = self._used = self.size = 0
        self._stop = start
        self._score = OPENS
        self._promised = start + size
        self.size = max(self.size, size)
