"""Broken drivers: traits that are promised and lacking, and errors that are none."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import Any, Literal

from broken_drivers.defects import defect
from storagekit import errors
from storagekit.driver import (
    Condition,
    ObjectWriter,
    Options,
    RangeReader,
    Traits,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


@defect("driver.traits")
class PromisesToRename(MemoryDriver):
    """It promises renames in one step and has no hook for them."""

    @hookimpl
    def traits(self) -> Traits:
        return replace(super().traits(), atomic_rename=True)


@defect("driver.list-marker", "directories.mkdir", "listing.marker", "driver.no-none")
class ForgetsEmptyDirectories(MemoryDriver):
    """It promises empty directories and keeps none."""

    @hookimpl
    def make_directory(self, location: Location) -> Literal[True]:
        return True


@defect("listing.file-and-directory", "changes.remove-one-of-two")
class RefusesAFileBesideADirectory(MemoryDriver):
    """It promises that ``a`` and ``a/b`` can both be objects, and refuses the second."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        container = self._containers.get(location.container)
        below = location.path + "/"
        if container and any(key.startswith(below) and key != below for key in container.keys):
            raise errors.is_a_directory(location)
        above = location.path.rpartition("/")[0]
        if container and above in container.objects:
            raise errors.not_a_directory(location)
        return super().open_write(location, options, condition)


@defect("driver.list", "writing.no-parent", "listing.vanishing", "driver.parts")
class WantsAParent(MemoryDriver):
    """It promises implicit directories and refuses to write where none was made."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        above = location.path.rstrip("/").rpartition("/")[0]
        container = self._containers.get(location.container)
        if above and "/" in above and container:
            at = bisect_left(container.keys, above + "/")
            if at == len(container.keys) or not container.keys[at].startswith(above + "/"):
                raise errors.not_found(location)
        return super().open_write(location, options, condition)


@defect("errors.open-missing", "driver.open-read-missing", "errors.open-directory")
class RaisesKeyError(MemoryDriver):
    """What is missing is a KeyError from the depths."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        try:
            return super().open_read(location, head)
        except FileNotFoundError:
            raise KeyError(location.path) from None


@defect("errors.open-missing", "driver.open-read-missing", "driver.stat")
class SaysNoErrno(MemoryDriver):
    """Its errors are of the right class, with a text alone."""

    def _get(self, location: Location) -> Any:
        try:
            return super()._get(location)
        except FileNotFoundError:
            raise FileNotFoundError("no such key") from None


@defect("driver.delete", "errors.open-missing", "driver.open-read-missing", "driver.stat", "errors.open-directory")
class AlwaysSaysEio(MemoryDriver):
    """Whatever goes wrong is an input/output error."""

    def _get(self, location: Location) -> Any:
        try:
            return super()._get(location)
        except FileNotFoundError:
            raise errors.os_error(5, location) from None


class _UnpicklableError(FileNotFoundError):
    """Its constructor cannot be called with the arguments that it pickles."""

    def __init__(self, location: Location) -> None:
        super().__init__(2, "No such file or directory", location.url)


@defect("driver.errors", "errors.pickle")
class RaisesWhatDoesNotPickle(MemoryDriver):
    """Its errors cannot go to another process."""

    def _get(self, location: Location) -> Any:
        try:
            return super()._get(location)
        except FileNotFoundError:
            raise _UnpicklableError(location) from None
