"""Listing directories, sorted as an object store sorts: by the whole path, a directory counting with its slash.

A directory is read whole before its first entry is yielded, which is also how ``os.walk`` does it; so an error
shows at the call, and what changes meanwhile cannot confuse the order. A recursive listing goes down
into each directory in its place among its siblings: as all paths below ``a/`` begin with ``a/``, the order of
the whole comes out right by itself, and memory holds one directory per level.

A recursive listing yields files. It does not go through symbolic links to directories, which may lead back up or out
of the tree. Every entry that is a link says so in its ``extra`` (``symlink``); a link that leads nowhere is a
file of unknown size. Files that are just being written have no name yet, so they are not listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

from storagekit.driver import Stat, Upload
from storagekit.location import Location
from storagekit_local.paths import os_path, reported, stat_of
from storagekit_local.writing import is_partial

__all__ = ["list_directory", "list_partials"]


def list_directory(location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
    """What lies below the directory *location*; an error with the directory itself is raised at the call."""
    entries = _read(location)
    found = _descend(location, entries, start_after) if recursive else _stats(location, entries, start_after)
    return islice(found, limit)


def list_partials(location: Location) -> Iterator[Upload]:
    """The hidden files below the directory *location* that were begun and not published."""
    pending = [location]
    while pending:
        directory = pending.pop()
        try:
            with reported(directory), os.scandir(os_path(directory)) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue  # nothing was begun there, or it has just gone
        for entry in entries:
            place = directory.child(entry.name)
            if entry.is_dir(follow_symlinks=False):
                pending.append(place)
            elif is_partial(entry.name):
                stat = _stat(place, entry)
                if stat is not None:
                    yield Upload(place, entry.name, stat.modified_ns)


def _read(directory: Location) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of one directory and their names, sorted, a directory's name with its slash."""
    with reported(directory), os.scandir(os_path(directory)) as entries:
        named = [(_name(entry), entry) for entry in entries if not is_partial(entry.name)]
    return sorted(named, key=lambda pair: pair[0])


def _name(entry: os.DirEntry[str]) -> str:
    try:
        return entry.name + "/" if entry.is_dir() else entry.name
    except OSError:  # a link into a place that we may not see, or in a circle
        return entry.name


def _stats(directory: Location, entries: list[tuple[str, os.DirEntry[str]]], start_after: str) -> Iterator[Stat]:
    for name, entry in entries:
        place = directory.child(name)
        if place.path > start_after and (stat := _stat(place, entry)) is not None:
            yield stat


def _descend(top: Location, entries: list[tuple[str, os.DirEntry[str]]], start_after: str) -> Iterator[Stat]:
    """The files below *top*, in order; a stack of its own, so that depth costs no recursion."""
    stack = [(top, iter(entries))]
    while stack:
        directory, level = stack[-1]
        name, entry = next(level, (None, None))
        if name is None or entry is None:
            stack.pop()
            continue
        place = directory.child(name)
        if not name.endswith("/"):
            if place.path > start_after and (stat := _stat(place, entry)) is not None:
                yield stat
        elif not entry.is_symlink() and (place.path > start_after or start_after.startswith(place.path)):
            try:
                stack.append((place, iter(_read(place))))
            except (FileNotFoundError, NotADirectoryError):
                pass  # gone since its parent was read


def _stat(place: Location, entry: os.DirEntry[str]) -> Stat | None:
    """The Stat of one entry, links followed; None where it has gone since the directory was read."""
    more = {"symlink": True} if entry.is_symlink() else {}
    try:
        stat = stat_of(place, entry.stat(), **more)
    except FileNotFoundError:
        return Stat(place, extra=more) if more else None
    except OSError:  # it is there, and we may not look at it
        return Stat(place, "directory" if place.path.endswith("/") else "file", extra=more)
    # What it was when the name was chosen must agree with what it is now, or the name would lie.
    return stat if stat.is_directory == place.path.endswith("/") else None
