"""Listing: pages of keys, as they come.

The first page is fetched before anything is returned, so that a missing bucket or a refused access is raised where
the call stands. Objects and common prefixes of a page are two lists; they are merged into one, in the order of
their keys. What lies at or before ``start_after`` is dropped here as well, because servers disagree about a
start inside a common prefix. For the same reason a name that comes twice in a row is given once.

What a server lists is not believed blindly. A name that was not asked for would have a walk go elsewhere and
``rmtree`` remove what lies elsewhere; so such a page is an error, as is a listing that does not advance
(``progress``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import TypeAlias

from storagekit import errors
from storagekit.driver import Stat, Upload
from storagekit.location import Location
from storagekit_s3.api import Api, Entry, Page, UploadPage
from storagekit_s3.errors import store_code_of
from storagekit_s3.progress import Progress, shortened
from storagekit_s3.servers import DIRECTORY_BUCKET

__all__ = ["list_buckets", "list_objects", "list_uploads"]

# The most that S3 puts into a page. Asking for more would be clamped by some servers and not by others.
PAGE_KEYS = 1000

_Fetch: TypeAlias = Callable[[str | None], Page]


def list_objects(
    api: Api, location: Location, *, recursive: bool, limit: int | None, start_after: str
) -> Iterator[Stat]:
    """What lies below a directory; the hook ``list`` says how."""
    if limit is not None and limit <= 0:
        return iter(())
    wanted = PAGE_KEYS if limit is None else min(PAGE_KEYS, limit)

    def fetch(token: str | None) -> Page:
        return api.list_page(
            location, location.prefix, delimited=not recursive, limit=wanted, start_after=start_after, token=token
        )

    page = fetch(None)
    _check_names(page, location, recursive)
    return _stats(page, fetch, location, recursive, limit, start_after)


def _stats(
    page: Page, fetch: _Fetch, location: Location, recursive: bool, limit: int | None, start_after: str
) -> Iterator[Stat]:
    count = 0
    last: tuple[str, str] | None = None
    progress = Progress(location, ordered=not location.container.endswith(DIRECTORY_BUCKET))
    while True:
        stats = _merged(page, location)
        _check_progress(progress, page, stats)
        for stat in stats:
            name = stat.location.path, stat.kind
            if name[0] > start_after and name != last:
                yield stat
                last = name
                count += 1
                if count == limit:
                    return
        if page.token is None:
            return
        page = fetch(page.token)
        _check_names(page, location, recursive)


def _check_names(page: Page, location: Location, recursive: bool) -> None:
    """Refuse a page with a name that does not belong on it."""
    prefix, skipped = location.prefix, len(location.prefix)
    for entry in page.entries:
        key = entry.key
        # A key with a slash at its end may be a marker, which some servers name in full and others as a prefix.
        if not key.startswith(prefix) or not key or (not recursive and "/" in key[skipped:-1]):
            raise _unasked(key, location)
    for name in page.prefixes:
        # What lies below a prefix is asked for in turn: one that leads no deeper would be asked for without end.
        if recursive or not name or not name.startswith(prefix) or name.find("/", skipped) != len(name) - 1:
            raise _unasked(name, location)


def _unasked(name: str, location: Location) -> OSError:
    text = f"The server lists what it was not asked for: {shortened(name)} under {shortened(location.prefix)}"
    return errors.os_error(errno.EIO, location, text)


def _check_progress(progress: Progress, page: Page, stats: list[Stat]) -> None:
    if not stats:
        progress.check(page.token, None)
        return
    first, last = stats[0].location.path, stats[-1].location.path
    # A common prefix alone may come again, where the page before ended within it.
    again = progress.ordered and len(stats) == 1 and page.prefixes
    progress.check(page.token, object() if again else (len(stats), first, last), last)


def _merged(page: Page, location: Location) -> list[Stat]:
    stats = [_object(location, entry) for entry in page.entries]
    if page.prefixes:
        stats += [Stat(Location(location.scheme, location.container, p), "directory") for p in page.prefixes]
        # By code points is by UTF-8 bytes, which is how S3 orders keys.
        stats.sort(key=lambda stat: stat.location.path)
    return stats


def _object(location: Location, entry: Entry) -> Stat:
    extra = {} if entry.storage_class is None else {"storage_class": entry.storage_class}
    where = Location(location.scheme, location.container, entry.key)
    return Stat(where, "file", entry.size, entry.modified_ns, entry.etag, extra)


def list_buckets(api: Api, location: Location, *, limit: int | None, start_after: str) -> Iterator[Stat]:
    """The buckets, as directories; *start_after* is a bucket's name."""
    names = sorted(name for name in api.buckets() if name > start_after)
    return iter([Stat(Location(location.scheme, name, ""), "directory") for name in names[:limit]])


def list_uploads(api: Api, location: Location) -> Iterator[Upload]:
    """The unfinished uploads whose key starts with the location's path."""
    try:
        page = api.uploads_page(location, location.path, None)
    except OSError as error:
        if store_code_of(error) == "NoSuchUpload":  # rclone, of a bucket that never had any
            return iter(())
        raise
    return _uploads(api, location, page)


def _uploads(api: Api, location: Location, page: UploadPage) -> Iterator[Upload]:
    progress = Progress(location, ordered=False)  # many uploads may have one key
    while True:
        names = [(entry.key, entry.upload_id) for entry in page.uploads]
        progress.check(page.marker, (len(names), names[0], names[-1]) if names else None)
        for entry in page.uploads:
            if not entry.key.startswith(location.path):
                raise _unasked(entry.key, location)
            where = Location(location.scheme, location.container, entry.key)
            yield Upload(where, entry.upload_id, entry.started_ns)
        marker = page.marker
        if marker is None:
            return
        page = api.uploads_page(location, location.path, marker)
