"""blocks: each block is fetched once, nobody waits for ever, and the books balance whatever happens."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import random
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.blocks import BlockCache, CacheInfo
from storagekit.driver import RangeBody, RangeReader, Stat
from storagekit.errors import ObjectChangedError, changed
from storagekit.flights import RESUMES, Flight, Source
from storagekit.location import Location
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Job, Reaper, Transfers

MiB = 1024 * 1024

# How long a test waits for what must happen before it calls it a failure.
GUARD = 10.0

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
        self.cache = BlockCache(budget, self.transfers, self.reaper)
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
            assert 0 < len(run) <= stop - first
            parts += [bytes(block.data) for block in run]
            first += len(run)
        return b"".join(parts)

    @property
    def info(self) -> CacheInfo:
        return self.cache.info()

    def check_books(self) -> None:
        """What the books say is what is there."""
        cache = self.cache
        with cache.lock:
            assert cache._ready.currsize == sum(len(block.data) for block in cache._ready.values())
            flights = {flight for source in self.sources for flight in source.flights}
            assert flights >= set(cache._pending.values())
            assert not any(flight.done for flight in flights)
            # One that was given up holds its bytes until it has run to its end, overtaken or not.
            assert cache._pending_bytes == sum(
                flight.source.span(flight.first + flight.arrived, flight.count - flight.arrived) for flight in flights
            )

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


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


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


# -- one flight for everyone -------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["one handle each", "one handle for all"])
def test_32_threads_fetch_each_block_once(engine: Engine, shared: bool) -> None:
    whole = Object()
    start, count = threading.Barrier(32), -(-len(DATA) // BLOCK_SIZE)
    common = engine.open(whole)

    def work(n: int) -> bytes:
        source = engine.open(whole) if shared else common
        start.wait(GUARD)
        middle = n * count // 32
        tail = engine.read(source, middle)
        return engine.read(source, 0, middle) + tail

    for thread in [Thread(lambda n=n: work(n)) for n in range(32)]:  # type: ignore[misc]
        assert thread.result() == DATA
    per_block = Counter(
        index for start, stop in whole.requests for index in range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE))
    )
    assert per_block == Counter(range(count))
    assert whole.asked == len(DATA)
    assert engine.info.fetched == len(DATA)
    assert engine.info.requests == len(whole.requests)
    assert whole.bodies == 0


def test_a_key_that_forgets_the_version_serves_no_bytes_of_another(engine: Engine) -> None:
    for data in (DATA[:100], DATA, DATA[: 3 * BLOCK_SIZE + 1]):
        source = engine.open(Object(data, key="the same for every version"))
        assert engine.read(source, 0) == data


def test_one_who_waits_gets_a_block_as_soon_as_it_is_full(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset >= 2 * BLOCK_SIZE)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, 8 * BLOCK_SIZE)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    assert stalled.begun.wait(GUARD)
    assert engine.info.in_flight == 6 * BLOCK_SIZE
    stalled.go.set()
    assert engine.read(source, 0, 8) == blocks(0, 8)
    assert whole.requests == [(0, 8 * BLOCK_SIZE)]


def test_a_claim_ends_where_another_is_in_charge(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset == 4 * BLOCK_SIZE)
    engine.cache.ahead(source, 4 * BLOCK_SIZE, 6 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    assert engine.read(source, 0, 4) == blocks(0, 4)
    reader = Thread(lambda: engine.read(source, 0, 10))
    waiting(lambda: waiters(engine), 1)
    stalled.go.set()
    assert reader.result() == blocks(0, 10)
    assert sorted(whole.requests) == [(a * BLOCK_SIZE, b * BLOCK_SIZE) for a, b in ((0, 4), (4, 6), (6, 10))]


def test_what_waits_in_the_queue_is_run_by_whoever_needs_it() -> None:
    engine = Engine(threads=1)
    go = threading.Event()
    engine.transfers.submit(Job(lambda: hold(go)))
    whole = Object()
    source = engine.open(whole)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert whole.requests == []
    assert engine.read(source, 0, 4) == blocks(0, 4)
    assert whole.requests == [(0, 4 * BLOCK_SIZE)]
    go.set()
    engine.settle()
    assert len(whole.requests) == 1


def test_the_driver_is_never_called_under_the_lock(engine: Engine) -> None:
    engine = Engine(threads=1)
    engine.transfers.close()  # everything in this thread
    whole, seen = Object(), []

    def free(name: str) -> None:
        assert engine.cache.lock.acquire(blocking=False), name
        engine.cache.lock.release()
        seen.append(name)

    whole.on_open = lambda start, stop: free("open")
    whole.on_read = lambda offset: free("read")
    whole.on_close = lambda: free("close")
    source = engine.open(whole)
    engine.cache.ahead(source, 0, 2 * BLOCK_SIZE, MiB)
    engine.read(source)
    engine.cache.release(source)
    assert set(seen) == {"open", "read", "close"}


# -- the budget --------------------------------------------------------------------------------------------


def test_read_ahead_takes_the_room_there_is_and_no_more() -> None:
    engine = Engine(budget=10 * BLOCK_SIZE + 5)
    whole = Object()
    source = engine.open(whole)
    engine.read(source, 30, 38)
    assert engine.info.cached == 8 * BLOCK_SIZE
    stalled = Stalled(whole)
    engine.cache.ahead(source, 0, 30 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    info = engine.info
    assert info.in_flight == 10 * BLOCK_SIZE
    assert info.cached + info.in_flight <= info.budget
    # Nothing is left for more ahead, but a demand is granted.
    engine.cache.ahead(source, 20 * BLOCK_SIZE, 30 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    assert engine.info.in_flight == 10 * BLOCK_SIZE
    whole.on_read = lambda offset: None
    assert engine.read(source, 35, 37) == blocks(35, 37)
    stalled.go.set()
    engine.settle()
    assert engine.info.cached <= engine.info.budget


@pytest.mark.parametrize("budget", [0, 10 * 1024, BLOCK_SIZE - 1, BLOCK_SIZE, 3 * BLOCK_SIZE])
@pytest.mark.parametrize("threads", [1, 8])
def test_a_demand_is_granted_whatever_the_budget(budget: int, threads: int) -> None:
    engine = Engine(budget=budget)
    whole = Object()

    def work() -> bytes:
        source = engine.open(whole)
        engine.cache.ahead(source, 0, len(DATA), MiB)
        return engine.read(source)

    for thread in [Thread(work) for _ in range(threads)]:
        assert thread.result() == DATA
    engine.settle()
    assert engine.info.cached <= budget
    if threads == 1:
        assert whole.asked <= len(DATA) + budget


operations = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 40), st.integers(1, 12)),
    st.tuples(st.just("ahead"), st.integers(0, 1), st.integers(0, 40), st.integers(1, 30)),
    st.tuples(st.just("abandon"), st.integers(0, 1), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("drop"), st.integers(0, 1), st.integers(0, 40), st.integers(1, 30)),
    st.tuples(st.just("work"), st.just(0), st.just(0), st.integers(1, 5)),
    st.tuples(st.just("clear"), st.just(0), st.just(0), st.just(0)),
)


class Queued(Transfers):
    """Threads that work when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 20 * BLOCK_SIZE), st.lists(operations, max_size=40), st.booleans())
