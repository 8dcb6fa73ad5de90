"""Directories: what lies below a path, and making and removing directories.

What a directory is, ``lookup`` decides. Here its entries are listed: lazily, page by page, in the store's order,
without the directory's own marker. A scan costs the pages of its listing and no more, unless it is empty: only then a
second question finds out whether the directory is missing, a file, or truly empty.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from types import TracebackType
from typing import Any, AnyStr, Generic, overload

from storagekit import errors
from storagekit.backend import Resource
from storagekit.chunks import pages_ahead
from storagekit.driver import Stat
from storagekit.location import Location
from storagekit.lookup import absent, exists, is_file, is_marker, isdir, isfile, quietly, status
from storagekit.transfers import Transfers

__all__ = [
    "DirEntry",
    "Scan",
    "entries_below",
    "extend",
    "is_link",
    "listdir",
    "listed",
    "makedirs",
    "mkdir",
    "rmdir",
    "scandir",
]

# A link that leads nowhere, or in a circle, is not there; that is how os.path sees it too.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


# ---------------------------------------------------------------- one directory


def extend(path: str, name: str) -> str:
    """The path of *name* in the directory *path*; an empty name keeps its slash, or it would be the directory."""
    base = path if path.endswith("/") else path + "/"
    return base + name if name else base + "/"


class DirEntry(Generic[AnyStr]):
    """One entry of a scan, in the shape of ``os.DirEntry``.

    *path* is the directory's path as it was given, a slash and *name*. The one path that ends in a slash
    is that of a directory, or of data, whose name is empty.
    """

    __slots__ = ("_asked", "_found", "name", "path", "resource")

    def __init__(self, resource: Resource, name: AnyStr, path: AnyStr, found: Stat) -> None:
        self.resource = resource
        """Where the entry is, for those who ask the driver about it."""
        self.name: AnyStr = name
        self.path: AnyStr = path
        self._found = found
        self._asked = False

    def __fspath__(self) -> AnyStr:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """True for a directory; no request."""
        return self._found.is_directory and (follow_symlinks or not self.is_symlink())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """True for a file; no request, except for a symbolic link that the listing could not follow."""
        if not self.is_symlink():
            return is_file(self._found)
        if not follow_symlinks:
            return False
        if self._found.size is not None:
            return is_file(self._found)
        try:
            return is_file(self.resource.stat())
        except OSError as error:
            if error.errno in _NOWHERE:
                return False
            raise

    def is_symlink(self) -> bool:
        """True for a symbolic link, which only stores with real files have."""
        return is_link(self._found)

    def is_junction(self) -> bool:
        """False: no store has junctions."""
        return False

    def inode(self) -> int:
        """0: no store has inodes."""
        return 0

    def stat(self, *, follow_symlinks: bool = True) -> Stat:
        """What the listing said; a file's missing size or time is asked for, in one request, once.

        A link is always followed: a driver is asked about what can be read.
        """
        found = self._found
        if not (self._asked or found.is_directory) and (found.size is None or found.modified_ns is None):
            asked = self.resource.stat()
            self._asked = True
            # What the listing alone knows (that this is a link) stays known.
            self._found = replace(asked, extra={**found.extra, **asked.extra})
        return self._found


class Scan(Iterator[DirEntry[AnyStr]]):
    """The entries of one directory, lazily, page by page; a context manager, as ``os.scandir`` gives."""

    def __init__(self, resource: Resource, path: AnyStr, found: Iterator[Stat]) -> None:
        self._resource = resource
        self._path = os.fsdecode(path)
        # Names are of the type of the path, as in os.
        self._kind: Callable[[str], AnyStr] = os.fsencode if isinstance(path, bytes) else str
        self._found = found

    def __next__(self) -> DirEntry[AnyStr]:
        directory = self._resource.location
        for found in self._found:
            if not is_marker(found, directory):
                name, path = self._names(found.location)
                return DirEntry(self._resource.at(found.location), self._kind(name), self._kind(path), found)
        raise StopIteration

    def __enter__(self) -> Scan[AnyStr]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _names(self, location: Location) -> tuple[str, str]:
        """Name and path of an entry."""
        prefix = self._resource.location.prefix
        if location.is_root:  # a container, in the list of containers
            return location.name, extend(self._path, location.name)
        if location.path == prefix:  # data under the empty name, at the directory's own path with its slash
            return "", self._path.removesuffix("/") + "/"
        name = location.path[len(prefix) :].removesuffix("/")
        return name, extend(self._path, name)

    def close(self) -> None:
        """End the scan; nothing more is asked of the store."""
        self._found = iter(())


@overload
def scandir(resource: Resource, path: str | None = None, transfers: Transfers | None = None) -> Scan[str]: ...


@overload
def scandir(resource: Resource, path: bytes, transfers: Transfers | None = None) -> Scan[bytes]: ...


@overload
def scandir(resource: Resource, path: str | bytes | None, transfers: Transfers | None = None) -> Scan[Any]: ...


def scandir(resource: Resource, path: str | bytes | None = None, transfers: Transfers | None = None) -> Scan[Any]:
    """The entries of a directory, in the store's order, without the directory's own marker.

    *path* is the URL as the user wrote it, which the entries' paths begin with; bytes give bytes. A file and
    a directory of one name are two entries; a scan of the root without container gives the containers. *transfers*
    fetch the pages of a long listing ahead. Raises, at the call, ``FileNotFoundError``, and ``NotADirectoryError``
    for a file.
    """
    return Scan(resource, resource.location.url if path is None else path, entries_below(resource, transfers=transfers))


def entries_below(resource: Resource, *, recursive: bool = False, transfers: Transfers | None = None) -> Iterator[Stat]:
    """What the driver lists below a directory, its marker included; its absence is raised at the call.

    With *transfers*, the pages of a long listing are fetched ahead.
    """
    found = listed(resource, recursive=recursive)
    if transfers is not None:
        found = pages_ahead(found, resource, transfers)
    return _only_below(resource.location, found)


def listed(resource: Resource, *, recursive: bool = False) -> Iterator[Stat]:
    """What the driver lists for a directory, as it comes; its absence is raised at the call."""
    location = resource.location
    try:
        found = resource.entries(recursive=recursive)
        first = next(found, None)
    except FileNotFoundError as missing:
        if not location.is_root and quietly(isfile, resource.at(location.bare)):
            raise errors.not_a_directory(location) from missing
        raise  # the driver's own words: it may be the container that is missing
    if first is not None:
        return chain((first,), found)
    if not location.is_root:
        if resource.traits.implicit_directories:
            raise absent(resource)
        if not status(resource).is_directory:
            raise errors.not_a_directory(location)
    return iter(())


def _only_below(location: Location, found: Iterator[Stat]) -> Iterator[Stat]:
    """The entries, if they lie below *location*: what is listed may be removed, so a driver must not list more."""
    for stat in found:
        inside = stat.location.container == location.container or not location.container
        if not inside or not stat.location.path.startswith(location.prefix):
            raise not_below(location, stat)
        yield stat


def not_below(location: Location, found: Stat) -> OSError:
    """The error for a driver that lists what nobody asked for."""
    return errors.os_error(errno.EIO, location, f"the driver lists what does not lie below it: {found.location}")


def is_link(found: Stat) -> bool:
    """True for a symbolic link, which only stores with real files have."""
    return bool(found.extra.get("symlink")) or _stat.S_ISLNK(found.st_mode)


def listdir(resource: Resource, transfers: Transfers | None = None) -> list[str]:
    """The names in a directory, sorted, each once. Raises as ``scandir`` does."""
    with scandir(resource, transfers=transfers) as scan:
        return sorted({entry.name for entry in scan})


# ---------------------------------------------------------------- making and removing


def mkdir(resource: Resource, mode: int = 0o777) -> None:
    """Make one directory, whose parent must exist; *mode* means something to stores with permissions.

    Raises ``FileExistsError`` for a file or directory of that name, ``FileNotFoundError`` or
    ``NotADirectoryError`` about the parent, ``io.UnsupportedOperation`` for a container and on stores that keep
    no empty directory.
    """
    _refuse_container(resource)
    if resource.traits.implicit_directories:
        _refuse_existing(resource)
        parent = resource.at(resource.location.parent)
        if not parent.location.is_root and not isdir(parent):
            raise _absent_parent(resource, parent)
    _make(resource, mode)


def makedirs(resource: Resource, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Make a directory and every missing one above it; *mode* is for the last, the others get the default.

    Each new level is marked, so it stays when what is put below it goes again.
    Raises ``FileExistsError`` for a file of that name, and for a directory unless *exist_ok*; ``NotADirectoryError``
    where a file is in the way; ``io.UnsupportedOperation`` as ``mkdir``.
    """
    if isdir(resource):
        if exist_ok:
            return
        raise errors.exists(resource.location)
    _refuse_container(resource)
    if isfile(resource.at(resource.location.bare)):
        raise errors.exists(resource.location)
    missing = [resource]
    while not (above := resource.at(missing[-1].location.parent)).location.is_root and not isdir(above):
        if isfile(above.at(above.location.bare)):
            raise errors.not_a_directory(resource.location)
        missing.append(above)
    for level in reversed(missing):
        try:
            _make(level, mode if level is resource else 0o777)
        except FileExistsError:
            # Another was faster. Above the target that is as good; at the target it is what exist_ok is about.
            if level is resource and not (exist_ok and isdir(resource)):
                raise


