"""Stats: what a Storage has done and holds at this moment, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storagekit.blocks import CacheInfo

__all__ = ["StorageStats"]


@dataclass(frozen=True, slots=True)
class StorageStats:
    """What a ``Storage`` has done and holds.

    >>> import storagekit
    >>> storagekit.Storage().stats().bytes_on_their_way
    0
    """

    cache: CacheInfo
    """The block cache: hits, misses, requests, bytes fetched and cached."""
    threads: int
    """Threads for transfers at this moment."""
    writers: int
    """Writers that are neither published nor given up to their end."""
    bytes_on_their_way: int
    """Bytes of parts that are being sent, of all writers."""
    drivers: Mapping[str, Mapping[str, int]]
    """By scheme what the driver has counted; on S3 ``requests``, ``retries``, ``errors``, ``bytes_sent`` and
    ``bytes_received``. A scheme is here once it was used."""
