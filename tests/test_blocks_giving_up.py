"""blocks, when a fetch comes to nothing: given up, overdue, failed."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

import pytest
from block_support import (
    GUARD,
    LOCATION,
    PIECE,
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

from storagekit.errors import ObjectChangedError, changed
from storagekit.flights import Source
from storagekit.pace import TELLING
from storagekit.settings import BLOCK_SIZE


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
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


def test_a_given_up_flight_stops_at_its_next_piece(engine: Engine) -> None:
    whole = Object()
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset == PIECE * BLOCK_SIZE)
    engine.cache.ahead(source, 0, 20 * BLOCK_SIZE, 2 * MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.abandon(source, keep=30)
    stalled.go.set()
    engine.transfers.close()
    assert engine.info.in_flight == 0
    assert engine.info.fetched == 2 * PIECE * BLOCK_SIZE
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


# -- overdue -----------------------------------------------------------------------------------------------


class Late:
    """An object whose first answers come only when the test says so; *late* of them, each when ``go`` is set."""

    def __init__(self, whole: Object, late: int = 1) -> None:
        self.whole = whole
        self.begun = threading.Event()
        self.go = threading.Event()
        self._left = late
        whole.on_open = lambda start, stop: self.wait()

    def wait(self) -> None:
        """As long as the answer takes."""
        if self._left:
            self._left -= 1
            self.begun.set()
            assert self.go.wait(GUARD)


def knows_its_pace(source: Source) -> None:
    """From now on an answer is overdue after the least patience there is."""
    source.pace.note(0.001, TELLING, 0.01)


def long_since_asked(source: Source) -> None:
    """As if every request under way had been sent a minute ago."""
    for flight in source.flights:
        assert flight.incoming is not None
        assert flight.incoming.asked is not None
        flight.incoming.asked -= 60.0


def test_one_who_waits_for_an_overdue_answer_asks_again_for_what_it_needs(engine: Engine) -> None:
    whole = Object()
    source, late = engine.open(whole), Late(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 16 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    assert whole.requests == [(0, 16 * BLOCK_SIZE), (0, 2 * BLOCK_SIZE)]
    engine.check_books()
    assert engine.info.in_flight == 16 * BLOCK_SIZE  # the late one may come yet
    late.go.set()
    engine.transfers.close()
    # It did come, and what it brought is taken in, but for what was here already, once.
    assert engine.info.cached == 16 * BLOCK_SIZE
    assert engine.read(source, 0, 16) == blocks(0, 16)
    assert len(whole.requests) == 2
    assert engine.info.in_flight == 0


def test_nobody_is_impatient_while_nothing_is_known_about_the_pace(engine: Engine) -> None:
    whole = Object()
    source, late = engine.open(whole), Late(whole)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    reader = Thread(lambda: engine.read(source, 0, 4))
    waiting(lambda: waiters(engine), 1)
    long_since_asked(source)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    late.go.set()
    assert reader.result() == blocks(0, 4)
    assert len(whole.requests) == 1


def test_a_body_that_is_slow_after_its_first_byte_is_not_overdue(engine: Engine) -> None:
    whole = Object()
    source, stalled = engine.open(whole), Stalled(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    assert all(flight.unanswered() == 0.0 for flight in source.flights)
    reader = Thread(lambda: engine.read(source, 0, 4))
    waiting(lambda: waiters(engine), 1)
    reader.join(0.2)
    stalled.go.set()
    assert reader.result() == blocks(0, 4)
    assert len(whole.requests) == 1


def test_all_who_wait_for_an_overdue_answer_share_one_more_request_and_one_count(engine: Engine) -> None:
    whole = Object()
    source, late = engine.open(whole), Late(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    readers = [Thread(lambda: engine.read(source, 0, 4)) for _ in range(8)]
    for reader in readers:
        assert reader.result() == blocks(0, 4)
    assert whole.requests == [(0, 4 * BLOCK_SIZE)] * 2
    assert engine.cache._counts["again"] == 1
    late.go.set()
    engine.transfers.close()
    assert engine.info.cached == 4 * BLOCK_SIZE


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "late and broken", "toy://box/key"), KeyboardInterrupt()])
def test_what_becomes_of_a_late_answer_matters_to_nobody(error: BaseException | None) -> None:
    engine = Engine()
    engine.cache._transfers = queue = Queued()
    whole, begun, go = Object(), threading.Event(), threading.Event()

    def first_fails(start: int, stop: int) -> None:
        whole.on_open = lambda start, stop: None
        begun.set()
        assert go.wait(GUARD)
        if error is not None:
            raise error

    whole.on_open = first_fails
    source = engine.open(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    late = Thread(queue.jobs[0].run)
    assert begun.wait(GUARD)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    go.set()
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            late.result()
    else:
        late.result()
    engine.check_books()
    assert engine.read(source, 0, 4) == blocks(0, 4)
    assert len(whole.requests) == (2 if error is None else 3)
    engine.settle()
    assert not source.flights


def test_read_ahead_asks_again_before_a_reader_comes_to_wait(engine: Engine) -> None:
    whole = Object()
    source, late = engine.open(whole), Late(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    long_since_asked(source)
    engine.cache.ahead(source, 8 * BLOCK_SIZE, 16 * BLOCK_SIZE, MiB)
    assert engine.read(source, 0, 16) == blocks(0, 16)
    assert sorted(whole.requests) == [(0, 8 * BLOCK_SIZE), (0, 8 * BLOCK_SIZE), (8 * BLOCK_SIZE, 16 * BLOCK_SIZE)]
    late.go.set()
    engine.transfers.close()
    # The late one brings a piece at most, which is here already, and then sees that it was given up.
    assert engine.info.fetched == (16 + PIECE) * BLOCK_SIZE
    assert engine.info.cached == 16 * BLOCK_SIZE
    assert engine.info.unused == PIECE * BLOCK_SIZE
    assert whole.bodies == 0


def test_read_ahead_leaves_alone_what_a_reader_waits_for(engine: Engine) -> None:
    whole = Object()
    source, late = engine.open(whole), Late(whole)
    source.pace.note(60.0, TELLING, 0.01)  # the reader is patient for two minutes
    engine.cache.ahead(source, 0, 4 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    reader = Thread(lambda: engine.read(source, 0, 4))
    waiting(lambda: waiters(engine), 1)
    for _ in range(3):  # minutes ago
        long_since_asked(source)
    engine.cache.ahead(source, 4 * BLOCK_SIZE, 5 * BLOCK_SIZE, MiB)
    late.go.set()
    assert reader.result() == blocks(0, 4)
    assert whole.requests.count((0, 4 * BLOCK_SIZE)) == 1


def test_one_request_in_twenty_is_asked_again_and_a_few() -> None:
    engine = Engine(threads=16)
    whole = Object()
    source, late = engine.open(whole), Late(whole, late=1000)
    knows_its_pace(source)
    sent = threading.Semaphore(0)

    def answer(start: int, stop: int) -> None:
        sent.release()
        late.wait()

    whole.on_open = answer
    for index in range(6):
        engine.cache.ahead(source, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE, BLOCK_SIZE)
        assert sent.acquire(timeout=GUARD)
    for more in (2, 0, 0):
        long_since_asked(source)
        engine.cache.ahead(source, 0, 6 * BLOCK_SIZE, BLOCK_SIZE)
        for _ in range(more):
            assert sent.acquire(timeout=GUARD)
    assert len(whole.requests) == 8  # two again, though all six are late, and their successors as well
    # A reader has to wait now, as everybody.
    reader = Thread(lambda: engine.read(source, 5, 6))
    waiting(lambda: waiters(engine), 1)
    reader.join(0.2)
    assert reader.is_alive()
    late.go.set()
    assert reader.result() == blocks(5, 6)
    engine.settle()
    assert len(whole.requests) == 8
    # After twenty more requests there may be another.
    fresh = Engine()
    fresh.cache._counts.update(requests=39, again=3)
    assert not fresh.cache._may_ask_again()
    fresh.cache.count_request()
    assert fresh.cache._may_ask_again()
    assert not fresh.cache._may_ask_again()


def test_an_overdue_flight_may_be_closed_over(engine: Engine) -> None:
    """The handle goes while its late answer is still out: the books balance when that comes."""
    whole = Object(key=None)
    source, late = engine.open(whole), Late(whole)
    knows_its_pace(source)
    engine.cache.ahead(source, 0, 8 * BLOCK_SIZE, MiB)
    assert late.begun.wait(GUARD)
    assert engine.read(source, 0, 2) == blocks(0, 2)
    engine.cache.release(source)
    assert engine.info.cached == 0
    late.go.set()
    engine.transfers.close()
    assert engine.info.cached == engine.info.in_flight == 0