def test_the_books_balance_whatever_is_done(budget: int, steps: list[tuple[str, int, int, int]], shared: bool) -> None:
    engine, queue = Engine(budget=budget), Queued()
    engine.cache._transfers = queue
    wholes = [Object(key="key" if shared else None) for _ in range(2)]
    sources = [engine.open(whole) for whole in wholes]
    for step, handle, first, count in steps:
        source, stop = sources[handle], min(first + count, 41)
        if step == "read":
            assert engine.read(source, first, stop) == blocks(first, stop)
        elif step == "ahead":
            before = engine.info
            engine.cache.ahead(source, first * BLOCK_SIZE, stop * BLOCK_SIZE, 3 * BLOCK_SIZE)
            after = engine.info
            assert after.in_flight == before.in_flight or after.cached + after.in_flight <= budget
        elif step == "abandon":
            engine.cache.abandon(source, first)
        elif step == "drop":
            engine.cache.drop_behind(source, first, stop)
        elif step == "work":
            for job in queue.jobs[:count]:
                job.run()
            del queue.jobs[:count]
        else:
            engine.cache.clear()
        engine.check_books()
        assert engine.info.cached + engine.info.in_flight <= budget or engine.info.cached == 0
    for source in sources:
        engine.cache.release(source)
    for job in queue.jobs:
        job.run()
    engine.settle()
    info = engine.info
    assert info.fetched == sum(whole.asked for whole in wholes)
    assert info.requests == sum(len(whole.requests) for whole in wholes)
    assert info.unused + info.cached <= info.fetched or shared
    assert not any(source.flights for source in sources)


