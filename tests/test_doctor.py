"""The doctor's trials of any store: a good one is found good, each lie of a bad one is found, nothing stays behind."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from storagekit import Storage
from storagekit.doctor import Report, examine
from storagekit.driver import BytesReader, Condition, ObjectWriter, Options, RangeReader, Stat
from storagekit.errors import InvalidArgumentError, os_error
from storagekit.findings import Finding
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver

HERE = "lies://box/prefix"


def wrong(report: Report) -> set[str]:
    return {finding.topic for finding in report.findings if finding.wrong}


def storage_of(driver: Callable[[], object]) -> Storage:
    return Storage(drivers={"lies": driver})


def everything(storage: Storage) -> list[str]:
    return [f"{top}/{name}" for top, _, names in storage.walk("lies://box") for name in names]


@pytest.mark.parametrize("path", ["memory://box", "memory://box/deep/prefix/", "file"])
def test_a_good_store(path: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path}" if path == "file" else path
    with Storage() as storage:
        storage.makedirs(storage.join(url, "mine"), exist_ok=True)
        with storage.open(storage.join(url, "mine", "key"), "wb") as file:
            file.write(b"untouched")
        report = examine(storage, url)
        assert (report.ok, report.failure, report.left, wrong(report)) == (True, None, [], set())
        assert all(finding.works for finding in report.findings)
        assert len(report.findings) == 10
        assert storage.listdir(url) == ["mine"]
        with storage.open(storage.join(url, "mine", "key"), "rb") as kept:
            assert kept.read() == b"untouched"


def test_a_plain_path_is_no_store(tmp_path: Path) -> None:
    with Storage() as storage, pytest.raises(InvalidArgumentError, match="URL"):
        examine(storage, str(tmp_path))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with Storage() as storage:
        report = examine(storage, f"file://{tmp_path}/missing")
    assert report.failure is not None
    assert not report.ok
    assert list(tmp_path.iterdir()) == []


class Corrupt(MemoryDriver):
    """The last byte of what is read is another one."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        found = super().open_read(location, head)
        data = bytearray(found.stat.size or 0)
        if data:
            found.open_range(0, len(data)).readinto(memoryview(data))
            data[-1] ^= 1
        return BytesReader(found.stat, bytes(data))


class Forgetful(MemoryDriver):
    """A listing misses what comes last."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        found = list(super().entries(location, recursive, None, start_after))
        return iter([stat for stat in found if not stat.location.path.endswith("06")][:limit])


class Overwriting(MemoryDriver):
    """Conditions are ignored."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        return super().open_write(location, options, None)


class Keeping(MemoryDriver):
    """What is deleted stays."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        return True


@pytest.mark.parametrize(
    ("driver", "topics"),
    [
        (Corrupt, {"write and read back", "reading ranges", "copying", "overwriting"}),
        (Forgetful, {"listing"}),
        (Overwriting, {"create only (open 'x')", "replace a version (if_match)"}),
        (Keeping, {"deleting"}),
    ],
)
def test_each_lie_is_found(driver: Callable[[], object], topics: set[str]) -> None:
    with storage_of(driver) as storage:
        report = examine(storage, HERE)
    assert topics <= wrong(report)
    assert not report.ok
    if driver is not Corrupt:
        assert wrong(report) == topics


def test_what_cannot_be_removed_is_named() -> None:
    with storage_of(Keeping) as storage:
        report = examine(storage, HERE)
    assert report.left
    assert all("storagekit-doctor-" in line for line in report.left)


class Examining(MemoryDriver):
    """A driver with questions of its own, that is interrupted while it asks."""

    ends: BaseException | None = None

    @hookimpl
    def examine(self, location: Location, options: Options) -> Iterator[Finding]:
        self.open_write(location.child("own"), options, None).put([b"left by the driver"])
        yield Finding("own", True, "seen")
        if self.ends is not None:
            raise self.ends


def test_the_drivers_own_findings_come_last() -> None:
    with storage_of(Examining) as storage:
        report = examine(storage, HERE)
        assert report.ok
        assert report.findings[-1].topic == "own"
        storage.touch("lies://box/mine")
        assert everything(storage) == ["lies://box/mine"]


@pytest.mark.parametrize("exception", [KeyboardInterrupt(), RuntimeError("a mistake")])
def test_nothing_stays_after_an_exception(exception: BaseException) -> None:
    driver = Examining()
    driver.ends = exception
    with storage_of(lambda: driver) as storage:
        storage.touch("lies://box/prefix/mine")
        with pytest.raises(type(exception)):
            examine(storage, HERE)
        assert everything(storage) == ["lies://box/prefix/mine"]


def test_where_nobody_answers_any_more_the_examination_ends() -> None:
    driver = Examining()
    driver.ends = os_error(errno.ECONNREFUSED, HERE)
    with storage_of(lambda: driver) as storage:
        storage.touch("lies://box/prefix/mine")
        report = examine(storage, HERE)
        assert report.failure is not None
        assert len(report.findings) == 11
        assert everything(storage) == ["lies://box/prefix/mine"]


def test_nothing_is_written_where_nothing_can_be_listed() -> None:
    class Unlistable(MemoryDriver):
        written = 0

        @hookimpl(specname="list")
        def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
            raise os_error(errno.EACCES, location)

        @hookimpl
        def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
            Unlistable.written += 1
            return super().open_write(location, options, condition)

    with storage_of(Unlistable) as storage:
        report = examine(storage, HERE)
    assert report.failure == "Permission denied"
    assert (report.findings, Unlistable.written) == ([], 0)


def test_a_driver_of_four_hooks_is_told_what_it_does_not_promise() -> None:
    class Four:
        def __init__(self) -> None:
            self._memory = MemoryDriver()

        @hookimpl
        def open_read(self, location: Location, head: int) -> RangeReader:
            return self._memory.open_read(location, head)

        @hookimpl
        def open_write(self, location: Location, options: Options) -> ObjectWriter:
            return self._memory.open_write(location, options, None)

        @hookimpl
        def stat(self, location: Location) -> Stat:
            return self._memory.stat(location)

        @hookimpl(specname="list")
        def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
            return self._memory.entries(location, recursive, limit, start_after)

        @hookimpl
        def delete(self, location: Location) -> bool:
            return self._memory.delete(location, None)

    with storage_of(Four) as storage:
        report = examine(storage, HERE)
    works = {finding.topic: finding.works for finding in report.findings}
    assert wrong(report) == set()
    assert works["create only (open 'x')"] is False
    assert works["replace a version (if_match)"] is None
    assert report.how[0].startswith("driver: ")
