"""Updating: the modes that change an object in place, on stores that can only replace it whole.

``EditStream`` is the raw stream: it reads and writes a draft (see ``drafts``), and a successful ``close()`` of the
outermost layer publishes what has become of it, as for every writer. What it adds to the seal:

* it is published only if the object is still the version that was opened, or still absent where it was
  (``If-Match``, ``If-None-Match``), so nobody's change in between is lost: ``ObjectChangedError``, ``FileExistsError``;
* where nothing was written, nothing is published, but for an object that this very opening was to create;
* ``w+`` is ``w`` that can be read: of what was there before nothing is left, so nothing is asked of it, and the last
  of several writers wins.

The base is read through the block cache like any reader's, so reading far is as fast, and reading little costs little.
In a forked child an inherited stream is dead, for reading too: the local file is its parent's.
"""

from __future__ import annotations

import errno
import operator
import os
import threading
from typing import TYPE_CHECKING

from storagekit.deadlines import within
from storagekit.drafts import Draft
from storagekit.driver import Stat
from storagekit.errors import invalid, os_error, unsupported
from storagekit.modes import Mode
from storagekit.ranges import sought
from storagekit.reading import ReadStream
from storagekit.sending import PartSender
from storagekit.writing import WriteSink

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["EditStream"]

# What is not copied by the store passes through memory in pieces of this size, on its way into a part.
PIECE = 1024 * 1024

# As long as the part that it usually fills up, and no shorter than what a request is worth.
EXACT = 8 * 1024 * 1024
LEAST_EXACT = 1024 * 1024

# Systems count the bytes of a file in 63 bits, and no store holds that much.
LARGEST_FILE = (1 << 63) - 1


class EditStream(WriteSink):
    """A raw, seekable stream over a draft of one object; every ``close`` aborts, unless ``publish`` came first."""

    def __init__(self, sender: PartSender, mode: Mode, base: ReadStream | None, timeout: float | None = None) -> None:
        # As io.FileIO puts it, to which "w+" is a way of opening and no mode.
        action = "r" if mode.action == "w" else mode.action
        super().__init__(sender, f"{action}b+" if mode.update else f"{action}b", timeout)
        size = base.stat.size if base is not None else None
        self._base = base
        self._draft = Draft(base, size or 0, self.name)
        self._reading = mode.reading
        self._appending = mode.action == "a"
        self._position = self._draft.size if self._appending else 0
        # Another thread may write while this one closes: what comes after the sealing is refused, and never lost.
        self._lock = threading.Lock()
        self._sealed = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self._position} of {self._draft.size}"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    def readable(self) -> bool:
        self._check_open()
        return self._reading

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        self._position = sought(self.name, offset, whence, position=self._position, size=self._draft.size)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self.readable():
            raise unsupported(self.name, "the file was opened for appending only; a+ reads too")
        self._sender.check()
        with within(self.timeout):
            count = self._draft.readinto(self._position, memoryview(buffer).cast("B"))
        self._position += count
        return count

    def truncate(self, size: int | None = None, /) -> int:
        """Make the object *size* bytes long, or as long as the position says; returns the size. The position stays."""
        self._check_open()
        size = self._position if size is None else operator.index(size)
        if size < 0:
            raise invalid(self.name, f"cannot truncate to {size} bytes")
        if size > LARGEST_FILE:
            raise os_error(errno.EFBIG, self.name)
        self._sender.check()
        try:
            with self._lock:
                self._check_sealed()
                self._draft.truncate(size)
        except BaseException as error:
            self._sender.poison(error)
            raise
        return size

    def _take(self, data: memoryview) -> None:
        self._sender.check()
        with self._lock:
            self._check_sealed()
            if self._appending:
                self._position = self._draft.size
            self._draft.write(self._position, data)
            self._position += len(data)
            self._sender.written += len(data)

    def _check_sealed(self) -> None:
        if self._sealed:
            raise os_error(errno.ECANCELED, self.name, "the file is being closed by another thread")

    def _publish(self) -> Stat:
        """Publish what the draft has become; nothing where it is what was opened."""
        with self._lock:
            self._sealed = True
        if self._base is not None and not self._draft.changed:
            self._sender.check()
            self._sender.abort()
            return self._base.stat
        self._sender.written = 0  # counted anew, now that it is sent
        for of_base, start, stop in self._draft.pieces():
            if of_base:
                self._sender.splice(start, stop, self._fetch)
            else:
                self._send(start, stop)
        return super()._publish()

    def _fetch(self, start: int, stop: int) -> None:
        """Feed bytes *start* to *stop* (excluded) of the base.

        What fills up a part is fetched in one go, because reading ahead would fetch more; gaps between many small
        changes are not, because each would be a request.
        """
        if not LEAST_EXACT <= stop - start <= EXACT:
            self._send(start, stop)
        elif start < stop and self._base is not None:
            self._sender.feed(memoryview(self._base.pread(start, stop - start)))

    def _send(self, start: int, stop: int) -> None:
        """Feed bytes *start* to *stop* (excluded) of the draft."""
        view = memoryview(bytearray(min(PIECE, stop - start)))
        while start < stop and (count := self._draft.readinto(start, view[: stop - start])):
            self._sender.feed(view[:count])
            start += count
        if start < stop:
            raise os_error(
                errno.EIO, self.name, f"The bytes from {start} on could not be read, so nothing is published"
            )

    def abandon(self) -> None:
        super().abandon()
        self._draft.drop_file()

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._base is not None and self._sender.abandoned:
                self._base._dealloc_warn(self)  # in a finalizer, which lets go of it in a quieter way
            self._draft.close()
