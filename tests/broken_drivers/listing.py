"""Broken drivers: what goes wrong where a store is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from broken_drivers.defects import defect
from storagekit.driver import (
    Condition,
    Stat,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


class Lists(MemoryDriver):
    """A driver whose listing is changed on its way out."""

    def changed(self, found: Iterator[Stat], location: Location, recursive: bool) -> Iterator[Stat]:
        raise NotImplementedError

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        found = super().entries(location, recursive, None, start_after)
        return islice(self.changed(found, location, recursive), limit)


@defect("listing.many")
class LosesTheKeyAfterThePage(Lists):
    """The second page begins one key too late."""

    def changed(self, found: Iterator[Stat], location: Location, recursive: bool) -> Iterator[Stat]:
        return (stat for number, stat in enumerate(found, 1) if number != 1001)


@defect("listing.many")
class StopsAfterTheFirstPage(Lists):
    """Whatever lies beyond the first thousand is not listed."""

    def changed(self, found: Iterator[Stat], location: Location, recursive: bool) -> Iterator[Stat]:
        return islice(found, 1000)


@defect("driver.list-marker", "listing.marker", "directories.mkdir", "directories.rmdir")
class ListsAMarkerAsItsOwnChild(Lists):
    """The marker of a directory is listed in it as one more directory."""

    def changed(self, found: Iterator[Stat], location: Location, recursive: bool) -> Iterator[Stat]:
        for stat in found:
            own = stat.location.path == location.prefix and not recursive
            yield Stat(location.child(location.name + "/"), "directory") if own else stat


@defect("driver.list-order", "listing.order", "driver.list", "glob.patterns")
class ListsInAnyOrder(Lists):
    """It promises an order and lists as the dictionary has it."""

    def changed(self, found: Iterator[Stat], location: Location, recursive: bool) -> Iterator[Stat]:
        return iter(sorted(found, key=lambda stat: (len(stat.location.path), stat.location.path[::-1])))


@defect("driver.list", "listing.listdir", "stat.prefix-is-no-directory", "listing.trailing-slash")
class ListsWhatBeginsAlike(MemoryDriver):
    """A prefix without its slash: the listing of ``a`` holds what is in ``ab``."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        if not location.path.strip("/"):
            return super().entries(location, recursive, limit, start_after)
        everything = super().entries(Location(location.scheme, location.container, ""), True, None, start_after)
        prefix = location.path.rstrip("/")
        found = (stat for stat in everything if stat.location.path.startswith(prefix))
        return islice(found, limit)


@defect("driver.threads", "listing.fresh", "changes.fresh", "stat.questions")
class RemembersListings(MemoryDriver):
    """A listing is answered from a cache that other clients' changes do not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: dict[Any, list[Stat]] = {}

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        asked = (location, recursive, start_after)
        if asked not in self.listed:
            self.listed[asked] = list(super().entries(location, recursive, None, start_after))
        return islice(self.listed[asked], limit)


@defect("driver.list-limit")
class StartsAtTheKeyThatWasAskedFor(MemoryDriver):
    """``start_after`` is taken as the first key to list, and not as the last one that was."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        if not start_after:
            return super().entries(location, recursive, limit, start_after)
        found = super().entries(location, recursive, None, "")
        return islice((stat for stat in found if stat.location.path >= start_after), limit)


@defect("driver.stat", "stat.directory", "stat.questions")
class SaysThatAPrefixIsAFile(MemoryDriver):
    """A key that only begins alike makes an empty file of its prefix."""

    @hookimpl
    def stat(self, location: Location) -> Stat:
        try:
            return super().stat(location)
        except FileNotFoundError:
            if next(super().entries(location, True, 1, ""), None) is None:
                raise
            return Stat(location, size=0)


@defect("stat.file", "stat.entry")
class TellsSecondsForNanoseconds(MemoryDriver):
    """Times are given in another unit."""

    @hookimpl
    def stat(self, location: Location) -> Stat:
        found = super().stat(location)
        return replace(found, modified_ns=(found.modified_ns or 0) // 1_000_000_000)


@defect("stat.identity", "driver.cache-key", "driver.matches", "driver.pinned", "driver.put", "concurrency.changed")
class IdentifiesBySize(MemoryDriver):
    """The version is the size: a change that keeps the length is no change."""

    def _publish(self, location: Location, data: bytes, extra: Mapping[str, object], condition: Condition) -> Stat:
        stat = super()._publish(location, data, extra, condition)
        container = self._containers[location.container]
        found = container.objects[location.path]
        stat = replace(stat, identity=f"size-{stat.size}")
        container.set(location.path, replace(found, stat=stat))
        return stat


@defect("driver.no-none", "stat.identity", "driver.put", "stat.entry")
class QuotesTheETag(MemoryDriver):
    """The ETag keeps the quotes that HTTP puts around it."""

    @hookimpl
    def stat(self, location: Location) -> Stat:
        found = super().stat(location)
        return replace(found, identity=f'"{found.identity}"' if found.identity else None)
