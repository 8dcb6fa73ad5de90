"""storage: plain paths get exactly what the builtins give; URLs get the namesakes' signatures and results."""

from __future__ import annotations

import gc
import glob
import inspect
import io
import os
import pathlib
import shutil
import stat as _stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import storagekit
from storagekit import s3filestream
from storagekit.driver import Upload
from storagekit.errors import InvalidArgumentError
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.storage import Storage

# ---------------------------------------------------------------- signatures

NAMESAKES: dict[str, Callable[..., Any]] = {
    "open": open,
    "listdir": os.listdir,
    "scandir": os.scandir,
    "walk": os.walk,
    "glob": glob.glob,
    "iglob": glob.iglob,
    "stat": os.stat,
    "exists": os.path.exists,
    "isfile": os.path.isfile,
    "isdir": os.path.isdir,
    "getsize": os.path.getsize,
    "getmtime": os.path.getmtime,
    "mkdir": os.mkdir,
    "makedirs": os.makedirs,
    "remove": os.remove,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "rename": os.rename,
    "replace": os.replace,
    "copy": shutil.copy,
    "copyfile": shutil.copyfile,
    "rmtree": shutil.rmtree,
    "touch": Path("x").touch,
    "join": os.path.join,
}

# The one path that these take has a name that nobody passes by keyword, and that differs between platforms.
OTHER_NAMES = {"s": "path", "filename": "path", "a": "path", "p": "paths"}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(function).parameters)
    if found.get("self"):
        del found["self"]
    return found


