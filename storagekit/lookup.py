"""Lookup: what is at one path.

A driver is asked two kinds of question only: ``stat`` about exactly one key, and ``list`` about what
starts with a prefix. What a *directory* is on a store without real ones is decided here, once for
every driver:

* ``p`` is a directory when some key starts with ``p/``; a marker, the empty object ``p/`` itself, is such a
  key. That is one LIST of one key. A container is a directory.
* A path with a trailing slash means the directory. The exception is a key that ends in a slash and holds
  bytes: it is data, so it is a file under the empty name, and its path reads, stats and removes as one.
* ``a`` may stand beside ``a/``. ``stat`` then speaks of the file; ``isdir`` and ``isfile`` both say yes.

No question is answered "no" because the store refused to answer it: a missing permission is raised by
``exists`` and its kin, where ``os.path`` would say False. A backup that skips what it may not see is no backup.

Requests are counted: ``isfile`` is one HEAD, ``isdir`` one LIST. What is asked only to find out which
error is the right one never replaces, by its own failure, the answer that there is nothing.
"""

from __future__ import annotations

import stat as _stat
from collections.abc import Callable
from dataclasses import replace

from storagekit import errors
from storagekit.backend import Resource
from storagekit.driver import Stat
from storagekit.location import Location

__all__ = [
    "absent",
    "exists",
    "find_object",
    "getmtime",
    "getsize",
    "is_file",
    "is_marker",
    "isdir",
    "isfile",
    "quietly",
    "refuse_directory",
    "status",
]


def status(resource: Resource) -> Stat:
    """What is at a path: the object at exactly that key, else the directory.

    The ``Stat`` of a directory that only its keys imply has size 0 and no time; that of a marked one has the
    marker's time. Raises ``FileNotFoundError``; ``NotADirectoryError`` for a file written with a trailing slash.
    One request for a file, two for a directory.
    """
    location = resource.location
    if not resource.traits.implicit_directories:
        return _real_status(resource)
    if location.is_root:
        # The list of all containers always exists; whether a given container does, the driver knows.
        return resource.stat() if location.container else Stat(location, "directory", 0)
    if location.path.endswith("/"):
        first = _first_below(resource)
        if first is None:
            raise absent(resource)
        return _directory_stat(resource, first)
    try:
        return resource.stat()
    except FileNotFoundError:
        first = _first_below(resource)
        if first is None:
            raise
    return _directory_stat(resource, first)


def exists(resource: Resource) -> bool:
    """True for a file or a directory. Raises what hinders the answer, ``PermissionError`` above all."""
    try:
        status(resource)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def isfile(resource: Resource) -> bool:
    """True where ``open`` would read something: one HEAD (one LIST for a path with a trailing slash)."""
    location = resource.location
    try:
        if location.is_root:
            return False
        if location.path.endswith("/") and resource.traits.implicit_directories:
            first = _first_below(resource)
            return first is not None and is_file(_directory_stat(resource, first))
        found = _real_status(resource)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return is_file(found)


def isdir(resource: Resource) -> bool:
    """True for a directory, by its marker or by any key below it: one LIST of one key."""
    try:
        if resource.traits.implicit_directories and not resource.location.is_root:
            return _first_below(resource) is not None
        return status(resource).is_directory
    except (FileNotFoundError, NotADirectoryError):
        return False


def getsize(resource: Resource) -> int:
    """The size in bytes; 0 for a directory.

    Raises as ``status`` does, and ``io.UnsupportedOperation`` where the store cannot tell the size.
    """
    found = status(resource)
    if found.size is None and not found.is_directory:
        raise errors.unsupported(resource.location, "the store does not tell this object's size; read it to know")
    return found.st_size


def getmtime(resource: Resource) -> float:
    """The time of the last change in seconds since the epoch, 0.0 where the store keeps none. Raises as ``status``."""
    return status(resource).st_mtime


def find_object(resource: Resource) -> Stat:
    """The object that ``open`` would read at this path, for those who are about to read, copy or remove it.

    ``IsADirectoryError`` where there is only a directory, ``NotADirectoryError`` for a file with a trailing
    slash, else ``FileNotFoundError``. One request where the object is there. The request that tells a
    directory from nothing does not change the answer when it fails.
    """
    location = resource.location
    if location.is_root:
        raise errors.is_a_directory(location)
    if location.path.endswith("/"):
        found = status(resource)
    else:
        try:
            found = resource.stat()
        except FileNotFoundError as missing:
            if resource.traits.implicit_directories and quietly(isdir, resource):
                raise errors.is_a_directory(location) from missing
            raise
    if found.is_directory:
        raise errors.is_a_directory(location)
    return found


def refuse_directory(resource: Resource) -> None:
    """Refuse a path that means a directory by its name, for those who are about to write an object there.

    ``NotADirectoryError`` for a file with a trailing slash, ``FileNotFoundError`` where nothing is there.
    """
    location = resource.location
    if location.path.endswith("/"):
        status(resource)
    if location.is_root or location.path.endswith("/"):
        raise errors.is_a_directory(location)


def _real_status(resource: Resource) -> Stat:
    """The driver's own answer, held to what a trailing slash means."""
    location = resource.location
    found = resource.stat()
    if location.path.endswith("/") and not found.is_directory:
        raise errors.not_a_directory(location)
    return found


def is_file(found: Stat) -> bool:
    """True for a regular file. A mode without a type, and no mode at all, is not held against it."""
    return not found.is_directory and _stat.S_IFMT(found.st_mode) in (0, _stat.S_IFREG)


def is_marker(found: Stat, directory: Location) -> bool:
    """True for the empty object whose key is the directory's own prefix."""
    return _is_own(found, directory) and (found.is_directory or found.size == 0)


def _is_own(found: Stat, directory: Location) -> bool:
    """True for what stands at the directory's own prefix; containers have none, though their paths are equal."""
    return found.location.path == directory.prefix != ""


def _first_below(resource: Resource) -> Stat | None:
    """Any one object whose key starts with the prefix; the marker, if there is one, on a sorted store."""
    return next(resource.entries(recursive=True, limit=1), None)


def _directory_stat(resource: Resource, first: Stat) -> Stat:
    """The Stat of a directory of which *first* is known to be in it, or of the data under its empty name."""
    location = resource.location
    own = first if _is_own(first, location) else None
    if own is None and not resource.traits.sorted_listing:
        try:  # the marker sorts first, but here the first need not be the least
            own = resource.at(location.directory).stat()
        except FileNotFoundError:
            pass
    if own is None:
        return Stat(location, "directory", 0)
    if is_marker(own, location):
        return replace(own, location=location, kind="directory", size=0)
    return own if location.path.endswith("/") else Stat(location, "directory", 0)


def quietly(question: Callable[[Resource], bool], resource: Resource) -> bool:
    """The answer to a question asked only to choose between errors; no answer counts as no."""
    try:
        return question(resource)
    except OSError:
        return False


def absent(resource: Resource) -> OSError:
    """The error for a directory that is not there: is it a file?"""
    if quietly(isfile, resource.at(resource.location.bare)):
        return errors.not_a_directory(resource.location)
    return errors.not_found(resource.location)
