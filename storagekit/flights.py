"""Flights: one request in the air, whom it is for, and how its bytes come in.

A ``Source`` is an open reader as the cache sees it. A ``Flight`` is one request for a contiguous run of its blocks:
bookkeeping only, which ``blocks`` reads and changes under its lock. ``Incoming`` is the flight's bytes, received
outside of that lock by the one thread that runs the flight.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Hashable

from storagekit.driver import RangeBody, RangeReader
from storagekit.errors import changed, os_error
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Job

__all__ = ["Block", "Flight", "Incoming", "Source"]

# A body that is cut is asked for again from where it stopped; this often without a single byte of progress.
RESUMES = 3


class Block:
    """Bytes of one block, and whether any read has used them."""

    __slots__ = ("data", "used")

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.used = False


class Source:
    """One open reader, as the cache sees it: where its bytes come from and under which key they are shared."""

    __slots__ = ("flights", "key", "reader", "size", "url")

    def __init__(self, reader: RangeReader, size: int) -> None:
        self.reader = reader
        # With the driver's key goes what the engine knows itself: a driver whose key forgets the version must not get
        # blocks of another one, which may even be too short ever to fill a read.
        own = (size, reader.stat.identity)
        self.key: Hashable = object() if reader.cache_key is None else (reader.cache_key, *own)
        self.size = size
        self.url = str(reader.stat.location)
        self.flights: set[Flight] = set()

    @property
    def shared(self) -> bool:
        """True where other handles may hold the same blocks."""
        return self.reader.cache_key is not None

    def span(self, first: int, count: int) -> int:
        """The bytes in *count* blocks from *first* on; the object's last block is shorter."""
        return max(0, min(self.size, (first + count) * BLOCK_SIZE) - min(self.size, first * BLOCK_SIZE))

    def open_range(self, start: int, stop: int) -> RangeBody:
        """Ask the driver; that the object is gone means that it changed under an open handle."""
        try:
            return self.reader.open_range(start, stop)
        except FileNotFoundError as error:
            raise changed(
                self.url, "The object was removed while it was open; nothing of it can be read any more"
            ) from error


class Flight:
    """One request for the contiguous missing blocks from ``first`` on, and what has come of it."""

    __slots__ = (
        "abandoned",
        "arrival",
        "arrived",
        "count",
        "demand",
        "done",
        "error",
        "first",
        "held",
        "job",
        "source",
        "waiters",
    )

    def __init__(self, source: Source, first: int, count: int, arrival: threading.Condition, demand: bool) -> None:
        self.source = source
        self.first = first
        self.count = count
        self.demand = demand
        self.arrived = 0
        """How many of its blocks have arrived."""
        self.held: dict[int, Block] = {}
        """What arrived while somebody was waiting for it, who takes it from here, evicted again or not."""
        self.arrival = arrival
        """Shares the cache's lock; notified when a block arrived and when the flight is over."""
        self.waiters = 0
        self.abandoned = False
        self.done = False
        self.error: BaseException | None = None
        self.job: Job

    def has(self, index: int) -> bool:
        """True where block *index* of the object has arrived."""
        return index - self.first < self.arrived

    def run(self, first: int, stop: int) -> list[Block]:
        """The blocks from *first* on, at most up to *stop*, that arrived for those who wait."""
        run = []
        while first < stop and (block := self.held.get(first)) is not None:
            block.used = True
            run.append(block)
            first += 1
        return run


class Incoming:
    """The bytes of a range on their way in; a body that is cut goes on through a new request."""

    def __init__(self, source: Source, offset: int, end: int, on_request: Callable[[], None]) -> None:
        self._source = source
        self._offset = offset
        self._end = end
        self._on_request = on_request
        self._body: RangeBody | None = None

    def next_block(self) -> bytearray:
        """The next block, full; only the last of the object is shorter."""
        data = bytearray(min(BLOCK_SIZE, self._end - self._offset))
        view = memoryview(data)
        filled = failures = 0
        while filled < len(data):
            n, cut = self._receive(view[filled:])
            filled += n
            self._offset += n
            failures = 0 if n else failures + 1
            if failures > RESUMES:
                message = f"The store keeps ending its answers early, at byte {self._offset}"
                raise cut or os_error(errno.EIO, self._source.url, message)
        return data

    def _receive(self, view: memoryview) -> tuple[int, OSError | None]:
        """Some bytes; or none, and the error that cut the body, if there was one."""
        if self._body is None:
            self._on_request()
            self._body = self._source.open_range(self._offset, self._end)
        cut = None
        try:
            if n := self._body.readinto(view):
                return n, None
        except OSError as error:
            cut = error
        self.close()
        return 0, cut

    def close(self) -> None:
        """Let go of the body."""
        if self._body is not None:
            body, self._body = self._body, None
            body.close()
