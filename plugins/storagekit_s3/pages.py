"""Pages: the answer to a ListObjectsV2, a thousand entries at a time.

A listing is what a walk waits for, and its entries are nearly all of it. So where they are written as Amazon writes
them, which most servers do to the letter, one regular expression takes all of them out, in a fifth of the time that an
XML parser and a dictionary for each would take. What is left, the page's own fields and its common prefixes, is small,
and goes through the parser. A page with anything else in it goes there whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote_plus

from storagekit_s3.api import Entry, Page
from storagekit_s3.documents import Document, DocumentError, read
from storagekit_s3.replies import bare_etag, header_time

__all__ = ["decoded", "listed_size", "listed_time", "read_page"]

# Systems count the bytes of a file in 63 bits; what is more, or less than nothing, is no size.
MOST_BYTES = (1 << 63) - 1
_SIZE = re.compile("[0-9]{1,19}")

_ENTRY = re.compile(
    "<Contents><Key>([^<]*)</Key><LastModified>([^<]*)</LastModified><ETag>([^<]*)</ETag>"
    "(?:<ChecksumAlgorithm>[^<]*</ChecksumAlgorithm>)*(?:<ChecksumType>[^<]*</ChecksumType>)?"
    r"<Size>([0-9]{1,18})</Size><StorageClass>([^<]*)</StorageClass></Contents>"
)
_FIRST, _LAST = "<Contents>", "</Contents>"
_QUOTE = "&quot;"


def read_page(data: bytes, check: Callable[[Document], None]) -> Page:
    """The page that *data* is; *check* is given what is in it beside the entries, and raises where that is no listing.

    Raises ``DocumentError`` for what is no document, and for an entry without a key or with a size that is no number.
    """
    entries, rest = _taken_out(data)
    document = read(rest)
    check(document)
    decode = decoded if document.fields.get("EncodingType") == "url" else str
    try:
        if entries is None:
            found = [_of_record(record, decode) for record in document.of("Contents")]
        else:
            found = [
                Entry(decode(key), int(size), bare_etag(etag.replace(_QUOTE, "")), listed_time(time), kind or None)
                for key, time, etag, size, kind in entries
            ]
        prefixes = [decode(record["Prefix"]) for record in document.of("CommonPrefixes")]
    except (KeyError, ValueError):
        raise DocumentError("an entry has no key, or a size that is no number") from None
    if document.fields.get("IsTruncated") != "true":
        return Page(found, prefixes, None)
    token = document.fields.get("NextContinuationToken")
    if not token:
        raise DocumentError("more entries follow, and no token says where")
    return Page(found, prefixes, token)


def _taken_out(data: bytes) -> tuple[list[tuple[str, ...]] | None, bytes]:
    """The fields of every entry, and the document without the entries; None, and all of it, where that cannot be."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None, data
    start, stop = text.find(_FIRST), text.rfind(_LAST) + len(_LAST)
    # A declaration may change what anything means; a numbered character is for the parser.
    if start < 0 or "<!" in text or "&#" in text:
        return None, data
    found: list[tuple[str, ...]] = _ENTRY.findall(text, start, stop)
    # Each entry is one, and between two of them is nothing: else something would be lost.
    if len(found) != text.count(_FIRST) or text.count(_LAST + _FIRST, start, stop) != len(found) - 1:
        return None, data
    if text.count("&") != text.count(_QUOTE):  # those are the ETags'
        found = [(_unescaped(key), time, _unescaped(etag), size, kind) for key, time, etag, size, kind in found]
    return found, (text[:start] + text[stop:]).encode()


def _unescaped(text: str) -> str:
    if "&" not in text:
        return text
    for entity, character in ((_QUOTE, '"'), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _of_record(record: Mapping[str, str], decode: Callable[[str], str]) -> Entry:
    return Entry(
        decode(record["Key"]),
        listed_size(record.get("Size")),
        bare_etag(record.get("ETag")),
        listed_time(record.get("LastModified")),
        record.get("StorageClass"),
    )


def decoded(text: str) -> str:
    """A key as it was before it was encoded for a listing, where a space is a plus sign.

    Bytes that are no UTF-8 become what ``os.fsdecode`` makes of them, and so name no other key than their own.
    """
    return unquote_plus(text, errors="surrogateescape") if "%" in text or "+" in text else text


def listed_size(text: str | int | None) -> int | None:
    """A size in a document, which may be left out; ``ValueError`` for what is none."""
    if text is None:
        return None
    if not _SIZE.fullmatch(str(text)) or int(text) > MOST_BYTES:
        raise ValueError
    return int(text)


# What was written together has the same time: most entries of a page have that of their neighbour.
@lru_cache(maxsize=64)
def listed_time(text: str | None) -> int | None:
    """A time in a document, as in ``2026-11-27T10:11:12.000Z``; nanoseconds since the epoch, in whole seconds.

    Headers know no more than seconds. A listing that says more on some servers would make an unchanged object look
    changed beside its HEAD.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return header_time(text)
    try:
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()) * 10**9
    except (OverflowError, ValueError):  # at an end of the calendar, in another zone
        return None
