"""Copying inside the store: data and metadata, without a byte through the client.

A copy is pinned to the version that the caller saw. Servers that know ``x-amz-copy-source-if-match`` refuse another
one; for the others the source is looked at afterwards, unless the copy's own ETag proves that the bytes are the same.

CopyObject takes up to 5 GiB. Beyond that, and where something must hold for the *target* (CopyObject's own
conditions are ignored by most servers), the copy is a multipart upload whose parts the store copies, and the
condition is decided when it is completed. A server that cannot copy parts leaves those cases to the core, which
streams. A multipart copy keeps headers, metadata and tags; for those S3 wants the permission ``s3:GetObjectTagging``.
An object's own ACL is never copied, by CopyObject neither; most buckets have ACLs switched off.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from storagekit import deadlines, errors
from storagekit.driver import Condition, Stat
from storagekit.location import Location
from storagekit_s3.api import Api, Attributes, Info, Part, Source, Written
from storagekit_s3.conditions import Guard, believed, check, guard, leave_unknown, pinned, settle
from storagekit_s3.errors import doubt_of
from storagekit_s3.options import S3Options
from storagekit_s3.servers import Profile
from storagekit_s3.writing import MAX_PARTS, abort_until_gone, begin_upload, look_after, multipart_etag

__all__ = ["copy_object", "touch_object"]

MiB = 1024 * 1024

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html: one request copies at most 5 GiB.
COPY_LIMIT = 5 * 1024 * MiB
# A part of a copy costs the client nothing; smaller ones are copied side by side, 20 for the smallest such object.
COPY_PART_SIZE = 256 * MiB
COPY_THREADS = 8

# What a CopyObject with new metadata replaces as a whole, so that the rest must be sent again.
_REPLACED = {
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
    "metadata",
}


def copy_object(
    api: Api, source: Stat, target: Location, options: S3Options, profile: Profile, condition: Condition
) -> Stat | None:
    """Copy *source* to *target*; None where this server cannot and the bytes must go through the client."""
    origin = Source(source.location, source.identity, options.version_id)
    parts = (source.size or 0) > COPY_LIMIT or (condition is not None and source.size != 0)
    if source.size is None or (parts and not profile.copy_part):
        return None
    if condition is not None and options.conditional_writes is None and not profile.completes(condition):
        return None  # a PutObject may be able to keep the condition, and refuses it in the right words if not
    kept = guard(condition, target, honoured=profile.completes(condition), policy=options.conditional_writes)
    if condition is not None and source.size == 0:
        return _put_empty(api, origin, target, options, kept)
    if parts:
        attributes = _merged(api, origin, options, tags=True)
        written = _copy_parts(api, origin, target, source.size, attributes, kept, profile)
        return _finished(api, origin, target, source.size, profile, written)
    renew = bool(options.attributes_given & _REPLACED)
    attributes = _merged(api, origin, options) if renew else options.attributes
    written = _copy_once(api, origin, target, source.size, attributes, renew, profile)
    return _finished(api, origin, target, source.size, profile, written)


def touch_object(api: Api, stat: Stat, profile: Profile) -> Stat:
    """Renew an object's time by copying it onto itself, with everything that it has."""
    target = stat.location
    info = api.head(target)
    if stat.identity is not None and info.etag != stat.identity:
        raise errors.changed(target)
    origin = Source(target, info.etag)
    if (info.size or 0) > COPY_LIMIT:
        if not profile.copy_part:
            raise errors.unsupported(target, "this server cannot renew the time of an object of more than 5 GiB")
        info = _with_tags(api, origin, info)
        written = _copy_parts(api, origin, target, info.size or 0, info.attributes, Guard(), profile)
    else:
        written = _copy_once(api, origin, target, info.size or 0, info.attributes, True, profile)
    return _finished(api, replace(origin, etag=None), target, info.size or 0, profile, written)


def _merged(api: Api, origin: Source, options: S3Options, *, tags: bool = False) -> Attributes:
    """The source's headers and metadata, with those that the user gave in their place; its *tags* too where asked for.

    Storage class and encryption are the target's own affair, as with CopyObject.
    """
    info = api.head(origin.location, version_id=origin.version_id)
    if tags and "tags" not in options.attributes_given:
        info = _with_tags(api, origin, info)
    given = {name: getattr(options.attributes, name) for name in options.attributes_given}
    kept = replace(info.attributes, storage_class=None, server_side_encryption=None, sse_kms_key_id=None)
    return replace(kept, **given)


def _with_tags(api: Api, origin: Source, info: Info) -> Info:
    """*info* with the object's tags, which CopyObject takes along and nothing else does."""
    if not info.tag_count:
        return info
    tags = api.tags(origin.location, version_id=origin.version_id)
    return replace(info, attributes=replace(info.attributes, tags=tags))


