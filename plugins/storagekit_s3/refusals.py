"""Refusals: why a HEAD was refused, which its answer cannot say because it has no body.

"404" to a HEAD may come from a gateway that has no route to the store just now. Most stores name the request in it;
where that is missing, the same is asked once more in a way whose answer tells who speaks. Where that finds the object,
the 404 was nobody's, or it has come into being since: the HEAD is sent again.

"403" to a HEAD may be a missing permission, an expired token, a wrong secret, a bucket whose owner does not pay, or a
key that does not exist, asked for by somebody who may not list: S3 hides from those which keys there are. So the same
is asked once more in ways whose answers have words: a GET of the first byte; and where that only says that access is
denied, a listing, which tells what exactly has to be granted. This costs requests only where something was refused, and
never makes an error of what is none: where the other ways are open, the first refusal stands.
"""

from __future__ import annotations

import errno

from storagekit import errors
from storagekit.location import Location
from storagekit_s3.api import Api, Info
from storagekit_s3.errors import status_of, store_code_of

__all__ = ["explain", "head"]

_SILENT = {400, 401, 403}


def head(api: Api, location: Location, version_id: str | None = None) -> Info:
    """What is at *location*; the error says why it cannot be told, or that nothing is there."""
    for _ in range(2):
        try:
            return api.head(location, version_id=version_id)
        except OSError as refusal:
            error = explain(api, location, refusal, version_id)
            if error is not None:
                raise error from refusal.__cause__
    text = "HeadObject was answered with status 404 by something that is no store, while GetObject finds the object"
    raise errors.os_error(errno.EIO, location, text, hint="see what a gateway before the store does with HEAD")


def explain(api: Api, location: Location, refusal: OSError, version_id: str | None = None) -> OSError | None:
    """The error that says why a HEAD of *location* was refused; *refusal* itself where no other way says more. None for
    a 404 where another way finds what is there."""
    status = status_of(refusal)
    nobodys = status == 404 and not getattr(refusal, "request_id", None)
    if not (nobodys or status in _SILENT) or store_code_of(refusal) != str(status):
        return refusal
    told = _failure_of_get(api, location, version_id) if location.path else _failure_of_listing(api, location)
    if told is None:
        return None if nobodys else refusal
    if status_of(told) is None:  # it has nothing to say of the 403; of a 404 it leaves open whose that was
        return told if nobodys else refusal
    if not location.path:
        return told
    if isinstance(told, FileNotFoundError):
        return refusal
    if store_code_of(told) != "AccessDenied" or version_id is not None or "; grant " in str(told.strerror):
        return told
    hidden = _failure_of_listing(api, location)
    if hidden is None or status_of(hidden) != 403:
        return told
    text = "Permission denied (AccessDenied)"
    hint = (
        "the object may be there, and s3:GetObject is not allowed; or it may be missing, "
        "which S3 tells only to those who are allowed s3:ListBucket"
    )
    unknown = errors.os_error(errno.EACCES, location, text, hint=hint)
    errors.describe(unknown, store_code="AccessDenied", status=403, request_id=getattr(told, "request_id", None))
    unknown.__cause__ = told.__cause__
    return unknown


def _failure_of_get(api: Api, location: Location, version_id: str | None) -> OSError | None:
    """Why the first byte cannot be read; None where it can, or where the object has none."""
    try:
        api.get(location, 0, 1, version_id=version_id).body.close()
    except OSError as error:
        return None if status_of(error) == 416 else error
    return None


def _failure_of_listing(api: Api, location: Location) -> OSError | None:
    """Why the bucket cannot be listed; None where it can."""
    bucket = Location(location.scheme, location.container, "")
    try:
        api.list_page(bucket, location.path, delimited=False, limit=1, start_after="", token=None)
    except OSError as error:
        return error
    return None
