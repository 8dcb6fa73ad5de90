"""Reading bytes: what a handle opened with ``"rb"`` does, held against ``io.BytesIO`` wherever that is defined."""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, PART, Box, content

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, PART - 1, PART, PART + 1]


@clause("reading.sizes")
@pytest.mark.parametrize("size", SIZES)
def test_read_whole(box: Box, size: int) -> None:
    data = content(size)
    url = box.put("object", data)
    with box.open(url, "rb") as file:
        assert file.read() == data
        assert file.read() == b""
        assert file.tell() == size


@clause("reading.counts")
def test_read_counts(box: Box) -> None:
    data = content(2 * BLOCK + 100)
    url = box.put("object", data)
    with box.open(url, "rb") as file:
        assert file.read(0) == b""
        for size in (1, 10, BLOCK - 11, 1, BLOCK):
            at = file.tell()
            assert file.read(size) == data[at : at + size], f"{size} bytes at {at}"
        assert file.read(-1) == data[file.tell() - 99 :] if file.tell() < len(data) else True
    with box.open(url, "rb") as file:
        assert file.read(BLOCK + 1) == data[: BLOCK + 1]
        assert file.read(10 * BLOCK) == data[BLOCK + 1 :], "the last read gives what is left"
        assert file.read(1) == b""
    with box.open(url, "rb") as file:
        assert file.read(None) == data


@clause("reading.seek")
@pytest.mark.parametrize("seed", range(3))
def test_random_positions(box: Box, seed: int) -> None:
    chance = random.Random(seed)
    size = 5 * BLOCK + 17
    data = content(size)
    model = io.BytesIO(data)
    with box.open(box.put("object", data), "rb") as file:
        for _ in range(300):
            whence = chance.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
            where = chance.choice([chance.randrange(size), BLOCK * chance.randrange(6), size])
            offset = where - {os.SEEK_SET: 0, os.SEEK_CUR: model.tell(), os.SEEK_END: size}[whence]
            assert file.seek(offset, whence) == model.seek(offset, whence)
            count = chance.choice([0, 1, 100, 4096, BLOCK, 2 * BLOCK])
            assert file.read(count) == model.read(count), f"{count} bytes at {where}"
            assert file.tell() == model.tell()


@clause("reading.seek-past-end")
def test_seek_past_the_end(box: Box) -> None:
    with box.open(box.put("object", b"0123456789"), "rb") as file:
        for where in (10, 11, 10 + BLOCK, 1 << 40):
            assert file.seek(where) == where
            assert file.tell() == where
            assert file.read() == b""
            assert file.read(5) == b""
            assert file.readline() == b""
            assert file.readinto(bytearray(4)) == 0
        assert file.seek(5, os.SEEK_END) == 15
        assert file.seek(-6, os.SEEK_CUR) == 9
        assert file.read() == b"9"


@clause("reading.seek-negative")
def test_seek_before_the_start(box: Box) -> None:
    with box.open(box.put("object", b"0123456789"), "rb") as file:
        file.seek(4)
        for offset, whence in ((-1, os.SEEK_SET), (-5, os.SEEK_CUR), (-11, os.SEEK_END)):
            with pytest.raises((OSError, ValueError)):
                file.seek(offset, whence)
            assert file.tell() == 4, "the position stays where it was"
        with pytest.raises((OSError, ValueError)):
            file.seek(0, 17)
        assert file.read(2) == b"45"


@clause("reading.readinto")
def test_readinto(box: Box) -> None:
    data = content(BLOCK + 1000)
    with box.open(box.put("object", data), "rb") as file:
        buffer = bytearray(len(data) + 5)
        assert file.readinto(buffer) == len(data)
        assert buffer == data + bytes(5), "what was not filled is not touched"
        assert file.readinto(buffer) == 0
        file.seek(BLOCK - 2)
        view = memoryview(bytearray(10))[3:7]
        assert file.readinto(view) == 4
        assert view == data[BLOCK - 2 : BLOCK + 2]
        assert file.readinto(bytearray()) == 0
        file.seek(0)
        count = file.readinto1(buffer)
        assert 1 <= count <= len(data)
        assert buffer[:count] == data[:count]


@clause("reading.read1")
def test_read1_and_peek(box: Box) -> None:
    data = content(2 * BLOCK)
    with box.open(box.put("object", data), "rb") as file:
        seen = file.peek(1)
        assert len(seen) >= 1
        assert data.startswith(seen)
        assert file.tell() == 0, "peek does not move"
        collected = b""
        while chunk := file.read1(50_000):
            assert len(chunk) <= 50_000
            collected += chunk
        assert collected == data
        assert file.peek(1) == b""
        assert file.read1() == b""


