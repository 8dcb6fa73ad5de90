"""blocks: each block is fetched once, nobody waits for ever, and the books balance whatever happens."""

from __future__ import annotations

import errno
import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from block_support import (
    DATA,
    GUARD,
    PIECE,
    Engine,
    MiB,
    Object,
    Queued,
    Stalled,
    Thread,
    blocks,
    hold,
    waiters,
    waiting,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.blocks import SEGMENT_IN_DEMAND
from storagekit.flights import Flight, Incoming, Source
from storagekit.pace import TELLING
from storagekit.segments import LARGEST_SEGMENT
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Job


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


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


def test_one_who_waits_gets_a_piece_as_soon_as_it_is_full(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset >= PIECE * BLOCK_SIZE)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, 8 * BLOCK_SIZE)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    assert stalled.begun.wait(GUARD)
    assert engine.info.in_flight == (8 - PIECE) * BLOCK_SIZE
    stalled.go.set()
    assert engine.read(source, 0, 8) == blocks(0, 8)
    assert whole.requests == [(0, 8 * BLOCK_SIZE)]


def test_a_flight_cuts_smaller_pieces_while_somebody_waits() -> None:
    for awaited in (False, True):
        engine = Engine(budget=256 * MiB)
        whole, begun, go = Object(), threading.Event(), threading.Event()

        def answer(start: int, stop: int, begun: threading.Event = begun, go: threading.Event = go) -> None:
            begun.set()
            assert go.wait(GUARD)

        whole.on_open = answer
        source = engine.open(whole)
        engine.cache.ahead(source, 0, len(DATA), 8 * MiB)
        assert begun.wait(GUARD)
        readers = [Thread(lambda e=engine, s=source: e.read(s, 0, 1))] if awaited else []  # type: ignore[misc]
        waiting(lambda e=engine: waiters(e), len(readers))  # type: ignore[misc]
        go.set()
        for reader in readers:
            assert reader.result() == blocks(0, 1)
        engine.settle()
        assert len(engine.cache._ready._segments[source.key, 0].data) == (
            SEGMENT_IN_DEMAND if awaited else LARGEST_SEGMENT
        )


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
    st.tuples(st.just("scan"), st.integers(0, 1), st.integers(0, 40), st.integers(1, 12)),
    st.tuples(st.just("ahead"), st.integers(0, 1), st.integers(0, 40), st.integers(1, 30)),
    st.tuples(st.just("abandon"), st.integers(0, 1), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("late"), st.integers(0, 1), st.just(0), st.just(0)),
    st.tuples(st.just("overdue"), st.integers(0, 1), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("work"), st.just(0), st.just(0), st.integers(1, 5)),
    st.tuples(st.just("clear"), st.just(0), st.just(0), st.just(0)),
)


def do(engine: Engine, queue: Queued, source: Source, step: str, first: int, count: int) -> None:
    """One step of the property below; *queue* holds what no thread has begun."""
    cache, stop = engine.cache, min(first + count, 41)
    if step == "read":
        assert engine.read(source, first, stop) == blocks(first, stop)
    elif step == "scan":
        cache.scans(source, first * BLOCK_SIZE if count % 2 == 0 else None)
        run, _ = cache.take(source, first, stop, more=min(41, stop + count), scanning=True)
        assert run[0].data[(first - run[0].first) * BLOCK_SIZE :] == blocks(first, run[0].stop)
    elif step == "ahead":
        before = engine.info
        cache.ahead(source, first * BLOCK_SIZE, stop * BLOCK_SIZE, 3 * BLOCK_SIZE)
        after = engine.info
        asked = after.in_flight - before.in_flight
        again = sum(source.span(f.first, f.count) for f in source.flights if f.abandoned)
        assert asked <= again or after.cached + after.in_flight <= after.budget
    elif step == "abandon":
        cache.abandon(source, first)
    elif step == "late":  # ahead will find that the answers to these are overdue
        source.pace.first_byte = source.pace.rate = 1e-9
        for flight in source.flights:
            flight.incoming = Incoming(source, 0, 1, cache.count_request)
            flight.incoming.asked = time.perf_counter() - 100
    elif step == "overdue":  # as one who has waited for it decides
        with cache.lock:
            awaited = cache._pending.get((source.key, first))
            if awaited is not None and not awaited.overdue:
                awaited.overdue = cache._may_ask_again()
    elif step == "work":
        for job in queue.jobs[:count]:
            job.run()
        del queue.jobs[:count]
    else:
        cache.clear()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 20 * BLOCK_SIZE), st.lists(operations, max_size=40), st.booleans())
