"""Metering: what a Storage does, counted and timed per scheme and operation, for a dashboard or a bill.

It is a wrapper (``Storage(wrappers=[Metering()])``), and the example of what wrappers are for: work that is the same
for every driver and none of its business. Its hooks stand around the driver's; the readers and writers that those
return are decorated, so every range and every part passes through here, and no byte is copied for it.

A ``Sample`` has a scheme, an operation and the class of an error, and nothing of a URL: labels of a metric have few
values, and keys are nobody's business there. With *report* each is handed on, to whatever collects metrics; without it
``totals`` has the sums.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from storagekit.driver import Body, ObjectWriter, RangeBody, RangeReader, Stat, body_size
from storagekit.forking import inherits
from storagekit.hookspecs import hookimpl
from storagekit.location import Location

__all__ = ["Metering", "Sample", "Total"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One operation that is over."""

    scheme: str
    operation: str
    """The hook, or for what a reader or a writer does: ``open_range``, ``put``, ``write_part``, ``copy_part``,
    ``commit``, ``abort``."""
    seconds: float
    read: int = 0
    """Bytes of objects that came."""
    written: int = 0
    """Bytes of objects that went."""
    error: str = ""
    """The class of the error where it failed."""


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of the samples of one operation."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    read: int = 0
    written: int = 0

    def plus(self, sample: Sample) -> Total:
        """With one more."""
        return Total(
            self.count + 1,
            self.errors + bool(sample.error),
            self.seconds + sample.seconds,
            self.read + sample.read,
            self.written + sample.written,
        )


class Metering:
    """Counts and times what passes between a ``Storage`` and its drivers. Safe to use from many threads.

    >>> import storagekit
    >>> from storagekit.metering import Metering
    >>> meter = Metering()
    >>> with storagekit.Storage(wrappers=[meter]) as storage:
    ...     with storage.open("memory://box/key", "w") as f:
    ...         _ = f.write("hello")
    ...     storage.getsize("memory://box/key")
    5
    >>> meter.totals()["memory", "put"].written, meter.totals()["memory", "stat"].count
    (5, 1)
    """

    def __init__(self, report: Callable[[Sample], object] | None = None) -> None:
        """*report* is called with each sample, in the thread that did the work; it must be quick and raise nothing."""
        self._report = report
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], Total] = {}
        inherits(self)

    def renew(self) -> None:
        """See ``forking``: a thread of the parent may have been counting."""
        self._lock = threading.Lock()

    def totals(self) -> Mapping[tuple[str, str], Total]:
        """The sums so far, by scheme and operation."""
        with self._lock:
            return dict(self._totals)

    def add(self, sample: Sample) -> None:
        """Count one operation."""
        key = (sample.scheme, sample.operation)
        with self._lock:
            self._totals[key] = self._totals.get(key, Total()).plus(sample)
        if self._report is not None:
            self._report(sample)

    @contextmanager
    def timed(self, scheme: str, operation: str, *, written: int = 0) -> Iterator[None]:
        """Count and time the block as one operation, which writes so many bytes if it does not fail."""
        begun = time.perf_counter()
        error = ""
        try:
            yield
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            sent = 0 if error else written
            self.add(Sample(scheme, operation, time.perf_counter() - begun, written=sent, error=error))

    def _around(self, operation: str, location: Location) -> Generator[None, Any, Any]:
        """A hook that is one operation."""
        with self.timed(location.scheme, operation):
            return (yield)

    @hookimpl(wrapper=True)
    def open_read(self, location: Location) -> Generator[None, Any, Any]:
        reader = yield from self._around("open_read", location)
        return None if reader is None else _MeteredReader(reader, self)

    @hookimpl(wrapper=True)
    def open_write(self, location: Location) -> Generator[None, Any, Any]:
        writer = yield from self._around("open_write", location)
        return None if writer is None else _MeteredWriter(writer, self, location.scheme)

    @hookimpl(wrapper=True)
    def open_edit(self, location: Location) -> Generator[None, Any, Any]:
        writer = yield from self._around("open_edit", location)
        # Where the driver has no such hook, the fallback has opened one for writing, which is metered already.
        return (
            writer
            if writer is None or isinstance(writer, _MeteredWriter)
            else _MeteredWriter(writer, self, location.scheme)
        )

    @hookimpl(wrapper=True)
    def open_in_place(self, location: Location) -> Generator[None, Any, Any]:
        writer = yield from self._around("open_in_place", location)
        return None if writer is None else _MeteredWriter(writer, self, location.scheme)

    @hookimpl(wrapper=True)
    def stat(self, location: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("stat", location))

    @hookimpl(wrapper=True)
    def delete(self, location: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("delete", location))

    @hookimpl(wrapper=True)
    def delete_many(self, locations: list[Location]) -> Generator[None, Any, Any]:
        return (yield from self._around("delete_many", locations[0])) if locations else (yield)

    @hookimpl(wrapper=True)
    def copy(self, target: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("copy", target))

    @hookimpl(wrapper=True)
    def rename(self, target: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("rename", target))

    @hookimpl(wrapper=True)
    def touch(self, stat: Stat) -> Generator[None, Any, Any]:
        return (yield from self._around("touch", stat.location))

    @hookimpl(wrapper=True)
    def make_directory(self, location: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("make_directory", location))

    @hookimpl(wrapper=True, specname="list")
    def entries(self, location: Location) -> Generator[None, Any, Any]:
        return (yield from self._around("list", location))


