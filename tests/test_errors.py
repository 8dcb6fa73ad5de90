"""errors: the builtin classes, with errno, strerror and filename, and whatever the store said; all of them pickle."""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Callable

import pytest

from storagekit import errors

URL = "s3://bucket/key"

MAKERS: list[tuple[Callable[[], OSError], type[OSError], int]] = [
    (lambda: errors.not_found(URL), FileNotFoundError, errno.ENOENT),
    (lambda: errors.exists(URL), FileExistsError, errno.EEXIST),
    (lambda: errors.is_a_directory(URL), IsADirectoryError, errno.EISDIR),
    (lambda: errors.not_a_directory(URL), NotADirectoryError, errno.ENOTDIR),
    (lambda: errors.changed(URL), errors.ObjectChangedError, errno.ESTALE),
    (lambda: errors.invalid(URL, "wrong"), errors.InvalidArgumentError, errno.EINVAL),
    (lambda: errors.unsupported(URL, "do otherwise"), io.UnsupportedOperation, errno.ENOTSUP),
    (lambda: errors.os_error(errno.EACCES, URL), PermissionError, errno.EACCES),
    (lambda: errors.os_error(errno.ECONNREFUSED, URL), ConnectionRefusedError, errno.ECONNREFUSED),
    (lambda: errors.os_error(errno.ETIMEDOUT, URL), TimeoutError, errno.ETIMEDOUT),
    (lambda: errors.OutcomeUnknownError(errno.EIO, "unknown", URL), errors.OutcomeUnknownError, errno.EIO),
]


@pytest.mark.parametrize(("make", "kind", "code"), MAKERS, ids=[kind.__name__ for _, kind, _ in MAKERS])
def test_class_errno_and_filename(make: Callable[[], OSError], kind: type[OSError], code: int) -> None:
    error = make()
    assert type(error) is kind
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (code, URL)
    assert error.strerror
    assert URL in str(error)


@pytest.mark.parametrize(("make", "kind", "code"), MAKERS, ids=[kind.__name__ for _, kind, _ in MAKERS])
def test_pickle_keeps_everything(make: Callable[[], OSError], kind: type[OSError], code: int) -> None:
    error = errors.describe(make(), store_code="NoSuchKey", status=404, request_id="r1")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.errno, again.strerror, again.filename) == (code, error.strerror, URL)
    assert vars(again) == {"store_code": "NoSuchKey", "status": 404, "request_id": "r1"}


def test_describe_returns_the_same_error_and_clears_what_is_not_known() -> None:
    error = errors.not_found(URL)
    assert errors.describe(error) is error
    assert (error.store_code, error.status, error.request_id) == (None, None, None)  # type: ignore[attr-defined]


def test_the_text_is_the_systems_unless_given_and_a_hint_follows() -> None:
    assert errors.os_error(errno.ENOENT, URL).strerror == os.strerror(errno.ENOENT)
    assert errors.os_error(errno.ENOENT, URL, "no such bucket").strerror == "no such bucket"
    assert errors.os_error(errno.ENOENT, URL, "no", hint="look").strerror == "no; look"
    assert errors.not_found(URL, "look").strerror == os.strerror(errno.ENOENT) + "; look"
    assert errors.exists(URL, "look").strerror == os.strerror(errno.EEXIST) + "; look"


def test_a_wrong_argument_is_a_value_error_and_an_unsupported_operation_too() -> None:
    assert isinstance(errors.invalid(URL, "wrong"), ValueError)
    assert isinstance(errors.unsupported(URL, "no"), ValueError)  # as io.UnsupportedOperation always was


def test_the_filename_becomes_text() -> None:
    class Place:
        def __str__(self) -> str:
            return URL

    assert errors.not_found(Place()).filename == URL
    assert errors.unsupported(Place(), "no").filename == URL
    assert errors.invalid(Place(), "no").filename == URL
