"""Writing: bytes become parts, and nothing is published that was not finished.

Three things stand on one another. ``PartSender`` collects bytes into parts, sends them with bounded memory, and
in the end publishes or aborts. ``WriteSink`` is the raw stream over it. ``BinaryWriter`` and ``TextWriter`` are the
layers that users hold, and only they can publish: a successful ``close()`` of the outermost one does.
Everything else ends in an abort:

* ``__exit__`` with an exception, and ``discard()``;
* the first failure of a part or of the sink, which poisons the writer: a later ``close()`` raises it again;
* closing a layer that is not the outermost one (``f.buffer.close()``, ``f.detach()`` without a new owner), which the
  outermost one's ``close()`` then reports;
* a finalizer, which leaves the abort to the reaper, and the interpreter's exit.

``close()`` of the C layers below always reaches ``WriteSink.close``, which aborts unless ``publish`` came
first. So publishing needs an explicit step, and no path through ``io`` does it by accident. A
``TypeError`` or ``UnicodeEncodeError`` of the caller never reaches the sink and poisons nothing.

What cannot be seen from here: a *foreign* ``io.TextIOWrapper(f)`` that is left by an exception closes *f* itself
before *f* learns of it, which looks like success. ``f.discard()`` is the way out of that.

In a forked child an inherited writer is dead: it neither sends, nor publishes, nor aborts what its parent is writing.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import threading
import warnings
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from storagekit.driver import ObjectWriter, Stat
from storagekit.errors import OutcomeUnknownError, os_error, unsupported
from storagekit.transfers import Job, Reaper, Transfers

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["BinaryWriter", "PartSender", "TextWriter", "WriteSink"]

logger = logging.getLogger(__name__)


class PartSender:
    """The parts of one object on their way out. Used by one thread at a time, but for ``abort``.

    It ends once: by the first of ``publish`` and ``abort`` that takes ``_ended``, which is never given back. Until that
    is done the reaper keeps it, so that nothing exits or closes in the middle of it.
    """

    def __init__(self, writer: ObjectWriter, url: str, transfers: Transfers, reaper: Reaper, limit: int) -> None:
        self.url = url
        self.written = 0
        """Bytes taken in so far."""
        self.abandoned = False
        """True once a finalizer gave it up; the abort itself may still be the reaper's to do."""
        self.unseen = False
        """True where a buffer above may have held bytes that are not in ``written``."""
        self._writer = writer
        self._transfers = transfers
        self._reaper = reaper
        self._limit = limit
        self._pid = os.getpid()
        self._part = bytearray()
        self._number = 1
        self._size = self._part_size(1)
        self._sent = 0
        self._jobs: deque[tuple[Job, int]] = deque()
        self._in_flight = 0
        self._failure: Exception | None = None
        self._ended = threading.Lock()
        self.over = threading.Event()
        """Set when it has been published or given up, and nothing of it is under way any more."""
        reaper.watch(self)

    def __repr__(self) -> str:
        return f"<writer of {self.url!r}>"

    @property
    def ended(self) -> bool:
        """True once it is being published or given up."""
        return self._ended.locked()

    @property
    def inherited(self) -> bool:
        """True in a forked child of the process that opened it."""
        return self._pid != os.getpid()

    def feed(self, data: memoryview) -> None:
        """Take *data* in, sending every part that is full and not the last."""
        self._check()
        try:
            while len(data):
                if len(self._part) >= self._size:
                    self._send()
                room = self._size - len(self._part)
                self._part += data[:room]
                self.written += min(room, len(data))
                data = data[room:]
        except BaseException as error:
            self.poison(error)
            raise

    def poison(self, error: BaseException) -> None:
        """A write failed or was interrupted. How much of it was taken in is unknown to the layer above, which would
        send it again, so nothing is taken in or published any more."""
        if self._failure is None:
            if not isinstance(error, Exception) or isinstance(error, InterruptedError):
                # Not EINTR, which the C buffer takes for a reason to write again, at once and for ever.
                message = "a write was interrupted, so the object cannot be published"
                error = os_error(errno.ECANCELED, self.url, message)
            self._failure = error

    def _check(self) -> None:
        if self.inherited:
            raise os_error(
                errno.EBADF, self.url, f"this writer was inherited through fork: it belongs to process {self._pid}"
            )
        if self._failure is not None:
            raise self._failure
        if self.abandoned or self.ended:
            raise self._given_up()

    def _given_up(self) -> OSError:
        return os_error(errno.ECANCELED, self.url, "this writer was given up, so the object cannot be published")

    def _send(self) -> None:
        """Send the current part in the background, once there is room for it among those in flight."""
        number, offset, body = self._number, self._sent, self._part
        while self._jobs and (self._writer.ordered or self._in_flight + len(body) > self._limit):
            self._settle_oldest()
        job = Job(lambda: self._writer.write_part(number, offset, [body]))
        self._jobs.append((job, len(body)))
        self._in_flight += len(body)
        self._sent += len(body)
        self._part = bytearray()
        self._number += 1
        self._size = self._part_size(self._number)
        self._transfers.submit(job)

    def _part_size(self, number: int) -> int:
        size = self._writer.part_size(number)
        if size < 1:  # which would send empty parts for ever
            raise os_error(errno.EINVAL, self.url, f"the driver wants {size} bytes in part {number}")
        return size

    def _settle_oldest(self) -> None:
        job, size = self._jobs[0]
        job.result()  # until it is over it stays in the queue, where an abort finds and awaits it
        self._jobs.popleft()
        self._in_flight -= size

    def publish(self) -> Stat:
        """Send what is left and publish the object; raise, having aborted, where that fails."""
        try:
            self._check()
        except BaseException:
            self.abort()
            raise
        if not self._ended.acquire(blocking=False):
            raise self._given_up()  # another thread was faster; what is left here is not the whole any more
        try:
            if self._number == 1:
                stat = self._writer.put([self._part] if self._part else [])
            else:
                if self._part:
                    self._send()
                while self._jobs:
                    self._settle_oldest()
                stat = self._writer.commit()
        except BaseException as error:
            self._clean_up(certain=isinstance(error, Exception) and not isinstance(error, OutcomeUnknownError))
            raise
        self._finish()
        return stat

    def _finish(self) -> None:
        self.over.set()
        self._reaper.forget(self)

    def abort(self) -> None:
        """Give the object up: wait for the parts in flight, then remove what was sent. Does not raise."""
        if not self.inherited and self._ended.acquire(blocking=False):
            self._clean_up()

    def _clean_up(self, *, certain: bool = True) -> None:
        """End without having published; *certain* is False where the store may have published it all the same."""
        try:
            if not certain:
                logger.warning("%r: it is not known whether what was written is published", self.url)
            elif self.unseen:
                logger.warning("%r was not closed: what was written is discarded, nothing is published", self.url)
            elif self.written:
                message = "%r: %d bytes that were written are discarded, nothing is published"
                logger.warning(message, self.url, self.written)
            for job, _ in list(self._jobs):
                job.cancel()
            self._jobs.clear()
            self._part = bytearray()
            try:
                self._writer.abort()
            except OSError:  # once more, on nobody's time: what hindered it has often passed by then
                self._reaper.leave(self._abort_again)
        except Exception:
            self._warn_of_remains()
        finally:
            self._finish()

    def _abort_again(self) -> None:
        try:
            self._writer.abort()
        except Exception:
            self._warn_of_remains()

    def _warn_of_remains(self) -> None:
        logger.warning("%r: an unfinished upload may remain", self.url, exc_info=True)

    def abandon(self) -> None:
        """Leave the abort to the reaper: all that a finalizer may do."""
        if not self.ended and not self.inherited:
            self.abandoned = self.unseen = True
            self._reaper.leave(self.abort)

    def give_up(self) -> None:
        """Abort it, still open as it is: the reaper does so at exit. What buffers above hold is lost uncounted."""
        self.unseen = True
        self.abort()


