"""What a peer is: the few things that the workloads ask of every library.

A peer does each of them in the way that its own documentation shows first, and leaves out what its library does not
offer. What is common to most stands here: a text over a file, a small object through a file, a pool for many.
Credentials, region and endpoint are in the environment, where every library looks for them; ``Place`` has the endpoint
for those that want to be told.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

__all__ = ["MiB", "NotOfferedError", "Peer", "Place", "Sink"]

MiB = 1024 * 1024

# What a program reads at a time that reads a file from its beginning to its end.
CHUNK = MiB

# The pool of a program that reads or writes many small objects at once.
POOL = 16

Sink: TypeAlias = Callable[..., object]
"""``sink(data)`` takes the next bytes of an object, in any kind of buffer; ``sink(data, start)`` those of a place."""


T = TypeVar("T")


class NotOfferedError(Exception):
    """The library has no such function, and nobody would build it out of the others."""


@dataclass(frozen=True)
class Place:
    """Where the objects are: keys of the workloads are relative to it."""

    endpoint: str
    """As in ``http://127.0.0.1:9000``."""

    plain_endpoint: str
    """The same store without delays, where there is one: to compare what was written, and to clean up."""

    bucket: str
    prefix: str
    """Before every key: empty, or with a slash at its end."""

    region: str
    access_key: str
    secret_key: str
    token: str | None
    folder: Path
    """The same objects as files, to compare with."""

    scratch: Path
    """A folder that is empty, for libraries that keep files."""

    def key(self, key: str) -> str:
        """The whole key."""
        return self.prefix + key

    def path(self, key: str) -> str:
        """``bucket/key``."""
        return f"{self.bucket}/{self.prefix}{key}"

    def url(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.prefix}{key}"


class Peer:
    """One library with one configuration, for one place. Importing it is part of making it."""

    imports = ""
    """What an import of it names, as a program would."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.set_up()

    def set_up(self) -> None:
        """Import the library and make what a program makes once, as a client."""

    # Reading

    def open(self, key: str) -> Any:
        """The object as a file, to be read from its beginning: with ``read``, ``close``."""
        raise NotOfferedError

    def open_random(self, key: str) -> Any:
        """The object as a file to jump in: with ``seek``, ``tell`` and ``read`` as in ``io``."""
        return self.open(key)

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        """The object's lines, as UTF-8."""
        return io.TextIOWrapper(self.open(key), encoding="utf-8", newline="")

    def read_through(self, key: str, sink: Sink) -> None:
        """Give the whole object to *sink*, piece by piece and in order."""
        with self.open(key) as file:
            while data := file.read(CHUNK):
                sink(data)

    def read(self, key: str) -> Any:
        """The whole object, as bytes or another buffer."""
        with self.open(key) as file:
            return file.read()

    def read_small(self, key: str) -> Any:
        """The same, where the object is known to be small."""
        return self.read(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """The bytes of many ranges, each from its start (included) to its stop (excluded), in one call."""
        raise NotOfferedError

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Many objects by the library's own function for it, each with its key, in any order."""
        raise NotOfferedError

    # Writing

    def open_write(self, key: str) -> Any:
        """A file to write into."""
        raise NotOfferedError

    def write_through(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object whose bytes come one chunk after another."""
        with self.open_write(key) as file:
            for chunk in chunks:
                file.write(chunk)

    def write(self, key: str, data: bytes) -> None:
        """Write a small object whole."""
        with self.open_write(key) as file:
            file.write(data)

    def write_many(self, objects: Mapping[str, bytes]) -> None:
        """Write many small objects by the library's own function for it."""
        raise NotOfferedError

    def append(self, key: str, data: bytes) -> None:
        """Add to the end of an object, in the mode ``"ab"`` that the library says it has."""
        raise NotOfferedError

    # Listing

    def list_flat(self, prefix: str) -> list[str]:
        """All keys below a prefix that ends in a slash, each from the prefix on, in any order."""
        raise NotOfferedError

    def list_folders(self, prefix: str) -> list[str]:
        """The same, folder by folder, as ``os.walk`` does."""
        raise NotOfferedError

    # For the peers that have no function of their own

    @staticmethod
    def pool(function: Callable[[T], Any], items: Sequence[T], threads: int = POOL) -> Iterator[tuple[T, Any]]:
        """*function* of every item, each with its item."""
        with ThreadPoolExecutor(threads) as pool:
            yield from zip(items, pool.map(function, items), strict=True)


class RawFile(io.RawIOBase):
    """A file of the standard library over one whose ``read`` gives a buffer, for libraries that have no ``readinto``.

    ``zipfile``, ``tarfile`` and pyarrow want a file that keeps ``io``'s promises.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._inner.seek(offset, whence)
        return int(self._inner.tell())

    def tell(self) -> int:
        return int(self._inner.tell())

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(self._inner.read(size) if size is not None and size >= 0 else self._inner.read())

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        data = memoryview(self._inner.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self._inner, "close"):
            self._inner.close()
        super().close()


def gathered(one: Callable[[str], Any], keys: Sequence[str], at_once: int = 64) -> Iterator[tuple[str, Any]]:
    """Many objects by a library's coroutine for one, *at_once* at a time: how asynchronous libraries read in bulk."""
    import asyncio

    async def everything() -> list[tuple[str, Any]]:
        room = asyncio.Semaphore(at_once)

        async def limited(key: str) -> tuple[str, Any]:
            async with room:
                return key, await one(key)

        return await asyncio.gather(*(limited(key) for key in keys))

    yield from asyncio.run(everything())


def scattered(one: Callable[[str, bytes], Any], objects: Mapping[str, bytes]) -> None:
    """The same for writing."""
    for _ in gathered(lambda key: one(key, objects[key]), list(objects)):
        pass
