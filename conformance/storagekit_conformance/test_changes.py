"""Changing one object: ``remove``, ``rename``, ``copy``, ``touch``."""

from __future__ import annotations

import errno
import functools
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storagekit import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import PART, Box, content, needs, needs_removal, needs_renaming, refused
from storagekit_conformance.target import Client


@clause("changes.remove")
@pytest.mark.parametrize("name", ["remove", "unlink"])
def test_remove(box: Box, name: str) -> None:
    needs_removal(box)
    url = box.put("folder/object")
    box.put("folder/object2")
    getattr(box.storage, name)(url)
    assert box.absent("folder/object")
    assert box.storage.listdir(box.url("folder")) == ["object2"]
    with refused(FileNotFoundError, url=url):
        box.open(url)


@clause("changes.remove-missing")
def test_remove_missing(box: Box) -> None:
    needs_removal(box)
    box.put("object2")
    url = box.url("object")
    with refused(FileNotFoundError, url=url):
        box.storage.remove(url)
    box.storage.remove(url, missing_ok=True)
    box.storage.remove(box.put("object"), missing_ok=True)
    assert box.storage.listdir(box.url()) == ["object2"]


@clause("changes.remove-directory")
def test_remove_a_directory(box: Box) -> None:
    box.put("folder/object")
    for url in (box.url("folder"), box.url("folder/")):
        with refused(IsADirectoryError, PermissionError, url=url):
            box.storage.remove(url)
    if box.traits.empty_directories:
        box.storage.makedirs(box.url("empty"))
        with refused(IsADirectoryError, PermissionError, url=box.url("empty")):
            box.storage.remove(box.url("empty"))
        assert box.storage.isdir(box.url("empty"))
    assert box.get("folder/object") == b"data"


@clause("changes.remove-one-of-two")
def test_remove_beside_a_directory(box: Box) -> None:
    needs(box.traits.file_beside_directory, "the store does not promise to hold a and a/b at the same time")
    needs_removal(box)
    box.put("a", b"file")
    box.put("a/b", b"below")
    box.storage.remove(box.url("a"))
    assert box.get("a/b") == b"below"
    assert not box.storage.isfile(box.url("a"))
    assert box.storage.isdir(box.url("a"))


@clause("changes.remove-refused")
def test_what_does_not_remove_says_so(box: Box) -> None:
    needs(not box.removes, "the driver removes")
    url = box.put("folder/object", b"object")
    box.put("folder/sub/other", b"other")
    target = box.put("target", b"old")
    storage = box.storage
    refusals: list[Callable[[], object]] = [
        lambda: storage.remove(url),
        lambda: storage.unlink(url),
        lambda: storage.remove(url, missing_ok=True),
        lambda: storage.rmtree(box.url("folder")),
        lambda: storage.rmtree(box.url("folder/sub")),
    ]
    if not box.traits.atomic_rename:
        for new in (target, box.url("new")):
            refusals += [functools.partial(storage.rename, url, new), functools.partial(storage.replace, url, new)]
    if box.traits.empty_directories:
        storage.mkdir(box.url("empty"))
        refusals.append(lambda: storage.rmdir(box.url("empty")))
    for refusal in refusals:
        with refused(io.UnsupportedOperation):
            refusal()
    seen: list[str] = []
    storage.rmtree(box.url("folder"), onexc=lambda function, path, error: seen.append(path))
    assert set(seen) >= {url, box.url("folder/sub/other")}, "each is told"
    storage.rmtree(box.url("folder"), ignore_errors=True)
    contents = {key: box.get(key) for key in ("folder/object", "folder/sub/other", "target")}
    assert contents == {"folder/object": b"object", "folder/sub/other": b"other", "target": b"old"}
    empty = ["empty"] if box.traits.empty_directories else []
    assert box.storage.listdir(box.url()) == [*empty, "folder", "target"]


@clause("changes.rename")
@pytest.mark.parametrize("name", ["rename", "replace"])
@pytest.mark.parametrize("size", [0, 1000, PART + 1000])
def test_rename(box: Box, name: str, size: int) -> None:
    needs_renaming(box)
    source, target = box.put("folder/source", content(size)), box.url("folder/target")
    getattr(box.storage, name)(source, target)
    assert box.get("folder/target") == content(size)
    assert box.absent("folder/source")
    assert box.storage.listdir(box.url("folder")) == ["target"]


