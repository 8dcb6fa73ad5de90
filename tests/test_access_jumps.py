"""access: what jumps, pauses and other handles may cost, and what they may not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from reading_support import GUARD, Engine, MiB, Object, Zeros, source_of

from storagekit.readahead import CONNECTIONS
from storagekit.settings import BLOCK_SIZE


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


@pytest.mark.parametrize("size", [8 * MiB, 9 * MiB, 20 * MiB])
def test_long_random_reads_fetch_what_they_are(engine: Engine, size: int) -> None:
    whole = Zeros(1 << 40)
    with engine.open(whole) as file:
        for place in (70, 10, 50, 30):
            file.seek(place << 30)
            assert len(file.read(size)) == size
    assert whole.asked <= 4 * (size + 2 * BLOCK_SIZE)


def test_long_reads_in_a_row_are_a_scan(engine: Engine) -> None:
    whole = Zeros(1 << 40)
    with engine.open(whole) as file:
        for _ in range(3):
            file.read(20 * MiB)
        engine.transfers.close()  # what is asked for ahead has been asked for
    assert whole.asked > 60 * MiB + MiB


def test_after_a_jump_what_was_read_ahead_is_given_up() -> None:
    engine, whole, go = Engine(), Zeros(1 << 40), threading.Event()
    file = engine.open(whole, access="sequential")
    try:

        def hold(start: int, stop: int) -> None:
            if 2 * MiB <= start < 1 << 30:
                assert go.wait(GUARD)

        whole.on_open = hold
        for _ in range(4):
            file.read(512 * 1024)
        source = source_of(file.raw)
        before = [flight for flight in source.flights if flight.first * BLOCK_SIZE >= 2 * MiB]
        assert before
        file.seek(1 << 30)
        file.read(512 * 1024)
        assert all(flight.abandoned for flight in before)
    finally:
        go.set()
        file.close()
        engine.settle()


def test_what_ranges_asked_for_outlives_a_jump_of_the_handle(engine: Engine) -> None:
    whole, go, asked = Zeros(1 << 40), threading.Event(), threading.Semaphore(0)

    def hold(start: int, stop: int) -> None:
        if start < 1 << 30:
            asked.release()
            assert go.wait(GUARD)

    whole.on_open = hold
    with engine.open(whole) as file:
        got: list[bytes] = []
        spans = [(n * 10 * MiB, n * 10 * MiB + 5) for n in range(4)]
        reader = threading.Thread(target=lambda: got.extend(file.read_ranges(spans)), daemon=True)
        reader.start()
        for _ in range(4):
            assert asked.acquire(timeout=GUARD)
        for place in (5, 9, 2):
            file.seek(place << 30)
            file.read(10)
        assert not any(flight.abandoned for flight in source_of(file.raw).flights)
        go.set()
        reader.join(GUARD)
        assert got == [bytes(5)] * 4
    assert sum(start < 1 << 30 for start, _ in whole.requests) == 4


def test_handles_that_lie_idle_take_no_share(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = [engine.open(Zeros(1 << 30, key=n)) for n in range(50)]
    for file in idle:
        for _ in range(3):
            file.read(MiB)
    assert engine.cache.scanning == 50
    with engine.open(Zeros(1 << 30, key="busy")) as busy:
        now = engine.cache._scans._clock()
        monkeypatch.setattr(engine.cache._scans, "_clock", lambda: now + 60)
        for _ in range(3):
            busy.read(MiB)
        assert engine.cache.scanning == 1
        assert busy.raw._access._room().connections == CONNECTIONS
    for file in idle:
        file.close()


def test_at_the_end_of_an_object_a_scan_is_over(engine: Engine) -> None:
    with engine.open(Object(bytes(3 * MiB))) as file:
        while file.read(MiB):
            pass
        assert engine.cache.scanning == 0


@pytest.mark.parametrize("budget", [4 * MiB, 16 * MiB])
def test_a_scan_through_a_small_cache_fetches_everything_once(budget: int) -> None:
    engine, whole = Engine(budget=budget), Zeros(100 * MiB)
    with engine.open(whole) as file:
        while file.read(MiB):
            pass
    engine.settle()
    assert whole.asked <= 1.1 * 100 * MiB
