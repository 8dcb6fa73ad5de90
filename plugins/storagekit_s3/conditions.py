"""Conditions and outcomes: what must hold before a change, and what became of a change whose answer was lost.

**Before.** A condition is decided by the server, in the same step as the change, where the server is known to do so
(``servers``). Elsewhere the change is refused, unless the option ``conditional_writes`` says ``"trust"`` (send it
all the same: the user knows the server better) or ``"race"`` (look first, then write: of two writers at the same
moment both may win).

**After.** A request can fail although it was carried out: the answer was cut off, a gateway gave up, or a second
attempt of a conditional write met the result of the first. Guessing would lose data one way or report a
false success the other way, so the object is looked at: if it has the ETag and the size of what was sent, and
the headers that were given along, the change was made. If it has not and the answer was lost, the request may
still be on its way, and the outcome is unknown; so it is where the ETag is no MD5 and settles nothing. The
one thing that an ETag cannot tell is *who* wrote equal bytes; for an empty object under ``Absent()``, the usual
lock file, equality would mean nothing, so there the outcome stays unknown too.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from storagekit import errors
from storagekit.driver import Absent, Condition, Matches
from storagekit.location import Location
from storagekit_s3 import refusals
from storagekit_s3.api import Api, Attributes, Info, Source, Written
from storagekit_s3.errors import doubt_of, status_of, store_code_of
from storagekit_s3.options import ConditionalWrites
from storagekit_s3.replies import foreign
from storagekit_s3.servers import PROFILES, Profile, profile_of

__all__ = [
    "Guard",
    "believed",
    "check",
    "guard",
    "learn_profile",
    "leave_unknown",
    "look",
    "pinned",
    "refuse",
    "settle",
]

_Reply = TypeVar("_Reply")

_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


def learn_profile(api: Api, location: Location, option: str | None) -> Profile:
    """The server's profile. Where no reply was seen yet, one HEAD on the target itself tells."""
    profile = profile_of(api.endpoint, api.server, option)
    if profile is not None:
        return profile
    try:
        if location.path:
            api.head(location)
        elif location.container:
            api.head_bucket(location)
    except OSError as error:
        if status_of(error) is None:  # nobody answered
            raise
    return profile_of(api.endpoint, api.server or "", option) or PROFILES["generic"]


@dataclass(frozen=True, slots=True)
class Guard:
    """How a condition is kept: *sent* along with the change, or *checked* just before it."""

    sent: Condition = None
    checked: Condition = None


def guard(condition: Condition, location: Location, *, honoured: bool, policy: ConditionalWrites) -> Guard:
    """How *condition* can be kept; ``io.UnsupportedOperation`` where it cannot."""
    if condition is None:
        return Guard()
    if honoured or policy == "trust":
        return Guard(sent=condition)
    if policy == "race":
        return Guard(checked=condition)
    wish = "nothing exists there yet" if isinstance(condition, Absent) else "the object is still the same version"
    raise errors.unsupported(
        location,
        f"this server is not known to honour the condition that {wish}; the option conditional_writes='race' accepts "
        "that of two writers at the same moment both may win, 'trust' says that the server does honour it, and the "
        "option server names the kind of server",
    )


def check(api: Api, location: Location, condition: Condition) -> None:
    """Look whether *condition* holds now; raise what its failure means."""
    if condition is None:
        return
    try:
        info = refusals.head(api, location)
    except FileNotFoundError:
        if isinstance(condition, Matches):
            raise errors.changed(location, "The object is gone") from None
        return
    if isinstance(condition, Absent):
        raise errors.exists(location)
    if info.etag != condition.identity:
        raise errors.changed(location)


def refuse(error: OSError, location: Location, condition: Condition) -> NoReturn:
    """Raise what a failed request means to the caller, given the condition that went along."""
    status, code = status_of(error), store_code_of(error)
    if isinstance(condition, Absent) and status == 412:
        _raise_as(errors.exists(location), error)
    if isinstance(condition, Matches) and (status == 412 or code == "NoSuchKey"):
        _raise_as(errors.changed(location), error)
    raise error


def believed(written: Written, operation: str, location: Location) -> Written:
    """*written*, where a store has said so. Raise where another answered: then the object itself has to tell."""
    if written.by_store:
        return written
    error = errors.describe(foreign(operation, location))
    error.doubt = "lost"  # type: ignore[attr-defined]
    raise error


