"""Every error of S3 and of the way to it, as the ``OSError`` that Python has for it, decided in this one place.

Two kinds arrive here. A *reply* of the store with a code and a status (``reply_error``); a failure
of the *transport* or of the client's own *set-up*, where there is no reply (``client_error``). Library
exceptions are told apart by their class names, in a table, so that this module imports no client
library and serves any implementation of the port.

Choices that are not obvious:

* A ``HEAD`` reply has no body, hence no code: its bare 404 says "no such object" even where the bucket is missing.
  Any other 404 names its code, or at least the request: one without either is a gateway's page, and tells nothing.
* ``SlowDown`` and other calls for patience are EBUSY: the store is well, it wants fewer requests.
* A failed precondition is ``ObjectChangedError`` here; the writer turns it into ``FileExistsError`` where the
  condition was that nothing exists.
* An error of the system that is about a local file is not passed on as it is: FileNotFoundError is for objects.
* The store's message is quoted, except beside credentials: what it says there may repeat them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from types import FrameType
from typing import Literal, TypeAlias

from storagekit import errors
from storagekit.location import Location

__all__ = [
    "BUSY_CODES",
    "BUSY_STATUS",
    "BadHeaderError",
    "Doubt",
    "StoreError",
    "check_deleted",
    "client_error",
    "doubt_of",
    "is_bad_header",
    "is_broken",
    "is_busy",
    "is_cut",
    "is_passing",
    "is_unreadable",
    "is_unsent",
    "is_untrusted",
    "refusal_of",
    "reply_error",
    "status_doubt",
    "status_of",
    "store_code_of",
    "store_error",
    "tells_credentials",
]

# Which permission an operation needs, for the hint in a PermissionError.
_PERMISSIONS = {
    "GetObject": "s3:GetObject (without s3:ListBucket S3 refuses keys that do not exist, too)",
    "HeadObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject, and s3:GetObject on the source",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CopyObject": "s3:PutObject, and s3:GetObject on the source",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListBuckets": "s3:ListAllMyBuckets",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}

# Codes about who is asking: errno EACCES, each with what to do.
_CREDENTIALS = {
    "InvalidAccessKeyId": "the access key id is not known to the store",
    "SignatureDoesNotMatch": "the secret access key is wrong, or something on the way changed the request",
    "ExpiredToken": "the session token has expired: renew the credentials",
    "ExpiredTokenException": "the session token has expired: renew the credentials",
    "InvalidToken": "the session token is not valid",
    "TokenRefreshRequired": "the session token has expired: renew the credentials",
    "RequestTimeTooSkewed": "this computer's clock and the store's differ too much",
    "UnsupportedAlgorithm": "the server takes signed requests only, or another signature",
    "AccountProblem": "there is a problem with the account",
    "InvalidObjectState": "the object is archived: restore it first",
}

_NOT_FOUND = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
# What asks for patience: the store is well, it wants fewer requests.
BUSY_STATUS = frozenset({429, 503})
BUSY_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
# What another attempt may get past.
_PASSING_STATUS = BUSY_STATUS | {500, 502, 504}
_PASSING_CODES = BUSY_CODES | {
    "InternalError",
    "PriorRequestNotComplete",
    "RequestTimeout",
    "RequestTimeoutException",
}
# Exceptions of a client library where a connection could not be made or broke, or was not answered with HTTP.
_BROKEN = {"ConnectionError", "HTTPClientError", "MalformedReplyError"}
# Another writer is at it, which is no reason to slow down.
_CONFLICTS = {"ConditionalRequestConflict", "OperationAborted"}
_INVALID = {
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidObjectName",
    "InvalidRequest",
    "InvalidStorageClass",
    "InvalidEncryptionAlgorithmError",
    "InvalidPart",
    "InvalidPartOrder",
    "EntityTooSmall",
    "MetadataTooLarge",
}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}

# What a client library calls its errors that come before any reply (botocore's names), and what they mean.
_SETUP_ERRNO = {
    "NoCredentialsError": (
        errno.EACCES,
        "no credentials were found: give a profile, set AWS_ACCESS_KEY_ID, or anonymous",
    ),
    "PartialCredentialsError": (errno.EACCES, "the credentials are incomplete"),
    "CredentialRetrievalError": (errno.EACCES, "the credentials could not be fetched"),
    "TokenRetrievalError": (errno.EACCES, "the sign-in could not be refreshed: sign in again"),
    "SSOError": (errno.EACCES, "the sign-in has expired: sign in again"),
}
_INVALID_SETUP = {
    "ProfileNotFound",
    "NoRegionError",
    "InvalidRegionError",
    "ParamValidationError",
    "ConfigParseError",
    "UnsupportedS3ConfigurationError",
    "EndpointVariantError",
    "ValueError",
    "TypeError",
}
_TIMEOUTS = {"ConnectTimeoutError", "ReadTimeoutError", "ConnectTimeout", "ReadTimeout", "TimeoutError"}
_CUT = {
    "ConnectionClosedError",
    "IncompleteReadError",
    "IncompleteRead",
    "ResponseStreamingError",
    "ProtocolError",
    "HTTPClientError",
    "CutReplyError",
}
# A TLS connection that ended in the midst, without a word and with one: no matter of certificates.
_TLS_ENDS = {"SSLEOFError", "SSLZeroReturnError"}


# Exceptions of a client library before anything was sent.
_UNSENT = {"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError", "UnsentError", "BadHeaderError"}
# Reasons of a TLS handshake that failed. Any other failure of TLS, such as an early end, may come after the request.
_HANDSHAKE = {
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
}

# The errors of the system that are about the way to the store (or about having no more sockets). Another one is about
# a file or a program of this computer, and would be a lie about the URL: a missing token file is no missing object.
_NETWORK_ERRNO = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ETIMEDOUT,
    errno.EADDRNOTAVAIL,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
}


class StoreError(Exception):
    """What the store said of a failure: its code, the status, its message and the id of the request."""

    def __str__(self) -> str:
        code, status, message, request_id = self.args
        return f"{code} (status {status}, request id {request_id}): {message}"


def store_error(code: str, status: int, message: str, request_id: str | None) -> StoreError:
    """The cause of a ``reply_error`` where there is no exception of a client library."""
    return StoreError(code, status, "" if code in _CREDENTIALS else message, request_id)


class BadHeaderError(Exception):
    """A header cannot be sent as it is. It says no more, because the header may be a secret."""


Doubt: TypeAlias = Literal["lost", "failed"] | None
"""What is not known of a change whose request failed. ``"lost"``: the answer to an attempt never came, so it may
yet happen. ``"failed"``: an attempt was answered with a server error, which usually means that it did not."""


def reply_error(
    operation: str,
    location: Location,
    *,
    code: str,
    status: int,
    message: str = "",
    request_id: str | None = None,
    doubt: Doubt = None,
) -> OSError:
    """The error for a reply of the store that is not a success."""
    if status == 404 and code == "404" and not request_id and not operation.startswith("Head"):
        text = f"{operation} was answered with status 404 by something that is no store"
        hint = "a gateway before it has no route, or the option endpoint_url names something else"
        error, doubt = errors.os_error(errno.EIO, location, text, hint=hint), doubt or "failed"
    else:
        error = _reply_error(operation, location, code, status, message)
    errors.describe(error, store_code=code, status=status, request_id=request_id)
    error.doubt = doubt  # type: ignore[attr-defined]
    return error


def _reply_error(operation: str, location: Location, code: str, status: int, message: str) -> OSError:
    said = f"{code}: {message}" if message and message != code else code
    if code == "NoSuchBucket" or (operation == "HeadBucket" and status == 404):
        return errors.os_error(errno.ENOENT, location, f"the bucket {location.container} does not exist")
    if code in _CREDENTIALS:
        return errors.os_error(errno.EACCES, location, f"Permission denied ({code})", hint=_CREDENTIALS[code])
    if status == 412 or code == "PreconditionFailed":
        return errors.changed(location)
    if is_busy(status, code) or code in _CONFLICTS:
        return errors.os_error(errno.EBUSY, location, f"The store is busy ({said})")
    if status == 501 or code == "NotImplemented":
        return errors.unsupported(location, f"this server does not offer it: {operation} ({said})")
    if code == "KeyTooLongError" or (code == "InvalidObjectName" and len(location.path.encode()) > 1024):
        return errors.os_error(errno.ENAMETOOLONG, location, hint="a key has at most 1024 bytes")
    if code == "QuotaExceeded" or status == 507:
        return errors.os_error(errno.EDQUOT, location, f"Quota exceeded ({said})")
    if code == "EntityTooLarge":
        return errors.os_error(errno.EFBIG, location)
    if code == "RequestTimeout":
        return errors.os_error(errno.ETIMEDOUT, location, f"The request took too long ({said})")
    if code in _ELSEWHERE or status in (301, 307):
        return errors.os_error(
            errno.EIO, location, f"The bucket is elsewhere ({said})", hint="the option region_name may help"
        )
    if code == "NoSuchUpload":
        return errors.os_error(errno.ECANCELED, location, "The upload is gone: it was completed or aborted elsewhere")
    if code in _NOT_FOUND or status == 404:
        return errors.not_found(location)
    if status in (401, 403) or code.startswith("KMS."):
        return errors.os_error(errno.EACCES, location, f"Permission denied ({code})", hint=_grant(operation, said))
    if code == "400":
        hint = "a reply to HEAD says no more; an expired token or a wrong region are the usual reasons"
        return errors.os_error(errno.EIO, location, f"{operation} was refused with status 400", hint=hint)
    if code in _INVALID or status == 416:
        return errors.invalid(location, f"{operation} was refused ({said})")
    return errors.os_error(errno.EIO, location, f"{operation} failed with status {status} ({said})")


# How Amazon names the action that a policy does not allow.
_ACTION = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)")


def _grant(operation: str, said: str) -> str | None:
    """What to do about a refusal, of which the store has *said* something."""
    if "requester pays" in said.lower():
        return "the owner of this bucket does not pay for requests: the option request_payer='requester' says you do"
    if named := _ACTION.search(said):
        return f"grant {named[1]}"
    if said.startswith("KMS."):
        return f"the key that the object is encrypted with cannot be used ({said}); grant kms:Decrypt on it"
    if operation not in _PERMISSIONS:
        return None
    return f"the credentials must be right and allow {_PERMISSIONS[operation]}"


def is_busy(status: int, code: str) -> bool:
    """Whether a refusal asks for patience."""
    return status in BUSY_STATUS or code in BUSY_CODES


def is_passing(status: int, code: str) -> bool:
    """Whether another attempt may get past a refusal."""
    return status in _PASSING_STATUS or code in _PASSING_CODES


def is_broken(error: BaseException) -> bool:
    """Whether another attempt may get past a client library's exception, which is about the way to the store."""
    return bool(_names(error) & _BROKEN) and not is_bad_header(error) and not is_untrusted(error)


