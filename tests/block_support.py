"""What the tests of blocks, flights, streams and fillings share: an object that can be told to misbehave, an engine."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Hashable

from storagekit.blocks import BlockCache, CacheInfo
from storagekit.driver import RangeBody, RangeReader, Stat
from storagekit.flights import Source
from storagekit.location import Location
from storagekit.segments import ReadyBlocks
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Job, Reaper, Transfers

__all__ = [
    "DATA",
    "GUARD",
    "LOCATION",
    "PIECE",
    "Engine",
    "MiB",
    "Object",
    "Queued",
    "Stalled",
    "Thread",
    "blocks",
    "check_ready",
    "hold",
    "waiters",
    "waiting",
]

MiB = 1024 * 1024

# How long a test waits for what must happen before it calls it a failure.
GUARD = 10.0

# How many blocks come in one piece with the budget that an engine has here unless told otherwise.
PIECE = 4

DATA = random.Random(7).randbytes(40 * BLOCK_SIZE + 1234)
LOCATION = Location("toy", "box", "key")


class Object(RangeReader):
    """An object that keeps a list of what is asked of it and can be told to misbehave.

    ``on_open`` is called before a range is answered and may raise or wait; ``on_read`` before every
    readinto, with the offset: it may raise or wait, or answer how many bytes there are at most, 0 for an early end.
    """

    def __init__(self, data: bytes = DATA, *, key: Hashable = "key", head: int = 0, size: int | None = None) -> None:
        self.data = data
        self.stat = Stat(LOCATION, size=len(data) if size is None else size)
        self.head = data[:head]
        self.cache_key = key
        self.requests: list[tuple[int, int]] = []
        self.bodies = 0
        self.on_open: Callable[[int, int], None] = lambda start, stop: None
        self.on_read: Callable[[int], int | None] = lambda offset: None
        self.on_close: Callable[[], None] = lambda: None

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        assert 0 <= start < stop <= (self.stat.size or 0)
        self.requests.append((start, stop))
        self.on_open(start, stop)
        self.bodies += 1
        return ObjectBody(self, start, stop)

    @property
    def asked(self) -> int:
        """The bytes that were asked for."""
        return sum(stop - start for start, stop in self.requests)


class ObjectBody(RangeBody):
    def __init__(self, whole: Object, start: int, stop: int) -> None:
        self._whole = whole
        self._at = start
        self._stop = stop
        self._open = True

    def readinto(self, view: memoryview, /) -> int:
        assert self._open
        limit = self._whole.on_read(self._at)
        count = min(len(view), self._stop - self._at)
        if limit is not None:
            count = min(count, limit)
        view[:count] = self._whole.data[self._at : self._at + count]
        self._at += count
        return count

    def close(self) -> None:
        if self._open:
            self._open = False
            self._whole.bodies -= 1
            self._whole.on_close()


class Engine:
    """A cache with its threads and its reaper."""

    def __init__(self, budget: int = 16 * MiB, threads: int = 4) -> None:
        self.transfers = Transfers(threads)
        self.reaper = Reaper()
        self.cache = BlockCache(budget, self.transfers)
        self.sources: list[Source] = []

    def open(self, whole: Object) -> Source:
        source = Source(whole, whole.stat.size or 0)
        self.cache.attach(source)
        self.sources.append(source)
        return source

    def read(self, source: Source, first: int = 0, stop: int | None = None) -> bytes:
        """The bytes of blocks *first* to *stop*, as a reader takes them."""
        stop = -(-source.size // BLOCK_SIZE) if stop is None else stop
        parts: list[bytes] = []
        while first < stop:
            run, _ = self.cache.take(source, first, stop)
            assert run
            for segment in run:
                assert segment.first <= first < segment.stop
                end = min(stop, segment.stop)
                parts.append(bytes(segment.data[(first - segment.first) * BLOCK_SIZE :][: (end - first) * BLOCK_SIZE]))
                first = end
        return b"".join(parts)

    @property
    def info(self) -> CacheInfo:
        return self.cache.info()

    def check_books(self) -> None:
        """What the books say is what is there."""
        cache = self.cache
        with cache.lock:
            check_ready(cache._ready)
            flights = {flight for source in self.sources for flight in source.flights}
            assert flights >= set(cache._pending.values())
            assert not any(flight.done for flight in flights)
            # One that was given up holds its bytes until it has run to its end, overtaken or not.
            assert cache._pending_bytes == sum(
                flight.source.span(flight.first + flight.arrived, flight.count - flight.arrived) for flight in flights
            )
            assert all(flight.waiters >= 0 for flight in flights)
            # Each handle that scans is listed at its place, and no other.
            places = {source.scan: source.scan.place for source in self.sources if source.scan.place is not None}
            assert {scan: place for place, there in cache._scans._at.items() for scan in there} == places

    def settle(self) -> None:
        """Wait until nothing is under way, and look at the books."""
        self.transfers.close()
        self.check_books()
        assert self.info.in_flight == 0
        assert not self.cache._pending


class Stalled:
    """Bodies wait at their first byte until ``go``; ``begun`` tells that one does."""

    def __init__(self, whole: Object, at: Callable[[int], bool] = lambda offset: True) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self._at = at
        whole.on_read = self._wait

    def _wait(self, offset: int) -> None:
        if self._at(offset):
            self.begun.set()
            assert self.go.wait(GUARD)


def hold(go: threading.Event) -> None:
    assert go.wait(GUARD)


def blocks(first: int, stop: int) -> bytes:
    return DATA[first * BLOCK_SIZE : stop * BLOCK_SIZE]


class Thread(threading.Thread):
    """A thread that tells its result, or raises what ended it."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._value: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        self.join(GUARD)
        assert not self.is_alive(), "hangs"
        if self._error is not None:
            raise self._error
        return self._value


def waiting(flights: Callable[[], int], count: int) -> None:
    """Wait until *count* waiters are on the books; nobody announces that."""
    pause = threading.Event()
    for _ in range(int(GUARD * 1000)):
        if flights() >= count:
            return
        pause.wait(0.001)
    raise AssertionError("nobody waits")


def waiters(engine: Engine) -> int:
    with engine.cache.lock:
        return sum(flight.waiters for flight in set(engine.cache._pending.values()))


class Queued(Transfers):
    """Threads that work when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)


def check_ready(ready: ReadyBlocks) -> None:
    """Every block is held once and found; what was passed is there; sizes add up."""
    segments = list({id(s): s for s in ready._of_block.values()}.values())  # looking into an LRU would be a use
    held = {(s.key, index): s for s in segments for index in range(s.first, s.stop)}
    assert ready._of_block == held
    assert {(s.key, s.first) for s in segments} == set(ready._segments)
    assert len(held) == sum(s.stop - s.first for s in segments)
    assert ready.size == sum(len(s.data) for s in segments)
    assert set(ready._passed) <= set(ready._segments)
