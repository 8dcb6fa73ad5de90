"""driver: what the data objects answer by themselves, and the two helpers for simple drivers."""

from __future__ import annotations

import stat as _stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.driver import (
    Absent,
    Body,
    BytesReader,
    Matches,
    ObjectWriter,
    Option,
    RangeBody,
    RangeReader,
    Stat,
    Traits,
    WholeObjectWriter,
    body_size,
)
from storagekit.location import parse_location

HERE = parse_location("toy://box/key")


def read(reader: RangeReader, start: int, stop: int, step: int = 4) -> bytes:
    """A whole range, *step* bytes at a time."""
    body = reader.open_range(start, stop)
    data = bytearray()
    buffer = bytearray(step)
    while n := body.readinto(memoryview(buffer)):
        data += buffer[:n]
    body.close()
    body.close()
    return bytes(data)


@settings(deadline=None)
@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60), st.integers(1, 20))
def test_bytes_reader_reads_every_range(data: bytes, start: int, length: int, step: int) -> None:
    reader = BytesReader(Stat(HERE, size=len(data)), data)
    assert read(reader, start, start + length, step) == data[start : start + length]


def test_bytes_reader_brings_the_head_that_was_asked_for() -> None:
    assert BytesReader(Stat(HERE), b"abc").head == b""
    assert BytesReader(Stat(HERE), b"abc", head=2).head == b"ab"
    assert BytesReader(Stat(HERE), b"abc", head=9).head == b"abc"
    assert BytesReader(Stat(HERE), b"abc").cache_key is None
    assert BytesReader(Stat(HERE), b"abc", cache_key=("k", 1)).cache_key == ("k", 1)


def test_bytes_reader_closes_twice_and_ranges_are_independent() -> None:
    reader = BytesReader(Stat(HERE, size=6), b"abcdef")
    first, second = reader.open_range(0, 3), reader.open_range(3, 6)
    one, two = bytearray(3), bytearray(3)
    assert second.readinto(memoryview(two)) == first.readinto(memoryview(one)) == 3
    assert bytes(one + two) == b"abcdef"
    reader.close()
    reader.close()


class Box(WholeObjectWriter):
    """Keeps what is put."""

    kept: bytes | None = None

    def put(self, body: Body, /) -> Stat:
        self.kept = b"".join(body)
        return Stat(HERE, size=len(self.kept))


def test_whole_object_writer_puts_its_parts_in_order() -> None:
    box = Box()
    assert box.ordered
    assert box.part_size(1) > 0
    box.write_part(1, 0, [b"ab", bytearray(b"cd")])
    box.write_part(2, 4, [memoryview(b"ef")])
    assert box.kept is None
    assert box.commit().size == 6
    assert box.kept == b"abcdef"


def test_whole_object_writer_keeps_copies_of_its_parts() -> None:
    box = Box()
    buffer = bytearray(b"ab")
    box.write_part(1, 0, [buffer])
    buffer[:] = b"xx"
    box.commit()
    assert box.kept == b"ab"


def test_whole_object_writer_publishes_nothing_when_aborted() -> None:
    box = Box()
    box.write_part(1, 0, [b"ab"])
    box.abort()
    box.abort()
    assert box.kept is None


@pytest.mark.parametrize("kind", [RangeBody, RangeReader, ObjectWriter, WholeObjectWriter])
def test_the_interfaces_are_abstract(kind: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_body_size_counts_bytes_whatever_the_items() -> None:
    assert body_size([]) == 0
    assert body_size([b"abc", bytearray(2), memoryview(b"xy")]) == 7
    assert body_size([memoryview(bytes(8)).cast("I")]) == 8


def test_traits_promise_nothing_by_themselves() -> None:
    traits = Traits()
    assert not any(getattr(traits, name) for name in Traits.__slots__)


def test_stat_of_a_file_answers_like_os_stat_result() -> None:
    stat = Stat(HERE, "file", 5, 1_700_000_000_123_456_789, "abc")
    assert (stat.st_size, stat.st_mtime_ns) == (5, 1_700_000_000_123_456_789)
    assert stat.st_mtime == pytest.approx(1_700_000_000.123456789)
    assert _stat.S_ISREG(stat.st_mode)
    assert stat.etag == "abc"
    assert not stat.is_directory


def test_stat_of_a_directory() -> None:
    stat = Stat(HERE, "directory")
    assert stat.is_directory
    assert _stat.S_ISDIR(stat.st_mode)
    assert (stat.st_size, stat.st_mtime, stat.st_mtime_ns, stat.etag) == (0, 0.0, 0, None)


def test_stat_gives_what_the_store_says_and_only_of_the_right_type() -> None:
    extra = {
        "mode": 0o100600,
        "version_id": "v",
        "storage_class": "COLD",
        "content_type": "text/x",
        "metadata": {"a": "b"},
    }
    stat = Stat(HERE, extra=extra)
    assert stat.st_mode == 0o100600
    assert (stat.version_id, stat.storage_class, stat.content_type) == ("v", "COLD", "text/x")
    assert stat.metadata == {"a": "b"}
    odd = Stat(HERE, extra={"version_id": 3, "content_type": None, "metadata": "no"})
    assert (odd.version_id, odd.storage_class, odd.content_type, odd.metadata) == (None, None, None, {})


def test_values_compare_by_what_they_say() -> None:
    assert Absent() == Absent()
    assert Matches("a") == Matches("a") != Matches("b")
    assert Option("a", "b") == Option("a", "b", secret=False)
    assert Stat(HERE, size=1, extra={"x": 1}) == Stat(HERE, size=1)
    assert Stat(HERE, size=1) != Stat(HERE, size=2)
