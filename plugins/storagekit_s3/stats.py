"""From what S3 says of an object to ``Stat``."""

from __future__ import annotations

from storagekit.driver import Stat
from storagekit.location import Location
from storagekit_s3.api import Info, Written

__all__ = ["stat_of", "written_stat"]

_SHOWN = (
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
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
    return Stat(location, "file", info.size, info.modified_ns, info.etag, extra)


def written_stat(location: Location, size: int, written: Written) -> Stat:
    """The Stat for the reply to a write of *size* bytes."""
    extra: dict[str, object] = {} if written.version_id is None else {"version_id": written.version_id}
    return Stat(location, "file", size, written.modified_ns, written.etag, extra)
