"""Streaming: one body, read where and when its bytes are wanted.

Where one connection is fast enough (``Pace.fast``), threads and blocks only add copies. A scan then reads from a
single request that goes to the end of the object: straight into the buffer of who asked, in their
thread. Small reads go through a buffer of the stream's own, which is used over and over and so stays in the
processor's cache. Nothing of it is shared or kept.

A stream belongs to one handle and to the process that opened it: a forked child has the same socket as its parent, so
it leaves the stream alone and opens its own.
"""

from __future__ import annotations

import os

from storagekit.blocks import BlockCache
from storagekit.flights import Incoming, Source

__all__ = ["Stream"]

# Small enough to stay in the processor's cache between being received and being copied, and large beside the
# 10 us that a receive costs in Python.
BUFFER = 256 * 1024

# Streams of the parent, in a forked child: kept, because closing one might end something on the parent's connection.
_inherited: list[Stream] = []


class Stream:
    """The bytes of an object from ``position`` up to ``stop``, in order."""

    def __init__(self, source: Source, cache: BlockCache, start: int, stop: int) -> None:
        self.position = start
        self.stop = stop
        self.delivered = 0
        """Bytes read so far."""
        self._cache = cache
        self._incoming = Incoming(source, start, stop, cache.count_request)
        self._process = os.getpid()
        self._buffer = memoryview(b"")
        self._left = self._buffer

    @property
    def inherited(self) -> bool:
        """True in a forked child of the process that opened it."""
        return self._process != os.getpid()

    def read_into(self, view: memoryview) -> None:
        """Fill *view*; there must be as much up to ``stop``."""
        done = 0
        while done < len(view):
            if not self._left:
                wanted = len(view) - done
                if wanted >= BUFFER:
                    self._fetch(view[done:])
                    done = len(view)
                    break
                self._refill()
            piece = self._left[: len(view) - done]
            view[done : done + len(piece)] = piece
            self._left = self._left[len(piece) :]
            done += len(piece)
        self.position += done
        self.delivered += done

    def skip(self, count: int) -> None:
        """Let *count* bytes pass."""
        scrap = memoryview(bytearray(min(count, BUFFER)))
        while count > 0:
            piece = scrap[: min(count, len(scrap))]
            self.read_into(piece)
            count -= len(piece)

    def _refill(self) -> None:
        if not self._buffer:
            self._buffer = memoryview(bytearray(BUFFER))
        # What is left of the range after what was received, of which all in the buffer was read.
        self._left = self._buffer[: min(BUFFER, self._incoming.left)]
        self._fetch(self._left)

    def _fetch(self, view: memoryview) -> None:
        self._incoming.fill(view)
        self._cache.count_fetched(len(view))

    def close(self) -> None:
        """Let go of the connection."""
        if self.inherited:
            _inherited.append(self)
        else:
            self._incoming.close()
