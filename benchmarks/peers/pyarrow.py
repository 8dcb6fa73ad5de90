"""pyarrow: its own file system for S3, over the AWS SDK for C++."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.base import MiB, Peer

__all__ = ["PyArrow", "PyArrowTuned"]


class PyArrow(Peer):
    """As it comes."""

    imports = "pyarrow.fs"
    buffer_size: int | None = None

    def set_up(self) -> None:
        from pyarrow import fs

        scheme, _, host = self.place.endpoint.partition("://")
        self._module = fs
        self._fs = fs.S3FileSystem(region=self.place.region, scheme=scheme, endpoint_override=host)

    def open(self, key: str) -> Any:
        return self._fs.open_input_stream(self.place.path(key), buffer_size=self.buffer_size)

    def open_random(self, key: str) -> Any:
        return self._fs.open_input_file(self.place.path(key))

    def open_write(self, key: str) -> Any:
        return self._fs.open_output_stream(self.place.path(key), buffer_size=self.buffer_size)

    def _listed(self, prefix: str, recursive: bool) -> Any:
        return self._fs.get_file_info(self._module.FileSelector(prefix.rstrip("/"), recursive=recursive))

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.path(""))
        file = self._module.FileType.File
        return [entry.path[skip:] for entry in self._listed(self.place.path(prefix), True) if entry.type == file]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.path(""))
        found, folders = [], [self.place.path(prefix)]
        while folders:
            for entry in self._listed(folders.pop(), False):
                if entry.type == self._module.FileType.File:
                    found.append(entry.path[skip:])
                else:
                    folders.append(entry.path)
        return found


class PyArrowTuned(PyArrow):
    """A buffer of 8 MiB, which ``open_input_stream`` and ``open_output_stream`` have for it.

    https://arrow.apache.org/docs/python/generated/pyarrow.fs.S3FileSystem.html (``buffer_size``).
    """

    buffer_size = 8 * MiB
