"""The port, implemented on the wire: requests of our own, for one bucket.

botocore spends a millisecond of processor time on a request and a tenth of a second on a page of a listing, most of it
on what a caller of this port does not need. Here an operation is its headers and its query, written down; signing,
sending and retrying are ``exchanges``'. Operations have the names of the API reference
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html).

*Integrity.* Over plain HTTP the hash of an upload is signed. Over https TLS guards it, and ``UNSIGNED-PAYLOAD`` stands
for the hash. Where the server is known to compare checksums (``Route.checksums``), a CRC-32 goes along in a header: the
whole part is at hand before it is sent, so there is no need for a trailer behind it, nor for its framing.

The few operations that nobody is in a hurry for (presigning, listing buckets and uploads, tags) are boto3's.
"""

from __future__ import annotations

import base64
import errno
import hashlib
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Literal

import storagekit.errors
from storagekit.driver import Absent, Condition, Matches
from storagekit.location import Location
from storagekit_s3 import errors
from storagekit_s3.api import (
    Answer,
    Api,
    Attributes,
    Info,
    Page,
    PartList,
    RangeReply,
    Source,
    UploadPage,
    Written,
)
from storagekit_s3.connections import Reply, read_all
from storagekit_s3.documents import Document, DocumentError
from storagekit_s3.exchanges import Caller, Request
from storagekit_s3.guarding import checksum_headers, declaration
from storagekit_s3.ledger import Line
from storagekit_s3.pages import listed_time, read_page
from storagekit_s3.replies import (
    bare_etag,
    batch_failures,
    content_range,
    foreign,
    header_time,
    quoted_etag,
    refuse_foreign,
    refuse_no_object,
    tag_count,
    whole_checksum,
)
from storagekit_s3.routes import Route
from storagekit_s3.servers import is_amazon
from storagekit_s3.signing import UNSIGNED_PAYLOAD, encode_path, encode_query, payload_hash

__all__ = ["WireApi"]

# The fields of Attributes, and the headers that they are sent and answered in.
_HEADERS = {
    "content_type": "content-type",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "expires": "expires",
    "website_redirect_location": "x-amz-website-redirect-location",
    "storage_class": "x-amz-storage-class",
    "server_side_encryption": "x-amz-server-side-encryption",
    "sse_kms_key_id": "x-amz-server-side-encryption-aws-kms-key-id",
    "acl": "x-amz-acl",
}
_FIELDS = {header: name for name, header in _HEADERS.items()}
_METADATA = "x-amz-meta-"


