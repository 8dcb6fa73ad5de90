"""access: the four ways of reading give the same bytes, and each asks for no more than it may."""

from __future__ import annotations

import errno
import gc
import io
import os
import random
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_support import GUARD, URL, Engine, MiB, Object, Zeros, source_of

from storagekit.access import FAILED_STREAMS, LEAST_STREAMED, LEAST_UNKEPT
from storagekit.errors import ObjectChangedError, changed
from storagekit.reading import READ_BUFFER, BufferedReader, ReadStream
from storagekit.settings import BLOCK_SIZE

KiB = 1024
LONG = random.Random(5).randbytes(12 * MiB + 321)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


@pytest.fixture
def fast() -> Iterator[Engine]:
    engine = Engine(fast=True)
    yield engine
    engine.settle()


# -- the same bytes ----------------------------------------------------------------------------------------

places = st.one_of(
    st.integers(0, 200_000),
    st.sampled_from([n * BLOCK_SIZE + d for n in (1, 4, 16, 128, 192) for d in (-1, 0, 1)]),
    st.integers(0, len(LONG) + 1000),
)
counts = st.one_of(st.sampled_from([0, 1, 30, 4096, BLOCK_SIZE, READ_BUFFER, READ_BUFFER + 1, MiB, 9 * MiB]), places)
calls = st.sampled_from(["read", "read", "readinto", "read1", "readline", "peek", "readall", "pread", "ranges", "scan"])


def one_call(file: Any, model: io.BytesIO, call: str, place: int, count: int) -> None:
    at = model.tell()
    if call == "read":
        assert file.read(count) == model.read(count)
    elif call == "readinto":
        target = bytearray(count)
        got = file.readinto(target)
        assert target[:got] == model.read(got)
        assert got == min(count, max(0, len(LONG) - at))
    elif call == "read1":
        got1 = file.read1(count)
        assert got1 == model.read(len(got1))
        assert got1 or not count or at >= len(LONG)
    elif call == "readline":
        assert file.readline() == model.readline()
    elif call == "peek":
        ahead = file.peek(1)
        assert ahead == LONG[at : at + len(ahead)]
    elif call == "readall":
        assert file.read() == model.read()
    elif call == "pread":
        assert file.pread(place, count) == LONG[place : place + count]
    elif call == "ranges":
        ranges = [(place, place + count), (place // 2, place // 2 + 10), (place, place), (place + 5, place + 100)]
        assert file.read_ranges(ranges) == [LONG[start:stop] for start, stop in ranges]
    else:
        for _ in range(8):
            assert file.read(100_000) == model.read(100_000)
    assert file.tell() == model.tell()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(calls, st.one_of(st.none(), places), places, counts), max_size=20),
    st.sampled_from([None, "sequential", "random"]),
    st.sampled_from([True, False, None]),
    st.sampled_from([0, 10 * KiB, 3 * BLOCK_SIZE, 5 * MiB, 64 * MiB]),
    st.sampled_from([100, BLOCK_SIZE, READ_BUFFER, 3 * MiB]),
    st.booleans(),
)
def test_every_way_reads_what_a_file_would(
    todo: list[tuple[str, int | None, int, int]],
    access: str | None,
    fast: bool | None,
    budget: int,
    buffering: int,
    shared: bool,
) -> None:
    engine, whole, model = Engine(budget, fast=fast), Object(LONG, head=BLOCK_SIZE), io.BytesIO(LONG)
    others = [engine.open(whole)] if shared else []
    file = engine.open(whole, buffering, access)
    for call, seek, place, count in todo:
        if seek is not None:
            assert file.seek(seek) == model.seek(seek)
        one_call(file, model, call, place, count)
    for handle in (file, *others):
        handle.close()
    engine.settle()
    assert engine.cache.info().cached <= budget


