"""What the tests of sending and of writing share: a store that records, and a box that writes into it.

Used as a pytest plugin (``pytest_plugins``) for its fixture. PYTEST_DONT_REWRITE: the tests import
from it first.
"""

from __future__ import annotations

import errno
import gc
import gzip
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from storagekit.codecs import CODECS
from storagekit.compression import CompressedSink
from storagekit.driver import Body, ObjectWriter, Stat
from storagekit.location import parse_location
from storagekit.room import Room
from storagekit.sending import PartSender
from storagekit.transfers import Reaper, Transfers
from storagekit.writing import BinaryWriter, TextWriter, WriteSink

URL = "toy://box/key"
HERE = parse_location(URL)
PART = 10
LAYERS = ("binary", "text", "gzip", "gzip-text")


class StoreError(OSError):
    """What a store says that fails."""


class Recorder(ObjectWriter):
    """A store of one object, which remembers what it was asked, can fail, and can be held up."""

    def __init__(self, *, size: int = PART, ordered: bool = False, fail: object = None) -> None:
        self.ordered = ordered
        self.size = size
        self.fail = fail
        """The number of a part, "put", "commit" or "abort"."""
        self.error: BaseException = StoreError(errno.EIO, "the store fails", URL)
        self.calls: list[str] = []
        self.parts: dict[int, tuple[int, bytes]] = {}
        self.published: bytes | None = None
        self.threads: dict[str, threading.Thread] = {}
        self.held: dict[int, threading.Event] = {}
        """Parts that wait for their event before they arrive."""
        self.entered = threading.Semaphore(0)
        self.aborted = threading.Event()
        self.lock = threading.Lock()
        self.in_flight = self.most_in_flight = self.bytes_in_flight = self.most_bytes = 0

    def _step(self, name: str, key: object) -> None:
        self.calls.append(name)
        self.threads[name] = threading.current_thread()
        if self.fail == key:
            raise self.error

    def part_size(self, number: int, /) -> int:
        return self.size

    def put(self, body: Body, /) -> Stat:
        self._step("put", "put")
        return self._publish(b"".join(body))

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        data = b"".join(body)
        with self.lock:
            self.in_flight += 1
            self.bytes_in_flight += len(data)
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.most_bytes = max(self.most_bytes, self.bytes_in_flight)
        self.entered.release()
        try:
            if number in self.held:
                assert self.held[number].wait(30)
            self._step(f"part {number}", number)
            self.parts[number] = offset, data
        finally:
            with self.lock:
                self.in_flight -= 1
                self.bytes_in_flight -= len(data)

    def commit(self) -> Stat:
        self._step("commit", "commit")
        assert sorted(self.parts) == list(range(1, len(self.parts) + 1))
        return self._publish(b"".join(data for _, (_, data) in sorted(self.parts.items())))

    def _publish(self, data: bytes) -> Stat:
        self.published = data
        return Stat(HERE, "file", len(data), identity="v1")

    def abort(self) -> None:
        assert self.in_flight == 0, "the abort overtook a part"
        self.aborted.set()
        self._step("abort", "abort")


class Box:
    """Opens writers over Recorders, with threads and a reaper of its own."""

    def __init__(self) -> None:
        self.transfers = Transfers(8)
        self.reaper = Reaper()

    def sender(self, store: ObjectWriter, limit: int = 1 << 20) -> PartSender:
        return PartSender(store, URL, self.transfers, self.reaper, Room(limit))

    def open(self, store: ObjectWriter, layer: str = "binary", *, buffer: int = 4, limit: int = 1 << 20) -> Any:
        sink = WriteSink(self.sender(store, limit))
        raw: io.RawIOBase = sink
        if layer.startswith("gzip"):
            raw = CompressedSink(CODECS["gzip"], sink, URL)
            sink.finishing.append(raw)
        binary = BinaryWriter(raw, sink, buffer)
        return TextWriter(binary, encoding="utf-8", newline="\n") if layer.endswith("text") else binary


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.reaper.give_up()
    made.transfers.close()


def collect(holder: list[Any]) -> None:
    """Empty *holder*, which has the only reference to what it holds."""
    holder.clear()
    gc.collect()


def some(layer: str, size: int) -> Any:
    """Something to write through *layer*, which does not compress away."""
    data = b"".join(b"%08x" % (number * 2654435761 & 0xFFFFFFFF) for number in range(size // 8 + 1))[:size]
    return data.decode() if layer.endswith("text") else data


def plain(layer: str, published: bytes | None) -> Any:
    assert published is not None
    data = gzip.decompress(published) if layer.startswith("gzip") else published
    return data.decode() if layer.endswith("text") else data