def test_a_block_that_is_evicted_stays_whole_for_whoever_copies_from_it() -> None:
    engine = Engine(budget=2 * BLOCK_SIZE)
    source = engine.open(Object())
    run, _ = engine.cache.take(source, 0, 2)
    engine.read(source, 2)
    engine.cache.clear()
    assert b"".join(bytes(block.data) for block in run) == blocks(0, 2)
    engine.settle()


def test_reads_under_constant_eviction_are_right() -> None:
    engine = Engine(budget=3 * BLOCK_SIZE, threads=8)
    whole = Object()

    def work(seed: int) -> None:
        source, chosen = engine.open(whole), random.Random(seed)
        for _ in range(40):
            first = chosen.randrange(40)
            stop = min(41, first + chosen.randrange(1, 6))
            if chosen.random() < 0.3:
                engine.cache.ahead(source, first * BLOCK_SIZE, (first + 10) * BLOCK_SIZE, 2 * BLOCK_SIZE)
            if chosen.random() < 0.2:
                engine.cache.abandon(source, first)
            assert engine.read(source, first, stop) == blocks(first, stop)
        engine.cache.release(source)

    for thread in [Thread(lambda n=n: work(n)) for n in range(8)]:  # type: ignore[misc]
        thread.result()
    engine.settle()
    assert engine.info.cached <= engine.info.budget
    assert whole.bodies == 0


def test_what_was_read_is_let_go_of_without_the_garbage_collector() -> None:
    engine = Engine(budget=0)
    source = engine.open(Object())
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            engine.read(source)
        left = [one for one in gc.get_objects() if isinstance(one, Flight) and one.source is source]
        assert left == []
    finally:
        gc.enable()
    engine.settle()


def test_a_failed_read_is_let_go_of_as_well() -> None:
    engine, whole = Engine(), Object()

    def fail(start: int, stop: int) -> None:
        raise OSError(errno.EIO, "no", "toy://box/key")

    whole.on_open = fail
    source = engine.open(whole)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(OSError):
                engine.read(source)
        # pytest.raises keeps the last traceback for a moment; what is not reachable from it is gone.
        assert sum(isinstance(one, Flight) and one.source is source for one in gc.get_objects()) <= 1
    finally:
        gc.enable()
    engine.settle()


# -- giving up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["abandon", "release"])
def test_a_flight_that_somebody_waits_for_is_never_given_up(engine: Engine, how: str) -> None:
    mine, other = Object(), Object()
    source, second = engine.open(mine), engine.open(other)
    stalled = Stalled(mine)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    reader = Thread(lambda: engine.read(second, 0, 4))
    waiting(lambda: waiters(engine), 1)
    if how == "abandon":
        engine.cache.abandon(source, keep=30)
    else:
        engine.cache.release(source)
    stalled.go.set()
    assert reader.result() == blocks(0, 4)
    assert mine.requests == [(0, 4 * BLOCK_SIZE)]
    assert other.requests == []