@clause("reading.lines")
def test_lines(box: Box) -> None:
    chance = random.Random(5)
    lines = [bytes([97 + i % 26]) * chance.choice([0, 1, 80, 5000]) + b"\n" for i in range(400)]
    lines += [b"x" * (BLOCK + 7) + b"\n", b"\r\n", b"no end"]
    data = b"".join(lines)
    url = box.put("object", data)
    with box.open(url, "rb") as file:
        assert list(file) == lines
    with box.open(url, "rb") as file:
        assert file.readlines() == lines
    model: Any = io.BytesIO(data)
    with box.open(url, "rb") as file:
        for limit in (0, 1, 50, -1, None, 4000, 100_000) * 20:
            assert file.readline(limit) == model.readline(limit)
        assert file.readlines(10_000) == model.readlines(10_000)
        assert file.tell() == model.tell()


@clause("reading.protocol")
def test_flags(box: Box) -> None:
    with box.open(box.put("object"), "rb") as file:
        assert file.mode == "rb"
        assert isinstance(file, io.BufferedIOBase)
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert not file.isatty()
        assert not file.closed
        try:
            descriptor = file.fileno()
        except io.UnsupportedOperation:
            pass  # right for everything that is not a file of the system
        else:
            assert os.fstat(descriptor).st_size == len(b"data")
    assert file.closed
    with box.open(box.url("object")) as text:
        assert type(text) is io.TextIOWrapper


@clause("reading.closed")
def test_closed(box: Box) -> None:
    file = box.open(box.put("object"), "rb")
    file.close()
    file.close()
    calls = [file.read, file.readline, file.tell, file.peek, file.seekable, file.__enter__, lambda: file.seek(0)]
    for call in (*calls, lambda: next(file), lambda: file.readinto(bytearray(1))):
        with pytest.raises(ValueError, match="closed"):
            call()


@clause("reading.write-refused")
def test_writing_to_a_reader(box: Box) -> None:
    url = box.put("object")
    with box.open(url, "rb") as file:
        calls: list[Any] = [lambda: file.write(b"x"), lambda: file.writelines([b"x"]), lambda: file.truncate(0)]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
    with box.open(url) as text, pytest.raises(io.UnsupportedOperation):
        text.write("x")
    assert box.get("object") == b"data"


