"""The driver's readers and writers, and what else changes an object, called as the core calls them (see ``hooks``)."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from storagekit.driver import Absent, Matches, Stat
from storagekit.errors import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.hooks import Driver, drained, driver_of
from storagekit_conformance.support import BLOCK, REMOVES_NOTHING, Box, content, in_child, needs, refused, together

driver = pytest.fixture(driver_of)


@clause("driver.delete")
def test_delete_answers_true(driver: Driver, box: Box) -> None:
    needs("delete" in driver.implemented, REMOVES_NOTHING)
    box.put("object")
    box.put("other")
    assert driver.call("delete", location=driver.at("object"), condition=None) is True
    assert driver.call("delete", location=driver.at("object"), condition=None) is True, "also where nothing is"
    assert box.absent("object")
    if "delete_many" in driver.implemented:
        failed = driver.call("delete_many", locations=[driver.at("other"), driver.at("absent")])
        assert list(failed) == []
        assert box.absent("other")
        assert list(driver.call("delete_many", locations=[])) == []


@clause("driver.open-read")
def test_ranges(driver: Driver, box: Box) -> None:
    data = content(3 * BLOCK + 11)
    box.put("object", data)
    reader = driver.call("open_read", location=driver.at("object"), head=100)
    try:
        assert reader.stat.size == len(data)
        assert data.startswith(reader.head)
        for start, stop in ((0, 1), (0, len(data)), (BLOCK, 2 * BLOCK), (len(data) - 1, len(data)), (5, 3 * BLOCK)):
            assert drained(reader.open_range(start, stop), 10_007) == data[start:stop]
        abandoned = reader.open_range(0, len(data))
        abandoned.readinto(memoryview(bytearray(10)))
        abandoned.close()
        abandoned.close()
        bodies = [reader.open_range(at, at + BLOCK) for at in (0, BLOCK, 100)]
        for at, body in zip((0, BLOCK, 100), bodies, strict=True):
            assert drained(body, BLOCK) == data[at : at + BLOCK], "several ranges at once"
    finally:
        reader.close()
        reader.close()


@clause("driver.open-read-missing")
def test_open_read_speaks_of_one_key(driver: Driver, box: Box) -> None:
    box.put("folder/object")
    with refused(FileNotFoundError, url=driver.at("absent").url):
        driver.call("open_read", location=driver.at("absent"), head=0)
    kinds = (FileNotFoundError,) if box.traits.implicit_directories else (FileNotFoundError, IsADirectoryError)
    with refused(*kinds):
        driver.call("open_read", location=driver.at("folder"), head=0)


@clause("driver.head")
@pytest.mark.parametrize("size", [0, 1, 100, BLOCK + 5])
def test_head(driver: Driver, box: Box, size: int) -> None:
    data = content(size)
    box.put("object", data)
    for head in (0, 50, BLOCK):
        reader = driver.call("open_read", location=driver.at("object"), head=head)
        assert data.startswith(reader.head)
        assert reader.stat.size == size
        reader.close()


@clause("driver.cache-key")
def test_cache_key(driver: Driver, box: Box) -> None:
    def key(name: str) -> Hashable | None:
        reader = driver.call("open_read", location=driver.at(name), head=0)
        reader.close()
        found: Hashable | None = reader.cache_key
        hash(found)
        return found

    box.put("one", b"same")
    box.put("two", b"same")
    first = key("one")
    if first is None:
        return
    assert key("one") == first, "the same version is the same key"
    assert key("two") != first
    box.put("one", b"diff")
    assert key("one") != first


@clause("driver.pinned")
def test_pinned_reader(driver: Driver, box: Box) -> None:
    needs(box.traits.pinned_reads, "the store does not promise to keep a reader to its version")
    data = content(2 * BLOCK)
    box.put("object", data)
    changes: list[Callable[[], object]] = [lambda: box.put("object", content(2 * BLOCK, seed=9))]
    if box.removes:
        changes.append(lambda: box.storage.remove(box.url("object")))
    for change in changes:
        box.put("object", data)
        reader = driver.call("open_read", location=driver.at("object"), head=0)
        change()
        try:
            same = drained(reader.open_range(10, BLOCK), BLOCK) == data[10:BLOCK]
            assert same, "an open reader gave bytes of another version (trait pinned_reads)"
        except (ObjectChangedError, FileNotFoundError):
            pass
        reader.close()


@clause("driver.parts")
def test_parts(driver: Driver, box: Box) -> None:
    writer = driver.call("open_write", location=driver.at("object"), condition=None)
    sizes = [writer.part_size(1), writer.part_size(2), 1000]
    assert all(size > 0 for size in sizes)
    data = content(sum(sizes))
    order = [1, 2, 3] if writer.ordered else [2, 3, 1]
    for number in order:
        offset = sum(sizes[: number - 1])
        part = data[offset : offset + sizes[number - 1]]
        writer.write_part(number, offset, [part[:7], memoryview(part)[7:]])
    assert box.absent("object")
    found = writer.commit()
    assert (found.location, found.size) == (driver.at("object"), len(data))
    assert box.get("object") == data
    writer.abort()
    assert box.get("object") == data, "abort after the commit does nothing"


@clause("driver.put")
def test_put(driver: Driver, box: Box) -> None:
    bodies: list[list[Any]] = [[], [b""], [b"a", bytearray(b"b"), memoryview(b"c")]]
    for body in bodies:
        writer = driver.call("open_write", location=driver.at("object"), condition=None)
        expected = b"".join(body)
        found = writer.put(body)
        assert found.size == len(expected)
        assert found.identity == driver.call("stat", location=driver.at("object")).identity
        assert box.get("object") == expected
        writer.abort()
        assert box.get("object") == expected


@clause("driver.abort")
@pytest.mark.parametrize("parts", [0, 1, 2])
def test_abort(driver: Driver, box: Box, parts: int) -> None:
    box.put("other")
    writer = driver.call("open_write", location=driver.at("object"), condition=None)
    offset = 0
    for number in range(1, parts + 1):
        writer.write_part(number, offset, [bytes(writer.part_size(number))])
        offset += writer.part_size(number)
    writer.abort()
    writer.abort()
    assert box.absent("object")
    assert box.storage.listdir(box.url()) == ["other"]
    if "uploads" in driver.implemented:
        assert list(driver.call("uploads", location=driver.at(""))) == []


@clause("driver.uploads")
def test_unfinished_uploads(driver: Driver, box: Box) -> None:
    needs("uploads" in driver.implemented, "the driver cannot tell of unfinished uploads")
    writer = driver.call("open_write", location=driver.at("object"), condition=None)
    writer.write_part(1, 0, [bytes(writer.part_size(1))])
    uploads = list(driver.call("uploads", location=driver.at("")))
    assert uploads == list(box.storage.uploads(box.url()))
    # A system may let a file have no name before it is published; then it ends with its process.
    needs(uploads, "nothing is left here of an upload whose process ends")
    # Named as the object, or, where it is a file of another name till then, beside it.
    (begun,) = uploads
    assert begun.location.path.rpartition("/")[0] == driver.at("object").path.rpartition("/")[0]
    if begun.location == driver.at("object"):
        assert list(box.storage.uploads(box.url("object"))) == uploads
        assert list(box.storage.uploads(box.url("obj"))) == [], "what only begins alike is another's"
    for upload in uploads:
        assert driver.call("abort_upload", upload=upload) is True
        assert driver.call("abort_upload", upload=upload) is True
    assert list(driver.call("uploads", location=driver.at(""))) == []
    writer.abort()
    assert box.absent("object")


@clause("driver.absent")
@pytest.mark.parametrize("parts", [False, True], ids=["put", "parts"])
def test_write_under_absent(driver: Driver, box: Box, parts: bool) -> None:
    def write(key: str) -> Stat:
        writer = driver.call("open_write", location=driver.at(key), condition=Absent())
        try:
            if not parts:
                return _stat(writer.put([b"new"]))
            writer.write_part(1, 0, [bytes(writer.part_size(1))])
            writer.write_part(2, writer.part_size(1), [b"end"])
            return _stat(writer.commit())
        except BaseException:
            writer.abort()
            raise

    box.put("old", b"old")
    if not box.traits.exclusive_create:
        for key in ("old", "new"):
            with refused(io.UnsupportedOperation):
                write(key)
        assert box.absent("new")
    else:
        assert write("new").size
        with refused(FileExistsError, url=driver.at("old").url):
            write("old")
    assert box.get("old") == b"old"


def _stat(found: Any) -> Stat:
    assert isinstance(found, Stat)
    return found


@clause("driver.matches")
def test_write_under_matches(driver: Driver, box: Box) -> None:
    box.put("object", b"one")
    identity = driver.call("stat", location=driver.at("object")).identity
    if not box.traits.conditional_replace:
        with refused(io.UnsupportedOperation):
            driver.call("open_write", location=driver.at("object"), condition=Matches(identity or "x")).put([b"no"])
        assert box.get("object") == b"one"
        return
    replaced = driver.call("open_write", location=driver.at("object"), condition=Matches(identity)).put([b"two"])
    assert box.get("object") == b"two"
    stale = driver.call("open_write", location=driver.at("object"), condition=Matches(identity))
    with refused(ObjectChangedError, url=driver.at("object").url):
        stale.put([b"three"])
    stale.abort()
    assert box.get("object") == b"two"
    if not box.removes:
        return
    box.storage.remove(box.url("object"))
    gone = driver.call("open_write", location=driver.at("object"), condition=Matches(replaced.identity))
    with refused(ObjectChangedError, FileNotFoundError):
        gone.put([b"four"])
    gone.abort()
    assert box.absent("object")


@clause("driver.conditional-delete")
def test_delete_under_matches(driver: Driver, box: Box) -> None:
    needs("delete" in driver.implemented, REMOVES_NOTHING)
    box.put("object", b"one")
    identity = driver.call("stat", location=driver.at("object")).identity
    if not box.traits.conditional_delete:
        with refused(io.UnsupportedOperation):
            driver.call("delete", location=driver.at("object"), condition=Matches(identity or "x"))
        assert box.get("object") == b"one"
        return
    box.put("object", b"two")
    with refused(ObjectChangedError, url=driver.at("object").url):
        driver.call("delete", location=driver.at("object"), condition=Matches(identity))
    assert box.get("object") == b"two"
    identity = driver.call("stat", location=driver.at("object")).identity
    assert driver.call("delete", location=driver.at("object"), condition=Matches(identity)) is True
    assert box.absent("object")
    with refused(ObjectChangedError, FileNotFoundError, url=driver.at("object").url):
        driver.call("delete", location=driver.at("object"), condition=Matches(identity))


@clause("driver.copy")
def test_copy_is_pinned(driver: Driver, box: Box) -> None:
    needs("copy" in driver.implemented, "the driver does not copy")
    box.put("source", b"one")
    seen = driver.call("stat", location=driver.at("source"))
    made = driver.call("copy", source=seen, target=driver.at("target"), condition=None)
    assert (made.location, made.size) == (driver.at("target"), 3)
    assert box.get("target") == b"one"
    if seen.identity is None or not box.traits.pinned_reads:
        return
    box.put("source", b"two")
    with refused(ObjectChangedError):
        driver.call("copy", source=seen, target=driver.at("other"), condition=None)
    assert box.get("target") == b"one"


@clause("driver.errors")
def test_errors_of_hooks(driver: Driver, box: Box) -> None:
    box.put("object")
    absent = driver.at("absent")
    seen = driver.call("stat", location=driver.at("object"))
    calls: dict[str, dict[str, Any]] = {"stat": {"location": absent}, "open_read": {"location": absent, "head": 10}}
    if "copy" in driver.implemented:
        gone = Stat(absent, size=4, modified_ns=seen.modified_ns, identity=seen.identity)
        calls["copy"] = {"source": gone, "target": driver.at("target"), "condition": None}
    for hook, arguments in calls.items():
        with refused(FileNotFoundError, ObjectChangedError, url=absent.url) as caught:
            driver.call(hook, **arguments)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), again.errno, again.filename) == (type(caught.value), caught.value.errno, absent.url), hook
    assert box.absent("target")


@clause("driver.threads")
def test_hooks_from_many_threads(driver: Driver, box: Box) -> None:
    data, removes = content(4 * BLOCK), box.removes
    box.put("shared", data)
    reader = driver.call("open_read", location=driver.at("shared"), head=0)

    def work(number: int) -> None:
        start = number * 1000
        assert drained(reader.open_range(start, start + BLOCK), 5000) == data[start : start + BLOCK]
        here = driver.at(f"object-{number}")
        made = driver.call("open_write", location=here, condition=None).put([b"x" * number])
        assert driver.call("stat", location=here).identity == made.identity
        assert driver.call("open_read", location=here, head=100).stat.size == number
        assert here in [stat.location for stat in driver.entries("")]
        if removes:
            assert driver.call("delete", location=here, condition=None) is True

    together(16, work)
    reader.close()


@clause("driver.threads")
def test_parts_from_many_threads(driver: Driver, box: Box) -> None:
    writer = driver.call("open_write", location=driver.at("object"), condition=None)
    needs(not writer.ordered, "the driver takes parts one after another")
    sizes = [writer.part_size(number) for number in (1, 2, 3)] + [100]
    data = content(sum(sizes))

    def send(number: int) -> None:
        offset = sum(sizes[:number])
        writer.write_part(number + 1, offset, [data[offset : offset + sizes[number]]])

    together(4, send)
    writer.commit()
    assert box.get("object") == data


@clause("driver.part-size")
def test_part_sizes(driver: Driver) -> None:
    writer = driver.call("open_write", location=driver.at("object"), condition=None)
    try:
        sizes = [writer.part_size(number) for number in range(1, 10_001)]
        assert all(isinstance(size, int) and size > 0 for size in sizes)
        assert [writer.part_size(number) for number in (1, 2, 10_000)] == [sizes[0], sizes[1], sizes[-1]]
    finally:
        writer.abort()


@clause("driver.rename")
def test_rename_answers(driver: Driver, box: Box) -> None:
    needs("rename" in driver.implemented, "the driver does not rename in one step")
    box.put("source", b"new")
    box.put("target", b"old")
    found = driver.call("rename", source=driver.at("source"), target=driver.at("target"))
    assert (found.location, found.size) == (driver.at("target"), 3)
    assert box.get("target") == b"new"
    assert box.absent("source")
    with refused(FileNotFoundError, url=driver.at("source").url):
        driver.call("rename", source=driver.at("source"), target=driver.at("target"))
    assert box.get("target") == b"new"


@clause("driver.touch")
def test_touch_answers(driver: Driver, box: Box) -> None:
    needs("touch" in driver.implemented, "the driver does not touch")
    box.put("object", b"precious")
    seen = driver.call("stat", location=driver.at("object"))
    touched = driver.call("touch", stat=seen)
    now = driver.call("stat", location=driver.at("object"))
    assert (touched.location, touched.size, touched.identity) == (now.location, 8, now.identity)
    assert now.modified_ns is None or now.modified_ns >= seen.modified_ns
    assert box.get("object") == b"precious"


@clause("driver.reset-after-fork")
def test_hooks_in_a_forked_child(driver: Driver, box: Box) -> None:
    data = content(2 * BLOCK)
    box.put("object", data)
    reader = driver.call("open_read", location=driver.at("object"), head=0)

    def child() -> None:
        for _ in range(2):
            driver.manager.hook.reset_after_fork()
        fresh = driver.call("open_read", location=driver.at("object"), head=0)
        assert drained(fresh.open_range(0, BLOCK), BLOCK) == data[:BLOCK]
        assert drained(reader.open_range(5, BLOCK), BLOCK) == data[5:BLOCK]
        assert driver.call("stat", location=driver.at("object")).size == len(data)

    in_child(child)
    assert drained(reader.open_range(BLOCK, 2 * BLOCK), BLOCK) == data[BLOCK:]
    reader.close()


@clause("driver.matches-race")
def test_eight_replacing_writers(driver: Driver, box: Box) -> None:
    needs(box.traits.conditional_replace, "the store does not decide replacing on a condition")
    box.put("object", b"old")
    identity = driver.call("stat", location=driver.at("object")).identity
    results: dict[int, str] = {}

    def write(number: int) -> None:
        writer = driver.call("open_write", location=driver.at("object"), condition=Matches(identity))
        try:
            writer.put([b"%d" % number])
            results[number] = "won"
        except ObjectChangedError:
            writer.abort()
            results[number] = "lost"

    together(8, write)
    won = [number for number, result in results.items() if result == "won"]
    assert len(won) == 1, f"{len(won)} of 8 writers under Matches have won; exactly one may (trait conditional_replace)"
    assert len(results) == 8
    assert int(box.get("object")) == won[0]