def test_a_block_pending_in_a_given_up_flight_counts_as_missing(engine: Engine) -> None:
    mine, other = Object(), Object()
    source, second = engine.open(mine), engine.open(other)
    stalled = Stalled(mine)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.abandon(source, keep=30)
    # The given-up flight hangs still; neither a demand nor read-ahead waits for it.
    assert engine.read(second, 0, 2) == blocks(0, 2)
    engine.cache.ahead(second, 2 * BLOCK_SIZE, 4 * BLOCK_SIZE, MiB)
    assert engine.read(second, 0, 4) == blocks(0, 4)
    assert other.requests == [(0, 2 * BLOCK_SIZE), (2 * BLOCK_SIZE, 4 * BLOCK_SIZE)]
    assert engine.info.in_flight > 0
    stalled.go.set()


def test_a_given_up_flight_stops_at_its_next_block(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset == 2 * BLOCK_SIZE)
    engine.cache.ahead(source, 0, 20 * BLOCK_SIZE, 2 * MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.abandon(source, keep=30)
    stalled.go.set()
    engine.transfers.close()
    assert engine.info.in_flight == 0
    assert engine.info.fetched == 3 * BLOCK_SIZE
    assert whole.bodies == 0


def test_the_flight_with_the_block_that_is_wanted_is_kept(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    assert stalled.begun.wait(GUARD)
    engine.cache.abandon(source, keep=5)
    stalled.go.set()
    engine.transfers.close()
    assert engine.read(source, 4, 8) == blocks(4, 8)
    assert (4 * BLOCK_SIZE, 8 * BLOCK_SIZE) in whole.requests
    assert engine.info.misses == 0


def test_a_flight_given_up_in_the_queue_asks_for_nothing_and_leaves_no_trace() -> None:
    engine, queue = Engine(), Queued()
    engine.cache._transfers = queue
    whole = Object()
    source = engine.open(whole)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    engine.cache.abandon(source, keep=30)
    assert engine.info.in_flight == 8 * BLOCK_SIZE
    for job in queue.jobs:
        job.run()
    assert whole.requests == []
    assert not source.flights
    engine.settle()


def test_a_waiter_asks_itself_when_the_flight_of_another_handle_failed(engine: Engine) -> None:
    mine, other = Object(), Object()
    source, second = engine.open(mine), engine.open(other)
    begun, go = threading.Event(), threading.Event()

    def fail(offset: int) -> None:
        begun.set()
        assert go.wait(GUARD)
        raise RuntimeError("this handle's connection is closed")

    mine.on_read = fail
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert begun.wait(GUARD)
    reader = Thread(lambda: engine.read(second, 0, 4))
    waiting(lambda: waiters(engine), 1)
    go.set()
    assert reader.result() == blocks(0, 4)
    assert other.requests == [(0, 4 * BLOCK_SIZE)]


def test_an_error_reaches_everyone_who_waits_on_that_handle(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    begun, go = threading.Event(), threading.Event()
    error = changed(LOCATION)

    def fail(start: int, stop: int) -> None:
        begun.set()
        assert go.wait(GUARD)
        raise error

    whole.on_open = fail
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert begun.wait(GUARD)
    readers = [Thread(lambda: engine.read(source, 0, 4)) for _ in range(5)]
    waiting(lambda: waiters(engine), 5)
    go.set()
    for reader in readers:
        with pytest.raises(ObjectChangedError) as caught:
            reader.result()
        assert caught.value is error
    assert len(whole.requests) == 1


def test_an_error_ahead_of_the_reader_is_forgotten_until_it_gets_there(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    failures = [OSError(errno.EIO, "once", "toy://box/key")]

    def fail_once(start: int, stop: int) -> None:
        if failures:
            raise failures.pop()

    whole.on_open = fail_once
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    engine.transfers.close()
    assert not source.flights
    assert engine.read(source, 0, 4) == blocks(0, 4)
    assert len(whole.requests) == 2


# -- interruptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["open", "read", "close"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError])
def test_an_interrupted_demand_leaves_nothing_pending(engine: Engine, where: str, kind: type[BaseException]) -> None:
    whole = Object()
    source = engine.open(whole)
    armed = [True]

    def interrupt(*args: int) -> None:
        if armed:
            armed.clear()
            raise kind

    if where == "open":
        whole.on_open = interrupt
    elif where == "read":
        whole.on_read = lambda offset: interrupt() if offset >= 2 * BLOCK_SIZE else None
    else:
        whole.on_close = interrupt
    try:
        engine.read(source, 0, 8)
    except kind:
        pass
    assert not armed
    assert engine.info.in_flight == 0
    assert not engine.cache._pending
    assert not source.flights
    assert Thread(lambda: engine.read(source, 0, 8)).result() == blocks(0, 8)


def test_an_interruption_of_one_thread_is_not_raised_in_another(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    begun, go = threading.Event(), threading.Event()

    def interrupt(offset: int) -> None:
        begun.set()
        assert go.wait(GUARD)
        whole.on_read = lambda offset: None
        raise KeyboardInterrupt

    whole.on_read = interrupt
    first = Thread(lambda: engine.read(source, 0, 4))
    assert begun.wait(GUARD)
    second = Thread(lambda: engine.read(source, 0, 4))
    waiting(lambda: waiters(engine), 1)
    go.set()
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() == blocks(0, 4)


def test_read_ahead_that_is_interrupted_while_it_is_handed_over_leaves_nothing_pending() -> None:
    engine, whole = Engine(), Object()

    class Interrupted(Queued):
        def submit(self, job: Job) -> None:
            if self.jobs:
                raise KeyboardInterrupt
            super().submit(job)

    engine.cache._transfers = Interrupted()
    source = engine.open(whole)
    with pytest.raises(KeyboardInterrupt):
        engine.cache.ahead(source, 0, 12 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    engine.settle()
    assert whole.requests == []
    assert engine.read(source, 0, 12) == blocks(0, 12)


# -- bodies that are cut -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, ConnectionResetError(errno.ECONNRESET, "reset", "toy://box/key")])
def test_a_cut_body_goes_on_where_it_stopped(engine: Engine, end: OSError | None) -> None:
    whole, cuts = Object(), [100, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 77]

    def cut(offset: int) -> int:
        if cuts and offset == cuts[0]:
            del cuts[0]
            if end is not None:
                raise end
            return 0
        return cuts[0] - offset if cuts and offset < cuts[0] else BLOCK_SIZE

    whole.on_read = cut
    source = engine.open(whole)
    assert engine.read(source, 0, 5) == blocks(0, 5)
    stop = 5 * BLOCK_SIZE
    assert whole.requests == [(at, stop) for at in (0, 100, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 77)]
    assert engine.info.fetched == stop
    assert engine.info.requests == 5
    assert whole.bodies == 0


def test_a_body_that_trickles_is_one_request(engine: Engine) -> None:
    whole = Object()
    whole.on_read = lambda offset: 997
    assert engine.read(engine.open(whole), 0, 3) == blocks(0, 3)
    assert whole.requests == [(0, 3 * BLOCK_SIZE)]


def test_progress_however_small_earns_new_tries(engine: Engine) -> None:
    whole, given_out = Object(), Counter[int]()

    def mostly_cut(offset: int) -> int:
        given_out[offset] += 1
        return 20_000 if given_out[offset] > RESUMES else 0

    whole.on_read = mostly_cut
    assert engine.read(engine.open(whole), 0, 2) == blocks(0, 2)


def test_a_body_that_always_ends_early_is_an_error_after_a_few_tries(engine: Engine) -> None:
    whole = Object()
    whole.on_read = lambda offset: 0 if offset >= BLOCK_SIZE + 500 else 500
    source = engine.open(whole)
    assert engine.read(source, 0, 1) == blocks(0, 1)
    with pytest.raises(OSError) as caught:
        engine.read(source, 1, 3)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == "toy://box/key"
    assert str(BLOCK_SIZE + 500) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).filename == "toy://box/key"
    assert whole.requests.count((BLOCK_SIZE + 500, 3 * BLOCK_SIZE)) == RESUMES
    assert whole.bodies == 0


def test_a_body_that_always_breaks_raises_its_own_error(engine: Engine) -> None:
    whole, error = Object(), TimeoutError(errno.ETIMEDOUT, "too slow", "toy://box/key")

    def fail(offset: int) -> None:
        raise error

    whole.on_read = fail
    with pytest.raises(TimeoutError) as caught:
        engine.read(engine.open(whole), 0, 3)
    assert caught.value is error
    assert len(whole.requests) == 1 + RESUMES
    assert whole.bodies == 0


def test_what_opening_a_range_raises_is_final(engine: Engine) -> None:
    """Up to the headers retrying is the driver's work."""
    whole = Object()

    def fail(start: int, stop: int) -> None:
        raise PermissionError(errno.EACCES, "no", "toy://box/key")

    whole.on_open = fail
    with pytest.raises(PermissionError):
        engine.read(engine.open(whole), 0, 3)
    assert len(whole.requests) == 1


def test_an_object_that_vanished_has_changed(engine: Engine) -> None:
    whole = Object(head=BLOCK_SIZE)
    gone = FileNotFoundError(errno.ENOENT, "no such object", "toy://box/key")

    def fail(start: int, stop: int) -> None:
        raise gone

    whole.on_open = fail
    source = engine.open(whole)
    assert engine.read(source, 0, 1) == blocks(0, 1)
    with pytest.raises(ObjectChangedError) as caught:
        engine.read(source, 1, 2)
    assert caught.value.errno == errno.ESTALE
    assert caught.value.filename == "toy://box/key"
    assert caught.value.__cause__ is gone


def test_an_object_that_changed_after_a_cut_is_never_mixed(engine: Engine) -> None:
    whole = Object()

    def other_version(start: int, stop: int) -> None:
        if start:
            raise changed(LOCATION)

    whole.on_open = other_version
    whole.on_read = lambda offset: 0 if offset == BLOCK_SIZE + 10 else BLOCK_SIZE + 10 - offset
    source = engine.open(whole)
    with pytest.raises(ObjectChangedError):
        engine.read(source, 1, 3)
    with pytest.raises(ObjectChangedError):
        engine.cache.take(source, 1, 2)


# -- heads, keys, handles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "head", "there"),
    [
        (100, 100, 1),
        (100, 99, 0),
        (BLOCK_SIZE, BLOCK_SIZE, 1),
        (BLOCK_SIZE + 1, BLOCK_SIZE, 1),
        (BLOCK_SIZE + 1, BLOCK_SIZE + 1, 2),
        (3 * BLOCK_SIZE, 2 * BLOCK_SIZE + 5, 2),
        (3 * BLOCK_SIZE, 0, 0),
        (0, 0, 0),
    ],
)
def test_the_head_is_taken_in_as_far_as_it_fills_blocks(engine: Engine, size: int, head: int, there: int) -> None:
    whole = Object(DATA[:size], head=head)
    source = engine.open(whole)
    assert engine.info.fetched == head
    assert engine.info.requests == (1 if head else 0)
    assert engine.info.cached == min(size, there * BLOCK_SIZE)
    assert engine.read(source) == DATA[:size]
    assert whole.asked == size - min(size, there * BLOCK_SIZE)
    assert engine.info.hits == there


def test_a_head_that_is_there_already_changes_nothing(engine: Engine) -> None:
    whole = Object(head=2 * BLOCK_SIZE)
    engine.read(engine.open(whole), 0, 2)
    cached = engine.info.cached
    engine.open(whole)
    assert engine.info.cached == cached
    assert engine.info.unused == 0


@pytest.mark.parametrize("key", ["key", None])
def test_only_what_nobody_can_ask_for_again_goes_with_the_handle(engine: Engine, key: str | None) -> None:
    whole = Object(key=key)
    source = engine.open(whole)
    engine.read(source, 0, 4)
    engine.cache.release(source)
    assert engine.info.cached == (4 * BLOCK_SIZE if key else 0)
    assert engine.cache.readers == 0
    again = engine.open(whole)
    assert engine.read(again, 0, 4) == blocks(0, 4)
    assert len(whole.requests) == (1 if key else 2)


def test_two_unshared_handles_see_nothing_of_each_other(engine: Engine) -> None:
    one, two = Object(key=None), Object(DATA[::-1], key=None)
    first, second = engine.open(one), engine.open(two)
    assert engine.read(first, 0, 2) == blocks(0, 2)
    assert engine.read(second, 0, 2) == DATA[::-1][: 2 * BLOCK_SIZE]
    engine.cache.release(first)
    assert engine.read(second, 0, 2) == DATA[::-1][: 2 * BLOCK_SIZE]
    assert len(two.requests) == 1


def test_every_open_handle_counts_for_the_share_of_read_ahead(engine: Engine) -> None:
    whole, other = Object(), Object(key="other")
    sources = [engine.open(whole), engine.open(whole), engine.open(other)]
    for left in (3, 2, 1):
        assert engine.cache.readers == left
        engine.cache.release(sources.pop())
    assert engine.cache.readers == 0


def test_a_release_inside_the_held_lock_is_left_to_the_reaper(engine: Engine) -> None:
    source = engine.open(Object(key=None))
    engine.read(source, 0, 4)
    with engine.cache.lock:
        engine.cache.release(source)  # a finalizer that runs while its own thread holds the lock
    assert engine.cache.readers == 1
    engine.reaper.drain()
    assert engine.cache.readers == 0
    assert engine.info.cached == 0


def test_a_scan_drops_what_is_behind_it_only_if_it_is_alone(engine: Engine) -> None:
    whole = Object()
    source, second = engine.open(whole), engine.open(whole)
    engine.read(source, 0, 8)
    engine.cache.drop_behind(source, 0, 4)
    assert engine.info.cached == 8 * BLOCK_SIZE
    engine.cache.release(second)
    engine.cache.drop_behind(source, 0, 4)
    assert engine.info.cached == 4 * BLOCK_SIZE
    assert engine.read(source, 4, 8) == blocks(4, 8)
    assert len(whole.requests) == 1


def test_dropping_costs_what_is_cached_and_not_what_the_object_is_long(engine: Engine) -> None:
    """A terabyte has sixteen million blocks, and dropping is done under the lock."""
    whole = Object(key=None, size=1 << 50)
    source = engine.open(whole)
    engine.read(source, 0, 6)
    other = engine.open(Object())
    engine.read(other, 0, 3)
    Thread(lambda: engine.cache.drop_behind(source, 2, 1 << 33)).result()
    assert engine.info.cached == 5 * BLOCK_SIZE
    Thread(lambda: engine.cache.release(source)).result()
    assert engine.info.cached == 3 * BLOCK_SIZE


# -- the numbers -------------------------------------------------------------------------------------------


def test_the_numbers_tell_what_happened(engine: Engine) -> None:
    whole = Object(head=BLOCK_SIZE)
    source = engine.open(whole)
    engine.read(source, 0, 1)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (1, 0, 0)
    engine.read(source, 1, 4)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (1, 3, 1)
    engine.read(source, 0, 4)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (5, 3, 1)
    engine.cache.ahead(source, 4 * BLOCK_SIZE, 8 * BLOCK_SIZE, MiB)
    engine.transfers.close()
    engine.read(source, 4, 6)
    assert engine.info == CacheInfo(
        hits=7,
        misses=3,
        stalls=1,
        requests=3,
        fetched=8 * BLOCK_SIZE,
        unused=0,
        cached=8 * BLOCK_SIZE,
        in_flight=0,
        budget=16 * MiB,
    )
    engine.cache.clear()
    assert engine.info.unused == 2 * BLOCK_SIZE
    assert engine.info.cached == 0


def test_what_a_read_asked_for_is_used_even_where_the_cache_has_no_room_for_it() -> None:
    engine = Engine(budget=0)
    engine.read(engine.open(Object()))
    assert engine.info.fetched == len(DATA)
    assert engine.info.unused == 0
    engine.settle()


def test_what_arrives_for_a_closed_unshared_handle_was_never_used(engine: Engine) -> None:
    whole = Object(key=None)
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset == BLOCK_SIZE)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.release(source)
    stalled.go.set()
    engine.transfers.close()
    assert engine.info.fetched == engine.info.unused == 2 * BLOCK_SIZE
    assert engine.info.cached == 0


# -- read-ahead --------------------------------------------------------------------------------------------


def test_read_ahead_asks_for_what_is_missing_in_pieces(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    engine.read(source, 3, 5)
    engine.cache.ahead(source, BLOCK_SIZE + 1, 12 * BLOCK_SIZE - 1, 4 * BLOCK_SIZE)
    engine.transfers.close()
    assert sorted(whole.requests) == [(a * BLOCK_SIZE, b * BLOCK_SIZE) for a, b in ((1, 3), (3, 5), (5, 9), (9, 12))]
    assert engine.read(source, 1, 12) == blocks(1, 12)
    assert len(whole.requests) == 4


def test_read_ahead_ends_with_the_object(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    engine.cache.ahead(source, 39 * BLOCK_SIZE, 1 << 40, MiB)
    engine.transfers.close()
    assert whole.requests == [(39 * BLOCK_SIZE, len(DATA))]
    assert engine.read(source, 39) == blocks(39, 41)


def test_without_threads_read_ahead_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, whole = Engine(), Object()
    source = engine.open(whole)

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    engine.cache.ahead(source, 0, len(DATA), MiB)
    assert engine.info.cached == len(DATA)
    assert engine.read(source) == DATA
    assert engine.info.stalls == 0


# -- fork --------------------------------------------------------------------------------------------------


def test_parent_and_child_read_on_after_a_fork_with_flights_pending(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    engine.read(source, 20, 24)
    stalled = Stalled(whole)
    engine.cache.ahead(source, 0, 12 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    assert stalled.begun.wait(GUARD)
    reader = Thread(lambda: engine.read(source, 0, 2))
    waiting(lambda: waiters(engine), 1)
    with engine.cache.lock:
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                engine.cache.reset_after_fork()
                engine.transfers.reset_after_fork()
                engine.reaper.reset_after_fork()
                code = 0 if _reads_in_the_child(engine, source, whole) else 1
            finally:
                os._exit(code)
    stalled.go.set()
    assert reader.result() == blocks(0, 2)
    assert engine.read(source) == DATA
    ended = Thread(lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert ended.result() == 0


def _reads_in_the_child(engine: Engine, source: Source, whole: Object) -> bool:
    before, cached = len(whole.requests), engine.info.cached
    whole.on_read = lambda offset: None
    engine.cache.ahead(source, 24 * BLOCK_SIZE, 30 * BLOCK_SIZE, MiB)
    right = engine.read(source, 20, 24) == blocks(20, 24)
    kept = not any(start < 24 * BLOCK_SIZE for start, _ in whole.requests[before:])
    right = right and engine.read(source) == DATA
    engine.cache.release(source)
    engine.settle()
    return right and kept and cached == 4 * BLOCK_SIZE
