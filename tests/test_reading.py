"""reading: a handle reads what a file would, with few requests, and lets go of everything."""

from __future__ import annotations

import errno
import gc
import io
import os
import pickle
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import interrupted_at
from reading_support import DATA, GUARD, URL, Engine, MiB, Object, Zeros, in_time, source_of

import storagekit
from storagekit import Storage, reading
from storagekit.driver import Stat
from storagekit.errors import ObjectChangedError, changed
from storagekit.location import Location
from storagekit.reading import READ_BUFFER, BufferedReader, ReadStream
from storagekit.settings import BLOCK_SIZE


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


@pytest.fixture(params=["buffered", "raw"])
def handle(request: pytest.FixtureRequest, engine: Engine) -> io.BufferedReader | ReadStream:
    return engine.open(Object()) if request.param == "buffered" else engine.raw(Object())


# -- the same as a file ------------------------------------------------------------------------------------

near = st.one_of(
    st.integers(0, 100),
    st.sampled_from([n * BLOCK_SIZE + d for n in range(7) for d in (-1, 0, 1) if n * BLOCK_SIZE + d >= 0]),
    st.integers(0, len(DATA) + 1000),
)
steps = st.one_of(
    st.tuples(st.sampled_from(["read", "readinto", "read1", "readinto1"]), near),
    st.tuples(st.sampled_from(["readline", "peek", "tell"]), st.just(0)),
    st.tuples(st.just("readall"), st.just(0)),
    st.tuples(st.just("seek"), near),
    st.tuples(st.just("seek on"), st.integers(-3 * BLOCK_SIZE, 3 * BLOCK_SIZE)),
    st.tuples(st.just("seek end"), st.integers(-len(DATA) - 5, 1000)),
)


def read_in_full(file: io.BufferedReader | ReadStream, count: int) -> bytes:
    """*count* bytes or what there is; a raw stream may give less than it is asked for."""
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def step_by_step(file: io.BufferedReader | ReadStream, model: io.BytesIO, step: str, n: int) -> None:
    assert file.tell() == model.tell()
    whole = isinstance(file, io.BufferedReader)
    if step == "read":
        got = file.read(n) if whole else read_in_full(file, n)
        assert got == model.read(n)
    elif step == "readinto":
        mine, expected = bytearray(n), bytearray(n)
        assert file.readinto(mine) == model.readinto(expected)
        assert mine == expected
    elif step in ("read1", "readinto1") and isinstance(file, io.BufferedReader):
        if step == "read1":
            got = file.read1(n)
        else:
            buffer = bytearray(n)
            got = bytes(buffer[: file.readinto1(buffer)])
        assert got == model.read(len(got))
        assert got or n == 0 or model.read(1) == b""
    elif step == "readline":
        assert file.readline() == model.readline()
    elif step == "readall":
        assert file.read() == model.read()
    elif step == "peek" and isinstance(file, io.BufferedReader):
        ahead = file.peek(1)
        position = model.tell()
        assert model.read(len(ahead)) == ahead
        assert ahead or model.read(1) == b""
        model.seek(position)
    elif step.startswith("seek"):
        whence = {"seek": os.SEEK_SET, "seek on": os.SEEK_CUR, "seek end": os.SEEK_END}[step]
        target = n + {"seek": 0, "seek on": model.tell(), "seek end": len(DATA)}[step]
        if target < 0:
            with pytest.raises(ValueError) as caught:
                file.seek(n, whence)
            assert isinstance(caught.value, OSError)
        else:
            assert file.seek(n, whence) == target == model.seek(target)
    assert file.tell() == model.tell()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(steps, max_size=25),
    st.sampled_from([0, 1, 100, 8192, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE]),
    st.sampled_from([0, 10 * 1024, BLOCK_SIZE, 3 * BLOCK_SIZE, 64 * MiB]),
    st.sampled_from([0, 100, BLOCK_SIZE, 2 * BLOCK_SIZE + 7]),
)
def test_it_reads_what_a_file_would(todo: list[tuple[str, int]], buffering: int, budget: int, head: int) -> None:
    engine, whole = Engine(budget=budget), Object(head=head)
    file = engine.open(whole, buffering) if buffering else engine.raw(whole)
    model = io.BytesIO(DATA)
    for step, n in todo:
        step_by_step(file, model, step, n)
    file.close()
    engine.settle()
    assert engine.cache.info().cached <= budget


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
@pytest.mark.parametrize("head", [0, BLOCK_SIZE])
def test_every_size_is_read_whole(engine: Engine, size: int, head: int) -> None:
    data = DATA[:size]
    assert engine.raw(Object(data, head=head)).readall() == data
    assert engine.open(Object(data, head=head)).read() == data
    assert b"".join(engine.open(Object(data, head=head))) == data