def is_unreadable(error: BaseException) -> bool:
    """Whether a client library's exception is about an answer of success that is no store's."""
    return "botocore.parsers" in _modules(error)


def check_deleted(status: int, location: Location) -> None:
    """Raise where a delete was answered with another success than its own.

    That is 204 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html). What else is no refusal may
    be a gateway's page, so a look has to tell.
    """
    if status != 204:
        text = "that is no store's answer"
        raise reply_error("DeleteObject", location, code=str(status), status=status, message=text, doubt="failed")


def client_error(error: BaseException, operation: str, location: Location, doubt: Doubt = None) -> OSError:
    """The error for a request that got no reply, or whose body broke off; *error* is the client library's exception."""
    mapped = errors.describe(_client_error(error, operation, location))
    for cause in _causes(error):
        if getattr(cause, "request", None) is not None and type(cause).__module__.startswith("botocore."):
            cause.request = None  # type: ignore[attr-defined]  # its headers are signed, and may hold a token
    mapped.doubt = doubt  # type: ignore[attr-defined]
    return mapped


def _client_error(error: BaseException, operation: str, location: Location) -> OSError:
    if is_bad_header(error):
        text = "a credential or an option holds characters that no header of a request can have, such as a line end"
        return errors.invalid(location, text)
    names = _names(error)
    for name, (number, advice) in _SETUP_ERRNO.items():
        if name in names:
            return errors.os_error(number, location, hint=advice)
    chain = list(_causes(error))
    if failures := [cause for cause in chain if "SSLError" in _names(cause)]:
        if any(_names(cause) & _TLS_ENDS for cause in failures):
            return errors.os_error(errno.ECONNRESET, location, "The connection to the store was cut")
        reason = next((r for f in failures if isinstance(r := getattr(f, "reason", None), str)), str(failures[0]))
        hint = "the option ca_bundle names the certificates to trust"
        return errors.os_error(errno.EPROTO, location, f"TLS to the store failed ({reason})", hint=hint)
    if names & _TIMEOUTS or any(isinstance(cause, TimeoutError) for cause in chain):
        return errors.os_error(errno.ETIMEDOUT, location, f"{operation} got no answer in time")
    if any("gaierror" in _names(cause) for cause in chain):
        return errors.os_error(
            errno.EHOSTUNREACH, location, "The endpoint's host name was not found", hint="see endpoint_url"
        )
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in _NETWORK_ERRNO:
            refused = cause.errno == errno.ECONNREFUSED
            question = "is endpoint_url right, and the server running?" if refused else None
            return errors.os_error(cause.errno, location, hint=question)
    if "MalformedReplyError" in names:
        return errors.os_error(errno.EIO, location, f"{operation} was answered with no HTTP: {error}")
    for cause in chain:
        if isinstance(cause, OSError) and cause.filename is not None:
            return _local_error(cause, operation, location)
    if names & _CUT or any(type(cause).__name__ in _CUT for cause in chain):
        return errors.os_error(errno.ECONNRESET, location, "The connection to the store was cut")
    if is_unreadable(error):  # a field that is no number; it is not the caller's
        text = f"{operation} was answered with something that is no store's answer: {type(error).__name__}"
        return errors.os_error(errno.EIO, location, text)
    if names & _INVALID_SETUP:
        return errors.invalid(location, str(error))
    return errors.os_error(errno.EIO, location, f"{operation} failed ({type(error).__name__})")


