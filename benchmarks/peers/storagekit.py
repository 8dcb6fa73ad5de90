"""storagekit: its public functions, with the settings that it comes with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import Peer

__all__ = ["StorageKit", "StorageKitBoto3"]


class StorageKit(Peer):
    """As it comes: the endpoint and the credentials are found in the environment."""

    imports = "storagekit"

    def set_up(self) -> None:
        import storagekit

        self._module: Any = storagekit

    def open(self, key: str) -> Any:
        return self._module.open(self.place.url(key), "rb")

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        text: AbstractContextManager[Iterable[str]] = self._module.open(self.place.url(key), encoding="utf-8")
        return text

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        with self.open(key) as file:
            data: list[bytes] = file.read_ranges(ranges)
            return data

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        skip = len(self.place.url(""))
        for url, data in self._module.read_many(self.place.url(key) for key in keys):
            if isinstance(data, OSError):
                raise data
            yield url[skip:], data

    def open_write(self, key: str) -> Any:
        return self._module.open(self.place.url(key), "wb")

    def write_many(self, objects: Mapping[str, bytes]) -> None:
        self._module.write_many({self.place.url(key): data for key, data in objects.items()})

    def append(self, key: str, data: bytes) -> None:
        # What is no host of Amazon's is promised little; here it stands for Amazon.
        options = {"server": "aws"}
        with self._module.open(self.place.url(key), "ab", options=options) as file:
            file.write(data)

    def list_flat(self, prefix: str) -> list[str]:
        # There is one way to everything below a directory, and it goes folder by folder.
        return self.list_folders(prefix)

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.url(""))
        found = []
        for folder, _, names in self._module.walk(self.place.url(prefix)):
            found += [f"{folder.rstrip('/')}/{name}"[skip:] for name in names]
        return found


class StorageKitBoto3(StorageKit):
    """With every request through boto3, as the option ``transport`` offers."""

    def set_up(self) -> None:
        import storagekit

        self._module = storagekit.Storage(options={"s3": {"transport": "boto3"}})