class WireApi:
    """``Api`` over connections of our own, for one bucket."""

    def __init__(self, caller: Caller, boto: Callable[[], Api]) -> None:
        """*boto* gives the port over boto3, for what is left to it."""
        self._caller = caller
        self._boto = boto

    @property
    def endpoint(self) -> str:
        return self._caller.way.route.endpoint

    @property
    def server(self) -> str | None:
        return self._caller.way.pool.server

    def get(
        self, location: Location, start: int, stop: int, *, etag: str | None = None, version_id: str | None = None
    ) -> RangeReply:
        headers = {"range": f"bytes={start}-{stop - 1}"}
        if etag is not None:
            headers["if-match"] = _sent(etag)
        else:  # the object is being opened: what is known of it is wanted too
            headers["x-amz-checksum-mode"] = "ENABLED"
        reply, line = self._caller.open(_request("GetObject", "GET", location, _version(version_id), headers))
        body = _Body(reply, location, line)
        try:
            refuse_no_object(reply.headers, "GetObject", location)
            length = _length(reply)
            # Some servers answer a range with status 200: the header counts, not the status.
            span = content_range(reply.headers.get("content-range"))
            if span is None:
                return RangeReply(_info(reply, length, whole=True), 0, length or 0, body)
            first, last, size = span
            info = _info(reply, size, whole=first == 0 and size == last + 1)
            return RangeReply(info, first, last + 1, body)
        except BaseException:
            body.close()
            raise

    def head(self, location: Location, *, version_id: str | None = None) -> Info:
        reply, _ = self._caller.call(_request("HeadObject", "HEAD", location, _version(version_id)))
        refuse_no_object(reply.headers, "HeadObject", location)
        return _info(reply, _length(reply))

    def tags(self, location: Location, *, version_id: str | None = None) -> Mapping[str, str]:
        return self._boto().tags(location, version_id=version_id)

    def head_bucket(self, location: Location) -> None:
        self._caller.call(Request("HeadBucket", location, "HEAD"))

    def put(
        self, location: Location, body: bytes | bytearray, attributes: Attributes, condition: Condition = None
    ) -> Written:
        headers = _attributes(attributes) | _condition(condition)
        reply, _ = self._caller.call(self._upload("PutObject", location, {}, headers, body))
        etag = bare_etag(reply.headers.get("etag"))
        # Swift answers a write that another has overtaken without an ETag: there is none, but a store has said so.
        by_store = etag is not None or "x-amz-request-id" in reply.headers
        return Written(etag, reply.headers.get("x-amz-version-id"), by_store=by_store)

    def create_upload(self, location: Location, attributes: Attributes) -> str:
        headers = _attributes(attributes)
        route = self._caller.way.route
        if route.checksums and (route.algorithm is not None or is_amazon(route.endpoint)):
            headers["x-amz-checksum-algorithm"], headers["x-amz-checksum-type"] = declaration(route.algorithm)
        _, document = self._caller.call(_request("CreateMultipartUpload", "POST", location, {"uploads": ""}, headers))
        upload_id = document.fields.get("UploadId")
        if not upload_id:
            text = "The server began an upload without giving its id"
            raise storagekit.errors.os_error(errno.EIO, location, text)
        return upload_id

    def put_part(self, location: Location, upload_id: str, number: int, body: bytes | bytearray) -> str | None:
        query = {"partNumber": str(number), "uploadId": upload_id}
        reply, _ = self._caller.call(self._upload("UploadPart", location, query, {}, body))
        return bare_etag(reply.headers.get("etag"))

    def copy_part(
        self, location: Location, upload_id: str, number: int, source: Source, span: tuple[int, int] | None
    ) -> str | None:
        headers = _source(source)
        if span is not None:
            headers["x-amz-copy-source-range"] = f"bytes={span[0]}-{span[1] - 1}"
        request = _request(
            "UploadPartCopy", "PUT", location, {"partNumber": str(number), "uploadId": upload_id}, headers
        )
        request.may_fail_late = True
        _, document = self._caller.call(request)
        return bare_etag(document.fields.get("ETag"))

    def complete_upload(
        self, location: Location, upload_id: str, parts: PartList, condition: Condition = None
    ) -> Written:
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(_sent(part.etag), quote=False)}</ETag></Part>"
            for part in parts
        )
        body = f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{listed}</CompleteMultipartUpload>'.encode()
        request = _request(
            "CompleteMultipartUpload", "POST", location, {"uploadId": upload_id}, _condition(condition), body
        )
        request.may_fail_late = True
        reply, document = self._caller.call(request)
        # Ceph 16 leaves the ETag out and names the object all the same.
        by_store = any(document.fields.get(name) for name in ("ETag", "Key", "Location"))
        version = reply.headers.get("x-amz-version-id")
        return Written(bare_etag(document.fields.get("ETag")), version, by_store=by_store)

    def abort_upload(self, location: Location, upload_id: str) -> None:
        self._caller.call(_request("AbortMultipartUpload", "DELETE", location, {"uploadId": upload_id}))

    def copy(self, location: Location, source: Source, attributes: Attributes, *, replace: bool) -> Written:
        headers = _source(source) | _attributes(attributes)
        headers["x-amz-metadata-directive"] = "REPLACE" if replace else "COPY"
        if attributes.tags:
            headers["x-amz-tagging-directive"] = "REPLACE"
        request = _request("CopyObject", "PUT", location, {}, headers)
        request.may_fail_late = True
        reply, document = self._caller.call(request)
        etag, modified = bare_etag(document.fields.get("ETag")), listed_time(document.fields.get("LastModified"))
        # rclone names neither of a copy onto itself.
        by_store = bool(etag or modified) or "x-amz-request-id" in reply.headers
        return Written(etag, reply.headers.get("x-amz-version-id"), modified, by_store=by_store)

    def delete(self, location: Location, condition: Condition = None) -> None:
        reply, _ = self._caller.call(_request("DeleteObject", "DELETE", location, {}, _condition(condition)))
        errors.check_deleted(reply.status, location)

    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        wanted = {location.path: location for location in locations}
        bucket = Location(locations[0].scheme, locations[0].container, "")
        keys = "".join(f"<Object><Key>{escape(key, quote=False)}</Key></Object>" for key in wanted)
        body = f'<Delete xmlns="{_NAMESPACE}">{keys}<Quiet>false</Quiet></Delete>'.encode()
        # The one operation that S3 does not take without a checksum; of old it was this one, which all servers know.
        headers = {"content-md5": _md5(body), **checksum_headers(body, None)}
        request = Request(
            "DeleteObjects", bucket, "POST", "", encode_query({"delete": ""}), headers, body, payload_hash(body)
        )
        _, document = self._caller.call(request)
        # Each key is in the answer, removed or not: an empty one would not tell a store's from a gateway's.
        refuse_foreign({name for name, _ in document.records}, "DeleteObjects", locations[0], "Deleted", "Error")
        return batch_failures(document.of("Error"), document.of("Deleted"), wanted, bucket)

    def list_page(
        self, location: Location, prefix: str, *, delimited: bool, limit: int, start_after: str, token: str | None
    ) -> Page:
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(limit), "encoding-type": "url"}
        if delimited:
            query["delimiter"] = "/"
        if start_after:
            query["start-after"] = start_after
        if token is not None:
            query["continuation-token"] = token
        data = self._caller.read(Request("ListObjectsV2", location, "GET", "", encode_query(query)))

        def check(document: Document) -> None:
            refuse_foreign(document.fields, "ListObjectsV2", location, "IsTruncated", "Name", "KeyCount", "MaxKeys")

        try:
            return read_page(data, check)
        except DocumentError as error:
            raise foreign("ListObjectsV2", location, error) from None

    def buckets(self) -> Sequence[str]:
        return self._boto().buckets()

    def uploads_page(self, location: Location, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        return self._boto().uploads_page(location, prefix, marker)

    def presign(
        self, location: Location, method: Literal["GET", "PUT"], expires: int, *, version_id: str | None = None
    ) -> str:
        return self._boto().presign(location, method, expires, version_id=version_id)

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
        request = _request(operation, method, location, query or {}, dict(headers), body)
        if not location.path:
            request.path = ""
        request.payload = payload or self._payload(body)
        reply, line = self._caller.open(request)
        try:
            data = read_all(reply)
        except Exception as broken:
            error = errors.client_error(broken, operation, location, "lost")
            line.fail(error)
            raise error from broken
        line.received = len(data)
        line.close()
        return Answer(reply.status, reply.headers, data)

    @property
    def route(self) -> Route:
        """Where the requests go."""
        return self._caller.way.route

    def close(self) -> None:
        """Nothing: connections belong to all buckets together."""

    def _upload(
        self,
        operation: str,
        location: Location,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes | bytearray,
    ) -> Request:
        """A request whose body is an object's."""
        route = self._caller.way.route
        if route.checksums:
            headers |= checksum_headers(body, route.algorithm)
        path = "/" + encode_path(location.path)
        return Request(operation, location, "PUT", path, encode_query(query), headers, body, self._payload(body))

    def _payload(self, body: bytes | bytearray) -> str:
        """The hash of an upload's body that is signed, or what stands for it."""
        route = self._caller.way.route
        secure = route.url.startswith("https://")
        return UNSIGNED_PAYLOAD if secure and not route.signs_payload else payload_hash(body)


_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class _Body:
    """The body of a GetObject reply, its errors mapped."""

    __slots__ = ("_line", "_location", "_reply")

    def __init__(self, reply: Reply, location: Location, line: Line) -> None:
        self._reply = reply
        self._line = line
        self._location = location

    def readinto(self, view: memoryview, /) -> int:
        if self._reply.inherited:
            text = "The connection was that of another process, before it forked"
            raise storagekit.errors.describe(storagekit.errors.os_error(errno.ECONNRESET, self._location, text))
        try:
            count = self._reply.readinto(view)
            self._line.received += count
            return count
        except Exception as error:
            raise errors.client_error(error, "GetObject", self._location) from error

    def close(self) -> None:
        self._reply.close()
        self._line.close()


# ---------------------------------------------------------------- what goes out


def _request(
    operation: str,
    method: str,
    location: Location,
    query: Mapping[str, str],
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Request:
    """A request about one object."""
    return Request(
        operation,
        location,
        method,
        "/" + encode_path(location.path),
        encode_query(query) if query else "",
        {} if headers is None else headers,
        body,
        payload_hash(body),
    )


def _version(version_id: str | None) -> Mapping[str, str]:
    return {} if version_id is None else {"versionId": version_id}


def _sent(etag: str) -> str:
    return quoted_etag(etag) or ""


def _attributes(attributes: Attributes) -> dict[str, str]:
    headers = {header: value for name, header in _HEADERS.items() if (value := getattr(attributes, name))}
    for name, text in attributes.metadata.items():
        headers[_METADATA + name.lower()] = text
    if attributes.tags:
        headers["x-amz-tagging"] = encode_query(attributes.tags)
    return headers


def _condition(condition: Condition) -> dict[str, str]:
    if isinstance(condition, Absent):
        return {"if-none-match": "*"}
    return {"if-match": _sent(condition.identity)} if isinstance(condition, Matches) else {}


def _source(source: Source) -> dict[str, str]:
    where = encode_path(f"{source.location.container}/{source.location.path}")
    if source.version_id is not None:
        where += "?" + encode_query({"versionId": source.version_id})
    headers = {"x-amz-copy-source": where}
    if source.etag is not None:
        headers["x-amz-copy-source-if-match"] = _sent(source.etag)
    return headers


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


# ---------------------------------------------------------------- what comes back


def _length(reply: Reply) -> int | None:
    text = reply.headers.get("content-length")  # digits, or the reply would have been refused
    return None if text is None else int(text)


def _info(reply: Reply, size: int | None, *, whole: bool = False) -> Info:
    headers = reply.headers
    found: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for header, value in headers.items():
        if header in _FIELDS:
            found[_FIELDS[header]] = value
        elif header.startswith(_METADATA):
            metadata[header[len(_METADATA) :]] = value
    attributes = Attributes(**found, metadata=metadata)
    modified = header_time(headers.get("last-modified"))
    version = headers.get("x-amz-version-id")
    checksum = whole_checksum(headers, whole=whole)
    return Info(size, bare_etag(headers.get("etag")), modified, version, attributes, tag_count(headers), checksum)
