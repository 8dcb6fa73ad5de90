"""flights: how the bytes of one request come in, from bodies that are cut, and who is told what of it."""

from __future__ import annotations

import errno
import pickle
import time
from collections import Counter

import pytest
from block_support import DATA, LOCATION, Object, blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.buffers import Buffers
from storagekit.driver import Stat
from storagekit.errors import ObjectChangedError, changed
from storagekit.flights import RECEIVE, RESUMES, SAMPLE, Flight, Incoming, Source
from storagekit.pace import TELLING
from storagekit.segments import Segment
from storagekit.settings import BLOCK_SIZE


class Receiver:
    """An ``Incoming`` over an object, and how many requests it said it made."""

    def __init__(self, whole: Object, start: int = 0, stop: int | None = None) -> None:
        self.whole = whole
        self.source = Source(whole, whole.stat.size or 0)
        self.requests = 0
        self.incoming = Incoming(self.source, start, self.source.size if stop is None else stop, self._count)

    def _count(self) -> None:
        self.requests += 1

    def receive(self, size: int | None = None) -> bytes:
        return bytes(self.incoming.next_piece(self.incoming.left if size is None else size, Buffers(1)))


# -- bodies that are cut -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, ConnectionResetError(errno.ECONNRESET, "reset", "toy://box/key")])
def test_a_cut_body_goes_on_where_it_stopped(end: OSError | None) -> None:
    whole, cuts = Object(), [100, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 77]

    def cut(offset: int) -> int:
        if cuts and offset == cuts[0]:
            del cuts[0]
            if end is not None:
                raise end
            return 0
        return cuts[0] - offset if cuts and offset < cuts[0] else BLOCK_SIZE

    whole.on_read = cut
    stop = 5 * BLOCK_SIZE
    receiver = Receiver(whole, 0, stop)
    assert receiver.receive() == blocks(0, 5)
    assert whole.requests == [(at, stop) for at in (0, 100, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 77)]
    assert receiver.requests == 5
    assert receiver.incoming.left == 0
    receiver.incoming.close()
    assert whole.bodies == 0


def test_a_body_that_trickles_is_one_request() -> None:
    whole = Object()
    whole.on_read = lambda offset: 997
    receiver = Receiver(whole, 0, 3 * BLOCK_SIZE)
    assert receiver.receive(100) + receiver.receive(BLOCK_SIZE) + receiver.receive() == blocks(0, 3)
    assert whole.requests == [(0, 3 * BLOCK_SIZE)]
    assert receiver.requests == 1


def test_progress_however_small_earns_new_tries() -> None:
    whole, given_out = Object(), Counter[int]()

    def mostly_cut(offset: int) -> int:
        given_out[offset] += 1
        return 20_000 if given_out[offset] > RESUMES else 0

    whole.on_read = mostly_cut
    assert Receiver(whole, 0, 2 * BLOCK_SIZE).receive() == blocks(0, 2)


def test_a_body_that_always_ends_early_is_an_error_after_a_few_tries() -> None:
    whole = Object()
    whole.on_read = lambda offset: 0 if offset >= BLOCK_SIZE + 500 else 500
    receiver = Receiver(whole, 0, 3 * BLOCK_SIZE)
    assert receiver.receive(BLOCK_SIZE) == blocks(0, 1)
    with pytest.raises(OSError) as caught:
        receiver.receive()
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == "toy://box/key"
    assert str(BLOCK_SIZE + 500) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).filename == "toy://box/key"
    assert whole.requests.count((BLOCK_SIZE + 500, 3 * BLOCK_SIZE)) == RESUMES
    assert receiver.requests == len(whole.requests)
    assert whole.bodies == 0


def test_a_body_that_always_breaks_raises_its_own_error() -> None:
    whole, error = Object(), TimeoutError(errno.ETIMEDOUT, "too slow", "toy://box/key")

    def fail(offset: int) -> None:
        raise error

    whole.on_read = fail
    with pytest.raises(TimeoutError) as caught:
        Receiver(whole).receive()
    assert caught.value is error
    assert len(whole.requests) == 1 + RESUMES
    assert whole.bodies == 0


def test_what_opening_a_range_raises_is_final() -> None:
    """Up to the headers retrying is the driver's work."""
    whole = Object()

    def fail(start: int, stop: int) -> None:
        raise PermissionError(errno.EACCES, "no", "toy://box/key")

    whole.on_open = fail
    with pytest.raises(PermissionError):
        Receiver(whole).receive()
    assert len(whole.requests) == 1


def test_an_object_that_vanished_has_changed() -> None:
    whole = Object()
    gone = FileNotFoundError(errno.ENOENT, "no such object", "toy://box/key")

    def fail(start: int, stop: int) -> None:
        raise gone

    whole.on_open = fail
    with pytest.raises(ObjectChangedError) as caught:
        Receiver(whole).receive()
    assert caught.value.errno == errno.ESTALE
    assert caught.value.filename == "toy://box/key"
    assert caught.value.__cause__ is gone