def test_text_is_read_as_from_a_file(engine: Engine) -> None:
    text = "".join(f"{n} äöü € 😀\r\n" for n in range(20_000))
    whole = Object(text.encode())
    with io.TextIOWrapper(engine.open(whole), encoding="utf-8") as file:
        assert list(file) == text.replace("\r\n", "\n").splitlines(keepends=True)
    with io.TextIOWrapper(engine.open(whole), encoding="utf-8", newline="") as file:
        first = file.readline()
        at = file.tell()
        second = file.readline()
        file.seek(0)
        assert file.readline() == first
        file.seek(at)
        assert file.readline() == second


def test_read1_fills_the_buffer_instead_of_passing_it_by(engine: Engine) -> None:
    """A text layer reads 8 KiB at a time, and each would be a read of the raw stream."""
    file, fills = engine.open(Zeros(4 * MiB), access="sequential"), list[int]()
    inner = file.raw._access.read_into

    def noted(start: int, stop: int, view: memoryview) -> None:
        fills.append(stop - start)
        inner(start, stop, view)

    file.raw._access.read_into = noted  # type: ignore[method-assign]
    total = 0
    while piece := file.read1(8192):
        assert len(piece) <= 8192
        total += len(piece)
    assert total == 4 * MiB
    assert len(fills) <= 4 * MiB // READ_BUFFER + 1
    assert file.read1(0) == b""


def test_read1_of_more_than_the_buffer_passes_it_by(engine: Engine) -> None:
    file = engine.open(Object(), 100, access="sequential")
    assert file.read1(50) == DATA[:50]
    assert file.read1(5000) == DATA[50:100], "what is in the buffer, and no read of the raw stream"
    assert file.read1(READ_BUFFER) == DATA[100 : 100 + READ_BUFFER]
    with pytest.raises(TypeError):
        file.read1("five")  # type: ignore[arg-type]


def test_a_detached_reader_refuses_ranges_and_its_raw_stream_reads_them(engine: Engine) -> None:
    file = engine.open(Object())
    raw = file.detach()
    with pytest.raises(ValueError, match="detached"):
        file.pread(0, 1)
    assert isinstance(raw, ReadStream)
    assert raw.pread(5, 3) == DATA[5:8]
    raw.close()
    with pytest.raises(ValueError, match="closed"):
        raw.pread(5, 3)


def test_seeking_past_the_end_is_allowed_and_reads_nothing(handle: io.BufferedReader) -> None:
    assert handle.seek(len(DATA) + 10) == len(DATA) + 10
    assert handle.read(5) == b""
    assert handle.read() == b""
    assert handle.readinto(bytearray(3)) == 0
    assert handle.tell() == len(DATA) + 10


@pytest.mark.parametrize("error", [OSError, ValueError])
@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-1, 1), (-len(DATA) - 1, 2)])
def test_seeking_before_the_start_is_refused(
    handle: io.BufferedReader, error: type[Exception], offset: int, whence: int
) -> None:
    with pytest.raises(error) as caught:
        handle.seek(offset, whence)
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, URL)
    assert handle.read(3) == DATA[:3]


@pytest.mark.parametrize("offset", [1.5, "1", None])
def test_an_offset_is_a_whole_number(handle: io.BufferedReader, offset: Any) -> None:
    with pytest.raises(TypeError):
        handle.seek(offset)
    assert handle.tell() == 0


def test_an_unknown_whence_is_refused(handle: io.BufferedReader) -> None:
    with pytest.raises(ValueError):
        handle.seek(0, 9)


