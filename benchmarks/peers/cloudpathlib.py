"""cloudpathlib: pathlib's shape; a file is downloaded whole into a cache before it is opened."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import Peer

__all__ = ["CloudPathlib"]


class CloudPathlib(Peer):
    """As it comes, with a cache that is empty when it begins."""

    imports = "cloudpathlib"

    def set_up(self) -> None:
        from cloudpathlib import S3Client

        cache = tempfile.mkdtemp(dir=self.place.scratch)
        self._client = S3Client(endpoint_url=self.place.endpoint, local_cache_dir=cache)

    def _path(self, key: str) -> Any:
        return self._client.CloudPath(self.place.url(key))

    def open(self, key: str) -> Any:
        return self._path(key).open("rb")

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self._path(key).open("r", encoding="utf-8", newline="")
        return text

    def open_write(self, key: str) -> Any:
        return self._path(key).open("wb")

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.url(""))
        return [str(path)[skip:] for path in self._path(prefix).rglob("*") if path.is_file()]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.url(""))
        return [str(folder / name)[skip:] for folder, _, names in self._path(prefix).walk() for name in names]
