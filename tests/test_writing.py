"""writing: the layers that users hold, and that nothing is published through them that was not finished."""

from __future__ import annotations

import errno
import gc
import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from interrupts import interrupted_at
from writing_support import LAYERS, PART, URL, Box, Recorder, StoreError, collect, plain, some

import storagekit
from storagekit import sending, writing
from storagekit.driver import Body, Stat

pytest_plugins = ["writing_support"]


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
def test_an_interrupt_anywhere_in_a_write_publishes_no_garbled_object(box: Box, size: int) -> None:
    """A user who swallows it and closes gets an error, or an object without that write, with it, or with its start:
    never one that has a piece twice."""
    data = some("binary", size)
    ways = set()
    for nth in range(1, 1000):
        store = Recorder()
        file = box.open(store, buffer=1)
        file.write(b"<start>")
        reached = interrupted_at(nth, {writing.__file__, sending.__file__}, partial(file.write, data))
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
