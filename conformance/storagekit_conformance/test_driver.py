"""The driver itself: its hooks called as the core calls them, without the core in between.

The driver is found as the core finds it (the target's settings, else the entry point of the scheme) and
registered with a plugin manager of the test's own, so that an answer of None shows as None.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pluggy
import pytest

from storagekit.driver import Absent, Matches, Option, Stat, Traits
from storagekit.errors import ObjectChangedError
from storagekit.hookspecs import ENTRY_POINT_GROUP, PROJECT, DriverHooks
from storagekit.location import Location, parse_location
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, Box, content, needs, refused
from storagekit_conformance.target import Root

REQUIRED = ("open_read", "open_write", "stat", "list")


@dataclass(frozen=True)
class Driver:
    """One driver's hooks, with the options of the place filled in."""

    plugin: Any
    manager: pluggy.PluginManager
    root: Root

    @property
    def implemented(self) -> set[str]:
        """The names of the hooks that it implements."""
        return {caller.name for caller in self.manager.get_hookcallers(self.plugin) or ()}

    def at(self, key: str) -> Location:
        """The location of *key* below the root, read as the driver reads URLs."""
        url = f"{self.root.url}/{key}" if key else self.root.url
        return self.call("parse", url=url) or parse_location(url)

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook; None where it is not implemented."""
        if hook not in self.implemented:
            return None
        accepted = getattr(DriverHooks, hook).__code__.co_varnames
        if "options" in accepted:
            arguments.setdefault("options", dict(self.root.options))
        return getattr(self.manager.hook, hook)(**arguments)

    def entries(self, key: str, *, recursive: bool = True, limit: int | None = None, after: str = "") -> list[Stat]:
        """What ``list`` yields."""
        found = self.call("list", location=self.at(key), recursive=recursive, limit=limit, start_after=after)
        return list(found)


@pytest.fixture
def driver(box: Box) -> Iterator[Driver]:
    """A driver of the place's scheme."""
    chosen = dict(box.root.settings.get("drivers") or {}).get(box.root.scheme)  # type: ignore[call-overload]
    if not callable(chosen):
        points = [p for p in metadata.entry_points(group=ENTRY_POINT_GROUP) if p.name == box.root.scheme]
        if isinstance(chosen, str):
            points = [p for p in points if p.dist and p.dist.name == chosen]
        chosen = points[0].load()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(DriverHooks)
    plugin = chosen()
    manager.register(plugin)
    manager.check_pending()
    yield Driver(plugin, manager, box.root)
    if chosen not in dict(box.root.settings.get("drivers") or {}).values():  # type: ignore[call-overload]
        manager.hook.close()


@clause("driver.hooks")
def test_required_hooks(driver: Driver) -> None:
    assert set(REQUIRED) <= driver.implemented


@clause("driver.options")
def test_known_options(driver: Driver) -> None:
    options = driver.call("known_options") or ()
    assert all(isinstance(option, Option) and option.name and option.meaning for option in options)
    names = [option.name for option in options]
    assert len(names) == len(set(names))
    assert set(driver.root.options) <= set(names)
    secret = {option.name for option in options if option.secret}
    assert secret <= {n for n in names if not n.startswith("endpoint")}


@clause("driver.traits")
def test_traits(driver: Driver) -> None:
    promised = driver.call("traits", location=driver.at("x"))
    assert promised is None or isinstance(promised, Traits)
    assert driver.call("traits", location=driver.at("y/z")) == promised
    if promised and promised.atomic_rename:
        assert "rename" in driver.implemented
    if promised and promised.server_copy:
        assert "copy" in driver.implemented


@clause("driver.no-none")
def test_no_hook_answers_none(driver: Driver, box: Box) -> None:
    box.put("folder/object", b"12345")
    seen = driver.call("stat", location=driver.at("folder/object"))
    reader = driver.call("open_read", location=driver.at("folder/object"), head=0)
    assert seen is not None
    assert reader is not None
    reader.close()
    assert driver.call("list", location=driver.at("folder"), recursive=False, limit=None, start_after="") is not None
    writer = driver.call("open_write", location=driver.at("folder/new"), condition=None)
    assert isinstance(writer.put([b"new"]), Stat)
    calls: dict[str, dict[str, Any]] = {
        "copy": {"source": seen, "target": driver.at("folder/copy"), "condition": None},
        "touch": {"stat": seen},
        "uploads": {"location": driver.at("")},
        "diagnose": {"location": driver.at("folder")},
        "known_options": {},
        "traits": {"location": driver.at("folder")},
        "parse": {"url": f"{driver.root.url}/folder"},
    }
    if box.traits.empty_directories:
        calls["make_directory"] = {"location": driver.at("made").directory, "mode": 0o777}
    for hook, arguments in calls.items():
        assert hook not in driver.implemented or driver.call(hook, **arguments) is not None, hook