def _copy_once(
    api: Api, origin: Source, target: Location, size: int, attributes: Attributes, renew: bool, profile: Profile
) -> Written:
    try:
        answer = pinned(api, origin, profile, lambda asked: api.copy(target, asked, attributes, replace=renew))
        return believed(answer, "CopyObject", target)
    except OSError as error:
        if doubt_of(error) is None:
            raise
        # A copy onto itself looks the same before and after; done twice it does no harm, but it may not be done yet.
        etag = None if origin.location == target else origin.etag
        wanted = attributes if renew else _inherited(api, origin, attributes, error, target)
        info = settle(api, target, error, etag=etag, size=size, attributes=wanted, condition=None)
        return Written(info.etag, info.version_id, info.modified_ns)


def _inherited(api: Api, origin: Source, given: Attributes, error: OSError, target: Location) -> Attributes:
    """What a copy has that took over its source's headers: needed only to tell whether it was made."""
    try:
        found = api.head(origin.location, version_id=origin.version_id).attributes
    except OSError:
        leave_unknown(error, target)
    own = ("storage_class", "server_side_encryption", "sse_kms_key_id", "acl")
    return replace(found, **{name: getattr(given, name) for name in own})


def _put_empty(api: Api, origin: Source, target: Location, options: S3Options, kept: Guard) -> Stat:
    """A copy of an empty object under a condition: there is no byte to copy, so it is written."""
    attributes = _merged(api, origin, options)
    check(api, target, kept.checked)
    try:
        written = api.put(target, b"", attributes, kept.sent)
    except OSError as error:
        info = settle(api, target, error, etag=None, size=0, attributes=attributes, condition=kept.sent)
        written = Written(info.etag, info.version_id, info.modified_ns)
    return Stat(target, "file", 0, written.modified_ns, written.etag)


def _copy_parts(
    api: Api, origin: Source, target: Location, size: int, attributes: Attributes, kept: Guard, profile: Profile
) -> Written:
    step = max(COPY_PART_SIZE, -(-size // MAX_PARTS))
    spans = [(start, min(start + step, size)) for start in range(0, size, step)]
    upload_id = begin_upload(api, target, attributes)

    def copy(number: int) -> Part:
        # A range of a small object is refused by S3: where there is one part, it is the whole.
        span = spans[number - 1] if len(spans) > 1 else None
        etag = pinned(api, origin, profile, lambda asked: api.copy_part(target, upload_id, number, asked, span))
        if etag is None:
            raise errors.os_error(
                errno.EIO, target, f"The server answered without an ETag to the copy of part {number}"
            )
        return Part(number, etag)

    try:
        parts = _side_by_side(copy, len(spans))
        check(api, target, kept.checked)
        try:
            answer = api.complete_upload(target, upload_id, parts, kept.sent)
            return believed(answer, "CompleteMultipartUpload", target)
        except OSError as error:
            etag = multipart_etag(parts)
            info = settle(api, target, error, etag=etag, size=size, attributes=attributes, condition=kept.sent)
            return Written(info.etag, info.version_id, info.modified_ns)
    except BaseException as error:
        _give_up(api, target, upload_id, error)
        raise


def _side_by_side(copy: Callable[[int], Part], count: int) -> list[Part]:
    """Parts 1 to *count*, copied by this thread and as many more as can be had; the first failure ends them all.

    ``concurrent.futures`` would do it too, but starts nothing any more once the main thread has ended, when
    other threads may still be at work.
    """
    numbers = deque(range(1, count + 1))
    parts: dict[int, Part] = {}
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            try:
                number = numbers.popleft()
            except IndexError:
                return
            try:
                parts[number] = copy(number)
            except BaseException as error:
                failures.append(error)

    threads: list[threading.Thread] = []
    try:
        for _ in range(min(COPY_THREADS, count) - 1):
            thread = threading.Thread(target=deadlines.carried(work), name="storagekit-s3-copy", daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        pass  # no thread can start any more: those that run, and this one, do the rest
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [parts[number] for number in sorted(parts)]


def _give_up(api: Api, target: Location, upload_id: str, error: BaseException) -> None:
    """Abort the upload of a copy that failed; a failure of that is noted beside the error, and does not replace it."""
    try:
        abort_until_gone(api, target, upload_id, again=isinstance(error, OSError) and doubt_of(error) is not None)
    except OSError as failure:
        error.add_note(f"the unfinished upload {upload_id} could not be removed: {failure}")


def _finished(api: Api, origin: Source, target: Location, size: int, profile: Profile, written: Written) -> Stat:
    """Make sure that the version that was asked for is the one that was copied, and say what the target is now."""
    proven = origin.etag is None or written.etag == origin.etag or profile.copy_source_condition
    if not proven:
        try:
            now = api.head(origin.location, version_id=origin.version_id).etag
        except FileNotFoundError:
            now = None
        if now != origin.etag:
            raise errors.changed(
                origin.location, f"The object changed while it was copied to {target}, which may be mixed"
            )
    return look_after(api, target, size, written)
