"""NVIDIA's multi-storage-client: an object is loaded into memory, or a file, before it is read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import Peer

__all__ = ["MultiStorageClient", "MultiStorageClientTuned"]


class MultiStorageClient(Peer):
    """As it comes: over boto3."""

    imports = "multistorageclient"
    options: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)

    def set_up(self) -> None:
        import multistorageclient

        base = self.place.path("").rstrip("/")
        options = {"base_path": base, "region_name": self.place.region, "endpoint_url": self.place.endpoint}
        profile = {"storage_provider": {"type": "s3", "options": {**options, **self.options}}}
        config = multistorageclient.StorageClientConfig.from_dict({"profiles": {"bench": profile}}, profile="bench")
        self._client = multistorageclient.StorageClient(config)

    def open(self, key: str) -> Any:
        return self._client.open(key, "rb")

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self._client.open(key, "r", encoding="utf-8")
        return text

    def read(self, key: str) -> Any:
        return self._client.read(key)

    def open_write(self, key: str) -> Any:
        return self._client.open(key, "wb")

    def write(self, key: str, data: bytes) -> None:
        self._client.write(key, data)

    def list_flat(self, prefix: str) -> list[str]:
        return [entry.key for entry in self._client.list(path=prefix)]

    def list_folders(self, prefix: str) -> list[str]:
        found, folders = [], [prefix]
        while folders:
            for entry in self._client.list(path=folders.pop(), include_directories=True):
                if entry.type == "directory":
                    folders.append(entry.key.rstrip("/") + "/")
                else:
                    found.append(entry.key)
        return found


class MultiStorageClientTuned(MultiStorageClient):
    """Its client in Rust, which its documentation recommends for throughput.

    https://nvidia.github.io/multi-storage-client/user_guide/rust.html (``rust_client``).
    """

    options = {"rust_client": {"allow_http": "true"}}  # noqa: RUF012

    def read(self, key: str) -> Any:
        # The fast way for large objects here: ``read`` of this client converts the bytes one by one.
        with self.open(key) as file:
            return file.read()

    def read_small(self, key: str) -> Any:
        return self._client.read(key)