class Finishing(Protocol):
    """A layer between buffer and sink that has an end of its own to write, such as a codec."""

    def finish(self) -> None:
        """Write the end into the layer below."""


class WriteSink(io.RawIOBase):
    """The raw stream: every ``close`` aborts, unless ``publish`` came first."""

    def __init__(self, sender: PartSender, mode: str = "wb") -> None:
        self.name = sender.url
        self.mode = mode
        self._sender = sender
        self._muted = False
        self.finishing: list[Finishing] = []
        """Layers above that write their end before the object is published."""
        self.stat: Stat | None = None
        """What was published, once it is."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {'closed' if self.closed else f'{self._sender.written} bytes'}>"

    def writable(self) -> bool:
        self._check_open()
        return True

    def fileno(self) -> int:
        raise unsupported(self.name, "an object in a store has no file descriptor; write a local file and copy it")

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        raise unsupported(self.name, "an object is written from start to end; it cannot seek")

    def tell(self) -> int:
        self._check_open()
        return self._sender.written

    def write(self, data: ReadableBuffer, /) -> int:
        self._check_open()
        view = memoryview(data).cast("B")
        if self._muted:
            self._sender.written += len(view)
            return len(view)
        try:
            self._sender.feed(view)
            return len(view)
        except BaseException as error:  # an interrupt may also come after the feeding
            self._sender.poison(error)
            raise

    def publish(self) -> None:
        """Write the ends of the layers above and publish the object."""
        if self._muted:
            self._sender.abort()
            raise os_error(errno.ECANCELED, self.name, "this writer was given up, so the object cannot be published")
        for layer in self.finishing:
            layer.finish()
        self.stat = self._sender.publish()

    def poison(self, error: BaseException) -> None:
        """A layer above failed in the middle of a write: what it holds is no longer whole."""
        self._sender.poison(error)

    def mute(self) -> None:
        """Nothing will be published: what the layers above still flush while they close goes nowhere."""
        self._muted = True

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.close_below()
            if self.stat is None and not self._sender.abandoned:  # else this is the finalizer of a layer above
                self._sender.abort()

    def close_below(self) -> None:
        """A layer below the outermost is closed; unless those above told us, what they hold is lost uncounted."""
        if not self._muted:
            self._sender.unseen = True

    def abandon(self) -> None:
        """All that a finalizer does: warn, and leave the abort to the reaper."""
        heard = self._muted or self.closed or self._sender.ended  # published or given up, and said so
        if not heard and not self._sender.inherited:
            self._muted = True
            self._sender.abandon()  # first: a filter may make an exception of the warning
            warnings.warn(f"unclosed, not published: {self.name!r}", ResourceWarning, stacklevel=3, source=self)

    def __del__(self) -> None:
        if hasattr(self, "finishing"):
            self.abandon()


class _Outermost(io.IOBase):
    """What the layers that users hold have in common: they publish at ``close``, and only there."""

    _sink: WriteSink
    _outer = False
    _told = False
    """True once the user has heard how it ended: by ``close`` or ``discard`` of the outermost layer."""

    @property
    def stat(self) -> Stat | None:
        """What was published; None before a successful ``close``."""
        return self._sink.stat

    def discard(self) -> None:
        """Close without publishing: the object stays what it was, and what was sent is removed."""
        self._told = True
        if not self.closed:
            self._sink.mute()
            super().close()

    def close(self) -> None:
        """Publish the object and close; when this returns it is visible. Raises, having aborted, where it cannot be."""
        if self.closed:
            if self._outer and not self._told:
                self._told = True
                message = "a layer below was closed before this one, so nothing was published"
                raise os_error(errno.ECANCELED, self._sink.name, message)
            return
        if not self._outer:
            self._sink.close_below()
            self.discard()
            return
        self._told = True
        try:
            self.flush()
            self._sink.publish()
        except BaseException:
            self.discard()
            raise
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if self._outer:
            self._sink.abandon()


class BinaryWriter(_Outermost, io.BufferedWriter):
    """A binary file object on its way to a store: the C buffer over a sealed sink.

    >>> import storagekit
    >>> f = storagekit.open("memory://writer-example/key", "wb")
    >>> f.write(b"half of it")
    10
    >>> if isinstance(f, storagekit.BinaryWriter):  # as it is for every URL
    ...     f.discard()
    >>> storagekit.exists("memory://writer-example/key")
    False
    """

    def __init__(self, raw: io.RawIOBase, sink: WriteSink, buffer_size: int) -> None:
        io.BufferedWriter.__init__(self, raw, buffer_size)
        self._sink = sink
        self._outer = True
        self._at_start = False

    def seekable(self) -> bool:
        """False, but for the moment in which a text layer asks whether this is the start of the stream."""
        return self._at_start

    def tell(self) -> int:
        # What is below a codec cannot tell, and this is asked in that same moment.
        return 0 if self._at_start else super().tell()


class TextWriter(_Outermost, io.TextIOWrapper):
    """A text file object on its way to a store: the C text layer over a ``BinaryWriter``.

    >>> import storagekit
    >>> with storagekit.open("memory://writer-example/text", "w") as f:
    ...     _ = f.write("whole")
    >>> f.stat.size
    5
    """

    def __init__(self, buffer: BinaryWriter, **text: object) -> None:
        # TextIOWrapper writes the byte order mark of UTF-16 and UTF-32 only where it can see that it is at the start.
        buffer._at_start = True
        try:
            io.TextIOWrapper.__init__(self, buffer, **text)  # type: ignore[arg-type]
        finally:
            buffer._at_start = False
        self._sink = buffer._sink
        self._outer = True
        self._binary = buffer
        buffer._outer = False

    def detach(self) -> BinaryWriter:
        """Separate the binary layer and return it; it is then the outermost one."""
        io.TextIOWrapper.detach(self)
        self._outer, self._binary._outer = False, True
        return self._binary
