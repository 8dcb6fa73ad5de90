"""Bulk writing: many objects, written side by side, each whole or not at all.

The caller's thread draws pairs of a URL and its bytes and hands each to a thread of the call's own; it waits while as
many are on their way as were asked for, so an iterator may yield millions of pairs in bounded memory. An object that
fits in a first part is one ``put`` of the very buffer that was given; a longer one goes out in parts as from ``open``.

Nothing is left running at the end: who returns, with an error or without, has waited for what was on its way.

*Fork.* The iterator is the caller's own code, and may fork. What is on its way is the parent's, which goes on; a child
that comes back into the call has none of its threads, and is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from storagekit import lookup
from storagekit.backend import Resource
from storagekit.bulk import check_arguments
from storagekit.deadlines import within, without
from storagekit.errors import os_error
from storagekit.files import Streams
from storagekit.hiding import password_refusal
from storagekit.sending import PartSender
from storagekit.transfers import Job, Transfers

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["IN_FLIGHT", "write_many"]

# A write of 16 KiB that is 28 ms away costs Python half a millisecond: this many keep one busy.
IN_FLIGHT = 64

P = TypeVar("P", bound=str | bytes | os.PathLike[Any])


def write_many(
    objects: Mapping[P, ReadableBuffer] | Iterable[tuple[P, ReadableBuffer]],
    locate: Callable[[P], Resource | None],
    streams: Streams,
    *,
    in_flight: int,
    on_error: str,
) -> list[tuple[P, OSError]]:
    """``Storage.write_many``, over what it needs of a ``Storage``; *locate* tells what a URL names."""
    check_arguments(in_flight, on_error)
    pairs: Iterator[tuple[P, ReadableBuffer]] = iter(objects.items() if isinstance(objects, Mapping) else objects)
    call = _Call(pairs, locate, streams, in_flight, strict=on_error == "raise")
    try:
        return call.run()
    finally:
        call.end()


class _Call:
    """The books of one call, which only its caller's thread looks into."""

    def __init__(
        self,
        pairs: Iterator[tuple[Any, ReadableBuffer]],
        locate: Callable[[Any], Resource | None],
        streams: Streams,
        in_flight: int,
        *,
        strict: bool,
    ) -> None:
        self._pairs = pairs
        self._locate = locate
        self._streams = streams
        self._most = in_flight
        self._strict = strict
        self._outstanding = 0
        self._over = False
        self._done: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._threads = Transfers(in_flight)
        self._pid = os.getpid()

    def run(self) -> list[tuple[Any, OSError]]:
        """Write everything; the failures."""
        failures: list[tuple[Any, OSError]] = []
        for pair in self._pairs:
            self._check_process()
            url, data = _checked(pair)
            os.fspath(url)  # TypeError for what is no path: a descriptor is none, either
            if (refusal := password_refusal(url)) is not None:
                del pair, url, data  # this frame is seen with the error
                raise refusal
            resource = self._locate(url)
            body = _bytes_of(url, data)
            while self._outstanding >= self._most:
                self._settle(failures)
            self._outstanding += 1
            self._threads.submit(Job(self._work(url, resource, body)))
        while self._outstanding:
            self._settle(failures)
        return failures

    def _work(self, url: Any, resource: Resource | None, data: bytes) -> Callable[[], None]:
        def work() -> None:
            error: BaseException | None = None
            try:
                if not self._over:
                    _write(url, resource, data, self._streams)
            except BaseException as failure:
                error = failure
            self._done.put((url, error))

        return work

    def _settle(self, failures: list[tuple[Any, OSError]]) -> None:
        """Wait for one to be over."""
        self._check_process()
        url, error = self._done.get()
        self._outstanding -= 1
        if error is None:
            return
        if self._strict or not isinstance(error, OSError):
            raise error
        failures.append((url, error))

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            text = f"this write_many was inherited through fork: it belongs to process {self._pid}"
            raise os_error(errno.EBADF, "write_many", text)

    def end(self) -> None:
        """What has not begun does not begin; what is on its way is waited for."""
        self._over = True
        if os.getpid() != self._pid:
            return  # its threads are the parent's, and so may its locks be
        self._threads.close()


def _checked(pair: Any) -> tuple[Any, ReadableBuffer]:
    if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
        text = "objects must be a mapping of URLs to their bytes, or an iterable of such pairs"
        raise TypeError(f"{text}, and not of {type(pair).__name__}")
    return pair[0], pair[1]


def _bytes_of(url: object, data: ReadableBuffer) -> bytes:
    """*data* as it is now: bytes as they are, and a copy of what its owner may change before it is sent."""
    if isinstance(data, str):
        raise TypeError(f"the bytes of {url!r} are a str; encode it, or write it through open(url, 'w')")
    return data if isinstance(data, bytes) else bytes(memoryview(data).cast("B"))


def _write(url: Any, resource: Resource | None, data: bytes, streams: Streams) -> None:
    """Write one object whole."""
    if resource is None:
        with open(url, "wb") as file:
            file.write(data)
        return
    with within(resource.timeout):
        _write_object(resource, data, streams)


def _write_object(resource: Resource, data: bytes, streams: Streams) -> None:
    location = resource.location
    lookup.refuse_directory(resource)
    writer = resource.backend.open_write(location, resource.options)
    try:
        if len(data) <= writer.part_size(1):
            writer.put([data] if data else [])
            return
    except BaseException:
        with without():
            writer.abort()
        raise
    sender = PartSender(writer, location.url, streams.transfers, streams.reaper, streams.room)
    try:
        sender.feed(memoryview(data))
        sender.publish()
    finally:
        sender.abort()  # unless it was published
