"""Writing: an object appears whole at a successful close, or not at all."""

from __future__ import annotations

import array
import io
import os
import random
from typing import Any

import pytest

from storagekit import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, PART, Box, content, needs, refused
from storagekit_conformance.target import Client

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1]


@clause("writing.sizes")
@pytest.mark.parametrize("size", SIZES)
def test_sizes(box: Box, size: int) -> None:
    data = content(size)
    url = box.put("object", data)
    assert box.storage.getsize(url) == size
    assert box.get("object") == data
    if box.root.client:
        assert box.root.client.get("object") == data, "a second client reads the same"


@clause("writing.pieces")
@pytest.mark.parametrize("seed", range(2))
def test_many_small_writes(box: Box, seed: int) -> None:
    chance = random.Random(seed)
    data = content(PART + 3 * BLOCK)
    at = 0
    with box.open(box.url("object"), "wb") as file:
        while at < len(data):
            size = chance.choice([1, 7, 1000, 8192, BLOCK, 300_001])
            piece = data[at : at + size]
            assert file.write(piece) == len(piece)
            at += size
    assert box.get("object") == data


@clause("writing.buffer-reused")
def test_buffer_is_taken_at_the_call(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        for size in (10, 3 * BLOCK, PART + 5):
            buffer = bytearray(b"a" * size)
            file.write(buffer)
            buffer[:] = b"b" * size
    written = box.get("object")
    assert len(written) == 10 + 3 * BLOCK + PART + 5
    assert set(written) == {ord("a")}


@clause("writing.visible-at-close")
@pytest.mark.parametrize("size", [10, PART + 100])
def test_new_object_appears_at_close(box: Box, size: int) -> None:
    url, data = box.url("folder/object"), content(size)
    box.parents("folder/object")
    with box.open(url, "wb") as file:
        file.write(data)
        assert box.absent("folder/object")
        if box.storage.isdir(box.url("folder")):
            assert box.storage.listdir(box.url("folder")) == []
    assert box.get("folder/object") == data
    assert box.storage.listdir(box.url("folder")) == ["object"]


@clause("writing.overwrite")
@pytest.mark.parametrize("size", [3, PART + 100])
def test_old_object_stays_until_close(box: Box, size: int) -> None:
    old, new = content(1000, seed=1), content(size, seed=2)
    url = box.put("object", old)
    with box.open(url, "wb") as file:
        file.write(new)
        file.flush()
        assert box.get("object") == old
    assert box.get("object") == new, "the new object is whole, also where it is shorter"
    assert box.storage.getsize(url) == size


@clause("writing.flush")
def test_flush_publishes_nothing(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        file.write(b"data")
        file.flush()
        assert box.absent("object")
        file.flush()
        file.write(b" and more")
    assert box.get("object") == b"data and more"


@clause("writing.empty")
@pytest.mark.parametrize("mode", ["w", "wb", "x", "xb"])
def test_empty_object(box: Box, mode: str) -> None:
    if "x" in mode:
        needs(box.traits.exclusive_create, "the store does not decide exclusive creation")
    box.open(box.url("object"), mode).close()
    assert box.storage.isfile(box.url("object"))
    assert box.get("object") == b""


@clause("writing.tell")
def test_tell_counts(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        assert file.tell() == 0
        file.write(b"x" * 10)
        assert file.tell() == 10
        file.write(b"x" * BLOCK)
        assert file.tell() == BLOCK + 10


@clause("writing.seek-refused")
def test_no_seeking(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        file.write(b"0123")
        assert not file.seekable()
        calls: list[Any] = [lambda: file.seek(0), lambda: file.seek(0, os.SEEK_END), lambda: file.truncate(0)]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
        file.write(b"4567")
    assert box.get("object") == b"01234567", "a refused seek does no harm"


@clause("writing.read-refused")
def test_no_reading(box: Box) -> None:
    box.put("object", b"old")
    with box.open(box.url("object"), "wb") as file:
        assert file.writable()
        assert not file.readable()
        calls: list[Any] = [file.read, file.readline, file.readlines, lambda: file.readinto(bytearray(1))]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
        with pytest.raises(io.UnsupportedOperation):
            next(iter(file))
    with box.open(box.url("object"), "w") as text, pytest.raises(io.UnsupportedOperation):
        text.read()


@clause("writing.buffers")
def test_kinds_of_bytes(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        assert file.write(b"bytes ") == 6
        assert file.write(bytearray(b"bytearray ")) == 10
        assert file.write(memoryview(b"..memoryview..")[2:12]) == 10
        assert file.write(array.array("H", [0x2021, 0x2122])) == 4
        file.writelines([b" lines", memoryview(b" and lines")])
    numbers = array.array("H", [0x2021, 0x2122]).tobytes()
    assert box.get("object") == b"bytes bytearray memoryview" + numbers + b" lines and lines"


@clause("writing.caller-mistake")
def test_wrong_argument_does_not_poison(box: Box) -> None:
    with box.open(box.url("bytes"), "wb") as file:
        file.write(b"before ")
        with pytest.raises(TypeError):
            file.write("text")
        file.write(b"after")
    assert box.get("bytes") == b"before after"
    with box.open(box.url("text"), "w", encoding="ascii") as text:
        text.write("before ")
        with pytest.raises(UnicodeEncodeError):
            text.write("snowman ☃")
        with pytest.raises(TypeError):
            text.write(b"bytes")
        text.write("after")
    assert box.get("text") == b"before after"


@clause("writing.closed")
def test_close_twice_and_use_after(box: Box) -> None:
    url = box.url("object")
    file = box.open(url, "wb")
    file.write(b"data")
    file.close()
    assert file.closed
    if box.removes:
        box.storage.remove(url)
        file.close()
        assert box.absent("object"), "the second close publishes nothing again"
    file.close()
    for call in (lambda: file.write(b"x"), file.flush, file.__enter__):
        with pytest.raises(ValueError, match="closed"):
            call()


@clause("writing.unbuffered")
def test_unbuffered(box: Box) -> None:
    data = content(PART + 10)
    with box.open(box.url("object"), "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view[:100_000]) :]
        assert box.absent("object")
    assert box.get("object") == data


@clause("writing.last-close-wins")
def test_two_writers(box: Box) -> None:
    url = box.url("object")
    first, second = content(PART + 10, seed=1), content(1000, seed=2)
    one, two = box.open(url, "wb"), box.open(url, "wb")
    one.write(first)
    two.write(second)
    two.close()
    assert box.get("object") == second
    one.close()
    assert box.get("object") == first


@clause("writing.no-parent")
def test_parent_of_a_new_object(box: Box) -> None:
    url = box.url("no/such/folder/object")
    if box.traits.implicit_directories:
        with box.open(url, "wb") as file:
            file.write(b"data")
        assert box.get("no/such/folder/object") == b"data"
        assert box.storage.isdir(box.url("no/such"))
    else:
        with refused(FileNotFoundError, url=url):
            box.open(url, "wb")
        assert not box.storage.exists(box.url("no"))


@clause("writing.exclusive-existing")
@pytest.mark.parametrize("mode", ["x", "xb"])
def test_exclusive_on_an_existing_object(box: Box, mode: str) -> None:
    url = box.put("object", b"old")
    expected = FileExistsError if box.traits.exclusive_create else (FileExistsError, io.UnsupportedOperation)
    with pytest.raises(expected):
        box.open(url, mode)
    assert box.get("object") == b"old"


@clause("writing.exclusive-new")
@pytest.mark.parametrize("size", [10, PART + 10], ids=["small", "parts"])
def test_exclusive_on_a_new_object(box: Box, size: int) -> None:
    url = box.url("object")
    if not box.traits.exclusive_create:
        with refused(io.UnsupportedOperation, url=url):
            box.open(url, "xb")
        assert box.absent("object")
        return
    with box.open(url, "xb") as file:
        file.write(content(size))
        assert box.absent("object")
    assert box.get("object") == content(size)


@clause("writing.exclusive-late")
@pytest.mark.parametrize("size", [10, PART + 10], ids=["small", "parts"])
def test_exclusive_is_decided_at_close(box: Box, client: Client, size: int) -> None:
    needs(box.traits.exclusive_create, "the store does not decide exclusive creation")
    url = box.url("object")
    file = box.open(url, "xb")
    file.write(content(size))
    client.put("object", b"somebody else's")
    with refused(FileExistsError, url=url):
        file.close()
    assert file.closed
    assert box.get("object") == b"somebody else's"


@clause("writing.edges")
@pytest.mark.parametrize("edge", [BLOCK, PART, 2 * PART])
def test_pieces_that_end_around_edges(box: Box, edge: int) -> None:
    data = content(edge + BLOCK + 1)
    for first in (edge - 1, edge, edge + 1):
        with box.open(box.url("object"), "wb") as file:
            assert file.write(data[:first]) == first
            assert file.write(b"") == 0
            assert file.write(data[first:]) == len(data) - first
            assert file.tell() == len(data)
        assert box.get("object") == data, f"cut at {first}"


@clause("writing.protocol")
def test_flags_of_a_writer(box: Box) -> None:
    kinds: dict[str, Any] = {"wb": io.BufferedIOBase, "w": io.TextIOWrapper}
    for mode, kind in kinds.items():
        with box.open(box.url("object"), mode) as file:
            assert isinstance(file, kind)
            assert file.mode == mode
            assert file.name == box.url("object")
            assert (file.writable(), file.readable(), file.seekable(), file.isatty()) == (True, False, False, False)
            with pytest.raises(io.UnsupportedOperation):
                file.fileno()
        assert file.closed


@clause("writing.stat")
@pytest.mark.parametrize("size", [0, 10, PART + 10])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_stat_of_what_was_written(box: Box, mode: str, size: int) -> None:
    file = box.open(box.url("object"), mode)
    file.write("x" * size if mode == "w" else b"x" * size)
    before = file.stat
    assert before is None, "nothing is published yet"
    file.close()
    found = box.storage.stat(box.url("object"))
    assert file.stat.st_size == found.st_size == size
    assert file.stat.etag == found.etag, "the version that was published is the one that is there"
    with box.open(box.url("object"), mode) as file:
        file.write("no" if mode == "w" else b"no")
        file.discard()
    assert file.stat is None, "given up"


@clause("writing.lines")
def test_lines_from_anything(box: Box) -> None:
    def lines(end: int) -> Any:
        for number in range(end):
            yield b"line %d\n" % number
        raise ZeroDivisionError

    with box.open(box.url("object"), "wb") as file:
        file.writelines(iter([b"first\n"]))
        with pytest.raises(ZeroDivisionError):
            file.writelines(lines(3))
        file.writelines([])
        file.write(b"last\n")
    assert box.get("object") == b"first\nline 0\nline 1\nline 2\nlast\n", "what came before the caller's error is kept"


@clause("writing.if-match")
@pytest.mark.parametrize("mode", ["wb", "w+b", "ab", "r+b"])
def test_a_version_that_is_to_be_replaced(box: Box, mode: str) -> None:
    url = box.put("object", b"old")
    etag = box.storage.stat(url).etag or "none"
    if not box.traits.conditional_replace:
        with refused(io.UnsupportedOperation, url=url):
            box.open(url, mode, if_match=etag)
        assert box.get("object") == b"old"
        return
    with box.open(url, mode, if_match=etag) as file:
        file.write(b"new")
    assert box.get("object") == (b"oldnew" if mode == "ab" else b"new")
    with refused(ObjectChangedError, url=url), box.open(url, mode, if_match=etag) as file:
        file.write(b"mine")
    assert box.get("object") == (b"oldnew" if mode == "ab" else b"new")
    if mode in ("wb", "w+b"):
        with refused(ObjectChangedError, url=box.url("none")), box.open(box.url("none"), mode, if_match=etag):
            pass
        assert box.absent("none")


@clause("writing.if-match-wrong")
def test_what_no_version_can_be_asked_of(box: Box) -> None:
    url = box.put("object", b"old")
    for mode, if_match in (("r", "etag"), ("x", "etag"), ("w", ""), ("w", 5)):
        with pytest.raises(ValueError, match="if_match"):
            box.open(url, mode, if_match=if_match)
    assert box.get("object") == b"old"
