"""writing: what reaches an ObjectWriter, in which order, and that nothing is published that was not finished."""

from __future__ import annotations

import errno
import gc
import gzip
import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import storagekit
from storagekit import sending, writing
from storagekit.codecs import CODECS
from storagekit.compression import CompressedSink
from storagekit.driver import Body, ObjectWriter, Stat
from storagekit.errors import OutcomeUnknownError
from storagekit.location import parse_location
from storagekit.room import Room
from storagekit.sending import PartSender
from storagekit.transfers import Job, Reaper, Transfers
from storagekit.writing import BinaryWriter, TextWriter, WriteSink

URL = "toy://box/key"
HERE = parse_location(URL)
PART = 10
LAYERS = ("binary", "text", "gzip", "gzip-text")


class StoreError(OSError):
    """What a store says that fails."""


class Recorder(ObjectWriter):
    """A store of one object, which remembers what it was asked, can fail, and can be held up."""

    def __init__(self, *, size: int = PART, ordered: bool = False, fail: object = None) -> None:
        self.ordered = ordered
        self.size = size
        self.fail = fail
        """The number of a part, "put", "commit" or "abort"."""
        self.error: BaseException = StoreError(errno.EIO, "the store fails", URL)
        self.calls: list[str] = []
        self.parts: dict[int, tuple[int, bytes]] = {}
        self.published: bytes | None = None
        self.threads: dict[str, threading.Thread] = {}
        self.held: dict[int, threading.Event] = {}
        """Parts that wait for their event before they arrive."""
        self.entered = threading.Semaphore(0)
        self.aborted = threading.Event()
        self.lock = threading.Lock()
        self.in_flight = self.most_in_flight = self.bytes_in_flight = self.most_bytes = 0

    def _step(self, name: str, key: object) -> None:
        self.calls.append(name)
        self.threads[name] = threading.current_thread()
        if self.fail == key:
            raise self.error

    def part_size(self, number: int, /) -> int:
        return self.size

    def put(self, body: Body, /) -> Stat:
        self._step("put", "put")
        return self._publish(b"".join(body))

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        data = b"".join(body)
        with self.lock:
            self.in_flight += 1
            self.bytes_in_flight += len(data)
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.most_bytes = max(self.most_bytes, self.bytes_in_flight)
        self.entered.release()
        try:
            if number in self.held:
                assert self.held[number].wait(30)
            self._step(f"part {number}", number)
            self.parts[number] = offset, data
        finally:
            with self.lock:
                self.in_flight -= 1
                self.bytes_in_flight -= len(data)

    def commit(self) -> Stat:
        self._step("commit", "commit")
        assert sorted(self.parts) == list(range(1, len(self.parts) + 1))
        return self._publish(b"".join(data for _, (_, data) in sorted(self.parts.items())))

    def _publish(self, data: bytes) -> Stat:
        self.published = data
        return Stat(HERE, "file", len(data), identity="v1")

    def abort(self) -> None:
        assert self.in_flight == 0, "the abort overtook a part"
        self.aborted.set()
        self._step("abort", "abort")


class Box:
    """Opens writers over Recorders, with threads and a reaper of its own."""

    def __init__(self) -> None:
        self.transfers = Transfers(8)
        self.reaper = Reaper()

    def sender(self, store: ObjectWriter, limit: int = 1 << 20) -> PartSender:
        return PartSender(store, URL, self.transfers, self.reaper, Room(limit))

    def open(self, store: ObjectWriter, layer: str = "binary", *, buffer: int = 4, limit: int = 1 << 20) -> Any:
        sink = WriteSink(self.sender(store, limit))
        raw: io.RawIOBase = sink
        if layer.startswith("gzip"):
            raw = CompressedSink(CODECS["gzip"], sink, URL)
            sink.finishing.append(raw)
        binary = BinaryWriter(raw, sink, buffer)
        return TextWriter(binary, encoding="utf-8", newline="\n") if layer.endswith("text") else binary


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.reaper.give_up()
    made.transfers.close()


def collect(holder: list[Any]) -> None:
    """Empty *holder*, which has the only reference to what it holds."""
    holder.clear()
    gc.collect()


