"""The target for ``memory://``: for each test a driver of its own, with two ways into it.

One is the storage under test. The other are the memory driver's own hooks, called past whatever a
subclass has made of them: ``memory_target`` also takes such a subclass, so that a driver can be
broken on purpose in a few lines, and still be looked at through honest eyes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from storagekit.location import parse_location
from storagekit_conformance.target import Client, Root, Target

if TYPE_CHECKING:
    from storagekit_memory.driver import MemoryDriver

__all__ = ["memory_target"]


class _MemoryClient(Client):
    """The objects of one driver, through the hooks of ``MemoryDriver``."""

    def __init__(self, driver: MemoryDriver, url: str) -> None:
        from storagekit_memory.driver import MemoryDriver

        self._hooks = MemoryDriver
        self._driver, self._root = driver, parse_location(url)

    def put(self, key: str, data: bytes) -> None:
        self._hooks.open_write(self._driver, self._root.child(key), {}, None).put([data])

    def get(self, key: str) -> bytes:
        try:
            reader = self._hooks.open_read(self._driver, self._root.child(key), head=sys.maxsize)
        except FileNotFoundError:
            raise KeyError(key) from None
        return bytes(reader.head)

    def delete(self, key: str) -> None:
        self._hooks.delete(self._driver, self._root.child(key), None)

    def keys(self) -> list[str]:
        found = self._hooks.entries(self._driver, self._root, recursive=True, limit=None, start_after="")
        return [stat.location.path.removeprefix(self._root.prefix) for stat in found]


def memory_target(name: str, kind: type[MemoryDriver] | None = None) -> Target:
    """A target over ``MemoryDriver``, or over the subclass *kind* of it."""

    @contextmanager
    def place(url: str) -> Iterator[Root]:
        from storagekit_memory.driver import MemoryDriver

        driver = (kind or MemoryDriver)()
        yield Root(url, settings={"drivers": {"memory": lambda: driver}}, client=_MemoryClient(driver, url))

    def root() -> AbstractContextManager[Root]:
        return place("memory://box/place")

    def container() -> AbstractContextManager[Root]:
        return place("memory://box")

    return Target(name, root, container=container)