@clause("driver.delete")
def test_delete_answers_true(driver: Driver, box: Box) -> None:
    needs("delete" in driver.implemented, "the driver does not delete")
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


@clause("driver.stat")
def test_stat_speaks_of_one_key(driver: Driver, box: Box) -> None:
    box.put("folder/object", b"12345")
    found = driver.call("stat", location=driver.at("folder/object"))
    assert (found.location, found.kind, found.size) == (driver.at("folder/object"), "file", 5)
    with refused(FileNotFoundError, url=driver.at("folder/obj").url):
        driver.call("stat", location=driver.at("folder/obj"))
    if box.traits.implicit_directories:
        with refused(FileNotFoundError):
            driver.call("stat", location=driver.at("folder"))
    else:
        assert driver.call("stat", location=driver.at("folder")).kind == "directory"


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


def drained(body: Any, size: int) -> bytes:
    """Read a body to its end, and close it twice."""
    collected = bytearray()
    buffer = memoryview(bytearray(size))
    while count := body.readinto(buffer):
        collected += buffer[:count]
    assert body.readinto(buffer) == 0
    body.close()
    body.close()
    return bytes(collected)


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
    for change in (
        lambda: box.put("object", content(2 * BLOCK, seed=9)),
        lambda: box.storage.remove(box.url("object")),
    ):
        box.put("object", data)
        reader = driver.call("open_read", location=driver.at("object"), head=0)
        change()
        try:
            assert drained(reader.open_range(10, BLOCK), BLOCK) == data[10:BLOCK]
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
    if driver.root.scheme != "file":  # a system may let a file have no name before it is published
        assert [upload.location for upload in uploads] == [driver.at("object")]
        assert uploads == list(box.storage.uploads(box.url()))
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
    box.storage.remove(box.url("object"))
    gone = driver.call("open_write", location=driver.at("object"), condition=Matches(replaced.identity))
    with refused(ObjectChangedError, FileNotFoundError):
        gone.put([b"four"])
    gone.abort()
    assert box.absent("object")


@clause("driver.conditional-delete")
def test_delete_under_matches(driver: Driver, box: Box) -> None:
    needs("delete" in driver.implemented, "the driver does not delete")
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


@clause("driver.list")
def test_list(driver: Driver, box: Box) -> None:
    keys = ["top/a", "top/b/c", "top/b/d/e", "top/z"]
    for key in [*keys, "topmost"]:
        box.put(key, b"12345")
    below = driver.entries("top")
    assert sorted(s.location.path for s in below if s.kind == "file") == [driver.at(key).path for key in keys]
    assert {s.size for s in below if s.kind == "file"} == {5}
    shallow = {(s.location.path, s.kind) for s in driver.entries("top", recursive=False)}
    prefix = driver.at("top").prefix
    expected = {(prefix + "a", "file"), (prefix + "b/", "directory"), (prefix + "z", "file")}
    assert shallow - {(prefix, "directory")} == expected


@clause("driver.list-limit")
def test_list_limit_and_start(driver: Driver, box: Box) -> None:
    for number in range(7):
        box.put(f"top/{number}")
    assert len(driver.entries("top", limit=3)) == 3
    assert len(driver.entries("top", limit=100)) == 7
    after = driver.entries("top", after=driver.at("top/3").path)
    assert sorted(s.location.name for s in after) == ["4", "5", "6"]
    both = driver.entries("top", after=driver.at("top/3").path, limit=2)
    assert len(both) == 2
    assert {s.location.name for s in both} < {"4", "5", "6"}


@clause("driver.list-missing")
def test_list_missing(driver: Driver, box: Box) -> None:
    box.put("object")
    try:
        found = driver.call("list", location=driver.at("absent"), recursive=True, limit=None, start_after="")
    except FileNotFoundError:
        return
    assert list(found) == []


@clause("driver.quiet-import")
def test_import_is_quiet(box: Box) -> None:
    chosen = dict(box.root.settings.get("drivers") or {}).get(box.root.scheme)  # type: ignore[call-overload]
    needs(not callable(chosen), "the target's driver has no entry point")
    code = f"""
import sys
from importlib import metadata
import storagekit
assert not [m for m in sys.modules if m.partition(".")[0] in ("boto3", "botocore")], "storagekit loads no driver"
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.conn") else None)
for point in metadata.entry_points(group={ENTRY_POINT_GROUP!r}):
    if point.name == {box.root.scheme!r}:
        point.load()()
storagekit.Storage().close()
assert not seen, seen
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@clause("driver.close")
def test_close_twice(box: Box) -> None:
    storage = box.root.storage()
    storage.exists(box.url("object"))
    storage.close()
    storage.close()
    unused = box.root.storage()
    unused.close()