def some(layer: str, size: int) -> Any:
    """Something to write through *layer*, which does not compress away."""
    data = b"".join(b"%08x" % (number * 2654435761 & 0xFFFFFFFF) for number in range(size // 8 + 1))[:size]
    return data.decode() if layer.endswith("text") else data


def plain(layer: str, published: bytes | None) -> Any:
    assert published is not None
    data = gzip.decompress(published) if layer.startswith("gzip") else published
    return data.decode() if layer.endswith("text") else data


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_what_ends_inside_or_exactly_at_part_one_is_one_put(box: Box, size: int, chunk: int) -> None:
    store = Recorder()
    data = some("binary", size)
    with box.open(store) as file:
        for start in range(0, size, chunk):
            assert file.write(data[start : start + chunk]) == len(data[start : start + chunk])
    assert store.calls == ["put"]
    assert store.published == data
    assert file.stat == Stat(HERE, "file", size, identity="v1")


@pytest.mark.parametrize("size", [PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1, 7 * PART, 7 * PART + 3])
@pytest.mark.parametrize("chunk", [1, 7, PART, PART + 1, 1000])
def test_parts_are_cut_at_their_sizes(box: Box, size: int, chunk: int) -> None:
    store = Recorder()
    data = some("binary", size)
    with box.open(store) as file:
        for start in range(0, size, chunk):
            file.write(data[start : start + chunk])
    count = -(-size // PART)
    assert sorted(store.calls) == sorted([f"part {n}" for n in range(1, count + 1)] + ["commit"])
    assert store.calls[-1] == "commit"
    assert store.parts == {n: ((n - 1) * PART, data[(n - 1) * PART : n * PART]) for n in range(1, count + 1)}
    assert store.published == data


def test_part_sizes_may_grow(box: Box) -> None:
    class Growing(Recorder):
        def part_size(self, number: int, /) -> int:
            return 1 << number

    store = Growing()
    with box.open(store) as file:
        file.write(some("binary", 20))
    assert {number: (offset, len(data)) for number, (offset, data) in store.parts.items()} == {
        1: (0, 2),
        2: (2, 4),
        3: (6, 8),
        4: (14, 6),
    }


def test_parts_go_side_by_side_within_the_limit(box: Box) -> None:
    store = Recorder()
    store.held = {n: threading.Event() for n in range(1, 4)}
    writing_done = threading.Event()
    file = box.open(store, limit=3 * PART)

    def write() -> None:
        file.write(some("binary", 10 * PART))
        file.close()
        writing_done.set()

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(3):
        assert store.entered.acquire(timeout=30)
    # Three are in flight and held up; there is no room for a fourth.
    assert not store.entered.acquire(timeout=0.1)
    assert not writing_done.is_set()
    for event in store.held.values():
        event.set()
    thread.join(30)
    assert writing_done.is_set()
    assert store.published == some("binary", 10 * PART)
    assert store.most_in_flight == 3
    assert store.most_bytes == 3 * PART


def test_a_limit_below_one_part_still_writes_one_at_a_time(box: Box) -> None:
    store = Recorder()
    with box.open(store, limit=1) as file:
        file.write(some("binary", 5 * PART))
    assert store.published == some("binary", 5 * PART)
    assert store.most_in_flight == 1


def test_ordered_writers_get_one_part_after_another(box: Box) -> None:
    store = Recorder(ordered=True)
    with box.open(store) as file:
        for start in range(0, 95, 5):
            file.write(some("binary", 95)[start : start + 5])
    assert store.calls == [f"part {n}" for n in range(1, 11)] + ["commit"]
    assert store.most_in_flight == 1
    assert store.published == some("binary", 95)


def test_write_takes_the_bytes_at_the_call(box: Box) -> None:
    store = Recorder()
    store.held = {1: threading.Event()}
    data = bytearray(some("binary", 3 * PART))
    with box.open(store) as file:
        file.write(data)
        data[:] = b"!" * len(data)
        store.held[1].set()
    assert store.published == some("binary", 3 * PART)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_publishes_what_was_written(box: Box, layer: str) -> None:
    store = Recorder()
    with box.open(store, layer) as file:
        for _ in range(50):
            file.write(some(layer, 30))
        assert store.published is None
        file.flush()
        assert store.published is None
    assert plain(layer, store.published) == some(layer, 30) * 50


# ---------------------------------------------------------------- what aborts


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("size", [3, 5 * PART])
@pytest.mark.parametrize("layer", LAYERS)
def test_an_exception_in_with_aborts(box: Box, layer: str, size: int, kind: type[BaseException]) -> None:
    store = Recorder()
    with pytest.raises(kind), box.open(store, layer) as file:
        file.write(some(layer, size))
        raise kind
    assert store.published is None
    assert store.calls.count("abort") == 1
    assert file.closed
    assert file.stat is None
    file.close()
    assert store.published is None


@pytest.mark.parametrize("size", [0, 3, 5 * PART])
@pytest.mark.parametrize("layer", LAYERS)
def test_discard(box: Box, layer: str, size: int) -> None:
    store = Recorder()
    with box.open(store, layer) as file:
        file.write(some(layer, size))
        file.discard()
        assert file.closed
        assert store.aborted.is_set()
        file.discard()
    assert store.published is None
    assert store.calls.count("abort") == 1


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("swallow", [False, True])
def test_a_part_that_fails_poisons_the_writer(box: Box, layer: str, number: int, swallow: bool) -> None:
    store = Recorder(fail=number)
    file = box.open(store, layer, limit=2 * PART)
    failed = False
    for _ in range(20):
        try:
            file.write(some(layer, 40))
            file.flush()
        except StoreError:
            failed = True
            if not swallow:
                break
    assert failed or layer.startswith("gzip"), "the codec may hold everything until the end"
    with pytest.raises(StoreError):
        file.close()
    assert store.published is None
    assert store.calls.count("abort") == 1
    assert store.calls[-1] == "abort"
    assert file.closed
    assert file.stat is None
    file.close()
    assert "commit" not in store.calls
    assert "put" not in store.calls


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("where", ["put", "commit"])
def test_a_failing_commit_aborts(box: Box, layer: str, where: str) -> None:
    store = Recorder(fail=where, size=PART if where == "commit" else 1 << 20)
    with pytest.raises(StoreError), box.open(store, layer) as file:
        file.write(some(layer, 5 * PART))
    assert store.published is None
    assert store.calls.count("abort") == 1
    assert file.closed
    assert file.stat is None
    file.close()
    assert store.calls.count(where) == 1


def test_a_failing_last_part_is_raised_by_close(box: Box) -> None:
    store = Recorder(fail=3)
    file = box.open(store)
    file.write(some("binary", 2 * PART + 1))
    with pytest.raises(StoreError):
        file.close()
    assert store.published is None
    assert store.calls[-1] == "abort"


def test_an_abort_that_fails_is_logged_and_hides_no_error(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    store = Recorder(fail="abort")
    with pytest.raises(ZeroDivisionError), box.open(store) as file:
        file.write(b"x")
        raise ZeroDivisionError
    box.reaper.close()
    assert store.calls == ["abort", "abort"], "it is tried once more, in the background"
    assert len([r for r in caplog.records if "unfinished upload may remain" in r.getMessage()]) == 1


def test_an_abort_that_fails_once_is_made_up_for(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    class Recovering(Recorder):
        def abort(self) -> None:
            self.fail = None if "abort" in self.calls else "abort"
            super().abort()

    store = Recovering()
    file = box.open(store)
    file.write(b"x")
    file.discard()
    box.reaper.close()
    assert store.calls == ["abort", "abort"]
    assert not [r for r in caplog.records if "may remain" in r.getMessage()]


def test_abort_waits_for_parts_in_flight(box: Box) -> None:
    store = Recorder()  # whose abort asserts that nothing is in flight
    store.held = {1: threading.Event(), 2: threading.Event()}
    file = box.open(store)
    file.write(some("binary", 3 * PART))
    for _ in range(2):
        assert store.entered.acquire(timeout=30)
    thread = threading.Thread(target=file.discard)
    thread.start()
    assert not store.aborted.wait(0.1)
    for event in store.held.values():
        event.set()
    thread.join(30)
    assert store.aborted.is_set()
    assert store.calls[-1] == "abort"


def test_an_interrupt_while_waiting_for_a_part_leaves_the_abort_to_wait_for_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Recorder()
    store.held = {1: threading.Event()}
    file = box.open(store, limit=PART)
    file.write(some("binary", 2 * PART))
    assert store.entered.acquire(timeout=30)

    def interrupted(job: Job) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(some("binary", 2 * PART))
    monkeypatch.undo()
    thread = threading.Thread(target=file.discard)
    thread.start()
    assert not store.aborted.wait(0.1)
    store.held[1].set()
    thread.join(30)
    assert store.calls[-1] == "abort"
    assert store.published is None


@pytest.mark.parametrize("layer", LAYERS)
def test_what_the_caller_gets_wrong_does_not_poison(box: Box, layer: str) -> None:
    store = Recorder()
    with box.open(store, layer) as file:
        file.write(some(layer, 4))
        with pytest.raises(TypeError):
            file.write(b"x" if layer.endswith("text") else "x")
        with pytest.raises(TypeError):
            file.write(3)
        if layer.endswith("text"):
            with pytest.raises(UnicodeEncodeError):
                file.write("\ud800")
        with pytest.raises(io.UnsupportedOperation):
            file.seek(3)
        with pytest.raises(io.UnsupportedOperation):
            file.truncate(1)
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
        file.write(some(layer, 4))
    assert plain(layer, store.published) == some(layer, 4) * 2


def test_a_store_that_fails_with_eintr_is_not_asked_for_ever(box: Box) -> None:
    store = Recorder(fail=1)
    store.error = InterruptedError(errno.EINTR, "Interrupted system call", URL)
    with pytest.raises(OSError, match="interrupted") as caught, box.open(store, limit=1) as file:
        file.write(some("binary", 5 * PART))  # the C buffer tries again what ends with EINTR
    assert caught.value.errno == errno.ECANCELED
    assert store.published is None
    assert store.calls == ["part 1", "abort"]


def test_an_interrupt_in_a_part_poisons(box: Box) -> None:
    store = Recorder(fail=1)
    store.error = KeyboardInterrupt()
    box.transfers.close()  # so that parts are sent in this thread
    file = box.open(store)
    with pytest.raises(KeyboardInterrupt):
        file.write(some("binary", 2 * PART))
    with pytest.raises(OSError, match="interrupted"):
        file.write(b"more than the buffer holds")
    with pytest.raises(OSError, match="interrupted"):
        file.close()
    assert store.published is None
    assert store.calls[-1] == "abort"


@pytest.mark.parametrize("size", [3, 2 * PART + 3])
def test_an_interrupt_at_any_line_of_a_write_publishes_no_garbled_object(box: Box, size: int) -> None:
    """A user who swallows it and closes gets an error, or an object without that write, with it, or with its start:
    never one that has a piece twice."""
    data = some("binary", size)
    ways = set()
    for nth in range(1, 1000):
        store = Recorder()
        file = box.open(store, buffer=1)
        file.write(b"<start>")
        reached = _interrupted_at(nth, file.write, data)
        errors = []
        for step in (lambda file=file: file.write(b"<end>"), file.close):
            try:
                step()
            except OSError as error:
                errors.append(error)
        if errors:
            assert store.published is None
            assert store.calls[-1] == "abort"
            ways.add("refused")
        else:
            published = store.published
            assert published is not None
            assert published.startswith(b"<start>")
            assert published.endswith(b"<end>")
            assert data.startswith(published[7:-5]), published
            ways.add("published")
        if not reached:
            break
    assert ways == {"refused", "published"}
    assert nth > 10


def _interrupted_at(nth: int, step: Callable[[bytes], object], data: bytes) -> bool:
    """Run *step*, interrupted before the nth line that it runs of either module; False when there are fewer."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in (writing.__file__, sending.__file__):
            return None
        if event == "line":
            count += 1
            if count == nth:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # finalizers are not what is to be interrupted
    sys.settrace(trace)
    try:
        step(data)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


# ---------------------------------------------------------------- layers that are closed out of order


@pytest.mark.parametrize("size", [3, 5 * PART])
def test_closing_the_buffer_below_the_text_publishes_nothing_and_close_says_so(
    box: Box, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Recorder()
    file = box.open(store, "text")
    file.write(some("text", size))
    file.buffer.close()
    assert store.published is None
    assert store.aborted.is_set()
    assert len(caplog.records) == 1
    with pytest.raises(OSError, match="nothing was published") as caught:
        file.close()
    assert caught.value.errno == errno.ECANCELED
    assert caught.value.filename == URL
    file.close()
    assert store.published is None


@pytest.mark.parametrize("layer", ["binary", "gzip"])
def test_closing_the_raw_stream_publishes_nothing_and_close_says_so(
    box: Box, layer: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Recorder()
    with pytest.raises(OSError, match="nothing was published"), box.open(store, layer) as file:
        file.write(b"abc")
        file.raw.close()
    assert store.published is None
    assert store.calls == ["abort"]
    assert len(caplog.records) <= 1


def test_leaving_the_buffer_of_a_text_writer_by_with_publishes_nothing(box: Box) -> None:
    store = Recorder()
    file = box.open(store, "text")
    with file.buffer as buffer:
        buffer.write(b"abc")
    with pytest.raises(OSError, match="nothing was published"):
        file.close()
    assert store.published is None


def test_detach_hands_the_seal_to_the_binary_layer(box: Box) -> None:
    store = Recorder()
    file = box.open(store, "text")
    file.write("text, ")
    binary = file.detach()
    del file
    gc.collect()  # the finalizer of what is no layer any more gives nothing up
    binary.write(b"bytes")
    binary.close()
    assert store.published == b"text, bytes"
    assert binary.stat is not None


def test_a_detached_binary_layer_still_aborts(box: Box) -> None:
    store = Recorder()
    with pytest.raises(ZeroDivisionError), box.open(store, "text").detach() as binary:
        binary.write(b"bytes")
        raise ZeroDivisionError
    assert store.published is None
    store = Recorder()
    holder = [box.open(store, "text").detach()]
    holder[0].write(b"x")
    with pytest.warns(ResourceWarning):
        collect(holder)
    assert store.aborted.wait(30)
    assert store.published is None


def test_a_raw_stream_that_was_detached_never_publishes(box: Box) -> None:
    store = Recorder()
    file = box.open(store)
    file.write(b"abc")
    raw = file.detach()
    with io.BufferedWriter(raw) as other:
        other.write(b"def")
    assert store.published is None
    assert store.calls == ["abort"]


def test_a_foreign_wrapper_left_by_an_exception_publishes(box: Box) -> None:
    """The one gap that there is: the wrapper closes us in its own ``__exit__``, before we learn of the exception."""
    store = Recorder()
    with pytest.raises(ZeroDivisionError), io.TextIOWrapper(box.open(store), encoding="utf-8") as wrapper:
        wrapper.write("half")
        raise ZeroDivisionError
    assert store.published == b"half"


def test_the_ways_out_of_the_foreign_wrapper(box: Box) -> None:
    store = Recorder()
    file = box.open(store)
    with pytest.raises(ZeroDivisionError), io.TextIOWrapper(file, encoding="utf-8") as wrapper:
        wrapper.write("half")
        file.discard()
        raise ZeroDivisionError
    assert store.published is None
    store = Recorder()
    with pytest.raises(ZeroDivisionError), box.open(store) as file:
        inner = io.TextIOWrapper(file, encoding="utf-8")
        inner.write("half")
        raise ZeroDivisionError
    assert store.published is None


# ---------------------------------------------------------------- ends


def test_use_after_close(box: Box) -> None:
    store = Recorder()
    file = box.open(store)
    file.write(b"x")
    file.close()
    file.close()
    file.discard()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        file.flush()
    assert store.published == b"x"
    assert store.calls == ["put"]
    assert file.stat.size == 1
    assert file.raw.stat is file.stat


def test_the_raw_stream_says_what_it_is(box: Box) -> None:
    with box.open(Recorder()) as file:
        assert file.writable()
        assert not file.readable()
        assert not file.seekable()
        assert file.tell() == 0
        file.write(b"abc")
        assert file.tell() == 3
        assert file.name == URL
        assert file.mode == "wb"
        assert URL in repr(file.raw)
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    assert "closed" in repr(file.raw)
    for use in (file.raw.writable, file.raw.tell, lambda: file.raw.write(b"x")):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("written", [False, True])
def test_one_warning_in_the_log_for_discarded_bytes(
    box: Box, layer: str, written: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="storagekit"):
        with box.open(Recorder(), layer) as file:
            file.write(some(layer, 3))
        assert not caplog.records
        for end in ("discard", "exception"):
            with suppress(ZeroDivisionError), box.open(Recorder(), layer) as file:
                if written:
                    file.write(some(layer, 5 * PART))
                if end == "discard":
                    file.discard()
                else:
                    raise ZeroDivisionError
    assert len(caplog.records) == (2 if written else 0)
    for record in caplog.records:
        assert URL in record.getMessage()
        if not layer.startswith("gzip"):
            assert f" {5 * PART} bytes" in record.getMessage()


@pytest.mark.parametrize("size", [0, 3, 5 * PART])
@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_garbage_publishes_nothing_and_is_aborted_by_the_reaper(box: Box, layer: str, cycle: bool, size: int) -> None:
    store = Recorder()
    holder = [box.open(store, layer)]
    holder[0].write(some(layer, size))
    if cycle:
        holder[0].myself = holder[0]
    with pytest.warns(ResourceWarning, match=URL) as caught:
        collect(holder)
    assert len([w for w in caught if w.category is ResourceWarning]) == 1
    assert store.aborted.wait(30)
    assert store.published is None
    assert store.calls.count("abort") == 1
    assert store.threads["abort"].name == "storagekit-reaper"


def test_garbage_is_aborted_where_the_warning_is_an_exception(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    store = Recorder()
    file = box.open(store)
    file.write(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del file
        gc.collect()
    assert [unraisable.exc_type for unraisable in raised] == [ResourceWarning]
    assert store.aborted.wait(30)


def test_a_finalizer_does_not_wait_for_a_slow_part(box: Box) -> None:
    store = Recorder()
    store.held = {1: threading.Event()}
    holder = [box.open(store, "gzip")]
    holder[0].write(os.urandom(200_000))  # more than any codec keeps to itself
    assert store.entered.acquire(timeout=30)
    with pytest.warns(ResourceWarning):
        collect(holder)  # would hang here
    assert not store.aborted.is_set()
    store.held[1].set()
    assert store.aborted.wait(30)


def test_a_closed_writer_is_collected_in_silence(box: Box) -> None:
    for layer in LAYERS:
        box.open(Recorder(), layer).close()
        box.open(Recorder(), layer).discard()
        with pytest.raises(StoreError):
            box.open(Recorder(fail="put", size=1 << 20), layer).close()
    gc.collect()  # a ResourceWarning would be an error here
    assert not box.reaper._unfinished


def test_given_up_from_outside_it_cannot_publish_what_is_left(box: Box) -> None:
    store = Recorder()
    file = box.open(store)
    file.write(b"first")
    file.flush()
    with pytest.warns(ResourceWarning, match=URL):
        box.reaper.give_up()
    assert store.calls == ["abort"]
    with pytest.raises(OSError, match="given up"), file:
        file.write(b"second")
        file.flush()
    assert store.published is None
    assert store.calls == ["abort"]


@pytest.mark.parametrize("first", ["publish", "abort"])
def test_publish_and_abort_do_not_cross(box: Box, first: str) -> None:
    """The first wins: no abort under a commit's feet, no commit of what an abort has emptied."""
    started, go = threading.Event(), threading.Event()

    class Slow(Recorder):
        def _step(self, name: str, key: object) -> None:
            started.set()
            assert go.wait(30)
            super()._step(name, key)

    store = Slow()
    sender = box.sender(store)
    sender.feed(memoryview(b"abc"))
    errors: list[BaseException] = []

    def slowly() -> None:
        try:
            getattr(sender, first)()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert started.wait(30)
    if first == "publish":
        sender.abort()
        with pytest.raises(OSError, match="given up"):
            sender.publish()
    else:
        with pytest.raises(OSError, match="given up"):
            sender.publish()
    go.set()
    thread.join(30)
    assert not errors
    assert store.calls == (["put"] if first == "publish" else ["abort"])
    assert store.published == (b"abc" if first == "publish" else None)


def test_two_threads_that_close_publish_once(box: Box) -> None:
    entered, go = threading.Event(), threading.Event()

    class Slow(Recorder):
        def put(self, body: Body, /) -> Stat:
            entered.set()
            assert go.wait(30)
            return super().put(body)

    store = Slow()
    file = box.open(store)
    file.write(b"abc")
    failed: list[BaseException] = []

    def close() -> None:
        try:
            file.close()
        except OSError as error:
            failed.append(error)

    first = threading.Thread(target=close)
    first.start()
    assert entered.wait(30)
    second = threading.Thread(target=close)
    second.start()
    second.join(30)
    go.set()
    first.join(30)
    assert store.calls == ["put"]
    assert store.published == b"abc"
    assert len(failed) <= 1


# ---------------------------------------------------------------- processes


def test_an_inherited_writer_is_dead_in_the_child(box: Box) -> None:
    stores = {layer: Recorder() for layer in LAYERS}
    files = {layer: box.open(store, layer) for layer, store in stores.items()}
    for layer, file in files.items():
        file.write(some(layer, 3 * PART))
        file.flush()
    reading, writing_end = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        report = []
        try:
            for layer, file in files.items():
                try:
                    file.write(some(layer, 100_000))
                    file.flush()
                    report.append(f"{layer} wrote")
                except OSError as error:
                    if error.errno != errno.EBADF or error.filename != URL:
                        report.append(f"{layer} write {error!r}")
                try:
                    file.close()
                    report.append(f"{layer} closed")
                except OSError as error:
                    if error.errno != errno.EBADF:
                        report.append(f"{layer} close {error!r}")
                calls = [call for call in stores[layer].calls if not call.startswith("part")]
                if calls:
                    report.append(f"{layer} calls {calls}")
            del files, file
            gc.collect()
        except BaseException as error:
            report.append(repr(error))
        os.write(writing_end, "; ".join(report).encode())
        os._exit(0)
    os.close(writing_end)
    with open(reading, "rb") as pipe:
        report_text = pipe.read().decode()
    os.waitpid(pid, 0)
    assert report_text == ""
    for layer, file in files.items():
        file.close()
        assert plain(layer, stores[layer].published) == some(layer, 3 * PART)


def run(script: str, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


EXIT = """
import atexit, os, sys
import storagekit
folder = sys.argv[1]
storage = storagekit.Storage() if sys.argv[2] != "default" else storagekit
files = [
    storage.open(f"file://{folder}/binary", "wb"),
    storage.open(f"file://{folder}/text", "w"),
    storage.open(f"file://{folder}/zipped", "wb", compression="gzip"),
]
for file in files:
    file.write("x" * 100 if "b" not in file.mode else b"x" * 10_000_000)
if sys.argv[2] == "dropped":
    del storage
if sys.argv[2] == "cycle":
    files.append(files)
"""


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("default", ""),
        ("default", "raise ZeroDivisionError"),
        ("default", "sys.exit(1)"),
        ("own", ""),
        ("dropped", ""),
        ("cycle", ""),
    ],
)
def test_the_end_of_the_interpreter_publishes_nothing_and_leaves_nothing(tmp_path: Path, how: str, end: str) -> None:
    run(EXIT + end, str(tmp_path), how, code=1 if end else 0)
    assert os.listdir(tmp_path) == []


def test_a_forked_child_that_exits_leaves_the_parents_upload_alone(tmp_path: Path) -> None:
    script = """
import os, sys
import storagekit
file = storagekit.open(f"file://{sys.argv[1]}/new", "wb")
file.write(b"x" * 10_000_000)
file.flush()
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
file.close()
"""
    run(script, str(tmp_path))
    assert os.listdir(tmp_path) == ["new"]
    assert (tmp_path / "new").stat().st_size == 10_000_000


@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz"])
def test_a_codec_that_was_interrupted_publishes_nothing(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with storagekit.Storage() as storage:
        file = storage.open("memory://box/key", "wb", compression=codec)
        file.write(b"whole, so far")
        file.flush()
        raw: Any = file.raw
        encoder = raw._encoder

        def interrupted(data: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(encoder, "write", interrupted)
        file.write(b"more")
        with pytest.raises(KeyboardInterrupt):
            file.flush()
        monkeypatch.undo()
        with pytest.raises(OSError, match="interrupted"):
            file.close()
        assert not storage.exists("memory://box/key")


def test_a_driver_that_wants_empty_parts_is_refused() -> None:
    with pytest.raises(OSError, match="0 bytes in part 1"):
        PartSender(Recorder(size=0), URL, Transfers(1), Reaper(), Room(1))


def test_where_the_outcome_is_unknown_the_log_does_not_claim_to_know(caplog: pytest.LogCaptureFixture) -> None:
    store = Recorder(fail="put")
    store.error = OutcomeUnknownError(errno.EIO, "the answer was lost", URL)
    sender = PartSender(store, URL, Transfers(1), Reaper(), Room(1))
    sender.feed(memoryview(b"data"))
    with pytest.raises(OutcomeUnknownError):
        sender.publish()
    (record,) = caplog.records
    assert "not known" in record.getMessage()
    assert "nothing is published" not in record.getMessage()


def test_a_small_writer_open_when_its_storage_closes_is_spoken_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        storage = storagekit.Storage()
        file = storage.open("memory://box/key", "w")
        file.write("still in the buffer")
        storage.close()
        del file
        gc.collect()
    assert [str(warning.message) for warning in caught] == ["unclosed, not published: <writer of 'memory://box/key'>"]
    (record,) = caplog.records
    assert "'memory://box/key' was not closed" in record.getMessage()
