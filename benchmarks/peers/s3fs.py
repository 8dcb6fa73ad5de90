"""s3fs: fsspec's file system over aiobotocore, in an environment of its own, because it pins botocore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import MiB, Peer

__all__ = ["S3fs", "S3fsTuned"]


class S3fs(Peer):
    """As it comes, but for the cache of listings, which would answer from memory what is asked of the store."""

    imports = "s3fs"
    opening: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)
    system: dict[str, Any] = {}  # noqa: RUF012

    def set_up(self) -> None:
        import s3fs

        self.fs = s3fs.S3FileSystem(
            endpoint_url=self.place.endpoint,
            use_listings_cache=False,
            config_kwargs={"max_pool_connections": 64},
            **self.system,
        )

    def open(self, key: str) -> Any:
        return self.fs.open(self.place.path(key), "rb", **self.opening)

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self.fs.open(
            self.place.path(key), "r", encoding="utf-8", newline="", **self.opening
        )
        return text

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        starts, stops = zip(*ranges, strict=True)
        data: list[bytes] = self.fs.cat_ranges([self.place.path(key)] * len(ranges), list(starts), list(stops))
        return data

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        skip = len(self.place.path(""))
        for path, data in self.fs.cat([self.place.path(key) for key in keys]).items():
            yield path[skip:], data

    def open_write(self, key: str) -> Any:
        return self.fs.open(self.place.path(key), "wb")

    def write(self, key: str, data: bytes) -> None:
        self.fs.pipe_file(self.place.path(key), data)

    def append(self, key: str, data: bytes) -> None:
        with self.fs.open(self.place.path(key), "ab") as file:
            file.write(data)

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.path(""))
        return [path[skip:] for path in self.fs.find(self.place.path(prefix))]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.path(""))
        return [
            f"{folder}/{name}"[skip:] for folder, _, names in self.fs.walk(self.place.path(prefix)) for name in names
        ]


class S3fsTuned(S3fs):
    """Blocks of 8 MiB, of which the next is fetched in the background, and more requests at once.

    fsspec's docstring of the cache ``background`` says "pre-loading of the next block in the background"; that of
    ``S3FileSystem`` has ``max_concurrency`` for uploads and for ``cat``, which is so the way to a whole object.
    """

    opening = {  # noqa: RUF012
        "block_size": 8 * MiB,
        "cache_type": "background",
        "cache_options": {"maxblocks": 16},
    }
    system = {"max_concurrency": 16}  # noqa: RUF012

    def read(self, key: str) -> Any:
        return self.fs.cat_file(self.place.path(key))