def test_an_object_that_changed_after_a_cut_is_never_mixed() -> None:
    whole = Object()

    def other_version(start: int, stop: int) -> None:
        if start:
            raise changed(LOCATION)

    whole.on_open = other_version
    whole.on_read = lambda offset: 0 if offset == BLOCK_SIZE + 10 else BLOCK_SIZE + 10 - offset
    receiver = Receiver(whole, BLOCK_SIZE - 5, 3 * BLOCK_SIZE)
    whole.on_open = lambda start, stop: None
    assert receiver.receive(10) == DATA[BLOCK_SIZE - 5 :][:10]
    whole.on_open = other_version
    for _ in range(2):  # and it does not recover from that
        with pytest.raises(ObjectChangedError):
            receiver.receive()
    assert whole.bodies == 0


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(DATA) - 1),
    st.integers(1, 8 * BLOCK_SIZE),
    st.lists(st.integers(1, 3 * BLOCK_SIZE), max_size=8),
    st.lists(st.integers(0, 2 * BLOCK_SIZE), max_size=20),
    st.booleans(),
)
def test_the_bytes_are_right_however_the_body_is_cut(
    start: int, length: int, pieces: list[int], given_out: list[int], broken: bool
) -> None:
    """A body hands over so many bytes at a time; at 0 it ends early, or breaks. Never so often without progress."""
    whole, left = Object(), list(given_out)
    dead = 0

    def hand_over(offset: int) -> int | None:
        nonlocal dead
        count = left.pop(0) if left else None
        dead = dead + 1 if count == 0 else 0
        if dead > RESUMES:
            dead, count = 0, 1
        if count == 0 and broken:
            raise ConnectionResetError(errno.ECONNRESET, "reset", "toy://box/key")
        return count

    whole.on_read = hand_over
    stop = min(len(DATA), start + length)
    receiver = Receiver(whole, start, stop)
    got = b"".join(receiver.receive(min(size, receiver.incoming.left)) for size in pieces if receiver.incoming.left)
    got += receiver.receive()
    assert got == DATA[start:stop]
    assert receiver.requests == len(whole.requests)
    assert all(end == stop for _, end in whole.requests)
    receiver.incoming.close()
    receiver.incoming.close()
    assert whole.bodies == 0


def test_no_more_is_asked_of_a_body_at_once_than_what_stays_in_the_cache_of_the_processor() -> None:
    whole, sizes = Object(bytes(3 * RECEIVE + 5)), []
    view_of = whole.open_range

    def noting(start: int, stop: int) -> object:
        body = view_of(start, stop)
        readinto = body.readinto
        body.readinto = lambda view: sizes.append(len(view)) or readinto(view)  # type: ignore[func-returns-value, method-assign]
        return body

    whole.open_range = noting  # type: ignore[method-assign, assignment]
    Receiver(whole).receive()
    assert sizes == [RECEIVE, RECEIVE, RECEIVE, 5]


def test_a_piece_is_what_was_asked_for_or_what_is_left() -> None:
    receiver = Receiver(Object(DATA[:1000]), 100, 1000)
    assert receiver.incoming.left == 900
    assert receiver.receive(600) == DATA[100:700]
    assert receiver.receive(600) == DATA[700:1000]
    assert receiver.incoming.left == 0
    assert receiver.requests == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_taken_for_a_cut(kind: type[BaseException]) -> None:
    whole = Object()

    def interrupt(offset: int) -> None:
        raise kind

    whole.on_read = interrupt
    receiver = Receiver(whole)
    with pytest.raises(kind):
        receiver.receive()
    assert len(whole.requests) == 1
    receiver.incoming.close()
    assert whole.bodies == 0


# -- the pace ----------------------------------------------------------------------------------------------


def test_what_came_in_is_noted_once_it_is_over() -> None:
    receiver = Receiver(Object(bytes(TELLING)))
    receiver.receive()
    assert receiver.source.pace.rate is None
    receiver.incoming.close()
    rate = receiver.source.pace.rate
    assert rate is not None
    assert rate > 0
    receiver.incoming.close()
    assert receiver.source.pace.rate == rate


def test_a_long_body_is_weighed_in_on_its_way() -> None:
    receiver = Receiver(Object(bytes(SAMPLE + RECEIVE)))
    receiver.receive(SAMPLE)
    assert receiver.source.pace.rate is not None


