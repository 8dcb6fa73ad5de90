"""Plain local paths go to the builtin functions; ``file://`` goes to a driver that seals its writes."""

from __future__ import annotations

import builtins
import glob
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import storagekit
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import refused


@pytest.fixture
def storage() -> Iterator[storagekit.Storage]:
    """A storage without any target."""
    with storagekit.Storage() as opened:
        yield opened


@clause("local.open")
@pytest.mark.parametrize(
    ("mode", "buffering"), [("r", -1), ("w", -1), ("rb", -1), ("wb", -1), ("r+b", -1), ("rb", 0), ("a", -1), ("wb", 0)]
)
def test_open_gives_the_builtins_objects(
    storage: storagekit.Storage, tmp_path: Path, mode: str, buffering: int
) -> None:
    path = tmp_path / "file"
    path.write_text("data")
    with storage.open(path, mode, buffering) as ours, builtins.open(path, mode, buffering) as theirs:
        assert type(ours) is type(theirs)
        assert getattr(ours, "encoding", None) == getattr(theirs, "encoding", None)
        assert ours.name == theirs.name


@clause("local.descriptor")
def test_file_descriptor(storage: storagekit.Storage, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("data")
    descriptor = os.open(path, os.O_RDONLY)
    with storage.open(descriptor, closefd=False) as file:
        assert file.read() == "data"
    with storage.open(descriptor, "rb") as file:
        file.seek(0)
        assert file.read() == b"data"
    with pytest.raises(OSError):
        os.close(descriptor)


@clause("local.errors")
def test_the_builtins_exceptions(storage: storagekit.Storage, tmp_path: Path) -> None:
    for ours, theirs in (
        (storage.open, builtins.open),
        (storage.stat, os.stat),
        (storage.listdir, os.listdir),
        (storage.remove, os.remove),
        (storage.rmdir, os.rmdir),
        (storage.getsize, os.path.getsize),
    ):
        path = str(tmp_path / "absent")
        with pytest.raises(OSError) as our_error:
            ours(path)
        with pytest.raises(OSError) as their_error:
            theirs(path)
        assert type(our_error.value) is type(their_error.value)
        assert our_error.value.args == their_error.value.args
        assert our_error.value.filename == their_error.value.filename


@clause("local.functions")
def test_the_builtins_results(storage: storagekit.Storage, tmp_path: Path) -> None:
    storage.makedirs(tmp_path / "a" / "b")
    for name in ("x", "a/y", "a/b/z"):
        with storage.open(tmp_path / name, "w") as file:
            file.write(name)
    assert sorted(storage.listdir(tmp_path)) == sorted(os.listdir(tmp_path))
    assert sorted(storage.listdir(bytes(tmp_path))) == sorted(os.listdir(bytes(tmp_path)))
    assert sorted(storage.walk(tmp_path)) == sorted(os.walk(tmp_path))
    pattern = str(tmp_path / "**")
    assert sorted(storage.glob(pattern, recursive=True)) == sorted(glob.glob(pattern, recursive=True))
    assert storage.stat(tmp_path / "x") == os.stat(tmp_path / "x")
    with storage.scandir(tmp_path) as ours:
        assert all(isinstance(entry, os.DirEntry) for entry in ours)
    assert storage.join(str(tmp_path), "x") == os.path.join(tmp_path, "x")
    storage.rename(tmp_path / "x", tmp_path / "a" / "x")
    storage.copyfile(tmp_path / "a" / "x", tmp_path / "x2")
    assert (tmp_path / "x2").read_text() == "x"
    storage.rmtree(tmp_path / "a")
    assert os.listdir(tmp_path) == ["x2"]


@clause("local.not-sealed")
def test_plain_paths_are_not_sealed(storage: storagekit.Storage, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.open(tmp_path / "file", "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert (tmp_path / "file").read_text() == "half", "as the builtin open"


@clause("local.url-sealed")
def test_file_urls_are_sealed(storage: storagekit.Storage, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), storage.open(f"file://{path}", "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with storage.open(f"file://{path}", "w") as file:
        file.write("new")
        assert path.read_text() == "old"
        beside = set(os.listdir(tmp_path)) - {"file"}
        assert all(name.startswith(".") for name in beside), "what there is, is hidden"
        assert storage.listdir(f"file://{tmp_path}") == ["file"]
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


@clause("local.url-symlink")
def test_links_are_followed(storage: storagekit.Storage, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path, link = tmp_path / "real" / "file", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with storage.open(f"file://{link}", "w") as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"


@clause("local.url-mode")
def test_mode_and_umask(storage: storagekit.Storage, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        for path in (old, new):
            with storage.open(f"file://{path}", "w") as file:
                file.write("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640, "an existing file keeps its mode"
    assert stat.S_IMODE(new.stat().st_mode) == 0o640, "a new one gets what the umask leaves"


@clause("local.url-special")
def test_what_is_no_regular_file(storage: storagekit.Storage) -> None:
    with storage.open("file:///dev/null", "w") as file:
        file.write("gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@clause("local.url-literal")
def test_file_urls_are_not_decoded(storage: storagekit.Storage, tmp_path: Path) -> None:
    with storage.open(f"file://{tmp_path}/a%20b?c#d", "w") as file:
        file.write("x")
    assert os.listdir(tmp_path) == ["a%20b?c#d"]


@clause("local.url-same-functions")
def test_file_urls_and_paths_see_the_same(storage: storagekit.Storage, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("data")
    url = f"file://{tmp_path}/folder"
    assert storage.listdir(url) == ["file"]
    assert storage.getsize(f"{url}/file") == 4
    assert abs(storage.getmtime(f"{url}/file") - os.path.getmtime(tmp_path / "folder" / "file")) < 1e-3
    with refused(OSError, url=url):
        storage.rmdir(url)
    storage.rmtree(url)
    assert os.listdir(tmp_path) == []


@clause("local.text-layer")
def test_text_of_a_local_path(storage: storagekit.Storage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        with storage.open(path, "w", encoding="latin-1", newline="\r\n") as file:
            assert type(file) is io.TextIOWrapper
            file.write("é\n")
        with builtins.open(path, "rb") as file:
            assert file.read() == b"\xe9\r\n"
