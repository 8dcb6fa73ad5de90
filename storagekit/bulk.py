"""Bulk: many whole objects, read at once and given out as they arrive.

*Who does what.* The consumer's thread draws the URLs, keeps the books and gives out results; the threads of a ``_Crew``
read. They talk through two ``SimpleQueue``s, and there is no lock. So a generator that is dropped can end its
crew from wherever the garbage collector finds it: all that takes is ``SimpleQueue.put``, which is reentrant. The
threads never wait for the consumer: one that has read puts down what it has and takes the next.

*Small objects* are one request, whose answer is the result: opening brings the first ``HEAD`` bytes along, and an
object that is no longer than that never passes through the block cache, where it would push out what others read.

*Large objects* are read in two steps. The first opens, as for every object, and so learns the size; the second reads
through the engine, which spreads one object over many connections. Between the two an object waits until there is
room for its bytes. It waits as a suspended generator in the consumer's books, and not in a thread.

*Memory.* An object counts from the moment its URL is drawn until its result is taken: at most ``in_flight`` count at
any time, of which each holds up to ``HEAD`` bytes. Large ones hold more only when their turn has come: ``LARGE_BYTES``
together, or one alone whatever its size. A consumer that pauses therefore stops the reading.

*The end*, whether everything was read, the loop was left, an error was raised or the generator was collected, is the
flag ``over``: what has not begun does not begin, and a large object that is being read is left where it is.
Nobody waits for the threads, each of which may still hear the one answer that it is waiting for.

*Fork.* A child that goes on with its parent's generator has none of its threads. It makes a crew of its own and
reads again what was on its way; parent and child each get everything.
"""

from __future__ import annotations

import builtins
import errno
import io
import operator
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import IO, Any, Generic, TypeVar, cast

from storagekit.backend import Resource
from storagekit.driver import RangeBody, RangeReader
from storagekit.errors import invalid, os_error
from storagekit.files import Streams
from storagekit.hiding import password_refusal
from storagekit.reading import ReadStream
from storagekit.verifying import verifier

__all__ = ["IN_FLIGHT", "check_arguments", "read_many"]

# As many requests as keep a connection of 10 Gbit/s busy with objects of half a megabyte, where each takes 28 ms to its
# first byte; and for small ones more than a client in Python can ask for in that time.
IN_FLIGHT = 64

# What comes along with opening. 1 MiB at 80 MB/s takes 13 ms, less than the first byte of a second request.
HEAD = 1024 * 1024

# What objects longer than that may hold together, being read or read and not yet taken. One object alone fills a
# link, by the many connections that the engine reads it over; sixteen of 8 MiB do so without a pause between them.
LARGE_BYTES = 128 * 1024 * 1024

P = TypeVar("P", bound=str | bytes | os.PathLike[Any])
# How long closing a Storage waits for answers that nobody will take: most come in a fraction of a second, and one that
# never comes is not worth waiting for.
LEAVING_SECONDS = 3.0

Steps = Generator[int, None, bytes]
"""How one object is read: it yields the size of a large one, once, to wait for room, and returns the bytes."""


def read_many(
    urls: Iterable[P],
    locate: Callable[[P], Resource | None],
    streams: Streams,
    *,
    in_flight: int,
    on_error: str,
    closed: Callable[[], bool],
) -> Generator[tuple[P, Any], None, None]:
    """``Storage.read_many``, over what it needs of a ``Storage``; nothing is drawn or read before the first ``next``.

    *locate* tells what a URL names, None for a plain local path; *closed* tells whether the ``Storage`` is closed.
    """
    if isinstance(urls, str | bytes):
        raise TypeError(f"urls must be an iterable of URLs; for the one URL {urls!r}, use open(url, 'rb').read()")
    check_arguments(in_flight, on_error)
    return _results(_Call(iter(urls), locate, streams, in_flight, closed), strict=on_error == "raise")


def check_arguments(in_flight: int, on_error: str) -> None:
    """Refuse what no call for many objects can do, reading or writing."""
    if operator.index(in_flight) < 1:
        raise invalid("in_flight", f"in_flight must be at least 1, not {in_flight}")
    if on_error not in ("return", "raise"):
        raise invalid("on_error", f"on_error must be 'return' or 'raise', not {on_error!r}")


def _results(call: _Call[P], *, strict: bool) -> Generator[tuple[P, bytes | OSError], None, None]:
    try:
        while call.more():
            if call.arrive():
                yield call.take(strict)  # without a name here, which would keep it alive until the next has come
    finally:
        call.end()


