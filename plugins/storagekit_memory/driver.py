"""``memory://``: an object store in a dictionary, for tests, for scratch data, and as the model of a store.

It behaves as an object store at its best: keys are literal, directories are implied by the keys below
them, every write is published whole with a new version, and every condition is decided in the same step
as the change. What a program does here it may do on any store whose traits say so, and where a real store
differs, this one shows what was meant.

One driver instance is one store: two ``Storage`` objects see nothing of each other's, and a forked child
goes on with a copy of its parent's. Containers need not be made; a container is there for whoever asks,
and is listed while it holds something.

Everything is under one lock, held for dictionary work and never while bytes are copied. Objects are
immutable, so a reader simply keeps the version that it opened. The keys of a container stand in a sorted
list beside the dictionary: listing one directory of many is two bisections and a slice, not a scan.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from secrets import token_hex
from typing import Literal

from storagekit import errors
from storagekit.driver import (
    Body,
    BytesReader,
    Condition,
    Matches,
    ObjectWriter,
    Option,
    Options,
    RangeReader,
    Stat,
    Traits,
    check_condition,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location

__all__ = ["MemoryDriver"]

# Nothing travels, so a part costs only its own copy. Small parts let a program that is tested here
# see several of them without writing many megabytes.
PART_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Object:
    """One version of one object; never changed, only replaced."""

    stat: Stat
    data: bytes


@dataclass(slots=True)
class _Container:
    """The objects of one container by key, and their keys in order."""

    objects: dict[str, _Object] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def set(self, key: str, value: _Object) -> None:
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = value

    def remove(self, key: str) -> None:
        del self.objects[key]
        del self.keys[bisect_left(self.keys, key)]

    def below(self, prefix: str, start_after: str) -> list[str]:
        """The keys that start with *prefix*, which is empty or ends in a slash, from *start_after* on."""
        # "0" is the character after "/": it ends the range of everything that begins with the prefix.
        stop = bisect_left(self.keys, prefix[:-1] + "0") if prefix else len(self.keys)
        return self.keys[bisect_left(self.keys, max(prefix, start_after)) : stop]


class MemoryDriver:
    """The hooks of ``memory://``; one instance is one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._containers: dict[str, _Container] = {}

    # what it is

    @hookimpl
    def known_options(self) -> Sequence[Option]:
        return (
            Option("content_type", "the media type to keep with what is written"),
            Option("metadata", "a mapping of names to texts to keep with what is written"),
        )

    @hookimpl
    def traits(self) -> Traits:
        return Traits(
            implicit_directories=True,
            empty_directories=True,
            exclusive_create=True,
            conditional_replace=True,
            conditional_delete=True,
            pinned_reads=True,
            ranged_reads=True,
            sorted_listing=True,
            server_copy=True,
            atomic_rename=False,
            literal_keys=True,
            file_beside_directory=True,
        )

    @hookimpl
    def diagnose(self, location: Location) -> Sequence[str]:
        with self._lock:
            container = self._containers.get(location.container, _Container())
            return [f"{len(container.objects)} objects in the memory of this process, gone when it ends"]

    @hookimpl
    def reset_after_fork(self) -> None:
        # Another thread may have held the lock, half way between the dictionary and the sorted keys.
        self._lock = threading.Lock()
        for container in self._containers.values():
            container.keys = sorted(container.objects)

    # reading

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        found = self._get(location)
        key = ("memory", location.container, location.path, found.stat.identity)
        return BytesReader(found.stat, found.data, head=head, cache_key=key)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        if location.is_root:
            return Stat(location, "directory")
        return self._get(location).stat

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        with self._lock:
            if not location.container:
                names = sorted(name for name, container in self._containers.items() if container.keys)
                roots = (Stat(Location(location.scheme, name, ""), "directory") for name in names if name > start_after)
                return islice(roots, limit)
            container = self._containers.get(location.container, _Container())
            keys = container.below(location.prefix, start_after)
        found = _objects(container, keys) if recursive else _grouped(location, container, keys)
        return islice((stat for stat in found if stat.location.path > start_after), limit)

    # changing

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        if location.is_root:
            raise errors.is_a_directory(location)
        return _MemoryWriter(self, location, _extra(location, options), condition)

    @hookimpl
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        assert base.identity is not None  # every object here has one
        extra = {**base.extra, **_extra(location, options)}
        return _MemoryWriter(self, location, extra, Matches(base.identity))

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        with self._lock:
            container = self._containers.get(location.container)
            found = container.objects.get(location.path) if container else None
            check_condition(condition, location, found.stat if found else None)
            if container and found:
                container.remove(location.path)
        return True

    @hookimpl
    def copy(self, source: Stat, target: Location, options: Options, condition: Condition) -> Stat:
        if target.is_root:
            raise errors.is_a_directory(target)
        found = self._pinned(source)
        return self._publish(target, found.data, {**found.stat.extra, **_extra(target, options)}, condition)

    @hookimpl
    def touch(self, stat: Stat) -> Stat:
        # The identity stays: it names these bytes and this metadata, and neither changes.
        with self._lock:
            found = self._pinned_locked(stat)
            renewed = replace(found.stat, modified_ns=time.time_ns())
            self._containers[stat.location.container].set(stat.location.path, replace(found, stat=renewed))
        return renewed

    # the store

    def _get(self, location: Location) -> _Object:
        with self._lock:
            container = self._containers.get(location.container)
            found = container.objects.get(location.path) if container else None
        if found is None:
            raise errors.not_found(location)
        return found

    def _pinned(self, stat: Stat) -> _Object:
        with self._lock:
            return self._pinned_locked(stat)

    def _pinned_locked(self, stat: Stat) -> _Object:
        """The object that *stat* was seen of: exactly that version, where the Stat names one."""
        container = self._containers.get(stat.location.container)
        found = container.objects.get(stat.location.path) if container else None
        if stat.identity is not None and (found is None or found.stat.identity != stat.identity):
            raise errors.changed(stat.location)
        if found is None:
            raise errors.not_found(stat.location)
        return found

    def _publish(self, location: Location, data: bytes, extra: Mapping[str, object], condition: Condition) -> Stat:
        """Put *data* at *location* if *condition* holds: the question and the change under one lock hold."""
        # Random rather than counted: a forked child and its parent must not both make a "version 7".
        stat = Stat(location, "file", len(data), time.time_ns(), token_hex(16), extra)
        with self._lock:
            container = self._containers.setdefault(location.container, _Container())
            found = container.objects.get(location.path)
            check_condition(condition, location, found.stat if found else None)
            container.set(location.path, _Object(stat, data))
        return stat


