"""Directories: what a path is, and what lies below it, on a store with implied directories and on real files."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit import changes, directories, errors, lookup, walking
from storagekit.backend import Backend, Resource
from storagekit.driver import Stat, Traits
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_local.driver import LocalDriver
from storagekit_memory.driver import MemoryDriver


class Store(MemoryDriver):
    """The memory driver, which writes down what it is asked and can refuse, or promise less."""

    def __init__(self, **traits: bool) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.forbidden: set[str] = set()
        self.promises = traits
        self.backend = Backend("memory", self, "test")

    def _asked(self, call: str, location: Location) -> None:
        self.calls.append(call)
        if call in self.forbidden or location.url in self.forbidden:
            raise errors.os_error(errno.EACCES, location)

    @hookimpl
    def traits(self) -> Traits:
        return replace(MemoryDriver.traits(self), **self.promises)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        self._asked("stat", location)
        if location.container == "missing":
            raise errors.not_found(location)
        return super().stat(location)

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        self._asked("list", location)
        if location.container == "missing":
            raise errors.not_found(location, hint="no such container")
        found = list(super().entries(location, recursive, None, start_after))
        if not self.traits().sorted_listing:
            found.reverse()
        return iter(found[:limit])

    def at(self, path: str) -> Resource:
        url = path if "://" in path else f"memory://box/{path}"
        return Resource(self.backend, self.backend.parse(url), {})

    def put(self, *keys: str, data: bytes = b"") -> None:
        for key in keys:
            self.open_write(Location("memory", "box", key), {}, None).put([data])
        self.calls.clear()

    def keys(self) -> list[str]:
        location = Location("memory", "box", "")
        return [stat.location.path for stat in super().entries(location, True, None, "")]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def local(tmp_path: Path) -> Resource:
    backend = Backend("file", LocalDriver(), "test")
    return Resource(backend, backend.parse(f"file://{tmp_path}"), {})


def child(resource: Resource, name: str) -> Resource:
    return resource.at(resource.location.child(name))


# ---------------------------------------------------------------- one path


def test_a_file_costs_one_question(store: Store) -> None:
    store.put("a", data=b"12345")
    assert lookup.status(store.at("a")).st_size == 5
    assert lookup.isfile(store.at("a"))
    assert lookup.exists(store.at("a"))
    assert lookup.getsize(store.at("a")) == 5
    assert lookup.getmtime(store.at("a")) > 1e9
    assert store.calls == ["stat"] * 5


def test_isdir_costs_one_list_and_isfile_one_stat(store: Store) -> None:
    store.put("a/b")
    assert lookup.isdir(store.at("a"))
    assert lookup.isdir(store.at("a/"))
    assert not lookup.isdir(store.at("a/b"))
    assert store.calls == ["list"] * 3
    store.calls.clear()
    assert not lookup.isfile(store.at("a"))
    assert store.calls == ["stat"]


def test_an_implied_directory(store: Store) -> None:
    store.put("a/b/c")
    for path in ("a", "a/", "a/b", "a/b/"):
        found = lookup.status(store.at(path))
        assert found.is_directory
        assert found.size == 0
        assert found.location.path == path
        assert lookup.getsize(store.at(path)) == 0
        assert lookup.getmtime(store.at(path)) == 0.0


@pytest.mark.parametrize("sorted_listing", [True, False])
def test_a_marker_gives_its_directory_a_time(sorted_listing: bool) -> None:
    store = Store(sorted_listing=sorted_listing)
    store.put("a/", "a/b", "a/c")
    marker = MemoryDriver.stat(store, Location("memory", "box", "a/"))
    for path in ("a", "a/"):
        found = lookup.status(store.at(path))
        assert found.is_directory
        assert found.modified_ns == marker.modified_ns
    assert not lookup.isfile(store.at("a/"))


def test_a_trailing_slash_means_the_directory(store: Store) -> None:
    store.put("f")
    with pytest.raises(NotADirectoryError) as caught:
        lookup.status(store.at("f/"))
    assert caught.value.filename == "memory://box/f/"
    with pytest.raises(FileNotFoundError):
        lookup.status(store.at("g/"))
    for question in (lookup.exists, lookup.isfile, lookup.isdir):
        assert not question(store.at("f/"))
        assert not question(store.at("g"))


def test_a_failing_diagnosis_does_not_replace_the_answer(store: Store) -> None:
    store.put("f")
    store.forbidden = {"stat"}
    with pytest.raises(FileNotFoundError):
        lookup.status(store.at("f/"))
    with pytest.raises(FileNotFoundError):
        directories.listdir(store.at("f"))
    store.forbidden = {"list"}
    with pytest.raises(FileNotFoundError):
        lookup.find_object(store.at("g"))


def test_a_file_beside_a_directory(store: Store) -> None:
    store.put("a", data=b"1")
    store.put("a/b", "a-b")
    assert lookup.isfile(store.at("a"))
    assert lookup.isdir(store.at("a"))
    assert not lookup.status(store.at("a")).is_directory
    assert lookup.status(store.at("a/")).is_directory
    root = store.at("memory://box")
    assert directories.listdir(root) == ["a", "a-b"]
    with directories.scandir(root) as scan:
        assert [(entry.name, entry.is_dir()) for entry in scan] == [("a", False), ("a-b", False), ("a", True)]
    assert next(walking.walk(root, "memory://box")) == ("memory://box", ["a"], ["a", "a-b"])


def test_data_under_the_empty_name(store: Store) -> None:
    store.put("p/", data=b"bytes")
    store.put("p/q")
    assert directories.listdir(store.at("p")) == ["", "q"]
    assert lookup.isfile(store.at("p/"))
    assert lookup.isdir(store.at("p/"))
    assert lookup.getsize(store.at("p/")) == 5
    assert lookup.status(store.at("p")).is_directory
    for given_path in ("memory://box/p", "memory://box/p/"):
        entry = next(directories.scandir(store.at("p"), given_path))
        assert (entry.name, entry.path, entry.is_file()) == ("", "memory://box/p/", True)
    with pytest.raises(OSError, match="not empty"):
        directories.rmdir(store.at("p"))


def test_containers(store: Store) -> None:
    store.put("a")
    assert lookup.isdir(store.at("memory://box"))
    assert lookup.isdir(store.at("memory://"))
    assert not lookup.isfile(store.at("memory://box"))
    assert directories.listdir(store.at("memory://")) == ["box"]
    assert [entry.path for entry in directories.scandir(store.at("memory://"))] == ["memory://box"]
    assert directories.listdir(store.at("memory://empty")) == []
    assert not lookup.exists(store.at("memory://missing"))
    assert not lookup.isdir(store.at("memory://missing/a"))
    for path in ("memory://missing", "memory://missing/a"):
        with pytest.raises(FileNotFoundError, match="no such container"):
            directories.listdir(store.at(path))
    assert list(walking.walk(store.at("memory://"), "memory://"))[1] == ("memory://box", [], ["a"])


@pytest.mark.parametrize("forbidden", ["stat", "list"])
def test_not_allowed_to_know_is_not_no(store: Store, forbidden: str) -> None:
    store.put("a/b")
    store.forbidden = {forbidden}
    questions = {"stat": lookup.isfile, "list": lookup.isdir}
    for question in (lookup.exists, questions[forbidden]):
        with pytest.raises(PermissionError):
            question(store.at("a"))


def test_an_unknown_size_is_not_zero(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", data=b"1")
    monkeypatch.setattr(Resource, "stat", lambda resource: Stat(resource.location))
    with pytest.raises(io.UnsupportedOperation) as caught:
        lookup.getsize(store.at("a"))
    assert caught.value.filename == "memory://box/a"


def test_find_object(store: Store) -> None:
    store.put("f", "d/x")
    assert lookup.find_object(store.at("f")).size == 0
    assert store.calls == ["stat"]
    for path, error in [
        ("d", IsADirectoryError),
        ("d/", IsADirectoryError),
        ("memory://box", IsADirectoryError),
        ("f/", NotADirectoryError),
        ("g", FileNotFoundError),
        ("g/", FileNotFoundError),
    ]:
        with pytest.raises(error):
            lookup.find_object(store.at(path))


# ---------------------------------------------------------------- one directory


def test_listing_errors(store: Store) -> None:
    store.put("f")
    for path, error in [("f", NotADirectoryError), ("f/", NotADirectoryError), ("g", FileNotFoundError)]:
        with pytest.raises(error) as caught:
            directories.scandir(store.at(path))  # at the call
        assert caught.value.filename == store.at(path).location.url


def test_a_marker_is_not_its_own_child(store: Store) -> None:
    store.put("a/", "a/b/")
    assert directories.listdir(store.at("a")) == ["b"]
    assert directories.listdir(store.at("a/b")) == []
    assert directories.listdir(store.at("a/b/")) == []


def test_entries_look_like_those_of_os(store: Store, tmp_path: Path) -> None:
    store.put("d/f", data=b"123")
    store.put("d/e/x")
    entries = list(directories.scandir(store.at("d"), "MEMORY://box/d"))
    assert [entry.name for entry in entries] == ["e", "f"]
    directory, file = entries
    assert os.fspath(file) == file.path == "MEMORY://box/d/f"
    assert directory.path == "MEMORY://box/d/e"
    assert repr(file) == "<DirEntry 'f'>"
    assert (directory.is_dir(), directory.is_file(), file.is_dir(), file.is_file()) == (True, False, False, True)
    assert (file.is_symlink(), file.is_junction(), file.inode()) == (False, False, 0)
    assert file.stat().st_size == 3
    assert directory.stat(follow_symlinks=False).is_directory
    assert store.calls == ["list"]  # and not one question more
    (tmp_path / "f").touch()
    with os.scandir(tmp_path) as scan:
        names = {name for entry in scan for name in dir(entry) if not name.startswith("_")}
    assert names <= set(dir(file))


def test_an_entry_asks_once_for_what_the_listing_left_out(store: Store) -> None:
    store.put("f", data=b"123")
    resource = store.at("f")
    entry = directories.DirEntry(resource, "f", "memory://box/f", Stat(resource.location))
    assert entry.stat().st_size == entry.stat().st_size == 3
    assert store.calls == ["stat"]


def test_bytes_paths_give_bytes(store: Store) -> None:
    store.put("d/ä")
    (entry,) = directories.scandir(store.at("d"), b"memory://box/d")
    assert (entry.name, entry.path) == ("ä".encode(), "memory://box/d/ä".encode())


def test_a_closed_scan_is_at_its_end(store: Store) -> None:
    store.put("a", "b")
    scan = directories.scandir(store.at("memory://box"))
    next(scan)
    scan.close()
    scan.close()
    assert list(scan) == []


def test_empty_segments_are_directories(store: Store) -> None:
    store.put("a//b", "/c")
    assert directories.listdir(store.at("a")) == [""]
    assert directories.listdir(store.at("a/")) == [""]
    assert directories.listdir(store.at("a//")) == ["b"]
    for path in ("memory://box/a", "memory://box/a/"):
        (entry,) = directories.scandir(store.at("a"), path)
        assert (entry.path, entry.is_dir()) == ("memory://box/a//", True)
    assert [path for path, _, _ in walking.walk(store.at("memory://box"), "memory://box")] == [
        "memory://box",
        "memory://box//",
        "memory://box/a",
        "memory://box/a//",
    ]


# ---------------------------------------------------------------- the tree


def test_walk_is_os_walk(local: Resource, tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "x").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "y").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for topdown in (True, False):
        for follow in (True, False):
            ours = walking.walk(local, f"file://{tmp_path}", topdown, None, follow)
            theirs = os.walk(tmp_path, topdown, None, follow)
            assert sorted((path.removeprefix("file://"), sorted(d), sorted(f)) for path, d, f in ours) == sorted(
                (path, sorted(d), sorted(f)) for path, d, f in theirs
            )


def test_walk_order_and_pruning(store: Store) -> None:
    store.put("a/b/c", "a/d/e", "f/g")
    root = store.at("memory://box")
    down = [path[len("memory://box") :] for path, _, _ in walking.walk(root, "memory://box")]
    assert down == ["", "/a", "/a/b", "/a/d", "/f"]
    up = [path[len("memory://box") :] for path, _, _ in walking.walk(root, "memory://box", topdown=False)]
    assert up == ["/a/b", "/a/d", "/a", "/f", ""]
    seen = []
    for path, names, _ in walking.walk(root, "memory://box/"):
        seen.append(path)
        if "a" in names:
            names.remove("a")
    assert seen == ["memory://box/", "memory://box/f"]


def test_walk_raises_all_but_a_missing_top(store: Store) -> None:
    store.put("a/b/c", "a/d/e")
    assert list(walking.walk(store.at("g"), "memory://box/g")) == []
    with pytest.raises(NotADirectoryError):
        list(walking.walk(store.at("a/b/c"), "memory://box/a/b/c"))
    store.forbidden.add("memory://box/a/b")
    with pytest.raises(PermissionError):
        list(walking.walk(store.at("a"), "memory://box/a"))
    failures: list[OSError] = []
    rest = list(walking.walk(store.at("a"), "memory://box/a", onerror=failures.append))
    assert [path for path, _, _ in rest] == ["memory://box/a", "memory://box/a/d"]
    assert [failure.errno for failure in failures] == [errno.EACCES]
    list(walking.walk(store.at("g"), "memory://box/g", onerror=failures.append))
    assert failures[-1].errno == errno.ENOENT


def test_walk_is_as_deep_as_the_tree(store: Store) -> None:
    store.put("d/" * 1500 + "f")
    assert sum(len(files) for _, _, files in walking.walk(store.at("memory://box"), "memory://box")) == 1
    up = walking.walk(store.at("memory://box"), "memory://box", topdown=False)
    assert next(up)[2] == ["f"]


segments = st.sampled_from(["", "a", "b", "a-", "a.b", ".", ".."])
key_sets = st.sets(st.lists(segments, min_size=1, max_size=4).map("/".join).filter(bool), max_size=12)


@given(key_sets, st.booleans(), st.booleans(), st.booleans())
def test_walk_finds_every_key_once(keys: set[str], topdown: bool, full: bool, sorted_listing: bool) -> None:
    store = Store(sorted_listing=sorted_listing)
    store.put(*keys, data=b"data" if full else b"")
    found = [
        store.at(directories.extend(path, name) if name else path.removesuffix("/") + "/").location.path
        for path, _, files in walking.walk(store.at("memory://box"), "memory://box", topdown)
        for name in files
    ]
    # Empty objects whose key ends in a slash are markers: directories, and no files.
    assert sorted(found) == sorted(key for key in keys if full or not key.endswith("/"))


@given(key_sets)
def test_listing_agrees_with_asking(keys: set[str]) -> None:
    store = Store()
    store.put(*keys, data=b"data")
    for path, names, files in walking.walk(store.at("memory://box"), "memory://box"):
        assert lookup.isdir(store.at(path))
        assert directories.listdir(store.at(path)) == sorted({*names, *files})
        for entry in directories.scandir(store.at(path), path):
            resource = store.at(entry.path)
            assert lookup.isdir(resource) if entry.is_dir() else lookup.isfile(resource)


# ---------------------------------------------------------------- making and removing


def test_mkdir(store: Store) -> None:
    directories.mkdir(store.at("a"))
    directories.mkdir(store.at("a/b/"))
    assert store.keys() == ["a/", "a/b/"]
    assert directories.listdir(store.at("a/b")) == []
    for path in ("a", "a/"):
        with pytest.raises(FileExistsError):
            directories.mkdir(store.at(path))
    with pytest.raises(FileNotFoundError, match="makedirs") as caught:
        directories.mkdir(store.at("x/y"))
    assert caught.value.filename == "memory://box/x/y"
    store.put("f")
    for path in ("f", "f/"):
        with pytest.raises(FileExistsError):
            directories.mkdir(store.at(path))
    with pytest.raises(NotADirectoryError):
        directories.mkdir(store.at("f/x"))


def test_containers_are_never_made(store: Store) -> None:
    for make in (directories.mkdir, directories.makedirs):
        with pytest.raises(FileExistsError):
            make(store.at("memory://box"))
        with pytest.raises(io.UnsupportedOperation, match="container"):
            make(store.at("memory://missing"))
    directories.makedirs(store.at("memory://box"), exist_ok=True)
    with pytest.raises(io.UnsupportedOperation, match="container"):
        directories.rmdir(store.at("memory://box"))


def test_makedirs_marks_every_new_level(store: Store) -> None:
    store.put("a/x")
    directories.makedirs(store.at("a/b/c/d"))
    assert store.keys() == ["a/b/", "a/b/c/", "a/b/c/d/", "a/x"]
    with pytest.raises(FileExistsError):
        directories.makedirs(store.at("a/b/c"))
    directories.makedirs(store.at("a/b/c"), exist_ok=True)
    with pytest.raises(FileExistsError):
        directories.makedirs(store.at("a/x"), exist_ok=True)
    with pytest.raises(NotADirectoryError):
        directories.makedirs(store.at("a/x/y/z"), exist_ok=True)
    assert store.keys() == ["a/b/", "a/b/c/", "a/b/c/d/", "a/x"]


def test_a_store_that_keeps_no_empty_directory_says_so() -> None:
    store = Store(empty_directories=False)
    with pytest.raises(io.UnsupportedOperation, match="empty directory"):
        directories.makedirs(store.at("a"), exist_ok=True)
    store.put("a/x")
    directories.makedirs(store.at("a"), exist_ok=True)


def test_rmdir(store: Store) -> None:
    store.put("a/", "a/b/", "c/x", "f")
    for path in ("a", "c"):
        with pytest.raises(OSError, match="not empty") as caught:
            directories.rmdir(store.at(path))
        assert caught.value.errno == errno.ENOTEMPTY
    directories.rmdir(store.at("a/b"))
    directories.rmdir(store.at("a/"))
    assert store.keys() == ["c/x", "f"]
    with pytest.raises(FileNotFoundError):
        directories.rmdir(store.at("a"))
    for path in ("f", "f/"):
        with pytest.raises(NotADirectoryError):
            directories.rmdir(store.at(path))


def test_real_directories(local: Resource, tmp_path: Path) -> None:
    directories.mkdir(child(local, "a"))
    directories.makedirs(child(local, "b/c/d/"))
    directories.makedirs(child(local, "b/c"), exist_ok=True)
    (tmp_path / "f").write_bytes(b"123")
    assert directories.listdir(local) == ["a", "b", "f"]
    assert directories.listdir(child(local, "a")) == []
    assert lookup.isfile(child(local, "f"))
    assert not lookup.isfile(child(local, "f/"))
    assert lookup.getsize(child(local, "f")) == 3
    assert lookup.isdir(child(local, "a/"))
    assert not lookup.isfile(Resource(local.backend, Location("file", "", "dev/null"), {}))
    for path, error in [
        ("a", FileExistsError),
        ("f", FileExistsError),
        ("x/y", FileNotFoundError),
        ("f/y", NotADirectoryError),
    ]:
        with pytest.raises(error):
            directories.mkdir(child(local, path))
    for path, error in [("f", NotADirectoryError), ("x", FileNotFoundError)]:
        with pytest.raises(error):
            directories.listdir(child(local, path))
        with pytest.raises(error):
            directories.rmdir(child(local, path))
    with pytest.raises(OSError, match="not empty"):
        directories.rmdir(child(local, "b"))
    directories.rmdir(child(local, "a"))
    assert not lookup.exists(child(local, "a"))
    assert lookup.isdir(Resource(local.backend, Location("file", "", ""), {}))


def test_links(local: Resource, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    for name, leads_to in [("to_d", "d"), ("to_f", "f"), ("nowhere", "gone")]:
        (tmp_path / name).symlink_to(tmp_path / leads_to)
    with os.scandir(tmp_path) as theirs, directories.scandir(local) as ours:
        expected = {entry.name: _kinds(entry) for entry in theirs}
        assert {entry.name: _kinds(entry) for entry in ours} == expected
    (tmp_path / "circle").symlink_to(tmp_path / "circle")  # where os.DirEntry raises, and os.path says no
    circle = next(entry for entry in directories.scandir(local) if entry.name == "circle")
    assert _kinds(circle) == [True, False, False, False, False]


def _kinds(entry: os.DirEntry[str] | directories.DirEntry[str]) -> list[bool]:
    return [
        entry.is_symlink(),
        entry.is_dir(),
        entry.is_file(),
        entry.is_dir(follow_symlinks=False),
        entry.is_file(follow_symlinks=False),
    ]


def test_a_driver_that_lists_what_does_not_lie_below_is_not_believed() -> None:
    class Everything(Store):
        @hookimpl(specname="list")
        def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
            return super().entries(Location(location.scheme, location.container, ""), recursive, limit, start_after)

    store = Everything()
    for key in ("a/scratch", "b/precious"):
        store.backend.open_write(Location("memory", "box", key), {}).put([b"data"])
    top = Resource(store.backend, Location("memory", "box", "a"), {})
    for call in (directories.listdir, changes.rmtree):
        with pytest.raises(OSError, match=r"lists what does not lie below it: memory://box/b") as caught:
            call(top)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, "memory://box/a")
    assert store.stat(Location("memory", "box", "b/precious")).size == 4
