"""Drafts: what an object is going to be, while it is edited in place.

A store replaces objects whole, so the modes that change one (``a``, ``r+`` and their like) work on a draft: the version
that was opened, the *base*, seen through a local file that holds what was written over it. Nothing of the base is
fetched before somebody reads it, and in the end only what the store cannot copy by itself.

The local file is sparse: byte *p* of the draft is its byte *p*. ``Spans`` says which bytes are its own. From ``kept``
on, which is the base's size or the shortest that the draft has been cut to, everything is: what nobody wrote there
reads as zeros, in a file with a hole as in POSIX (https://pubs.opengroup.org/onlinepubs/9799919799/functions/ftruncate.html).
It has no name and is made by the first write, so a draft that is only read costs none.
"""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, Protocol

from storagekit.errors import os_error
from storagekit.fork_guard import IMPORT_SECONDS, guarded

__all__ = ["Base", "Draft", "Piece", "Spans"]


# What the text layer asks for at a time.
LEAST_READ = 8192


class Base(Protocol):
    """The version that is edited: a raw stream over it, as ``reading.ReadStream``."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def readinto(self, view: memoryview, /) -> int: ...
    def close(self) -> None: ...


class Piece(NamedTuple):
    """Bytes *start* to *stop* (excluded) of a draft, which are all the base's, or all its own."""

    of_base: bool
    start: int
    stop: int


class Spans:
    """A set of whole numbers, kept as the intervals that it is made of.

    >>> from storagekit.drafts import Spans
    >>> spans = Spans()
    >>> spans.add(0, 2); spans.add(5, 9); spans.add(2, 3)
    >>> list(spans)
    [(0, 3), (5, 9)]
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The intervals in order; no two of them touch."""
        return zip(self._starts, self._stops, strict=True)

    def add(self, start: int, stop: int) -> None:
        """Add *start* to *stop* (excluded)."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)  # the first that touches the new one, and the last
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last], self._stops[first:last] = [start], [stop]

    def cut(self, limit: int) -> None:
        """Remove everything from *limit* on."""
        count = bisect_left(self._starts, limit)
        del self._starts[count:], self._stops[count:]
        if count:
            self._stops[-1] = min(self._stops[-1], limit)

    def next(self, position: int) -> tuple[bool, int | None]:
        """Whether *position* is in the set, and the next place where that is otherwise; None: nowhere."""
        index = bisect_right(self._starts, position)
        if index and position < self._stops[index - 1]:
            return True, self._stops[index - 1]
        return False, self._starts[index] if index < len(self._starts) else None


class Draft:
    """What an object of *size* bytes, read from *base*, is edited to. Used by one thread at a time."""

    def __init__(self, base: Base | None, size: int, url: str) -> None:
        self._url = url
        self.size = size
        """Bytes, as it is now."""
        self.changed = False
        """True once it may be another than the base."""
        self._base = base
        self._kept = size
        self._own = Spans()
        self._file: IO[bytes] | None = None

    def readinto(self, position: int, view: memoryview) -> int:
        """Fill the start of *view* with the bytes from *position* on; returns how many, 0 only at the end.

        As many as asked for, or at least ``LEAST_READ``, or up to the end. Where pieces meet a read could be shorter;
        but who reads a file of text and then writes, without a seek, writes behind what a read has brought.
        """
        filled = 0
        while filled < min(len(view), LEAST_READ) and (count := self._read(position + filled, view[filled:])):
            filled += count
        return filled

    def _read(self, position: int, view: memoryview) -> int:
        """The same, within one piece."""
        if position >= self.size or not len(view):
            return 0
        piece = self._piece(position)
        view = view[: piece.stop - position]
        if piece.of_base:
            assert self._base is not None
            self._base.seek(position)
            return self._base.readinto(view)
        count = self._read_file(position, view)
        view[count:] = bytes(len(view) - count)  # behind the end of the local file nobody has written
        return len(view)

    def _read_file(self, position: int, view: memoryview) -> int:
        if self._file is None:
            return 0
        with self._reported():
            self._file.seek(position)
            return self._file.readinto(view)  # type: ignore[attr-defined, no-any-return]

    def write(self, position: int, data: memoryview) -> None:
        """Put *data* at *position*, over what is there or behind it."""
        if not len(data):
            return
        stop = position + len(data)
        with self._reported():
            self._write(position, data)
        self.changed = True
        self._own.add(position, stop)
        self.size = max(self.size, stop)

    def _write(self, position: int, data: memoryview) -> None:
        if self._file is None:
            with guarded(IMPORT_SECONDS):
                import tempfile  # slow, and for edits only

            self._file = tempfile.TemporaryFile(prefix="storagekit-", buffering=0)
        self._file.seek(position)
        while len(data):  # a raw write may be short, near a full disk
            data = data[self._file.write(data) :]

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Errors of the local file are about the object, and none of them says that it is missing."""
        try:
            yield
        except OSError as error:
            code = error.errno if error.errno not in (None, errno.ENOENT) else errno.EIO
            text = f"The temporary file of the changes failed ({error.strerror or error}); TMPDIR names another place"
            raise os_error(code or errno.EIO, self._url, text) from error

    def truncate(self, size: int) -> None:
        """Make it *size* bytes long: cut it, or have zeros at its end."""
        if size == self.size:
            return
        self.changed = True
        self.size = size
        self._kept = min(self._kept, size)
        self._own.cut(size)
        if self._file is not None:
            with self._reported():
                if self._file.seek(0, 2) > size:
                    self._file.truncate(size)  # so that what is written behind it later leaves a hole of zeros

    def pieces(self) -> Iterator[Piece]:
        """All of it, in order."""
        position = 0
        while position < self.size:
            piece = self._piece(position)
            yield piece
            position = piece.stop

    def _piece(self, position: int) -> Piece:
        """The piece that begins at *position*."""
        if position >= self._kept:
            return Piece(False, position, self.size)
        own, border = self._own.next(position)
        if own:
            assert border is not None
            return Piece(False, position, border)
        return Piece(True, position, self._kept if border is None else min(border, self._kept))

    def drop_file(self) -> None:
        """Let go of the local file, which takes no lock."""
        if self._file is not None:
            self._file.close()

    def close(self) -> None:
        """Let go of the base and the local file."""
        self.drop_file()
        if self._base is not None:
            self._base.close()
