"""Room: the bytes of parts on their way to the stores, counted for all writers of a Storage together.

A writer that finds no room waits for a part of its own, never for those of others, and where it has none on its way it
may always send one. So nobody waits for ever and no two can wait for one another; the limit is passed by at most
a part for each writer. Room comes back when a part has been sent, not when its writer looks at it.

It is written down who holds how much, and no sum is kept beside that: one entry is made or removed in one step, so that
an interrupt, which may come between any two, leaves nothing half counted; and to take or give twice is to do it once.
"""

from __future__ import annotations

import os
import threading

__all__ = ["Room"]


class Room:
    """*limit* bytes that may be on their way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held: dict[object, int] = {}

    @property
    def taken(self) -> int:
        """Bytes on their way at this moment."""
        return sum(self._held.copy().values())

    def take(self, part: object, size: int, *, must: bool = False) -> bool:
        """Take room for *part*, of *size* bytes, or tell that there is none; with *must*, take it all the same."""
        if self._pid != os.getpid():  # in a forked child what is on its way is the parent's, and its lock too
            self._reset()
        with self._lock:
            if not must and sum(self._held.values()) + size > self._limit:
                return False
            self._held[part] = size
            return True

    def give(self, part: object) -> None:
        """*part* has been sent, or never will be; nothing where it holds no room."""
        with self._lock:
            self._held.pop(part, None)
