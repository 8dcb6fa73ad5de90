"""Writing: an object published whole, by one PutObject or by a multipart upload.

The upload begins with the first part and not before, so an object that ends inside its first part costs one request
and an open writer that nothing was written to costs none. Parts may come from many threads at once.

Part sizes grow. A part is what a writer must hold in memory, so it should be small; 10,000 parts are all
that S3 allows, so it cannot stay small. Doubling after every thousand parts gives 8 MiB up to 7.8 GiB,
and 7.8 TiB in all, which is above S3's limit of 5 TiB for an object. Some servers want equal parts: the option
``part_size`` sets one size for all.

There are servers that decide a condition for a PutObject and ignore it at the end of a multipart upload. There a
conditional write is taken, and refused when it turns out to need a second part, before anything is sent.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable

from storagekit import errors
from storagekit.driver import Body, Condition, ObjectWriter, Stat
from storagekit.location import Location
from storagekit_s3.api import Api, Attributes, Info, Part, Written
from storagekit_s3.conditions import Guard, believed, check, guard, learn_profile, refuse, settle
from storagekit_s3.errors import doubt_of, store_code_of
from storagekit_s3.options import S3Options
from storagekit_s3.servers import Profile
from storagekit_s3.stats import stat_of, written_stat

__all__ = ["MultipartWriter", "abort_until_gone", "begin_upload", "look_after", "multipart_etag"]

logger = logging.getLogger(__name__)

MiB = 1024 * 1024

# At 80 MB/s and 30 ms to the first byte a part of 8 MiB spends four fifths of its time moving bytes.
FIRST_PART_SIZE = 8 * MiB
PARTS_PER_SIZE = 1000
MAX_PARTS = 10_000

# A conditional write that meets another one in progress is answered with 409 and the advice to try again.
CONFLICT_ATTEMPTS = 3
CONFLICT_PAUSE = 0.2

# A part that was on its way when the upload was aborted can bring it back.
ABORT_ATTEMPTS = 4
ABORT_PAUSE = 0.2


class MultipartWriter(ObjectWriter):
    """One object on its way to S3."""

    ordered = False

    def __init__(self, api: Api, location: Location, options: S3Options, condition: Condition) -> None:
        self._api = api
        self._location = location
        self._options = options
        self._condition = condition
        self._put_guard = self._guard(lambda profile: profile.puts(condition))
        self._complete_guard = Guard()
        self._lock = threading.Lock()
        self._upload_id: str | None = None
        self._parts: dict[int, tuple[str, int]] = {}
        self._in_doubt = False
        self._finished = False

    def _guard(self, honours: Callable[[Profile], bool]) -> Guard:
        """How the condition is kept by a request; the server's profile is needed only where there is a condition."""
        if self._condition is None:
            return Guard()
        honoured = honours(learn_profile(self._api, self._location, self._options.server))
        policy = self._options.conditional_writes
        return guard(self._condition, self._location, honoured=honoured, policy=policy)

    def part_size(self, number: int, /) -> int:
        if number > MAX_PARTS:
            raise errors.os_error(
                errno.EFBIG,
                self._location,
                f"An object has at most {MAX_PARTS} parts",
                hint="raise the option part_size",
            )
        return self._options.part_size or FIRST_PART_SIZE << (number - 1) // PARTS_PER_SIZE

    def put(self, body: Body, /) -> Stat:
        data = _joined(body)
        check(self._api, self._location, self._put_guard.checked)
        written = self._put(data)
        self._finished = True
        if written.etag is not None:
            return written_stat(self._location, len(data), written)
        return look_after(self._api, self._location, len(data), written)

    def _put(self, data: bytes | bytearray) -> Written:
        sent = self._put_guard.sent
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            try:
                written = self._api.put(self._location, data, self._options.attributes, sent)
                return believed(written, "PutObject", self._location)
            except OSError as error:
                doubt = doubt_of(error)
                conflict = store_code_of(error) == "ConditionalRequestConflict"
                # In doubt the other writer may be an earlier attempt of our own, which the next one would not know.
                if conflict and doubt is None and attempt < CONFLICT_ATTEMPTS:
                    time.sleep(CONFLICT_PAUSE * attempt)
                    continue
                if doubt is None:
                    refuse(error, self._location, sent)
                etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                info = self._settled(error, etag, len(data), sent)
                return Written(info.etag, info.version_id, info.modified_ns)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _settled(self, error: OSError, etag: str | None, size: int, sent: Condition) -> Info:
        attributes = self._options.attributes
        return settle(self._api, self._location, error, etag=etag, size=size, attributes=attributes, condition=sent)

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        if number > MAX_PARTS:
            self.part_size(number)
        data = _joined(body)
        upload_id = self.begin()
        try:
            etag = self._api.put_part(self._location, upload_id, number, data)
        except OSError as error:
            self.note_doubt(error)
            raise
        if etag is None:
            raise errors.os_error(errno.EIO, self._location, f"The server took part {number} without giving its ETag")
        self._parts[number] = etag, len(data)

    def note_doubt(self, error: OSError) -> None:
        """A part failed; remember if it may be on its way all the same."""
        self._in_doubt = self._in_doubt or doubt_of(error) is not None

    def guard_complete(self) -> Guard:
        """How the condition is kept by CompleteMultipartUpload."""
        return self._guard(lambda profile: profile.completes(self._condition))

    def begin(self) -> str:
        """The upload's id; the first caller begins the upload, and the others wait for it."""
        with self._lock:
            if self._finished:
                raise errors.os_error(errno.ECANCELED, self._location, "The upload has ended")
            if self._upload_id is None:
                self._complete_guard = self.guard_complete()
                self._upload_id = begin_upload(self._api, self._location, self._options.attributes)
            return self._upload_id

    def commit(self) -> Stat:
        if self._upload_id is None or sorted(self._parts) != list(range(1, len(self._parts) + 1)):
            raise errors.os_error(errno.EINVAL, self._location, "A part of the upload is missing")
        parts = [Part(number, self._parts[number][0]) for number in sorted(self._parts)]
        size = sum(length for _, length in self._parts.values())
        check(self._api, self._location, self._complete_guard.checked)
        try:
            answer = self._api.complete_upload(self._location, self._upload_id, parts, self._complete_guard.sent)
            written = believed(answer, "CompleteMultipartUpload", self._location)
        except OSError as error:
            info = self._settled(error, multipart_etag(parts), size, self._complete_guard.sent)
            written = Written(info.etag, info.version_id, info.modified_ns)
        self._finished = True
        _check_parts(self._location, written, len(parts))
        # The replies so far have told which server this is, if the endpoint did not.
        profile = learn_profile(self._api, self._location, self._options.server)
        if profile.complete_etag and written.etag is not None:
            return written_stat(self._location, size, written)
        return look_after(self._api, self._location, size, written)

    def abort(self) -> None:
        with self._lock:
            if self._finished:
                return
            upload_id = self._upload_id
            if upload_id is not None:
                abort_until_gone(self._api, self._location, upload_id, again=self._in_doubt)
            self._finished = True