class _MeteredReader(RangeReader):
    """A reader whose ranges are counted; what came along with opening is a range, too."""

    def __init__(self, inner: RangeReader, meter: Metering) -> None:
        self._inner = inner
        self._meter = meter
        self._scheme = inner.stat.location.scheme
        self.stat = inner.stat
        self.cache_key = inner.cache_key
        self.checksum = inner.checksum
        self.head, inner.head = inner.head, b""
        if self.head:
            meter.add(Sample(self._scheme, "head", 0.0, read=len(self.head)))

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        begun = time.perf_counter()
        try:
            body = self._inner.open_range(start, stop)
        except BaseException as failure:
            seconds = time.perf_counter() - begun
            self._meter.add(Sample(self._scheme, "open_range", seconds, error=type(failure).__name__))
            raise
        return _MeteredBody(body, self._meter, Sample(self._scheme, "open_range", begun))

    def close(self) -> None:
        self._inner.close()


class _MeteredBody(RangeBody):
    """A range on its way in, counted when it is let go of."""

    def __init__(self, inner: RangeBody, meter: Metering, begun: Sample) -> None:
        self._inner = inner
        self._meter = meter
        self._begun: Sample | None = begun
        self._read = 0
        self._error = ""

    def readinto(self, view: memoryview, /) -> int:
        try:
            count = self._inner.readinto(view)
        except BaseException as failure:
            self._error = type(failure).__name__
            raise
        self._read += count
        return count

    def close(self) -> None:
        self._inner.close()
        begun, self._begun = self._begun, None
        if begun is not None:
            seconds = time.perf_counter() - begun.seconds
            self._meter.add(replace(begun, seconds=seconds, read=self._read, error=self._error))


class _MeteredWriter(ObjectWriter):
    """A writer whose requests are counted."""

    def __init__(self, inner: ObjectWriter, meter: Metering, scheme: str) -> None:
        self._inner = inner
        self._meter = meter
        self._scheme = scheme
        self.ordered = inner.ordered
        self.copies = inner.copies

    def part_size(self, number: int, /) -> int:
        return self._inner.part_size(number)

    def put(self, body: Body, /) -> Stat:
        with self._meter.timed(self._scheme, "put", written=body_size(body)):
            return self._inner.put(body)

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        with self._meter.timed(self._scheme, "write_part", written=body_size(body)):
            self._inner.write_part(number, offset, body)

    def copy_part(self, number: int, offset: int, start: int, stop: int, /) -> None:
        with self._meter.timed(self._scheme, "copy_part"):
            self._inner.copy_part(number, offset, start, stop)

    def commit(self) -> Stat:
        with self._meter.timed(self._scheme, "commit"):
            return self._inner.commit()

    def abort(self) -> None:
        with self._meter.timed(self._scheme, "abort"):
            self._inner.abort()
