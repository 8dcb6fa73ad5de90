"""Writing: bytes become parts, and nothing is published that was not finished.

``WriteSink`` is the raw stream over a ``PartSender`` (see ``sending``). ``BinaryWriter``, ``BinaryEditor`` and
``TextWriter`` are the layers that users hold, and only they can publish: a successful ``close()`` of the outermost one
does. Everything else ends in an abort:

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
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from storagekit.deadlines import within
from storagekit.driver import Stat
from storagekit.errors import os_error, unsupported
from storagekit.forking import inherits
from storagekit.sending import PartSender

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["BinaryEditor", "BinaryWriter", "TextWriter", "WriteSink"]


class Finishing(Protocol):
    """A layer between buffer and sink that has an end of its own to write, such as a codec."""

    def finish(self) -> None:
        """Write the end into the layer below."""


class WriteSink(io.RawIOBase):
    """The raw stream: every ``close`` aborts, unless ``publish`` came first."""

    def __init__(self, sender: PartSender, mode: str = "wb", timeout: float | None = None) -> None:
        """*timeout*: the seconds that one write may take, or publishing."""
        self.timeout = timeout
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
            with within(self.timeout):
                self._take(view)
            return len(view)
        except BaseException as error:  # an interrupt may also come after the feeding
            self._sender.poison(error)
            raise

    def _take(self, data: memoryview) -> None:
        self._sender.feed(data)

    def publish(self) -> None:
        """Write the ends of the layers above and publish the object."""
        if self._muted:
            self._sender.abort()
            raise os_error(errno.ECANCELED, self.name, "this writer was given up, so the object cannot be published")
        for layer in self.finishing:
            layer.finish()
        self.stat = self._publish()

    def _publish(self) -> Stat:
        """Publish what has reached this stream."""
        return self._sender.publish()

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
                with within(self.timeout):
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

    def _dealloc_warn(self, source: object) -> None:
        # io says so on the way down when a foreign layer above, which is no user's close(), is collected.
        self.abandon()

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

    def __repr__(self) -> str:
        try:
            state = "open" if not self.closed else "discarded" if self.stat is None else "published"
        except (AttributeError, ValueError):  # not made to its end, or detached
            return f"<{type(self).__name__} detached>"
        return f"<{type(self).__name__} {self._sink.name!r} {state}>"

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
            with within(self._sink.timeout):
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
        inherits(self)

    def renew(self) -> None:
        """See ``forking``."""
        io.BufferedWriter.__init__(self, self.raw)

    def seekable(self) -> bool:
        """True for an object that is appended to; else False, but for the moment in which a text layer asks whether
        this is the start of the stream."""
        return self._at_start or super().seekable()

    def tell(self) -> int:
        # What is below a codec cannot tell, and this is asked in that same moment.
        return 0 if self._at_start and not super().seekable() else super().tell()


class BinaryEditor(_Outermost, io.BufferedRandom):
    """A binary file object to read and to write: the C buffer over a draft of the object.

    >>> import storagekit
    >>> with storagekit.open("memory://editor-example/key", "w+b") as f:
    ...     _ = f.write(b"one two")
    ...     _ = f.seek(4)
    ...     f.read()
    b'two'
    """

    def __init__(self, raw: io.RawIOBase, sink: WriteSink, buffer_size: int) -> None:
        io.BufferedRandom.__init__(self, raw, buffer_size)
        self._sink = sink
        self._outer = True
        inherits(self)

    def renew(self) -> None:
        """See ``forking``."""
        io.BufferedRandom.__init__(self, self.raw)


class TextWriter(_Outermost, io.TextIOWrapper):
    """A text file object on its way to a store: the C text layer over a ``BinaryWriter`` or a ``BinaryEditor``.

    >>> import storagekit
    >>> with storagekit.open("memory://writer-example/text", "w") as f:
    ...     _ = f.write("whole")
    >>> f.stat.size
    5
    """

    def __init__(self, buffer: BinaryWriter | BinaryEditor, **text: object) -> None:
        # TextIOWrapper writes the byte order mark of UTF-16 and UTF-32 only where it can see that it is at the start.
        if isinstance(buffer, BinaryWriter):
            buffer._at_start = True
        try:
            io.TextIOWrapper.__init__(self, buffer, **text)  # type: ignore[arg-type]
        finally:
            if isinstance(buffer, BinaryWriter):
                buffer._at_start = False
        self._sink = buffer._sink
        self._outer = True
        self._binary = buffer
        buffer._outer = False

    def detach(self) -> BinaryWriter | BinaryEditor:
        """Separate the binary layer and return it; it is then the outermost one."""
        io.TextIOWrapper.detach(self)
        self._outer, self._binary._outer = False, True
        return self._binary