def rmdir(resource: Resource) -> None:
    """Remove an empty directory: its marker, which is all that there is of it.

    Raises ``OSError`` (ENOTEMPTY), ``FileNotFoundError``, ``NotADirectoryError`` for a file, and
    ``io.UnsupportedOperation`` for a container.
    """
    location = resource.location
    if location.is_root:
        raise errors.unsupported(location, "a container is not removed through a path: use the store's own tools")
    if resource.traits.implicit_directories:
        found = list(resource.entries(recursive=True, limit=2))
        if not found:
            raise absent(resource)
        if len(found) > 1 or not is_marker(found[0], location):
            raise errors.os_error(errno.ENOTEMPTY, location)
    elif not status(resource).is_directory:
        raise errors.not_a_directory(location)
    try:
        resource.backend.delete(location.directory, resource.options)
    except OSError as error:
        error.filename = location.url  # as the user wrote it, not as the driver was asked
        raise


def _make(resource: Resource, mode: int) -> None:
    if not resource.traits.empty_directories:
        raise errors.unsupported(
            resource.location,
            "this store keeps no empty directory; write a file below it, which needs no directory made before",
        )
    resource.backend.make_directory(resource.location, resource.options, mode)


def _refuse_container(resource: Resource) -> None:
    location = resource.location
    if location.is_root:
        if exists(resource):
            raise errors.exists(location)
        raise errors.unsupported(location, "a container is not made through a path: use the store's own tools")


def _refuse_existing(resource: Resource) -> None:
    if isdir(resource) or isfile(resource.at(resource.location.bare)):
        raise errors.exists(resource.location)


def _absent_parent(resource: Resource, parent: Resource) -> OSError:
    if quietly(isfile, parent.at(parent.location.bare)):
        return errors.not_a_directory(resource.location)
    return errors.not_found(resource.location, hint="its parent does not exist (makedirs makes both)")