def _local_error(cause: OSError, operation: str, location: Location) -> OSError:
    """The error for a file or a program of this computer that the client needed: mostly, to find its credentials."""
    what = f"{cause.strerror}: {cause.filename}"
    if any(name.rpartition(".")[2] in ("credentials", "tokens") for name in _modules(cause)):
        return errors.os_error(errno.EACCES, location, f"The credentials could not be fetched ({what})")
    return errors.os_error(errno.EIO, location, f"{operation} failed on this computer ({what})")


def _modules(error: BaseException) -> Iterator[str]:
    """The modules that an exception came through."""
    trace = error.__traceback__
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next


def _names(error: BaseException) -> set[str]:
    """The names of an exception's classes."""
    return {base.__name__ for base in type(error).__mro__}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it wraps: causes, context, and the ``error`` that botocore keeps among its fields.

    Not what the caller was handling when he called: Python makes that the context of whatever fails meanwhile, but it
    is no part of the failure. It was caught further out than *error* was, or its traceback was cleared; what was
    handled further in has one.
    """
    further_out = _callers(error)
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        fields = getattr(cause, "kwargs", None)
        inner = fields.get("error") if isinstance(fields, dict) else None
        waiting += [inner, getattr(cause, "reason", None), cause.__cause__, *cause.args]
        trace = None if cause.__context__ is None else cause.__context__.__traceback__
        if trace is not None and trace.tb_frame not in further_out:
            waiting.append(cause.__context__)


def _callers(error: BaseException) -> set[FrameType]:
    """The frames that wait for the one which has caught *error*."""
    frames: set[FrameType] = set()
    frame = None if error.__traceback__ is None else error.__traceback__.tb_frame.f_back
    while frame is not None:
        frames.add(frame)
        frame = frame.f_back
    return frames


def status_of(error: OSError) -> int | None:
    """The HTTP status of the reply that an error is about, None where there was none."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def store_code_of(error: OSError) -> str | None:
    """The store's code for an error, None where there was no reply."""
    code = getattr(error, "store_code", None)
    return code if isinstance(code, str) else None


