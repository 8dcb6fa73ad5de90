"""Changes: remove, rmtree, copy, rename and touch, and what they cost."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from storagekit import changes, errors, lookup
from storagekit.backend import Backend, Resource
from storagekit.blocks import BlockCache
from storagekit.driver import Condition, ObjectWriter, Options, Stat, Traits
from storagekit.errors import ObjectChangedError
from storagekit.files import Streams
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location
from storagekit.room import Room
from storagekit.settings import Settings
from storagekit.transfers import Reaper, Transfers
from storagekit_local.driver import LocalDriver
from storagekit_memory.driver import MemoryDriver


class Store(MemoryDriver):
    """The memory driver, which writes down what it is asked, can refuse, promise less, and be meddled with."""

    def __init__(self, **traits: bool) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.forbidden: set[str] = set()
        self.promises = traits
        self.before: dict[str, Callable[[], object]] = {}
        self.backend = Backend("memory", self, "test")

    def _asked(self, call: str, location: Location) -> None:
        self.calls.append(call)
        if location.path in self.forbidden:
            raise errors.os_error(errno.EACCES, location)
        if meddle := self.before.pop(call, None):
            meddle()

    @hookimpl
    def traits(self) -> Traits:
        return replace(MemoryDriver.traits(self), **self.promises)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        self._asked("stat", location)
        return super().stat(location)

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        self._asked("list", location)
        return super().entries(location, recursive, limit, start_after)

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        self._asked("write", location)
        return super().open_write(location, options, condition)

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        self._asked("delete", location)
        return super().delete(location, condition)

    @hookimpl
    def copy(self, source: Stat, target: Location, options: Options, condition: Condition) -> Any:
        self._asked("copy", target)
        return super().copy(source, target, options, condition) if self.traits().server_copy else None

    def at(self, path: str) -> Resource:
        url = path if "://" in path else f"memory://box/{path}"
        return Resource(self.backend, self.backend.parse(url), {})

    def put(self, *keys: str, data: bytes = b"data") -> None:
        for key in keys:
            MemoryDriver.open_write(self, Location("memory", "box", key), {}, None).put([data])

    def get(self, key: str) -> bytes:
        reader = self.open_read(Location("memory", "box", key), 1 << 20)
        return reader.head

    def keys(self) -> list[str]:
        found = MemoryDriver.entries(self, Location("memory", "box", ""), True, None, "")
        return [stat.location.path for stat in found]


class BatchStore(Store):
    """A store that removes many objects in one request."""

    def __init__(self, **traits: bool) -> None:
        self.batches: list[int] = []
        super().__init__(**traits)

    @hookimpl
    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        self.batches.append(len(locations))
        failed = []
        for location in locations:
            if location.path in self.forbidden:
                failed.append((location, errors.os_error(errno.EACCES, location)))
            else:
                MemoryDriver.delete(self, location, None)
        return failed


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def batches() -> BatchStore:
    return BatchStore()


@pytest.fixture
def local(tmp_path: Path) -> Resource:
    backend = Backend("file", LocalDriver(), "test")
    return Resource(backend, backend.parse(f"file://{tmp_path}/top"), {})


@pytest.fixture
def streams() -> Iterator[Streams]:
    settings, transfers, reaper = Settings(), Transfers(4), Reaper()
    cache = BlockCache(settings.cache_bytes, transfers)
    yield Streams(transfers, cache, reaper, Room(settings.write_bytes))
    transfers.close()


def child(resource: Resource, name: str) -> Resource:
    return resource.at(resource.location.child(name))


# ---------------------------------------------------------------- removing


def test_remove_takes_the_object_only(store: Store) -> None:
    store.put("a", "a/b")
    changes.remove(store.at("a"))
    assert store.calls == ["stat", "delete"]
    assert store.keys() == ["a/b"]
    for path, error in [
        ("a", IsADirectoryError),
        ("a/", IsADirectoryError),
        ("memory://box", IsADirectoryError),
        ("a/b/", NotADirectoryError),
        ("c", FileNotFoundError),
        ("c/", FileNotFoundError),
    ]:
        with pytest.raises(error):
            changes.remove(store.at(path))
    assert store.keys() == ["a/b"]


def test_remove_missing_ok_is_one_request(store: Store) -> None:
    store.put("a", "b/", "c/d", data=b"")
    for path in ("a", "nothing", "c"):
        changes.remove(store.at(path), missing_ok=True)
    assert store.calls == ["delete"] * 3
    changes.remove(store.at("nothing/"), missing_ok=True)
    with pytest.raises(IsADirectoryError):  # its marker is not a file
        changes.remove(store.at("b/"), missing_ok=True)
    with pytest.raises(IsADirectoryError):
        changes.remove(store.at("memory://box"), missing_ok=True)
    assert store.keys() == ["b/", "c/d"]


def test_remove_data_under_the_empty_name(store: Store) -> None:
    store.put("p/")
    changes.remove(store.at("p/"))
    assert store.keys() == []


def test_remove_on_real_files(local: Resource, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "f").touch()
    (top / "to_d").symlink_to("d")
    (top / "nowhere").symlink_to("gone")
    with pytest.raises(IsADirectoryError):
        changes.remove(child(local, "d"))
    for name in ("f", "to_d", "nowhere"):
        changes.remove(child(local, name))
    assert os.listdir(top) == ["d"]
    with pytest.raises(FileNotFoundError):
        changes.remove(child(local, "f"))
    changes.remove(child(local, "f"), missing_ok=True)


def test_rmtree_is_one_listing_and_batches(batches: BatchStore) -> None:
    batches.put(*(f"a/{n}/x" for n in range(2500)), "a", "a/", "ab")
    changes.rmtree(batches.at("a"))
    assert batches.keys() == ["a", "ab"]
    assert batches.calls == ["list"]
    assert batches.batches == [1000, 1000, 501]


def test_rmtree_refuses(store: Store) -> None:
    store.put("a/b")
    with pytest.raises(io.UnsupportedOperation, match="container"):
        changes.rmtree(store.at("memory://box"), ignore_errors=True)
    with pytest.raises(NotADirectoryError):
        changes.rmtree(store.at("a/b"))
    with pytest.raises(FileNotFoundError):
        changes.rmtree(store.at("c"))
    changes.rmtree(store.at("c"), ignore_errors=True)
    assert store.keys() == ["a/b"]


def test_rmtree_dry_run_changes_nothing(store: Store, local: Resource, tmp_path: Path) -> None:
    store.put("a/", "a/b", "a/c/d", "ab")
    going = changes.rmtree(store.at("a"), dry_run=True)
    assert going == ["memory://box/a/", "memory://box/a/b", "memory://box/a/c/d"]
    assert store.keys() == ["a/", "a/b", "a/c/d", "ab"]
    (tmp_path / "top" / "d").mkdir(parents=True)
    (tmp_path / "top" / "d" / "f").touch()
    top = f"file://{tmp_path}/top/"
    assert changes.rmtree(local, dry_run=True) == [f"{top}d/f", f"{top}d/", top]
    assert (tmp_path / "top" / "d" / "f").exists()


@pytest.mark.parametrize("kind", [Store, BatchStore])
def test_rmtree_collects_its_failures(kind: type[Store]) -> None:
    store = kind()
    store.put("a/b", "a/c", "a/d", "a/e")
    store.forbidden = {"a/b", "a/d"}
    with pytest.raises(PermissionError, match="first of 2") as caught:
        changes.rmtree(store.at("a"))
    assert store.keys() == ["a/b", "a/d"]
    assert caught.value.filename == "memory://box/a/b"
    each_way: list[Any] = [caught.value, pickle.loads(pickle.dumps(caught.value))]
    for error in each_way:
        assert [each.filename for each in error.errors] == ["memory://box/a/b", "memory://box/a/d"]
    assert "a/d" in caught.value.__notes__[0]
    changes.rmtree(store.at("a"), ignore_errors=True)
    store.forbidden = {"a/d"}
    with pytest.raises(PermissionError) as alone:
        changes.rmtree(store.at("a"))
    assert not hasattr(alone.value, "errors")


def test_rmtree_calls_back_as_shutil_does(store: Store) -> None:
    store.put("a/b", "a/c")
    store.forbidden = {"a/b"}
    seen: list[tuple[Any, str, Any]] = []
    changes.rmtree(store.at("a"), onerror=lambda *what: seen.append(what))
    ((function, path, (kind, error, trace)),) = seen
    assert (function.__name__, path) == ("remove", "memory://box/a/b")
    assert kind is type(error) is PermissionError
    assert trace is error.__traceback__
    store.put("a/c")

    def allow_and_try_again(function: Callable[[str], object], path: str, error: OSError) -> None:
        store.forbidden.clear()
        function(path)

    changes.rmtree(store.at("a"), onexc=allow_and_try_again)
    assert store.keys() == []
    changes.rmtree(store.at("a"), onexc=lambda *what: seen.append(what))
    assert isinstance(seen[-1][2], FileNotFoundError)


def test_an_error_of_the_callers_function_is_the_callers(store: Store) -> None:
    store.put("a/b")
    store.forbidden = {"a/b"}
    calls = []

    def stop(function: object, path: str, error: OSError) -> None:
        calls.append(path)
        raise ConnectionError("stop")

    with pytest.raises(ConnectionError, match="stop"):
        changes.rmtree(store.at("a"), onexc=stop)
    assert len(calls) == 1


def test_rmtree_on_real_directories(local: Resource, tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "f").touch()
    other.mkdir()
    (other / "kept").touch()
    (top / "a" / "link").symlink_to(other)
    (top / "nowhere").symlink_to("gone")
    (tmp_path / "to_other").symlink_to(other)
    to_other = local.at(local.backend.parse(f"file://{tmp_path}/to_other"))
    for resource in (to_other, to_other.at(to_other.location.directory)):
        with pytest.raises(NotADirectoryError, match="link"):
            changes.rmtree(resource)
    changes.rmtree(local)
    assert sorted(os.listdir(tmp_path)) == ["other", "to_other"]
    assert os.listdir(other) == ["kept"]


# ---------------------------------------------------------------- copying


@pytest.mark.parametrize("server_copy", [True, False])
def test_copyfile_within_a_store(server_copy: bool, streams: Streams) -> None:
    store = Store(server_copy=server_copy)
    store.put("a")
    store.calls.clear()
    assert changes.copyfile(store.at("a"), store.at("d/b"), streams) == "memory://box/d/b"
    assert store.calls == (["stat", "copy"] if server_copy else ["stat", "copy", "write"])
    assert store.get("d/b") == b"data"


def test_copyfile_errors(store: Store, streams: Streams) -> None:
    store.put("a", "d/x")
    for source, target, error in [
        ("a", "a", shutil.SameFileError),
        ("c", "c", FileNotFoundError),
        ("c", "b", FileNotFoundError),
        ("d", "b", IsADirectoryError),
        ("d/", "b", IsADirectoryError),
        ("a/", "b", NotADirectoryError),
        ("a", "b/", FileNotFoundError),
        ("d/x", "a/", NotADirectoryError),
        ("a", "memory://box", IsADirectoryError),
    ]:
        with pytest.raises(error):
            changes.copyfile(store.at(source), store.at(target), streams)
    assert store.keys() == ["a", "d/x"]


def test_copyfile_keeps_a_directory_that_no_file_can_stand_beside(streams: Streams) -> None:
    store = Store(file_beside_directory=False)
    store.put("a", "d/x")
    with pytest.raises(IsADirectoryError):
        changes.copyfile(store.at("a"), store.at("d"), streams)
    store = Store()
    store.put("a", "d/x")
    changes.copyfile(store.at("a"), store.at("d"), streams)
    assert store.keys() == ["a", "d", "d/x"]


def test_copyfile_across_stores(store: Store, local: Resource, tmp_path: Path, streams: Streams) -> None:
    (tmp_path / "top").mkdir()
    data = os.urandom(3 * changes.CHUNK + 7)
    store.put("a", data=data)
    changes.copyfile(store.at("a"), child(local, "a"), streams)
    assert (tmp_path / "top" / "a").read_bytes() == data
    other = Store()
    changes.copyfile(child(local, "a"), other.at("b"), streams)
    changes.copyfile(other.at("b"), store.at("c"), streams)
    assert store.get("c") == data[: 1 << 20]
    assert lookup.getsize(store.at("c")) == len(data)


def test_a_failed_copy_leaves_no_target(store: Store, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Store()
    store.put("a", data=bytes(2 * changes.CHUNK))
    other.put("b", data=b"old")

    class Cut(io.RawIOBase):
        sent = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            if self.sent:
                raise TimeoutError("cut")
            self.sent = True
            return len(buffer)

    monkeypatch.setattr(Streams, "open_reader", lambda self, resource: io.BufferedReader(Cut(), changes.CHUNK))
    for target in ("b", "c"):
        with pytest.raises(TimeoutError):
            changes.copyfile(store.at("a"), other.at(target), streams)
    assert other.keys() == ["b"]
    assert other.get("b") == b"old"


def test_plain_local_paths(store: Store, local: Resource, tmp_path: Path, streams: Streams) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"bytes")
    assert changes.copyfile(str(path), store.at("a"), streams) == "memory://box/a"
    assert changes.copy(str(path), store.at("memory://box"), streams) == "memory://box/f"
    assert changes.copyfile(store.at("a"), str(tmp_path / "g"), streams) == str(tmp_path / "g")
    assert changes.copy(store.at("a"), str(tmp_path), streams) == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "g").read_bytes() == b"bytes"
    changes.copyfile(str(path), str(tmp_path / "h"), streams)
    changes.copy(str(path), str(tmp_path / "h"), streams)
    with pytest.raises(IsADirectoryError):
        changes.copyfile(store.at("a"), str(tmp_path), streams)
    with pytest.raises(FileNotFoundError):
        changes.copyfile(str(tmp_path / "gone"), store.at("a"), streams)
    with pytest.raises(FileNotFoundError):
        changes.copyfile(store.at("gone"), str(path), streams)
    os.mkfifo(tmp_path / "pipe")
    pipe: changes.Side = str(tmp_path / "pipe")
    pairs: list[tuple[changes.Side, changes.Side]] = [(pipe, store.at("p")), (store.at("a"), pipe)]
    for source, target in pairs:
        with pytest.raises(shutil.SpecialFileError):
            changes.copyfile(source, target, streams)
    (tmp_path / "link").symlink_to(path)
    resource = local.at(local.backend.parse(f"file://{path}"))
    with pytest.raises(shutil.SameFileError):  # and the source is not truncated
        changes.copyfile(resource, str(tmp_path / "link"), streams)
    assert path.read_bytes() == b"bytes"


def test_copy_goes_into_a_directory(store: Store, streams: Streams) -> None:
    store.put("a", "d/x", "e/")
    assert changes.copy(store.at("a"), store.at("d"), streams) == "memory://box/d/a"
    assert changes.copy(store.at("a"), store.at("d/"), streams) == "memory://box/d/a"
    assert changes.copy(store.at("a"), store.at("new"), streams) == "memory://box/new"
    store.calls.clear()
    assert changes.copy(store.at("d/x"), store.at("memory://other"), streams) == "memory://other/x"
    assert store.calls == ["stat", "copy"]
    for source, target, error in [
        ("a", "memory://box", shutil.SameFileError),
        ("a", "memory://", IsADirectoryError),
        ("d", "new", IsADirectoryError),
        ("d/", "e", IsADirectoryError),
    ]:
        with pytest.raises(error):
            changes.copy(store.at(source), store.at(target), streams)
    assert store.keys() == ["a", "d/a", "d/x", "e/", "new"]


# ---------------------------------------------------------------- renaming


def test_rename_is_copy_check_and_removal(store: Store, streams: Streams) -> None:
    store.put("a")
    store.put("b", data=b"old")
    changes.rename(store.at("a"), store.at("b"), streams)
    assert store.calls == ["stat", "list", "copy", "delete"]
    assert store.keys() == ["b"]
    assert store.get("b") == b"data"


@pytest.mark.parametrize("conditional_delete", [True, False])
@pytest.mark.parametrize("server_copy", [True, False])
def test_rename_without_the_stores_help(conditional_delete: bool, server_copy: bool, streams: Streams) -> None:
    store = Store(conditional_delete=conditional_delete, server_copy=server_copy)
    store.put("a")
    changes.rename(store.at("a"), store.at("b"), streams)
    assert store.keys() == ["b"]
    assert store.get("b") == b"data"


def test_rename_onto_itself(store: Store, streams: Streams) -> None:
    store.put("a", "d/x")
    for path in ("a", "d", "d/"):
        changes.rename(store.at(path), store.at(path), streams)
    with pytest.raises(FileNotFoundError):
        changes.rename(store.at("c"), store.at("c"), streams)
    assert store.keys() == ["a", "d/x"]


def test_rename_refuses(store: Store, local: Resource, streams: Streams) -> None:
    store.put("a", "d/x")
    for source, target, error in [
        ("c", "b", FileNotFoundError),
        ("a/", "b", NotADirectoryError),
        ("a", "d", IsADirectoryError),
        ("a", "b/", FileNotFoundError),
        ("d/x", "a/", NotADirectoryError),
        ("a", "memory://box", IsADirectoryError),
        ("memory://box", "b", io.UnsupportedOperation),
    ]:
        with pytest.raises(error):
            changes.rename(store.at(source), store.at(target), streams)
    pairs: list[tuple[changes.Side, changes.Side]] = [
        (store.at("d"), store.at("e")),
        (store.at("a"), local),
        (store.at("a"), Store().at("a")),
        (store.at("a"), "/tmp/a"),
        ("/tmp/a", store.at("a")),
    ]
    for one, other in pairs:
        with pytest.raises(OSError, match="remove the original") as caught:
            changes.rename(one, other, streams)
        assert caught.value.errno == errno.EXDEV
        assert None not in (caught.value.filename, caught.value.filename2)
    assert store.keys() == ["a", "d/x"]


def test_rename_onto_a_file_beside_a_directory(store: Store, streams: Streams) -> None:
    store.put("a", "d", "d/x")
    changes.rename(store.at("a"), store.at("d"), streams)
    assert store.keys() == ["d", "d/x"]


@pytest.mark.parametrize("conditional_delete", [True, False])
def test_a_source_that_changes_is_kept(conditional_delete: bool, streams: Streams) -> None:
    store = Store(conditional_delete=conditional_delete)
    store.put("a", data=b"first")

    def meddle_after_the_copy() -> None:
        meddle_on = "delete" if conditional_delete else "stat"
        store.before[meddle_on] = lambda: store.put("a", data=b"second")

    store.before["copy"] = meddle_after_the_copy
    with pytest.raises(ObjectChangedError, match="memory://box/b holds the earlier version"):
        changes.rename(store.at("a"), store.at("b"), streams)
    assert (store.get("a"), store.get("b")) == (b"second", b"first")


@pytest.mark.parametrize("conditional_delete", [True, False])
def test_a_source_that_somebody_removes_is_renamed_all_the_same(conditional_delete: bool, streams: Streams) -> None:
    store = Store(conditional_delete=conditional_delete)
    store.put("a", data=b"first")

    def meddle_after_the_copy() -> None:
        meddle_on = "delete" if conditional_delete else "stat"
        store.before[meddle_on] = lambda: MemoryDriver.delete(store, store.at("a").location, None)

    store.before["copy"] = meddle_after_the_copy
    changes.rename(store.at("a"), store.at("b"), streams)
    assert (store.keys(), store.get("b")) == (["b"], b"first")


def test_without_delete_a_rename_is_refused_before_anything_is_copied(streams: Streams) -> None:
    class Keeping(MemoryDriver):
        delete = None  # type: ignore[assignment]

    keeping = Keeping()
    backend = Backend("memory", keeping, "test")
    source, target = (Resource(backend, parse_location(f"memory://box/{key}"), {}) for key in ("a", "b"))
    for resource, data in ((source, b"new"), (target, b"old")):
        backend.open_write(resource.location, {}).put([data])
    with pytest.raises(io.UnsupportedOperation, match="no delete hook") as caught:
        changes.rename(source, target, streams)
    assert caught.value.filename == "memory://box/a"
    assert backend.stat(target.location, {}).size == 3
    assert MemoryDriver.open_read(keeping, target.location, 10).head == b"old"


def test_many_refusals_are_one(streams: Streams) -> None:
    class Keeping(MemoryDriver):
        delete = None  # type: ignore[assignment]

    backend = Backend("memory", Keeping(), "test")
    for key in ("top/a", "top/b", "top/c"):
        backend.open_write(parse_location(f"memory://box/{key}"), {}).put([b"data"])
    with pytest.raises(io.UnsupportedOperation, match="the first of 3 failures") as caught:
        changes.rmtree(Resource(backend, parse_location("memory://box/top"), {}))
    assert len(caught.value.errors) == 3  # type: ignore[attr-defined]


def test_a_source_that_changes_before_the_copy_reaches_no_target(streams: Streams) -> None:
    for server_copy in (True, False):
        store = Store(server_copy=server_copy)
        store.put("a", data=b"first")
        store.before["copy"] = lambda store=store: store.put("a", data=b"second")  # type: ignore[misc]
        with pytest.raises(ObjectChangedError):
            changes.rename(store.at("a"), store.at("b"), streams)
        assert store.keys() == ["a"]


def test_a_copy_of_another_size_keeps_the_source(
    store: Store, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a")
    copied = Stat(store.at("b").location, size=0)
    monkeypatch.setattr(Backend, "copy", lambda *arguments: copied)
    with pytest.raises(OSError, match="the source was kept") as caught:
        changes.rename(store.at("a"), store.at("b"), streams)
    assert caught.value.errno == errno.EIO
    assert store.keys() == ["a"]


def test_rename_of_real_files_and_directories(local: Resource, tmp_path: Path, streams: Streams) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d" / "f").write_bytes(b"new")
    (top / "g").write_bytes(b"old")
    changes.rename(child(local, "d/f"), child(local, "g"), streams)
    changes.rename(child(local, "d"), child(local, "e"), streams)
    changes.rename(str(top / "e"), str(top / "h"), streams)
    assert sorted(os.listdir(top)) == ["g", "h"]
    assert (top / "g").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        changes.rename(child(local, "d"), child(local, "e"), streams)
    with pytest.raises(IsADirectoryError):
        changes.rename(child(local, "g"), child(local, "h"), streams)


# ---------------------------------------------------------------- touching


@pytest.mark.parametrize("exclusive_create", [True, False])
def test_touch_makes_and_never_truncates(exclusive_create: bool, streams: Streams) -> None:
    store = Store(exclusive_create=exclusive_create)
    changes.touch(store.at("a"), streams, exist_ok=False)
    assert store.get("a") == b""
    store.put("b")
    before = lookup.status(store.at("b"))
    changes.touch(store.at("b"), streams)
    after = lookup.status(store.at("b"))
    assert store.get("b") == b"data"
    assert after.st_mtime_ns > before.st_mtime_ns
    with pytest.raises(FileExistsError):
        changes.touch(store.at("b"), streams, exist_ok=False)


def test_touch_that_meets_another(store: Store, streams: Streams) -> None:
    for exist_ok in (True, False):
        store.put("x")
        changes.remove(store.at("x"))
        store.before["write"] = lambda: store.put("x")
        if exist_ok:
            changes.touch(store.at("x"), streams)
        else:
            with pytest.raises(FileExistsError):
                changes.touch(store.at("x"), streams, exist_ok=False)
        assert store.get("x") == b"data"


def test_touch_on_directories(store: Store, local: Resource, tmp_path: Path, streams: Streams) -> None:
    store.put("d/x", "m/", "f", data=b"")
    for path, error in [
        ("d", IsADirectoryError),
        ("m/", IsADirectoryError),
        ("new/", FileNotFoundError),
        ("f/", NotADirectoryError),
        ("memory://box", IsADirectoryError),
    ]:
        with pytest.raises(error):
            changes.touch(store.at(path), streams)
    with pytest.raises(FileExistsError):
        changes.touch(store.at("d"), streams, exist_ok=False)
    assert store.keys() == ["d/x", "f", "m/"]
    (tmp_path / "top").mkdir()
    os.utime(tmp_path / "top", (1, 1))
    changes.touch(local, streams)
    assert lookup.getmtime(local) > 1e9
    changes.touch(child(local, "new"), streams)
    assert (tmp_path / "top" / "new").read_bytes() == b""