@pytest.mark.parametrize("name", ["read", "readline", "readlines", "readall", "peek", "read1", "tell", "fileno"])
def test_a_closed_file_says_so(handle: Any, name: str) -> None:
    if not hasattr(handle, name):
        pytest.skip("not a method of this one")
    handle.close()
    handle.close()
    assert handle.closed
    with pytest.raises(OSError if name == "fileno" and isinstance(handle, ReadStream) else ValueError):
        getattr(handle, name)()
    with pytest.raises(ValueError, match="closed"):
        handle.seek(0)
    with pytest.raises(ValueError, match="closed"):
        handle.readinto(bytearray(1))
    with pytest.raises(ValueError, match="closed"):
        next(handle)
    with pytest.raises(ValueError), handle:
        pass


def test_it_says_what_it_is(handle: io.BufferedReader) -> None:
    assert handle.readable()
    assert handle.seekable()
    assert not handle.writable()
    assert handle.mode == "rb"
    assert handle.name == URL
    assert handle.stat.size == len(DATA)  # type: ignore[attr-defined]
    assert not handle.isatty()
    with pytest.raises(io.UnsupportedOperation):
        handle.fileno()
    with pytest.raises(io.UnsupportedOperation):
        handle.write(b"x")
    with pytest.raises(io.UnsupportedOperation):
        handle.truncate()


def test_a_read_only_target_is_refused_and_nothing_is_skipped(engine: Engine) -> None:
    raw = engine.raw(Object())
    with pytest.raises(TypeError):
        raw.readinto(b"12345")
    assert raw.read(5) == DATA[:5]


def test_it_reads_into_any_writable_buffer(engine: Engine) -> None:
    import array

    target = array.array("I", bytes(4000))
    assert engine.raw(Object()).readinto(target) == 4000
    assert target.tobytes() == DATA[:4000]