def doubt_of(error: OSError) -> Doubt:
    """Whether the request that failed, in any of its attempts, may have been carried out all the same."""
    doubt = getattr(error, "doubt", None)
    return doubt if doubt in ("lost", "failed") else None


def is_unsent(error: BaseException) -> bool:
    """Whether a client library's exception says that no byte of the request has left."""
    names = _names(error)
    if names & _UNSENT or is_bad_header(error):
        return True
    if "SSLError" not in names:
        return False
    return is_untrusted(error) or any(getattr(cause, "reason", None) in _HANDSHAKE for cause in _causes(error))


def is_untrusted(error: BaseException) -> bool:
    """Whether the server's certificate was refused, which another attempt does not change."""
    return any("SSLCertVerificationError" in _names(cause) for cause in _causes(error))


def is_cut(error: BaseException) -> bool:
    """Whether the other side has ended the connection."""
    return bool(_names(error) & ({"ConnectionError", "CutReplyError"} | _TLS_ENDS))


def is_bad_header(error: BaseException) -> bool:
    """Whether a header could not be sent as it is. Such an exception quotes the header, which may be a secret."""
    if isinstance(error, BadHeaderError | UnicodeEncodeError):
        return True
    # What botocore's signer meets where the standard library took a value that is no text for an encoded header.
    if isinstance(error, AttributeError) and "'Header' object" in str(error):
        return True
    if type(error).__name__ != "HTTPClientError":
        return False
    return any(
        isinstance(cause, UnicodeEncodeError) or (isinstance(cause, ValueError) and "nvalid header" in str(cause))
        for cause in _causes(error)
    )


def tells_credentials(error: BaseException, mapped: OSError) -> bool:
    """Whether a client library's exception may hold credentials, and is better not shown beside the *mapped* one."""
    return is_bad_header(error) or store_code_of(mapped) in _CREDENTIALS


def refusal_of(error: OSError) -> StoreError | None:
    """What the store said, as the cause of an *error* whose own cause is not shown; None where it said nothing."""
    code, status = store_code_of(error), status_of(error)
    if code is None or status is None:
        return None
    return store_error(code, status, "", getattr(error, "request_id", None))


def status_doubt(status: int) -> Doubt:
    """The doubt that a reply's status leaves about a change.

    A gateway's 502 or 504 says nothing about what the store behind it did. An error in a reply of status 200
    counts as a server error: S3 begins the answer of a long Complete or Copy before its end.
    """
    if status in (502, 504):
        return "lost"
    return "failed" if status >= 500 or status < 300 else None
