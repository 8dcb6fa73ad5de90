"""Reading by place, with a hint, and at length: ``pread``, ``read_ranges``, ``access``, and reads of many mebibytes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from storagekit.errors import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, PART, Box, content, in_child, needs, refused, together
from storagekit_conformance.target import Client

# Long enough that the core reads it over several connections, or from one body in a stream, and keeps nothing.
LONG = 3 * PART + 12_345


@clause("reading.pread")
def test_pread(box: Box) -> None:
    size = PART + 2 * BLOCK + 5
    data = content(size)
    edges = [edge + step for edge in (0, BLOCK, PART, PART + BLOCK, size) for step in (-1, 0, 1) if edge + step >= 0]
    with box.open(box.put("object", data), "rb") as file:
        file.seek(100)
        for start in edges:
            for count in (0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1):
                assert file.pread(start, count) == data[start : start + count], f"{count} bytes at {start}"
        assert file.pread(5, 1 << 40) == data[5:], "what there is, however much is asked for"
        assert file.pread(size + 1000, 10) == file.pread(1 << 50, 10) == b""
        assert file.tell() == 100, "the position stays"
        assert file.read(10) == data[100:110]


@clause("reading.ranges")
def test_read_ranges(box: Box) -> None:
    size = PART + 3 * BLOCK + 5
    data = content(size)
    edges = [edge + step for edge in (BLOCK, PART, PART + BLOCK, size) for step in (-1, 0, 1)]
    chance = random.Random(3)
    some = [tuple(sorted((chance.randrange(size + 50), chance.randrange(size + 50)))) for _ in range(20)]
    cases: list[Any] = [
        [],
        [(0, 0), (5, 5), (size, size), (1 << 40, 1 << 41)],
        [(start, stop) for start in edges for stop in edges if start <= stop],
        [(10, 20), (0, 15), (10, 20), (12, 13), (0, size)],
        [(at, at + 100) for at in range(size - 100, 0, -250_000)],
        some,
        iter([(1, 2), (3, 4)]),
    ]
    with box.open(box.put("object", data), "rb") as file:
        file.seek(7)
        for ranges in cases:
            asked = list(ranges)
            assert file.read_ranges(iter(asked)) == [data[start:stop] for start, stop in asked]
        assert file.tell() == 7, "the position stays"
        assert file.read(3) == data[7:10]


@clause("reading.ranges-empty")
def test_ranges_of_an_empty_object(box: Box) -> None:
    with box.open(box.put("object", b""), "rb") as file:
        assert file.pread(0, 10) == file.pread(3, 0) == b""
        assert file.read_ranges([(0, 0), (0, 1), (5, 10)]) == [b"", b"", b""]


@clause("reading.ranges-wrong")
def test_what_is_no_range(box: Box) -> None:
    with box.open(box.put("object", b"0123456789"), "rb") as file:
        file.read(3)
        for wrong in ((-1, 3), (5, 4), (-3, -2)):
            with refused(ValueError) as caught:
                file.read_ranges([(0, 1), wrong])
            _names_the_file(caught.value, file)
        for offset, count in ((-1, 3), (3, -1)):
            with refused(ValueError) as caught:
                file.pread(offset, count)
            _names_the_file(caught.value, file)
        calls: list[Any] = [lambda: file.pread("1", 2), lambda: file.pread(1, 2.5), lambda: file.pread(1, None)]
        for call in (*calls, lambda: file.read_ranges([("1", 2)]), lambda: file.read_ranges(5)):
            with pytest.raises(TypeError):
                call()
        assert file.tell() == 3
        assert file.read(2) == b"34", "a wrong call moves nothing"


def _names_the_file(error: OSError, file: Any) -> None:
    assert isinstance(error, OSError)
    assert error.filename == str(file.name)


@clause("reading.ranges-closed")
def test_ranges_of_a_closed_file(box: Box) -> None:
    file = box.open(box.put("object"), "rb")
    file.close()
    calls: list[Any] = [lambda: file.pread(0, 1), lambda: file.read_ranges([(0, 1)]), lambda: file.read_ranges([])]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


@clause("reading.ranges-threads")
def test_ranges_in_threads_while_another_reads_on(box: Box) -> None:
    data = content(LONG)
    scanned: list[bytes] = []
    with box.open(box.put("object", data), "rb") as file:

        def work(number: int) -> None:
            if number == 0:
                scanned.extend(iter(lambda: file.read(100_003), b""))
                return
            chance = random.Random(number)
            for _ in range(5):
                at = chance.randrange(LONG)
                assert file.pread(at, 50_000) == data[at : at + 50_000]
                ranges = [(at // 2, at // 2 + 10), (at, at + BLOCK)]
                assert file.read_ranges(ranges) == [data[start:stop] for start, stop in ranges]

        together(33, work)
    assert b"".join(scanned) == data, "ranges move nobody's position"


@clause("reading.ranges-changed")
@pytest.mark.parametrize("how", ["replaced", "same-size", "removed"])
def test_ranges_of_an_object_that_changes(box: Box, client: Client, how: str) -> None:
    needs(box.traits.pinned_reads or how == "removed", "the store does not promise to keep a reader to its version")
    old = content(PART + 5 * BLOCK, seed=1)
    with box.open(box.put("object", old), "rb") as file:
        assert file.pread(10, 10) == old[10:20]
        _change(client, how, old)
        for start, stop in ((0, 50), (5 * BLOCK, 6 * BLOCK), (PART - 1, PART + 1), (0, len(old))):
            try:
                pieces = [file.pread(start, stop - start), *file.read_ranges([(start, stop), (stop - 1, stop)])]
            except ObjectChangedError as error:
                assert error.filename == box.url("object")
                continue
            expected = [old[start:stop], old[start:stop], old[stop - 1 : stop]]
            assert pieces == expected, "old bytes or an error, never a mixture"


def _change(client: Client, how: str, old: bytes) -> None:
    if how == "removed":
        client.delete("object")
    else:
        client.put("object", content(len(old) if how == "same-size" else len(old) + BLOCK, seed=2))


@clause("reading.access")
@pytest.mark.parametrize("access", ["sequential", "random"])
def test_a_hint_changes_no_byte(box: Box, access: str) -> None:
    data = content(PART + 4 * BLOCK + 9)
    url = box.put("object", data)
    chance = random.Random(1)
    with box.open(url, "rb", access=access) as file:
        assert b"".join(iter(lambda: file.read(70_000), b"")) == data
        for _ in range(30):
            at, count = chance.randrange(len(data)), chance.choice([1, 5000, BLOCK, 4 * BLOCK])
            file.seek(at)
            assert file.read(count) == data[at : at + count]
            assert file.pread(at // 2, count) == data[at // 2 : at // 2 + count]
        file.seek(0)
        assert file.read() == data
    with box.open(url, "rb", access=access) as file:
        assert file.read(len(data) - 1) == data[:-1]
    with box.open(url, "rb", buffering=0, access=access) as file:
        assert file.readall() == data
    with box.open(url, encoding="latin-1", newline="", access=access) as text:
        assert text.read() == data.decode("latin-1")


@clause("reading.access-wrong")
def test_another_hint_is_refused(box: Box) -> None:
    url = box.put("object")
    for wrong in ("sequentially", "", "RANDOM", 3, True, b"random"):
        with refused(ValueError, url=url) as caught:
            box.open(url, "rb", access=wrong)
        assert repr(wrong) in str(caught.value)
    for mode in ("w", "wb", "x", "xb"):
        with refused(ValueError, url=url):
            box.open(url, mode, access="random")
    assert box.get("object") == b"data", "nothing was written"


@clause("reading.long")
@pytest.mark.parametrize("size", [PART, PART + 1, LONG, 5 * PART])
def test_long_reads(box: Box, size: int) -> None:
    data = content(size)
    url = box.put("object", data)
    for begun in (0, 10, BLOCK, PART - 1):
        with box.open(url, "rb") as file:
            assert file.read(begun) == data[:begun]
            assert file.read() == data[begun:]
            assert (file.read(), file.tell()) == (b"", size)
            target = bytearray(size + 10)
            file.seek(begun)
            assert file.readinto(target) == size - begun
            assert target[: size - begun] == data[begun:]
            assert target[size - begun :] == bytes(begun + 10), "nothing behind it is touched"


@clause("reading.long-changed")
@pytest.mark.parametrize("how", ["replaced", "same-size", "removed"])
@pytest.mark.parametrize("read", ["read", "readinto", "scan"])
def test_long_reads_of_an_object_that_changes(box: Box, client: Client, how: str, read: str) -> None:
    needs(box.traits.pinned_reads or how == "removed", "the store does not promise to keep a reader to its version")
    old = content(LONG, seed=1)
    with box.open(box.put("object", old), "rb") as file:
        begun = file.read(PART // 2)
        assert begun == old[: PART // 2]
        _change(client, how, old)
        target, collected = bytearray(LONG), bytearray()
        for _ in range(2):
            at = file.tell()
            try:
                if read == "read":
                    collected += file.read()
                elif read == "readinto":
                    collected += target[: file.readinto(target)]
                else:
                    while chunk := file.read(300_000):
                        collected += chunk
            except ObjectChangedError as error:
                assert error.filename == box.url("object")
                assert file.tell() >= at
        assert old[len(begun) :].startswith(collected), "old bytes or an error, never a mixture"


@clause("reading.long-fork")
def test_forking_in_the_midst_of_a_scan(box: Box) -> None:
    data = content(LONG)
    url = box.put("object", data)
    with box.open(url, "rb", access="sequential") as file:
        assert file.read(BLOCK) == data[:BLOCK]
        for at in (BLOCK, PART, 2 * PART):
            while file.tell() < at:
                assert file.read(100_000) == data[file.tell() - 100_000 : file.tell()]
            here = file.tell()

            def child(here: int = here) -> None:
                assert file.tell() == here
                assert file.pread(here, BLOCK) == data[here : here + BLOCK]
                _scan_on(file, data, own=_own_position(file))

            in_child(child)
            if not _own_position(file):
                file.seek(here)
            assert file.pread(5, 10) == data[5:15]
        _scan_on(file, data, own=True)
        assert file.tell() == LONG


def _scan_on(file: Any, data: bytes, *, own: bool) -> None:
    """Read to the end; a position that is shared with another process is put where it was read from first."""
    at = file.tell()
    rest = b"".join(iter(lambda: file.read(100_000), b"")) if own else file.pread(at, len(data))
    assert rest == data[at:]


def _own_position(file: Any) -> bool:
    """False for a descriptor of the system's own, whose position a child shares with its parent."""
    try:
        file.fileno()
    except OSError:
        return True
    return False
