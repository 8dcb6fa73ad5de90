"""driver: what the data objects answer by themselves, and the helpers for short drivers."""

from __future__ import annotations

import stat as _stat
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.driver import (
    Absent,
    Body,
    BytesReader,
    Condition,
    FetchReader,
    Matches,
    ObjectWriter,
    Option,
    RangeBody,
    RangeReader,
    Stat,
    Traits,
    Upload,
    WholeObjectWriter,
    body_size,
    check_condition,
    sorted_entries,
)
from storagekit.errors import ObjectChangedError, changed
from storagekit.location import Location, parse_location

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


def test_fetch_reader_asks_for_each_range_once_and_gives_it_in_pieces() -> None:
    asked = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return b"0123456789"[start:stop]

    stat = Stat(HERE, size=10)
    reader = FetchReader(stat, fetch)
    assert reader.stat is stat
    assert (reader.head, reader.cache_key) == (b"", None)
    assert asked == [], "opening costs nothing"
    assert read(reader, 2, 9) == b"2345678"
    assert read(reader, 0, 3) == b"012"
    assert asked == [(2, 9), (0, 3)]
    assert FetchReader(stat, fetch, cache_key=("k", 1)).cache_key == ("k", 1)
    reader.close()
    reader.close()


def test_fetch_reader_raises_at_open_range() -> None:
    def fetch(start: int, stop: int) -> bytes:
        raise changed(HERE)

    reader = FetchReader(Stat(HERE, size=10), fetch)
    with pytest.raises(ObjectChangedError):
        reader.open_range(0, 1)


def test_a_body_of_bytes_may_be_closed_early() -> None:
    for reader in (BytesReader(Stat(HERE), b"abcd"), FetchReader(Stat(HERE), lambda start, stop: b"abcd"[start:stop])):
        body = reader.open_range(0, 4)
        buffer = bytearray(8)
        assert body.readinto(memoryview(buffer)[:3]) == 3
        assert buffer == b"abc" + bytes(5)
        body.close()
        body.close()
        assert body.readinto(memoryview(buffer)) == 0


class Box:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.writer = WholeObjectWriter(self.put)

    def put(self, body: Body) -> Stat:
        self.kept = b"".join(body)
        return Stat(HERE, size=len(self.kept))


def test_whole_object_writer_puts_its_parts_in_order() -> None:
    box = Box()
    assert box.writer.ordered
    assert box.writer.part_size(1) > 0
    box.writer.write_part(1, 0, [b"ab", bytearray(b"cd")])
    box.writer.write_part(2, 4, [memoryview(b"ef")])
    assert box.kept is None
    assert box.writer.commit().size == 6
    assert box.kept == b"abcdef"


def test_whole_object_writer_puts_one_body_as_it_is() -> None:
    box = Box()
    assert box.writer.put([b"ab", memoryview(b"c")]).size == 3
    assert box.kept == b"abc"


def test_whole_object_writer_keeps_copies_of_its_parts() -> None:
    box = Box()
    buffer = bytearray(b"ab")
    box.writer.write_part(1, 0, [buffer])
    buffer[:] = b"xx"
    box.writer.commit()
    assert box.kept == b"ab"


def test_whole_object_writer_publishes_nothing_when_aborted() -> None:
    box = Box()
    box.writer.write_part(1, 0, [b"ab"])
    box.writer.abort()
    box.writer.abort()
    assert box.kept is None


@pytest.mark.parametrize("kind", [RangeBody, RangeReader, ObjectWriter])
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


def test_the_age_of_an_upload_goes_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Location("s3", "box", "key")
    begun = Upload(where, "id", started_ns=1_000_000_000)
    monkeypatch.setattr(time, "time_ns", lambda: 3_500_000_000)
    assert begun.age == 2.5
    monkeypatch.setattr(time, "time_ns", lambda: 500_000_000)
    assert begun.age == -0.5
    assert Upload(where, "id").age is None


def test_values_compare_by_what_they_say() -> None:
    assert Absent() == Absent()
    assert Matches("a") == Matches("a") != Matches("b")
    assert Option("a", "b") == Option("a", "b", secret=False)
    assert Stat(HERE, size=1, extra={"x": 1}) == Stat(HERE, size=1)
    assert Stat(HERE, size=1) != Stat(HERE, size=2)


