"""Broken drivers: keys that are not what was written."""

from __future__ import annotations

from dataclasses import replace

from broken_drivers.defects import defect
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


class Renames(MemoryDriver):
    """A driver that changes every location on its way in."""

    @staticmethod
    def key(path: str) -> str:
        raise NotImplementedError

    @hookimpl
    def parse(self, url: str) -> Location:
        from storagekit.location import parse_location

        location = parse_location(url)
        return replace(location, path=self.key(location.path))


@defect("names.literal", "names.odd-directories", "driver.stat")
class DecodesPercentSigns(Renames):
    """Keys are read as if they were URLs of the web."""

    @staticmethod
    def key(path: str) -> str:
        from urllib.parse import unquote

        return unquote(path)


@defect("names.round-trip", "names.slashes")
class CollapsesSlashes(Renames):
    """``a//b`` is read as ``a/b``."""

    @staticmethod
    def key(path: str) -> str:
        while "//" in path:
            path = path.replace("//", "/")
        return path


@defect("names.round-trip", "names.dot-segments", "names.literal")
class ResolvesDots(Renames):
    """``.`` and ``..`` are resolved, as in a path on disk."""

    @staticmethod
    def key(path: str) -> str:
        from posixpath import normpath

        return normpath(path) + "/" * path.endswith("/") if path.strip("/") else path


@defect("listing.listdir", "names.case")
class FoldsCase(Renames):
    """Keys that differ in case are one key."""

    @staticmethod
    def key(path: str) -> str:
        return path.lower()


@defect("names.round-trip", "names.normal-forms")
class NormalisesUnicode(Renames):
    """Keys are brought into one normal form, so that two keys become one."""

    @staticmethod
    def key(path: str) -> str:
        from unicodedata import normalize

        return normalize("NFC", path)