@pytest.mark.parametrize("access", [None, "sequential", "random"])
@pytest.mark.parametrize("link", [True, False, None])
def test_a_scan_fetches_every_byte_once(access: str | None, link: bool | None) -> None:
    engine, whole = Engine(fast=link), Zeros(40 * MiB + 7)
    with engine.open(whole, access=access) as file:
        while file.read(50_000):
            pass
    engine.settle()
    info = engine.cache.info()
    assert info.fetched == 40 * MiB + 7
    assert info.unused == 0


@pytest.mark.parametrize("link", [True, False, None])
@pytest.mark.parametrize("head", [0, BLOCK_SIZE])
@pytest.mark.parametrize("size", [LEAST_UNKEPT, LEAST_UNKEPT + 1, 30 * MiB + 5])
def test_reading_it_all_fetches_every_byte_once(link: bool | None, head: int, size: int) -> None:
    engine, data = Engine(fast=link), (LONG * 3)[:size]
    whole = Object(data, head=head)
    with engine.raw(whole) as raw:
        assert raw.readall() == data
        assert engine.cache.info().fetched == size
        assert raw.seek(0) == 0
        assert raw.readall() == data, "and again, whatever was kept"
    engine.settle()


# -- no more than it may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [None, "sequential"])
@pytest.mark.parametrize("start", [0, 100 * MiB + 5])
@pytest.mark.parametrize("chunk", [4 * KiB, 100_000, MiB, 3 * MiB, 8 * MiB, 9 * MiB, 10 * MiB])
def test_ten_mebibytes_of_a_huge_object_cost_thirty_two(start: int, chunk: int, access: str | None) -> None:
    engine, whole = Engine(budget=256 * MiB), Zeros(1 << 40)
    with engine.open(whole, access=access) as file:
        file.seek(start)
        while (left := start + 10 * MiB - file.tell()) > 0:
            file.raw._access._window.stalled()  # as one who is faster than the store finds it
            file.read(min(chunk, left))
    engine.settle()
    assert whole.asked <= 32 * MiB


@pytest.mark.parametrize("chunk", [4 * KiB, MiB, 10 * MiB])
def test_ten_mebibytes_through_a_fast_link_are_ten(fast: Engine, chunk: int) -> None:
    whole = Zeros(1 << 40)
    with fast.open(whole) as file:
        while (left := 10 * MiB - file.tell()) > 0:
            file.read(min(chunk, left))
    assert fast.cache.info().fetched <= 12 * MiB


