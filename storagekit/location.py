"""Locations: a URL in its three parts, as written.

A key is whatever stands after ``scheme://container/``. Nothing is ever percent-decoded,
normalised or cut at ``?`` or ``#``: object stores allow every one of those characters in a key,
and a library that "cleans" a key reads or destroys another object than the one that was named.

A *directory* is written with or without its trailing slash; ``prefix`` gives the one text that
every key below it starts with. That makes empty segments work without a special case: the
directory ``a//`` has the prefix ``a//`` and holds ``a//b``, the directory ``a`` has the prefix
``a/`` and holds a directory whose name is empty.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from storagekit.errors import invalid

__all__ = ["Location", "join_path", "parse_location", "scheme_of"]

# RFC 3986 section 3.1, but at least two characters, so that "C://x" is never taken for a scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def scheme_of(path: str) -> str | None:
    """The scheme of a URL in lower case, or ``None`` for a plain local path.

    >>> from storagekit.location import scheme_of
    >>> scheme_of("S3://bucket/key"), scheme_of("/tmp/s3"), scheme_of("C:/temp")
    ('s3', None, None)
    """
    match = _SCHEME.match(path)
    return match.group(1).lower() if match else None


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where something is: ``scheme://container/path``, the path as written.

    *container* is the bucket (empty for stores without one, like ``file``); *path* is the key,
    without the slash that separates it from the container, empty for the container itself.
    """

    scheme: str
    container: str
    path: str

    @property
    def url(self) -> str:
        """The URL, as the user would write it."""
        return f"{self.scheme}://{self.container}/{self.path}" if self.container or self.path else f"{self.scheme}://"

    def __str__(self) -> str:
        return self.url

    @property
    def is_root(self) -> bool:
        """True for a container itself and for the list of containers, where no object can be."""
        return self.path == ""

    @property
    def prefix(self) -> str:
        """What every key below this directory starts with: the path with a trailing slash, or ``""``."""
        return self.path if self.path == "" or self.path.endswith("/") else self.path + "/"

    @property
    def directory(self) -> Location:
        """This location written as a directory, with its trailing slash: where a marker would be."""
        return Location(self.scheme, self.container, self.prefix)

    @property
    def bare(self) -> Location:
        """This location without one trailing slash: the object that a directory of that name would stand beside."""
        return Location(self.scheme, self.container, self.path.removesuffix("/"))

    @property
    def name(self) -> str:
        """The last segment, without a directory's trailing slash; a container's own name at its root."""
        if not self.path:
            return self.container
        return self.path.removesuffix("/").rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The directory that holds this, written with its trailing slash; a root is its own parent."""
        head, slash, _ = self.path.removesuffix("/").rpartition("/")
        return Location(self.scheme, self.container, head + slash)

    def child(self, name: str) -> Location:
        """What *name* is below this directory; *name* is taken as written."""
        return Location(self.scheme, self.container, self.prefix + name)


def parse_location(url: str) -> Location:
    """Parse ``scheme://container/path``; raise ``InvalidArgumentError`` where that is not what *url* is.

    >>> from storagekit.location import parse_location
    >>> parse_location("s3://bucket/a b/100%?#")
    Location(scheme='s3', container='bucket', path='a b/100%?#')
    """
    scheme = scheme_of(url)
    if scheme is None:
        raise invalid(url, "not a URL: expected scheme://container/path")
    if "\0" in url:
        raise invalid(url, "embedded null character")
    container, _, path = url[len(scheme) + 3 :].partition("/")
    if not container and path:
        raise invalid(url, f"no container between {scheme}:// and the next slash: expected {scheme}://container/path")
    return Location(scheme, container, path)


def join_path(path: str, *paths: str) -> str:
    """Join as ``os.path.join`` does: one slash between segments, and a later URL or absolute path starts afresh.

    An absolute part after a URL starts again at that URL's container, as one after a local path
    starts again at the root. Nothing is normalised.

    >>> from storagekit.location import join_path
    >>> join_path("s3://bucket/a/", "b", "c.txt")
    's3://bucket/a/b/c.txt'
    """
    for part in paths:
        if scheme_of(part):
            path = part
        elif scheme_of(path) is None:
            path = os.path.join(path, part)
        elif part.startswith("/"):
            scheme, _, rest = path.partition("://")
            path = f"{scheme}://{rest.partition('/')[0]}{part}"
        else:
            path = path + part if path.endswith("/") else f"{path}/{part}"
    return path