def begin_upload(api: Api, location: Location, attributes: Attributes) -> str:
    """Begin an upload; returns its id. Where the answer is lost, nobody knows the id, so nobody can abort it."""
    try:
        return api.create_upload(location, attributes)
    except OSError as error:
        if doubt_of(error) is not None:
            logger.warning("an unfinished upload may remain at %s", location)
        raise


def look_after(api: Api, location: Location, size: int, written: Written) -> Stat:
    """What is there after a write of *size* bytes, where the server's own answer does not give the object's ETag.

    After a store's answer the object is published, so a failure here is not the write's: it only leaves the
    identity unknown.
    """
    try:
        stat = stat_of(location, api.head(location))
    except FileNotFoundError:
        stat = None
    except OSError:
        return Stat(location, "file", size, written.modified_ns)
    if stat is not None and stat.size == size:
        return stat
    if stat is not None and written.etag is not None and stat.identity == written.etag:
        # Not somebody else's: it is the very version that the write made.
        text = f"The server stored {stat.size} bytes of the {size} that were written, and said that all was well"
        raise errors.os_error(errno.EIO, location, text)
    return Stat(location, "file", size, written.modified_ns)


# The ETag of an object that was written in parts tells how many there were, encrypted or not.
_OF_PARTS = re.compile(r"[0-9a-f]{32}-([0-9]{1,5})")


def _check_parts(location: Location, written: Written, count: int) -> None:
    """Hold the answer to the end of an upload against what was sent."""
    found = _OF_PARTS.fullmatch(written.etag or "")
    if found is not None and int(found[1]) != count:
        text = f"The server made the object of {found[1]} parts where {count} were sent, so it is not what was written"
        raise errors.os_error(errno.EIO, location, text)


def abort_until_gone(api: Api, location: Location, upload_id: str, *, again: bool) -> None:
    """Abort an upload; *again* where a part may still be on its way, until the store says that there is none."""
    for attempt in range(ABORT_ATTEMPTS if again else 1):
        if attempt:
            time.sleep(ABORT_PAUSE * attempt)
        try:
            api.abort_upload(location, upload_id)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) or store_code_of(error) == "NoSuchUpload"
            if gone and store_code_of(error) != "NoSuchBucket":
                return
            raise


def multipart_etag(parts: list[Part]) -> str | None:
    """The ETag that S3 gives to the object: the MD5 of the parts' MD5s. None where theirs are not MD5s."""
    try:
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    except ValueError:
        return None
    if len(digests) != 16 * len(parts):
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _joined(body: Body) -> bytes | bytearray:
    """The body as one buffer; a single one as it is, because an upload of 8 MiB need not be copied once more."""
    if len(body) == 1 and isinstance(body[0], bytes | bytearray):
        return body[0]
    return b"".join(body)
