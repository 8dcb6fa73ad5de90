"""Verifying: what a handle has read from start to end is what the store keeps the checksum of.

TCP's own checksum misses one error in some ten thousand, a proxy or a disk may change a byte, and nothing of HTTP would
tell. So where the driver knows the object's checksum, it is computed over the bytes as they are read, and compared when
the last one has been; then the read that brought it raises, as a codec does for the checksum at the end of its file. A
handle that reads here and there verifies nothing: no store keeps checksums of ranges.

*Cost.* A CRC is computed at several GB/s, and always. A hash such as MD5 costs three times what receiving the bytes
does, so it is computed for objects of up to ``MOST_HASHED`` bytes.
"""

from __future__ import annotations

import errno

from storagekit.checksums import CHEAP, Checksum, Digest
from storagekit.errors import os_error

__all__ = ["MOST_HASHED", "Verifier", "verifier"]

# 64 MiB of MD5 are a tenth of a second. Objects that were written in parts, as most longer ones are, have none.
MOST_HASHED = 64 * 1024 * 1024


def verifier(checksum: Checksum | None, size: int) -> Verifier | None:
    """What verifies an object of *size* bytes; None where nothing can, or it would cost too much."""
    if checksum is None or (checksum.algorithm not in CHEAP and size > MOST_HASHED):
        return None
    digest = checksum.begin()
    return None if digest is None else Verifier(checksum, digest, size)


class Verifier:
    """One handle's way through an object. Used by one thread at a time, which the handle's lock sees to."""

    def __init__(self, checksum: Checksum, digest: Digest | None, size: int) -> None:
        """Without a *digest* it begins with the next read of the first byte."""
        self._checksum = checksum
        self._digest = digest
        self._size = size
        self._position = 0

    def anew(self) -> Verifier:
        """One for a forked child. A thread of the parent may have been in the digest, and hashes have a lock of their
        own: nobody is left in the child who would release it, so the digest is not touched there again."""
        return Verifier(self._checksum, None, self._size)

    def take(self, start: int, data: memoryview | bytes, url: str) -> None:
        """The handle has read *data* at *start*; ``OSError`` (EIO) about *url* where they complete what is not the
        object."""
        # Nobody has it while it takes the bytes in: an interrupt there ends the verifying, for then it is not known
        # whether they are in or not.
        digest, self._digest = self._digest, None
        if start == 0 and (digest is None or self._position):
            digest, self._position = self._checksum.begin(), 0
        if digest is None or start != self._position:
            return  # it reads here and there
        digest.update(data)
        self._position += len(data)
        if self._position < self._size:
            self._digest = digest
            return
        found = digest.value()
        if found != self._checksum.value:
            raise wrong(self._checksum, found, url)


def wrong(checksum: Checksum, found: bytes, url: str) -> OSError:
    """The error for an object whose bytes do not have the checksum that the store keeps."""
    text = (
        f"The bytes that were read are not those that were stored: their {checksum.algorithm} is {found.hex()}, "
        f"and the store keeps {checksum.value.hex()}"
    )
    return os_error(errno.EIO, url, text, hint="read it again; if that does not help, the object itself is damaged")
