"""The other limit: the builtin ``open`` on the same objects as files, in memory. No network at all."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.peers.base import Peer

__all__ = ["Local"]


class Local(Peer):
    """Reading: what is left of each workload when nothing has to be fetched."""

    imports = "io"

    def open(self, key: str) -> Any:
        return (self.place.folder / key).open("rb")

    def open_text(self, key: str) -> AbstractContextManager[Iterable[str]]:
        return (self.place.folder / key).open(encoding="utf-8")
