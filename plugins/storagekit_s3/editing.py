"""Editing: a new version made of an old one, of which the store copies what stays.

What S3 keeps beside the bytes is taken over from the version that was opened, where the options do not say otherwise:
headers, metadata, tags, storage class, encryption. Its ACL is not: no reply shows it.

Parts are copied by UploadPartCopy, each pinned to the ETag of that version. There are implementations that pass the
source over, and store an empty part: its ETag is then the MD5 of nothing, and the engine sends the bytes instead. A
server that decides conditions for PutObject only can edit what fits in one part; beyond that it is refused when the
object is opened, and not after somebody's work.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from storagekit import errors
from storagekit.driver import Matches, Stat
from storagekit.location import Location
from storagekit_s3.api import Api, Source
from storagekit_s3.conditions import learn_profile, pinned, refuse
from storagekit_s3.copying import COPY_PART_SIZE
from storagekit_s3.errors import doubt_of, status_of, store_code_of
from storagekit_s3.options import MIN_PART_SIZE, S3Options
from storagekit_s3.stats import attributes_of
from storagekit_s3.writing import MultipartWriter

__all__ = ["EditWriter", "open_editor"]

# Half of all parts that there can be: the others are for what changed.
MOST_COPIES = 5000

MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"


def open_editor(api: Api, location: Location, options: S3Options, base: Stat) -> EditWriter:
    """Begin the next version of *base*."""
    if base.identity is None or base.identity.startswith("W/"):
        text = "this server gives no strong ETag, so a change could be lost; write the object anew"
        raise errors.unsupported(location, text)
    return EditWriter(api, location, _kept(api, base, options), Matches(base.identity), base)


def _kept(api: Api, base: Stat, options: S3Options) -> S3Options:
    """*options* with what is kept of *base*."""
    attributes = attributes_of(base)
    if base.extra.get("tag_count") and "tags" not in options.attributes_given:
        attributes = replace(attributes, tags=api.tags(base.location))
    given = {name: getattr(options.attributes, name) for name in options.attributes_given}
    if given.get("server_side_encryption") not in (None, attributes.server_side_encryption):
        attributes = replace(attributes, sse_kms_key_id=None)  # the key of another kind of encryption
    return replace(options, attributes=replace(attributes, **given))


class EditWriter(MultipartWriter):
    """The next version of an object."""

    def __init__(self, api: Api, location: Location, options: S3Options, condition: Matches, base: Stat) -> None:
        super().__init__(api, location, options, condition)
        self._base = base
        self._profile = learn_profile(api, location, options.server)
        size = base.size or 0
        completes = self._profile.completes(condition) or options.conditional_writes is not None
        if size > self.part_size(1) and not completes:
            self.guard_complete()  # raises, in the words that tell what can be done
        # Who asks for parts of one size gets them all of that size, and so sent.
        if size >= MIN_PART_SIZE and self._profile.copy_part and completes and options.part_size is None:
            self.copies = (MIN_PART_SIZE, max(COPY_PART_SIZE, -(-size // MOST_COPIES)))

    def copy_part(self, number: int, offset: int, start: int, stop: int, /) -> None:
        span = (start, stop) if (start, stop) != (0, self._base.size) else None
        origin = Source(self._base.location, self._base.identity)
        upload_id = self.begin()
        ask = functools.partial(self._api.copy_part, self._location, upload_id, number, span=span)
        try:
            etag = pinned(self._api, origin, self._profile, lambda source: ask(source=source))
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            if gone and store_code_of(error) not in ("NoSuchUpload", "NoSuchBucket"):
                raise errors.changed(self._location, "The object is gone") from error
            if status_of(error) in (400, 405, 501) and doubt_of(error) is None:
                raise errors.unsupported(self._location, "this server does not copy parts") from error
            self.note_doubt(error)
            refuse(error, self._location, self._condition)
        if etag is None or etag == MD5_OF_NOTHING:
            raise errors.unsupported(self._location, "this server says that it copied a part, and stored nothing")
        self._parts[number] = etag, stop - start
