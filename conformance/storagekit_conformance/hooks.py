"""A driver's hooks, for the tests that call them as the core does, without the core in between.

The driver is found as the core finds it (the target's settings, else the entry point of the scheme) and
registered with a plugin manager of the test's own, so that an answer of None shows as None.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pluggy

from storagekit.driver import Stat
from storagekit.hookspecs import ENTRY_POINT_GROUP, PROJECT, DriverHooks
from storagekit.location import Location, parse_location
from storagekit_conformance.support import Box
from storagekit_conformance.target import Root

__all__ = ["Driver", "drained", "driver_of"]


@dataclass(frozen=True)
class Driver:
    """One driver's hooks, with the options of the place filled in."""

    plugin: Any
    manager: pluggy.PluginManager
    root: Root

    @classmethod
    @contextmanager
    def of(cls, box: Box) -> Iterator[Driver]:
        """The driver of a place, found as the core finds it."""
        drivers = dict(box.root.settings.get("drivers") or {})  # type: ignore[call-overload]
        chosen = drivers.get(box.root.scheme)
        if not callable(chosen):
            points = [p for p in metadata.entry_points(group=ENTRY_POINT_GROUP) if p.name == box.root.scheme]
            if isinstance(chosen, str):
                points = [p for p in points if p.dist and p.dist.name == chosen]
            chosen = points[0].load()
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(DriverHooks)
        plugin = chosen()
        manager.register(plugin)
        manager.check_pending()
        yield cls(plugin, manager, box.root)
        if chosen not in drivers.values():  # else it is the storage's own
            manager.hook.close()

    @property
    def implemented(self) -> set[str]:
        """The names of the hooks that it implements."""
        return {caller.name for caller in self.manager.get_hookcallers(self.plugin) or ()}

    def at(self, key: str) -> Location:
        """The location of *key* below the root, read as the driver reads URLs."""
        url = f"{self.root.url}/{key}" if key else self.root.url
        return self.call("parse", url=url) or parse_location(url)

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook; None where it is not implemented."""
        if hook not in self.implemented:
            return None
        accepted = getattr(DriverHooks, hook).__code__.co_varnames
        if "options" in accepted:
            arguments.setdefault("options", dict(self.root.options))
        return getattr(self.manager.hook, hook)(**arguments)

    def entries(self, key: str, *, recursive: bool = True, limit: int | None = None, after: str = "") -> list[Stat]:
        """What ``list`` yields."""
        found = self.call("list", location=self.at(key), recursive=recursive, limit=limit, start_after=after)
        return list(found)


def driver_of(box: Box) -> Iterator[Driver]:
    """A driver of the place's scheme: the fixture ``driver`` of the tests that ask for one."""
    with Driver.of(box) as found:
        yield found


def drained(body: Any, size: int) -> bytes:
    """Read a body to its end, and close it twice."""
    collected = bytearray()
    buffer = memoryview(bytearray(size))
    while count := body.readinto(buffer):
        collected += buffer[:count]
    assert body.readinto(buffer) == 0
    body.close()
    body.close()
    return bytes(collected)
