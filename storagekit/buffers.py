"""Buffers: memory of one size that is used over and over.

A buffer of a megabyte that is new costs as much as receiving into it: the system maps its pages one by one, and Python
fills them with zeros, under the interpreter's lock. A scan needs a new one every millisecond, while those that it has
read are let go. So those come back here.

Nobody says when a buffer is free, because whoever copies from one does so without a lock. It is free when the object
that it came in is gone (``Segment.__del__``) and nothing else refers to it: a view that somebody still has keeps it
from coming back, and then it is the allocator's, as ever. That the count of references tells this holds for CPython
only; elsewhere no buffer comes back.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Protocol

__all__ = ["Buffers"]

# So many are kept: what a fast scan lets go at once, and little beside a cache (16 MiB).
MOST_SPARE = 16


class Holder(Protocol):
    """Something with a buffer."""

    @property
    def data(self) -> bytes | bytearray: ...


class Buffers:
    """Spare buffers of *size* bytes. Safe in a finalizer: nothing here locks, a ``deque`` does not need it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._spare: deque[bytearray] = deque(maxlen=MOST_SPARE)

    def take(self, size: int) -> bytearray:
        """A buffer of *size* bytes, with whatever was in it last."""
        if size == self.size:
            try:
                return self._spare.pop()
            except IndexError:
                pass
        return bytearray(size)

    def take_back(self, holder: Holder) -> None:
        """*holder* is going: keep its buffer, if that is of the size and nobody else has it."""
        if len(holder.data) == self.size and _references(holder) == _ALONE and isinstance(holder.data, bytearray):
            self._spare.append(holder.data)

    def clear(self) -> None:
        """Let the spare ones go."""
        self._spare.clear()


class _Sample:
    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray(1)


if hasattr(sys, "getrefcount"):

    def _references(holder: Holder) -> int:
        return sys.getrefcount(holder.data)

    # Counted and not known: versions of Python differ in what a call itself holds.
    _ALONE = _references(_Sample())

else:

    def _references(holder: Holder) -> int:
        return 1

    _ALONE = 0
