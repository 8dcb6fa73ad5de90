"""What the tests of reading share: toy objects that note what is asked of them, and an engine to read them with."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Hashable
from typing import Any

from storagekit.blocks import BlockCache
from storagekit.driver import RangeBody, RangeReader, Stat
from storagekit.flights import Source
from storagekit.location import Location
from storagekit.pace import Pace
from storagekit.reading import READ_BUFFER, BufferedReader, ReadStream
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Reaper, Transfers

MiB = 1024 * 1024

# How long a test waits for what must happen before it calls it a failure.
GUARD = 10.0

DATA = random.Random(11).randbytes(5 * BLOCK_SIZE + 321)
URL = "toy://box/key"


class Body(RangeBody):
    def __init__(self, data: memoryview, on_read: Callable[[], None]) -> None:
        self._data = data
        self._on_read = on_read

    def readinto(self, view: memoryview, /) -> int:
        self._on_read()
        count = min(len(view), len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def close(self) -> None:
        self._data = memoryview(b"")


class Object(RangeReader):
    """An object that keeps a list of what is asked of it."""

    def __init__(self, data: bytes = DATA, *, key: Hashable = "key", head: int = 0) -> None:
        self.stat = Stat(Location("toy", "box", "key"), size=len(data), identity="v1")
        self.head = data[:head]
        self.cache_key = key
        self.requests: list[tuple[int, int]] = []
        self.closed_by: list[threading.Thread] = []
        self.on_open: Callable[[int, int], None] = lambda start, stop: None
        self.on_read: Callable[[], None] = lambda: None
        self._data = data

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        assert 0 <= start < stop <= len(self._data)
        self.requests.append((start, stop))
        self.on_open(start, stop)
        return Body(memoryview(self._data)[start:stop], lambda: self.on_read())

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())

    @property
    def asked(self) -> int:
        """The bytes that were asked for."""
        return sum(stop - start for start, stop in self.requests)


class Zeros(Object):
    """A long object that costs no memory; every byte of a block is the block's number."""

    def __init__(self, size: int, **more: Any) -> None:
        super().__init__(b"", **more)
        self.stat = Stat(Location("toy", "box", "zeros"), size=size, identity="v1")

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        self.requests.append((start, stop))
        self.on_open(start, stop)
        return ZeroBody(stop - start, lambda: self.on_read())


class ZeroBody(RangeBody):
    def __init__(self, left: int, on_read: Callable[[], None]) -> None:
        self._left = left
        self._on_read = on_read

    def readinto(self, view: memoryview, /) -> int:
        self._on_read()
        count = min(len(view), self._left)
        self._left -= count
        return count

    def close(self) -> None:
        self._left = 0


class Paced(Pace):
    """A link that is known, and stays as it is: 28 ms and 80 MB/s, or a fast one."""

    def __init__(self, *, fast: bool) -> None:
        super().__init__()
        self.first_byte, self.rate, self.fast = (0.0, 1e9, True) if fast else (0.028, 80e6, False)

    def note(self, first_byte: float, size: int, seconds: float) -> None:
        pass

    @property
    def patience(self) -> float | None:
        """None: a body that a test holds back is not overdue."""
        return None


def source_of(raw: ReadStream) -> Source:
    return raw._access._source


def no_recipe() -> tuple[Any, ...]:
    raise TypeError("no recipe")


class Engine:
    """A cache with its threads and its reaper, which opens objects."""

    def __init__(self, budget: int = 64 * MiB, threads: int = 8, *, fast: bool | None = False) -> None:
        """*fast* says how every link is, so that a toy in memory is not taken for one; None: it is to be found out."""
        self.transfers = Transfers(threads)
        self.reaper = Reaper()
        self.cache = BlockCache(budget, self.transfers)
        self._fast = fast

    def raw(self, whole: RangeReader, *, buffered: bool = False, access: str | None = None) -> ReadStream:
        raw = ReadStream(whole, self.cache, self.reaper, buffered=buffered, access=access)
        if self._fast is not None:
            source_of(raw).pace = Paced(fast=self._fast)
        return raw

    def open(self, whole: RangeReader, buffer_size: int = READ_BUFFER, access: str | None = None) -> BufferedReader:
        return BufferedReader(self.raw(whole, buffered=True, access=access), buffer_size, no_recipe)

    @property
    def readers(self) -> int:
        """How many handles have blocks here."""
        return sum(self.cache._handles.values())

    def settle(self) -> None:
        """Wait until nothing is under way, and see that nothing is left."""
        self.reaper.drain()
        self.transfers.close()
        assert self.cache.info().in_flight == 0
        assert not self.cache._pending


def in_time(work: Callable[[], object]) -> object:
    """The result of *work*, which must not hang."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(GUARD)
    assert results, "it hangs, or failed"
    return results[0]
