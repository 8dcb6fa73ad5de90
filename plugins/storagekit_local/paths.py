"""Between locations and the operating system: URLs to paths, ``os.stat`` to ``Stat``, errors to ours.

``file:///tmp/x`` is ``Location("file", "", "tmp/x")``: as in every location the slash between the container
(there is none) and the path belongs to neither, so the path for the operating system is ``"/" + path``, and
the location without a path is the root directory. Nothing is decoded: ``file:///a%20b`` is the file ``a%20b``.
Names that are not valid text come and go as ``os.fsdecode`` writes them.

The errors of the operating system are the right ones already; ``reported`` only gives them the URL that the
user knows as their ``filename`` and leaves the original as the cause.
"""

from __future__ import annotations

import os
import stat as _stat
from collections.abc import Iterator
from contextlib import contextmanager

from storagekit import errors
from storagekit.driver import Stat
from storagekit.location import Location, scheme_of

__all__ = ["identity_of", "os_path", "parse_file_url", "reported", "stat_of"]


def parse_file_url(url: str) -> Location:
    """Read ``file:///path`` or ``file://localhost/path``; no other host, since nothing here can reach it."""
    scheme = scheme_of(url)
    if scheme is None:
        raise errors.invalid(url, "not a URL: expected file:///path")
    if "\0" in url:
        raise errors.invalid(url, "embedded null character")
    host, _, path = url[len(scheme) + 3 :].partition("/")
    if host not in ("", "localhost"):
        raise errors.invalid(url, f"file URLs have no host {host!r}: expected {scheme}:///path, with three slashes")
    return Location(scheme, "", path)


def os_path(location: Location) -> str:
    """The absolute path of *location* for the operating system."""
    return "/" + location.path


@contextmanager
def reported(location: Location, second: Location | None = None) -> Iterator[None]:
    """Give the operating system's errors the URL as their filename (and *second* as ``filename2``)."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename == location.url:
            raise  # nothing to translate, or one of ours
        if second is None:
            raise errors.os_error(error.errno, location) from error
        raise OSError(error.errno, os.strerror(error.errno), location.url, None, second.url) from error


def identity_of(found: os.stat_result) -> str:
    """What tells two versions of a file apart as well as a file system can: inode, time and size.

    It is weaker than an ETag: a change in place within one tick of the clock, to the same size, goes unseen, as does
    one after which the time was put back. Not ``st_ctime``, which a new mode or a new name changes too.
    """
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def stat_of(location: Location, found: os.stat_result, **more: object) -> Stat:
    """The ``Stat`` for what the operating system says; *more* goes to its ``extra``."""
    extra = {"mode": found.st_mode, "uid": found.st_uid, "gid": found.st_gid, **more}
    if _stat.S_ISDIR(found.st_mode):
        return Stat(location, "directory", None, found.st_mtime_ns, None, extra)
    return Stat(location, "file", found.st_size, found.st_mtime_ns, identity_of(found), extra)
