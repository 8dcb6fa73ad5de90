"""Directories: making them, and removing them, one and whole trees."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.support import Box, needs, needs_removal, refused


def tree(box: Box) -> str:
    """A tree and its neighbours, whose names begin alike."""
    for key in ("top/a", "top/b/c", "top/b/d/e", "top-not/x", "topmost"):
        box.put(key)
    return box.url("top")


@clause("directories.mkdir")
def test_mkdir(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    box.put("beside")
    url = box.url("new")
    box.storage.mkdir(url)
    assert box.storage.isdir(url)
    assert not box.storage.isfile(url)
    assert box.storage.listdir(url) == []
    box.storage.mkdir(box.url("new/sub/"))
    assert box.storage.listdir(url) == ["sub"]
    if box.root.client:
        assert "new/sub/" in set(box.root.client.keys())


@clause("directories.mkdir-existing")
def test_mkdir_on_what_is_there(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    box.put("folder/object")
    for key in ("folder", "folder/object"):
        for function in (box.storage.mkdir, box.storage.makedirs):
            with refused(FileExistsError, url=box.url(key)):
                function(box.url(key))
    assert box.get("folder/object") == b"data"


@clause("directories.mkdir-parent")
def test_mkdir_without_its_parent(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    with refused(FileNotFoundError, url=box.url("absent/new")):
        box.storage.mkdir(box.url("absent/new"))
    assert not box.storage.exists(box.url("absent"))
    box.put("file")
    with refused(NotADirectoryError, FileExistsError):
        box.storage.mkdir(box.url("file/new"))
    assert box.get("file") == b"data"


@clause("directories.makedirs")
def test_makedirs(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    box.storage.makedirs(box.url("a/b/c"))
    for key in ("a", "a/b", "a/b/c"):
        assert box.storage.isdir(box.url(key))
    box.storage.makedirs(box.url("a/b/c"), exist_ok=True)
    with refused(FileExistsError, url=box.url("a/b/c")):
        box.storage.makedirs(box.url("a/b/c"))
    if box.removes:
        box.storage.rmdir(box.url("a/b/c"))
        assert box.storage.isdir(box.url("a/b")), "every level was made, not only the last"
    box.put("file")
    for exist_ok in (False, True):
        with refused(NotADirectoryError, FileExistsError):
            box.storage.makedirs(box.url("file/x/y"), exist_ok=exist_ok)
        with refused(FileExistsError):
            box.storage.makedirs(box.url("file"), exist_ok=exist_ok)


@clause("directories.rmdir")
def test_rmdir(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    needs_removal(box)
    box.storage.makedirs(box.url("a/b"))
    box.storage.rmdir(box.url("a/b/"))
    assert not box.storage.exists(box.url("a/b"))
    assert box.storage.listdir(box.url("a")) == []
    box.storage.rmdir(box.url("a"))
    assert not box.storage.exists(box.url("a"))


@clause("directories.rmdir-full")
def test_rmdir_of_a_full_directory(box: Box) -> None:
    box.put("a/b/object")
    for key in ("a", "a/b"):
        with refused(OSError, errno=errno.ENOTEMPTY, url=box.url(key)):
            box.storage.rmdir(box.url(key))
    assert box.get("a/b/object") == b"data"
    if box.traits.empty_directories:
        box.storage.makedirs(box.url("c/d"))
        with refused(OSError, errno=errno.ENOTEMPTY):
            box.storage.rmdir(box.url("c"))
        assert box.storage.isdir(box.url("c/d"))


@clause("directories.rmdir-wrong")
def test_rmdir_of_what_is_no_directory(box: Box) -> None:
    url = box.put("file")
    with refused(NotADirectoryError, url=url):
        box.storage.rmdir(url)
    with refused(FileNotFoundError, url=box.url("absent")):
        box.storage.rmdir(box.url("absent"))
    assert box.get("file") == b"data"


@clause("directories.rmtree")
@pytest.mark.parametrize("slash", ["", "/"])
def test_rmtree(box: Box, slash: str) -> None:
    needs_removal(box)
    url = tree(box)
    if box.traits.empty_directories:
        box.storage.makedirs(box.url("top/empty/sub"))
    box.storage.rmtree(url + slash)
    assert not box.storage.exists(url)
    assert box.storage.listdir(box.url()) == ["top-not", "topmost"], "what only begins alike stays"
    if box.root.client:
        assert sorted(box.root.client.keys()) == ["top-not/x", "topmost"]


@clause("directories.rmtree-one-of-two")
def test_rmtree_beside_a_file(box: Box) -> None:
    needs(box.traits.file_beside_directory, "the store does not promise to hold a and a/b at the same time")
    needs_removal(box)
    box.put("a", b"file")
    box.put("a/b", b"below")
    box.storage.rmtree(box.url("a"))
    assert box.get("a") == b"file"
    assert not box.storage.isdir(box.url("a"))


@clause("directories.rmtree-dry-run")
def test_rmtree_dry_run(box: Box) -> None:
    url = tree(box)
    box.storage.rmtree(url, dry_run=True)
    assert box.get("top/b/d/e") == b"data"
    assert box.storage.listdir(url) == ["a", "b"]
    with refused(FileNotFoundError):
        box.storage.rmtree(box.url("absent"), dry_run=True)


@clause("directories.rmtree-wrong")
def test_rmtree_of_what_is_no_directory(box: Box) -> None:
    url = box.put("file")
    with refused(NotADirectoryError, url=url):
        box.storage.rmtree(url)
    assert box.get("file") == b"data"
    with refused(FileNotFoundError, url=box.url("absent")):
        box.storage.rmtree(box.url("absent"))


@clause("directories.rmtree-errors")
def test_rmtree_error_handlers(box: Box) -> None:
    url = box.put("file")
    absent = box.url("absent")
    for place in (url, absent):
        box.storage.rmtree(place, ignore_errors=True)
    seen: list[Any] = []
    box.storage.rmtree(absent, onexc=lambda function, path, error: seen.append((path, type(error))))
    assert seen
    assert {kind for _, kind in seen} == {FileNotFoundError}
    old: list[Any] = []
    box.storage.rmtree(absent, onerror=lambda function, path, info: old.append(info[0]))
    assert set(old) == {FileNotFoundError}
    assert box.get("file") == b"data"


@clause("directories.rmtree-container")
def test_rmtree_refuses_a_container(container: Box) -> None:
    container.put("folder/object")
    for url in (container.url(), container.url() + "/", f"{container.root.scheme}://"):
        with refused():
            container.storage.rmtree(url)
    assert container.get("folder/object") == b"data"
    if not container.removes:
        return
    container.storage.rmtree(container.url("folder"))
    assert container.storage.listdir(container.url()) == []
