"""Flights: one request in the air, whom it is for, and how its bytes come in.

A ``Source`` is an open reader as the cache sees it. A ``Flight`` is one request for a contiguous run of its blocks:
bookkeeping only, which ``blocks`` reads and changes under its lock. ``Incoming`` is the flight's bytes, received
outside of that lock by the one thread that runs the flight.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Hashable

from storagekit.buffers import Buffers
from storagekit.driver import RangeBody, RangeReader
from storagekit.errors import changed, os_error
from storagekit.once import Bell
from storagekit.pace import Pace
from storagekit.segments import Segment
from storagekit.settings import BLOCK_SIZE
from storagekit.sharing import Scan
from storagekit.transfers import Job

__all__ = ["Flight", "Incoming", "Source"]

# A body that is cut is asked for again from where it stopped; this often without a single byte of progress.
RESUMES = 3

# So much is received at once. Drivers often receive into a buffer of their own first, which at this size stays in the
# processor's cache and in the allocator's hands: at 8 MiB the same bytes cost twice as much.
RECEIVE = 1024 * 1024

# Where bodies are cut, what a driver had of a receive that failed is lost, so there less is asked for at once: else a
# store that cuts every answer after some hundred KiB would never get a byte through.
RECEIVE_AFTER_CUT = 64 * 1024

# A body that goes on for ever is weighed in every so many bytes.
SAMPLE = 8 * 1024 * 1024


class Source:
    """One open reader, as the cache sees it: where its bytes come from and under which key they are shared."""

    __slots__ = ("attached", "flights", "key", "pace", "reader", "scan", "size", "url")

    def __init__(self, reader: RangeReader, size: int) -> None:
        self.reader = reader
        # With the driver's key goes what the engine knows itself: a driver whose key forgets the version must not get
        # blocks of another one, which may even be too short ever to fill a read.
        own = (size, reader.stat.identity)
        self.key: Hashable = object() if reader.cache_key is None else (reader.cache_key, *own)
        self.size = size
        self.url = str(reader.stat.location)
        self.attached = False
        """True while its handle is one of the cache's."""
        self.flights: set[Flight] = set()
        self.scan = Scan()
        """Where its handle reads ahead of itself."""
        self.pace = Pace()
        """How fast the store answers; the cache gives all sources of one container the same."""

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
        "asked_for",
        "count",
        "counted",
        "demand",
        "done",
        "error",
        "first",
        "held",
        "incoming",
        "job",
        "overdue",
        "source",
        "waiters",
        "wanted",
    )

    def __init__(self, source: Source, first: int, count: int, wanted: int) -> None:
        self.source = source
        self.first = first
        self.count = count
        self.wanted = wanted
        """Up to which block a read asked for it; the rest is ahead of any read."""
        self.demand = wanted > first
        self.asked_for = self.demand
        """True where a read asked for it, though perhaps not to wait at once: a jump of the handle does not end it."""
        self.arrived = 0
        """How many of its blocks have arrived."""
        self.held: list[Segment] = []
        """What arrived while somebody was waiting for it, who takes it from here, evicted again or not."""
        self.arrival = Bell()
        """Rung, under the cache's lock, when a block arrived and when the flight is over."""
        self.waiters = 0
        self.counted = 0
        """Bytes that the cache counts as on their way because of it."""
        self.abandoned = False
        self.overdue = False
        """True once its answer was given up waiting for, and its blocks may be asked for again beside it."""
        self.done = False
        self.incoming: Incoming | None = None
        """Its bytes, once it has started."""
        self.error: BaseException | None = None
        self.job: Job

    @property
    def in_charge(self) -> bool:
        """True while what is pending in it is not to be asked for by others."""
        return not self.abandoned and not self.overdue

    def unanswered(self) -> float:
        """For how many seconds its request has been waiting for an answer; 0.0 if it is not waiting for one."""
        asked = None if self.incoming is None else self.incoming.asked  # once: the flight's thread changes it
        return 0.0 if asked is None else time.perf_counter() - asked

    def has(self, index: int) -> bool:
        """True where block *index* of the object has arrived."""
        return index - self.first < self.arrived

    def brings(self, index: int) -> bool:
        """True while block *index* of the object, which is one of its own, may still arrive."""
        return not self.has(index) and not self.done

    def leave(self) -> None:
        """One who waited has taken what there was; what nobody waits for lives on in the cache, or not at all."""
        self.waiters -= 1
        if not self.waiters and not self.demand:
            self.held.clear()

    def run(self, first: int, stop: int) -> list[Segment]:
        """What holds the blocks from *first* on, at most up to *stop*, of what arrived for those who wait."""
        run = []
        for segment in self.held:
            if segment.first <= first < segment.stop and first < stop:
                segment.use(first, stop)
                run.append(segment)
                first = segment.stop
        return run


class Incoming:
    """The bytes of a range on their way in; a body that is cut goes on through a new request."""

    def __init__(self, source: Source, offset: int, end: int, on_request: Callable[[], None]) -> None:
        self._source = source
        self._offset = offset
        self._end = end
        self._on_request = on_request
        self._body: RangeBody | None = None
        self._most = RECEIVE
        self.asked: float | None = None
        """When the request was sent that has no answer yet, on the clock of ``time.perf_counter``."""
        self._first_byte = 0.0
        self._seconds = 0.0
        self._received = 0

    @property
    def left(self) -> int:
        """Bytes of the range that have not been received."""
        return self._end - self._offset

    def next_piece(self, size: int, buffers: Buffers) -> bytearray:
        """The next *size* bytes, or what is left, in a buffer of their own."""
        data = buffers.take(min(size, self.left))
        with memoryview(data) as view:
            self.fill(view)
        return data

    def fill(self, view: memoryview) -> None:
        """Fill *view* with the next bytes, of which there must be as many."""
        filled = failures = 0
        while filled < len(view):
            n, cut = self._receive(view[filled : filled + self._most])
            filled += n
            self._offset += n
            failures = 0 if n else failures + 1
            if failures > RESUMES:
                message = f"The store keeps ending its answers early, at byte {self._offset}"
                if cut is None or cut.filename is None:  # a driver's bare error says neither what nor where
                    number = errno.EIO if cut is None or cut.errno is None else cut.errno
                    raise os_error(number, self._source.url, message) from cut
                raise cut

    def open(self) -> RangeBody:
        """Ask for what is left and wait for the answer, unless that is there."""
        if self._body is None:
            self._on_request()
            self.asked = time.perf_counter()
            self._body = self._source.open_range(self._offset, self._end)
            self._first_byte = time.perf_counter() - self.asked
            self.asked = None
        return self._body

    def _receive(self, view: memoryview) -> tuple[int, OSError | None]:
        """Some bytes; or none, and the error that cut the body, if there was one."""
        body = self.open()
        before = time.perf_counter()
        cut = None
        try:
            if n := body.readinto(view):
                self._seconds += time.perf_counter() - before
                self._received += n
                if self._received >= SAMPLE:
                    self._note()
                return n, None
        except OSError as error:
            cut = error
            self._most = RECEIVE_AFTER_CUT
        self.close()
        return 0, cut

    def _note(self) -> None:
        self._source.pace.note(self._first_byte, self._received, self._seconds)
        self._received, self._seconds = 0, 0.0

    def close(self) -> None:
        """Let go of the body, and note how fast it came."""
        if self._body is not None:
            self._note()
            body, self._body = self._body, None
            body.close()