@pytest.mark.parametrize(
    ("condition", "identity", "error"),
    [
        (None, None, None),
        (None, "1", None),
        (Absent(), None, None),
        (Absent(), "1", FileExistsError),
        (Matches("1"), "1", None),
        (Matches("1"), "2", ObjectChangedError),
        (Matches("1"), None, ObjectChangedError),
    ],
)
def test_a_condition_is_checked_against_what_is_there(
    condition: Condition, identity: str | None, error: type[OSError] | None
) -> None:
    found = Stat(HERE, identity=identity) if identity else None
    if error is None:
        check_condition(condition, HERE, found)
        return
    with pytest.raises(error) as caught:
        check_condition(condition, HERE, found)
    assert caught.value.filename == HERE.url


class Keys:
    """A sorted list of keys that is told in pages of a given size, and counts them."""

    def __init__(self, keys: Sequence[str], below: Location, size: int) -> None:
        self.keys, self.below, self.size, self.pages = sorted(keys), below, size, 0

    def page(self, after: str) -> Sequence[Stat]:
        self.pages += 1
        found = [key for key in self.keys if key >= self.below.prefix and key > after]
        return [Stat(Location("toy", "box", key), size=1) for key in found[: self.size]]


def levels(keys: Sequence[str], below: Location, recursive: bool, after: str) -> list[tuple[str, str]]:
    """What ``list`` is to answer, in the most obvious way."""
    found = set()
    for key in keys:
        if key.startswith(below.prefix):
            segment, slash, _ = key[len(below.prefix) :].partition("/")
            whole = recursive or not slash
            found.add((key, "file") if whole else (below.prefix + segment + "/", "directory"))
    return sorted(entry for entry in found if entry[0] > after)


SEGMENTS = st.text("a-/0\U0010ffff", max_size=7)


@settings(deadline=None)
@given(
    keys=st.sets(SEGMENTS.filter(bool), max_size=12),
    below=SEGMENTS,
    recursive=st.booleans(),
    limit=st.none() | st.integers(0, 5),
    after=SEGMENTS,
    size=st.integers(1, 4),
)
def test_sorted_entries_are_the_levels_of_a_list_of_keys(
    keys: set[str], below: str, recursive: bool, limit: int | None, after: str, size: int
) -> None:
    place = Location("toy", "box", below)
    found = sorted_entries(place, recursive, limit, after, Keys(list(keys), place, size).page)
    expected = levels(list(keys), place, recursive, after)[:limit]
    assert [(stat.location.path, stat.kind) for stat in found] == expected


def test_sorted_entries_jump_over_a_directory_and_are_lazy() -> None:
    store = Keys([f"top/a/{number:04}" for number in range(1000)] + ["top/b", "top/c"], HERE, 10)
    found = sorted_entries(Location("toy", "box", "top"), False, None, "", store.page)
    assert store.pages == 1, "the first page is fetched by the call"
    assert next(found).location.path == "top/a/"
    assert store.pages == 1
    assert [stat.location.path for stat in found] == ["top/b", "top/c"]
    assert store.pages == 3, "the thousand keys of a/ are not fetched; the last page is empty"


def test_sorted_entries_end_where_another_container_begins() -> None:
    keys = [Location("toy", "box", "a"), Location("toy", "box", "b"), Location("toy", "next", "a")]

    def page(after: str) -> Sequence[Stat]:
        return [Stat(key) for key in keys if key > Location("toy", "box", after)]

    found = sorted_entries(Location("toy", "box", ""), True, None, "", page)
    assert [stat.location for stat in found] == keys[:2]


def test_sorted_entries_do_not_go_round_in_circles() -> None:
    def page(after: str) -> Sequence[Stat]:
        return [Stat(HERE)]  # whatever was asked for

    found = sorted_entries(Location("toy", "box", ""), True, None, "", page)
    assert next(found).location == HERE
    with pytest.raises(RuntimeError, match="does not sort after it"):
        next(found)


def test_sorted_entries_raise_at_the_call() -> None:
    def page(after: str) -> Sequence[Stat]:
        raise PermissionError(13, "no", HERE.url)

    with pytest.raises(PermissionError):
        sorted_entries(HERE, True, None, "", page)
