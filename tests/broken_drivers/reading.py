"""Broken drivers: what goes wrong while an object is read."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from broken_drivers.defects import defect
from storagekit.driver import (
    BytesReader,
    RangeBody,
    RangeReader,
    Stat,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver

BLOCK = 64 * 1024


class _Current(RangeReader):
    """It looks the object up again for every range."""

    def __init__(self, driver: MemoryDriver, location: Location) -> None:
        self.driver, self.location, self.stat = driver, location, driver.stat(location)

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        return BytesReader(self.stat, self.driver._get(self.location).data).open_range(start, stop)


@defect("driver.pinned", "concurrency.changed")
class MixesVersions(MemoryDriver):
    """Each range is of whatever version is there at that moment."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        return _Current(self, location)


class _Limited(RangeBody):
    """A body that ends where told, whatever was asked for."""

    def __init__(self, body: RangeBody, left: int) -> None:
        self.body, self.left = body, left

    def readinto(self, view: memoryview, /) -> int:
        count = self.body.readinto(view[: self.left])
        self.left -= count
        return count

    def close(self) -> None:
        self.body.close()


class _Reading(BytesReader):
    """A reader of an object of the store, for a broken one to differ from in one place."""

    def __init__(self, driver: MemoryDriver, location: Location) -> None:
        found = driver._get(location)
        super().__init__(found.stat, found.data)


@defect("driver.open-read")
class EndsAtBlockEdges(MemoryDriver):
    """A read never goes past the edge of a block, and calls that the end."""

    class Reader(_Reading):
        def open_range(self, start: int, stop: int, /) -> RangeBody:
            return _Limited(super().open_range(start, stop), BLOCK - start % BLOCK)

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        return self.Reader(self, location)


@defect("driver.open-read")
class TakesTheLastByteInclusive(MemoryDriver):
    """The end of a range is taken as HTTP means it, so every range is a byte too long."""

    class Reader(_Reading):
        def open_range(self, start: int, stop: int, /) -> RangeBody:
            return super().open_range(start, stop + 1)

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        return self.Reader(self, location)


@defect("driver.open-read", "concurrency.one-handle", "concurrency.one-object", "reading.seek")
class HasOnePositionForAllRanges(MemoryDriver):
    """All ranges of a reader go through one file and its one position, as seek and then read."""

    class Reader(_Reading):
        def __init__(self, driver: MemoryDriver, location: Location) -> None:
            super().__init__(driver, location)
            self.file = io.BytesIO(bytes(self._data))

        def open_range(self, start: int, stop: int, /) -> RangeBody:
            self.file.seek(start)
            return _Shared(self.file, stop)

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        return self.Reader(self, location)


class _Shared(RangeBody):
    """A range of a file whose position others move too."""

    def __init__(self, file: io.BytesIO, stop: int) -> None:
        self.file, self.stop = file, stop

    def readinto(self, view: memoryview, /) -> int:
        return self.file.readinto(view[: max(0, self.stop - self.file.tell())])

    def close(self) -> None:
        return


class Keyed(MemoryDriver):
    """A driver with another cache key."""

    @staticmethod
    def key(location: Location, stat: Stat) -> Any: ...

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        reader = super().open_read(location, head)
        reader.cache_key = self.key(location, reader.stat)
        return reader


@defect("driver.cache-key")
class ServesBytesOfAnotherKey(Keyed):
    """Blocks are cached under the name without its directory, so two objects share them."""

    @staticmethod
    def key(location: Location, stat: Stat) -> Any:
        return location.container, stat.size, stat.modified_ns and "version"


@defect("driver.cache-key", "changes.fresh", "writing.overwrite")
class ServesStaleBytes(Keyed):
    """Blocks are cached under the key alone, and served after the object was replaced."""

    @staticmethod
    def key(location: Location, stat: Stat) -> Any:
        return location


@defect("driver.head", "reading.sizes", "driver.open-read")
class TakesTheHeadForTheObject(MemoryDriver):
    """The size is that of the first range's answer and not of the object."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        reader = super().open_read(location, head)
        if 0 < head < (reader.stat.size or 0):
            reader.stat = replace(reader.stat, size=head)
        return reader


class _Clamped(io.BytesIO):
    """A file whose position never goes past its end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return super().seek(min(super().seek(offset, whence), len(self.getvalue())))


@defect("reading.seek-past-end", "reading.seek")
class ClampsSeeks(MemoryDriver):
    """Its own file objects move to the end when asked to go past it."""

    @hookimpl
    def open_file(self, location: Location) -> Any:
        return io.BufferedReader(_Clamped(self._get(location).data))


@defect("driver.open-read-missing", "errors.open-missing")
class OpensWhatIsNotThere(MemoryDriver):
    """Opening asks nothing of the store: a missing object reads as an empty one."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        try:
            return super().open_read(location, head)
        except FileNotFoundError:
            return BytesReader(Stat(location, size=0), b"")
