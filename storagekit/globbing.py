"""Globbing: the patterns of the standard library's ``glob``, on URLs.

A pattern is cut at its slashes. Segments without magic are never listed, only joined as they stand: an
empty one, a dot and two dots mean what they mean in a key. Every directory that a segment with magic
speaks about is scanned once, lazily, in the store's order; what is left without magic at the end costs one
question whether it exists. ``**`` walks, and matches what it finds against the next segment on the way, so
``**/*.csv`` lists each directory once and not twice.

As in ``glob``: names that begin with a dot are matched only by patterns that do, a pattern that ends in a slash
matches directories only, ``**`` is special only with ``recursive=True`` and then also matches no directory at all.
Matching is case-sensitive. Unlike ``glob``, each path comes once, even where ``a`` stands beside ``a/`` or two ``**``
lead to it; and an error other than "there is nothing there" is raised, because a pattern that skips what it may
not see looks as if it had found everything.

``*`` matches the empty name too (``a/*`` finds the directory ``a//``), because a key that no pattern reaches would
be lost to those who copy by pattern.
"""

from __future__ import annotations

import errno
import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from storagekit.backend import Resource
from storagekit.directories import DirEntry, Scan, scandir
from storagekit.errors import invalid
from storagekit.location import scheme_of
from storagekit.lookup import exists, isdir
from storagekit.transfers import Transfers

__all__ = ["glob", "has_magic", "iglob"]

Resolve: TypeAlias = Callable[[str], Resource]

_MAGIC = re.compile(r"[*?[]")


def has_magic(pattern: str) -> bool:
    """True where *pattern* has a character that means more than itself."""
    return _MAGIC.search(pattern) is not None


def glob(
    resolve: Resolve,
    pathname: str,
    *,
    root_dir: str | None = None,
    dir_fd: int | None = None,
    recursive: bool = False,
    include_hidden: bool = False,
) -> list[str]:
    """As ``iglob``, all at once, in a list."""
    return list(
        iglob(resolve, pathname, root_dir=root_dir, dir_fd=dir_fd, recursive=recursive, include_hidden=include_hidden)
    )


