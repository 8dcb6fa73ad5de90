"""The memory driver, through its hooks: an object store at its best."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.driver import Absent, BytesReader, Condition, Matches, RangeReader, Stat, Traits
from storagekit.errors import InvalidArgumentError, ObjectChangedError
from storagekit.location import Location, parse_location
from storagekit_memory.driver import PART_SIZE, MemoryDriver


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


def at(path: str) -> Location:
    return Location("memory", "box", path)


def put(
    driver: MemoryDriver,
    path: str,
    data: bytes = b"data",
    condition: Condition = None,
    options: Mapping[str, object] | None = None,
) -> Stat:
    return driver.open_write(at(path), options or {}, condition).put([data])


def get(driver: MemoryDriver, path: str) -> bytes:
    return content(driver.open_read(at(path), 0))


def content(reader: RangeReader) -> bytes:
    size = reader.stat.size or 0
    buffer = bytearray(size)
    if size:
        assert reader.open_range(0, size).readinto(memoryview(buffer)) == size
    return bytes(buffer)


def paths(
    driver: MemoryDriver, path: str = "", *, recursive: bool = False, limit: int | None = None, after: str = ""
) -> list[str]:
    return [stat.location.path for stat in driver.entries(at(path), recursive, limit, after)]


# reading and writing


def test_what_is_put_is_read_and_stated(driver: MemoryDriver) -> None:
    before = time.time_ns()
    written = put(driver, "a", b"hello")
    assert written == driver.stat(at("a")) == driver.open_read(at("a"), 0).stat
    assert (written.location, written.kind, written.size) == (at("a"), "file", 5)
    assert written.modified_ns is not None
    assert before <= written.modified_ns <= time.time_ns()
    assert get(driver, "a") == b"hello"


def test_the_head_comes_along(driver: MemoryDriver) -> None:
    put(driver, "a", b"hello")
    assert driver.open_read(at("a"), 0).head == b""
    assert driver.open_read(at("a"), 2).head == b"he"
    assert driver.open_read(at("a"), 99).head == b"hello"


@pytest.mark.parametrize("path", ["none", "a/", "a/b", "", "A"])
def test_reading_what_is_not_there(driver: MemoryDriver, path: str) -> None:
    put(driver, "a")
    with pytest.raises(FileNotFoundError) as caught:
        driver.open_read(at(path), 0)
    assert caught.value.filename == at(path).url
    if path:
        with pytest.raises(FileNotFoundError):
            driver.stat(at(path))


def test_roots_are_directories_whatever_they_hold(driver: MemoryDriver) -> None:
    assert driver.stat(at("")).is_directory
    assert driver.stat(Location("memory", "", "")).is_directory
    for root in (at(""), Location("memory", "", "")):
        with pytest.raises(IsADirectoryError):
            driver.open_write(root, {}, None)


def test_an_empty_object_exists(driver: MemoryDriver) -> None:
    driver.open_write(at("empty"), {}, None).put([])
    assert driver.stat(at("empty")).size == 0
    assert get(driver, "empty") == b""


def test_parts_may_come_in_any_order_and_from_many_threads(driver: MemoryDriver) -> None:
    writer = driver.open_write(at("big"), {}, None)
    assert not writer.ordered
    data = os.urandom(PART_SIZE * 3 + 17)
    with ThreadPoolExecutor(4) as pool:
        jobs = []
        offset = 0
        for number in range(1, 5):
            size = writer.part_size(number)
            part = data[offset : offset + size]
            jobs.append((number, offset, [part[:100], memoryview(part)[100:]]))
            offset += size
        for _ in pool.map(lambda job: writer.write_part(*job), reversed(jobs)):
            pass
    assert paths(driver) == []
    assert writer.commit().size == len(data)
    assert get(driver, "big") == data


def test_a_missing_part_publishes_nothing(driver: MemoryDriver) -> None:
    writer = driver.open_write(at("a"), {}, None)
    writer.write_part(2, PART_SIZE, [b"tail"])
    with pytest.raises(InvalidArgumentError, match="missing"):
        writer.commit()
    assert paths(driver) == []


def test_an_aborted_write_publishes_nothing(driver: MemoryDriver) -> None:
    put(driver, "a", b"old")
    writer = driver.open_write(at("a"), {}, None)
    writer.write_part(1, 0, [b"new"])
    writer.abort()
    writer.abort()
    with pytest.raises(ValueError, match="aborted"):
        writer.commit()
    assert get(driver, "a") == b"old"


def test_aborting_after_a_success_does_nothing(driver: MemoryDriver) -> None:
    writer = driver.open_write(at("a"), {}, None)
    writer.put([b"new"])
    writer.abort()
    assert get(driver, "a") == b"new"


def test_the_buffers_of_a_write_are_copied(driver: MemoryDriver) -> None:
    buffer = bytearray(b"good")
    writer = driver.open_write(at("a"), {}, None)
    writer.write_part(1, 0, [buffer])
    buffer[:] = b"evil"
    writer.commit()
    assert get(driver, "a") == b"good"


def test_every_write_has_a_version_of_its_own_and_readers_keep_theirs(driver: MemoryDriver) -> None:
    first = put(driver, "a", b"old")
    reader = driver.open_read(at("a"), 0)
    second = put(driver, "a", b"old")
    put(driver, "a", b"new!")
    assert first.identity
    assert second.identity
    assert first.identity != second.identity
    assert content(reader) == b"old"
    driver.delete(at("a"), None)
    assert content(reader) == b"old"


def test_cache_keys_tell_versions_and_drivers_apart(driver: MemoryDriver) -> None:
    other = MemoryDriver()
    put(driver, "a")
    put(other, "a")
    same = driver.open_read(at("a"), 0).cache_key
    assert same == driver.open_read(at("a"), 0).cache_key
    assert same is not None
    keys = {same, other.open_read(at("a"), 0).cache_key}
    put(driver, "a")
    keys.add(driver.open_read(at("a"), 0).cache_key)
    assert len(keys) == 3


def test_instances_share_nothing(driver: MemoryDriver) -> None:
    put(driver, "a")
    assert list(MemoryDriver().entries(at(""), True, None, "")) == []


# options


def test_options_stay_with_the_object(driver: MemoryDriver) -> None:
    put(driver, "a", options={"content_type": "text/x", "metadata": {"Color": "red"}})
    stat = driver.stat(at("a"))
    assert (stat.content_type, stat.metadata) == ("text/x", {"color": "red"})
    assert put(driver, "a").content_type is None


@pytest.mark.parametrize(
    "options", [{"content_type": 3}, {"metadata": "x"}, {"metadata": {"a": 1}}, {"metadata": {1: "a"}}]
)
def test_wrong_values_are_refused_at_the_opening(driver: MemoryDriver, options: Mapping[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        driver.open_write(at("a"), options, None)


def test_known_options() -> None:
    assert {option.name for option in MemoryDriver().known_options()} == {"content_type", "metadata"}


# conditions


def test_absent(driver: MemoryDriver) -> None:
    put(driver, "a", b"one", Absent())
    with pytest.raises(FileExistsError):
        put(driver, "a", b"two", Absent())
    assert get(driver, "a") == b"one"


def test_the_condition_is_decided_at_the_end(driver: MemoryDriver) -> None:
    put(driver, "a", b"one")
    writer = driver.open_write(at("a"), {}, Absent())
    driver.delete(at("a"), None)
    writer.put([b"two"])
    assert get(driver, "a") == b"two"


def test_matches(driver: MemoryDriver) -> None:
    first = put(driver, "a", b"one")
    assert first.identity
    second = put(driver, "a", b"two", Matches(first.identity))
    assert second.identity
    with pytest.raises(ObjectChangedError):
        put(driver, "a", b"three", Matches(first.identity))
    assert get(driver, "a") == b"two"
    driver.delete(at("a"), None)
    with pytest.raises(ObjectChangedError):
        put(driver, "a", b"three", Matches(second.identity))


@pytest.mark.parametrize("exclusive", [True, False])
def test_of_racing_writers_one_wins(driver: MemoryDriver, exclusive: bool) -> None:
    condition = Absent() if exclusive else Matches(put(driver, "a").identity or "")
    start = threading.Barrier(8)

    def write(n: int) -> int | None:
        writer = driver.open_write(at("a"), {}, condition)
        start.wait()
        try:
            writer.put([bytes([n])])
        except (FileExistsError, ObjectChangedError):
            return None
        return n

    with ThreadPoolExecutor(8) as pool:
        winners = [n for n in pool.map(write, range(8)) if n is not None]
    assert len(winners) == 1
    assert get(driver, "a") == bytes(winners)


# removing, copying, touching


def test_delete(driver: MemoryDriver) -> None:
    put(driver, "a")
    put(driver, "a/b")
    assert driver.delete(at("a"), None) is True
    assert paths(driver, recursive=True) == ["a/b"]
    assert driver.delete(at("a"), None) is True
    assert driver.delete(Location("memory", "nowhere", "a"), None) is True


def test_delete_under_a_condition(driver: MemoryDriver) -> None:
    first = put(driver, "a")
    second = put(driver, "a")
    with pytest.raises(ObjectChangedError):
        driver.delete(at("a"), Matches(first.identity or ""))
    assert driver.delete(at("a"), Matches(second.identity or "")) is True
    assert paths(driver) == []
    for gone in (at("a"), Location("memory", "nowhere", "a")):
        with pytest.raises(ObjectChangedError) as caught:
            driver.delete(gone, Matches(second.identity or ""))
        assert caught.value.filename == gone.url


def test_copy_carries_data_and_metadata(driver: MemoryDriver) -> None:
    source = put(driver, "a", b"data", options={"content_type": "text/x", "metadata": {"k": "v"}})
    copied = driver.copy(source, at("b"), {}, None)
    assert copied == driver.stat(at("b"))
    assert get(driver, "b") == b"data"
    assert (copied.content_type, copied.metadata) == ("text/x", {"k": "v"})
    assert copied.identity != source.identity
    assert driver.copy(source, at("c"), {"content_type": "text/y"}, None).content_type == "text/y"


def test_copy_is_pinned(driver: MemoryDriver) -> None:
    source = put(driver, "a", b"old")
    put(driver, "a", b"new")
    with pytest.raises(ObjectChangedError):
        driver.copy(source, at("b"), {}, None)
    driver.copy(Stat(at("a")), at("b"), {}, None)
    assert get(driver, "b") == b"new"
    driver.delete(at("a"), None)
    with pytest.raises(ObjectChangedError):
        driver.copy(source, at("b"), {}, None)
    with pytest.raises(FileNotFoundError):
        driver.copy(Stat(at("a")), at("b"), {}, None)


def test_copy_under_a_condition(driver: MemoryDriver) -> None:
    source = put(driver, "a")
    put(driver, "b", b"kept")
    with pytest.raises(FileExistsError):
        driver.copy(source, at("b"), {}, Absent())
    with pytest.raises(ObjectChangedError):
        driver.copy(source, at("b"), {}, Matches("other"))
    assert get(driver, "b") == b"kept"
    with pytest.raises(IsADirectoryError):
        driver.copy(source, at(""), {}, None)


def test_touch_renews_the_time_and_nothing_else(driver: MemoryDriver) -> None:
    before = put(driver, "a", options={"metadata": {"k": "v"}})
    time.sleep(0.001)
    after = driver.touch(before)
    assert after == driver.stat(at("a"))
    assert after.modified_ns is not None
    assert before.modified_ns is not None
    assert after.modified_ns > before.modified_ns
    assert (after.identity, after.size, after.metadata) == (before.identity, before.size, before.metadata)
    put(driver, "a")
    with pytest.raises(ObjectChangedError):
        driver.touch(before)
    with pytest.raises(FileNotFoundError):
        driver.touch(Stat(at("none")))


# listing


def test_listing_groups_by_the_next_segment(driver: MemoryDriver) -> None:
    for path in ("a", "a/", "a/b", "a/c/d", "a/c/e", "a-b", "b//x", "z"):
        put(driver, path)
    assert paths(driver) == ["a", "a-b", "a/", "b/", "z"]
    assert [stat.kind for stat in driver.entries(at(""), False, None, "")] == [
        "file",
        "file",
        "directory",
        "directory",
        "file",
    ]
    assert paths(driver, "a") == paths(driver, "a/") == ["a/", "a/b", "a/c/"]
    assert paths(driver, "a", recursive=True) == ["a/", "a/b", "a/c/d", "a/c/e"]
    assert paths(driver, "b") == ["b//"]
    assert paths(driver, "b//") == ["b//x"]
    assert paths(driver, "none") == paths(driver, "z") == []


def test_an_object_in_a_listing_is_its_stat(driver: MemoryDriver) -> None:
    written = put(driver, "a/b", options={"metadata": {"k": "v"}})
    assert list(driver.entries(at("a"), False, None, "")) == [written]


def test_containers_are_listed_while_they_hold_something(driver: MemoryDriver) -> None:
    for name in ("b", "a", "c"):
        driver.open_write(Location("memory", name, "k"), {}, None).put([b""])
    driver.delete(Location("memory", "c", "k"), None)
    root = Location("memory", "", "")
    assert [stat.location.url for stat in driver.entries(root, False, None, "")] == ["memory://a/", "memory://b/"]
    assert [stat.location.container for stat in driver.entries(root, False, 1, "a")] == ["b"]
    assert all(stat.is_directory for stat in driver.entries(root, False, None, ""))


def test_listing_is_a_snapshot_of_names_and_skips_what_is_gone(driver: MemoryDriver) -> None:
    for path in "abc":
        put(driver, path)
    entries = driver.entries(at(""), True, None, "")
    assert next(entries).location.path == "a"
    driver.delete(at("b"), None)
    put(driver, "bb")
    assert [stat.location.path for stat in entries] == ["c"]


TREES = st.sets(st.text("ab/-0é\U0001f600", min_size=1, max_size=6), max_size=20)
STARTS = st.text("ab/-0é", max_size=5)


@settings(deadline=None)
@given(TREES, st.text("ab/", max_size=4), st.booleans(), st.one_of(st.none(), st.integers(1, 5)), STARTS)
def test_listing_agrees_with_its_definition(
    keys: set[str], path: str, recursive: bool, limit: int | None, after: str
) -> None:
    driver = MemoryDriver()
    for key in keys:
        put(driver, key)
    prefix = at(path).prefix
    expected = set()
    for key in (key for key in keys if key.startswith(prefix)):
        segment, slash, _ = key[len(prefix) :].partition("/")
        expected.add(key if recursive else prefix + segment + slash)
    ordered = sorted((name for name in expected if name > after), key=lambda name: name.encode())
    assert paths(driver, path, recursive=recursive, limit=limit, after=after) == ordered[:limit]


# the rest


def test_traits_are_all_but_renaming(driver: MemoryDriver) -> None:
    traits = driver.traits()
    assert [name for name in Traits.__slots__ if not getattr(traits, name)] == ["atomic_rename"]


def test_diagnose_counts(driver: MemoryDriver) -> None:
    put(driver, "a")
    assert "1 objects" in driver.diagnose(at(""))[0]
    assert "0 objects" in driver.diagnose(parse_location("memory://other"))[0]


def test_a_forked_child_is_not_stuck_with_a_lock_that_nobody_will_release(driver: MemoryDriver) -> None:
    put(driver, "b")
    container = driver._containers["box"]
    driver._lock.acquire()
    container.keys.clear()  # as if another thread had been between its two steps
    driver.reset_after_fork()
    put(driver, "a")
    assert paths(driver) == ["a", "b"]


def test_many_threads(driver: MemoryDriver) -> None:
    def work(n: int) -> None:
        for i in range(50):
            put(driver, f"{n}/{i}", bytes([n]))
            assert get(driver, f"{n}/{i}") == bytes([n])
            list(driver.entries(at(""), True, None, ""))
            if i % 2:
                driver.delete(at(f"{n}/{i}"), None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(paths(driver, recursive=True)) == 8 * 25


def test_readers_are_readers(driver: MemoryDriver) -> None:
    put(driver, "a")
    reader = driver.open_read(at("a"), 0)
    assert isinstance(reader, BytesReader)
    reader.close()
