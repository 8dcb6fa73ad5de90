"""Checksums: what a store keeps of an object's bytes, and computing the same.

A driver says which one it is (``RangeReader.checksum``); the core computes it over what a handle reads from start to
end (``verifying``). Known are those of zlib and hashlib; ``crc32c`` and ``crc64nvme`` need the package ``awscrt``, and
where that is not installed they say nothing.

>>> from storagekit.checksums import Checksum
>>> digest = Checksum("md5", bytes.fromhex("5d41402abc4b2a76b9719d911017c592")).begin()
>>> digest.update(b"hello")
>>> digest.value().hex()
'5d41402abc4b2a76b9719d911017c592'
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from storagekit.fork_guard import IMPORT_SECONDS, guarded

__all__ = ["CHEAP", "Checksum", "Digest"]

CHEAP = frozenset({"crc32", "crc32c", "crc64nvme"})
"""Those that cost less than receiving the bytes does."""

_HASHES = frozenset({"md5", "sha1", "sha256"})


class Digest(Protocol):
    """A checksum that is being computed."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take in the next bytes."""

    def value(self) -> bytes:
        """The checksum of all that was taken in."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The checksum of a whole object: *algorithm* is ``md5``, ``sha1``, ``sha256``, ``crc32``, ``crc32c`` or
    ``crc64nvme``, and *value* its bytes, those of a CRC in network order."""

    algorithm: str
    value: bytes

    def begin(self) -> Digest | None:
        """Compute the same over other bytes; None where that cannot be done here."""
        if self.algorithm in _HASHES:
            return _Hash(self.algorithm)
        if self.algorithm == "crc32":
            return _Crc(zlib.crc32, 4)
        function = _of_awscrt(self.algorithm)
        return None if function is None else _Crc(function, 4 if self.algorithm == "crc32c" else 8)


class _Hash:
    def __init__(self, algorithm: str) -> None:
        with guarded(IMPORT_SECONDS):
            import hashlib  # slow to import, and needed for reading from some stores only

        self._hash: Any = hashlib.new(algorithm, usedforsecurity=False)
        self.update = self._hash.update
        self.value = self._hash.digest


class _Crc:
    def __init__(self, function: Callable[[Any, int], int], length: int) -> None:
        self._function = function
        self._length = length
        self._value = 0

    def update(self, data: memoryview | bytes, /) -> None:
        self._value = self._function(data, self._value)

    def value(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


def _of_awscrt(algorithm: str) -> Callable[[Any, int], int] | None:
    try:
        with guarded(IMPORT_SECONDS):
            checksums = importlib.import_module("awscrt.checksums")
    except ImportError:
        return None
    function = getattr(checksums, algorithm, None)
    # It takes bytes and bytearrays, and no other buffers.
    return None if function is None else lambda data, before: function(bytes(data), before)
