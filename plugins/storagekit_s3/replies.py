"""Replies: what the words in S3's answers mean, for every implementation of the port."""

from __future__ import annotations

import base64
import errno
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from storagekit import errors
from storagekit.checksums import Checksum
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.location import Location
from storagekit_s3.errors import reply_error

__all__ = [
    "bare_etag",
    "batch_failures",
    "content_range",
    "foreign",
    "header_time",
    "quoted_etag",
    "refuse_foreign",
    "refuse_no_object",
    "tag_count",
    "whole_checksum",
]


def bare_etag(etag: object) -> str | None:
    """An ETag without its quotes, a weak one as it is; None for a missing or empty one."""
    if not isinstance(etag, str):
        return None
    return etag if etag.startswith("W/") else etag.strip('"') or None


def quoted_etag(etag: str | None) -> str | None:
    """An ETag as it is sent."""
    return etag if etag is None or etag.startswith("W/") else f'"{etag}"'


# Digits as int() takes them, and no more of them than the largest size has; a size that is none of that is unknown.
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})(?:/(?:([0-9]{1,19})|.*))?")


def content_range(header: object) -> tuple[int, int, int | None] | None:
    """First, last and size of ``bytes 0-9/100``; None where there is no such header."""
    found = _RANGE.fullmatch(header) if isinstance(header, str) else None
    if found is None:
        return None
    first, last, size = found.groups()
    return int(first), int(last), None if size is None else int(size)


def refuse_foreign(found: Iterable[str], operation: str, location: Location, *fields: str) -> None:
    """Refuse an answer that has none of the *fields* that a store gives it, as a gateway's page, or no page at all.

    An answer with nothing in it would read as "there is nothing"; but no store has said so.
    """
    if not any(field in found for field in fields):
        raise foreign(operation, location)


def refuse_no_object(headers: Mapping[str, str], operation: str, location: Location) -> None:
    """Refuse an answer to a GET or a HEAD of an object that names no version of one and no request of a store's.

    A gateway's page with status 200 would be taken for the object's bytes. Every server gives one of the two.
    """
    if not headers.get("etag") and not headers.get("x-amz-request-id"):
        raise foreign(operation, location)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The id of a request, which every store gives; moto names it as Amazon's other services do."""
    return headers.get("x-amz-request-id") or headers.get("x-amzn-requestid")


def foreign(operation: str, location: Location, why: object = None) -> OSError:
    """The error for an answer that no store gives."""
    text = f"{operation} was answered with something that is no store's answer"
    return errors.os_error(errno.EIO, location, text if why is None else f"{text}: {why}")


# The entries of a batch have codes of their own, but no status.
_STATUS_OF_CODE = {"AccessDenied": 403, "InternalError": 500, "SlowDown": 503}


def batch_failures(
    refused: Iterable[Mapping[str, str]],
    removed: Iterable[Mapping[str, str]],
    wanted: Mapping[str, Location],
    bucket: Location,
) -> list[tuple[Location, OSError]]:
    """The errors in the answer to a DeleteObjects of the *wanted* keys; a key that it passes over is one."""
    failed = []
    unsaid = wanted.keys() - {entry.get("Key", "") for entry in removed}
    for entry in refused:
        key = entry.get("Key", "")
        unsaid.discard(key)
        location = wanted.get(key, Location(bucket.scheme, bucket.container, key))
        code, message = entry.get("Code", "unknown"), entry.get("Message", "")
        status = _STATUS_OF_CODE.get(code, 400)
        failed.append((location, reply_error("DeleteObjects", location, code=code, status=status, message=message)))
    for key in sorted(unsaid):
        text = "The server did not say whether it was removed"
        failed.append((wanted[key], errors.describe(errors.os_error(errno.EIO, wanted[key], text))))
    return failed


# The checksums that S3 may keep, the cheapest to compute first
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
_CHECKSUMS = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
_HEADER = "x-amz-checksum-"


def whole_checksum(headers: Mapping[str, str], *, whole: bool) -> Checksum | None:
    """The checksum of the whole object that a reply's *headers* name; None where they name none, or a part's.

    S3 says of what it is: of the full object, or of the checksums of its parts. Servers that do not say are believed
    where the reply is the *whole* object and that was not written in parts, as its ETag tells. Some give the checksum
    of the object along with any range of it, and Amazon that of a part along with a range that is one.
    """
    kind = headers.get(_HEADER + "type", "").upper()
    if kind not in ("", "FULL_OBJECT") or (not kind and (not whole or "-" in headers.get("etag", ""))):
        return None
    for algorithm, length in _CHECKSUMS.items():
        if text := headers.get(_HEADER + algorithm):
            try:
                value = base64.b64decode(text, validate=True)
            except ValueError:  # with the number of parts at its end
                continue
            if len(value) == length:
                return Checksum(algorithm, value)
    return None


def tag_count(headers: Mapping[str, str]) -> int:
    """How many tags an object has, as far as the server says so."""
    text = headers.get("x-amz-tagging-count", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}


def header_time(text: str | None) -> int | None:
    """A time in a header, in any of the three forms of RFC 9110, 5.6.7, of which the oldest names no zone: all are GMT.

    Nanoseconds since the epoch, in whole seconds; None for what is no time.
    """
    if not text:
        return None
    try:
        _, day, month, year, clock, zone = text.split(" ")
        if zone != "GMT":
            raise ValueError
        hour, minute, second = clock.split(":")
        time = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except (KeyError, OverflowError, ValueError):  # one of the older forms, or none
        with guarded(IMPORT_SECONDS):
            from email.utils import parsedate_to_datetime  # slow to import, and seldom needed

        try:
            time = parsedate_to_datetime(text)
        except (IndexError, OverflowError, TypeError, ValueError):
            return None
    try:
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()) * 10**9
    except (OverflowError, ValueError):
        return None
