"""What boto3 calls the fields of requests and replies, in both directions.

Nothing is asked here: one half makes parameters of the port's vocabulary (``api``), the other makes that of a reply.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storagekit.driver import Absent, Condition, Matches
from storagekit.location import Location
from storagekit_s3.api import Attributes, Info, Source, Written
from storagekit_s3.replies import bare_etag, quoted_etag, tag_count, whole_checksum
from storagekit_s3.signing import encode_query

__all__ = ["info", "nanoseconds", "of_attributes", "of_condition", "of_key", "of_source", "sent", "written"]

# The fields of Attributes, and what boto3 calls them.
_NAMES = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "website_redirect_location": "WebsiteRedirectLocation",
    "expires": "Expires",
    "metadata": "Metadata",
    "storage_class": "StorageClass",
    "server_side_encryption": "ServerSideEncryption",
    "sse_kms_key_id": "SSEKMSKeyId",
    "acl": "ACL",
}


def sent(parameters: Mapping[str, Any]) -> int:
    """The bytes of a request's body, where that is an object's."""
    body = parameters.get("Body")
    return len(body) if isinstance(body, bytes | bytearray) else 0


def of_key(location: Location) -> dict[str, Any]:
    """The parameters that name an object."""
    return {"Bucket": location.container, "Key": location.path}


def of_attributes(attributes: Attributes) -> dict[str, Any]:
    """Those for what is said of an object."""
    parameters = {their: value for our, their in _NAMES.items() if (value := getattr(attributes, our))}
    return parameters | ({"Tagging": encode_query(attributes.tags)} if attributes.tags else {})


def of_condition(condition: Condition) -> dict[str, Any]:
    """Those that a change depends on."""
    if isinstance(condition, Absent):
        return {"IfNoneMatch": "*"}
    return {"IfMatch": quoted_etag(condition.identity)} if isinstance(condition, Matches) else {}


def of_source(source: Source) -> dict[str, Any]:
    """Those for what is copied from."""
    where = {"Bucket": source.location.container, "Key": source.location.path}
    if source.version_id is not None:
        where["VersionId"] = source.version_id
    return {"CopySource": where, "CopySourceIfMatch": quoted_etag(source.etag)}


def nanoseconds(time: Any) -> int | None:
    """Nanoseconds since the epoch, in whole seconds.

    Headers know no more than seconds. A listing that says more on some servers would make an unchanged object
    look changed beside its HEAD.
    """
    if not isinstance(time, datetime):
        return None
    try:
        return calendar.timegm(time.utctimetuple()) * 10**9  # a time without a zone is UTC
    except OverflowError:  # at an end of the calendar, in another zone
        return None


def written(reply: Mapping[str, Any], *fields: str) -> Written:
    """What a reply says of the object; it is a store's if it has any of *fields*."""
    by_store = any(reply.get(field) for field in fields)
    return Written(bare_etag(reply.get("ETag")), reply.get("VersionId"), by_store=by_store)


def info(reply: Mapping[str, Any], size: int | None, *, whole: bool = False) -> Info:
    """What a reply says of an object of *size* bytes; *whole*: its body has all of them."""
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    attributes = Attributes(
        content_type=reply.get("ContentType"),
        cache_control=reply.get("CacheControl"),
        content_disposition=reply.get("ContentDisposition"),
        content_encoding=reply.get("ContentEncoding"),
        content_language=reply.get("ContentLanguage"),
        expires=reply.get("ExpiresString"),
        website_redirect_location=reply.get("WebsiteRedirectLocation"),
        # HTTP header names have no case, and some servers change it.
        metadata={str(name).lower(): str(value) for name, value in reply.get("Metadata", {}).items()},
        storage_class=reply.get("StorageClass"),
        server_side_encryption=reply.get("ServerSideEncryption"),
        sse_kms_key_id=reply.get("SSEKMSKeyId"),
    )
    return Info(
        size,
        bare_etag(reply.get("ETag")),
        nanoseconds(reply.get("LastModified")),
        reply.get("VersionId"),
        attributes,
        # Only the reply to a GET has it as a field of its own in every release of botocore.
        tag_count(headers),
        whole_checksum(headers, whole=whole),
    )
