"""The port: everything that the driver asks of S3, and nothing else.

The driver's other modules know S3 only through ``Api``. It is as narrow as the S3 operations
themselves: one method is one request (apart from retries below it), with plain values going in and
small frozen replies coming out. ``boto`` implements it with boto3; another implementation can
stand beside it without touching the rest.

What an implementation promises:

* Errors are ``OSError`` as ``errors`` makes them, with the URL as ``filename`` and the store's own
  words as attributes (``store_code``, ``status``, ``request_id``), and with ``doubt`` where the request
  may have been carried out all the same, in this or an earlier attempt (``errors.Doubt``).
* ETags come and go without their quotes; a missing or empty one is ``None``.
* It retries what can be retried, up to the headers of the reply, and never beyond.
* All methods may be called by many threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from storagekit.checksums import Checksum
from storagekit.driver import Condition
from storagekit.location import Location

__all__ = [
    "Answer",
    "Api",
    "Asks",
    "Attributes",
    "ByteStream",
    "Entry",
    "Info",
    "Page",
    "Part",
    "PartList",
    "RangeReply",
    "Source",
    "UploadEntry",
    "UploadPage",
    "Written",
]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What S3 keeps beside an object's bytes, read by ``head`` and given to ``put`` and its like. None: the default."""

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    expires: str | None = None
    website_redirect_location: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Written along with the object; no reply names them (``Api.tags``)."""
    storage_class: str | None = None
    server_side_encryption: str | None = None
    sse_kms_key_id: str | None = None
    acl: str | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """One version of one object: the reply to ``head``, and the headers of a ``get``."""

    size: int | None
    etag: str | None
    modified_ns: int | None
    version_id: str | None
    attributes: Attributes
    tag_count: int = 0
    """How many tags it has, where the server says so."""
    checksum: Checksum | None = None
    """The checksum of the whole object, where the server says that it is that."""


class ByteStream(Protocol):
    """The body of a reply. Errors are mapped, and a body shorter than announced is one."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill the start of *view*; return how many bytes, 0 at the end."""

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it. Does not raise."""


@dataclass(frozen=True, slots=True)
class RangeReply:
    """The reply to ``get``: bytes *start* to *stop* (excluded) of the object that *info* describes."""

    info: Info
    start: int
    stop: int
    body: ByteStream


@dataclass(frozen=True, slots=True)
class Written:
    """The reply to a request that published an object."""

    etag: str | None
    version_id: str | None = None
    modified_ns: int | None = None
    by_store: bool = True
    """False where nothing in the reply is a store's, as in a gateway's page: then it proves nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """The version of an object that a copy is made of; with *etag*, only while it is still that one."""

    location: Location
    etag: str | None = None
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart upload, as ``complete`` lists it."""

    number: int
    etag: str


PartList = Sequence[Part]


class Entry(NamedTuple):
    """One object in a page of a listing. A tuple, because a thousand of them come at a time."""

    key: str
    size: int | None
    etag: str | None
    modified_ns: int | None
    storage_class: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: objects and common prefixes, and the token of the next page."""

    entries: Sequence[Entry]
    prefixes: Sequence[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """One unfinished multipart upload."""

    key: str
    upload_id: str
    started_ns: int | None


@dataclass(frozen=True, slots=True)
class UploadPage:
    """One page of unfinished uploads, and the marker (key, upload id) of the next page."""

    uploads: Sequence[UploadEntry]
    marker: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a request as it came: names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@runtime_checkable
class Asks(Protocol):
    """What an implementation may offer beside ``Api``: a request with headers of the caller's, for ``examining``."""

    def ask(
        self,
        operation: str,
        method: str,
        location: Location,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        payload: str | None = None,
    ) -> Answer:
        """Sign *headers* (names in lower case) and send them with *body*; errors as those of ``Api``.

        *payload* goes along as the hash of the body, whatever that is; None: what an upload has here.
        """


class Api(Protocol):
    """S3, seen through the requests that the driver makes."""

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""

    @property
    def server(self) -> str | None:
        """The ``Server`` header of the latest reply, ``""`` where it has none; None before the first reply."""

    def get(
        self, location: Location, start: int, stop: int, *, etag: str | None = None, version_id: str | None = None
    ) -> RangeReply:
        """GetObject with a range; with *etag*, under ``If-Match``.

        The reply may hold another range than the one that was asked for (some servers ignore the
        header): its *start* and *stop* say which.
        """

    def head(self, location: Location, *, version_id: str | None = None) -> Info:
        """HeadObject."""

    def tags(self, location: Location, *, version_id: str | None = None) -> Mapping[str, str]:
        """GetObjectTagging."""

    def head_bucket(self, location: Location) -> None:
        """HeadBucket; returns where the bucket exists and may be seen."""

    def put(
        self, location: Location, body: bytes | bytearray, attributes: Attributes, condition: Condition = None
    ) -> Written:
        """PutObject; *condition* goes along as ``If-None-Match: *`` or ``If-Match``."""

    def create_upload(self, location: Location, attributes: Attributes) -> str:
        """CreateMultipartUpload; returns the upload id."""

    def put_part(self, location: Location, upload_id: str, number: int, body: bytes | bytearray) -> str | None:
        """UploadPart; returns the part's ETag."""

    def copy_part(
        self, location: Location, upload_id: str, number: int, source: Source, span: tuple[int, int] | None
    ) -> str | None:
        """UploadPartCopy of bytes *span* (start, stop excluded), or of the whole object; returns the part's ETag."""

    def complete_upload(
        self, location: Location, upload_id: str, parts: PartList, condition: Condition = None
    ) -> Written:
        """CompleteMultipartUpload."""

    def abort_upload(self, location: Location, upload_id: str) -> None:
        """AbortMultipartUpload."""

    def copy(self, location: Location, source: Source, attributes: Attributes, *, replace: bool) -> Written:
        """CopyObject; *replace* gives the target *attributes*' headers and metadata instead of the source's.

        Tags that *attributes* has take the place of the source's in any case.
        """

    def delete(self, location: Location, condition: Condition = None) -> None:
        """DeleteObject."""

    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        """DeleteObjects of at most 1000 keys of one bucket; returns those that the store refused."""

    def list_page(
        self, location: Location, prefix: str, *, delimited: bool, limit: int, start_after: str, token: str | None
    ) -> Page:
        """ListObjectsV2: at most *limit* keys of *location*'s bucket that start with *prefix*."""

    def buckets(self) -> Sequence[str]:
        """ListBuckets, all pages."""

    def uploads_page(self, location: Location, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        """ListMultipartUploads."""

    def presign(
        self, location: Location, method: Literal["GET", "PUT"], expires: int, *, version_id: str | None = None
    ) -> str:
        """A signed URL for GetObject or PutObject; no request is made."""

    def close(self) -> None:
        """Let go of the connections."""
