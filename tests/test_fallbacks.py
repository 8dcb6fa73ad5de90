"""fallbacks: what a driver left out is done with what it has, or refused loudly, naming the driver."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storagekit.backend import Backend
from storagekit.driver import Body, BytesReader, Options, RangeReader, Stat, Traits, Upload, WholeObjectWriter
from storagekit.errors import os_error
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location

HERE = parse_location("toy://box/key")


class Writer(WholeObjectWriter):
    """Tells its driver that it was given up."""

    def __init__(self, driver: Four, put: Callable[[Body], Stat]) -> None:
        super().__init__(put)
        self.driver = driver

    def abort(self) -> None:
        self.driver.aborted += 1


class Four:
    """A driver of the four hooks, over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.seen: list[Options] = []
        self.fails = False
        self.aborted = 0

    @hookimpl
    def open_read(self, location: Location) -> RangeReader:
        return BytesReader(Stat(location), self.objects[location.path])

    @hookimpl
    def open_write(self, location: Location, options: Options) -> Writer:
        def put(body: Body) -> Stat:
            if self.fails:
                raise os_error(errno.EIO, location)
            self.objects[location.path] = b"".join(body)
            self.seen.append(options)
            return Stat(location, size=0)

        return Writer(self, put)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        return Stat(location)

    @hookimpl(specname="list")
    def entries(self, location: Location) -> Iterator[Stat]:
        return iter(())


def backend(driver: object) -> Backend:
    return Backend("toy", driver, "toy-drivers")


def test_what_a_flat_store_is() -> None:
    made = backend(Four())
    assert made.traits(HERE, {}) == Traits(implicit_directories=True)
    assert made.known_options == {}
    assert made.parse("toy://box/a//b%20c?d#e") == Location("toy", "box", "a//b%20c?d#e")


REFUSED: dict[str, Callable[[Backend], object]] = {
    "remove": lambda b: b.delete(HERE, {}),
    "renew": lambda b: b.touch(Stat(HERE), {}),
    "unfinished": lambda b: b.uploads(HERE, {}),
    "abort": lambda b: b.abort_upload(Upload(HERE, "id"), {}),
    "presign": lambda b: b.presign(HERE, {}, "GET", 60),
    "diagnose": lambda b: b.diagnose(HERE, {}),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_be_made_of_four_hooks_is_refused(word: str) -> None:
    with pytest.raises(io.UnsupportedOperation, match=word) as caught:
        REFUSED[word](backend(Four()))
    assert "toy-drivers" in str(caught.value)
    assert caught.value.filename == HERE.url
    assert caught.value.errno == errno.ENOTSUP


def test_a_driver_that_asks_nothing_finds_nothing() -> None:
    assert list(backend(Four()).examine(HERE, {})) == []


def test_delete_many_is_delete_for_one_after_another() -> None:
    class Deleting(Four):
        @hookimpl
        def delete(self, location: Location, options: Options, condition: object) -> bool:
            self.seen.append(options)
            assert condition is None
            if location.name == "locked":
                raise os_error(errno.EACCES, location)
            del self.objects[location.path]
            return True

    driver = Deleting()
    driver.objects = {"a": b"", "b": b""}
    places = [Location("toy", "box", name) for name in ("a", "locked", "b")]
    failed = backend(driver).delete_many(places, {"profile": "x"})
    assert driver.objects == {}
    assert [location for location, _ in failed] == [places[1]]
    assert isinstance(failed[0][1], PermissionError)
    assert driver.seen == [{"profile": "x"}] * 3


def test_delete_many_without_delete_reports_every_one() -> None:
    failed = backend(Four()).delete_many([HERE, HERE], {})
    assert [type(error) for _, error in failed] == [io.UnsupportedOperation] * 2


def test_delete_many_does_not_swallow_a_drivers_bug() -> None:
    class Broken(Four):
        @hookimpl
        def delete(self, location: Location) -> bool:
            raise AttributeError("a bug")

    with pytest.raises(AttributeError):
        backend(Broken()).delete_many([HERE], {})


def test_make_directory_writes_an_empty_marker() -> None:
    driver = Four()
    backend(driver).make_directory(HERE, {"profile": "x"}, 0o777)
    assert driver.objects == {"key/": b""}
    assert driver.seen == [{"profile": "x"}]
    assert driver.aborted == 0


def test_a_marker_that_fails_is_aborted() -> None:
    driver = Four()
    driver.fails = True
    with pytest.raises(OSError, match="toy://box/key/"):
        backend(driver).make_directory(HERE, {}, 0o777)
    assert driver.objects == {}
    assert driver.aborted == 1


def test_a_marker_without_a_writer_is_refused() -> None:
    class Shy(Four):
        @hookimpl
        def open_write(self, location: Location) -> Any:  # type: ignore[override]
            return None

    with pytest.raises(io.UnsupportedOperation, match="answered None to open_write"):
        backend(Shy()).make_directory(HERE, {}, 0o777)


def test_the_drivers_own_hook_comes_first() -> None:
    class Able(Four):
        @hookimpl
        def make_directory(self, location: Location, mode: int) -> bool:
            self.seen.append({"mode": mode})
            return True

        @hookimpl
        def traits(self) -> Traits:
            return Traits(sorted_listing=True)

        @hookimpl
        def diagnose(self) -> list[str]:
            return ["well"]

    driver = Able()
    made = backend(driver)
    made.make_directory(HERE, {}, 0o700)
    assert driver.seen == [{"mode": 0o700}]
    assert driver.objects == {}
    assert made.traits(HERE, {}) == Traits(sorted_listing=True)
    assert made.diagnose(HERE, {}) == ["well"]
