"""smart_open: a file over one stream of boto3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import POOL, MiB, Peer

__all__ = ["SmartOpen", "SmartOpenTuned"]


class SmartOpen(Peer):
    """As it comes, with a client of one's own, which its README recommends."""

    imports = "smart_open"
    reading: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)
    jumping: dict[str, Any] = {}  # noqa: RUF012
    writing: dict[str, Any] = {}  # noqa: RUF012

    def set_up(self) -> None:
        import boto3
        import smart_open
        from botocore.config import Config

        self._module = smart_open
        self._client = boto3.client("s3", endpoint_url=self.place.endpoint, config=Config(max_pool_connections=64))

    def _open(self, key: str, mode: str, parameters: dict[str, Any]) -> Any:
        parameters = {"client": self._client, **parameters}
        return self._module.open(self.place.url(key), mode, transport_params=parameters)

    def open(self, key: str) -> Any:
        return self._open(key, "rb", self.reading)

    def open_random(self, key: str) -> Any:
        return self._open(key, "rb", self.jumping)

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self._open(key, "r", self.reading)
        return text

    def open_write(self, key: str) -> Any:
        return self._open(key, "wb", self.writing)

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        # It lists by itself: everything below the folder of the keys.
        from smart_open.s3 import iter_bucket

        folder = self.place.key(keys[0].rpartition("/")[0] + "/")
        found = iter_bucket(
            self.place.bucket, prefix=folder, workers=POOL, client_kwargs={"endpoint_url": self.place.endpoint}
        )
        for key, data in found:
            yield key[len(self.place.prefix) :], data


class SmartOpenTuned(SmartOpen):
    """Buffers that fit the reads, as the docstring of ``smart_open.s3.open`` recommends.

    It says: "for sequential read workloads increase buffer_size", ``defer_seek`` saves the request that open makes when
    the first thing is a seek, and ``range_chunk_size`` bounds what a jump asks for.
    """

    reading = {"buffer_size": MiB}  # noqa: RUF012
    jumping = {"buffer_size": 64 * 1024, "defer_seek": True, "range_chunk_size": 64 * 1024}  # noqa: RUF012
    writing = {"min_part_size": 8 * MiB}  # noqa: RUF012