@clause("reading.unbuffered")
@pytest.mark.parametrize("size", [0, 100, 3 * BLOCK + 1])
def test_unbuffered(box: Box, size: int) -> None:
    data = content(size)
    url = box.put("object", data)
    with box.open(url, "rb", buffering=0) as file:
        assert isinstance(file, io.RawIOBase)
        collected = bytearray()
        while chunk := file.read(50_000):
            assert len(chunk) <= 50_000
            collected += chunk
        assert collected == data
        file.seek(0)
        assert file.read() == data, "without a count a raw read is whole"
        file.seek(size // 2)
        assert file.readall() == data[size // 2 :]
        assert file.readinto(bytearray(3)) == 0


@clause("reading.buffering")
@pytest.mark.parametrize("buffering", [2, 100, BLOCK, 4 * BLOCK])
def test_buffer_sizes(box: Box, buffering: int) -> None:
    data = content(2 * BLOCK + 5)
    with box.open(box.put("object", data), "rb", buffering=buffering) as file:
        assert file.read(10) == data[:10]
        file.seek(BLOCK - 5)
        assert file.read(10) == data[BLOCK - 5 : BLOCK + 5]
        assert file.read() == data[BLOCK + 5 :]


@clause("reading.archives")
def test_zip_and_tar(box: Box) -> None:
    members = {f"folder/{i}.bin": content(BLOCK + i, seed=i) for i in range(5)}
    packed, taped = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped, tarfile.open(fileobj=taped, mode="w") as tape:
        for name, data in members.items():
            zipped.writestr(name, data)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tape.addfile(info, io.BytesIO(data))
    with box.open(box.put("a.zip", packed.getvalue()), "rb") as file, zipfile.ZipFile(file) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in reversed(zipped.namelist())} == members
    with box.open(box.put("a.tar", taped.getvalue()), "rb") as file, tarfile.open(fileobj=file) as tape:
        member = tape.extractfile("folder/3.bin")
        assert member is not None
        assert member.read() == members["folder/3.bin"]


@clause("reading.independent")
def test_handles_are_independent(box: Box) -> None:
    data = content(BLOCK * 2)
    url = box.put("object", data)
    with box.open(url, "rb") as one, box.open(url, "rb") as two:
        one.seek(BLOCK)
        assert two.read(10) == data[:10]
        assert one.read(10) == data[BLOCK : BLOCK + 10]
        one.close()
        assert two.read() == data[10:], "closing one handle does not touch another"


@clause("reading.edges")
def test_reads_around_edges(box: Box) -> None:
    data = content(PART + 2 * BLOCK)
    edges = [edge + step for edge in (BLOCK, 2 * BLOCK, PART - BLOCK, PART, PART + BLOCK) for step in (-1, 0, 1)]
    with box.open(box.put("object", data), "rb") as file:
        for start in edges:
            for stop in (start + 1, start + 2, start + BLOCK - 1, start + BLOCK, start + BLOCK + 1):
                file.seek(start)
                assert file.read(stop - start) == data[start:stop], f"from {start} to {stop}"
                assert file.tell() == min(stop, len(data))


@clause("reading.any-sequence")
@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_calls(box: Box, seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(content(chance.choice([0, 3, 80, 5000]), seed=i).replace(b"\n", b"n") + b"\n" for i in range(150))
    model = io.BufferedReader(io.BytesIO(data))
    sizes = [-1, 0, 1, 100, BLOCK, BLOCK + 1]
    with box.open(box.put("object", data), "rb") as file:

        def filled(handle: Any, size: int) -> bytes:
            buffer = bytearray(size)
            return bytes(buffer[: handle.readinto(buffer)])

        calls: list[Any] = [
            lambda handle, size: handle.read(size),
            lambda handle, size: handle.readline(size),
            lambda handle, size: handle.readlines(size),
            lambda handle, size: filled(handle, max(size, 0)),
            lambda handle, size: next(handle, b"the end"),
            lambda handle, size: handle.seek(max(size, 0)),
            lambda handle, size: handle.seek(-min(max(size, 0), len(data)), os.SEEK_END),
            lambda handle, size: handle.tell(),
        ]
        for step in range(200):
            call, size = chance.choice(calls), chance.choice(sizes)
            if size == -1 and chance.random() < 0.8:
                size = 700  # or most of the time the position would be the end
            assert call(file, size) == call(model, size), f"step {step}, size {size}"


@clause("reading.end")
@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_at_the_end(box: Box, size: int) -> None:
    with box.open(box.put("object", content(size)), "rb") as file:
        assert len(file.read(size)) == size
        for _ in range(2):
            assert (file.read(), file.read(1), file.read1(1), file.peek(1), file.readline()) == (b"",) * 5
            assert file.readlines() == list(file) == []
            assert file.readinto(bytearray(1)) == file.readinto1(bytearray(1)) == 0
            with pytest.raises(StopIteration):
                next(file)
            assert file.tell() == size


@clause("reading.arguments")
def test_wrong_arguments(box: Box) -> None:
    wrong: Any = "five"
    with box.open(box.put("object", b"0123456789"), "rb") as file:
        file.read(3)
        calls: list[Any] = [file.read, file.read1, file.readline, file.seek, file.readinto]
        for call in calls:
            with pytest.raises(TypeError):
                call(wrong)
        with pytest.raises(TypeError):
            file.readinto(b"not to be written")
        with pytest.raises(ValueError, match="-1"):
            file.read(-2)
        assert file.tell() == 3
        assert file.read(2) == b"34", "a wrong call moves nothing"


@clause("reading.detach")
def test_detach(box: Box) -> None:
    data = content(2 * BLOCK)
    file = box.open(box.put("object", data), "rb")
    file.seek(BLOCK)
    raw = file.detach()
    with pytest.raises(ValueError, match="detached"):
        file.read(1)
    with raw:
        assert isinstance(raw, io.RawIOBase)
        assert raw.readall() == data[BLOCK:]
    assert raw.closed


@clause("reading.with")
def test_with_block(box: Box) -> None:
    url = box.put("object")
    with pytest.raises(ZeroDivisionError), box.open(url, "rb") as file:
        assert iter(file) is file
        file.flush()
        raise ZeroDivisionError
    assert file.closed
    with pytest.raises(ValueError, match="closed"), file:
        pass