@pytest.mark.parametrize("name", NAMESAKES)
def test_every_function_takes_what_its_namesake_takes(name: str) -> None:
    ours, theirs = parameters(getattr(Storage, name)), parameters(NAMESAKES[name])
    if name == "touch":
        ours.pop("path")
    for wanted in theirs.values():
        found = ours.get(OTHER_NAMES.get(wanted.name, wanted.name))
        assert found is not None, f"{name} does not take {wanted.name}"
        if wanted.kind is not wanted.POSITIONAL_ONLY:
            assert found.kind == wanted.kind
        if wanted.default is not wanted.empty and wanted.name not in ("path",):
            assert found.default == wanted.default or (name == "rmtree" and wanted.name == "ignore_errors")
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    expected = [
        OTHER_NAMES.get(p.name, p.name)
        for p in theirs.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    assert positional == expected, "and in the same order"
    for extra in set(ours) - {OTHER_NAMES.get(p, p) for p in theirs}:
        assert ours[extra].kind is inspect.Parameter.KEYWORD_ONLY, f"{name}({extra}) is an extra"


@pytest.mark.parametrize("name", [*NAMESAKES, "path_exists"])
def test_every_function_takes_options_and_is_the_default_storages_method(name: str) -> None:
    option = inspect.signature(getattr(Storage, name)).parameters["options"]
    assert option.kind is inspect.Parameter.KEYWORD_ONLY
    assert option.default is None
    function = getattr(storagekit, name)
    assert function.__self__ is storagekit.storage.default
    assert function.__func__ is getattr(Storage, name)
    assert name in storagekit.__all__


# ---------------------------------------------------------------- plain paths


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working directory with a few things in it."""
    (tmp_path / "file.txt").write_bytes(b"one\r\ntwo\n")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "inner.txt").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").write_bytes(b"")
    os.symlink("file.txt", tmp_path / "link")
    os.symlink("nowhere", tmp_path / "dangling")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(entries: Any) -> list[Any]:
    with entries:
        return sorted((entry.name, entry.path) for entry in entries)


PATHS: list[Any] = [
    "file.txt",
    "folder",
    "empty",
    "link",
    "dangling",
    "missing",
    "missing/below",
    "file.txt/",
    "file.txt/below",
    "",
    ".",
    "nul\0",
    b"file.txt",
    b"folder",
    b"missing",
    Path("file.txt"),
    Path("folder"),
    Path("missing"),
    "long" * 100,
    None,
    2.5,
    [],
    -1,
    99999,
]

READING: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]] = {
    "listdir": (lambda s, p: sorted(s.listdir(p)), lambda p: sorted(os.listdir(p))),
    "scandir": (lambda s, p: names(s.scandir(p)), lambda p: names(os.scandir(p))),
    "walk": (lambda s, p: list(s.walk(p)), lambda p: list(os.walk(p))),
    "glob": (lambda s, p: sorted(s.glob(p)), lambda p: sorted(glob.glob(p))),
    "iglob": (lambda s, p: type(s.iglob(p)), lambda p: type(glob.iglob(p))),
    "stat": (lambda s, p: s.stat(p), lambda p: os.stat(p)),
    "lstat": (lambda s, p: s.stat(p, follow_symlinks=False), lambda p: os.stat(p, follow_symlinks=False)),
    "exists": (lambda s, p: s.exists(p), os.path.exists),
    "path_exists": (lambda s, p: s.path_exists(p), os.path.exists),
    "isfile": (lambda s, p: s.isfile(p), os.path.isfile),
    "isdir": (lambda s, p: s.isdir(p), os.path.isdir),
    "getsize": (lambda s, p: s.getsize(p), os.path.getsize),
    "getmtime": (lambda s, p: s.getmtime(p), os.path.getmtime),
    "open": (lambda s, p: read(s.open(p)), lambda p: read(open(p))),
    "open-binary": (lambda s, p: read(s.open(p, "rb")), lambda p: read(open(p, "rb"))),
    "open-raw": (lambda s, p: read(s.open(p, "rb", 0)), lambda p: read(open(p, "rb", 0))),
    "join": (lambda s, p: s.join(p, "x"), lambda p: os.path.join(p, "x")),
    "join-absolute": (lambda s, p: s.join("a", p), lambda p: os.path.join("a", p)),
}


def read(file: Any) -> Any:
    with file:
        return type(file), file.mode, file.name, getattr(file, "encoding", None), file.read()


def outcome(step: Callable[[], Any]) -> Any:
    """What a call does, for comparison: its result, or its exception."""
    try:
        return step()
    except TypeError:
        return TypeError  # in the words of whichever function met it
    except Exception as error:
        return type(error), getattr(error, "errno", None), getattr(error, "filename", None), str(error)


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_reading_functions_do_what_the_builtin_does(here: Path, name: str, path: Any) -> None:
    ours, theirs = READING[name]
    found, expected = outcome(lambda: ours(storagekit, path)), outcome(lambda: theirs(path))
    assert found == expected
    assert type(found) is type(expected)


def _write(s: Any, p: Any, mode: str) -> Any:
    with s.open(p, mode) as file:
        file.write(b"new\n" if "b" in mode else "new\n")
        return type(file), file.mode, file.name


CHANGING: dict[str, Callable[[Any, Any], Any]] = {
    "mkdir": lambda s, p: s.mkdir(p),
    "mkdir-mode": lambda s, p: s.mkdir(p, 0o700),
    "makedirs": lambda s, p: s.makedirs(p),
    "makedirs-ok": lambda s, p: s.makedirs(p, exist_ok=True),
    "rmdir": lambda s, p: s.rmdir(p),
    "remove": lambda s, p: s.remove(p),
    "unlink": lambda s, p: s.unlink(p),
    "rmtree": lambda s, p: s.rmtree(p),
    "rmtree-ignoring": lambda s, p: s.rmtree(p, ignore_errors=True),
    "rename": lambda s, p: s.rename(p, "target"),
    "replace": lambda s, p: s.replace(p, "target"),
    "rename-onto": lambda s, p: s.rename("link", p),
    "replace-onto": lambda s, p: s.replace("folder", p),
    "copyfile": lambda s, p: s.copyfile(p, "target"),
    "copyfile-link": lambda s, p: s.copyfile(p, "target", follow_symlinks=False),
    "copyfile-onto": lambda s, p: s.copyfile("link", p),
    "copy": lambda s, p: s.copy(p, "empty"),
    "copy-onto": lambda s, p: s.copy("file.txt", p),
    "write": lambda s, p: _write(s, p, "w"),
    "write-binary": lambda s, p: _write(s, p, "wb"),
    "append": lambda s, p: _write(s, p, "a"),
    "update": lambda s, p: _write(s, p, "r+"),
    "exclusive": lambda s, p: _write(s, p, "x"),
    "wrong-mode": lambda s, p: s.open(p, "rw"),
    "unbuffered-text": lambda s, p: s.open(p, "r", 0),
}


class Builtins:
    """The namesakes under our names."""

    def __getattr__(self, name: str) -> Any:
        return NAMESAKES[name]


def tree(top: Path) -> dict[str, Any]:
    """Everything below *top*: kind, mode and content."""
    found: dict[str, Any] = {}
    for path in sorted(top.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(top))] = (_stat.S_IFMT(mode), _stat.S_IMODE(mode), content)
    return found


@pytest.mark.parametrize(
    "path", [path for path in PATHS if not isinstance(path, (int, float, list)) and path != "."], ids=repr
)
@pytest.mark.parametrize("name", CHANGING)
def test_changing_functions_do_what_the_builtin_does(
    here: Path, name: str, path: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = tmp_path_factory.mktemp("twin")
    shutil.copytree(here, twin, symlinks=True, dirs_exist_ok=True)
    expected = outcome(lambda: CHANGING[name](Builtins(), path))
    monkeypatch.chdir(twin)
    found = outcome(lambda: CHANGING[name](storagekit, path))
    assert found == expected
    assert tree(twin) == tree(here)


def test_touch_is_that_of_pathlib(here: Path) -> None:
    storagekit.touch("new", 0o600)
    assert _stat.S_IMODE(os.stat("new").st_mode) == 0o600
    os.utime("new", (0, 0))
    storagekit.touch(b"new")
    assert os.stat("new").st_mtime > 0
    with pytest.raises(FileExistsError):
        storagekit.touch(Path("new"), exist_ok=False)


def test_missing_ok_for_a_plain_path(here: Path) -> None:
    storagekit.remove("missing", missing_ok=True)
    storagekit.unlink("file.txt", missing_ok=True)
    assert not os.path.exists("file.txt")
    with pytest.raises(NotADirectoryError):
        storagekit.remove(".hidden/below", missing_ok=True)


def test_descriptors_of_directories_reach_the_builtin(here: Path) -> None:
    fd = os.open(here / "folder", os.O_RDONLY)
    try:
        assert storagekit.stat("deep", dir_fd=fd).st_ino == os.stat("folder/deep").st_ino
        storagekit.mkdir("made", dir_fd=fd)
        assert os.path.isdir("folder/made")
        storagekit.rename("made", "renamed", src_dir_fd=fd, dst_dir_fd=fd)
        storagekit.replace("renamed", "again", src_dir_fd=fd)
        storagekit.rmdir("again")
        storagekit.remove("deep/inner.txt", dir_fd=fd)
        assert storagekit.glob("*", dir_fd=fd) == ["deep"]
        storagekit.rmtree("deep", dir_fd=fd)
        assert storagekit.listdir(fd) == []
        with storagekit.scandir(fd) as entries:
            assert list(entries) == []
    finally:
        os.close(fd)


def test_a_descriptor_is_opened_as_by_the_builtin(here: Path) -> None:
    fd = os.open("file.txt", os.O_RDONLY)
    with storagekit.open(fd, "rb", closefd=False) as file:
        assert type(file) is io.BufferedReader
        assert file.name == fd
        assert file.read() == b"one\r\ntwo\n"
    assert storagekit.getsize(fd) == 9
    assert storagekit.isfile(fd)
    os.lseek(fd, 0, 0)
    with storagekit.open(fd) as text:
        assert text.read() == "one\ntwo\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_closefd_and_opener_reach_the_builtin(here: Path) -> None:
    with pytest.raises(ValueError, match="closefd"):
        storagekit.open("file.txt", closefd=False)
    seen = []

    def opener(path: str, flags: int) -> int:
        seen.append(path)
        return os.open(path, flags)

    storagekit.open("file.txt", opener=opener).close()
    assert seen == ["file.txt"]


def test_onerror_and_onexc_reach_shutil(here: Path) -> None:
    seen: list[Any] = []
    storagekit.rmtree("missing", onerror=lambda function, path, info: seen.append((path, info[0])))
    storagekit.rmtree("missing", onexc=lambda function, path, error: seen.append((path, type(error))))
    assert seen == [("missing", FileNotFoundError)] * 2


def test_a_working_directory_is_the_default(here: Path) -> None:
    assert sorted(storagekit.listdir()) == sorted(os.listdir())
    assert names(storagekit.scandir()) == names(os.scandir())


def test_compression_of_a_plain_path(here: Path) -> None:
    with storagekit.open("text.gz", "w", compression="infer", encoding="utf-8") as file:
        file.write("grüße\n")
    assert Path("text.gz").read_bytes()[:2] == b"\x1f\x8b"
    with storagekit.open(b"text.gz", compression="gzip", encoding="utf-8") as file:
        assert file.read() == "grüße\n"
    with storagekit.open("file.txt", "rb", compression="infer") as binary:
        assert type(binary) is io.BufferedReader
    with pytest.raises(InvalidArgumentError, match="zip"):
        storagekit.open("text.gz", compression="zip")


def test_options_to_plain_paths_are_refused_by_every_function(here: Path) -> None:
    one = ["open", "listdir", "scandir", "walk", "glob", "iglob", "stat", "exists", "path_exists", "isfile", "isdir"]
    one += ["getsize", "getmtime", "mkdir", "makedirs", "remove", "unlink", "rmdir", "touch", "rmtree"]
    before = tree(here)
    for name in one:
        with pytest.raises(InvalidArgumentError, match="options are for URLs"):
            getattr(storagekit, name)("folder", options={"profile": "x"})
    for name in ("rename", "replace", "copy", "copyfile"):
        with pytest.raises(InvalidArgumentError, match="options are for URLs"):
            getattr(storagekit, name)("file.txt", "target", options={"profile": "x"})
    assert tree(here) == before


# ---------------------------------------------------------------- URLs


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage() as made:
        for name in ("a/one", "a/two", "a/b/three"):
            with made.open(f"memory://box/{name}", "w") as file:
                file.write(name)
        yield made


class Named:
    def __init__(self, name: Any) -> None:
        self.name = name

    def __fspath__(self) -> Any:
        return self.name


def _bytes_path(text: str) -> Any:
    return Named(os.fsencode(text))


@pytest.mark.parametrize(
    ("kind", "same"),
    [(str, str), (os.fsencode, os.fsencode), (Named, str), (_bytes_path, os.fsencode)],
    ids=["str", "bytes", "PathLike[str]", "PathLike[bytes]"],
)
def test_results_come_in_the_type_of_the_url(storage: Storage, kind: Any, same: Any) -> None:
    top = kind("memory://box/a")
    assert storage.listdir(top) == [same(name) for name in ("b", "one", "two")]
    assert storage.glob(kind("memory://box/a/*e"))[:1] == [same("memory://box/a/one")]
    assert next(iter(storage.iglob(kind("memory://box/a/t*")))) == same("memory://box/a/two")
    assert storage.join(top, kind("x")) == same("memory://box/a/x")
    found = list(storage.walk(top))
    assert [names for _, names, _ in found] == [[same("b")], []]
    assert [files for _, _, files in found] == [[same("one"), same("two")], [same("three")]]
    assert os.fsencode(found[0][0]) == b"memory://box/a"
    assert storage.rmtree(top, dry_run=True) is not None
    assert storage.getsize(kind("memory://box/a/one")) == 5
    assert storage.isdir(top)
    assert not storage.isfile(top)
    assert storage.exists(kind("memory://box/a/one"))
    assert storage.stat(kind("memory://box/a/one")).st_size == 5
    copied = storage.copy(kind("memory://box/a/one"), kind("memory://box/a/b"))
    assert copied == same("memory://box/a/b/one")
    storage.rename(kind("memory://box/a/one"), kind("memory://box/a/new"))
    storage.remove(kind("memory://box/a/new"))
    with storage.open(kind("memory://box/a/new"), "wb") as file:
        file.write(b"data")
    with storage.open(kind("memory://box/a/new"), "rb") as file:
        assert file.read() == b"data"
    storage.rmtree(top)
    assert not storage.exists(top)


def test_walk_in_bytes_can_be_pruned(storage: Storage) -> None:
    for _, below, _ in storage.walk(b"memory://box/a"):
        assert below in ([b"b"], [])
        below.clear()
    seen = []
    for path, below, _ in storage.walk(b"memory://box/a"):
        seen.append(path)
        below.clear()
    assert seen == [b"memory://box/a"]


def test_names_that_are_no_utf_8_survive_in_bytes(storage: Storage) -> None:
    with storage.open(b"memory://box/odd/\xff\xfe", "wb") as file:
        file.write(b"x")
    assert storage.listdir(b"memory://box/odd") == [b"\xff\xfe"]
    assert storage.glob(b"memory://box/odd/*") == [b"memory://box/odd/\xff\xfe"]
    assert storage.getsize(b"memory://box/odd/\xff\xfe") == 1


def test_between_a_store_and_plain_paths(storage: Storage, tmp_path: Path) -> None:
    target = tmp_path / "local"
    assert storage.copyfile("memory://box/a/one", target) == target
    assert target.read_text() == "a/one"
    assert storage.copy(target, "memory://box/a/b") == "memory://box/a/b/local"
    assert storage.open("memory://box/a/b/local").read() == "a/one"
    with pytest.raises(OSError, match="move"):
        storage.rename(target, "memory://box/new")
    with pytest.raises(OSError, match="move"):
        storage.replace("memory://box/a/one", tmp_path / "new")
    assert storage.exists("memory://box/a/one")
    assert target.exists()


@pytest.mark.parametrize(
    "name", ["listdir", "stat", "exists", "isfile", "getsize", "open", "remove", "rmtree", "touch"]
)
def test_an_embedded_nul_is_refused_in_a_url(storage: Storage, name: str) -> None:
    for url in ("memory://box/a\0b", b"memory://box/a\0b"):
        with pytest.raises(InvalidArgumentError, match="null"):
            getattr(storage, name)(url)


def test_what_only_local_paths_have_is_passed_over_for_a_url(storage: Storage) -> None:
    assert storage.stat("memory://box/a/one", dir_fd=99, follow_symlinks=False).st_size == 5
    storage.rename("memory://box/a/one", "memory://box/a/new", src_dir_fd=99, dst_dir_fd=99)
    storage.remove("memory://box/a/new", dir_fd=99)


def test_unlink_and_path_exists_are_other_names(storage: Storage) -> None:
    assert storage.path_exists("memory://box/a/one")
    storage.unlink("memory://box/a/one")
    assert not storage.path_exists("memory://box/a/one")
    with pytest.raises(FileNotFoundError):
        storage.unlink("memory://box/a/one")
    storage.unlink("memory://box/a/one", missing_ok=True)


def test_traits_are_those_of_the_driver(storage: Storage) -> None:
    assert storage.traits("memory://box").implicit_directories
    assert storage.traits("file:///tmp").atomic_rename


def test_a_pathlib_path_that_was_a_url_is_refused_everywhere(storage: Storage) -> None:
    url: Any = pathlib.Path("memory://box/a/one")
    for name in ("open", "listdir", "scandir", "walk", "glob", "iglob", "stat", "exists", "isfile", "isdir", "getsize"):
        with pytest.raises(InvalidArgumentError, match="pathlib"):
            getattr(storage, name)(url)
    for name in ("mkdir", "makedirs", "remove", "rmdir", "touch", "rmtree", "getmtime", "unlink"):
        with pytest.raises(InvalidArgumentError, match="pathlib"):
            getattr(storage, name)(url)
    for name in ("rename", "replace", "copy", "copyfile"):
        with pytest.raises(InvalidArgumentError, match="pathlib"):
            getattr(storage, name)("memory://box/a/two", url)


def test_many_threads_use_one_storage(storage: Storage) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> bytes:
        url = f"memory://threads/{number}"
        with storage.open(url, "wb") as file:
            file.write(b"%d" % number * 100_000)
        data: bytes = storage.open(url, "rb").read()
        return data

    with ThreadPoolExecutor(32) as pool:
        for number, data in enumerate(pool.map(work, range(64))):
            assert data == b"%d" % number * 100_000
    assert len(storage.listdir("memory://threads")) == 64


def test_the_older_names_take_the_text_arguments_too(tmp_path: Path) -> None:
    for url in ("memory://older/key", str(tmp_path / "key")):
        with s3filestream.open(url, "w", newline="\r\n", encoding="latin-1", errors="replace") as file:
            file.write("a\n\u2028\xfc")
            file.write(b"\n\xff")
        with storagekit.open(url, "rb") as binary:
            assert binary.read() == b"a\r\n?\xfc\n\xff"
        with pytest.raises(LookupError):
            s3filestream.open(url, "w", encoding="no-such-encoding")
        gc.collect()  # what was opened is closed, or it would warn here


def test_arguments_of_the_wrong_type_are_type_errors(tmp_path: Path) -> None:
    storage = storagekit.Storage()
    storage.touch("memory://box/key")
    for call in (
        lambda: storage.open("memory://box/key", "rb", 1.0),  # type: ignore[call-overload]
        lambda: storage.open("memory://box/key", "rb", "0"),  # type: ignore[call-overload]
        lambda: storage.join("memory://box", b"key"),  # type: ignore[type-var]
        lambda: storage.glob("*", root_dir=b"memory://box"),
        lambda: storage.exists("memory://box/key", options="x"),  # type: ignore[arg-type]
        lambda: storage.exists("memory://box/key", options=[("a", 1)]),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(LookupError):
        storage.open("memory://box/key", encoding="")


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "rb", "encoding": "utf-8"},
        {"mode": "rb", "closefd": False},
        {"mode": "rb", "opener": os.open},
        {"mode": "rt", "buffering": 0},
        {"file": 0, "mode": "rb"},
    ],
    ids=repr,
)
def test_a_compressed_local_path_refuses_what_does_not_fit(arguments: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    with storagekit.open(path, "wb", compression="gzip") as file:
        file.write(b"data")
    with pytest.raises(ValueError, match=r"\S"):
        storagekit.open(**{"file": path, **arguments}, compression="gzip")


# ---------------------------------------------------------------- URLs for others, and what a handle says of itself


def test_presigned_urls() -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "region_name": "r"}
    options |= {"aws_access_key_id": "id", "aws_secret_access_key": "hunter2"}
    with Storage(options={"s3": options}) as storage:
        for method in ("GET", "PUT"):
            url = storage.presign("s3://box/a key", method, expires=60)
            assert url.startswith("http://127.0.0.1:9/box/a%20key?")
            assert "X-Amz-Expires=60" in url
            assert "hunter2" not in url
        with pytest.raises(InvalidArgumentError, match="DELETE"):
            storage.presign("s3://box/key", "DELETE")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="integer"):
            storage.presign("s3://box/key", expires="soon")  # type: ignore[arg-type]
        with pytest.raises(io.UnsupportedOperation, match="presign"):
            storage.presign("memory://box/key")
        with pytest.raises(InvalidArgumentError, match="plain local path"):
            storage.presign("file.txt")


@pytest.mark.parametrize("mode", ["wb", "w", "r+b", "a", "w+"])
def test_a_writer_says_what_and_in_which_state(storage: Storage, mode: str) -> None:
    url = "memory://box/repr"
    storage.touch(url)
    file: Any = storage.open(url, mode)
    assert f"{url!r} open>" in repr(file)
    file.close()
    assert f"{url!r} published>" in repr(file)
    file = storage.open(url, mode)
    file.discard()
    assert f"{url!r} discarded>" in repr(file)
    if "b" not in mode:
        file = storage.open(url, mode)
        binary = file.detach()
        assert repr(file) == "<TextWriter detached>"
        assert f"{url!r} open>" in repr(binary)
        binary.close()


def test_a_reader_says_what_and_in_which_state(storage: Storage) -> None:
    url = "memory://box/repr"
    storage.touch(url)
    file = storage.open(url, "rb")
    assert repr(file) == f"<BufferedReader {url!r} open>"
    file.close()
    assert repr(file) == f"<BufferedReader {url!r} closed>"


# ---------------------------------------------------------------- uploads


class Leftovers:
    """A wrapper whose store has three unfinished uploads: an old one, a new one, and one without a time."""

    def __init__(self) -> None:
        now = time.time_ns()
        times = {"old": now - 7200 * 10**9, "new": now, "unknown": None}
        self.found = [Upload(Location("memory", "box", name), name, at) for name, at in times.items()]
        self.aborted: list[str] = []

    @hookimpl(wrapper=True)
    def uploads(self) -> Generator[None, Any, Any]:
        try:
            yield
        except io.UnsupportedOperation:
            pass
        return iter(self.found)

    @hookimpl(wrapper=True)
    def abort_upload(self, upload: Upload) -> Generator[None, Any, Any]:
        try:
            yield
        except io.UnsupportedOperation:
            pass
        self.aborted.append(upload.upload_id)
        return True


def test_what_only_begins_alike_is_not_below() -> None:
    store = Leftovers()
    with Storage(wrappers=[store]) as storage:
        assert [upload.upload_id for upload in storage.uploads("memory://box/ol")] == []
        assert [upload.upload_id for upload in storage.uploads("memory://box/old")] == ["old"]
        assert storage.abort_uploads("memory://box/ol", older_than=0) == []
        assert store.aborted == []


def test_only_uploads_that_are_known_to_be_old_are_aborted() -> None:
    store = Leftovers()
    with Storage(wrappers=[store]) as storage:
        assert [upload.upload_id for upload in storage.abort_uploads("memory://box", older_than=3600)] == ["old"]
        assert store.aborted == ["old"]
        for wrong in (-1, float("nan"), "a week"):
            with pytest.raises(InvalidArgumentError, match="older_than"):
                storage.abort_uploads("memory://box", older_than=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError):
            storage.abort_uploads("/tmp", older_than=1)


WRONG_ENVIRONMENT = """
import pickle, sys
import storagekit
assert storagekit.isdir(sys.argv[1]) and storagekit.listdir(sys.argv[1]) == []
assert pickle.loads(pickle.dumps(storagekit.storage.default)) is storagekit.storage.default
for path in ("memory://box/key", b"memory://box/key"):
    for function in (storagekit.exists, storagekit.open, storagekit.listdir):
        try:
            function(path)
        except storagekit.InvalidArgumentError as error:
            assert error.filename == "STORAGEKIT_THREADS" and "whole number" in str(error)
        else:
            raise AssertionError(function)
with storagekit.Storage() as storage:
    storage.touch("memory://box/key")
"""


def test_a_wrong_environment_is_said_at_the_first_use_of_a_url(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WRONG_ENVIRONMENT, str(tmp_path)],
        env={**os.environ, "STORAGEKIT_THREADS": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
