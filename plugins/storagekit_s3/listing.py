"""Listing: pages of keys, as they come.

The first page is fetched before anything is returned, so that a missing bucket or a refused access is raised where
the call stands. Objects and common prefixes of a page are two lists; they are merged into one, in the order of
their keys. What lies at or before ``start_after`` is dropped here as well, because servers disagree about a
start inside a common prefix.
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

    return _stats(fetch(None), fetch, location, limit, start_after)


def _stats(page: Page, fetch: _Fetch, location: Location, limit: int | None, start_after: str) -> Iterator[Stat]:
    count = 0
    while True:
        for stat in _merged(page, location):
            if stat.location.path > start_after:
                yield stat
                count += 1
                if count == limit:
                    return
        token = page.token
        if token is None:
            return
        page = fetch(token)
        if page.token == token:
            raise errors.os_error(errno.EIO, location, "The listing does not advance: the server repeats its token")


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
    while True:
        for entry in page.uploads:
            where = Location(location.scheme, location.container, entry.key)
            yield Upload(where, entry.upload_id, entry.started_ns)
        marker = page.marker
        if marker is None:
            return
        page = api.uploads_page(location, location.path, marker)
        if page.marker == marker:
            raise errors.os_error(errno.EIO, location, "The listing does not advance: the server repeats its marker")
