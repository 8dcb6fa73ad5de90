"""Globbing: the patterns of the standard library's glob, on URLs."""

from __future__ import annotations

import errno
import glob as theirs
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit import errors, globbing
from storagekit.backend import Backend, Resource
from storagekit.driver import Stat
from storagekit.errors import InvalidArgumentError
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_local.driver import LocalDriver
from storagekit_memory.driver import MemoryDriver


class Store(MemoryDriver):
    """The memory driver, which counts its listings and can refuse one."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.listed: list[str] = []
        self.forbidden = ""
        self.backend = Backend("memory", self, "test")
        for key in keys:
            self.open_write(Location("memory", "box", key), {}, None).put([b"data"])

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        self.listed.append(location.path)
        if self.forbidden and location.path.startswith(self.forbidden):
            raise errors.os_error(errno.EACCES, location)
        return super().entries(location, recursive, limit, start_after)

    def resolve(self, url: str) -> Resource:
        return Resource(self.backend, self.backend.parse(url), {})

    def glob(self, pattern: str, *, root_dir: str | None = None, hidden: bool = False) -> list[str]:
        """The matches of a pattern relative to the container, where no *root_dir* is given."""
        if root_dir is None:
            pattern = f"memory://box/{pattern}"
        found = globbing.glob(self.resolve, pattern, root_dir=root_dir, recursive=True, include_hidden=hidden)
        assert len(found) == len(set(found))
        return sorted(path.removeprefix("memory://box/") for path in found)


KEYS = ("a.txt", "b.csv", ".hidden", "d/a.txt", "d/e/a.txt", "d/e/f/b.csv", ".git/config", "d/.x/a.txt", "A.TXT")


@pytest.fixture
def store() -> Store:
    return Store(*KEYS)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["A.TXT", "a.txt", "b.csv", "d"]),
        ("*.txt", ["a.txt"]),
        ("?.txt", ["a.txt"]),
        ("[ab].*", ["a.txt", "b.csv"]),
        ("[!a].*", ["A.TXT", "b.csv"]),
        (".*", [".git", ".hidden"]),
        ("*/", ["d/"]),
        ("*/*.txt", ["d/a.txt"]),
        ("*/e/a.txt", ["d/e/a.txt"]),
        ("*/e/", ["d/e/"]),
        ("a.txt", ["a.txt"]),
        ("a.txt/", []),
        ("d", ["d"]),
        ("d/", ["d/"]),
        ("nothing", []),
        ("nothing/*", []),
        ("a.txt/*", []),
        ("**", ["", "A.TXT", "a.txt", "b.csv", "d", "d/a.txt", "d/e", "d/e/a.txt", "d/e/f", "d/e/f/b.csv"]),
        ("**/", ["", "d/", "d/e/", "d/e/f/"]),
        ("**/*.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("**/a.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("**/e/*", ["d/e/a.txt", "d/e/f"]),
        ("**/e/**/b.csv", ["d/e/f/b.csv"]),
        ("**/**/f", ["d/e/f"]),
        ("**/*/**/b.csv", ["d/e/f/b.csv"]),
        ("**/.x/*", ["d/.x/a.txt"]),
        ("**/config", []),
        ("d/**", ["d/", "d/a.txt", "d/e", "d/e/a.txt", "d/e/f", "d/e/f/b.csv"]),
        ("nothing/**", []),
    ],
)
def test_patterns(store: Store, pattern: str, expected: list[str]) -> None:
    assert store.glob(pattern) == expected


def test_hidden_names(store: Store) -> None:
    assert store.glob("*", hidden=True) == [".git", ".hidden", "A.TXT", "a.txt", "b.csv", "d"]
    assert store.glob("**/config", hidden=True) == [".git/config"]


def test_two_stars_are_one_where_not_recursive(store: Store) -> None:
    assert globbing.glob(store.resolve, "memory://box/**/a.txt") == ["memory://box/d/a.txt"]


def test_results_are_as_written(store: Store) -> None:
    assert globbing.glob(store.resolve, "MEMORY://box//*") == []
    assert globbing.glob(store.resolve, "memory://b[o]x/a.*") == ["memory://box/a.txt"]
    assert globbing.glob(store.resolve, "memory://*") == ["memory://box"]
    assert globbing.glob(store.resolve, "memory://box") == ["memory://box"]
    assert globbing.glob(store.resolve, "memory://box/") == ["memory://box/"]


def test_empty_names_and_data_under_them() -> None:
    store = Store("a//b", "p/", "x[1]", "a/c", "a")
    assert store.glob("*") == ["a", "p", "x[1]"]  # `a` is a file and a directory, and one path
    assert store.glob("a//*") == ["a//b"]
    assert store.glob("a/*") == ["a//", "a/c"]
    assert store.glob("a/*/b") == ["a//b"]
    assert store.glob("p/*") == ["p/"]
    assert store.glob("**") == ["", "a", "a//", "a//b", "a/c", "p", "p/", "x[1]"]
    assert store.glob(theirs.escape("x[1]")) == ["x[1]"]


def test_root_dir(store: Store) -> None:
    for root in ("memory://box/d", "memory://box/d/"):
        assert store.glob("*/*", root_dir=root) == ["e/a.txt", "e/f"]
        assert store.glob("**", root_dir=root) == ["a.txt", "e", "e/a.txt", "e/f", "e/f/b.csv"]
        assert store.glob("e/a.txt", root_dir=root) == ["e/a.txt"]
    assert store.glob("memory://box/*.csv", root_dir="memory://box/d") == ["b.csv"]
    with pytest.raises(InvalidArgumentError):
        store.glob("/x", root_dir="memory://box/d")


def test_arguments_are_checked_at_the_call(store: Store) -> None:
    with pytest.raises(InvalidArgumentError, match="dir_fd"):
        globbing.iglob(store.resolve, "memory://box/*", dir_fd=3)
    with pytest.raises(InvalidArgumentError, match="root_dir"):
        globbing.iglob(store.resolve, "*")


def test_it_is_lazy_and_lists_each_directory_once(store: Store) -> None:
    found = globbing.iglob(store.resolve, "memory://box/**/*.txt", recursive=True)
    assert store.listed == []
    assert next(found) == "memory://box/a.txt"
    assert store.listed == [""]
    list(found)
    assert store.listed == ["", "d/", "d/e/", "d/e/f/"]
    store.listed.clear()
    store.glob("d/e/*.txt")
    assert store.listed == ["d/e/"]  # nothing above, where there is no magic


def test_what_may_not_be_seen_is_not_skipped(store: Store) -> None:
    store.forbidden = "d/e"
    with pytest.raises(PermissionError):
        store.glob("**/*.csv")


def test_links(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").touch()
    (tmp_path / "link").symlink_to(tmp_path / "d")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    backend = Backend("file", LocalDriver(), "test")
    for pattern in ("*", "*/", "*/*", "**", "**/f"):
        found = globbing.glob(
            lambda url: Resource(backend, backend.parse(url), {}), f"file://{tmp_path}/{pattern}", recursive=True
        )
        expected = theirs.glob(f"{tmp_path}/{pattern}", recursive=True)
        assert sorted(found) == sorted(f"file://{path}" for path in expected)


names = st.sampled_from(["a", "b", ".c", "ab"])
trees = st.sets(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=8)
parts = st.sampled_from(["*", "**", "?", "a*", "[ab]", ".*", "a", "b", ".c", "*b"])
patterns = st.tuples(st.lists(parts, min_size=1, max_size=4), st.booleans())


@given(trees, patterns, st.booleans(), st.booleans())
def test_it_agrees_with_the_standard_library(
    tree: set[str], pattern: tuple[list[str], bool], recursive: bool, hidden: bool
) -> None:
    # On real files no name is a file and a directory at once.
    tree = {key for key in tree if not any(other.startswith(key + "/") for other in tree)} or {"a"}
    written = "/".join(part for n, part in enumerate(pattern[0]) if part != "**" or pattern[0][n - 1 : n] != ["**"])
    written += "/" if pattern[1] else ""
    store = Store(*tree)
    with tempfile.TemporaryDirectory() as folder:
        for key in tree:
            os.makedirs(os.path.dirname(f"{folder}/{key}"), exist_ok=True)
            Path(folder, key).touch()
        expected = theirs.glob(f"{folder}/{written}", recursive=recursive, include_hidden=hidden)
        # CPython before 3.13 gives `x/` for `x/**` where x is a file, or is not there at all.
        expected = [path for path in expected if not path.endswith("/") or os.path.isdir(path)]
        relative = theirs.glob(written, root_dir=folder, recursive=recursive, include_hidden=hidden)
        relative = [path for path in relative if not path.endswith("/") or os.path.isdir(os.path.join(folder, path))]
    found = globbing.glob(store.resolve, f"memory://box/{written}", recursive=recursive, include_hidden=hidden)
    assert sorted(path.removeprefix("memory://box") for path in found) == sorted(
        {path.removeprefix(folder) for path in expected}
    )
    assert len(found) == len(set(found))
    below = globbing.glob(store.resolve, written, root_dir="memory://box", recursive=recursive, include_hidden=hidden)
    assert sorted(below) == sorted(set(relative))
