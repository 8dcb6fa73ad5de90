"""blocks, as memory: what is alive is counted, or is being copied from; the budget is exceeded by demand reads only."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator

import pytest
from block_support import (
    DATA,
    GUARD,
    Engine,
    MiB,
    Object,
    Queued,
    Stalled,
    Thread,
    blocks,
    check_ready,
    waiters,
    waiting,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.flights import Source
from storagekit.segments import Segment
from storagekit.settings import BLOCK_SIZE

# The largest that a single read in here asks for, and so what it may hold beyond the budget.
LONGEST = 12 * BLOCK_SIZE


@pytest.fixture(autouse=True)
def nothing_else_is_alive() -> Iterator[None]:
    """Only reference counts may free memory here; what other tests left does not count, nor is it looked through."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def an_object() -> Object:
    """One whose segments are told from those of any other test."""
    return Object(key=object())


def alive(source: Source) -> int:
    """Bytes in all segments of one object that anything refers to, each once."""
    return sum(len(one.data) for one in gc.get_objects() if isinstance(one, Segment) and one.key == source.key)


def test_what_is_alive_is_what_is_counted() -> None:
    engine, whole = Engine(budget=8 * BLOCK_SIZE), an_object()
    source = engine.open(whole)
    for first in range(0, 40, 3):
        assert engine.read(source, first, min(41, first + 7)) == blocks(first, min(41, first + 7))
        assert alive(source) == engine.info.cached <= 8 * BLOCK_SIZE
    engine.cache.clear()
    assert alive(source) == 0
    engine.settle()


def test_what_was_held_for_a_waiter_goes_when_it_has_it() -> None:
    """A flight of any length whose blocks are waited for one after another keeps none of them for itself."""
    engine, whole = Engine(budget=40 * BLOCK_SIZE), an_object()
    source = engine.open(whole)
    gate = threading.Semaphore(0)
    asked = threading.Semaphore(0)

    def read(offset: int) -> None:
        asked.release()
        assert gate.acquire(timeout=GUARD)

    whole.on_read = read
    engine.cache.ahead(source, 0, 40 * BLOCK_SIZE, 8 * MiB)
    piece = engine.cache._segment // BLOCK_SIZE
    for first in range(0, 40, piece):
        assert asked.acquire(timeout=GUARD)
        reader = Thread(lambda first=first: engine.cache.take(source, first, first + 1, scanning=True))  # type: ignore[misc]
        waiting(lambda: waiters(engine), 1)
        gate.release()
        reader.result()
        del reader
        engine.cache.clear()
        for flight in source.flights:
            assert flight.held == []
        if first + piece < 40:
            assert asked.acquire(timeout=GUARD)
            asked.release()
        assert alive(source) <= engine.info.cached
    engine.settle()


def test_an_evicted_segment_lives_as_long_as_it_is_copied_from() -> None:
    engine = Engine(budget=4 * BLOCK_SIZE)
    source = engine.open(an_object())
    run, _ = engine.cache.take(source, 0, 4)
    engine.cache.clear()
    assert alive(source) == 4 * BLOCK_SIZE
    assert engine.info.cached == 0
    assert b"".join(bytes(segment.data) for segment in run) == blocks(0, 4)
    del run
    assert alive(source) == 0
    engine.settle()


def test_a_late_answer_frees_what_is_there_twice() -> None:
    engine, whole = Engine(budget=40 * BLOCK_SIZE), an_object()
    source = engine.open(whole)
    stalled = Stalled(whole)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.abandon(source, keep=30)
    whole.on_read = lambda offset: None
    assert engine.read(source, 0, 8) == blocks(0, 8)
    stalled.go.set()
    engine.settle()
    assert alive(source) == engine.info.cached == 8 * BLOCK_SIZE


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.sampled_from(["read", "ahead", "work", "abandon"]), st.integers(0, 40), st.integers(1, 12))),
)
def test_between_reads_nothing_is_alive_that_is_not_counted(budget: int, steps: list[tuple[str, int, int]]) -> None:
    engine, queue = Engine(budget=budget * BLOCK_SIZE), Queued()
    engine.cache._transfers = queue
    source = engine.open(an_object())
    for step, first, count in steps:
        stop = min(41, first + count)
        if step == "read":
            assert engine.read(source, first, stop) == blocks(first, stop)
        elif step == "ahead":
            engine.cache.ahead(source, first * BLOCK_SIZE, stop * BLOCK_SIZE, 4 * BLOCK_SIZE)
        elif step == "abandon":
            engine.cache.abandon(source, first)
        else:
            for job in queue.jobs[:count]:
                job.run()
            del queue.jobs[:count]
        check_ready(engine.cache._ready)
        assert alive(source) == engine.info.cached
    for job in queue.jobs:
        job.run()
    engine.settle()


def test_many_readers_exceed_the_budget_by_what_they_are_reading_and_no_more() -> None:
    budget, readers = 16 * BLOCK_SIZE, 4
    engine, whole = Engine(budget=budget, threads=4), an_object()
    most: list[int] = []
    lock = threading.Lock()

    def look(offset: int) -> None:
        # What is alive now, and what the pieces that are being received hold besides.
        with lock:
            info = engine.info
            most.append(info.cached + info.in_flight)

    whole.on_read = look

    def work(seed: int) -> None:
        source, chosen = engine.open(whole), random.Random(seed)
        for _ in range(60):
            first = chosen.randrange(40)
            stop = min(41, first + chosen.randrange(1, LONGEST // BLOCK_SIZE + 1))
            engine.cache.ahead(source, first * BLOCK_SIZE, (first + 20) * BLOCK_SIZE, 3 * BLOCK_SIZE)
            assert engine.read(source, first, stop) == blocks(first, stop)
        engine.cache.release(source)

    for thread in [Thread(lambda n=n: work(n)) for n in range(readers)]:  # type: ignore[misc]
        thread.result()
    engine.settle()
    assert max(most) <= budget + readers * LONGEST
    assert alive(engine.sources[0]) == engine.info.cached <= budget
    assert len(DATA) > budget
