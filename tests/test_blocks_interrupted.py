"""blocks, when an interrupt comes: whoever it hits, the cache is whole and the others read on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from block_support import (
    GUARD,
    Engine,
    MiB,
    Object,
    Queued,
    Stalled,
    Thread,
    blocks,
    waiters,
    waiting,
)
from interrupts import interrupted_at

from storagekit import blocks as blocks_module
from storagekit import flights, once, transfers
from storagekit.flights import Flight, Source
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Job


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


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


def test_one_who_is_interrupted_while_waiting_leaves_the_flight_to_the_others(engine: Engine) -> None:
    whole, here = Object(), threading.get_ident()
    source, stalled = engine.open(whole), Stalled(whole)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    other = Thread(lambda: engine.read(source, 0, 4))
    waiting(lambda: waiters(engine), 1)

    def interrupt() -> None:
        waiting(lambda: waiters(engine), 2)
        signal.pthread_kill(here, signal.SIGUSR1)

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = Thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.read(source, 0, 4)
        sender.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert waiters(engine) == 1
    engine.check_books()
    stalled.go.set()
    assert other.result() == blocks(0, 4)
    assert len(whole.requests) == 1


@pytest.mark.parametrize("ahead", [False, True], ids=["alone", "waiting"])
def test_an_interrupt_anywhere_leaves_the_cache_whole(ahead: bool) -> None:
    """What the interrupted thread was fetching, or waiting for, another one reads."""
    files = {module.__file__ for module in (blocks_module, flights, once, transfers, threading)}
    nth, interrupted = 0, True
    while interrupted:
        nth += 1
        engine, whole = Engine(), Object()
        source = engine.open(whole)
        if ahead:
            whole.on_read = lambda offset: time.sleep(0.002)  # so that there is something to wait for
            engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
        interrupted = interrupted_at(nth, files, partial(engine.read, source, 0, 4))
        assert Thread(partial(engine.read, source, 0, 4)).result() == blocks(0, 4), f"interrupted at {nth}"
        engine.settle()
        engine.cache.release(source)
        engine.check_books()
    assert nth > 10


def test_an_interrupt_anywhere_in_a_release_leaves_the_cache_whole() -> None:
    nth, interrupted = 0, True
    while interrupted:
        nth += 1
        engine = Engine()
        source = engine.open(Object())
        assert engine.read(source, 0, 4) == blocks(0, 4)
        interrupted = interrupted_at(nth, {blocks_module.__file__}, partial(engine.cache.release, source))
        engine.cache.release(source)
        assert not engine.cache._handles, f"interrupted at {nth}"
        other = engine.open(Object())
        assert Thread(partial(engine.read, other, 0, 4)).result() == blocks(0, 4)
        engine.settle()
    assert nth > 5


@pytest.mark.parametrize("after", [0, 1, 2])
def test_read_ahead_that_is_interrupted_while_it_claims_leaves_nothing_pending(
    monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    engine, whole = Engine(), Object()
    claimed: list[int] = []
    source, claim = engine.open(whole), engine.cache._claim

    def interrupted(source: Source, first: int, stop: int, wanted: int) -> Flight:
        if len(claimed) == after:
            raise KeyboardInterrupt
        claimed.append(first)
        return claim(source, first, stop, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(engine.cache, "_claim", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.cache.ahead(source, 0, 12 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    engine.settle()
    assert whole.requests == []
    assert engine.read(source, 0, 12) == blocks(0, 12)


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
