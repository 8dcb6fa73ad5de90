"""The port, implemented with boto3. Only this module and those whose names begin like its own know it.

boto3 is imported on the first use of an ``s3://`` URL, because importing it takes longer than many programs run.

Every request goes through ``_call``, which maps errors and learns the ``Server`` header; what happens around it,
attempt by attempt, is in ``boto_calls``.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import storagekit.errors
from storagekit import deadlines
from storagekit.driver import Condition
from storagekit.location import Location
from storagekit_s3 import boto_fields as fields
from storagekit_s3 import errors
from storagekit_s3.api import (
    Api,
    Attributes,
    Entry,
    Info,
    Page,
    PartList,
    RangeReply,
    Source,
    UploadEntry,
    UploadPage,
    Written,
)
from storagekit_s3.boto_body import BotoBody
from storagekit_s3.boto_calls import BotoSession, Call, in_time
from storagekit_s3.boto_client import header_checksum, make_client, upload_checksum
from storagekit_s3.ledger import Ledger
from storagekit_s3.options import Connection
from storagekit_s3.pages import decoded, listed_size
from storagekit_s3.progress import Progress
from storagekit_s3.replies import (
    bare_etag,
    batch_failures,
    content_range,
    foreign,
    quoted_etag,
    refuse_foreign,
    refuse_no_object,
    request_id_of,
)
from storagekit_s3.retrying import Retrying

__all__ = ["BotoApi", "connect"]

# As many as Amazon lets an account have at most; one page has up to ten thousand.
MOST_BUCKETS = 1_000_000


def connect(
    connection: Connection, location: Location, retrying: Retrying | None = None, ledger: Ledger | None = None
) -> Api:
    """The port for *connection*; *location* is what an error is about."""
    api = BotoApi(lambda: make_client(connection), retrying, ledger, connection.checksum_algorithm)
    api.session(location)
    return api


class BotoApi:
    """``Api`` over one boto3 client per process."""

    def __init__(
        self,
        make: Callable[[], Any],
        retrying: Retrying | None = None,
        ledger: Ledger | None = None,
        algorithm: str | None = None,
    ) -> None:
        """*algorithm*: the checksum that was chosen for what is written."""
        self._make = make
        self._algorithm = algorithm
        self._ledger = ledger or Ledger()
        self._retrying = retrying or Retrying()
        # By process id. The parent's stays here in a child, unused: ending it would touch the sockets that both have.
        # There is no lock, because a child would inherit it as it was, perhaps held by a thread that it does not have.
        self._sessions: dict[int, BotoSession] = {}
        self.endpoint = ""
        self.server: str | None = None

    def session(self, location: Location) -> BotoSession:
        """This process's client; *location* is what an error is about."""
        session = self._sessions.get(os.getpid())
        if session is not None:
            return session
        try:
            made = BotoSession(self._make(), self._retrying)
        except Exception as error:
            raise errors.client_error(error, "connecting", location) from error
        session = self._sessions.setdefault(os.getpid(), made)
        if session is not made:
            made.client.close()
        self.endpoint = str(session.client.meta.endpoint_url)
        return session

    def get(
        self, location: Location, start: int, stop: int, *, etag: str | None = None, version_id: str | None = None
    ) -> RangeReply:
        reply = self._call(
            "GetObject",
            "get_object",
            location,
            **fields.of_key(location),
            Range=f"bytes={start}-{stop - 1}",
            IfMatch=quoted_etag(etag),
            VersionId=version_id,
        )
        patience = self.session(location).client.meta.config.read_timeout
        body = BotoBody(reply["Body"], location, reply.get("ContentLength"), patience, reply["line"])
        try:
            refuse_no_object(reply["ResponseMetadata"]["HTTPHeaders"], "GetObject", location)
        except OSError:
            body.close()
            raise
        length = reply.get("ContentLength") or 0
        # Some servers answer a range with status 200: the header counts, not the status.
        span = content_range(reply.get("ContentRange"))
        if span is None:
            return RangeReply(fields.info(reply, length, whole=True), 0, length, body)
        first, last, size = span
        return RangeReply(fields.info(reply, size, whole=first == 0 and size == last + 1), first, last + 1, body)

    def head(self, location: Location, *, version_id: str | None = None) -> Info:
        reply = self._call("HeadObject", "head_object", location, **fields.of_key(location), VersionId=version_id)
        refuse_no_object(reply["ResponseMetadata"]["HTTPHeaders"], "HeadObject", location)
        return fields.info(reply, reply.get("ContentLength"))

    def tags(self, location: Location, *, version_id: str | None = None) -> Mapping[str, str]:
        reply = self._call(
            "GetObjectTagging", "get_object_tagging", location, **fields.of_key(location), VersionId=version_id
        )
        refuse_foreign(reply, "GetObjectTagging", location, "TagSet")
        return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}

    def head_bucket(self, location: Location) -> None:
        self._call("HeadBucket", "head_bucket", location, Bucket=location.container)

    def put(
        self, location: Location, body: bytes | bytearray, attributes: Attributes, condition: Condition = None
    ) -> Written:
        reply = self._call(
            "PutObject",
            "put_object",
            location,
            **fields.of_key(location),
            **fields.of_attributes(attributes),
            **fields.of_condition(condition),
            **header_checksum(self.session(location).client, body, self._algorithm),
            Body=body,
        )
        # Swift answers a write that another has overtaken without an ETag: there is none, but a store has said so.
        written = fields.written(reply, "ETag")
        by_store = written.by_store or "x-amz-request-id" in reply["ResponseMetadata"]["HTTPHeaders"]
        return replace(written, by_store=by_store)

    def create_upload(self, location: Location, attributes: Attributes) -> str:
        reply = self._call(
            "CreateMultipartUpload",
            "create_multipart_upload",
            location,
            **fields.of_key(location),
            **fields.of_attributes(attributes),
            **upload_checksum(self.session(location).client, self._algorithm),
        )
        upload_id = reply.get("UploadId")
        if not upload_id:
            text = "The server began an upload without giving its id"
            raise storagekit.errors.os_error(errno.EIO, location, text)
        return str(upload_id)

    def put_part(self, location: Location, upload_id: str, number: int, body: bytes | bytearray) -> str | None:
        reply = self._call(
            "UploadPart",
            "upload_part",
            location,
            **fields.of_key(location),
            UploadId=upload_id,
            PartNumber=number,
            **header_checksum(self.session(location).client, body, self._algorithm),
            Body=body,
        )
        return bare_etag(reply.get("ETag"))

    def copy_part(
        self, location: Location, upload_id: str, number: int, source: Source, span: tuple[int, int] | None
    ) -> str | None:
        reply = self._call(
            "UploadPartCopy",
            "upload_part_copy",
            location,
            **fields.of_key(location),
            **fields.of_source(source),
            UploadId=upload_id,
            PartNumber=number,
            CopySourceRange=f"bytes={span[0]}-{span[1] - 1}" if span else None,
        )
        return bare_etag(reply.get("CopyPartResult", {}).get("ETag"))

    def complete_upload(
        self, location: Location, upload_id: str, parts: PartList, condition: Condition = None
    ) -> Written:
        reply = self._call(
            "CompleteMultipartUpload",
            "complete_multipart_upload",
            location,
            **fields.of_key(location),
            **fields.of_condition(condition),
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"PartNumber": p.number, "ETag": quoted_etag(p.etag)} for p in parts]},
        )
        # Ceph 16 leaves the ETag out and names the object all the same.
        return fields.written(reply, "ETag", "Key", "Location")

    def abort_upload(self, location: Location, upload_id: str) -> None:
        self._call(
            "AbortMultipartUpload",
            "abort_multipart_upload",
            location,
            **fields.of_key(location),
            UploadId=upload_id,
        )

    def copy(self, location: Location, source: Source, attributes: Attributes, *, replace: bool) -> Written:
        reply = self._call(
            "CopyObject",
            "copy_object",
            location,
            **fields.of_key(location),
            **fields.of_source(source),
            **fields.of_attributes(attributes),
            MetadataDirective="REPLACE" if replace else "COPY",
            TaggingDirective="REPLACE" if attributes.tags else None,
        )
        result = reply.get("CopyObjectResult") or {}
        etag, modified = bare_etag(result.get("ETag")), fields.nanoseconds(result.get("LastModified"))
        # rclone names neither of a copy onto itself.
        by_store = bool(etag or modified) or "x-amz-request-id" in reply["ResponseMetadata"]["HTTPHeaders"]
        return Written(etag, reply.get("VersionId"), modified, by_store=by_store)

    def delete(self, location: Location, condition: Condition = None) -> None:
        reply = self._call(
            "DeleteObject", "delete_object", location, **fields.of_key(location), **fields.of_condition(condition)
        )
        errors.check_deleted(reply["ResponseMetadata"]["HTTPStatusCode"], location)

    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        wanted = {location.path: location for location in locations}
        bucket = locations[0].container
        reply = self._call(
            "DeleteObjects",
            "delete_objects",
            Location(locations[0].scheme, bucket, ""),
            Bucket=bucket,
            Delete={"Objects": [{"Key": key} for key in wanted], "Quiet": False},
        )
        # Each key is in the answer, removed or not: an empty one would not tell a store's from a gateway's.
        refuse_foreign(reply, "DeleteObjects", locations[0], "Deleted", "Errors")
        refused, removed = reply.get("Errors", []), reply.get("Deleted", [])
        return batch_failures(refused, removed, wanted, Location(locations[0].scheme, bucket, ""))

    def list_page(
        self, location: Location, prefix: str, *, delimited: bool, limit: int, start_after: str, token: str | None
    ) -> Page:
        reply = self._call(
            "ListObjectsV2",
            "list_objects_v2",
            location,
            Bucket=location.container,
            Prefix=prefix,
            Delimiter="/" if delimited else None,
            MaxKeys=limit,
            StartAfter=start_after or None,
            ContinuationToken=token,
            EncodingType="url",  # where botocore asks for it by itself, it decodes what is no UTF-8 to another key
        )
        refuse_foreign(reply, "ListObjectsV2", location, "IsTruncated", "Name", "KeyCount", "MaxKeys")
        decode = decoded if reply.get("EncodingType") == "url" else str
        try:
            entries = [
                Entry(
                    decode(item["Key"]),
                    listed_size(item.get("Size")),
                    bare_etag(item.get("ETag")),
                    fields.nanoseconds(item.get("LastModified")),
                    item.get("StorageClass"),
                )
                for item in reply.get("Contents", [])
            ]
            prefixes = [decode(item["Prefix"]) for item in reply.get("CommonPrefixes", [])]
        except (KeyError, ValueError):
            why = "an entry has no key, or a size that is no number"
            raise foreign("ListObjectsV2", location, why) from None
        if not reply.get("IsTruncated"):
            return Page(entries, prefixes, None)
        if not reply.get("NextContinuationToken"):
            raise foreign("ListObjectsV2", location, "more entries follow, and no token says where")
        return Page(entries, prefixes, reply["NextContinuationToken"])

    def buckets(self) -> Sequence[str]:
        names: list[str] = []
        token: str | None = None
        here = Location("s3", "", "")
        progress = Progress(here, ordered=False)
        while True:
            reply = self._call("ListBuckets", "list_buckets", here, ContinuationToken=token)
            refuse_foreign(reply, "ListBuckets", here, "Buckets", "Owner")
            found = [str(bucket.get("Name", "")) for bucket in reply.get("Buckets", [])]
            if any(not name or "/" in name for name in found):
                raise foreign("ListBuckets", here, "a bucket has no name, or one that is a path")
            token = reply.get("ContinuationToken") or None
            progress.check(token, (len(found), found[0], found[-1]) if found else None)
            names += found
            if token is None:
                return names
            if len(names) > MOST_BUCKETS:
                raise foreign("ListBuckets", here, f"there are more than {MOST_BUCKETS} buckets")

    def uploads_page(self, location: Location, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        key, upload_id = marker or (None, None)
        reply = self._call(
            "ListMultipartUploads",
            "list_multipart_uploads",
            location,
            Bucket=location.container,
            Prefix=prefix,
            KeyMarker=key,
            UploadIdMarker=upload_id,
        )
        refuse_foreign(reply, "ListMultipartUploads", location, "IsTruncated", "Bucket", "MaxUploads")
        try:
            uploads = [
                UploadEntry(item["Key"], item["UploadId"], fields.nanoseconds(item.get("Initiated")))
                for item in reply.get("Uploads", [])
            ]
        except KeyError:
            raise foreign("ListMultipartUploads", location, "an upload has no key, or no id") from None
        if not reply.get("IsTruncated"):
            return UploadPage(uploads, None)
        if not reply.get("NextKeyMarker"):
            raise foreign("ListMultipartUploads", location, "more uploads follow, and no marker says where")
        return UploadPage(uploads, (reply["NextKeyMarker"], reply.get("NextUploadIdMarker", "")))

    def presign(
        self, location: Location, method: Literal["GET", "PUT"], expires: int, *, version_id: str | None = None
    ) -> str:
        parameters = dict(fields.of_key(location))
        if method == "GET" and version_id is not None:
            parameters["VersionId"] = version_id
        operation = {"GET": "get_object", "PUT": "put_object"}[method]
        client = self.session(location).client
        try:
            url = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires)
        except Exception as error:
            raise errors.client_error(error, "presigning", location) from error
        return str(url)

    def close(self) -> None:
        session = self._sessions.get(os.getpid())
        if session is not None:
            session.client.close()

    def _call(self, operation: str, method: str, location: Location, **parameters: Any) -> dict[str, Any]:
        """Make one request, leaving out the parameters that are None; raise what ``errors`` makes of a failure."""
        given = {name: value for name, value in parameters.items() if value is not None}
        call = Call(operation, location)
        if deadlines.remaining() is None:
            return self._ask(call, method, given)
        return in_time(call, lambda: self._ask(call, method, given))

    def _ask(self, call: Call, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        operation, location = call.operation, call.location
        session = self.session(location)
        http = session.client.meta.service_model.operation_model(operation).http
        line = self._ledger.begin(operation, http["method"], location.url, fields.sent(parameters))
        try:
            reply = session.ask(call, lambda: getattr(session.client, method)(**parameters))
        except Exception as error:
            mapped = call.late or self._mapped(error, operation, location, call.doubt)
            line.fail(storagekit.errors.tried(mapped, max(call.attempts, 1), time.monotonic() - line.begun))
            if error is mapped:
                raise
            if not errors.tells_credentials(error, mapped):
                try:
                    raise mapped from error
                finally:  # its traceback holds this frame, and botocore's below, with the connection
                    del mapped
        else:
            self._learn(reply)
            line.attempts = call.attempts
            if operation == "GetObject":
                return {**reply, "line": line}  # to be closed with the body
            line.received = int(reply["ResponseMetadata"].get("HTTPHeaders", {}).get("content-length", 0))
            line.close()
            return dict(reply)
        # Here the client's own exception is out of the way: it quotes the header, or what the store said of it.
        mapped.__cause__ = errors.refusal_of(mapped)
        try:
            raise mapped
        finally:
            del mapped

    def _mapped(self, error: Exception, operation: str, location: Location, doubt: errors.Doubt) -> OSError:
        """What a failed request means."""
        response = getattr(error, "response", None)
        if not isinstance(response, Mapping):
            return errors.client_error(error, operation, location, doubt)
        self._learn(response)
        words, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
        status = int(metadata.get("HTTPStatusCode", 0))
        return errors.reply_error(
            operation,
            location,
            # Of a gateway's page botocore makes an empty one.
            code=str(words.get("Code") or status),
            status=status,
            message=str(words.get("Message", "")),
            request_id=metadata.get("RequestId") or request_id_of(metadata.get("HTTPHeaders", {})),
            doubt=doubt,
        )

    def _learn(self, reply: Mapping[str, Any]) -> None:
        """Note which server this is. An error may be a gateway's own, so one that does not say keeps what is known."""
        metadata = reply.get("ResponseMetadata", {})
        headers = metadata.get("HTTPHeaders")
        if headers is None or metadata.get("HTTPStatusCode", 0) >= 500:
            return
        self.server = headers.get("server") or self.server or ""
