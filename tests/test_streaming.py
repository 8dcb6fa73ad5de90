"""streaming: the bytes of one body, in order, whatever their reader asks for and whatever happens to the body."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator

import pytest
from block_support import DATA, LOCATION, Engine, Object, Thread
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.errors import ObjectChangedError, changed
from storagekit.flights import RESUMES
from storagekit.pace import TELLING
from storagekit.streaming import BUFFER, Stream


class Streamed:
    """A stream over an object, with the engine whose numbers it goes into."""

    def __init__(self, whole: Object, start: int = 0, stop: int | None = None, engine: Engine | None = None) -> None:
        self.whole = whole
        self.engine = engine or Engine()
        source = self.engine.open(whole)
        self.stream = Stream(source, self.engine.cache, start, source.size if stop is None else stop)

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        self.stream.read_into(memoryview(data))
        return bytes(data)


@pytest.fixture
def streamed() -> Iterator[Streamed]:
    streamed = Streamed(Object())
    yield streamed
    streamed.stream.close()
    assert streamed.whole.bodies == 0
    streamed.engine.settle()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 3 * BUFFER)),
        st.tuples(st.just("read"), st.sampled_from([0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER])),
        st.tuples(st.just("skip"), st.integers(0, 3 * BUFFER)),
    ),
    max_size=15,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(DATA)), steps, st.lists(st.integers(0, 2 * BUFFER), max_size=15), st.booleans())
def test_the_bytes_come_in_order_however_they_are_asked_for(
    start: int, asked: list[tuple[str, int]], given_out: list[int], broken: bool
) -> None:
    """A body hands over so many bytes at a time; at 0 it ends early or breaks, never so often without progress."""
    whole, left, dead = Object(), list(given_out), 0

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
    streamed = Streamed(whole, start)
    stream, at = streamed.stream, start
    for step, count in asked:
        count = min(count, stream.stop - at)
        if step == "read":
            assert streamed.read(count) == DATA[at : at + count]
        else:
            stream.skip(count)
        at += count
        assert stream.position == at
        assert stream.delivered == at - start
        # What came in and was not asked for yet is in its one buffer.
        fetched = streamed.engine.info.fetched
        assert at - start <= fetched <= at - start + BUFFER
    assert streamed.engine.info.requests == len(whole.requests)
    assert all(stop == len(DATA) for _, stop in whole.requests)
    stream.close()
    assert whole.bodies == 0
    assert streamed.engine.info.cached == 0


def test_nothing_is_asked_before_something_is_read(streamed: Streamed) -> None:
    assert streamed.whole.requests == []
    assert streamed.read(0) == b""
    assert streamed.whole.requests == []
    assert streamed.read(1) == DATA[:1]
    assert streamed.whole.requests == [(0, len(DATA))]


def test_one_request_brings_everything(streamed: Streamed) -> None:
    got = [streamed.read(1), streamed.read(8192), streamed.read(BUFFER), streamed.read(3 * BUFFER + 7)]
    got.append(streamed.read(len(DATA) - sum(map(len, got))))
    assert b"".join(got) == DATA
    assert len(streamed.whole.requests) == 1
    assert streamed.engine.info.fetched == len(DATA)
    assert streamed.stream.position == streamed.stream.stop == len(DATA)


def test_a_stream_ends_where_it_was_told(streamed: Streamed) -> None:
    part = Streamed(streamed.whole, 1000, 1000 + BUFFER + 5, streamed.engine)
    assert part.read(10) + part.read(BUFFER - 5) == DATA[1000 : 1000 + BUFFER + 5]
    assert streamed.whole.requests == [(1000, 1000 + BUFFER + 5)]
    part.stream.close()


def test_long_reads_are_received_where_they_are_wanted(streamed: Streamed) -> None:
    """Not through the buffer, so that each byte is copied once less."""
    whole, offsets = streamed.whole, []
    whole.on_read = lambda offset: offsets.append(offset)
    streamed.read(BUFFER)
    streamed.read(2 * BUFFER)
    assert offsets == [0, BUFFER]
    streamed.read(10)
    streamed.read(10)  # from the buffer
    assert offsets == [0, BUFFER, 3 * BUFFER]


def test_small_reads_use_one_buffer_over_and_over(streamed: Streamed) -> None:
    streamed.read(10)
    buffer = streamed.stream._buffer.obj
    for _ in range(3 * BUFFER // 1000):
        streamed.read(1000)
    assert streamed.stream._buffer.obj is buffer


# -- when something goes wrong -----------------------------------------------------------------------------


def test_a_stream_that_is_cut_goes_on_where_it_stopped(streamed: Streamed) -> None:
    whole, cuts = streamed.whole, [0, 5, BUFFER + 1, 2 * BUFFER]

    def cut(offset: int) -> int | None:
        if cuts and offset == cuts[0]:
            del cuts[0]
            return 0
        return cuts[0] - offset if cuts else None

    whole.on_read = cut
    assert b"".join(streamed.read(n) for n in (3, 100_000, 2 * BUFFER)) == DATA[: 100_003 + 2 * BUFFER]
    assert [start for start, _ in whole.requests] == [0, 0, 5, BUFFER + 1, 2 * BUFFER]
    assert streamed.engine.info.requests == 5
    assert whole.bodies == 1


@pytest.mark.parametrize("size", [1000, 2 * BUFFER])
def test_an_object_that_changes_under_a_stream_is_never_mixed(streamed: Streamed, size: int) -> None:
    """The body that is there goes on with the old bytes; once it is cut there is nothing more to be had."""
    whole = streamed.whole
    assert streamed.read(1000) == DATA[:1000]

    def other_version(start: int, stop: int) -> None:
        raise changed(LOCATION)

    whole.on_open = other_version
    assert streamed.read(2 * BUFFER) == DATA[1000 : 1000 + 2 * BUFFER]
    at = streamed.stream.position
    whole.on_read = lambda offset: 0
    with pytest.raises(ObjectChangedError):
        for _ in range(1 + BUFFER // size):
            at = streamed.stream.position
            streamed.read(size)
    assert streamed.stream.position == at


def test_an_object_that_is_removed_under_a_stream_has_changed(streamed: Streamed) -> None:
    whole = streamed.whole
    assert streamed.read(BUFFER) == DATA[:BUFFER]

    def gone(start: int, stop: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such object", "toy://box/key")

    whole.on_open, whole.on_read = gone, lambda offset: 0
    with pytest.raises(ObjectChangedError):
        streamed.read(BUFFER)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError])
@pytest.mark.parametrize("size", [1000, 3 * BUFFER])
def test_an_interrupt_in_the_middle_moves_nothing_and_leaves_no_connection(
    streamed: Streamed, size: int, kind: type[BaseException]
) -> None:
    whole = streamed.whole
    assert streamed.read(BUFFER) == DATA[:BUFFER]

    def interrupt(offset: int) -> int:
        if offset > BUFFER:
            raise kind
        return 500

    whole.on_read = interrupt
    with pytest.raises(kind):
        streamed.read(size)
    assert streamed.stream.position == streamed.stream.delivered == BUFFER
    assert streamed.engine.info.fetched == BUFFER
    assert whole.bodies == 1
    streamed.stream.close()
    assert whole.bodies == 0
    # Who reads on begins anew from there.
    whole.on_read = lambda offset: None
    other = Streamed(whole, streamed.stream.position, engine=streamed.engine)
    assert other.read(1000) == DATA[BUFFER : BUFFER + 1000]
    other.stream.close()


# -- fork and the end --------------------------------------------------------------------------------------


def test_closing_is_closing_the_body_and_may_be_done_twice(streamed: Streamed) -> None:
    streamed.read(1)
    assert streamed.whole.bodies == 1
    streamed.stream.close()
    streamed.stream.close()
    assert streamed.whole.bodies == 0


def test_closing_tells_the_pace(streamed: Streamed) -> None:
    source = streamed.engine.sources[0]
    streamed.read(TELLING)
    assert source.pace.rate is None
    streamed.stream.close()
    assert source.pace.rate is not None


def test_a_forked_child_leaves_its_parents_connection_alone(streamed: Streamed) -> None:
    whole = streamed.whole
    assert streamed.read(1000) == DATA[:1000]
    closed: list[int] = []
    whole.on_close = lambda: closed.append(os.getpid())
    assert not streamed.stream.inherited
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if _leaves_it_alone(streamed, closed) else 2
        finally:
            os._exit(code)
    assert Thread(lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).result() == 0
    assert not streamed.stream.inherited
    assert streamed.read(2 * BUFFER) == DATA[1000 : 1000 + 2 * BUFFER]
    assert len(whole.requests) == 1
    assert closed == []


def _leaves_it_alone(streamed: Streamed, closed: list[int]) -> bool:
    stream = streamed.stream
    requests = len(streamed.whole.requests)
    right = stream.inherited
    stream.close()
    streamed.stream = Stream(streamed.engine.sources[0], streamed.engine.cache, 1000, len(DATA))
    # Nor is the body collected here: its finalizer might close the parent's connection.
    body = weakref.ref(stream._incoming.open())
    del stream
    right = right and closed == [] and streamed.whole.bodies == 1 and body() is not None
    right = right and not streamed.stream.inherited and streamed.read(BUFFER) == DATA[1000 : 1000 + BUFFER]
    streamed.stream.close()
    return right and len(closed) == 1 and len(streamed.whole.requests) == requests + 1


def test_two_streams_of_one_object_know_nothing_of_each_other() -> None:
    engine, whole = Engine(), Object()
    streams = [Streamed(whole, start, engine=engine) for start in (0, 100_000)]

    def work(streamed: Streamed) -> bytes:
        return b"".join(streamed.read(997) for _ in range(500))

    threads = [Thread(lambda s=s: work(s)) for s in streams]  # type: ignore[misc]
    assert [thread.result() for thread in threads] == [DATA[at : at + 997 * 500] for at in (0, 100_000)]
    for streamed in streams:
        streamed.stream.close()
    assert whole.bodies == 0
    assert engine.info.cached == 0