class _Item(Generic[P]):
    """One URL on its way. It is in the hands of one thread at a time."""

    __slots__ = ("outcome", "resource", "size", "steps", "url")

    def __init__(self, url: P) -> None:
        self.url = url
        self.resource: Resource | None = None
        """What the URL names; None for a plain local path."""
        self.steps: Steps | None = None
        self.size = 0
        """What it counts for among the large ones."""
        self.outcome: bytes | BaseException | None = None


class _Call(Generic[P]):
    """The books of one call, which only the consumer's thread looks into."""

    def __init__(
        self,
        urls: Iterator[P],
        locate: Callable[[P], Resource | None],
        streams: Streams,
        in_flight: int,
        closed: Callable[[], bool],
    ) -> None:
        self._urls: Iterator[P] | None = urls
        self._locate = locate
        self._streams = streams
        self._most = in_flight
        self._closed = closed
        self._outstanding: set[_Item[P]] = set()
        """Drawn, and not yet given out."""
        self._waiting: deque[_Item[P]] = deque()
        """Large, opened, and without room."""
        self._held = 0
        """The bytes of the large ones that have room."""
        self._arrived: _Item[P] | None = None
        self._crew = _Crew(streams)

    def more(self) -> bool:
        """Draw URLs as long as there may be more in flight, and tell whether anything is left to take."""
        self._check_open()
        if self._crew.process != os.getpid():
            self._restart()
        drawn = False
        while self._urls is not None and len(self._outstanding) < self._most:
            if drawn and not self._crew.done.empty():
                break  # where drawing is slow, as out of a listing, what has arrived does not wait for it
            try:
                url = next(self._urls)
            except StopIteration:
                self._urls = None
            else:
                self._draw(url)
                drawn = True
        return bool(self._outstanding)

    def _draw(self, url: P) -> None:
        os.fspath(cast(Any, url))  # TypeError for what is no path: a descriptor is none, either
        item = _Item(url)
        self._outstanding.add(item)
        item.outcome = password_refusal(url)  # not raised here, where it is a local
        if item.outcome is None:
            try:
                item.resource = self._locate(url)
            except OSError as error:
                item.outcome = error
        self._crew.give(item)

    def arrive(self) -> bool:
        """Wait for what comes next, and tell whether it is a result: a large object may only have been opened."""
        item = self._crew.take()
        self._check_open()
        if item.outcome is None:
            self._waiting.append(item)
        else:
            self._outstanding.discard(item)
            self._held -= item.size
            self._arrived = item
        self._make_way()
        return self._arrived is not None

    def take(self, strict: bool) -> tuple[P, bytes | OSError]:
        """Give out what has arrived; raise an error if *strict*, and always where it is no ``OSError``."""
        item, self._arrived = self._arrived, None
        assert item is not None
        outcome, item.outcome = item.outcome, None  # an error's traceback leads to the item: no cycle through it
        if isinstance(outcome, BaseException) and (strict or not isinstance(outcome, OSError)):
            try:
                raise outcome
            finally:
                del outcome  # its traceback holds this frame
        assert outcome is not None
        return item.url, outcome

    def _make_way(self) -> None:
        """Let large objects go on, as many as there is room for, in the order in which they came."""
        while self._waiting and (not self._held or self._held + self._waiting[0].size <= LARGE_BYTES):
            item = self._waiting.popleft()
            self._held += item.size
            self._crew.give(item)

    def _check_open(self) -> None:
        if self._closed():
            raise ValueError("this Storage is closed")

    def _restart(self) -> None:
        """In a forked child: go on with a new crew, which has everything still to do."""
        self._crew = _Crew(self._streams)
        self._waiting.clear()
        self._held = 0
        outstanding, self._outstanding = self._outstanding, set()
        for item in outstanding:
            self._draw(item.url)

    def end(self) -> None:
        """Give up what is left. Safe in a finalizer."""
        self._crew.end(self._waiting)