def settle(
    api: Api,
    location: Location,
    error: OSError,
    *,
    etag: str | None,
    size: int,
    attributes: Attributes,
    condition: Condition,
) -> Info:
    """After a failed request that was to publish *size* bytes with *etag*: return what is there if that happened.

    Otherwise raise: the refusal, ``OutcomeUnknownError``, or the error itself where it is certain.
    """
    doubt = doubt_of(error)
    if doubt is None and store_code_of(error) != "NoSuchUpload":
        refuse(error, location, condition)
    info = look(api, location, error)
    if info is not None and etag is not None and (info.etag, info.size) == (etag, size):
        absent = isinstance(condition, Absent)
        # No reply shows an ACL or tags. Where nothing was there before, bytes and headers are enough.
        if (size == 0 and absent) or ((attributes.acl is not None or attributes.tags) and not absent):
            leave_unknown(error, location)
        if _shows(info.attributes, attributes):
            return info
    elif info is not None and info.size == size and doubt is not None and not (_telling(etag) and _tells(info)):
        leave_unknown(error, location)
    if doubt == "lost" and status_of(error) != 412:
        leave_unknown(error, location)
    refuse(error, location, condition)


def _shows(found: Attributes, given: Attributes) -> bool:
    """Whether an object has what it was to be given. More is no contradiction: servers add headers of their own."""
    plain = ("content_type", "cache_control", "content_disposition", "content_encoding", "content_language")
    if any(getattr(given, name) not in (None, getattr(found, name)) for name in plain):
        return False
    # No reply names the class STANDARD.
    if given.storage_class is not None and given.storage_class != (found.storage_class or "STANDARD"):
        return False
    if given.server_side_encryption not in (None, found.server_side_encryption):
        return False
    return all(found.metadata.get(name.lower()) == text for name, text in given.metadata.items())


def _telling(etag: str | None) -> bool:
    """Whether an ETag can be the MD5 of the bytes, or of the parts' MD5s."""
    return etag is not None and _MD5.fullmatch(etag) is not None


def _tells(info: Info) -> bool:
    """Whether an object's ETag tells its bytes. With a key of KMS it looks like an MD5 and is none."""
    return _telling(info.etag) and not (info.attributes.server_side_encryption or "").startswith("aws:kms")


def look(api: Api, location: Location, error: OSError) -> Info | None:
    """What is at *location* after a request that failed with *error*; None where there is nothing.

    Where that cannot be seen either, the outcome is as unknown as *error* leaves it.
    """
    try:
        return refusals.head(api, location)
    except FileNotFoundError:
        return None
    except OSError:
        pass
    if doubt_of(error) == "lost":
        leave_unknown(error, location)
    raise error


def leave_unknown(error: OSError, location: Location) -> NoReturn:
    """Raise ``OutcomeUnknownError``: nobody can say whether the change that failed with *error* was made."""
    text = f"The answer was lost ({error.strerror}), and the object does not tell whether the change was made"
    _raise_as(errors.OutcomeUnknownError(errno.EIO, text, str(location)), error)


def _raise_as(mine: OSError, theirs: OSError) -> NoReturn:
    """Raise *mine* with the store's own words and the cause of *theirs*."""
    request_id = getattr(theirs, "request_id", None)
    errors.describe(mine, store_code=store_code_of(theirs), status=status_of(theirs), request_id=request_id)
    raise mine from theirs.__cause__ or theirs


def pinned(api: Api, origin: Source, profile: Profile, request: Callable[[Source], _Reply]) -> _Reply:
    """Make a copying *request* for the version of *origin*, or for what is there if the server cannot tell.

    Swift refuses an object that was written in parts under its own ETag, because it compares that with another one.
    """
    try:
        return request(origin)
    except FileNotFoundError as error:
        if getattr(error, "store_code", None) != "NoSuchKey":  # a bucket or an upload: the target's
            raise
        gone = errors.not_found(origin.location)
        raise errors.describe(
            gone, store_code="NoSuchKey", status=status_of(error), request_id=getattr(error, "request_id", None)
        ) from error
    except OSError as error:
        known = profile.copy_source_condition or origin.etag is None or "-" not in origin.etag
        if known or status_of(error) != 412 or doubt_of(error) is not None:
            raise
        if api.head(origin.location, version_id=origin.version_id).etag != origin.etag:
            raise
    return request(replace(origin, etag=None))
