"""Segments: the bytes that are ready, and which of them go first when room is needed.

What arrives in one piece stays in one piece. A *segment* is a run of whole blocks in one buffer, up to
``LARGEST_SEGMENT``: a request of 8 MiB would otherwise be 128 buffers, 128 receives and 128 turns in the cache, which
cost more than the bytes. Blocks remain the unit in which bytes are asked for, found and waited for.

Memory comes back only by the whole segment, so a segment is also what is counted and evicted: first those that a
scan has left behind, which nobody may ever want again, then the least recently used, by ``cachetools.LRUCache``. So
a scan of any length drives out nothing but itself, and never what waits for another. A segment's bytes never change:
whoever still copies from an evicted one keeps it alive, and its buffer is used again only when nobody does.

Nothing here locks; ``blocks`` holds its lock around every call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from cachetools import LRUCache

from storagekit.buffers import Buffers
from storagekit.settings import BLOCK_SIZE

__all__ = ["LARGEST_SEGMENT", "ReadyBlocks", "Segment"]

# Per piece that arrives there are some 30 us of bookkeeping in Python: 4 % at 1 MiB and 1.3 GB/s. A reader who waits
# for its first block waits for the whole piece, 13 ms at 80 MB/s; flights with somebody waiting cut smaller ones.
LARGEST_SEGMENT = 1024 * 1024


class Segment:
    """A run of ready blocks of one object, in one buffer; only the object's last block may be shorter."""

    __slots__ = ("_buffers", "_used", "data", "first", "key", "stop")

    def __init__(self, key: Hashable, first: int, data: bytes | bytearray, buffers: Buffers | None = None) -> None:
        """*buffers* is where *data* goes when nobody has the segment any more."""
        self._buffers = buffers
        self.key = key
        self.first = first
        self.stop = first - (-len(data) // BLOCK_SIZE)
        self.data = data
        self._used = 0

    def __del__(self) -> None:
        if self._buffers is not None:
            self._buffers.take_back(self)

    @property
    def start(self) -> int:
        """Where its first byte stands in the object."""
        return self.first * BLOCK_SIZE

    def use(self, first: int, stop: int) -> int:
        """Note that a read has use for these blocks; answer how many of them are here."""
        first, stop = max(first, self.first), min(stop, self.stop)
        self._used |= ((1 << (stop - first)) - 1) << (first - self.first)
        return stop - first

    @property
    def unused(self) -> int:
        """Bytes in blocks that no read had use for."""
        blocks = self.stop - self.first
        left = blocks - self._used.bit_count()
        missing = blocks * BLOCK_SIZE - len(self.data)
        return left * BLOCK_SIZE - (0 if self._used >> (blocks - 1) & 1 else missing)


class ReadyBlocks:
    """All segments of a Storage, by what they hold and by when they were last used."""

    def __init__(self, budget: int) -> None:
        self._segments: LRUCache[tuple[Hashable, int], Segment] = LRUCache(budget, getsizeof=lambda s: len(s.data))
        self._of_block: dict[tuple[Hashable, int], Segment] = {}
        self._passed: OrderedDict[tuple[Hashable, int], None] = OrderedDict()
        """Those that a scan has left behind, in that order."""
        self.unused = 0
        """Bytes that were dropped again before any read had use for them."""

    @property
    def size(self) -> int:
        """Bytes in all segments."""
        return int(self._segments.currsize)

    def holds(self, key: Hashable, index: int) -> bool:
        """True where that block is ready. Does not count as a use."""
        return (key, index) in self._of_block

    def run(self, key: Hashable, first: int, stop: int, *, passing: bool = False) -> list[Segment]:
        """The segments with the blocks from *first* on that are ready, without a gap, at most up to *stop*.

        *passing*: it is a scan that asks, and what it has read to the end goes before anything else.
        """
        run = []
        while first < stop and (segment := self._of_block.get((key, first))) is not None:
            if not passing:
                self._segments[key, segment.first]  # which is what "used" means to an LRU
                self._passed.pop((key, segment.first), None)
            elif segment.stop <= stop:
                self._passed[key, segment.first] = None
            segment.use(first, stop)
            run.append(segment)
            first = segment.stop
        return run

    def keep(self, segment: Segment) -> None:
        """Take a segment in, for which there is room.

        No block is held twice. Where others hold some of its blocks, which came in twice, either those go or the new
        one does: whatever keeps more blocks.
        """
        blocks = range(segment.first, segment.stop)
        here = [s for index in blocks if (s := self._of_block.get((segment.key, index))) is not None]
        if here:
            others = {id(s): s for s in here}.values()
            if len(blocks) <= sum(s.stop - s.first for s in others):
                self.forget(segment)
                return
            for other in others:
                self._remove((other.key, other.first))
        self._segments[segment.key, segment.first] = segment
        for index in blocks:
            self._of_block[segment.key, index] = segment

    def leave_behind(self, key: Hashable, first: int) -> None:
        """Drop what a scan of that object has passed before block *first*: more follows than could ever be kept."""
        while self._passed:
            oldest = next(iter(self._passed))
            if oldest[0] != key:
                return
            segment = self._segments.get(oldest)
            if segment is not None and segment.stop > first:
                return
            self._remove(oldest)

    def evict(self) -> None:
        """Drop the segment that was passed first, or else the one that was not used for longest."""
        if self._passed:
            self._remove(next(iter(self._passed)))
            return
        try:
            segment = self._segments.popitem()[1]
        except KeyError:
            self._repair()
            return
        self._unlist(segment)
        self.forget(segment)

    def drop(self, key: Hashable, blocks: int) -> None:
        """Drop the segments of an object of so many *blocks*."""
        if blocks <= len(self._segments):
            found = {id(s): s for i in range(blocks) if (s := self._of_block.get((key, i))) is not None}
            segments = list(found.values())
        else:  # more blocks than there are segments at all: look through those, without using any other
            segments = [self._segments[place] for place in list(self._segments) if place[0] == key]
        for segment in segments:
            self._remove((key, segment.first))

    def clear(self) -> None:
        """Drop everything."""
        while self._segments:
            self.evict()

    def _remove(self, place: tuple[Hashable, int]) -> None:
        """Drop the segment that begins there. Found no more before it is gone: an interrupt may come in between."""
        segment = self._segments.get(place)
        self._passed.pop(place, None)
        if segment is not None:
            self._unlist(segment)
            try:
                self._segments.pop(place, None)
            except KeyError:
                self._repair()
            self.forget(segment)

    def _repair(self) -> None:
        """Make the books anew. An interrupt (Ctrl-C) in the middle of a change leaves an LRU with half of it."""
        segments = [self._segments[place] for place in list(self._segments)]
        self._segments = LRUCache(self._segments.maxsize, getsizeof=lambda s: len(s.data))
        self._of_block.clear()
        self._passed.clear()
        for segment in segments:
            self.keep(segment)

    def _unlist(self, segment: Segment) -> None:
        self._passed.pop((segment.key, segment.first), None)
        for index in range(segment.first, segment.stop):
            self._of_block.pop((segment.key, index), None)

    def forget(self, segment: Segment) -> None:
        """Count what nobody used of a segment that is not kept (any more)."""
        self.unused += segment.unused
