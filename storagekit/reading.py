"""Reading: a position over the blocks of one object, and the buffer on top of it.

``ReadStream`` implements what ``io.RawIOBase`` wants of a raw stream, ``readinto`` above all; lines, ``peek``,
``read1`` and the rest come from the C ``io.BufferedReader`` on top, of which ``BufferedReader`` here is a thin
subclass. Nothing is read line by line in Python.

The buffer is one block long, and a fill of the buffer stops at the block's end: otherwise a read of
4 KiB would reach the store as the two blocks that an unaligned buffer touches. A read that is longer
than a block is somebody's real demand and is served in one go, without passing through the buffer.

A handle is for one version of one object. It pickles as a recipe: open the same URL again, check that it is still
that version, go to the same offset.
"""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storagekit.blocks import BlockCache
from storagekit.driver import RangeReader, Stat
from storagekit.errors import invalid, unsupported
from storagekit.flights import Source
from storagekit.readahead import LARGEST_REQUEST, Window
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Reaper

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["BufferedReader", "ReadStream"]

# The share of the budget that read-ahead may plan with: the other half holds what is being consumed.
AHEAD_SHARE = 2

# Handles that lie idle count as readers too; however many there are, one that scans gets this much ahead.
LEAST_WINDOW = 256 * 1024


class ReadStream(io.RawIOBase):
    """A raw, seekable stream over one version of one object."""

    mode = "rb"

    def __init__(self, reader: RangeReader, cache: BlockCache, reaper: Reaper, *, buffered: bool) -> None:
        size = reader.stat.size
        if size is None:
            reader.close()
            raise unsupported(reader.stat.location, "the store does not tell the object's size, so it cannot be read")
        self.name = reader.stat.location.url
        self.stat: Stat = reader.stat
        """What was opened."""
        self._size = size
        self._position = 0
        self._buffered = buffered
        self._cache = cache
        self._reaper = reaper
        self._window = Window()
        self._behind = 0
        self._collected = False
        self._source = Source(reader, size)
        cache.attach(self._source)
        reader.head = b""  # the cache has it now, and counts it

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
        offset = operator.index(offset)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence)
        if base is None:
            raise invalid(self.name, f"invalid whence: {whence!r}")
        if base + offset < 0:
            raise invalid(self.name, f"cannot seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        stop = min(start + len(view), self._size)
        if self._buffered and len(view) <= BLOCK_SIZE:
            stop = min(stop, (start // BLOCK_SIZE + 1) * BLOCK_SIZE)
        if stop <= start:
            return 0
        self._read_any(start, stop, view)
        self._position = stop
        return stop - start

    def readall(self) -> bytes:
        self._check_open()
        start = self._position
        if start >= self._size:
            return b""
        # BytesIO hands out its own bytes object without copying it, filled in place here.
        whole = io.BytesIO()
        whole.seek(self._size - start - 1)
        whole.write(b"\0")
        with whole.getbuffer() as view:
            self._read_any(start, self._size, view)
        self._position = self._size
        return whole.getvalue()

    # -- the engine ---------------------------------------------------------------------------------------

    def _most(self) -> int:
        """How large the window may be: a share of half the budget, though not so little that it is of no use."""
        half = self._cache.budget // AHEAD_SHARE
        return min(half, max(LEAST_WINDOW, half // max(1, self._cache.readers)))

    def _read_any(self, start: int, stop: int, view: memoryview) -> None:
        """Fill *view* with bytes ``[start, stop)``, which exist; one longer than a request runs ahead of itself."""
        if stop - start <= LARGEST_REQUEST:
            self._read(start, stop, view, limit=self._size)
            return
        self._window.open_wide(start, most=self._most())
        for offset in range(start, stop, LARGEST_REQUEST):
            end = min(offset + LARGEST_REQUEST, stop)
            self._read(offset, end, view[offset - start : end - start], limit=stop)

    def _read(self, start: int, stop: int, view: memoryview, limit: int) -> None:
        """Fill *view*, running ahead as the window says, but not beyond *limit*."""
        window, cache, source = self._window, self._cache, self._source
        ahead = window.read(start, stop, limit=limit, most=self._most())
        if ahead is not None:
            window.granted(cache.ahead(source, *ahead, window.request))
        elif not window.size and source.flights:
            cache.abandon(source, keep=start // BLOCK_SIZE)
        done = start
        waited = False
        while done < stop:
            first = done // BLOCK_SIZE
            last = min(-(-stop // BLOCK_SIZE), first + LARGEST_REQUEST // BLOCK_SIZE)
            run, stalled = cache.take(source, first, last)
            waited = waited or stalled
            for block in run:
                begin = done % BLOCK_SIZE
                piece = memoryview(block.data)[begin : begin + stop - done]
                view[done - start : done - start + len(piece)] = piece
                done += len(piece)
        if waited:
            window.stalled()
        if window.size and self._size > cache.budget:
            passed = start // BLOCK_SIZE
            if passed > self._behind:
                cache.drop_behind(source, self._behind, passed)
            self._behind = passed

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
        self._cache.release(self._source)
        if self._collected:
            self._reaper.leave(self._source.reader.close)
        else:
            self._source.reader.close()

    def __del__(self) -> None:
        self._collected = True
        if hasattr(self, "_source"):
            self.close()


class BufferedReader(io.BufferedReader):
    """The C buffer over a ``ReadStream``, which also pickles."""

    raw: ReadStream

    def __init__(self, raw: ReadStream, buffer_size: int, recipe: Callable[[], tuple[Any, ...]]) -> None:
        super().__init__(raw, buffer_size)
        self._recipe = recipe

    @property
    def stat(self) -> Stat:
        """What was opened: its size, ETag, time and metadata, without another request."""
        return self.raw.stat

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        if self.closed:
            raise ValueError("cannot pickle a closed file")
        reopen, *arguments = self._recipe()
        return reopen, (*arguments, self.raw.stat.identity, self.tell())
