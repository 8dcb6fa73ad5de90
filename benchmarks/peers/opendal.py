"""OpenDAL: Python over its Rust core."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import MiB, Peer, RawFile, gathered, scattered

__all__ = ["OpenDAL", "OpenDALTuned"]


class OpenDAL(Peer):
    """As it comes."""

    imports = "opendal"
    reading: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)
    writing: dict[str, Any] = {}  # noqa: RUF012

    def set_up(self) -> None:
        import opendal

        self._operator = opendal.Operator(
            "s3", bucket=self.place.bucket, endpoint=self.place.endpoint, region=self.place.region
        )

    def open(self, key: str) -> Any:
        return self._operator.open(self.place.key(key), "rb", **self.reading)

    def open_random(self, key: str) -> Any:
        return self._operator.open(self.place.key(key), "rb")

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        # Its file is none of io's, which TextIOWrapper would need.
        file: Any = RawFile(self.open(key))
        return io.TextIOWrapper(file, encoding="utf-8", newline="")

    def read(self, key: str) -> Any:
        return self._operator.read(self.place.key(key), **self.reading)

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        operator = self._operator.to_async_operator()
        return gathered(lambda key: operator.read(self.place.key(key)), keys)

    def open_write(self, key: str) -> Any:
        return self._operator.open(self.place.key(key), "wb", **self.writing)

    def write(self, key: str, data: bytes) -> None:
        self._operator.write(self.place.key(key), data)

    def _listed(self, prefix: str, recursive: bool) -> Iterator[str]:
        skip = len(self.place.prefix)
        for entry in self._operator.list(self.place.key(prefix), recursive=recursive):
            yield entry.path[skip:]

    def write_many(self, objects: Mapping[str, bytes]) -> None:
        operator = self._operator.to_async_operator()
        scattered(lambda key, data: operator.write(self.place.key(key), data), objects)

    def list_flat(self, prefix: str) -> list[str]:
        return [path for path in self._listed(prefix, True) if not path.endswith("/")]

    def list_folders(self, prefix: str) -> list[str]:
        found, folders = [], [prefix]
        while folders:
            folder = folders.pop()
            for path in self._listed(folder, False):
                if not path.endswith("/"):
                    found.append(path)
                elif path != folder:
                    folders.append(path)
        return found


class OpenDALTuned(OpenDAL):
    """Chunks of 8 MiB, eight at a time, as the documentation of its readers and writers shows; jumps through a buffer.

    OpenDAL's performance guide (``opendal::docs::performance``) has ``concurrent(8)`` and ``chunk``. The buffer is what
    ``zipfile`` and its like need: a ``read`` of OpenDAL's file may give less than was asked for before the end.
    """

    reading = {"chunk": 8 * MiB, "concurrent": 8, "prefetch": 8}  # noqa: RUF012
    writing = {"chunk": 8 * MiB, "concurrent": 8}  # noqa: RUF012

    def open_random(self, key: str) -> Any:
        return io.BufferedReader(RawFile(super().open_random(key)), 64 * 1024)
