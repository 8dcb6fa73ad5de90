"""Reading one file by ranges, for whoever asks the engine rather than the builtin ``open``.

``storagekit.open`` on a ``file`` URL gives the builtin's own file object (the ``open_file`` hook). The reader here
serves what needs a ``RangeReader``: copies to another store, and tools that read many ranges at once.

One descriptor is opened per reader. Every range reads through a duplicate of it with ``pread``, which moves
no shared position; the duplicate matters because a closed descriptor's number is given to the next file that any
thread opens, and a range still on its way must not read from that one.

A file can be changed in place while it is read. Each range begins by comparing time and size with those seen
at the opening, which turns nearly every such change into ``ObjectChangedError``; between that look and the read
there is a gap that only the kernel could close, so the driver does not promise pinned reads.
"""

from __future__ import annotations

import os
import stat as _stat
import threading

from storagekit import errors
from storagekit.driver import RangeBody, RangeReader
from storagekit.location import Location
from storagekit_local.paths import identity_of, os_path, reported, stat_of

__all__ = ["FileReader", "open_regular"]


def open_regular(location: Location) -> int:
    """A descriptor for reading the regular file at *location*."""
    with reported(location):
        # Looked at before: to open a device may set it going, and to open a fifo lets somebody write who finds nobody.
        mode = os.stat(os_path(location)).st_mode
        if _stat.S_ISREG(mode):
            # Should it be a fifo by now, opening it without O_NONBLOCK would wait for its writer.
            fd = os.open(os_path(location), os.O_RDONLY | os.O_NONBLOCK)
            mode = os.fstat(fd).st_mode
            if _stat.S_ISREG(mode):
                return fd
            os.close(fd)
    if _stat.S_ISDIR(mode):
        raise errors.is_a_directory(location)
    raise errors.unsupported(location, "not a regular file: it has no ranges; read it with open()")


def _pread_into(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):  # not on every macOS
        return os.preadv(fd, [view], offset)
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


class FileReader(RangeReader):
    """One regular file, opened."""

    # The kernel caches files, and better than a copy in this process could.
    cache_key = None

    def __init__(self, location: Location, head: int) -> None:
        self._location = location
        self._lock = threading.Lock()
        self._fd = open_regular(location)
        try:
            with reported(location):
                found = os.fstat(self._fd)
                self.head = os.pread(self._fd, head, 0) if head > 0 else b""
        except BaseException:
            self.close()
            raise
        self._identity = identity_of(found)
        self.stat = stat_of(location, found)

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        with self._lock, reported(self._location):
            if self._fd < 0:
                raise ValueError("read of a closed reader")
            fd = os.dup(self._fd)
        if identity_of(os.fstat(fd)) != self._identity:
            os.close(fd)
            raise errors.changed(self._location)
        return _FileBody(self._location, fd, start, stop)

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _FileBody(RangeBody):
    """One range, with a descriptor of its own."""

    def __init__(self, location: Location, fd: int, start: int, stop: int) -> None:
        self._location = location
        self._fd = fd
        self._at = start
        self._stop = stop

    def readinto(self, view: memoryview, /) -> int:
        wanted = view[: self._stop - self._at]
        if not wanted or self._fd < 0:
            return 0
        with reported(self._location):
            n = _pread_into(self._fd, wanted, self._at)
        self._at += n
        return n

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
