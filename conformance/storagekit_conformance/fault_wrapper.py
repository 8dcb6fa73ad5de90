"""Faults around hooks: the carrier for drivers that no proxy can stand behind.

It is a wrapper of a ``Storage`` (``Storage(wrappers=[FaultWrapper(faults)])``). Its hooks stand around the driver's and
decorate what those return, so every range, part and page of any driver passes through here. To the core a fault looks
like the error that such a driver would raise: a refusal as ``PermissionError`` or ``OSError``, a lost connection as
``ConnectionResetError``, a stall as ``TimeoutError``, each with errno and URL.

*What counts as an operation* follows a store over HTTP, so that one test fits both: opening for reading is a ``read``
that brings the object's head along; every further range is another one; an upload is begun (``begin``) by its first
part; a listing asks for a ``list`` at the call and again after each ``PAGE`` entries. A native file (``open_file``) is
closed again and answered with None, which sends reads through ``open_read``.

``disturbed`` makes the place itself, for any target: its own proxy where it has one, else this.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any, TypeAlias, TypeVar

from storagekit.driver import Body, ObjectWriter, RangeBody, RangeReader, Stat, Upload
from storagekit.errors import os_error
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_conformance.faults import (
    Answer,
    Corrupt,
    Cut,
    Elsewhere,
    Fault,
    Faults,
    KeyRefused,
    Lost,
    Misplaced,
    Reset,
    Stall,
    Status,
    Trickle,
    Twice,
)
from storagekit_conformance.target import Root, Target

__all__ = ["PAGE", "FaultWrapper", "disturbed"]

PAGE = 1000
"""Entries after which a listing counts as asking again: the page of S3."""

# The errors that drivers make of a store's refusals; of any other status, EIO.
_ERRNO = {
    400: errno.EINVAL,
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    429: errno.EBUSY,
    503: errno.EBUSY,
    504: errno.ETIMEDOUT,
}

T = TypeVar("T")
Wrapped: TypeAlias = Generator[None, T, T]


@contextmanager
def disturbed(target: Target) -> Iterator[Root]:
    """A fresh place of *target* whose ``faults`` is set; an error that a carrier kept is raised at its end."""
    if target.faulty is not None:
        with target.faulty() as root:
            assert root.faults is not None, f"the target {target.name} gives a faulty place without faults"
            yield root
            root.faults.check()
        return
    with target.root() as root:
        faults = Faults(cannot=frozenset({Answer, Elsewhere, Misplaced, Trickle, Twice}))
        wrappers: Any = root.settings.get("wrappers", ())
        settings = {**root.settings, "wrappers": [*wrappers, FaultWrapper(faults)]}
        yield replace(root, settings=settings, faults=faults)
        faults.check()


def _refusal(fault: Fault | None, location: object) -> OSError | None:
    """The error of an operation that is not carried out, None where it is."""
    if isinstance(fault, Status):
        return os_error(_ERRNO.get(fault.code, errno.EIO), location, f"Refused with status {fault.code}")
    if isinstance(fault, KeyRefused):
        return os_error(errno.EACCES, location, "Refused for this key")
    if isinstance(fault, Reset):
        return os_error(errno.ECONNRESET, location)
    if isinstance(fault, Stall) and fault.after is None:
        return os_error(errno.ETIMEDOUT, location)
    return None


def _loss(fault: Fault | None, location: object) -> OSError | None:
    """The error of an operation that was carried out, and whose answer is lost; None where it arrives."""
    if isinstance(fault, Lost | Cut):
        return os_error(errno.ECONNRESET, location, "The answer was lost")
    if isinstance(fault, Stall):
        return os_error(errno.ETIMEDOUT, location, "The answer was lost")
    return None


class FaultWrapper:
    """Hooks around every driver's, through which the faults that are armed come."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def _before(self, operation: str, location: Location) -> Fault | None:
        """Take the fault that is due, and do what it does before the operation."""
        fault = self._faults.take(operation, location.path)
        self._faults.prepare(fault)
        if error := _refusal(fault, location):
            raise error
        return fault

    def _around(self, operation: str, location: Location) -> Wrapped[Any]:
        """A hook that is one operation."""
        fault = self._before(operation, location)
        answer = yield
        if error := _loss(fault, location):
            raise error
        return answer

    # Reading.

    @hookimpl(wrapper=True)
    def open_file(self) -> Wrapped[IO[bytes] | None]:
        file = yield
        if file is not None:
            file.close()
        return None

    @hookimpl(wrapper=True)
    def open_read(self, location: Location) -> Wrapped[RangeReader | None]:
        fault = self._before("read", location)
        reader = yield
        if isinstance(fault, Lost):
            if reader is not None:
                reader.close()
            raise os_error(errno.ECONNRESET, location, "The answer was lost")
        return None if reader is None else _FaultyReader(reader, self._faults, location, fault)

    @hookimpl(wrapper=True)
    def stat(self, location: Location) -> Wrapped[Any]:
        return (yield from self._around("stat", location))

    @hookimpl(wrapper=True, specname="list")
    def entries(self, location: Location) -> Wrapped[Any]:
        found = yield from self._around("list", location)
        return None if found is None else self._pages(found, location)

    def _pages(self, found: Iterator[Stat], location: Location) -> Iterator[Stat]:
        """The entries, with another operation before each new page."""
        for number, stat in enumerate(found):
            if number and number % PAGE == 0 and (error := _loss(self._before("list", location), location)):
                raise error
            yield stat

    @hookimpl(wrapper=True)
    def uploads(self, location: Location) -> Wrapped[Any]:
        return (yield from self._around("uploads", location))

    # Changing.

    @hookimpl(wrapper=True)
    def open_write(self, location: Location) -> Wrapped[ObjectWriter | None]:
        writer = yield
        return None if writer is None else _FaultyWriter(writer, self, self._faults, location)

    @hookimpl(wrapper=True)
    def delete(self, location: Location) -> Wrapped[Any]:
        return (yield from self._around("delete", location))

    @hookimpl(wrapper=True)
    def delete_many(self, locations: Sequence[Location]) -> Wrapped[Sequence[tuple[Location, OSError]] | None]:
        if not locations:
            return (yield)
        fault = self._faults.take("delete", *(location.path for location in locations))
        self._faults.prepare(fault)
        if not isinstance(fault, KeyRefused) and (error := _refusal(fault, locations[0])):
            raise error
        failed = yield
        if isinstance(fault, KeyRefused) and failed is not None:
            refused = [location for location in locations if location.path.endswith(fault.key)]
            return [*failed, *((location, os_error(errno.EACCES, location)) for location in refused)]
        if error := _loss(fault, locations[0]):
            raise error
        return failed

    @hookimpl(wrapper=True)
    def copy(self, target: Location) -> Wrapped[Any]:
        return (yield from self._around("copy", target))

    @hookimpl(wrapper=True)
    def touch(self, stat: Stat) -> Wrapped[Any]:
        return (yield from self._around("copy", stat.location))

    @hookimpl(wrapper=True)
    def rename(self, target: Location) -> Wrapped[Any]:
        return (yield from self._around("rename", target))

    @hookimpl(wrapper=True)
    def make_directory(self, location: Location) -> Wrapped[Any]:
        return (yield from self._around("put", location))

    @hookimpl(wrapper=True)
    def abort_upload(self, upload: Upload) -> Wrapped[Any]:
        return (yield from self._around("abort", upload.location))

    def through(self, operation: str, location: Location, call: Callable[[], T]) -> T:
        """One operation that is the call of an object's method."""
        fault = self._before(operation, location)
        answer = call()
        if error := _loss(fault, location):
            raise error
        return answer


