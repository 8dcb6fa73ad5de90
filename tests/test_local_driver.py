"""The local driver, through its hooks, on real files."""

from __future__ import annotations

import errno
import io
import mmap
import os
import pickle
import shutil
import signal
import stat as _stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storagekit
from storagekit.driver import Absent, Condition, Matches, ObjectWriter, Stat, Upload
from storagekit.errors import InvalidArgumentError, ObjectChangedError
from storagekit.location import Location
from storagekit_local import writing as local_writing
from storagekit_local.driver import LocalDriver
from storagekit_local.paths import parse_file_url
from storagekit_local.writing import COPY_SIZES, PART_SIZE, is_partial


@pytest.fixture
def driver() -> LocalDriver:
    return LocalDriver()


def at(path: Path | str) -> Location:
    return Location("file", "", str(path).removeprefix("/"))


def begin(path: Path | str, condition: Condition = None) -> ObjectWriter:
    return LocalDriver().open_write(at(path), condition)


def put(path: Path | str, data: bytes, condition: Condition = None) -> Stat:
    writer = begin(path, condition)
    try:
        return writer.put([data])
    except BaseException:
        writer.abort()
        raise


def names(path: Path, *, recursive: bool = False, limit: int | None = None, after: str = "") -> list[str]:
    """What is listed, relative to *path*."""
    top = at(path).prefix
    entries = LocalDriver().entries(at(path), recursive, limit, top + after if after else "")
    return [stat.location.path.removeprefix(top) for stat in entries]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """After every test: no hidden file, and no descriptor more than before."""
    counting = os.path.isdir("/proc/self/fd")
    before = len(os.listdir("/proc/self/fd")) if counting else 0
    yield
    assert [name for _, _, files in os.walk(tmp_path) for name in files if is_partial(name)] == []
    if counting:
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def restricted(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody to whom permissions apply: root gives up its rights for the test."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, which only root may enter
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


# URLs


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///tmp/x", "tmp/x"),
        ("file://localhost/tmp/x", "tmp/x"),
        ("FILE:///tmp/", "tmp/"),
        ("file:///", ""),
        ("file://", ""),
        ("file://localhost", ""),
        ("file:///a%20b?c#d", "a%20b?c#d"),
        ("file:////x", "/x"),
    ],
)
def test_parse(driver: LocalDriver, url: str, path: str) -> None:
    location = driver.parse(url)
    assert location == Location("file", "", path)
    assert driver.parse(location.url) == location


