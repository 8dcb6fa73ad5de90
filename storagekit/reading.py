"""Reading: a position over the blocks of one object, and the buffer on top of it.

``ReadStream`` implements what ``io.RawIOBase`` wants of a raw stream, ``readinto`` above all; lines, ``peek``,
``read1`` and the rest come from the C ``io.BufferedReader`` on top, of which ``BufferedReader`` here is a thin
subclass. Nothing is read line by line in Python.

A fill of the buffer stops at the block's end while reads jump: otherwise a read of 4 KiB would reach the store as
all the blocks that the buffer touches. While they are sequential the buffer is filled whole, which saves Python code
per line. A read that is longer than the buffer is somebody's real demand and is served in one go, without passing
through it.

Each byte is given once, to whichever thread comes first, as by the builtin's raw stream, which leaves that to the
system: so a lock is held over the position, what is read there and what verifies it. Reads that bring their own
offset take no lock.

A handle is for one version of one object. It pickles as a recipe: open the same URL again, check that it is still
that version, go to the same offset.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from storagekit.access import Access
from storagekit.blocks import BlockCache
from storagekit.deadlines import within
from storagekit.driver import RangeReader, Stat
from storagekit.errors import unsupported
from storagekit.flights import Source
from storagekit.forking import inherits
from storagekit.ranges import Span, check_position, check_ranges, sought
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Reaper
from storagekit.verifying import Verifier, verifier

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["READ_BUFFER", "BufferedReader", "ReadStream"]

# A fill costs some 10 us of Python, and copying 256 KiB about as much.
READ_BUFFER = 256 * 1024


class ReadStream(io.RawIOBase):
    """A raw, seekable stream over one version of one object."""

    mode = "rb"

    def __init__(
        self,
        reader: RangeReader,
        cache: BlockCache,
        reaper: Reaper,
        *,
        buffered: bool,
        access: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """*timeout*: the seconds that one read may take."""
        size = reader.stat.size
        if size is None:
            reader.close()
            raise unsupported(reader.stat.location, "the store does not tell the object's size, so it cannot be read")
        self.name = reader.stat.location.url
        self.stat: Stat = reader.stat
        """What was opened."""
        self._size = size
        self._position = 0
        # Reentrant, because a signal's handler may read from the very stream that it interrupts.
        self._lock = threading.RLock()
        self._buffered = buffered
        self._timeout = timeout
        self._verifier = verifier(reader.checksum, size)
        self._reaper = reaper
        self._collected = False
        source = Source(reader, size)
        cache.attach(source)
        reader.head = b""  # the cache has it now, and counts it
        self._access = Access(source, cache, access)
        inherits(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self._position} of {self._size}"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    # -- what io asks -------------------------------------------------------------------------------------

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        raise TypeError("an unbuffered reader does not pickle; open it with a buffer")

    def fileno(self) -> int:
        raise unsupported(self.name, "an object in a store has no file descriptor; copy it to a local file to get one")

    def write(self, data: ReadableBuffer, /) -> int:
        self._check_open()
        raise unsupported(self.name, "the file was opened for reading only")

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        start = stop = -1
        try:
            with self._lock:
                start = self._position
                self._position = stop = sought(self.name, offset, whence, position=start, size=self._size)
        except BaseException:
            self._step_back(start, stop)
            raise
        return stop

    def read(self, size: int | None = -1, /) -> bytes:
        # io's own takes no None, which the builtin's raw files do; it gives one only where nothing comes yet.
        return cast("bytes", super().read(-1 if size is None else size))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        start = stop = -1
        try:
            with self._lock:
                start = self._position
                stop = min(start + len(view), self._size)
                if self._buffered and len(view) <= READ_BUFFER and not self._access.scans(start):
                    stop = min(stop, (start // BLOCK_SIZE + 1) * BLOCK_SIZE)
                if stop <= start:
                    return 0
                with within(self._timeout):
                    self._access.read_into(start, stop, view)
                if self._verifier is not None:
                    self._verify(self._verifier, start, view[: stop - start])
                self._position = stop
        except BaseException:
            self._step_back(start, stop)
            raise
        return stop - start

    def readall(self) -> bytes:
        self._check_open()
        start = -1
        try:
            with self._lock:
                start = self._position
                if start >= self._size:
                    return b""
                # The C buffer makes bytes of that size without filling them with zeros first; they are filled in place.
                with within(self._timeout):
                    whole = io.BufferedReader(_Rest(self._access, start, self._size), 1).read(self._size - start)
                if self._verifier is not None:
                    self._verify(self._verifier, start, whole)
                self._position = self._size
        except BaseException:
            self._step_back(start, self._size)
            raise
        return whole

    def _step_back(self, start: int, stop: int) -> None:
        """Nobody learns that the position has moved: an interrupt may come when it has, while the lock is released.
        Then the buffer above, which counts for itself, would be at another place than this."""
        if self._position == stop >= 0 and start >= 0:
            self._position = start

    def _verify(self, verifier: Verifier, start: int, data: memoryview | bytes) -> None:
        """Hold what was read against the checksum of the whole; what is wrong is not kept for the next reader."""
        try:
            verifier.take(start, data, self.name)
        except OSError:
            self._access.forget()
            raise

    # -- beyond io ----------------------------------------------------------------------------------------

    def renew(self) -> None:
        """See ``forking``."""
        self._lock = threading.RLock()
        if self._verifier is not None:
            self._verifier = self._verifier.anew()

    def pread(self, offset: int, size: int, /) -> bytes:
        """See ``BufferedReader.pread``."""
        return self.read_ranges([check_position(self.name, offset, size)])[0]

    def read_ranges(self, ranges: Iterable[Span], /) -> list[bytes]:
        """See ``BufferedReader.read_ranges``."""
        self._check_open()
        spans = check_ranges(self.name, ranges)
        with within(self._timeout):
            return self._access.ranges([(start, min(stop, self._size)) for start, stop in spans])

    # -- the end ------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _dealloc_warn(self, source: object) -> None:
        # io calls this on the way down when a layer above is closed by its finalizer rather than by the user.
        self._collected = True

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        # While the interpreter is torn down this may be the ``with`` block of a generator that nobody has ended.
        in_finalizer = self._collected or sys.is_finalizing()
        self._access.close(self._reaper.leave if in_finalizer else None)

    def __del__(self) -> None:
        self._collected = True
        if hasattr(self, "_access"):
            self.close()


class _Rest(io.RawIOBase):
    """The rest of an object as a raw stream of its own, for one read."""

    def __init__(self, access: Access, start: int, stop: int) -> None:
        self._access = access
        self._start = start
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        stop = min(self._start + len(view), self._stop)
        if stop > self._start:
            self._access.read_into(self._start, stop, view)
        count, self._start = stop - self._start, stop
        return count


class BufferedReader(io.BufferedReader):
    """The C buffer over a ``ReadStream``: a binary file object to read, which also pickles and reads ranges.

    >>> import storagekit
    >>> with storagekit.open("memory://reader-example/key", "wb") as f:
    ...     _ = f.write(b"one two three")
    >>> f = storagekit.open("memory://reader-example/key", "rb")
    >>> isinstance(f, storagekit.BufferedReader)  # as it is for every URL of a store without real files
    True
    >>> f.read_ranges([(0, 3), (8, 13)])
    [b'one', b'three']
    """

    raw: ReadStream

    def __init__(self, raw: ReadStream, buffer_size: int, recipe: Callable[[], tuple[Any, ...]]) -> None:
        super().__init__(raw, buffer_size)
        self._buffer_size = buffer_size
        self._recipe = recipe
        inherits(self)

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {self.raw.name!r} {'closed' if self.closed else 'open'}>"
        except ValueError:
            return f"<{type(self).__name__} detached>"

    def renew(self) -> None:
        """See ``forking``."""
        raw = self.raw
        raw.renew()  # first: its turn may come later, and here its lock is needed
        raw.seek(self.tell())  # which takes no lock of the buffer's
        super().__init__(raw, self._buffer_size)

    @property
    def stat(self) -> Stat:
        """What was opened: its size, ETag, time and metadata, without another request."""
        return self.raw.stat

    def read1(self, size: int = -1, /) -> bytes:
        """At most *size* bytes with at most one read of the raw stream.

        As the C method, but that a short one fills the buffer, as ``peek`` does, instead of passing it by: a text layer
        reads 8 KiB at a time, and each would be a read of the raw stream.
        """
        if 0 < size < READ_BUFFER:
            self.peek(1)
        return super().read1(size)

    def pread(self, offset: int, size: int, /) -> bytes:
        """Up to *size* bytes from *offset* on, fewer at the end of the object; the position stays where it is.

        Like ``os.pread`` (https://docs.python.org/3/library/os.html#os.pread) it is safe in many threads at once, which
        do not wait for one another; unlike it, the offset comes first, as in ``seek`` and then ``read``.

        >>> import storagekit
        >>> with storagekit.open("memory://ranges-example/key", "wb") as f:
        ...     _ = f.write(b"abcdefghij")
        >>> with storagekit.open("memory://ranges-example/key", "rb") as f:
        ...     f.pread(3, 4), f.tell()
        (b'defg', 0)
        """
        return self._attached().pread(offset, size)

    def read_ranges(self, ranges: Iterable[Span], /) -> list[bytes]:
        """The bytes of each ``(start, stop)``, in the order given; what lies beyond the end is left out, as in a slice.

        All are fetched side by side, neighbours in one request. The position stays where it is, and threads do not
        wait for one another. Raises ``ValueError`` for a range that begins before 0 or ends before it begins.

        >>> import storagekit
        >>> with storagekit.open("memory://ranges-example/key", "rb") as f:
        ...     f.read_ranges([(7, 100), (0, 2), (4, 4)])
        [b'hij', b'ab', b'']
        """
        return self._attached().read_ranges(ranges)

    def _attached(self) -> ReadStream:
        if self.closed:  # which is a ValueError of its own after ``detach()``
            raise ValueError("I/O operation on closed file")
        return self.raw

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        if self.closed:
            raise ValueError("cannot pickle a closed file")
        reopen, *arguments = self._recipe()
        return reopen, (*arguments, self.raw.stat.identity, self.tell())