class _FaultyReader(RangeReader):
    """A reader each of whose ranges may meet a fault; the one at its opening met the head."""

    def __init__(self, inner: RangeReader, faults: Faults, location: Location, fault: Fault | None) -> None:
        self._inner = inner
        self._faults = faults
        self._location = location
        self.stat = inner.stat
        self.cache_key = inner.cache_key
        self.checksum = inner.checksum
        self.head = _disturbed_head(inner.head, fault)
        inner.head = b""

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        fault = self._faults.take("read", self._location.path)
        self._faults.prepare(fault)
        if error := _refusal(fault, self._location):
            raise error
        body = self._inner.open_range(start, stop)
        if isinstance(fault, Lost):
            body.close()
            raise os_error(errno.ECONNRESET, self._location, "The answer was lost")
        return _FaultyBody(body, fault, self._location, stop - start)

    def close(self) -> None:
        self._inner.close()


def _disturbed_head(head: bytes, fault: Fault | None) -> bytes:
    """What arrives of the bytes that came with opening. A shorter head is fetched later like any other range."""
    if isinstance(fault, Cut | Stall):
        return head[: fault.after]
    if isinstance(fault, Corrupt):
        changed = bytearray(head)
        for place, mask in fault.changes(len(head)).items():
            changed[place] ^= mask
        return bytes(changed)
    return head


class _FaultyBody(RangeBody):
    """A range on its way in, which may end early, stall or arrive with other bytes."""

    def __init__(self, inner: RangeBody, fault: Fault | None, location: Location, length: int) -> None:
        self._inner = inner
        self._fault = fault
        self._location = location
        self._passed = 0
        self._changes = fault.changes(length) if isinstance(fault, Corrupt) else {}

    def readinto(self, view: memoryview, /) -> int:
        if isinstance(self._fault, Cut | Stall):
            view = view[: max(0, (self._fault.after or 0) - self._passed)]
            if not view:
                return self._end(self._fault)
        n = self._inner.readinto(view)
        for place, mask in self._changes.items():
            if self._passed <= place < self._passed + n:
                view[place - self._passed] ^= mask
        self._passed += n
        return n

    def _end(self, fault: Cut | Stall) -> int:
        if isinstance(fault, Cut) and fault.quiet:
            return 0
        raise os_error(errno.ECONNRESET if isinstance(fault, Cut) else errno.ETIMEDOUT, self._location)

    def close(self) -> None:
        self._inner.close()


class _FaultyWriter(ObjectWriter):
    """A writer whose every request may meet a fault."""

    def __init__(self, inner: ObjectWriter, wrapper: FaultWrapper, faults: Faults, location: Location) -> None:
        self._inner = inner
        self._wrapper = wrapper
        self._location = location
        self._lock = threading.Lock()
        self._begun = False
        self.ordered = inner.ordered

    def part_size(self, number: int, /) -> int:
        return self._inner.part_size(number)

    def put(self, body: Body, /) -> Stat:
        return self._wrapper.through("put", self._location, lambda: self._inner.put(body))

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        with self._lock:
            if not self._begun:
                self._wrapper.through("begin", self._location, lambda: None)
                self._begun = True
        self._wrapper.through("part", self._location, lambda: self._inner.write_part(number, offset, body))

    def commit(self) -> Stat:
        return self._wrapper.through("commit", self._location, self._inner.commit)

    def abort(self) -> None:
        # A writer that began no upload asks nothing of its store.
        if self._begun:
            self._wrapper.through("abort", self._location, self._inner.abort)
        else:
            self._inner.abort()
