"""The model test bites: at its default depth each machine finds a driver that is broken in a realistic way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from storagekit import errors
from storagekit.driver import (
    Absent,
    BytesReader,
    Condition,
    ObjectWriter,
    Options,
    RangeBody,
    RangeReader,
    Stat,
    Traits,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_conformance.machine_rules import Directories, Everything, Files, Readers
from storagekit_conformance.machines import Machine, play
from storagekit_conformance.memory_target import memory_target
from storagekit_conformance.support import Box
from storagekit_memory.driver import MemoryDriver


class MixesVersions(MemoryDriver):
    """Each range is of whatever the object is by then."""

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        reader = MemoryDriver.open_read(self, location, head)
        driver = self

        class Newest(BytesReader):
            def open_range(self, start: int, stop: int, /) -> RangeBody:
                try:
                    data = driver._get(location).data
                except FileNotFoundError:
                    raise errors.changed(location) from None
                return BytesReader(self.stat, data + bytes(stop)).open_range(start, stop)

        return Newest(reader.stat, bytes(reader.head), head=head)


class ForgetsToDelete(MemoryDriver):
    """A delete says that it is done."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        return True


class DeletesAllBelow(MemoryDriver):
    """Removing ``a`` takes ``a/b`` along."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        for stat in list(MemoryDriver.entries(self, location, recursive=True, limit=None, start_after="")):
            MemoryDriver.delete(self, stat.location, None)
        return MemoryDriver.delete(self, location, condition)


class RenameLosesTheTarget(MemoryDriver):
    """A rename onto what exists takes both away."""

    @hookimpl
    def traits(self) -> Traits:
        return replace(MemoryDriver.traits(self), atomic_rename=True)

    @hookimpl
    def rename(self, source: Location, target: Location) -> Stat:
        try:
            there = MemoryDriver.stat(self, target)
        except FileNotFoundError:
            there = None
        stat = MemoryDriver.copy(self, MemoryDriver.stat(self, source), target, {}, None)
        MemoryDriver.delete(self, source, None)
        if there is not None:
            MemoryDriver.delete(self, target, None)
        return stat


class KeepsTheOldEnd(MemoryDriver):
    """A shorter object written over a longer one keeps the longer one's end."""

    def _publish(self, location: Location, data: bytes, *rest: Any) -> Stat:
        try:
            old = self._get(location).data
        except FileNotFoundError:
            old = b""
        return MemoryDriver._publish(self, location, data + old[len(data) :], *rest)


class IgnoresExclusive(MemoryDriver):
    """The condition of an exclusive write is dropped on the way, and only the early look is left."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        return MemoryDriver.open_write(self, location, options, None if isinstance(condition, Absent) else condition)


class TouchTruncates(MemoryDriver):
    """``touch`` writes an empty object."""

    @hookimpl
    def touch(self, stat: Stat) -> Stat:
        return MemoryDriver._publish(self, stat.location, b"", {}, None)


class MarkerIsAFile(MemoryDriver):
    """The listing of one level names the directory's own marker as an entry below it."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        for stat in MemoryDriver.entries(self, location, recursive, limit, start_after):
            own = not recursive and stat.location == location.directory and stat.location.path
            yield replace(stat, location=location.child("self")) if own else stat


class PrefixWithoutSlash(MemoryDriver):
    """The listing of ``a`` takes what only begins alike for what is below."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        found = list(MemoryDriver.entries(self, location, recursive, limit, start_after))
        above = Location(location.scheme, location.container, location.path.rpartition("/")[0])
        every = MemoryDriver.entries(self, above, recursive=True, limit=None, start_after="")
        alike = [s for s in every if recursive and s.location.path.startswith(location.path + "-")]
        return iter(found or alike)


class LosesTheFirstPart(MemoryDriver):
    """The first write through the client's own buffer is forgotten when a second one follows."""

    def _publish(self, location: Location, data: bytes, *rest: Any) -> Stat:
        return MemoryDriver._publish(self, location, data[1:] if len(data) > 1_000_000 else data, *rest)


def box_of(kind: type[MemoryDriver]) -> Any:
    return memory_target("broken", kind).root()


@pytest.mark.parametrize(
    ("kind", "machine"),
    [
        (MixesVersions, Readers),
        (ForgetsToDelete, Files),
        (DeletesAllBelow, Files),
        (RenameLosesTheTarget, Files),
        (KeepsTheOldEnd, Files),
        (LosesTheFirstPart, Files),
        (IgnoresExclusive, Files),
        (TouchTruncates, Files),
        (MarkerIsAFile, Directories),
        (PrefixWithoutSlash, Directories),
        (ForgetsToDelete, Directories),
    ],
    ids=lambda value: value.__name__,
)
def test_a_broken_driver_is_found(
    kind: type[MemoryDriver], machine: type[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many examples as on a store that answers at once, however busy this machine is.
    monkeypatch.setattr("storagekit_conformance.machines.QUICK_SECONDS", 3600.0)
    with box_of(kind) as root, Box.opened(root) as box:
        with pytest.raises(BaseException) as caught:
            play(box, machine, 1)
        story = "\n".join(getattr(caught.value, "__notes__", ()))
        assert "state." in story, "the steps that lead there are told"


@pytest.mark.parametrize("machine", [Files, Directories, Readers, Everything])
def test_an_honest_driver_is_not(machine: type[Machine]) -> None:
    with box_of(MemoryDriver) as root, Box.opened(root) as box:
        play(box, machine, 1)


def test_a_failure_names_the_operation_the_key_and_what_was_expected() -> None:
    with box_of(IgnoresExclusive) as root, Box.opened(root) as box, pytest.raises(AssertionError) as caught:
        play(box, Files, 1)
    told = re.fullmatch(
        r"close the writer of ('.*'): expected FileExistsError, because ('.*') exists; the store allowed it",
        str(caught.value),
    )
    assert told is not None, caught.value
    assert told[1] == told[2]
    assert f"key={told[1]}" in "\n".join(caught.value.__notes__), "the steps show keys, not numbers"
    assert caught.value.__context__ is None, "nothing at the end hides it or stands before it"
