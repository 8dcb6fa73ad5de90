"""Ranges: byte ranges and positions as users give them, checked.

A range is a pair ``(start, stop)``, as in a slice: from *start* on, up to but without *stop*, in bytes. ``Coming`` says
which of many are to be fetched when: neighbours in one, and no more at a time than can be kept until it is consumed.
Pure arithmetic: no I/O, no threads, no clock.
"""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Iterable

from storagekit.errors import invalid
from storagekit.settings import BLOCK_SIZE

__all__ = ["Coming", "Span", "check_position", "check_ranges", "sought"]

Span = tuple[int, int]

# Ranges closer than this are fetched in one request: a request costs a millisecond of CPU and a place among those
# under way; 256 KiB cost 3 ms of one connection at 80 MB/s.
LARGEST_GAP = 256 * 1024

# With less room than two requests take, asking side by side means asking in crumbs; one large request is faster then.
LEAST = 4 * 1024 * 1024


def check_position(name: object, offset: int, size: int) -> Span:
    """The range of *size* bytes from *offset* on; ``ValueError`` where one is negative."""
    start, length = operator.index(offset), operator.index(size)
    if start < 0 or length < 0:
        raise invalid(name, f"cannot read {length} bytes at {start}")
    return start, start + length


def sought(filename: object, offset: int, whence: int, *, position: int, size: int) -> int:
    """Where ``seek(offset, whence)`` leads from *position*, in a file of *size* bytes; ``InvalidArgumentError`` where
    that is before its start."""
    base = {os.SEEK_SET: 0, os.SEEK_CUR: position, os.SEEK_END: size}.get(whence)
    if base is None:
        raise invalid(filename, f"invalid whence: {whence!r}")
    target = base + operator.index(offset)
    if target < 0:
        raise invalid(filename, f"cannot seek to {target}, before the start")
    return target


def check_ranges(name: object, ranges: Iterable[Span]) -> list[Span]:
    """The same as a list; ``ValueError`` for one that begins before 0 or ends before it begins."""
    checked = []
    for begin, end in ranges:
        start, stop = operator.index(begin), operator.index(end)
        if not 0 <= start <= stop:
            text = f"({start}, {stop}) is no range: it must begin at 0 or later, and not end before it begins"
            raise invalid(name, text)
        checked.append((start, stop))
    return checked


class Coming:
    """Ranges that are consumed in order, and what of them is to be asked for now.

    >>> from storagekit.ranges import Coming
    >>> coming = Coming([(0, 100), (200_000, 200_100), (5_000_000, 99_000_000)], most=1 << 23)
    >>> coming.due(0)
    (0, 262144)
    >>> coming.asked(262144)
    >>> coming.due(0)
    (4980736, 13107200)
    """

    def __init__(self, spans: Iterable[Span], most: int) -> None:
        """*spans* in the order of their starts. What comes in beyond *most* bytes is not kept until it is consumed."""
        self._spans = _joined(spans)
        self._most = most
        self._asked: deque[Span] = deque()
        self._under_way = 0

    def due(self, position: int) -> Span | None:
        """What to ask for next where all before *position* is consumed; None while enough is under way."""
        while self._asked and self._asked[0][1] <= position:
            begin, end = self._asked.popleft()
            self._under_way -= end - begin
        while self._spans and self._spans[0][1] <= position:
            self._spans.popleft()
        if not self._spans or self._most < LEAST:
            return None
        consumed = max(0, position - self._asked[0][0]) if self._asked else 0
        room = self._most - self._under_way + consumed
        begin, end = max(self._spans[0][0], position), self._spans[0][1]
        if end - begin > room and room <= self._most // 2:
            return None  # not in crumbs
        return begin, min(end, begin + room)

    def asked(self, end: int) -> None:
        """Of what is due, everything up to *end* has been asked for."""
        begin, stop = self._spans.popleft()
        if end < stop:
            self._spans.appendleft((max(begin, end), stop))
        if begin < end:
            self._asked.append((begin, min(end, stop)))
            self._under_way += min(end, stop) - begin


def _joined(spans: Iterable[Span]) -> deque[Span]:
    """Neighbours in one, and whole blocks, because those are what is fetched and kept."""
    joined: deque[Span] = deque()
    for begin, end in spans:
        start, stop = begin // BLOCK_SIZE * BLOCK_SIZE, -(-end // BLOCK_SIZE) * BLOCK_SIZE
        if joined and start - joined[-1][1] <= LARGEST_GAP:
            before = joined.pop()
            start, stop = before[0], max(stop, before[1])
        joined.append((start, stop))
    return joined