class Clock:
    """Stands in for the module ``time``; it moves when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


def test_the_pace_is_the_stores_and_not_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All the time in the store counts, and none between two pieces: a slow consumer does not make a link slow."""
    clock = Clock()
    monkeypatch.setattr("storagekit.flights.time", clock)
    whole = Object(bytes(3 * TELLING))
    whole.on_open = lambda start, stop: clock.move(0.028)
    whole.on_read = lambda offset: clock.move(0.010)
    receiver = Receiver(whole)
    for _ in range(3):
        receiver.receive(TELLING)
        clock.move(5.0)
    receiver.incoming.close()
    pace = receiver.source.pace
    assert pace.first_byte == pytest.approx(0.028)
    assert pace.rate == pytest.approx(3 * TELLING / (3 * TELLING / RECEIVE * 0.010))


def test_the_wait_for_an_answer_is_known_while_it_lasts() -> None:
    whole, seen = Object(), []
    receiver = Receiver(whole)
    flight = Flight(receiver.source, 0, 4, wanted=0)
    assert flight.unanswered() == 0.0  # nobody has begun with it
    flight.incoming = receiver.incoming
    assert flight.unanswered() == 0.0  # or not asked
    whole.on_open = lambda start, stop: seen.append(flight.unanswered())
    whole.on_read = lambda offset: seen.append(flight.unanswered())
    receiver.receive(BLOCK_SIZE)
    assert seen[0] > 0.0
    assert set(seen[1:]) == {0.0}
    assert flight.unanswered() == 0.0


def test_asking_how_long_is_safe_while_the_answer_comes() -> None:
    """Who asks holds a lock that the flight's own thread does not need to note its answer."""

    class Fickle:
        """An ``asked`` that is gone the second time one looks."""

        def __init__(self) -> None:
            self.looks = 0

        @property
        def asked(self) -> float | None:
            self.looks += 1
            return time.perf_counter() - 1 if self.looks == 1 else None

    receiver = Receiver(Object())
    flight = Flight(receiver.source, 0, 4, wanted=0)
    flight.incoming = Fickle()  # type: ignore[assignment]
    assert flight.unanswered() >= 1


# -- a flight's books --------------------------------------------------------------------------------------


def a_flight(wanted: int = 0) -> Flight:
    return Flight(Source(Object(), len(DATA)), 4, 8, wanted)


def test_a_flight_is_for_a_read_if_one_wants_some_of_it() -> None:
    assert not a_flight().demand
    assert not a_flight(wanted=4).demand  # up to its first block, which is none of it
    assert a_flight(wanted=5).demand


def test_who_is_in_charge() -> None:
    flight = a_flight()
    assert flight.in_charge
    flight.overdue = True
    assert not flight.in_charge
    flight = a_flight()
    flight.abandoned = True
    assert not flight.in_charge


def test_what_was_held_for_one_who_waits_is_found_from_anywhere_in_it() -> None:
    flight = a_flight()
    flight.held = [Segment("key", 4, bytes(2 * BLOCK_SIZE)), Segment("key", 6, bytes(3 * BLOCK_SIZE))]
    flight.arrived = 5
    assert [flight.has(index) for index in (4, 8, 9)] == [True, True, False]
    assert [s.first for s in flight.run(4, 20)] == [4, 6]
    assert [s.first for s in flight.run(5, 6)] == [4]
    assert [s.first for s in flight.run(5, 7)] == [4, 6]
    assert [s.first for s in flight.run(7, 20)] == [6]
    assert flight.run(9, 20) == []
    assert flight.run(3, 20) == []
    assert flight.held[0].unused == flight.held[1].unused == 0


@pytest.mark.parametrize("wanted", [0, 8])
def test_what_was_held_goes_with_the_last_who_waited_unless_a_read_is_yet_to_take_it(wanted: int) -> None:
    flight = a_flight(wanted)
    flight.waiters = 2
    flight.held = [Segment("key", 4, bytes(BLOCK_SIZE))]
    flight.leave()
    assert len(flight.held) == 1
    flight.leave()
    assert flight.waiters == 0
    assert len(flight.held) == (1 if wanted else 0)


# -- a source ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
def test_the_last_block_is_shorter(size: int) -> None:
    source = Source(Object(DATA[:size]), size)
    for first in range(5):
        for count in range(5):
            assert source.span(first, count) == len(DATA[:size][first * BLOCK_SIZE : (first + count) * BLOCK_SIZE])


def test_a_key_holds_what_the_engine_knows_of_the_version() -> None:
    def key(size: int, identity: str | None, key: str | None = "key") -> object:
        whole = Object(DATA[:size], key=key)
        whole.stat = Stat(LOCATION, size=size, identity=identity)
        return Source(whole, size).key

    assert key(10, "v1") == key(10, "v1")
    assert len({key(10, "v1"), key(11, "v1"), key(10, "v2"), key(10, None)}) == 4
    assert key(10, "v1", None) != key(10, "v1", None)