@pytest.mark.parametrize("url", ["file://tmp/x", "file://host", "file:///a\0b", "/tmp/x"])
def test_parse_refuses(driver: LocalDriver, url: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        driver.parse(url)
    assert caught.value.filename == url


def test_the_root_is_a_directory(driver: LocalDriver) -> None:
    root = parse_file_url("file://")
    assert driver.stat(root).is_directory
    assert "tmp/" in [stat.location.path for stat in driver.entries(root, False, None, "")]
    with pytest.raises(IsADirectoryError):
        driver.open_write(root, None)


def test_names_that_are_no_text(driver: LocalDriver, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe"
    try:
        with open(raw, "wb"):
            pass
    except OSError:
        pytest.skip("the file system takes only text as names")
    (name,) = names(tmp_path)
    assert os.fsencode(name) == b"\xff\xfe"
    assert put(tmp_path / name, b"x").size == 1
    with driver.open_file(at(tmp_path / name), "rb", -1) as file:
        assert file.read() == b"x"


# errors


@pytest.mark.parametrize("hook", ["open_file", "open_read", "stat", "list", "open_write", "delete", "copy", "touch"])
def test_errors_are_the_systems_with_the_url_as_filename(driver: LocalDriver, tmp_path: Path, hook: str) -> None:
    (tmp_path / "file").touch()
    here = at(tmp_path / "file" / "below")
    calls = {
        "open_file": lambda: driver.open_file(here, "rb", -1),
        "open_read": lambda: driver.open_read(here, 0),
        "stat": lambda: driver.stat(here),
        "list": lambda: driver.entries(here, False, None, ""),
        "open_write": lambda: driver.open_write(here, None),
        "delete": lambda: driver.delete(here, None),
        "copy": lambda: driver.copy(Stat(here), at(tmp_path / "x"), None),
        "touch": lambda: driver.touch(Stat(here)),
    }
    with pytest.raises(NotADirectoryError) as caught:
        calls[hook]()  # type: ignore[no-untyped-call]
    assert (caught.value.errno, caught.value.filename) == (errno.ENOTDIR, here.url)
    assert isinstance(caught.value.__cause__, NotADirectoryError)
    assert pickle.loads(pickle.dumps(caught.value)).filename == here.url


@pytest.mark.parametrize("name", ["none", "none/", "none/below"])
def test_missing(driver: LocalDriver, tmp_path: Path, name: str) -> None:
    here = Location("file", "", at(tmp_path).prefix + name)
    for call in (
        lambda: driver.open_file(here, "rb", -1),
        lambda: driver.open_read(here, 0),
        lambda: driver.stat(here),
        lambda: driver.entries(here, False, None, ""),
        lambda: driver.entries(here, True, None, ""),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.filename == here.url
    assert driver.delete(here, None) is True


@pytest.mark.parametrize("slash", ["", "/"])
def test_directories_are_no_files(driver: LocalDriver, tmp_path: Path, slash: str) -> None:
    here = Location("file", "", at(tmp_path).path + slash)
    for call in (
        lambda: driver.open_file(here, "rb", -1),
        lambda: driver.open_read(here, 0),
        lambda: driver.open_write(here, None),
    ):
        with pytest.raises(IsADirectoryError) as caught:
            call()
        assert caught.value.filename == here.url


def test_a_file_with_a_slash_is_no_file(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    here = Location("file", "", at(tmp_path / "f").path + "/")
    for call in (
        lambda: driver.open_file(here, "rb", -1),
        lambda: driver.open_read(here, 0),
        lambda: driver.open_write(here, None),
        lambda: driver.open_write(here, Absent()),
        lambda: driver.stat(here),
        lambda: driver.delete(here, None),
        lambda: driver.entries(here, False, None, ""),
    ):
        with pytest.raises(NotADirectoryError):
            call()


# reading


def test_open_file_is_the_builtins(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    with driver.open_file(at(tmp_path / "f"), "rb", -1) as file:
        assert type(file) is io.BufferedReader
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:] == b"hello"
    with driver.open_file(at(tmp_path / "f"), "rb", 0) as file:
        assert type(file) is io.FileIO


def test_open_read_reads_ranges(driver: LocalDriver, tmp_path: Path) -> None:
    data = os.urandom(10_000)
    (tmp_path / "f").write_bytes(data)
    reader = driver.open_read(at(tmp_path / "f"), 10)
    assert reader.head == data[:10]
    assert reader.cache_key is None
    assert reader.stat == driver.stat(at(tmp_path / "f"))
    buffer = bytearray(4000)
    body = reader.open_range(5000, 6000)
    assert body.readinto(memoryview(buffer)) == 1000
    assert buffer[:1000] == data[5000:6000]
    assert body.readinto(memoryview(buffer)) == 0
    body.close()
    body.close()
    assert body.readinto(memoryview(buffer)) == 0
    reader.close()
    reader.close()


def test_a_range_goes_on_when_its_reader_is_closed(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"mine")
    (tmp_path / "g").write_bytes(b"your")
    reader = driver.open_read(at(tmp_path / "f"), 0)
    body = reader.open_range(0, 4)
    reader.close()
    with open(tmp_path / "g", "rb"):  # takes the number of the closed descriptor
        buffer = bytearray(4)
        assert body.readinto(memoryview(buffer)) == 4
    assert buffer == b"mine"
    body.close()
    with pytest.raises(ValueError, match="closed"):
        reader.open_range(0, 4)


def test_a_replaced_file_is_read_on_and_a_changed_one_is_noticed(driver: LocalDriver, tmp_path: Path) -> None:
    put(tmp_path / "f", b"first")
    reader = driver.open_read(at(tmp_path / "f"), 0)
    put(tmp_path / "f", b"second")
    body = reader.open_range(0, 5)
    buffer = bytearray(5)
    assert body.readinto(memoryview(buffer)) == 5
    assert buffer == b"first"
    body.close()
    reader.close()
    reader = driver.open_read(at(tmp_path / "f"), 0)
    with open(tmp_path / "f", "ab") as file:
        file.write(b"!")
    with pytest.raises(ObjectChangedError) as caught:
        reader.open_range(0, 5)
    assert caught.value.filename == at(tmp_path / "f").url
    reader.close()


def test_open_read_without_preadv(driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    (tmp_path / "f").write_bytes(b"hello")
    reader = driver.open_read(at(tmp_path / "f"), 0)
    body = reader.open_range(1, 4)
    buffer = bytearray(5)
    assert body.readinto(memoryview(buffer)) == 3
    assert buffer[:3] == b"ell"
    body.close()
    reader.close()


def test_open_read_refuses_what_has_no_ranges(driver: LocalDriver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(io.UnsupportedOperation, match="open"):
        driver.open_read(at(tmp_path / "fifo"), 0)


# writing


def test_put_publishes_at_once(driver: LocalDriver, tmp_path: Path) -> None:
    stat = put(tmp_path / "f", b"hello")
    assert (tmp_path / "f").read_bytes() == b"hello"
    assert stat == driver.stat(at(tmp_path / "f"))
    assert stat.size == 5
    put(tmp_path / "empty", b"")
    assert (tmp_path / "empty").stat().st_size == 0


def test_parts_in_any_order(tmp_path: Path) -> None:
    data = os.urandom(PART_SIZE * 3 + 5)
    writer = begin(tmp_path / "f")
    assert not writer.ordered
    with ThreadPoolExecutor(4) as pool:
        offsets = range(0, len(data), PART_SIZE)
        list(
            pool.map(
                lambda at: writer.write_part(
                    at // PART_SIZE + 1, at, [data[at : at + 7], data[at + 7 : at + PART_SIZE]]
                ),
                reversed(offsets),
            )
        )
    assert names(tmp_path) == []
    writer.commit()
    assert (tmp_path / "f").read_bytes() == data


def test_nothing_is_visible_before_and_the_hidden_file_is_not_listed(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    writer = begin(tmp_path / "f")
    writer.write_part(1, 0, [b"new"])
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    assert names(tmp_path) == names(tmp_path, recursive=True) == ["f"]
    writer.abort()
    writer.abort()
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_aborting_after_a_success_does_nothing(tmp_path: Path) -> None:
    writer = begin(tmp_path / "f")
    writer.put([b"new"])
    writer.abort()
    assert (tmp_path / "f").read_bytes() == b"new"


def test_an_aborted_writer_takes_no_more(tmp_path: Path) -> None:
    writer = begin(tmp_path / "f")
    writer.abort()
    with pytest.raises(ValueError, match="closed"):
        writer.write_part(1, 0, [b"x"])
    with pytest.raises(ValueError, match="closed"):
        writer.commit()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(tmp_path / "f", b"x")
        put(tmp_path / "x", b"x", Absent())
    finally:
        os.umask(before)
    for name in ("f", "x"):
        assert _stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o666])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(mode)
    writer = begin(tmp_path / "f")
    (partial,) = [name for name in os.listdir(tmp_path) if is_partial(name)]
    assert _stat.S_IMODE((tmp_path / partial).stat().st_mode) == mode
    writer.put([b"new"])
    assert _stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    os.chown(tmp_path / "f", 12345, 54321)
    put(tmp_path / "f", b"new")
    found = (tmp_path / "f").stat()
    assert (found.st_uid, found.st_gid) == (12345, 54321)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/f")
    (tmp_path / "dir").symlink_to("real")
    (tmp_path / "chain").symlink_to("link")
    for name in ("link", "dir/f", "chain"):
        put(tmp_path / name, name.encode())
        assert (tmp_path / "real" / "f").read_bytes() == name.encode()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "chain").is_symlink()


def test_a_link_that_leads_nowhere_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    put(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_bytes() == b"x"
    (tmp_path / "far").symlink_to("none/new")
    with pytest.raises(FileNotFoundError):
        begin(tmp_path / "far")
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match=r"symbolic links|") as caught:
        begin(tmp_path / "round")
    assert caught.value.errno == errno.ELOOP


def test_a_missing_folder_is_not_stepped_over(tmp_path: Path) -> None:
    for condition in (None, Absent()):
        with pytest.raises(FileNotFoundError):
            begin(f"{tmp_path}/none/../f", condition)
        with pytest.raises(FileNotFoundError):
            begin(tmp_path / "none" / "f", condition)
    assert os.listdir(tmp_path) == []


def test_the_system_resolves_dots_and_doubled_slashes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    put(f"{tmp_path}/a/../b", b"1")
    put(f"{tmp_path}//a/.//c", b"2")
    assert names(tmp_path, recursive=True) == ["a/c", "b"]
    for name in ("a/.", "a/.."):
        with pytest.raises(IsADirectoryError):
            begin(f"{tmp_path}/{name}")


def test_an_unwritable_folder_shows_at_the_opening(restricted: Path) -> None:
    (restricted / "f").write_bytes(b"x")
    restricted.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as caught:
            begin(restricted / "f")
    finally:
        restricted.chmod(0o700)
    assert caught.value.filename == at(restricted / "f").url


def test_a_write_protected_file_stays_as_it_is(restricted: Path) -> None:
    (restricted / "f").write_bytes(b"x")
    (restricted / "f").chmod(0o444)
    with pytest.raises(PermissionError):
        begin(restricted / "f")


def test_a_folder_that_goes_away_fails_the_commit(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    writer = begin(tmp_path / "a" / "f")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(FileNotFoundError) as caught:
        writer.put([b"x"])
    assert caught.value.filename == at(tmp_path / "a" / "f").url
    (tmp_path / "b").rename(tmp_path / "a")
    writer.abort()
    assert os.listdir(tmp_path / "a") == []


def test_a_directory_that_appears_fails_the_commit(tmp_path: Path) -> None:
    writer = begin(tmp_path / "f")
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError):
        writer.put([b"x"])
    writer.abort()


# conditions


def test_absent(tmp_path: Path) -> None:
    assert put(tmp_path / "f", b"one", Absent()).size == 3
    with pytest.raises(FileExistsError) as caught:
        put(tmp_path / "f", b"two", Absent())
    assert caught.value.filename == at(tmp_path / "f").url
    assert (tmp_path / "f").read_bytes() == b"one"
    assert os.stat(tmp_path / "f").st_nlink == 1


def test_absent_stops_at_links_and_directories(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "dir").mkdir()
    for name in ("link", "dir"):
        with pytest.raises(FileExistsError):
            put(tmp_path / name, b"x", Absent())
    assert names(tmp_path) == ["dir/", "link"]


def test_of_eight_racing_writers_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def write(n: int) -> int | None:
        writer = begin(tmp_path / "f", Absent())
        start.wait()
        try:
            writer.put([bytes([n])])
        except FileExistsError:
            writer.abort()
            return None
        return n

    with ThreadPoolExecutor(8) as pool:
        winners = [n for n in pool.map(write, range(8)) if n is not None]
    assert len(winners) == 1
    assert (tmp_path / "f").read_bytes() == bytes(winners)


def test_without_hard_links_the_exclusive_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="hard links") as caught:
        put(tmp_path / "f", b"x", Absent())
    assert (caught.value.errno, caught.value.filename) == (errno.ENOTSUP, at(tmp_path / "f").url)


def test_matches(driver: LocalDriver, tmp_path: Path) -> None:
    path = tmp_path / "f"
    old = Matches(put(path, b"old").identity or "")
    writer = begin(path, old)
    put(path, b"theirs")
    with pytest.raises(ObjectChangedError):
        writer.put([b"mine"])
    writer.abort()
    new = Matches(driver.stat(at(path)).identity or "")
    begin(path, new).put([b"mine"])
    assert path.read_bytes() == b"mine"
    writer = begin(path, Matches(driver.stat(at(path)).identity or ""))
    path.unlink()
    with pytest.raises(ObjectChangedError):
        writer.put([b"mine"])
    writer.abort()
    assert os.listdir(tmp_path) == []


def test_a_removal_under_a_condition_is_refused(driver: LocalDriver, tmp_path: Path) -> None:
    stat = put(tmp_path / "f", b"x")
    with pytest.raises(io.UnsupportedOperation):
        driver.delete(stat.location, Matches(stat.identity or ""))
    assert driver.traits().conditional_replace
    assert not driver.traits().conditional_delete


def test_an_edit_copies_in_the_kernel_what_stays(driver: LocalDriver, tmp_path: Path) -> None:
    stat = put(tmp_path / "f", b"0123456789")
    (tmp_path / "f").chmod(0o640)
    writer = driver.open_edit(at(tmp_path / "f"), driver.stat(at(tmp_path / "f")))
    assert writer.copies is not None
    writer.copy_part(1, 0, 2, 6)
    writer.write_part(2, 4, [b"end"])
    writer.commit()
    assert (tmp_path / "f").read_bytes() == b"2345end"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
    writer = driver.open_edit(at(tmp_path / "f"), stat)
    with pytest.raises(ObjectChangedError):
        writer.copy_part(1, 0, 0, 1)
    writer.abort()
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_copies_nothing(
    driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked = []

    def refuse(*arguments: object) -> int:
        asked.append(arguments)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    data = os.urandom(COPY_SIZES[0] + 10)
    (tmp_path / "f").write_bytes(data)
    with storagekit.open((tmp_path / "f").as_uri(), "ab") as file:
        file.write(b"!")
    assert (tmp_path / "f").read_bytes() == data + b"!"
    assert len(asked) == 1, "asked once, and then no more"


def test_a_disk_that_is_full_is_an_error_about_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    data = bytes(COPY_SIZES[0] + 10)
    (tmp_path / "f").write_bytes(data)
    url = (tmp_path / "f").as_uri()
    file = storagekit.open(url, "ab")
    file.write(b"!")
    with pytest.raises(OSError) as caught:
        file.close()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, url)
    assert (tmp_path / "f").read_bytes() == data
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("mode", ["a", "ab", "a+b", "w", "w+b"])
@pytest.mark.parametrize("chain", [("new",), ("dir/new",), ("next", "new")])
def test_through_a_link_that_leads_nowhere_a_file_is_made(tmp_path: Path, mode: str, chain: tuple[str, ...]) -> None:
    (tmp_path / "dir").mkdir()
    for name, target in zip(("link", *chain[:-1]), chain, strict=True):
        (tmp_path / name).symlink_to(target)
    with storagekit.open((tmp_path / "link").as_uri(), mode) as file:
        file.write(b"data" if "b" in mode else "data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / chain[-1]).read_bytes() == b"data"


def test_a_link_that_leads_nowhere_in_the_other_modes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    url = (tmp_path / "link").as_uri()
    with pytest.raises(FileNotFoundError):
        storagekit.open(url, "r+b")
    with pytest.raises(FileExistsError), storagekit.open(url, "xb") as file:
        file.write(b"data")
    file = storagekit.open(url, "ab")
    file.write(b"mine")
    (tmp_path / "new").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):  # what was absent at the opening is not any more
        file.close()
    assert (tmp_path / "new").read_bytes() == b"theirs"


# what is no regular file


def test_dev_null(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "null"):
        put(path, b"x" * 100)
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    writer = begin("/dev/null")
    assert writer.ordered
    writer.abort()
    writer.abort()


def test_a_fifo_is_written_straight(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = os.urandom(200_000)  # more than a pipe holds
    received = []

    def read() -> None:
        with open(tmp_path / "fifo", "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    writer = begin(tmp_path / "fifo")
    writer.write_part(1, 0, [data[:5], data[5:100_000]])
    writer.write_part(2, 100_000, [data[100_000:]])
    writer.commit()
    reader.join()
    assert received == [data]
    assert _stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


@pytest.mark.parametrize("mode", ["a", "ab", "r+", "r+b", "a+b", "w+b"])
def test_what_is_no_regular_file_is_written_straight_in_every_mode(tmp_path: Path, mode: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    for url in ("file:///dev/null", (tmp_path / "pipe").as_uri()):
        with storagekit.open(url, mode) as file:
            assert file.write(b"data" if "b" in mode else "data") == 4
    reader.join()
    assert received == [b"data"]
    assert _stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert _stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_device_that_is_full_is_said_in_every_mode(mode: str) -> None:
    file = storagekit.open("file:///dev/full", mode)
    file.write(b"x")
    with pytest.raises(OSError) as caught:
        file.close()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "file:///dev/full")


def test_to_append_takes_no_permission_to_read(restricted: Path) -> None:
    path, url = restricted / "log", (restricted / "log").as_uri()
    path.write_bytes(b"one\n")
    path.chmod(0o200)
    inode = path.stat().st_ino
    with storagekit.open(url, "a") as text:
        text.write("two\n")
    with storagekit.open(url, "ab") as file:
        file.write(b"three\n")
    with pytest.raises(ZeroDivisionError), storagekit.open(url, "ab") as file:
        file.write(b"never\n")
        raise ZeroDivisionError
    for mode in ("a+b", "r+b", "rb"):
        with pytest.raises(PermissionError) as caught:
            storagekit.open(url, mode)
        assert caught.value.filename == url
    with pytest.raises(PermissionError):  # which nobody can tell
        storagekit.open(url, "ab", if_match="some")
    assert path.stat().st_ino == inode, "written in place"
    path.chmod(0o600)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    path.chmod(0o000)
    with pytest.raises(PermissionError):
        storagekit.open(url, "ab")


def test_a_regular_file_is_never_written_in_place(driver: LocalDriver, tmp_path: Path) -> None:
    put(tmp_path / "f", b"x")
    for appending in (True, False):
        with pytest.raises(io.UnsupportedOperation):
            driver.open_in_place(at(tmp_path / "f"), appending)
    with pytest.raises(IsADirectoryError):
        driver.open_in_place(at(tmp_path), True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_said(driver: LocalDriver, tmp_path: Path) -> None:
    writer = begin("/dev/full")
    with pytest.raises(OSError, match="space") as caught:
        writer.put([b"x"])
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "file:///dev/full")
    writer.abort()
    with pytest.raises(OSError, match="space"):
        driver.copy(put(tmp_path / "f", b"x"), at("/dev/full"), None)


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, offset: real(fd, view[:3], offset))
    writer = begin(tmp_path / "f")
    writer.write_part(1, 0, [b"abcdefgh", memoryview(b"ijkl").cast("I")])
    writer.commit()
    assert (tmp_path / "f").read_bytes() == b"abcdefghijkl"


def test_a_disk_that_fills_up_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def full(fd: int, view: memoryview, offset: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, view[:2], offset)

    monkeypatch.setattr(os, "pwrite", full)
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(OSError, match="space") as caught:
        put(tmp_path / "f", b"new data")
    assert caught.value.filename == at(tmp_path / "f").url
    assert (tmp_path / "f").read_bytes() == b"old"


# stat and listing


def test_stat(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "link").symlink_to("f")
    real = os.stat(tmp_path / "f")
    for name in ("f", "link"):
        stat = driver.stat(at(tmp_path / name))
        assert (stat.kind, stat.st_size, stat.st_mtime_ns, stat.st_mode) == ("file", 5, real.st_mtime_ns, real.st_mode)
        assert (stat.extra["uid"], stat.extra["gid"]) == (real.st_uid, real.st_gid)
        assert stat.identity
    directory = driver.stat(at(tmp_path))
    assert directory.is_directory
    assert _stat.S_ISDIR(directory.st_mode)


def test_the_identity_changes_with_the_content(tmp_path: Path) -> None:
    assert len({put(tmp_path / "f", b"one").identity, put(tmp_path / "f", b"two").identity}) == 2


def test_a_rewrite_is_another_version_whatever_the_clock_says(driver: LocalDriver, tmp_path: Path) -> None:
    before = put(tmp_path / "f", b"old")
    put(tmp_path / "f", b"new")
    os.utime(tmp_path / "f", ns=(before.modified_ns or 0, before.modified_ns or 0))  # within one tick
    after = driver.stat(at(tmp_path / "f"))
    assert (after.size, after.modified_ns) == (before.size, before.modified_ns)
    assert after.identity != before.identity
    (tmp_path / "f").chmod(0o600)
    (tmp_path / "f").rename(tmp_path / "g")
    assert driver.stat(at(tmp_path / "g")).identity == after.identity


def test_listing(driver: LocalDriver, tmp_path: Path) -> None:
    for name in ("a.txt", "a0", "b/c/d", "a/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["a.txt", "a/", "a0", "b/", "empty/"]
    assert names(tmp_path, recursive=True) == ["a.txt", "a/x", "a0", "b/c/d"]
    assert names(tmp_path / "empty") == names(tmp_path / "empty", recursive=True) == []
    for stat in driver.entries(at(tmp_path), False, None, ""):
        assert stat == driver.stat(stat.location)
        assert stat.is_directory == stat.location.path.endswith("/")


def test_listing_a_file(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for recursive in (False, True):
        with pytest.raises(NotADirectoryError):
            driver.entries(at(tmp_path / "f"), recursive, None, "")


def test_links_in_listings(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"123")
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "to_dir").symlink_to("d")
    (tmp_path / "to_file").symlink_to("d/f")
    (tmp_path / "d" / "up").symlink_to("..")
    assert names(tmp_path) == ["d/", "dangling", "to_dir/", "to_file"]
    assert names(tmp_path, recursive=True) == ["d/f", "dangling", "to_file"]
    stats = {stat.location.name: stat for stat in driver.entries(at(tmp_path), False, None, "")}
    assert [name for name, stat in stats.items() if stat.extra.get("symlink")] == ["dangling", "to_dir", "to_file"]
    assert (stats["to_file"].size, stats["dangling"].size, stats["dangling"].kind) == (3, None, "file")
    assert stats["to_dir"].is_directory


def test_what_goes_away_meanwhile_is_passed_over(driver: LocalDriver, tmp_path: Path) -> None:
    for name in ("a/1", "b/1", "c/1"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    entries = driver.entries(at(tmp_path), True, None, "")
    assert next(entries).location.path.endswith("a/1")
    (tmp_path / "b" / "1").unlink()
    (tmp_path / "b").rmdir()
    assert [stat.location.name for stat in entries] == ["1"]


def test_a_folder_that_may_not_be_read_is_an_error_not_a_gap(driver: LocalDriver, restricted: Path) -> None:
    (restricted / "closed").mkdir(mode=0)
    try:
        with pytest.raises(PermissionError) as caught:
            list(driver.entries(at(restricted), True, None, ""))
        assert caught.value.filename == at(restricted / "closed").directory.url
    finally:
        (restricted / "closed").chmod(0o700)


TREES = st.sets(st.text("ab.0", min_size=1, max_size=3).filter(lambda name: name.strip(".")), max_size=6)


@settings(deadline=None, max_examples=30)
@given(TREES, TREES, st.booleans(), st.one_of(st.none(), st.integers(1, 4)), st.text("ab.0/", max_size=4))
def test_listing_agrees_with_a_sorted_walk(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[str],
    folders: set[str],
    recursive: bool,
    limit: int | None,
    after: str,
) -> None:
    top = tmp_path_factory.mktemp("tree")
    for folder in folders:
        (top / folder).mkdir()
        for name in files:
            (top / folder / name).touch()
    for name in files - folders:
        (top / name).touch()
    below = (
        [f"{folder}/{name}" for folder in folders for name in files] if recursive else [f"{name}/" for name in folders]
    )
    expected = sorted(name for name in [*below, *(files - folders)] if name > after)[:limit]
    assert names(top, recursive=recursive, limit=limit, after=after) == expected


# changing


def test_delete(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    assert driver.delete(at(tmp_path / "f"), None) is True
    with pytest.raises(IsADirectoryError):
        driver.delete(at(tmp_path / "d"), None)
    with pytest.raises(NotADirectoryError):
        driver.delete(at(tmp_path / "link").directory, None)
    assert driver.delete(at(tmp_path / "link"), None) is True
    assert driver.delete(at(tmp_path / "d").directory, None) is True
    assert os.listdir(tmp_path) == []


def test_delete_a_directory_that_is_not_empty(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OSError, match="empty") as caught:
        driver.delete(at(tmp_path).directory, None)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOTEMPTY, at(tmp_path).directory.url)
    assert "uploads" not in str(caught.value)


def test_make_directory(driver: LocalDriver, tmp_path: Path) -> None:
    for name in ("a", "b/"):
        assert driver.make_directory(Location("file", "", at(tmp_path).prefix + name), 0o700) is True
    assert _stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        driver.make_directory(at(tmp_path / "a"), 0o777)
    with pytest.raises(FileNotFoundError):
        driver.make_directory(at(tmp_path / "x" / "y"), 0o777)


def test_rename(driver: LocalDriver, tmp_path: Path) -> None:
    put(tmp_path / "f", b"data")
    (tmp_path / "g").touch()
    assert driver.rename(at(tmp_path / "f"), at(tmp_path / "g")) == driver.stat(at(tmp_path / "g"))
    assert (tmp_path / "g").read_bytes() == b"data"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").touch()
    assert driver.rename(at(tmp_path / "d"), at(tmp_path / "e")).is_directory
    assert names(tmp_path, recursive=True) == ["e/x", "g"]
    with pytest.raises(NotADirectoryError):
        driver.rename(at(tmp_path / "e"), at(tmp_path / "g"))
    (tmp_path / "link").symlink_to("none")
    assert driver.rename(at(tmp_path / "link"), at(tmp_path / "moved")).extra["symlink"] is True


def test_rename_errors_name_both(driver: LocalDriver, tmp_path: Path) -> None:
    source, target = at(tmp_path / "none"), at(tmp_path / "x")
    with pytest.raises(FileNotFoundError) as caught:
        driver.rename(source, target)
    again = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, again):
        assert (error.errno, error.filename, error.filename2) == (errno.ENOENT, source.url, target.url)


@pytest.mark.parametrize("kernel", [True, False])
def test_copy(driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    if not kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif sys.platform != "linux":
        pytest.skip("only Linux copies in the kernel")
    data = os.urandom(3_000_000)
    source = put(tmp_path / "f", data)
    (tmp_path / "f").chmod(0o640)
    copied = driver.copy(source, at(tmp_path / "g"), None)
    assert copied == driver.stat(at(tmp_path / "g"))
    assert (tmp_path / "g").read_bytes() == data
    assert _stat.S_IMODE(copied.st_mode) == 0o640
    with pytest.raises(FileExistsError):
        driver.copy(source, at(tmp_path / "g"), Absent())
    assert driver.copy(source, at("/dev/null"), None).size == 0


def test_copy_of_what_only_reading_can_measure(driver: LocalDriver, tmp_path: Path) -> None:
    if not os.path.exists("/proc/version"):
        pytest.skip("no /proc")
    source = driver.stat(at("/proc/version"))
    assert source.size == 0
    driver.copy(Stat(source.location), at(tmp_path / "v"), None)
    assert (tmp_path / "v").read_bytes() == Path("/proc/version").read_bytes()


def test_copy_is_of_the_version_that_was_seen(driver: LocalDriver, tmp_path: Path) -> None:
    source = put(tmp_path / "f", b"old")
    put(tmp_path / "f", b"newer")
    with pytest.raises(ObjectChangedError):
        driver.copy(source, at(tmp_path / "g"), None)
    driver.copy(Stat(source.location), at(tmp_path / "g"), None)
    assert (tmp_path / "g").read_bytes() == b"newer"


def test_copy_refuses_directories_and_devices(driver: LocalDriver, tmp_path: Path) -> None:
    source = put(tmp_path / "f", b"x")
    with pytest.raises(IsADirectoryError):
        driver.copy(source, at(tmp_path), None)
    with pytest.raises(IsADirectoryError):
        driver.copy(Stat(at(tmp_path), "directory"), at(tmp_path / "g"), None)
    with pytest.raises(io.UnsupportedOperation):
        driver.copy(Stat(at("/dev/null")), at(tmp_path / "g"), None)
    with pytest.raises(FileNotFoundError):
        driver.copy(Stat(at(tmp_path / "none")), at(tmp_path / "g"), None)
    assert os.listdir(tmp_path) == ["f"]


def test_touch(driver: LocalDriver, tmp_path: Path) -> None:
    stat = put(tmp_path / "f", b"data")
    os.utime(tmp_path / "f", ns=(1, 1))
    after = driver.touch(stat)
    assert after == driver.stat(stat.location)
    assert after.st_mtime_ns > 1
    assert (tmp_path / "f").read_bytes() == b"data"
    with pytest.raises(FileNotFoundError):
        driver.touch(Stat(at(tmp_path / "none")))


# what was left behind


def test_unfinished_writes_are_found_and_removed(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "loop").symlink_to("..")
    put(tmp_path / "a" / "f", b"x")
    writers = [begin(tmp_path / "a" / "b" / "f"), begin(tmp_path / "g")]
    assert len(list(driver.uploads(at(tmp_path)))) == 2
    (upload,) = driver.uploads(at(tmp_path / "a"))
    assert upload.location.parent == at(tmp_path / "a" / "b").directory
    assert upload.started_ns is not None
    with pytest.raises(OSError, match="uploads") as caught:
        driver.delete(at(tmp_path / "a" / "b").directory, None)
    assert caught.value.errno == errno.ENOTEMPTY
    for upload in driver.uploads(at(tmp_path)):
        assert driver.abort_upload(upload) is True
        assert driver.abort_upload(upload) is True
    assert list(driver.uploads(at(tmp_path))) == list(driver.uploads(at(tmp_path / "none"))) == []
    for writer in writers:
        with pytest.raises(FileNotFoundError):
            writer.put([b"x"])
        writer.abort()


def test_abort_upload_removes_nothing_else(driver: LocalDriver, tmp_path: Path) -> None:
    put(tmp_path / "f", b"x")
    with pytest.raises(InvalidArgumentError):
        driver.abort_upload(Upload(at(tmp_path / "f"), "f"))
    assert (tmp_path / "f").exists()


KILLED = """
import os, signal, sys
from storagekit_local.driver import LocalDriver
driver = LocalDriver()
writer = driver.open_write(driver.parse(sys.argv[1]), None)
writer.write_part(1, 0, [b"new"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_publishes_nothing(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, f"file://{tmp_path}/f"], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "f").read_bytes() == b"old"
    (upload,) = driver.uploads(at(tmp_path))
    driver.abort_upload(upload)


def test_traits_and_diagnosis(driver: LocalDriver, tmp_path: Path) -> None:
    traits = driver.traits()
    assert traits.atomic_rename
    assert traits.exclusive_create
    assert not traits.implicit_directories
    assert not traits.literal_keys
    (tmp_path / "link").symlink_to("f")
    lines = driver.diagnose(at(tmp_path / "link"))
    assert any(line.endswith("/f") for line in lines)


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_copying_a_file_onto_itself_through_a_link_is_refused(make: Callable[..., None], tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"data")
    make(path, link)
    with pytest.raises(shutil.SameFileError):
        storagekit.copyfile(f"file://{path}", f"file://{link}")
    assert path.read_bytes() == b"data"
    assert path.stat().st_ino == link.stat().st_ino


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_may_be_written_and_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    folder.chmod(0o333)
    try:
        with storagekit.open((folder / "file").as_uri(), "wb") as file:
            file.write(b"data")
        assert (folder / "file").read_bytes() == b"data"
    finally:
        folder.chmod(0o755)


def test_without_locks_a_file_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with storagekit.open((tmp_path / "file").as_uri(), "wb") as file:
        file.write(b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    """A lock on the folder that somebody else holds: the descriptor that it is on."""
    fcntl = pytest.importorskip("fcntl")
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    os.close(fd)


def test_a_lock_that_is_never_given_back_is_an_error(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_writing, "LOCK_SECONDS", 0.2)
    url = (tmp_path / "file").as_uri()
    file = storagekit.open(url, "wb")
    file.write(b"data")
    with pytest.raises(TimeoutError, match="lock") as caught:
        file.close()
    assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, url)
    assert os.listdir(tmp_path) == []


def test_a_lock_is_waited_for(tmp_path: Path, held: int) -> None:
    fcntl = pytest.importorskip("fcntl")
    timer = threading.Timer(0.2, fcntl.flock, (held, fcntl.LOCK_UN))
    timer.start()
    put(tmp_path / "file", b"data")
    timer.join()
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.usefixtures("held")
def test_an_interrupt_ends_the_waiting_for_a_lock(tmp_path: Path) -> None:
    # Where the tests run in the background of a shell, the signal is ignored, and so would their children.
    code = "import signal, sys, storagekit\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "file = storagekit.open(sys.argv[1], 'wb'); file.write(b'x'); print(flush=True); file.close()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, (tmp_path / "file").as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    errors = ""
    for _ in range(20):  # seconds: shorter than the lock is waited for
        # Where it comes in a finalizer, Python drops it, and whoever pressed the keys does so once more.
        child.send_signal(signal.SIGINT)
        try:
            _, errors = child.communicate(timeout=1)
            break
        except subprocess.TimeoutExpired:
            continue
    assert "KeyboardInterrupt" in errors
    assert child.poll() not in (None, 0)
    assert os.listdir(tmp_path) == []