class _MemoryWriter(ObjectWriter):
    """Collects the parts, in whatever order they come, and hands the store one whole object."""

    def __init__(
        self, driver: MemoryDriver, location: Location, extra: Mapping[str, object], condition: Condition
    ) -> None:
        self._driver = driver
        self._location = location
        self._extra = extra
        self._condition = condition
        self._parts: dict[int, bytes] = {}
        self._aborted = False

    def part_size(self, number: int, /) -> int:
        return PART_SIZE

    def put(self, body: Body, /) -> Stat:
        if self._aborted:
            raise ValueError("the write was aborted")
        return self._driver._publish(self._location, b"".join(body), self._extra, self._condition)

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        self._parts[offset] = b"".join(body)

    def commit(self) -> Stat:
        size = 0
        body = [part for _, part in sorted(self._parts.items())]
        for offset, part in zip(sorted(self._parts), body, strict=True):
            if offset != size:
                raise errors.invalid(self._location, f"the part that begins at byte {size} is missing")
            size += len(part)
        return self.put(body)

    def abort(self) -> None:
        self._aborted = True
        self._parts.clear()


def _objects(container: _Container, keys: Sequence[str]) -> Iterator[Stat]:
    """The objects that are still there of *keys*, a snapshot; one look-up in a dictionary needs no lock."""
    for key in keys:
        if found := container.objects.get(key):
            yield found.stat


def _grouped(location: Location, container: _Container, keys: Sequence[str]) -> Iterator[Stat]:
    """As ``_objects``, but one directory for all the keys that share their next segment."""
    prefix = location.prefix
    at = 0
    while at < len(keys):
        segment, slash, _ = keys[at][len(prefix) :].partition("/")
        if slash:
            directory = prefix + segment + slash
            yield Stat(Location(location.scheme, location.container, directory), "directory")
            at = bisect_left(keys, directory[:-1] + "0", at)
        else:
            yield from _objects(container, keys[at : at + 1])
            at += 1


def _extra(location: Location, options: Options) -> dict[str, object]:
    """What the options say is to be kept with an object, checked."""
    extra: dict[str, object] = {}
    content_type = options.get("content_type")
    if content_type is not None:
        if not isinstance(content_type, str):
            raise errors.invalid(location, f"the option content_type must be a text, not {content_type!r}")
        extra["content_type"] = content_type
    metadata = options.get("metadata")
    if metadata is not None:
        if not isinstance(metadata, Mapping) or not all(isinstance(x, str) for pair in metadata.items() for x in pair):
            raise errors.invalid(location, f"the option metadata must map texts to texts, not {metadata!r}")
        extra["metadata"] = {name.lower(): value for name, value in metadata.items()}
    return extra
