"""The hooks: ``s3://bucket/key`` for storagekit.

Nothing is done here but checking a location and its options, finding the client and the server's profile,
and handing over to the module that knows the rest. Importing this module imports no boto3.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from storagekit import errors
from storagekit.driver import Condition, ObjectWriter, Option, Options, RangeReader, Stat, Traits, Upload
from storagekit.findings import Finding
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location
from storagekit_s3 import copying, deleting, editing, listing, reading, refusals, writing
from storagekit_s3.api import Api
from storagekit_s3.clients import Client, Clients
from storagekit_s3.conditions import learn_profile
from storagekit_s3.ledger import Ledger
from storagekit_s3.media import media_type
from storagekit_s3.options import KNOWN_OPTIONS, Connection, S3Options
from storagekit_s3.options import parse as parse_options
from storagekit_s3.servers import DIRECTORY_BUCKET, Profile
from storagekit_s3.stats import stat_of

__all__ = ["S3Driver"]

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
# A name, or the ARN of an access point.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[A-Za-z0-9:._-]+")
# A signature of version 4 is valid for at most a week.
MAX_PRESIGN_SECONDS = 7 * 24 * 3600


def _connect(connection: Connection, ledger: Ledger) -> Client:
    with guarded(IMPORT_SECONDS):
        from storagekit_s3.transports import Transports  # with the modules of HTTP, which a program may never need
    return Transports(connection, ledger)


class S3Driver:
    """Amazon S3, and the servers that speak its protocol."""

    def __init__(self, connect: Callable[[Connection, Ledger], Client] = _connect) -> None:
        self._ledger = Ledger()
        self._clients = Clients(lambda connection: connect(connection, self._ledger))

    @hookimpl
    def known_options(self) -> Sequence[Option]:
        return KNOWN_OPTIONS

    @hookimpl
    def parse(self, url: str) -> Location:
        container = url.partition("://")[2].partition("/")[0]
        # Access points have colons in their names (arn:aws:s3:…); nothing else has, so this looks like credentials,
        # and must not be repeated in an error.
        if "@" in container or (":" in container and not container.startswith("arn:")):
            raise errors.invalid("s3://…", "a URL holds no credentials, and a bucket's name no @ or colon; see options")
        location = parse_location(url)
        _check(location)
        return location

    @hookimpl
    def traits(self, location: Location, options: Options) -> Traits:
        api, parsed = self._open(location, options)
        try:
            profile = self._profile(api, Location(location.scheme, location.container, ""), parsed)
        except OSError as error:  # nobody answered, so nothing is known; the caller asked about this location
            error.filename = location.url
            raise
        trusted = parsed.conditional_writes == "trust"
        return Traits(
            implicit_directories=True,
            empty_directories=profile.markers,
            exclusive_create=profile.put_absent or trusted,
            conditional_replace=profile.put_matches or trusted,
            conditional_delete=profile.delete_matches or trusted,
            pinned_reads=True,
            ranged_reads=True,
            sorted_listing=not location.container.endswith(DIRECTORY_BUCKET),
            server_copy=True,
            literal_keys=profile.literal_keys,
            file_beside_directory=profile.file_beside_directory,
        )

    @hookimpl
    def open_read(self, location: Location, options: Options, head: int) -> RangeReader:
        api, parsed = self._open_object(location, options)
        return reading.open_reader(api, location, parsed, head)

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        api, parsed = self._open_object(location, options, changing=True)
        if parsed.attributes.content_type is None:
            parsed = replace(parsed, attributes=replace(parsed.attributes, content_type=media_type(location.path)))
        return writing.MultipartWriter(api, location, parsed, condition)

    @hookimpl
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        api, parsed = self._open_object(location, options, changing=True)
        return editing.open_editor(api, location, parsed, base)

    @hookimpl
    def stat(self, location: Location, options: Options) -> Stat:
        api, parsed = self._open(location, options)
        if location.path:
            return stat_of(location, refusals.head(api, location, parsed.version_id))
        if location.container:
            try:
                api.head_bucket(location)
            except OSError as refusal:
                if (error := refusals.explain(api, location, refusal)) is not None:
                    raise error from refusal.__cause__
        return Stat(location, "directory")

    @hookimpl
    def delete(self, location: Location, options: Options, condition: Condition) -> Literal[True]:
        api, parsed = self._open_object(location, options, changing=True)
        profile = None if condition is None else self._profile(api, location, parsed)
        deleting.delete_object(api, location, parsed, profile, condition)
        return True

    @hookimpl
    def delete_many(self, locations: Sequence[Location], options: Options) -> Sequence[tuple[Location, OSError]]:
        if not locations:
            return []
        for location in locations:
            _check_object(location)
        api, parsed = self._open_object(locations[0], options, changing=True)
        return deleting.delete_objects(api, locations, parsed)

    @hookimpl
    def copy(self, source: Stat, target: Location, options: Options, condition: Condition) -> Stat | None:
        _check_object(source.location)
        api, parsed = self._open_object(target, options)
        profile = self._profile(api, source.location, parsed)
        return copying.copy_object(api, source, target, parsed, profile, condition)

    @hookimpl
    def touch(self, stat: Stat, options: Options) -> Stat:
        api, parsed = self._open_object(stat.location, options, changing=True)
        return copying.touch_object(api, stat, self._profile(api, stat.location, parsed))

    @hookimpl
    def uploads(self, location: Location, options: Options) -> Iterator[Upload]:
        api, _ = self._open(location, options)
        if not location.container:
            raise errors.invalid(location, "unfinished uploads are listed per bucket: expected s3://bucket/prefix")
        return listing.list_uploads(api, location)

    @hookimpl
    def abort_upload(self, upload: Upload, options: Options) -> Literal[True]:
        api, _ = self._open_object(upload.location, options)
        writing.abort_until_gone(api, upload.location, upload.upload_id, again=False)
        return True

    @hookimpl
    def presign(self, location: Location, options: Options, method: Literal["GET", "PUT"], expires: int) -> str:
        api, parsed = self._open_object(location, options)
        if method not in ("GET", "PUT"):
            raise errors.invalid(location, f"a URL can be signed for GET or PUT, not for {method!r}")
        if not 1 <= expires <= MAX_PRESIGN_SECONDS:
            raise errors.invalid(
                location, f"a signed URL is valid for 1 to {MAX_PRESIGN_SECONDS} seconds, not {expires}"
            )
        return api.presign(location, method, expires, version_id=parsed.version_id)

    @hookimpl
    def counts(self) -> Mapping[str, int]:
        return self._ledger.counts()

    @hookimpl
    def diagnose(self, location: Location, options: Options) -> Sequence[str]:
        from storagekit_s3.diagnosing import describe  # for people, so nobody else waits for it

        api, parsed = self._open(location, options)
        return list(describe(api, location, parsed))

    @hookimpl
    def examine(self, location: Location, options: Options) -> Iterator[Finding]:
        from storagekit_s3.examining import examine  # as above

        api, parsed = self._open_object(location, options, changing=True)
        bucket = Location(location.scheme, location.container, "")
        return examine(api, location, parsed, self._profile(api, bucket, parsed))

    @hookimpl
    def reset_after_fork(self) -> None:
        self._clients.reset_after_fork()

    @hookimpl
    def close(self) -> None:
        self._clients.close()

    @hookimpl(specname="list")
    def entries(
        self, location: Location, options: Options, recursive: bool, limit: int | None, start_after: str
    ) -> Iterator[Stat]:
        api, _ = self._open(location, options)
        if not location.container:
            return listing.list_buckets(api, location, limit=limit, start_after=start_after)
        return listing.list_objects(api, location, recursive=recursive, limit=limit, start_after=start_after)

    def _open(self, location: Location, options: Options) -> tuple[Api, S3Options]:
        _check(location)
        parsed = parse_options(options, location)
        return self._clients.get(parsed.connection, location), parsed

    def _open_object(self, location: Location, options: Options, *, changing: bool = False) -> tuple[Api, S3Options]:
        """The same for a location that must be an object's; *changing* where an old version cannot be meant."""
        _check_object(location)
        api, parsed = self._open(location, options)
        if changing and parsed.version_id is not None:
            raise errors.invalid(location, "the option version_id is for reading: old versions do not change")
        return api, parsed

    def _profile(self, api: Api, location: Location, options: S3Options) -> Profile:
        return learn_profile(api, location, options.server)


def _check(location: Location) -> None:
    """Refuse what S3 cannot have, before a request is made for it."""
    if location.container and not _BUCKET.fullmatch(location.container):
        allowed = "letters, digits, '.', '-' and '_'"
        raise errors.invalid(_printable(location), f"not the name of a bucket: it has from 1 to 255 {allowed}")
    try:
        length = len(location.path.encode())
    except UnicodeEncodeError:
        raise errors.invalid(_printable(location), "a key must be valid Unicode: S3 stores it as UTF-8") from None
    if length > MAX_KEY_BYTES:
        hint = f"a key has at most {MAX_KEY_BYTES} bytes, not {length}"
        raise errors.os_error(errno.ENAMETOOLONG, location, hint=hint)


def _printable(location: Location) -> str:
    return location.url.encode("utf-8", "backslashreplace").decode()


def _check_object(location: Location) -> None:
    if location.is_root:
        raise errors.is_a_directory(location)