def test_an_object_of_unknown_size_is_refused_and_let_go_of(engine: Engine) -> None:
    whole = Object()
    whole.stat = Stat(Location("toy", "box", "key"))
    with pytest.raises(io.UnsupportedOperation):
        engine.raw(whole)
    assert len(whole.closed_by) == 1
    assert engine.readers == 0


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", [0, BLOCK_SIZE])
def test_random_reads_fetch_just_the_blocks_they_touch(engine: Engine, buffering: int) -> None:
    whole, chosen = Zeros(64 * MiB, head=0), random.Random(3)
    file = engine.open(whole, buffering) if buffering else engine.raw(whole)
    touched, crossed = set[int](), 0
    for _ in range(100):
        at = chosen.randrange(64 * MiB - 4096)
        file.seek(at)
        assert len(file.read(4096)) == 4096
        touched.update((at // BLOCK_SIZE, (at + 4095) // BLOCK_SIZE))
        crossed += at // BLOCK_SIZE != (at + 4095) // BLOCK_SIZE
    # One that crosses into the next block is two reads for the raw stream, and the second asks for as much again.
    assert len(touched) * BLOCK_SIZE <= whole.asked <= (len(touched) + crossed) * BLOCK_SIZE
    assert whole.asked <= 200 * BLOCK_SIZE
    assert len(whole.requests) <= 200


@pytest.mark.parametrize("size", [1, 1000, BLOCK_SIZE])
def test_a_small_object_is_read_with_what_opening_brought(engine: Engine, size: int) -> None:
    whole = Object(DATA[:size], head=BLOCK_SIZE)
    with engine.open(whole) as file:
        assert file.read() == DATA[:size]
        file.seek(0)
        assert file.read(10) == DATA[: min(10, size)]
    assert whole.requests == []


def test_the_same_version_opened_again_is_not_fetched_again(engine: Engine) -> None:
    whole = Object()
    for _ in range(3):
        with engine.open(whole) as file:
            assert file.read() == DATA
    assert whole.asked == len(DATA)


def test_a_scan_runs_ahead_while_the_consumer_waits(engine: Engine) -> None:
    """Several connections are busy before the first block that is waited for arrives."""
    go, several, lock, busy = threading.Event(), threading.Event(), threading.Lock(), [0]
    whole = Zeros(512 * MiB)
    engine = Engine(budget=256 * MiB, threads=8)

    def hold() -> None:
        with lock:
            busy[0] += 1
            if busy[0] >= 4:
                several.set()
        assert go.wait(GUARD)

    file = engine.raw(whole)
    target = bytearray(MiB)
    for _ in range(2):
        file.readinto(target)
    for _ in range(6):  # what a reader that is faster than the store comes to
        file._access._window.stalled()
    whole.on_read = hold
    done: list[int] = []

    def consume() -> None:
        for _ in range(100):
            file.readinto(target)
            done.append(1)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    assert several.wait(GUARD)
    assert len(done) < 100
    go.set()
    consumer.join(GUARD)
    assert len(done) == 100
    file.close()
    engine.settle()
    assert sum(stop - start for start, stop in set(whole.requests)) == whole.asked


def test_a_long_read_starts_everything_at_once() -> None:
    go, several, lock, seen = threading.Event(), threading.Event(), threading.Lock(), set[int]()
    whole = Zeros(40 * MiB)
    engine = Engine(budget=256 * MiB, threads=8)

    def hold() -> None:
        with lock:
            seen.add(threading.get_ident())
            if len(seen) >= 4:
                several.set()
        assert go.wait(GUARD)

    whole.on_read = hold
    sizes: list[int] = []
    reader = threading.Thread(target=lambda: sizes.append(len(engine.raw(whole).readall())), daemon=True)
    reader.start()
    assert several.wait(GUARD)
    go.set()
    reader.join(GUARD)
    assert sizes == [40 * MiB]
    assert whole.asked == 40 * MiB
    assert all(stop - start >= MiB for start, stop in whole.requests)
    engine.settle()


def test_a_long_read_to_the_end_asks_for_its_bytes_once_and_keeps_none(engine: Engine) -> None:
    whole = Zeros(40 * MiB + 5)
    raw = engine.raw(whole)
    raw.seek(5)
    assert len(raw.readall()) == 40 * MiB
    assert whole.asked == 40 * MiB
    assert engine.cache.info().cached == 0


def test_a_long_read_runs_ahead_by_no_more_than_it_is_long(engine: Engine) -> None:
    whole = Zeros(1 << 40)
    raw = engine.raw(whole)
    raw.seek(5)
    assert raw.readinto(bytearray(20 * MiB)) == 20 * MiB
    engine.transfers.close()
    assert 20 * MiB < max(stop for _, stop in whole.requests) <= 60 * MiB
    assert len(set(whole.requests)) == len(whole.requests)


def test_a_long_read_by_one_who_reads_at_random_asks_for_nothing_beyond_its_end(engine: Engine) -> None:
    whole = Zeros(1 << 40)
    raw = engine.raw(whole, access="random")
    raw.seek(5)
    assert raw.readinto(bytearray(20 * MiB)) == 20 * MiB
    assert raw.readinto(bytearray(100)) == 100
    engine.transfers.close()
    assert whole.asked == 20 * MiB + BLOCK_SIZE


def test_a_handle_that_jumps_gives_up_what_it_asked_for_ahead(engine: Engine) -> None:
    whole, go = Zeros(512 * MiB), threading.Event()
    raw, target = engine.raw(whole), bytearray(BLOCK_SIZE)
    raw.readinto(target)
    engine.cache.take(source_of(raw), 1, 2)  # so that the read that opens the window need not wait

    def hold(start: int, stop: int) -> None:
        if start < 100 * MiB:
            assert go.wait(GUARD)

    whole.on_open = hold
    raw.readinto(target)
    flights = list(source_of(raw).flights)
    assert [flight.abandoned for flight in flights] == [False]
    raw.seek(200 * MiB)
    raw.readinto(target)
    assert [flight.abandoned for flight in flights] == [True]
    go.set()


def test_a_scan_of_an_object_larger_than_the_cache_keeps_within_it() -> None:
    engine, whole = Engine(budget=4 * MiB), Zeros(40 * MiB)
    with engine.raw(whole) as file:
        target, total = bytearray(BLOCK_SIZE), 0
        while count := file.readinto(target):
            total += count
            info = engine.cache.info()
            assert info.cached + info.in_flight <= info.budget
    assert total == whole.asked == 40 * MiB
    engine.settle()


def test_several_handles_on_one_object_share_the_room_for_read_ahead() -> None:
    """Else they push each other's blocks out before they are read, and ask block by block."""
    engine, size, count = Engine(budget=8 * MiB), 64 * MiB, 8
    whole = Zeros(size)
    files = [engine.open(whole) for _ in range(count)]
    for n, file in enumerate(files):
        file.seek(n * size // count)
    for _ in range(size // count // BLOCK_SIZE):
        for file in files:
            assert len(file.read(BLOCK_SIZE)) == BLOCK_SIZE
    engine.settle()
    assert whole.asked < 1.25 * size
    assert len(whole.requests) < size // BLOCK_SIZE // 2


def test_a_scan_far_into_a_huge_object_costs_no_more(engine: Engine) -> None:
    whole = Zeros(1 << 50, key=None)

    def scan() -> bool:
        raw, target = engine.raw(whole), bytearray(BLOCK_SIZE)
        raw.seek(1 << 49)
        for _ in range(8):
            raw.readinto(target)
        raw.close()
        return True

    assert in_time(scan)


def test_an_object_that_changes_is_an_error_and_what_was_read_stays_readable(engine: Engine) -> None:
    whole = Object(head=BLOCK_SIZE)
    file = engine.open(whole)

    def other_version(start: int, stop: int) -> None:
        raise changed(URL)

    whole.on_open = other_version
    assert file.read(100) == DATA[:100]
    file.seek(2 * BLOCK_SIZE)
    for _ in range(2):
        with pytest.raises(ObjectChangedError):
            file.read(1)
    file.seek(0)
    assert file.read(100) == DATA[:100]


def test_a_vanished_object_has_changed(engine: Engine) -> None:
    whole = Object()

    def gone(start: int, stop: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", URL)

    file = engine.open(whole)
    whole.on_open = gone
    with pytest.raises(ObjectChangedError):
        file.read()
    assert file.tell() == 0


def test_a_failed_read_moves_nothing_and_can_be_repeated(handle: Any) -> None:
    raw = handle if isinstance(handle, ReadStream) else handle.raw
    whole: Any = source_of(raw).reader
    assert handle.read(10) == DATA[:10]
    handle.seek(3 * BLOCK_SIZE)

    def fail(start: int, stop: int) -> None:
        raise ConnectionError(errno.ECONNRESET, "reset", URL)

    whole.on_open = fail
    with pytest.raises(ConnectionError):
        handle.read(10)
    assert handle.tell() == 3 * BLOCK_SIZE
    whole.on_open = lambda start, stop: None
    assert handle.read(10) == DATA[3 * BLOCK_SIZE :][:10]


def test_after_a_failed_read_the_callers_buffer_is_free(engine: Engine) -> None:
    """A kept traceback would keep a view of the buffer, which then cannot change its size."""
    whole, target = Object(), bytearray(100)

    def fail(start: int, stop: int) -> None:
        raise ConnectionError(errno.ECONNRESET, "reset", URL)

    whole.on_open = fail
    raw = engine.raw(whole)
    gc.disable()
    try:
        try:
            raw.readinto(target)
        except ConnectionError:
            pass
        target.extend(b"longer")
    finally:
        gc.enable()


# -- memory ------------------------------------------------------------------------------------------------


def peak_of(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_it_all_holds_it_once() -> None:
    engine, size = Engine(budget=4 * MiB), 64 * MiB
    whole = Zeros(size)
    for file in (engine.raw(whole), engine.open(whole)):
        # The result itself, the budget, and a request of a demand read.
        assert peak_of(lambda file=file: file.read()) < size + 20 * MiB  # type: ignore[misc]
    engine.settle()


def test_long_reads_leave_nothing_behind_without_the_garbage_collector() -> None:
    engine = Engine(budget=MiB)
    raw, target = engine.raw(Zeros(1 << 40)), bytearray(4 * MiB)

    def work() -> None:
        gc.disable()
        try:
            for n in range(20):
                raw.seek(n * 100 * MiB)
                raw.readinto(target)
        finally:
            gc.enable()

    assert peak_of(work) < 20 * MiB
    engine.settle()


# -- letting go --------------------------------------------------------------------------------------------


def test_close_lets_go_of_the_reader_here(handle: Any) -> None:
    raw = handle if isinstance(handle, ReadStream) else handle.raw
    whole: Any = source_of(raw).reader
    cache = raw._access._cache
    handle.close()
    assert whole.closed_by == [threading.current_thread()]
    assert not cache._handles


layers: list[Callable[[BufferedReader], object]] = [
    lambda file: file,
    lambda file: file.detach(),
    lambda file: io.TextIOWrapper(file, encoding="latin-1"),
    lambda file: [file],
]


@pytest.mark.parametrize("layer", layers, ids=["alone", "raw", "text", "list"])
@pytest.mark.parametrize("cycle", [False, True], ids=["by count", "in a cycle"])
@pytest.mark.parametrize("locked", [False, True], ids=["free", "locked"])
def test_an_unclosed_reader_is_let_go_of_by_the_reaper(
    engine: Engine, layer: Callable[[BufferedReader], object], cycle: bool, locked: bool
) -> None:
    whole = Object(key=None, head=BLOCK_SIZE)

    class Holder:
        held: object
        me: object

    def use() -> Holder:
        holder, file = Holder(), engine.open(whole)
        file.read(10)
        holder.held = layer(file)
        holder.me = holder if cycle else None
        return holder

    gc.collect()
    holder = use()
    if locked:
        with engine.cache.lock:  # the finalizer runs in the thread that holds the lock
            del holder
            gc.collect()
        assert engine.readers == 1
    else:
        del holder
        gc.collect()
        assert engine.readers == 0
    assert whole.closed_by == []  # closing may be I/O, and a finalizer does none
    engine.reaper.drain()
    assert len(whole.closed_by) == 1
    assert engine.readers == 0
    assert engine.cache.info().cached == 0


def test_an_unclosed_reader_gives_up_what_it_had_asked_for_ahead(engine: Engine) -> None:
    whole, begun, go = Zeros(512 * MiB, key=None), threading.Event(), threading.Event()
    file = engine.raw(whole)
    target = bytearray(BLOCK_SIZE)
    file.readinto(target)
    file.readinto(target)  # opens the window: a flight of 1 MiB, and maybe more of it

    def hold() -> None:
        begun.set()
        assert go.wait(GUARD)

    whole.on_read = hold
    source = source_of(file)
    engine.cache.ahead(source, 256 * MiB, 260 * MiB, MiB)
    assert begun.wait(GUARD)
    flights = set(source.flights)
    del file
    gc.collect()
    assert any(flight.abandoned for flight in flights)
    assert all(flight.abandoned or flight.done for flight in flights)
    go.set()
    engine.settle()
    assert engine.cache.info().cached == 0


def test_a_forgotten_reader_is_closed_at_the_next_open() -> None:
    storage = Storage(drivers={})
    closed = threading.Event()
    whole = Object()
    whole.close = closed.set  # type: ignore[method-assign]
    streams = storage._streams
    ReadStream(whole, streams.cache, streams.reaper, buffered=False)
    gc.collect()
    with storage.open("memory://box/key", "wb") as target:
        target.write(b"anything")
    with storage.open("memory://box/key", "rb"):
        pass
    assert closed.wait(GUARD)
    storage.close()


# -- threads, pickling -------------------------------------------------------------------------------------


def test_16_threads_share_one_handle(engine: Engine) -> None:
    """A buffered reader serves one at a time: nothing is lost and nothing comes twice."""
    records = 2_000
    data = b"".join(b"%07d\n" % n for n in range(records)) * 4
    file, start = engine.open(Object(data), 512), threading.Barrier(16)
    lines: list[bytes] = []

    def work() -> None:
        start.wait(GUARD)
        while line := file.readline():
            lines.append(line)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert sorted(lines) == sorted(data.splitlines(keepends=True))


def test_16_threads_with_a_handle_each_read_it_right() -> None:
    engine, whole = Engine(budget=2 * BLOCK_SIZE), Object()
    start, wrong = threading.Barrier(16), list[int]()

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        start.wait(GUARD)
        with engine.open(whole) as file:
            for _ in range(50):
                at, count = chosen.randrange(len(DATA)), chosen.randrange(3 * BLOCK_SIZE)
                file.seek(at)
                if file.read(count) != DATA[at : at + count]:
                    wrong.append(at)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()
    assert wrong == []
    engine.settle()


def test_a_reader_pickles_as_a_place_in_one_version() -> None:
    import storagekit

    url = "memory://pickling/key"
    with storagekit.open(url, "wb") as target:
        target.write(DATA)
    try:
        with storagekit.open(url, "rb") as file:
            file.seek(BLOCK_SIZE + 5)
            file.read(10)
            pickled = pickle.dumps(file)
            with pickle.loads(pickled) as again:
                assert again.tell() == BLOCK_SIZE + 15
                assert again.read() == file.read() == DATA[BLOCK_SIZE + 15 :]
                assert again.stat.identity == file.stat.identity  # type: ignore[attr-defined]
        with storagekit.open(url, "wb") as target:
            target.write(DATA)
        with pytest.raises(ObjectChangedError):
            pickle.loads(pickled)
        with pytest.raises(ValueError):
            pickle.dumps(file)
    finally:
        storagekit.remove(url)


def test_the_head_is_held_by_the_cache_alone() -> None:
    with storagekit.Storage(cache_bytes=1 * MiB) as storage:
        with storage.open("memory://box/key", "wb") as writer:
            writer.write(bytes(2 * BLOCK_SIZE))
        with storage.open("memory://box/key", "rb") as file:
            raw: Any = file.raw
            assert source_of(raw).reader.head == b""
            assert storage.cache_info().cached == BLOCK_SIZE


def test_an_unbuffered_reader_says_that_it_does_not_pickle() -> None:
    with storagekit.Storage() as storage:
        storage.touch("memory://box/key")
        with storage.open("memory://box/key", "rb", 0) as file, pytest.raises(TypeError, match="unbuffered"):
            pickle.dumps(file)


# -- several threads, and interrupts -----------------------------------------------------------------------


def test_a_raw_stream_gives_each_byte_to_one_thread(engine: Engine) -> None:
    whole = Object()
    raw = engine.raw(whole)
    pieces: list[bytes] = []
    second = threading.Thread(target=lambda: pieces.append(raw.read(1000) or b""))

    def in_the_middle(start: int, stop: int) -> None:
        if second.ident is None:
            second.start()
            second.join(0.2)  # which does not end while this one reads

    whole.on_open = in_the_middle
    pieces.append(raw.read(1000) or b"")
    second.join(GUARD)
    assert sorted(pieces, key=DATA.index) == [DATA[:1000], DATA[1000:2000]]
    assert raw.tell() == 2000


def test_a_seek_waits_for_a_read_that_is_under_way(engine: Engine) -> None:
    whole = Object()
    raw = engine.raw(whole)
    other = threading.Thread(target=lambda: raw.seek(5))

    def in_the_middle(start: int, stop: int) -> None:
        if other.ident is None:
            other.start()
            other.join(0.2)

    whole.on_open = in_the_middle
    assert raw.read(1000) == DATA[:1000]
    other.join(GUARD)
    assert raw.tell() == 5, "the read has not undone it"


class Interrupting:
    """A lock whose release is interrupted once."""

    done = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        if not self.done:
            self.done = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("size", [1000, -1])
def test_what_an_interrupted_read_had_read_already_is_read_again(
    handle: io.BufferedReader | ReadStream, size: int
) -> None:
    raw = handle.raw if isinstance(handle, BufferedReader) else handle
    assert isinstance(raw, ReadStream)
    raw._lock = Interrupting()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        handle.read(size)
    assert handle.tell() == 0
    assert handle.read() == DATA


def test_an_interrupt_anywhere_in_a_seek_joins_no_bytes_of_two_places(engine: Engine) -> None:
    far, length = 3 * BLOCK_SIZE + 7, READ_BUFFER + 100
    nth, ways = 0, set()
    interrupted = True
    while interrupted:
        nth += 1
        with engine.open(Object()) as file:
            assert file.read(4) == DATA[:4]
            interrupted = interrupted_at(nth, {reading.__file__}, partial(file.seek, far))
            at = file.tell()
            assert file.read(length) == DATA[at : at + length], f"interrupted at {nth}"
            ways.add(at)
    assert ways == {4, far}
    assert nth > 5


def test_a_raw_stream_reads_all_for_none_as_the_builtins_does(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with open(tmp_path / "file", "rb", buffering=0) as builtin, engine.raw(Object()) as raw:
        assert builtin.read(None) == DATA
        assert raw.read(None) == DATA
        assert raw.read(None) == b""