@pytest.mark.parametrize("link", [True, False])
def test_small_random_reads_touch_a_block_each(link: bool) -> None:
    engine, whole, chance = Engine(fast=link), Zeros(64 * MiB), random.Random(1)
    touched = set[int]()
    with engine.open(whole, access="random") as file:
        for _ in range(100):
            at = chance.randrange(64 * MiB - 4096)
            file.seek(at)
            file.read(4096)
            touched |= {at // BLOCK_SIZE, (at + 4095) // BLOCK_SIZE}
    engine.settle()
    assert sorted(start // BLOCK_SIZE for start, _ in whole.requests) == sorted(touched)
    assert whole.asked == len(touched) * BLOCK_SIZE


def test_random_never_reads_ahead_even_in_order(engine: Engine) -> None:
    whole = Zeros(64 * MiB)
    with engine.open(whole, access="random") as file:
        for _ in range(40):
            assert len(file.read(50_000)) == 50_000
        position = file.tell()
    assert max(stop for _, stop in whole.requests) <= -(-position // BLOCK_SIZE) * BLOCK_SIZE


def test_sequential_runs_ahead_from_the_first_read(engine: Engine) -> None:
    whole = Zeros(64 * MiB)
    with engine.open(whole, access="sequential") as file:
        file.seek(20 * MiB + 5)
        file.read(10)
        engine.transfers.close()
        assert max(stop for _, stop in whole.requests) >= 21 * MiB
    assert min(start for start, _ in whole.requests) == 20 * MiB


# -- archives and columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_members_of_an_archive_cost_a_request_each(engine: Engine, how: int) -> None:
    """After the first few, whose headers say nothing yet of how members are read."""
    packed, chance = io.BytesIO(), random.Random(3)
    with zipfile.ZipFile(packed, "w", how) as target:
        for number in range(60):
            target.writestr(f"member-{number}.bin", chance.randbytes(chance.randrange(300_000, 450_000)))
    whole, needed = Object(packed.getvalue(), head=BLOCK_SIZE), 0
    with engine.open(whole) as file, zipfile.ZipFile(file) as archive:
        before = len(whole.requests)
        for number in chance.sample(range(60), 20):
            with archive.open(f"member-{number}.bin") as member:
                needed += len(member.read())
    assert len(whole.requests) - before <= 20 + 12
    assert whole.asked <= 3 * needed


@pytest.mark.parametrize("columns", [[0], [0, 3 * MiB], [0, MiB, 2_700_000, 5_900_000, 9_300_000]], ids=len)
def test_columns_are_there_before_they_are_read(columns: list[int]) -> None:
    budget, group, chunk, groups = 64 * MiB, 12 * MiB + 12_345, 300_000, 20
    engine, whole, there, reads = Engine(budget), Zeros(groups * group), 0, 0
    known = 6  # by then they are, and what was fetched before they were has come to its end
    with engine.open(whole) as file:
        source = source_of(file.raw)
        for at in range(groups):
            if at == known:
                asked = whole.asked
            for column in columns:
                start = at * group + column
                there += not engine.cache.missing(source, start, start + chunk)
                reads += 1
                file.seek(start)
                assert len(file.read(chunk)) == chunk
    engine.settle()
    assert there >= reads - 3 * len(columns) - 6
    # Until the pattern is known, in the third group, they look like a scan with strides. How far that reads ahead is
    # a question of time: up to all the room there is.
    assert whole.asked <= 2 * reads * chunk + 40 * MiB + budget
    assert whole.asked - asked <= 2 * (groups - known) * len(columns) * chunk


def test_what_was_told_ahead_survives_the_jumps_between(engine: Engine) -> None:
    """A handle that jumps gives up its read-ahead, but not what its jumps are expected to lead to."""
    whole, go = Zeros(1 << 40), threading.Event()
    raw, target = engine.raw(whole), bytearray(1000)
    for n in range(4):
        raw.seek(n * 10 * MiB)
        raw.readinto(target)
    flights = set(source_of(raw).flights)

    def hold(start: int, stop: int) -> None:
        assert start < 40 * MiB or go.wait(GUARD)

    whole.on_open = hold
    raw.seek(2 * 10 * MiB)
    raw.readinto(target)
    assert not any(flight.abandoned for flight in flights)
    go.set()


# -- streams -----------------------------------------------------------------------------------------------


def test_a_scan_through_a_fast_link_is_one_request_that_leaves_nothing(fast: Engine) -> None:
    whole = Object(LONG, head=BLOCK_SIZE)
    with fast.open(whole) as file:
        assert b"".join(iter(lambda: file.read(70_000), b"")) == LONG
        assert whole.requests == [(BLOCK_SIZE, len(LONG))]
        assert fast.cache.info().cached == BLOCK_SIZE, "what came with opening"


@pytest.mark.parametrize("why", ["shared", "small", "slow"])
def test_where_a_stream_would_be_wrong_blocks_are_kept(why: str) -> None:
    engine = Engine(fast=why != "slow")
    data = LONG[: LEAST_UNKEPT - 1] if why == "small" else LONG
    whole = Object(data)
    others = [engine.open(whole)] if why == "shared" else []
    with engine.open(whole) as file:
        assert b"".join(iter(lambda: file.read(70_000), b"")) == data
        assert engine.cache.info().cached == len(data)
    for other in others:
        other.close()
    engine.settle()


def scanning(engine: Engine, whole: Object) -> ReadStream:
    """A handle that reads a stream, and stands at 1 MiB."""
    raw = engine.raw(whole, access="sequential")
    raw.readinto(bytearray(MiB))
    assert raw._access._stream is not None
    return raw


def test_a_short_stride_skips_and_a_long_one_leaves_the_stream(fast: Engine) -> None:
    whole = Object(LONG)
    raw, target = scanning(fast, whole), bytearray(100)
    stream, requests = raw._access._stream, len(whole.requests)
    raw.seek(MiB + 500_000)
    raw.readinto(target)
    assert target == LONG[MiB + 500_000 :][:100]
    assert raw._access._stream is stream
    assert len(whole.requests) == requests
    raw.seek(0)
    raw.readinto(target)
    assert target == LONG[:100]
    assert len(whole.requests) > requests
    raw.close()


def test_after_two_streams_that_were_left_early_there_are_no_more(fast: Engine) -> None:
    whole, target = Zeros(1 << 40), bytearray(BLOCK_SIZE)
    raw = fast.raw(whole, access="sequential")
    for n in range(10):
        raw.seek(n * 1024 * MiB)
        for _ in range(4):
            raw.readinto(target)
    streams = [request for request in whole.requests if request[1] == 1 << 40]
    assert len(streams) == FAILED_STREAMS
    raw.close()


def test_a_stream_that_brought_much_does_not_count_as_left_early(fast: Engine) -> None:
    whole, target = Zeros(1 << 40), bytearray(MiB)
    raw = fast.raw(whole, access="sequential")
    for n in range(FAILED_STREAMS + 2):
        raw.seek(n * 1024 * MiB)
        for _ in range(LEAST_STREAMED // MiB + 1):
            raw.readinto(target)
    assert len([request for request in whole.requests if request[1] == 1 << 40]) == FAILED_STREAMS + 2
    raw.close()


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "reset", URL), changed(URL)], ids=repr)
def test_a_stream_that_fails_moves_nothing_and_can_be_repeated(fast: Engine, error: OSError) -> None:
    whole = Object(LONG)
    raw, target = scanning(fast, whole), bytearray(3 * MiB)
    calm = whole.on_read, whole.on_open

    def cut() -> None:
        raise ConnectionResetError(errno.ECONNRESET, "cut", URL)

    def fail(start: int, stop: int) -> None:
        raise error

    whole.on_read, whole.on_open = cut, fail
    for _ in range(2):
        with pytest.raises(type(error)):
            raw.readinto(target)
        assert raw.tell() == MiB
    whole.on_read, whole.on_open = calm
    assert raw.readinto(target) == len(target)
    assert target == LONG[MiB : 4 * MiB]
    raw.close()


def test_a_stream_that_is_cut_goes_on_where_it_was(fast: Engine) -> None:
    whole = Object(LONG)
    raw, cuts = scanning(fast, whole), [0]

    def cut() -> None:
        cuts[0] += 1
        if cuts[0] % 3 == 0:
            raise ConnectionResetError(errno.ECONNRESET, "cut", URL)

    whole.on_read = cut
    assert b"".join(iter(lambda: raw.read(300_000), b"")) == LONG[MiB:]
    raw.close()


def test_two_threads_that_read_one_raw_handle_get_right_bytes(fast: Engine) -> None:
    """Only one can have the stream: the other reads blocks."""
    raw, wrong, start = scanning(fast, Object(LONG)), list[int](), threading.Barrier(4)
    access = raw._access

    def read(at: int) -> None:
        target = bytearray(200_000)
        start.wait(GUARD)
        for begin in range(at, at + 4 * MiB, len(target)):
            access.read_into(begin, begin + len(target), memoryview(target))
            if target != LONG[begin : begin + len(target)]:
                wrong.append(begin)

    threads = [threading.Thread(target=read, args=(n * 2 * MiB,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert wrong == []
    raw.close()


# -- all the rest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [0, 5 * MiB, 11 * MiB])
def test_a_long_read_that_fails_moves_nothing_and_can_be_repeated(engine: Engine, failing: int) -> None:
    whole = Object(LONG)

    def fail(start: int, stop: int) -> None:
        if start <= failing < stop:
            raise changed(URL)

    with engine.open(whole) as file:
        whole.on_open = fail
        for _ in range(2):
            with pytest.raises(ObjectChangedError):
                file.read()
            assert file.tell() == 0
        whole.on_open = lambda start, stop: None
        assert file.read() == LONG


def test_a_long_read_keeps_what_another_handle_may_want(engine: Engine) -> None:
    whole = Object(LONG)
    with engine.open(whole) as one, engine.open(whole) as two:
        assert one.read() == two.read() == LONG
    assert whole.asked == len(LONG)


def test_a_long_read_uses_what_is_here_already(engine: Engine) -> None:
    whole = Object(LONG)
    with engine.open(whole) as file:
        file.read_ranges([(3 * MiB, 4 * MiB), (len(LONG) - 10, len(LONG))])
        assert file.read() == LONG
    assert whole.asked == len(LONG)


# -- ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0, 3 * BLOCK_SIZE, MiB, 4 * MiB, 64 * MiB])
def test_ranges_are_fetched_once_however_small_the_cache_is(budget: int) -> None:
    engine, whole = Engine(budget), Zeros(400 * MiB)
    ranges = [(at, at + size) for at, size in ((0, 30 * MiB), (50 * MiB, 10), (60 * MiB, 20 * MiB))]
    ranges += [(at, at + 100_000) for at in range(100 * MiB, 200 * MiB, 2 * MiB)]
    with engine.open(whole) as file:
        got = file.read_ranges(ranges)
    engine.settle()
    assert [len(data) for data in got] == [stop - start for start, stop in ranges]
    # A block at the edge of what was asked for may have gone again where hardly any is kept.
    assert whole.asked <= sum(stop - start + 2 * BLOCK_SIZE for start, stop in ranges) + 20 * BLOCK_SIZE
    assert engine.cache.info().cached <= budget


def test_ranges_are_fetched_side_by_side(engine: Engine) -> None:
    whole, asked, go = Zeros(1 << 40), threading.Semaphore(0), threading.Event()

    def hold(start: int, stop: int) -> None:
        asked.release()
        assert go.wait(GUARD)

    whole.on_open = hold
    with engine.open(whole) as file:
        got: list[Any] = []
        reader = threading.Thread(
            target=lambda: got.extend(file.read_ranges([(n * 10 * MiB, n * 10 * MiB + 5) for n in range(8)])),
            daemon=True,
        )
        reader.start()
        for _ in range(4):
            assert asked.acquire(timeout=GUARD)
        go.set()
        reader.join(GUARD)
        assert got == [bytes(5)] * 8


def test_one_long_range_is_fetched_side_by_side_too(engine: Engine) -> None:
    whole = Zeros(1 << 40)
    with engine.open(whole) as file:
        assert len(file.pread(10 * MiB, 100 * MiB)) == 100 * MiB
    assert len(whole.requests) >= 100 // 8
    assert whole.asked == 100 * MiB
    assert engine.cache.info().budget == 64 * MiB


def test_neighbours_are_one_request(engine: Engine) -> None:
    whole = Zeros(1 << 30)
    with engine.open(whole) as file:
        file.read_ranges([(at, at + 1000) for at in reversed(range(MiB, 2 * MiB, 5000))])
    assert len(whole.requests) == 1


def test_ranges_say_nothing_about_how_the_handle_reads(engine: Engine) -> None:
    whole = Zeros(1 << 40)
    with engine.open(whole) as file:
        for at in range(0, 20 * MiB, MiB):
            file.pread(at, 1000)
        assert file.tell() == 0
        assert whole.asked == 20 * BLOCK_SIZE
        assert file.raw._access._window.size == 0


def test_a_failing_range_raises_and_the_others_can_be_read(engine: Engine) -> None:
    whole = Object(LONG)

    def fail(start: int, stop: int) -> None:
        if start <= 5 * MiB < stop:
            raise changed(URL)

    whole.on_open = fail
    with engine.open(whole) as file:
        with pytest.raises(ObjectChangedError):
            file.read_ranges([(0, 10), (5 * MiB, 5 * MiB + 10), (9 * MiB, 9 * MiB + 10)])
        assert file.pread(9 * MiB, 10) == LONG[9 * MiB :][:10]
        assert file.tell() == 0


def test_no_ranges_cost_nothing(engine: Engine) -> None:
    whole = Object(LONG)
    with engine.open(whole) as file:
        assert file.read_ranges([]) == []
        assert file.read_ranges([(5, 5), (1 << 40, 1 << 41), (len(LONG), len(LONG) + 1)]) == [b"", b"", b""]
        assert file.pread(1 << 70, 1 << 70) == b""
    assert whole.requests == []


def test_32_threads_read_ranges_while_one_reads_on(engine: Engine) -> None:
    whole, wrong, start = Object(LONG), list[int](), threading.Barrier(33)
    file = engine.open(whole)

    def read(seed: int) -> None:
        chance = random.Random(seed)
        start.wait(GUARD)
        for _ in range(20):
            at, count = chance.randrange(len(LONG)), chance.choice([10, 5000, 300_000])
            if file.pread(at, count) != LONG[at : at + count]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(seed,), daemon=True) for seed in range(32)]
    for thread in threads:
        thread.start()
    start.wait(GUARD)
    assert b"".join(iter(lambda: file.read(77_777), b"")) == LONG
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()
    assert wrong == []
    file.close()


# -- memory ------------------------------------------------------------------------------------------------

whole_reads: list[Callable[[BufferedReader], object]] = [
    lambda file: file.read(),
    lambda file: file.read(64 * MiB),
    lambda file: file.pread(0, 64 * MiB),
    lambda file: file.read_ranges([(n * MiB, (n + 1) * MiB) for n in range(64)]),
]


@pytest.mark.parametrize("read", whole_reads, ids=["read", "read size", "pread", "read_ranges"])
@pytest.mark.parametrize("link", [True, False])
def test_a_long_read_holds_its_result_and_the_budget(read: Callable[[BufferedReader], object], link: bool) -> None:
    engine = Engine(budget=4 * MiB, fast=link)
    file = engine.open(Zeros(64 * MiB))
    gc.collect()
    tracemalloc.start()
    try:
        read(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    file.close()
    engine.settle()
    assert peak < 64 * MiB + 26 * MiB


# -- the end -----------------------------------------------------------------------------------------------


def test_closing_in_the_midst_of_a_stream_lets_go_of_its_body(fast: Engine) -> None:
    closed: list[int] = []

    class Watched(Zeros):
        def open_range(self, start: int, stop: int, /) -> Any:
            body = super().open_range(start, stop)
            close = body.close

            def noted() -> None:
                closed.append(start)
                close()

            body.close = noted  # type: ignore[method-assign]
            return body

    whole = Watched(1 << 40)
    raw = scanning(fast, whole)
    assert closed == []
    raw.close()
    assert len(closed) == len(whole.requests)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_stream_alone(fast: Engine) -> None:
    whole = Object(LONG)
    raw, target = scanning(fast, whole), bytearray(500_000)
    requests = len(whole.requests)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            raw.readinto(target)
            own = len(whole.requests) > requests and target == LONG[MiB : MiB + 500_000]
            raw.close()
            os.write(writing, b"own" if own else b"parent's")
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        assert answer.read() == b"own"
    os.waitpid(pid, 0)
    raw.readinto(target)
    assert target == LONG[MiB : MiB + 500_000]
    assert len(whole.requests) == requests, "the stream goes on"
    raw.close()