@clause("changes.rename-existing")
@pytest.mark.parametrize("name", ["rename", "replace"])
def test_rename_onto_an_object(box: Box, name: str) -> None:
    needs_renaming(box)
    source, target = box.put("source", b"new"), box.put("target", b"old and longer")
    getattr(box.storage, name)(source, target)
    assert box.get("target") == b"new"
    assert box.storage.listdir(box.url()) == ["target"]


@clause("changes.rename-itself")
def test_rename_onto_itself(box: Box) -> None:
    url = box.put("object")
    box.storage.rename(url, url)
    box.storage.replace(url, url)
    assert box.get("object") == b"data"
    with refused(FileNotFoundError):
        box.storage.rename(box.url("absent"), box.url("absent"))


@clause("changes.rename-missing")
def test_rename_missing(box: Box) -> None:
    target = box.put("target", b"old")
    for name in ("rename", "replace"):
        with refused(FileNotFoundError, url=box.url("absent")):
            getattr(box.storage, name)(box.url("absent"), target)
    assert box.get("target") == b"old"


@clause("changes.rename-directory")
def test_rename_a_directory(box: Box) -> None:
    box.put("folder/a", b"1")
    box.put("folder/sub/b", b"2")
    source, target = box.url("folder"), box.url("moved")
    if box.traits.atomic_rename:
        box.storage.rename(source, target)
        assert box.get("moved/sub/b") == b"2"
        assert not box.storage.exists(source)
        return
    with refused(OSError, errno=errno.EXDEV) as caught:
        box.storage.rename(source, target)
    assert "move" in str(caught.value), "it names what does it"
    assert box.get("folder/sub/b") == b"2"
    assert not box.storage.exists(target)


@clause("changes.rename-across")
def test_rename_to_another_scheme(box: Box, tmp_path: Path) -> None:
    url = box.put("object")
    other = f"file://{tmp_path}/object" if box.root.scheme != "file" else "memory://box/object"
    elsewhere = f"{other}-too"
    with box.open(elsewhere, "w") as file:
        file.write("other")
    for source, target in ((url, other), (elsewhere, box.url("new"))):
        with refused(OSError, errno=errno.EXDEV) as caught:
            box.storage.rename(source, target)
        assert "move" in str(caught.value), "it names what does it"
    assert box.get("object") == b"data"
    assert box.storage.exists(elsewhere)
    assert not box.storage.exists(other)
    assert box.absent("new")


@clause("changes.copy")
@pytest.mark.parametrize("name", ["copy", "copyfile"])
@pytest.mark.parametrize("size", [0, 1000, PART + 1000])
def test_copy(box: Box, name: str, size: int) -> None:
    source, target = box.put("source", content(size)), box.put("target", b"old")
    assert getattr(box.storage, name)(source, target) == target
    assert box.get("target") == content(size)
    assert box.get("source") == content(size)


@clause("changes.copy-into")
def test_copy_into_a_directory(box: Box) -> None:
    source = box.put("source")
    box.put("folder/other")
    if not box.traits.file_beside_directory:
        with refused(OSError):
            box.storage.copyfile(source, box.url("folder"))
    assert box.storage.copy(source, box.url("folder")).rstrip("/") == box.url("folder/source")
    assert box.get("folder/source") == b"data"
    assert not box.storage.isfile(box.url("folder"))


@clause("changes.copy-itself")
def test_copy_onto_itself(box: Box) -> None:
    url = box.put("object")
    for name in ("copy", "copyfile"):
        with pytest.raises(shutil.SameFileError):
            getattr(box.storage, name)(url, url)
    assert box.get("object") == b"data"


@clause("changes.copy-missing")
def test_copy_missing(box: Box) -> None:
    target = box.put("target", b"old")
    box.put("folder/object")
    for name in ("copy", "copyfile"):
        with refused(FileNotFoundError, url=box.url("absent")):
            getattr(box.storage, name)(box.url("absent"), target)
        with refused(IsADirectoryError, PermissionError, url=box.url("folder")):
            getattr(box.storage, name)(box.url("folder"), target)
    assert box.get("target") == b"old"


@clause("changes.copy-local")
@pytest.mark.parametrize("kind", ["str", "path", "url"])
@pytest.mark.parametrize("size", [0, 1000, PART + 1000])
def test_copy_from_and_to_a_local_path(box: Box, tmp_path: Path, kind: str, size: int) -> None:
    needs(box.root.scheme != "file" or kind != "url", "that is a copy within the target")
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(content(size))

    def given(path: Path) -> Any:
        return {"str": str(path), "path": path, "url": f"file://{path}"}[kind]

    box.storage.copyfile(given(local), box.url("object"))
    assert box.get("object") == content(size)
    box.storage.copy(box.url("object"), given(back))
    assert back.read_bytes() == content(size)
    box.storage.copy(box.url("object"), given(tmp_path))
    assert (tmp_path / "object").read_bytes() == content(size)


