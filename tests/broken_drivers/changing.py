"""Broken drivers: what goes wrong where something is removed, copied or renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from broken_drivers.defects import defect
from storagekit.driver import (
    Condition,
    Options,
    Stat,
    Traits,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


@defect("names.literal", "changes.remove", "driver.delete", "changes.remove-one-of-two")
class RemovesWhatBeginsAlike(MemoryDriver):
    """Removing ``a`` removes ``ab`` and everything below ``a``."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        super().delete(location, condition)
        container = self._containers.get(location.container)
        for key in [key for key in container.keys if key.startswith(location.path)] if container else ():
            super().delete(Location(location.scheme, location.container, key), None)
        return True


@defect("driver.delete", "changes.remove-missing")
class DeleteOfNothingIsAnError(MemoryDriver):
    """A delete that is sent again after its answer was lost fails."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        self.stat(location)
        return super().delete(location, condition)


@defect("driver.delete", "driver.no-none", "changes.remove")
class DeleteAnswersNone(MemoryDriver):
    """The hook does its work and returns nothing, so the fallback runs as well."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Any:
        super().delete(location, condition)


@defect("driver.delete", "driver.no-none", "driver.stat")
class StatAnswersNone(MemoryDriver):
    """What is missing is answered with None instead of an error."""

    @hookimpl
    def stat(self, location: Location) -> Any:
        try:
            return super().stat(location)
        except FileNotFoundError:
            return None


@defect("listing.many", "driver.delete", "directories.rmtree")
class LosesAKeyOfABatch(MemoryDriver):
    """One key of a batch is not removed, and the answer says that all were."""

    @hookimpl
    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        for location in locations[:-1]:
            super().delete(location, None)
        return []


@defect("driver.copy")
class CopiesWhateverIsThere(MemoryDriver):
    """The copy is of the version at that moment and not of the one that was seen."""

    @hookimpl
    def copy(self, source: Stat, target: Location, options: Options, condition: Condition) -> Stat:
        return super().copy(replace(source, identity=None), target, options, condition)


@defect("driver.touch", "changes.touch-existing")
class TouchTruncates(MemoryDriver):
    """Touching an object writes an empty one."""

    @hookimpl
    def touch(self, stat: Stat) -> Stat:
        return self._publish(stat.location, b"", stat.extra, None)


@defect("driver.rename", "changes.rename-directory")
class RenamesTheFirstLevel(MemoryDriver):
    """It promises to rename a directory in one step, and moves what lies directly in it."""

    @hookimpl
    def traits(self) -> Traits:
        return replace(super().traits(), atomic_rename=True)

    @hookimpl
    def rename(self, source: Location, target: Location) -> Stat:
        moved = [(stat, target.child(stat.location.name)) for stat in super().entries(source, False, None, "")]
        try:
            moved = [(self.stat(source), target)]
        except FileNotFoundError:
            pass
        for stat, to in moved:
            if not stat.is_directory:
                super().copy(stat, to, {}, None)
                super().delete(stat.location, None)
        return Stat(target, "directory") if len(moved) != 1 else self.stat(moved[0][1])
