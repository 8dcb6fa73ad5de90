"""updating: what goes beyond the clauses of the conformance suite: threads, buffers, and bases that are not whole."""

from __future__ import annotations

import errno
import gc
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storagekit
from storagekit.driver import BytesReader, RangeReader, Stat
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver

URL = "memory://box/key"


@pytest.fixture
def storage() -> Iterator[storagekit.Storage]:
    with storagekit.Storage() as made:
        yield made


def put(storage: storagekit.Storage, data: bytes) -> None:
    with storage.open(URL, "wb") as file:
        file.write(data)


def get(storage: storagekit.Storage) -> bytes:
    with storage.open(URL, "rb") as file:
        return file.read()


def test_a_write_during_the_close_is_in_or_refused(storage: storagekit.Storage) -> None:
    size, piece = 300 * 1024, b"C" * 300 * 1024
    put(storage, bytes(200 * size))
    file: Any = storage.open(URL, "r+b")
    file.write(b"begin")
    done: list[int] = []

    def write() -> None:
        try:
            for number in range(1, 200):
                file.seek(number * size)
                file.write(piece)
                done.append(number)
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=write)
    thread.start()
    while len(done) < 3:
        pass
    try:
        file.close()
    except OSError:
        published = False
    else:
        published = True
    thread.join()
    found = get(storage)
    if published:
        assert all(found[number * size : (number + 1) * size] == piece for number in done)
    else:
        assert found == bytes(200 * size)


@pytest.mark.parametrize("length", [10, 10_000, 100_000])
def test_what_was_written_is_read_over(storage: storagekit.Storage, tmp_path: Path, length: int) -> None:
    data = b"".join(b"%07d\n" % number for number in range(40_000))
    put(storage, data)
    (tmp_path / "file").write_bytes(data)
    lines = []
    for file in (storage.open(URL, "r+"), (tmp_path / "file").open("r+")):
        with file:
            file.write("X" * length)
            lines.append(file.readline())
            file.write("Y")
    assert lines[0] == lines[1]
    assert get(storage) == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("mode", ["r+", "a+"])
def test_line_ends_are_universal_in_reading(storage: storagekit.Storage, mode: str) -> None:
    put(storage, b"a\r\nb\rc\nd")
    with storage.open(URL, mode) as file:
        file.seek(0)
        assert file.readlines() == ["a\n", "b\n", "c\n", "d"]
        file.write("e\n")
    assert get(storage) == b"a\r\nb\rc\nde\n"


@pytest.mark.parametrize("mode", ["wb", "r+b"])
@pytest.mark.parametrize("wrapper", [io.TextIOWrapper, io.BufferedWriter])
def test_a_foreign_layer_that_is_collected_publishes_nothing(
    storage: storagekit.Storage, mode: str, wrapper: Any
) -> None:
    put(storage, b"old")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = wrapper(storage.open(URL, mode))
        layer.write("half" if wrapper is io.TextIOWrapper else b"half")
        del layer
        gc.collect()
    assert any(warning.category is ResourceWarning for warning in caught)
    assert get(storage) == b"old"


class Short(MemoryDriver):
    """Its readers end before they should."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        reader = super().open_read(location, head)
        size = reader.stat.size or 0
        longer = Stat(location, "file", size + 100, reader.stat.modified_ns, reader.stat.identity)
        return BytesReader(longer, reader.head[:size])


def test_a_base_that_comes_up_short_publishes_nothing() -> None:
    with storagekit.Storage(drivers={"memory": Short}) as storage:
        put(storage, b"old")
        file = storage.open(URL, "ab")
        file.write(b"new")
        with pytest.raises(OSError) as caught:
            file.close()
        assert caught.value.errno == errno.EIO
        assert storage.stat(URL).size == 3