@clause("changes.copy-failed")
def test_failed_copy_leaves_the_target(box: Box, tmp_path: Path) -> None:
    box.put("target", b"old")
    with refused(FileNotFoundError):
        box.storage.copyfile(tmp_path / "absent", box.url("target"))
    with refused(FileNotFoundError):
        box.storage.copyfile(tmp_path / "absent", box.url("new"))
    local = tmp_path / "local"
    local.write_bytes(b"local")
    with refused(FileNotFoundError):
        box.storage.copyfile(box.url("absent"), local)
    assert local.read_bytes() == b"local"
    assert box.get("target") == b"old"
    assert box.absent("new")


@clause("changes.touch-new")
def test_touch_creates(box: Box) -> None:
    box.storage.touch(box.url("object"))
    assert box.get("object") == b""
    assert box.storage.getsize(box.url("object")) == 0


@clause("changes.touch-existing")
def test_touch_never_truncates(box: Box) -> None:
    url = box.put("object", b"precious")
    before = box.storage.getmtime(url)
    try:
        box.storage.touch(url)
    except io.UnsupportedOperation:
        assert box.storage.getmtime(url) == before
    else:
        assert box.storage.getmtime(url) >= before
    assert box.get("object") == b"precious"


@clause("changes.touch-exclusive")
def test_touch_without_exist_ok(box: Box) -> None:
    url = box.put("object", b"precious")
    kinds = (FileExistsError,) if box.traits.exclusive_create else (FileExistsError, io.UnsupportedOperation)
    with refused(*kinds):
        box.storage.touch(url, exist_ok=False)
    assert box.get("object") == b"precious"
    if box.traits.exclusive_create:
        box.storage.touch(box.url("new"), exist_ok=False)
        assert box.get("new") == b""


@clause("changes.fresh")
def test_a_change_is_seen_at_once(box: Box, client: Client) -> None:
    url = box.put("object", b"first")
    assert box.get("object") == b"first"
    for data in (b"other", b"third and longer", b""):
        client.put("object", data)
        assert box.get("object") == data, "an open sees what is there now"
        assert box.storage.getsize(url) == len(data)
    client.delete("object")
    assert not box.storage.exists(url)
    with refused(FileNotFoundError):
        box.open(url, "rb")


@clause("changes.containers")
def test_containers_are_left_alone(box: Box) -> None:
    url = box.root.missing_container
    if url is None:
        pytest.skip("containers need not be created here")
    for make in (box.storage.mkdir, box.storage.makedirs):
        with refused():
            make(url)
        with refused():
            make(f"{url}/folder")
    with pytest.raises(FileNotFoundError), box.open(f"{url}/object", "w") as file:
        file.write("data")
    with pytest.raises(FileNotFoundError):
        box.storage.copyfile(box.put("object"), f"{url}/object")
    assert not box.storage.exists(url)


@clause("changes.container-root")
def test_container_roots_are_no_objects(container: Box) -> None:
    object_url = container.put("folder/object")
    storage = container.storage
    for url in (container.url(), container.url() + "/"):
        for function in (storage.remove, storage.rmdir, storage.rmtree, storage.mkdir):
            with refused():
                function(url)
        with refused():
            storage.rename(url, container.url("elsewhere"))
        with refused():
            storage.open(url, "w")
    assert container.get("folder/object") == b"data"
    if not container.removes:
        return
    storage.remove(object_url)
    assert storage.isdir(container.url())
    with refused():
        storage.rmdir(container.url())
    assert os.path.basename(object_url) == "object"


@clause("changes.replace-if-match")
def test_a_target_that_is_to_be_replaced(box: Box) -> None:
    needs_renaming(box)
    needs(box.removes, "what is renamed under a condition is copied and removed")
    source, target = box.put("source", b"new"), box.put("target", b"old")
    etag = box.storage.stat(target).etag or "none"
    if not box.traits.conditional_replace:
        with refused(io.UnsupportedOperation):
            box.storage.replace(source, target, if_match=etag)
        assert (box.get("source"), box.get("target")) == (b"new", b"old")
        return
    box.put("target", b"theirs")
    with refused(ObjectChangedError):
        box.storage.replace(source, target, if_match=etag)
    assert (box.get("source"), box.get("target")) == (b"new", b"theirs")
    box.storage.replace(source, target, if_match=box.storage.stat(target).etag)
    assert box.get("target") == b"new"
    assert box.absent("source")
