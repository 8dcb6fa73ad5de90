"""From what S3 says of an object to ``Stat``."""

from __future__ import annotations

from typing import Any

from storagekit.driver import Stat
from storagekit.location import Location
from storagekit_s3.api import Attributes, Info, Written

__all__ = ["attributes_of", "stat_of", "written_stat"]

_SHOWN = (
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
    "expires",
    "website_redirect_location",
    "server_side_encryption",
    "sse_kms_key_id",
)


def stat_of(location: Location, info: Info) -> Stat:
    """The Stat for the reply to a HEAD or GET."""
    extra: dict[str, object] = {n: value for n in _SHOWN if (value := getattr(info.attributes, n)) is not None}
    extra["metadata"] = dict(info.attributes.metadata)
    # S3 names every storage class in its replies except this one.
    extra["storage_class"] = info.attributes.storage_class or "STANDARD"
    if info.version_id is not None:
        extra["version_id"] = info.version_id
    if info.tag_count:
        extra["tag_count"] = info.tag_count
    return Stat(location, "file", info.size, info.modified_ns, info.etag, extra)


def attributes_of(stat: Stat) -> Attributes:
    """What was said of an object beside its bytes, as it is given to a write; its tags are another request."""
    found: dict[str, Any] = {name: stat.extra[name] for name in _SHOWN if name in stat.extra}
    storage_class = None if stat.storage_class == "STANDARD" else stat.storage_class
    return Attributes(**found, metadata=stat.metadata, storage_class=storage_class)


def written_stat(location: Location, size: int, written: Written) -> Stat:
    """The Stat for the reply to a write of *size* bytes."""
    extra: dict[str, object] = {} if written.version_id is None else {"version_id": written.version_id}
    return Stat(location, "file", size, written.modified_ns, written.etag, extra)
