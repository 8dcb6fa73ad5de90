"""Errors: everything is an OSError, and of the builtin class that Python already has for it.

Code that was written for files catches ``FileNotFoundError`` and looks at ``errno`` and
``filename``; so those are what it gets. A store's own words travel along as plain attributes
(``store_code``, ``status``, ``request_id``), and the store's own exception as ``__cause__``.
Only what Python has no class for is defined here, each still an ``OSError``.

All of them pickle, attributes included, because ``OSError`` does.
"""

from __future__ import annotations

import errno
import io
import os
from typing import TypeVar

__all__ = [
    "InvalidArgumentError",
    "ObjectChangedError",
    "OutcomeUnknownError",
    "changed",
    "describe",
    "exists",
    "invalid",
    "is_a_directory",
    "no_driver",
    "not_a_directory",
    "not_found",
    "os_error",
    "tried",
    "unsupported",
]


class InvalidArgumentError(OSError, ValueError):
    """The call itself is wrong: a malformed URL, an impossible mode, an unknown option (EINVAL).

    It is a ``ValueError`` too, which is what the builtin ``open`` raises for its own arguments.
    """


class ObjectChangedError(OSError):
    """The object is no longer the version that this handle or call was about (ESTALE).

    A reader never mixes two versions: it raises this. Open the object again to read the new one.
    """


class OutcomeUnknownError(OSError):
    """A change was sent, its answer was lost, and looking at the object did not settle it (EIO).

    It may have happened or not: look at the object before you repeat the change.
    """


E = TypeVar("E", bound=OSError)


def describe(error: E, *, store_code: str | None = None, status: int | None = None, request_id: str | None = None) -> E:
    """Attach the store's own words to an error and return it: its code, HTTP status and request id."""
    error.store_code = store_code  # type: ignore[attr-defined]
    error.status = status  # type: ignore[attr-defined]
    error.request_id = request_id  # type: ignore[attr-defined]
    return error


def tried(error: E, attempts: int, seconds: float) -> E:
    """Add to an error how often its request was tried and how long all of it took, and return it.

    They are its attributes ``attempts`` and ``elapsed`` (seconds), and part of its text where it was more than once.

    >>> from storagekit.errors import os_error, tried
    >>> import errno
    >>> print(tried(os_error(errno.EBUSY, "s3://bucket/key"), 3, 2.44))
    [Errno 16] Device or resource busy (3 attempts in 2.4 s): 's3://bucket/key'
    """
    error.attempts, error.elapsed = attempts, seconds  # type: ignore[attr-defined]
    if attempts > 1:
        error.strerror = f"{error.strerror} ({attempts} attempts in {seconds:.1f} s)"
        error.args = (error.errno, error.strerror)  # which is what pickles
    return error


def os_error(code: int, filename: object, message: str | None = None, *, hint: str | None = None) -> OSError:
    """The builtin exception for an ``errno`` value, as ``OSError(errno, strerror, filename)`` chooses it.

    *message* replaces the system's own text (``os.strerror``); *hint* is added to it after a
    semicolon and says what to do. *filename* is turned to text, so that the error pickles.

    >>> from storagekit.errors import os_error
    >>> import errno
    >>> os_error(errno.ENOENT, "s3://bucket/key", hint="check the spelling")
    FileNotFoundError(2, 'No such file or directory; check the spelling')
    """
    text = message or os.strerror(code)
    return OSError(code, f"{text}; {hint}" if hint else text, str(filename))


def invalid(filename: object, message: str) -> InvalidArgumentError:
    """An ``InvalidArgumentError`` about *filename*; *message* says what is wrong and what would be right."""
    return InvalidArgumentError(errno.EINVAL, message, str(filename))


def changed(filename: object, message: str = "The object changed while it was being used") -> ObjectChangedError:
    """An ``ObjectChangedError`` about *filename*."""
    return ObjectChangedError(errno.ESTALE, message, str(filename))


def not_found(filename: object, hint: str | None = None) -> OSError:
    """``FileNotFoundError`` (ENOENT)."""
    return os_error(errno.ENOENT, filename, hint=hint)


def exists(filename: object, hint: str | None = None) -> OSError:
    """``FileExistsError`` (EEXIST)."""
    return os_error(errno.EEXIST, filename, hint=hint)


def is_a_directory(filename: object) -> OSError:
    """``IsADirectoryError`` (EISDIR)."""
    return os_error(errno.EISDIR, filename)


def not_a_directory(filename: object) -> OSError:
    """``NotADirectoryError`` (ENOTDIR)."""
    return os_error(errno.ENOTDIR, filename)


def unsupported(filename: object, message: str) -> OSError:
    """``io.UnsupportedOperation`` with ``errno`` ENOTSUP and a filename; *message* says what to do instead."""
    return io.UnsupportedOperation(errno.ENOTSUP, message, str(filename))


def no_driver(filename: object, message: str) -> OSError:
    """``OSError`` with EPROTONOSUPPORT: no driver answers for this URL's scheme, and *message* says why."""
    return os_error(errno.EPROTONOSUPPORT, filename, message)