class _Crew:
    """The threads of one call in one process. They come as they are needed, and stay until the call's end."""

    def __init__(self, streams: Streams) -> None:
        self.process = os.getpid()
        self.done: SimpleQueue[_Item[Any]] = SimpleQueue()
        """What has an outcome, or waits for room."""
        self._streams = streams
        self._todo: SimpleQueue[_Item[Any] | None] = SimpleQueue()
        self._begun = 0
        """How many were given, and not yet taken again."""
        self._threads: list[threading.Thread] = []
        self._over = False
        self._closing = False
        streams.transfers.also_ends(self)

    def give(self, item: _Item[Any]) -> None:
        """Have the next step of *item* done; where no thread can be had, here and now."""
        self._begun += 1
        if item.outcome is not None:
            self.done.put(item)
        elif len(self._threads) < self._begun - self.done.qsize() and not self._grow() and not self._threads:
            self._advance(item)
        else:
            self._todo.put(item)

    def take(self) -> _Item[Any]:
        """Wait for an item to be done with its step."""
        item = self.done.get()
        self._begun -= 1
        return item

    def _grow(self) -> bool:
        thread = threading.Thread(target=self._work, name="storagekit-bulk", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the system is out of threads
            return False
        self._threads.append(thread)
        return True

    def _work(self) -> None:
        while (item := self._todo.get()) is not None:
            self._advance(item)
            del item  # a thread that waits keeps no object alive
        self._drop()

    def _advance(self, item: _Item[Any]) -> None:
        """Do one step of *item* and put it down."""
        try:
            if self._over:
                pass
            elif item.steps is None:
                item.steps = self._steps(item)
                item.size = next(item.steps)
            else:
                next(item.steps)
        except StopIteration as end:
            item.outcome = end.value
        except BaseException as error:
            item.outcome = error
        self.done.put(item)

    def _steps(self, item: _Item[Any]) -> Steps:
        if item.resource is None:
            return _read_file(builtins.open(item.url, "rb", buffering=0))
        return _read_object(item.resource, self._streams, lambda: self._over)

    def end(self, waiting: Iterable[_Item[Any]]) -> None:
        """Do nothing more, and let go of everything, those that are *waiting* included. Safe in a finalizer."""
        self._over = True
        for item in waiting:
            self._todo.put(item)
        for _ in self._threads:
            self._todo.put(None)

    def end_threads(self) -> None:
        """The ``Storage`` is being closed: a connection of its driver would come to nobody."""
        self._closing = True
        self.end(())
        deadline = time.monotonic() + LEAVING_SECONDS
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _drop(self) -> None:
        """At a thread's end: close what nobody will take. The last thread to end finds what is left."""
        # Where the Storage was closed, somebody may be waiting for these, and learns so that it is over.
        while not self.done.empty() and not self._closing:
            try:
                item = self.done.get_nowait()
            except Empty:
                return
            if item.steps is not None:
                item.steps.close()


def _read_object(resource: Resource, streams: Streams, over: Callable[[], bool]) -> Steps:
    """The steps to an object's bytes."""
    file = resource.backend.open_file(resource.location, resource.options, 0)
    if file is not None:
        return (yield from _read_file(file))
    reader = streams.open_object(resource, head=HEAD)
    try:
        size = reader.stat.size
        if size == len(reader.head):
            if (check := verifier(reader.checksum, size)) is not None:
                check.take(0, reader.head, str(resource.location))
            return reader.head
        if size is not None and size > HEAD:
            yield size
        whole = _UntilOver(reader, over)
        with ReadStream(whole, streams.cache, streams.reaper, buffered=False, timeout=resource.timeout) as raw:
            return raw.readall()
    finally:
        reader.close()


def _read_file(file: IO[bytes]) -> Steps:
    """The steps to the bytes of a file of the system's own."""
    with file:
        try:
            size = os.fstat(file.fileno()).st_size
        except io.UnsupportedOperation:  # a driver's own file object
            size = 0
        if size > HEAD:
            yield size
        return file.read()


class _UntilOver(RangeReader):
    """A reader that gives nothing more once the call is over, so that whoever reads from it ends."""

    def __init__(self, reader: RangeReader, over: Callable[[], bool]) -> None:
        self.stat = reader.stat
        self.cache_key = reader.cache_key
        self.checksum = reader.checksum
        self.head, reader.head = reader.head, b""  # it is to be held once, and let go of soon
        self._reader = reader
        self._over = over

    def check(self) -> None:
        if self._over():
            raise os_error(errno.ECANCELED, self.stat.location)

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        self.check()
        return _BodyUntilOver(self._reader.open_range(start, stop), self.check)

    def close(self) -> None:
        self._reader.close()


class _BodyUntilOver(RangeBody):
    """One range of it."""

    def __init__(self, body: RangeBody, check: Callable[[], None]) -> None:
        self._body = body
        self._check = check

    def readinto(self, view: memoryview, /) -> int:
        self._check()
        return self._body.readinto(view)

    def close(self) -> None:
        self._body.close()
