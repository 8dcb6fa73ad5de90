"""Deleting: one object, perhaps under a condition, or a thousand in one request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storagekit.driver import Condition
from storagekit.location import Location
from storagekit_s3.api import Api
from storagekit_s3.conditions import check, guard, leave_unknown, look, refuse
from storagekit_s3.errors import doubt_of, status_of, store_code_of
from storagekit_s3.options import S3Options
from storagekit_s3.servers import Profile

__all__ = ["delete_object", "delete_objects"]

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html; more is refused, or accepted, by server.
BATCH_KEYS = 1000

# How servers say that they take no batch.
_NO_BATCH_CODES = {"MalformedXML", "InvalidRequest", "NotImplemented", "MethodNotAllowed", "MissingContentLength"}
_NO_BATCH_STATUS = {405, 411, 501}

# What XML cannot carry, or not unchanged: a carriage return becomes a line feed, which would name another key. Space at
# an end is cut off by parsers that trim texts: s3rver then deletes "key" in place of "key ", and reports success.
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|\A\s|\s\Z")


def delete_object(
    api: Api, location: Location, options: S3Options, profile: Profile | None, condition: Condition
) -> None:
    """Remove one object; there being none is fine, unless *condition* wants a certain one.

    *profile* is needed only with a condition.
    """
    honoured = profile is not None and profile.delete_matches
    kept = guard(condition, location, honoured=honoured, policy=options.conditional_writes)
    check(api, location, kept.checked)
    try:
        api.delete(location, kept.sent)
    except OSError as error:
        if kept.sent is None and isinstance(error, FileNotFoundError) and store_code_of(error) != "NoSuchBucket":
            return
        if doubt_of(error) is not None and look(api, location, error) is None:
            return
        if doubt_of(error) == "lost" and status_of(error) != 412:
            leave_unknown(error, location)
        refuse(error, location, kept.sent)


def delete_objects(api: Api, locations: Sequence[Location], options: S3Options) -> list[tuple[Location, OSError]]:
    """Remove many objects of one bucket; return those that failed."""
    named = [location for location in locations if not _NOT_IN_XML.search(location.path)]
    failed = _one_by_one(api, [location for location in locations if _NOT_IN_XML.search(location.path)], options)
    for first in range(0, len(named), BATCH_KEYS):
        batch = named[first : first + BATCH_KEYS]
        try:
            failed += [f for f in api.delete_many(batch) if store_code_of(f[1]) not in ("NoSuchKey", "NoSuchVersion")]
        except OSError as error:
            if store_code_of(error) not in _NO_BATCH_CODES and status_of(error) not in _NO_BATCH_STATUS:
                raise
            failed += _one_by_one(api, batch, options)
    return failed


def _one_by_one(api: Api, batch: Sequence[Location], options: S3Options) -> list[tuple[Location, OSError]]:
    failed: list[tuple[Location, OSError]] = []
    for location in batch:
        try:
            delete_object(api, location, options, None, None)
        except OSError as error:
            failed.append((location, error))
    return failed