def iglob(
    resolve: Resolve,
    pathname: str,
    *,
    root_dir: str | None = None,
    dir_fd: int | None = None,
    recursive: bool = False,
    include_hidden: bool = False,
    transfers: Transfers | None = None,
) -> Iterator[str]:
    """The paths that match *pathname*, lazily; *resolve* makes a resource of a URL, *transfers* fetch pages ahead.

    *pathname* is a URL with magic in any part but the scheme (``s3://logs-*/2024/*``), or, with the URL *root_dir*, a
    pattern relative to that, whose matches are relative too. Raises ``InvalidArgumentError``, at the call, for a
    *dir_fd* and for a pattern that is neither; later what scanning raises.
    """
    if dir_fd is not None:
        raise invalid(pathname, "dir_fd is for local paths only: no file descriptor names a directory of a store")
    search = _Search(resolve, recursive, include_hidden, transfers)
    scheme = scheme_of(pathname)
    if scheme is not None:
        start = len(scheme) + len("://")
        return search.run(pathname[:start], pathname[start:], 0)
    if root_dir is None or pathname.startswith("/"):
        raise invalid(pathname, "expected a URL, or a pattern relative to the URL root_dir")
    base = root_dir if root_dir.endswith("/") else root_dir + "/"
    return search.run(base, pathname, len(base))


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a pattern; *match* is None for a literal and for ``**``."""

    text: str
    match: Callable[[str], object] | None = None
    anywhere: bool = False


Pattern: TypeAlias = tuple[_Segment, ...]

# What is left of a pattern that ends in a slash: the directory itself, and directories only.
_CLOSING: Pattern = (_Segment(""),)


class _Search:
    """One pattern being looked for."""

    def __init__(self, resolve: Resolve, recursive: bool, include_hidden: bool, transfers: Transfers | None) -> None:
        self._resolve = resolve
        self._recursive = recursive
        self._include_hidden = include_hidden
        self._transfers = transfers

    def run(self, base: str, text: str, cut: int) -> Iterator[str]:
        """The matches of *text* below *base*, without their first *cut* characters."""
        pattern = self._parse(text)
        # Two ways to one path exist only where something stands between two `**`.
        several = sum(segment.anywhere for segment in pattern) > 1
        seen: set[str] = set()
        for path in self._expand(base, pattern):
            if len(path) == cut or path in seen:
                continue  # root_dir itself has no relative name
            if several:
                seen.add(path)
            yield path[cut:]

    def _parse(self, text: str) -> Pattern:
        pattern: list[_Segment] = []
        for part in text.split("/"):
            if part == "**" and self._recursive:
                if not (pattern and pattern[-1].anywhere):  # `**/**` says no more than `**`
                    pattern.append(_Segment(part, anywhere=True))
            elif has_magic(part):
                pattern.append(_Segment(part, re.compile(fnmatch.translate(part)).match))
            else:
                pattern.append(_Segment(part))
        return tuple(pattern)

    def _expand(self, base: str, pattern: Pattern) -> Iterator[str]:
        """The matches of *pattern* below *base*, which ends in a slash."""
        for number, segment in enumerate(pattern):
            if segment.anywhere or segment.match:
                base += "".join(literal.text + "/" for literal in pattern[:number])
                rest = pattern[number + 1 :]
                if segment.anywhere:
                    yield from self._descend(base, rest)
                else:
                    yield from self._matches(base, segment, rest)
                return
        path = base + "/".join(segment.text for segment in pattern)
        asked = isdir if path.endswith("/") else exists
        if asked(self._resolve(path)):
            yield path

    def _matches(self, base: str, segment: _Segment, rest: Pattern) -> Iterator[str]:
        """One segment with magic against one directory."""
        scan = self._scan(base)
        if scan is None:
            return
        seen: set[str] = set()
        with scan:
            for entry in scan:
                if self._fits(segment, entry.name):
                    yield from self._found(entry, rest, seen)

    def _descend(self, base: str, rest: Pattern) -> Iterator[str]:
        """``**``: *rest* against *base* and every directory below it, each scanned once."""
        wanted = rest[0] if rest and rest != _CLOSING else None
        todo = [base]
        while todo:
            directory = todo.pop()
            scan = self._scan(directory)
            if scan is None:
                continue
            seen: set[str] = set()
            if rest == _CLOSING or (not rest and directory == base):
                seen.add(directory)
                yield directory
            below: list[str] = []
            with scan:
                for entry in scan:
                    shown = self._shown(entry.name)
                    if self._fits(wanted, entry.name) if wanted else shown and not rest:
                        yield from self._found(entry, rest[1:], seen)
                    if shown and entry.is_dir():
                        below.append(_directory_path(entry))
            todo.extend(reversed(below))

    def _found(self, entry: DirEntry[str], rest: Pattern, seen: set[str]) -> Iterator[str]:
        """An entry that fits: it is a match, or the directory where the *rest* goes on.

        *seen* holds the matches in this directory so far: a file and a directory of one name are one match.
        """
        if not rest:
            if entry.path not in seen:
                seen.add(entry.path)
                yield entry.path
        elif entry.is_dir():
            directory = _directory_path(entry)
            if rest == _CLOSING:
                yield directory
            else:
                yield from self._expand(directory, rest)

    def _scan(self, directory: str) -> Scan[str] | None:
        """The entries of *directory*; None where there is none, or only a link that leads nowhere."""
        try:
            return scandir(self._resolve(directory), directory, self._transfers)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def _fits(self, segment: _Segment, name: str) -> bool:
        if segment.match is None:
            return segment.text == name
        return segment.match(name) is not None and (self._shown(name) or segment.text.startswith("."))

    def _shown(self, name: str) -> bool:
        return self._include_hidden or not name.startswith(".")


def _directory_path(entry: DirEntry[str]) -> str:
    """The path of a directory with its slash, to join to."""
    return entry.path if entry.path.endswith("/") else entry.path + "/"
