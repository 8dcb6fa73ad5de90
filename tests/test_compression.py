"""compression: what goes in comes out, damaged data is an OSError that names the file, and closing reaches down."""

from __future__ import annotations

import errno
import gc
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.codecs import CODECS
from storagekit.compression import CompressedSink, DecompressedStream, open_local
from storagekit.errors import InvalidArgumentError, ObjectChangedError, changed

NAMES = ["gzip", "bz2", "xz", "zstd", "lz4"]
URL = "toy://box/key"
DATA = b"".join(b"line %d\n" % n for n in range(20_000)) + random.Random(5).randbytes(50_000)

compress: dict[str, Callable[[bytes], bytes]] = {name: CODECS[name].module().compress for name in NAMES}
decompress: dict[str, Callable[[bytes], bytes]] = {name: CODECS[name].module().decompress for name in NAMES}
PACKED = {name: compress[name](DATA) for name in NAMES}


class Sink(io.RawIOBase):
    """What was written before it was muted."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.muted = False
        self.failing = False

    def writable(self) -> bool:
        return True

    def poison(self, error: BaseException) -> None:
        self.poisoned = error

    def abandon(self) -> None:
        self.muted = True

    def write(self, data: Any, /) -> int:
        if self.failing:
            raise OSError(errno.EIO, "no", URL)
        if not self.muted:
            self.written += data
        return memoryview(data).nbytes

    def mute(self) -> None:
        self.muted = True


def reader(codec: str, data: bytes) -> io.BufferedReader:
    return io.BufferedReader(DecompressedStream(CODECS[codec], io.BytesIO(data), URL))


@pytest.fixture(params=NAMES)
def codec(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


# -- there and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
def test_what_goes_in_comes_out(codec: str, data: bytes) -> None:
    sink = Sink()
    target = CompressedSink(CODECS[codec], sink, URL)
    for at in range(0, len(data), 70_000):
        assert target.write(memoryview(data)[at : at + 70_000]) == len(data[at : at + 70_000])
    target.finish()
    target.close()
    assert decompress[codec](bytes(sink.written)) == data
    assert reader(codec, bytes(sink.written)).read() == data
    assert sink.closed


def test_what_was_not_finished_ends_in_the_void(codec: str) -> None:
    sink = Sink()
    target = CompressedSink(CODECS[codec], sink, URL)
    target.write(DATA)
    before = bytes(sink.written)
    target.close()
    target.close()
    assert sink.written == before
    assert sink.muted
    assert sink.closed
    assert len(before) < len(PACKED[codec])


def test_a_sink_is_closed_even_if_the_codec_cannot_end(codec: str) -> None:
    sink = Sink()
    target = CompressedSink(CODECS[codec], sink, URL)
    target.write(DATA)
    sink.failing = True
    with pytest.raises(OSError):
        target.close()
    assert sink.closed
    assert target.closed


def test_it_is_for_writing(codec: str) -> None:
    target = CompressedSink(CODECS[codec], Sink(), URL)
    assert target.writable()
    assert not target.readable()
    assert (target.mode, target.name) == ("wb", URL)
    target.close()


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 30_000)),
    st.tuples(st.just("seek"), st.integers(0, len(DATA))),
    st.tuples(st.just("on"), st.integers(-20_000, 20_000)),
    st.tuples(st.just("end"), st.integers(-len(DATA), 0)),
    st.tuples(st.just("line"), st.just(0)),
)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=15, deadline=None)
@given(todo=st.lists(steps, max_size=8))
def test_it_reads_what_the_plain_file_would(codec: str, todo: list[tuple[str, int]]) -> None:
    file, model = reader(codec, PACKED[codec]), io.BytesIO(DATA)
    for step, n in todo:
        if step == "read":
            assert file.read(n) == model.read(n)
        elif step == "line":
            assert file.readline() == model.readline()
        else:
            target = n + {"seek": 0, "on": model.tell(), "end": len(DATA)}[step]
            whence = {"seek": os.SEEK_SET, "on": os.SEEK_CUR, "end": os.SEEK_END}[step]
            if 0 <= target <= len(DATA):
                assert file.seek(n, whence) == model.seek(target)
        assert file.tell() == model.tell()


def test_it_can_go_back(codec: str) -> None:
    file = reader(codec, PACKED[codec])
    assert file.read() == DATA
    assert file.seek(5) == 5
    assert file.read(10) == DATA[5:15]
    assert file.seek(-7, os.SEEK_END) == len(DATA) - 7
    assert file.read() == DATA[-7:]


@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-1, 1), (-len(DATA) - 1, 2)])
def test_seeking_before_the_start_is_refused(codec: str, offset: int, whence: int) -> None:
    for file in (DecompressedStream(CODECS[codec], io.BytesIO(PACKED[codec]), URL), reader(codec, PACKED[codec])):
        with pytest.raises(InvalidArgumentError) as caught:
            file.seek(offset, whence)
        assert caught.value.filename == URL
        file.seek(0)
        assert file.read(4) == DATA[:4]


def test_an_unknown_whence_is_refused(codec: str) -> None:
    with pytest.raises(ValueError):
        DecompressedStream(CODECS[codec], io.BytesIO(PACKED[codec]), URL).seek(0, 7)


def test_several_streams_in_one_file_are_read_as_one(codec: str) -> None:
    assert reader(codec, PACKED[codec] + compress[codec](b"more")).read() == DATA + b"more"


def test_text_through_the_layers(codec: str) -> None:
    text = "ä\r\nb\nc"
    with io.TextIOWrapper(reader(codec, compress[codec](text.encode())), encoding="utf-8") as file:
        assert file.read() == "ä\nb\nc"


# -- damaged data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 5, 20, 100, len(DATA) // 100, -1, -5])
def test_truncated_data_is_an_error_with_the_file_name(codec: str, kept: int) -> None:
    with pytest.raises(OSError) as caught:
        reader(codec, PACKED[codec][:kept]).read()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, URL)
    assert codec in str(caught.value)
    assert caught.value.__cause__ is not None


def test_data_of_another_kind_is_an_error_with_the_file_name(codec: str) -> None:
    with pytest.raises(OSError) as caught:
        reader(codec, b"this is no compressed data at all").read()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, URL)


def test_no_flipped_bit_of_what_we_wrote_gets_through(codec: str) -> None:
    chosen = random.Random(9)
    sink = Sink()
    target = CompressedSink(CODECS[codec], sink, URL)
    target.write(DATA)
    target.finish()
    target.close()
    packed = bytes(sink.written)
    for _ in range(12):
        damaged = bytearray(packed)
        damaged[chosen.randrange(20, len(packed) - 20)] ^= 1 << chosen.randrange(8)
        with pytest.raises(OSError) as caught:
            reader(codec, bytes(damaged)).read()
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, URL)


def test_damage_is_met_by_seeking_too(codec: str) -> None:
    with pytest.raises(OSError) as caught:
        reader(codec, PACKED[codec][:-30]).seek(0, os.SEEK_END)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, URL)


@pytest.mark.parametrize("error", [changed(URL), TimeoutError(errno.ETIMEDOUT, "slow", URL)])
def test_the_stores_own_error_comes_through_as_it_is(codec: str, error: OSError) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error

        def read1(self, size: int | None = -1, /) -> bytes:
            raise error

    with pytest.raises((ObjectChangedError, TimeoutError)) as caught:
        DecompressedStream(CODECS[codec], Failing(PACKED[codec]), URL).read(10)
    assert caught.value is error


# -- closing -----------------------------------------------------------------------------------------------


class Below(io.BytesIO):
    """The file under a decompressed stream: whether it was closed, and by a finalizer or not."""

    def __init__(self, data: bytes, seen: list[str]) -> None:
        super().__init__(data)
        self._seen = seen

    def _dealloc_warn(self, source: object) -> None:
        self._seen.append("collected")

    def close(self) -> None:
        if not self.closed:
            self._seen.append("closed")
        super().close()


def test_closing_reaches_down_once(codec: str) -> None:
    seen: list[str] = []
    file = io.BufferedReader(DecompressedStream(CODECS[codec], Below(PACKED[codec], seen), URL))
    file.read(10)
    file.close()
    file.close()
    del file
    gc.collect()
    assert seen == ["closed"]


@pytest.mark.parametrize("layer", ["raw", "buffer", "text"])
@pytest.mark.parametrize("cycle", [False, True])
def test_what_is_below_learns_that_a_finalizer_closes(codec: str, layer: str, cycle: bool) -> None:
    """A reader of a store must not do I/O then, but leave it to the reaper."""
    seen: list[str] = []
    below = Below(PACKED[codec], seen)  # kept, so that its own finalizer has no part in this

    class Holder:
        me: object

    def use() -> None:
        raw, holder = DecompressedStream(CODECS[codec], below, URL), Holder()
        file: object = raw
        if layer != "raw":
            file = io.BufferedReader(raw)
        if layer == "text":
            file = io.TextIOWrapper(cast(io.BufferedReader, file), encoding="latin-1")
        holder.me = [file, holder if cycle else None]

    use()
    gc.collect()
    assert seen[0] == "collected"
    assert seen[-1] == "closed"
    assert below.closed


@pytest.mark.parametrize("mode", ["t", "b"])
def test_plain_local_paths_go_to_the_standard_library(codec: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    text = {"encoding": "utf-8", "errors": None, "newline": None}
    content: Any = "ä\n" if mode == "t" else b"\xe4\n"
    with open_local(path, CODECS[codec], f"w{mode}", **text) as target:
        target.write(content)
    with open_local(path, CODECS[codec], f"r{mode}", **text) as source:
        assert source.read() == content
    raw = content.encode() if mode == "t" else content
    assert decompress[codec](path.read_bytes()) == raw
