"""megfile: files over boto3 with blocks that are fetched ahead by a pool of threads."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import MiB, Peer

__all__ = ["Megfile", "MegfileTuned"]


class Megfile(Peer):
    """As it comes; the endpoint is found in the environment."""

    imports = "megfile"
    reading: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)

    def set_up(self) -> None:
        import megfile

        logging.getLogger("megfile").setLevel(logging.ERROR)
        self._module = megfile

    def open(self, key: str) -> Any:
        return self._module.smart_open(self.place.url(key), "rb", **self.reading)

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self._module.smart_open(
            self.place.url(key), "r", encoding="utf-8", **self.reading
        )
        return text

    def open_write(self, key: str) -> Any:
        return self._module.smart_open(self.place.url(key), "wb")

    def append(self, key: str, data: bytes) -> None:
        with self._module.smart_open(self.place.url(key), "ab") as file:
            file.write(data)

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.url(""))
        return [path[skip:] for path in self._module.smart_scan(self.place.url(prefix))]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.url(""))
        return [
            f"{folder}/{name}"[skip:]
            for folder, _, names in self._module.smart_walk(self.place.url(prefix).rstrip("/"))
            for name in names
        ]


class MegfileTuned(Megfile):
    """More threads and larger blocks, and room for as many: the docstring of ``s3_prefetch_open`` says "max_workers=10
    or 20, block_size=8 or 16 MB" perform well."""

    reading = {"max_workers": 20, "block_size": 16 * MiB, "max_buffer_size": 20 * 16 * MiB}  # noqa: RUF012
