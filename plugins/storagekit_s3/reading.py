"""Reading: one version of one object, by ranges.

Opening is one ranged GET: the bytes that are wanted anyway come along with size, ETag and time, so that opening and
reading a small object is one request. An empty object has no range to answer with; there a HEAD follows.

Every further range goes out under ``If-Match``, and because some servers ignore that, the ETag of each
answer is compared as well, and so are the start, the end and the size that it names. A server that answers
with another range than it was asked for is an error here, never silently wrong bytes.

Suffix ranges (``bytes=-100``) are never sent: servers disagree about them.
"""

from __future__ import annotations

import errno
import re

from storagekit import errors
from storagekit.checksums import Checksum
from storagekit.driver import RangeBody, RangeReader
from storagekit.location import Location
from storagekit_s3 import refusals
from storagekit_s3.api import Api, ByteStream, Info, RangeReply
from storagekit_s3.errors import status_of
from storagekit_s3.options import S3Options
from storagekit_s3.servers import DIRECTORY_BUCKET, profile_of
from storagekit_s3.stats import stat_of

__all__ = ["ObjectReader", "open_reader"]

# An object that is empty at the GET and is not at the HEAD is being written to; that does not go on for ever.
OPEN_ATTEMPTS = 3


def open_reader(api: Api, location: Location, options: S3Options, head: int) -> ObjectReader:
    """Open an object with its first *head* bytes."""
    for _ in range(OPEN_ATTEMPTS):
        if head > 0:
            try:
                reply = api.get(location, 0, head, version_id=options.version_id)
            except OSError as error:
                if status_of(error) != 416:
                    raise
            else:
                return ObjectReader(api, location, options, reply.info, _read_head(reply, location, head))
        info = refusals.head(api, location, options.version_id)
        if info.size == 0 or head == 0:
            return ObjectReader(api, location, options, info, b"")
    raise errors.changed(location)


def _read_head(reply: RangeReply, location: Location, head: int) -> bytes:
    """The first bytes. A body that breaks off gives fewer; the rest is fetched later like any other range."""
    try:
        if reply.start != 0:
            raise _ignored_range(location, reply)
        buffer = bytearray(min(head, reply.stop))
        view, filled = memoryview(buffer), 0
        while filled < len(buffer):
            try:
                count = reply.body.readinto(view[filled:])
            except OSError:
                break
            if count == 0:
                break
            filled += count
        view.release()
        return bytes(buffer) if filled == len(buffer) else bytes(buffer[:filled])
    finally:
        reply.body.close()


class ObjectReader(RangeReader):
    """One version of one object. It holds no connection between two ranges."""

    def __init__(self, api: Api, location: Location, options: S3Options, info: Info, head: bytes) -> None:
        self._api = api
        self._location = location
        self._version_id = options.version_id
        self._info = info
        # A weak ETag says "much the same", which is no pin and no key.
        self._strong = info.etag if info.etag is not None and not info.etag.startswith("W/") else None
        self.stat = stat_of(location, info)
        self.head = head
        self.checksum = info.checksum or _md5(api, location, info, options)
        if self._strong is not None:
            key = ("s3", api.endpoint, location.container, location.path, self._strong)
            self.cache_key = key if self._version_id is None else (*key, self._version_id)

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        try:
            reply = self._api.get(self._location, start, stop, etag=self._strong, version_id=self._version_id)
        except OSError as error:
            if status_of(error) == 416:
                raise errors.changed(self._location, "The object is shorter than it was") from error
            raise
        try:
            self._verify(reply, start, stop)
        except OSError:
            reply.body.close()
            raise
        return _Body(reply.body, stop - start)

    def _verify(self, reply: RangeReply, start: int, stop: int) -> None:
        was, now = self._info, reply.info
        if now.etag != was.etag or (was.etag is None and now.modified_ns != was.modified_ns):
            raise errors.changed(self._location)
        if now.size is not None and was.size is not None and now.size != was.size:
            raise errors.changed(self._location)
        # A server that knows no ranges answers with everything, which begins with what is wanted if that is the start.
        if reply.start != start or reply.stop < stop or (reply.stop > stop and start != 0):
            raise _ignored_range(self._location, reply)


# The ETag of an object that was stored whole, and neither encrypted with a key of KMS nor with the user's own.
_MD5 = re.compile(r"[0-9a-f]{32}")
_NO_MD5 = ("aws:kms", "aws:kms:dsse")


# Directory buckets, buckets on Outposts and whatever else an ARN may name: there an ETag is any text.
_OTHER_BUCKETS = (DIRECTORY_BUCKET, "--op-s3")


def _md5(api: Api, location: Location, info: Info, options: S3Options) -> Checksum | None:
    """The object's MD5, where the server is known to make ETags of it."""
    if location.container.endswith(_OTHER_BUCKETS) or location.container.startswith("arn:"):
        return None
    if info.etag is None or not _MD5.fullmatch(info.etag) or options.connection.sse_customer_key is not None:
        return None
    if info.attributes.server_side_encryption in _NO_MD5:
        return None
    profile = profile_of(api.endpoint, api.server, options.server)
    return Checksum("md5", bytes.fromhex(info.etag)) if profile is not None and profile.etag_md5 else None


class _Body(RangeBody):
    """The bytes of a range, and not one more."""

    def __init__(self, stream: ByteStream, length: int) -> None:
        self._stream = stream
        self._left = length

    def readinto(self, view: memoryview, /) -> int:
        if self._left <= 0:
            return 0
        count = self._stream.readinto(view[: self._left] if len(view) > self._left else view)
        self._left -= count
        return count

    def close(self) -> None:
        self._left = 0
        self._stream.close()


def _ignored_range(location: Location, reply: RangeReply) -> OSError:
    text = f"The server answered with bytes {reply.start} to {reply.stop}, which is not the range that was asked for"
    return errors.os_error(errno.EIO, location, text)