def test_the_books_balance_whatever_is_done(budget: int, steps: list[tuple[str, int, int, int]], shared: bool) -> None:
    engine, queue = Engine(budget=budget), Queued()
    engine.cache._transfers = queue
    wholes = [Object(key="key" if shared else None) for _ in range(2)]
    sources = [engine.open(whole) for whole in wholes]
    for step, handle, first, count in steps:
        do(engine, queue, sources[handle], step, first, count)
        engine.check_books()
        info = engine.info
        assert info.cached + info.in_flight <= budget or info.cached == 0
        assert engine.cache._counts["again"] <= 2 + info.requests // 20
    for source in sources:
        engine.cache.release(source)
    for job in queue.jobs:
        job.run()
    engine.settle()
    info = engine.info
    assert info.fetched == sum(whole.asked for whole in wholes)
    assert info.requests == sum(len(whole.requests) for whole in wholes)
    assert info.unused + info.cached <= info.fetched
    assert not any(source.flights for source in sources)
    assert engine.cache.scanning == 0


def test_a_block_that_is_evicted_stays_whole_for_whoever_copies_from_it() -> None:
    engine = Engine(budget=2 * BLOCK_SIZE)
    source = engine.open(Object())
    run, _ = engine.cache.take(source, 0, 2)
    engine.read(source, 2)
    engine.cache.clear()
    assert b"".join(bytes(segment.data) for segment in run) == blocks(0, 2)
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


# -- what a read's own request brings besides --------------------------------------------------------------


def test_a_reads_own_request_may_go_further_than_the_read(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    run, _ = engine.cache.take(source, 2, 3, more=8)
    assert whole.requests == [(2 * BLOCK_SIZE, 8 * BLOCK_SIZE)]
    assert run[0].first == 2
    assert engine.info.misses == 1
    assert engine.read(source, 3, 8) == blocks(3, 8)
    assert len(whole.requests) == 1
    assert engine.info.unused == 0
    engine.cache.clear()
    assert engine.info.unused == 0


def test_what_came_besides_and_was_not_wanted_was_not_used(engine: Engine) -> None:
    source = engine.open(Object())
    engine.cache.take(source, 0, 1, more=PIECE + 3)
    engine.cache.clear()
    assert engine.info.fetched == (PIECE + 3) * BLOCK_SIZE
    assert engine.info.unused == (PIECE + 2) * BLOCK_SIZE


def test_a_request_that_goes_further_ends_where_something_is_there(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    engine.read(source, 5, 6)
    engine.cache.take(source, 2, 3, more=40)
    assert whole.requests[1:] == [(2 * BLOCK_SIZE, 5 * BLOCK_SIZE)]


# -- fork --------------------------------------------------------------------------------------------------


def test_parent_and_child_read_on_after_a_fork_with_flights_pending(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    engine.read(source, 20, 24)
    engine.cache.scans(source, 0)
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


def test_a_child_goes_on_after_a_fork_with_an_answer_overdue(engine: Engine) -> None:
    whole, begun, go = Object(), threading.Event(), threading.Event()

    def late(start: int, stop: int) -> None:
        whole.on_open = lambda start, stop: None
        begun.set()
        assert go.wait(GUARD)

    whole.on_open = late
    source = engine.open(whole)
    source.pace.note(0.001, TELLING, 0.01)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, MiB)
    assert begun.wait(GUARD)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    with engine.cache.lock:
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                engine.cache.reset_after_fork()
                engine.transfers.reset_after_fork()
                engine.reaper.reset_after_fork()
                right = engine.info.in_flight == 0 and not engine.cache._pending
                engine.cache.ahead(source, 0, len(DATA), MiB)
                right = right and engine.read(source) == DATA
                engine.cache.abandon(source, keep=0)
                engine.transfers.close()
                code = 0 if right and engine.info.in_flight == 0 else 1
            finally:
                os._exit(code)
    ended = Thread(lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert ended.result() == 0
    go.set()
    assert engine.read(source) == DATA
