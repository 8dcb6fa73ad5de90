"""native: a real file's handle is the builtin's, with ``pread`` and ``read_ranges`` beside."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storagekit
from storagekit.native import LARGEST_FILE, LEAST_ASKED, NativeReader

DATA = bytes(range(256)) * 1024


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "file"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[Any]:
    with storagekit.open(f"file://{path}", "rb") as file:
        yield file


def test_it_is_the_builtins_buffer_with_a_descriptor(file: Any, path: Path) -> None:
    assert type(file) is NativeReader
    assert isinstance(file, io.BufferedReader)
    assert os.fstat(file.fileno()).st_size == len(DATA)
    with open(path, "rb") as builtin:
        assert (file.mode, file.name) == (builtin.mode, builtin.name)
        assert file.read() == builtin.read()


def test_a_plain_path_gives_the_builtins_own(path: Path) -> None:
    with storagekit.open(path, "rb", access="random") as file:
        assert type(file) is io.BufferedReader


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, len(DATA) + 50), st.integers(0, len(DATA) + 50))), st.integers(0, len(DATA)))
def test_ranges_are_slices_and_move_nothing(path: Path, pairs: list[tuple[int, int]], at: int) -> None:
    ranges = [(min(pair), max(pair)) for pair in pairs]
    with storagekit.open(f"file://{path}", "rb") as opened:
        file: Any = opened
        file.seek(at)
        assert file.read_ranges(ranges) == [DATA[start:stop] for start, stop in ranges]
        for start, stop in ranges:
            assert file.pread(start, stop - start) == DATA[start:stop]
        assert file.tell() == at
        assert file.read(10) == DATA[at : at + 10]


@pytest.mark.parametrize("size", [1 << 40, 1 << 62, 1 << 70])
def test_more_than_there_is_takes_no_memory_for_it(file: Any, size: int) -> None:
    assert file.pread(5, size) == DATA[5:]
    assert file.read_ranges([(len(DATA) - 3, size)]) == [DATA[-3:]]


@pytest.mark.parametrize("start", [len(DATA), len(DATA) + 1, 1 << 40, LARGEST_FILE - 1, LARGEST_FILE, 1 << 70])
def test_beyond_the_end_there_is_nothing(file: Any, start: int) -> None:
    assert file.pread(start, 10) == b""


def test_a_file_that_grows_is_read_as_it_is_then(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one")
    with storagekit.open(f"file://{path}", "rb") as opened:
        file: Any = opened
        assert file.pread(0, 100) == b"one"
        with path.open("ab") as more:
            more.write(bytes(3 * LEAST_ASKED))
        assert file.pread(0, 10 * LEAST_ASKED) == b"one" + bytes(3 * LEAST_ASKED)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no files here whose size is not told")
def test_a_file_that_does_not_tell_its_size_is_read_all_the_same() -> None:
    with storagekit.open("file:///proc/self/maps", "rb") as opened:
        file: Any = opened
        assert os.fstat(file.fileno()).st_size == 0
        assert len(file.pread(0, 1000)) == 1000


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (5, -1)])
def test_a_negative_position_is_refused(file: Any, path: Path, offset: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes at {offset}") as caught:
        file.pread(offset, size)
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == file.name


def test_a_system_without_pread_says_so(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread")
    with pytest.raises(io.UnsupportedOperation, match="seek and read"):
        file.pread(0, 1)


def test_a_closed_or_detached_one_says_so(path: Path) -> None:
    closed: Any = storagekit.open(f"file://{path}", "rb")
    closed.close()
    detached: Any = storagekit.open(f"file://{path}", "rb")
    with detached.detach():
        for file in (closed, detached):
            with pytest.raises(ValueError, match=r"closed|detached"):
                file.pread(0, 1)
            with pytest.raises(ValueError, match=r"closed|detached"):
                file.read_ranges([])


def test_it_refuses_to_pickle_as_the_builtins_do(file: Any) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(file)


def test_threads_do_not_move_one_another(file: Any) -> None:
    wrong: list[int] = []
    start = threading.Barrier(9)

    def read(number: int) -> None:
        start.wait(10)
        for at in range(number, len(DATA) - 1000, 1009):
            if file.pread(at, 1000) != DATA[at : at + 1000]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    start.wait(10)
    assert b"".join(iter(lambda: file.read(777), b"")) == DATA
    for thread in threads:
        thread.join()
    assert wrong == []
