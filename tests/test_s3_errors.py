"""Errors of S3: the right builtin class, errno and filename, the store's own words, and no secret anywhere."""

from __future__ import annotations

import errno
import io
import pickle
import socket
import ssl
import time
import traceback
from pathlib import Path

import pytest
from s3_scripted import CLOSE, Scripted
from s3_support import Bucket

from storagekit import Storage
from storagekit.errors import InvalidArgumentError, ObjectChangedError
from storagekit.location import Location
from storagekit_s3.driver import S3Driver
from storagekit_s3.errors import client_error, doubt_of, is_unsent, reply_error, status_doubt

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "a/key")


@pytest.mark.parametrize(
    ("code", "status", "kind", "number"),
    [
        ("NoSuchKey", 404, FileNotFoundError, errno.ENOENT),
        ("404", 404, FileNotFoundError, errno.ENOENT),
        ("NoSuchBucket", 404, FileNotFoundError, errno.ENOENT),
        ("AccessDenied", 403, PermissionError, errno.EACCES),
        ("403", 403, PermissionError, errno.EACCES),
        ("InvalidAccessKeyId", 403, PermissionError, errno.EACCES),
        ("ExpiredToken", 400, PermissionError, errno.EACCES),
        ("PreconditionFailed", 412, ObjectChangedError, errno.ESTALE),
        ("InvalidRange", 416, InvalidArgumentError, errno.EINVAL),
        ("InvalidArgument", 400, InvalidArgumentError, errno.EINVAL),
        ("SlowDown", 503, OSError, errno.EBUSY),
        ("ConditionalRequestConflict", 409, OSError, errno.EBUSY),
        ("NotImplemented", 501, io.UnsupportedOperation, errno.ENOTSUP),
        ("KeyTooLongError", 400, OSError, errno.ENAMETOOLONG),
        ("EntityTooLarge", 400, OSError, errno.EFBIG),
        ("QuotaExceeded", 403, OSError, errno.EDQUOT),
        ("RequestTimeout", 400, TimeoutError, errno.ETIMEDOUT),
        ("PermanentRedirect", 301, OSError, errno.EIO),
        ("InternalError", 500, OSError, errno.EIO),
        ("Odd", 400, OSError, errno.EIO),
    ],
)
def test_replies(code: str, status: int, kind: type[OSError], number: int) -> None:
    error = reply_error("GetObject", KEY, code=code, status=status, message="words", request_id="r1", doubt="failed")
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert type(each) is kind
        assert each.errno == number
        assert each.filename == KEY.url
        words = [getattr(each, name) for name in ("store_code", "status", "request_id")]
        assert words == [code, status, "r1"]
        assert doubt_of(each) == "failed"
    assert str(again) == str(error)


def test_hints() -> None:
    assert "s3:GetObject" in str(reply_error("GetObject", KEY, code="AccessDenied", status=403))
    assert "s3:ListBucket" in str(reply_error("ListObjectsV2", KEY, code="AccessDenied", status=403))
    assert "the bucket box does not exist" in str(reply_error("GetObject", KEY, code="NoSuchBucket", status=404))
    assert "the bucket box does not exist" in str(reply_error("HeadBucket", KEY, code="404", status=404))


def test_a_message_beside_credentials_is_not_repeated() -> None:
    error = reply_error("GetObject", KEY, code="SignatureDoesNotMatch", status=403, message="you sent hunter2")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("status", "doubt"), [(200, "failed"), (400, None), (412, None), (500, "failed"), (504, "lost")]
)
def test_what_a_status_leaves_in_doubt(status: int, doubt: str | None) -> None:
    assert status_doubt(status) == doubt


def named(name: str, *bases: type[Exception]) -> Exception:
    error: Exception = type(name, bases or (Exception,), {})("words")
    return error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (named("NoCredentialsError"), errno.EACCES),
        (named("ProfileNotFound"), errno.EINVAL),
        (named("ReadTimeoutError"), errno.ETIMEDOUT),
        (named("IncompleteReadError"), errno.ECONNRESET),
        (named("ProtocolError"), errno.ECONNRESET),
        (named("SSLError"), errno.EPROTO),
        (ssl.SSLError(1, "bad record"), errno.EPROTO),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), errno.ECONNRESET),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"), errno.ECONNRESET),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), errno.ECONNREFUSED),
        (socket.gaierror(-2, "unknown"), errno.EHOSTUNREACH),
        (named("Mystery"), errno.EIO),
    ],
)
def test_failures_without_a_reply(error: Exception, number: int) -> None:
    mapped = client_error(error, "GetObject", KEY, "lost")
    assert (mapped.errno, mapped.filename, doubt_of(mapped)) == (number, KEY.url, "lost")
    assert pickle.loads(pickle.dumps(mapped)).errno == number


def test_the_cause_inside_is_what_counts() -> None:
    outer = named("EndpointConnectionError")
    outer.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "no")
    assert isinstance(client_error(outer, "GetObject", KEY), ConnectionRefusedError)
    assert is_unsent(outer)
    assert not is_unsent(named("ReadTimeoutError"))


def test_a_tls_connection_that_ends_is_no_matter_of_certificates() -> None:
    outer = named("SSLError", type("ConnectionError", (Exception,), {}))  # as botocore's is one
    outer.__cause__ = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert "was cut" in str(client_error(outer, "PutObject", KEY))
    outer.__cause__ = ssl.SSLCertVerificationError(1, "no")
    assert "ca_bundle" in str(client_error(outer, "PutObject", KEY))


def test_tls_fails_before_the_request_only_in_its_handshake() -> None:
    for inner, unsent in (
        (ssl.SSLCertVerificationError(1, "no"), True),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False),
        (ssl.SSLError(1, "bad record"), False),
    ):
        outer = named("SSLError")
        outer.__cause__ = inner
        assert is_unsent(outer) is unsent


def test_a_local_file_is_not_the_object() -> None:
    try:
        with open("/nonexistent/file"):
            pass
    except OSError as missing:
        error = client_error(missing, "connecting", KEY)
    assert (type(error), error.errno, error.filename) == (OSError, errno.EIO, KEY.url)
    assert "/nonexistent/file" in str(error)


@pytest.mark.parametrize("how", ["process", "token"])
def test_a_missing_source_of_credentials(
    no_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    lines = ["[profile p]", "region = us-east-1"]
    if how == "process":
        lines.append("credential_process = /nonexistent/source")
    else:
        lines += ["role_arn = arn:aws:iam::123456789012:role/x", "web_identity_token_file = /nonexistent/source"]
    tmp_path.joinpath("config").write_text("\n".join(lines))
    options = {"profile": "p", "endpoint_url": "http://127.0.0.1:1"}
    with pytest.raises(PermissionError, match="/nonexistent/source") as failed:
        S3Driver().stat(KEY, options)
    assert (failed.value.errno, failed.value.filename) == (errno.EACCES, KEY.url)


def test_a_token_that_no_header_can_hold_is_not_shown(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hunter2\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        writer = S3Driver().open_write(KEY, {"endpoint_url": endpoint, "region_name": "r", "read_timeout": 1}, None)
        with pytest.raises(InvalidArgumentError, match="credential") as wrong:
            writer.put([b"data"])
    assert "hunter2" not in "".join(traceback.format_exception(wrong.value))
    assert (wrong.value.__cause__, wrong.value.__context__) == (None, None)
    assert doubt_of(wrong.value) is None


def test_missing_things(bucket: Bucket) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        bucket.driver.open_read(bucket.at("missing"), bucket.options, 10)
    assert missing.value.filename == bucket.at("missing").url
    # The store's error, as the transport has it.
    assert type(missing.value.__cause__).__name__ in ("NoSuchKey", "StoreError")
    assert "NoSuchKey" in str(missing.value.__cause__)
    with pytest.raises(FileNotFoundError, match="the bucket no-such-bucket-here does not exist"):
        bucket.driver.open_read(Location("s3", "no-such-bucket-here", "key"), bucket.options, 10)
    with pytest.raises(FileNotFoundError, match="the bucket no-such-bucket-here does not exist"):
        bucket.driver.entries(Location("s3", "no-such-bucket-here", ""), bucket.options, True, None, "")
    with pytest.raises(FileNotFoundError):
        bucket.driver.stat(bucket.at("missing"), bucket.options)


def test_a_wrong_secret(on_rclone: Bucket) -> None:
    options = {**on_rclone.options, "aws_secret_access_key": "hunter2hunter2"}
    with pytest.raises(PermissionError) as denied:
        on_rclone.driver.open_read(on_rclone.at("key"), options, 10)
    assert denied.value.errno == errno.EACCES
    assert denied.value.store_code == "SignatureDoesNotMatch"  # type: ignore[attr-defined]
    assert "hunter2" not in repr(denied.value)
    assert "hunter2" not in str(denied.value.__cause__)
    with pytest.raises(PermissionError):
        on_rclone.driver.stat(on_rclone.at("key"), options)
    with pytest.raises(PermissionError):
        on_rclone.write("key", b"data", aws_secret_access_key="hunter2hunter2")


def test_an_unsigned_request_where_signed_ones_are_wanted(on_rclone: Bucket) -> None:
    options = {"endpoint_url": on_rclone.options["endpoint_url"], "anonymous": True}
    with pytest.raises(PermissionError):
        on_rclone.driver.open_read(on_rclone.at("key"), options, 10)


def test_a_refused_connection_fails_in_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        options = {
            "endpoint_url": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
        }
        begin = time.monotonic()
        with pytest.raises(ConnectionRefusedError) as refused:
            S3Driver().open_read(KEY, options, 10)
    assert time.monotonic() - begin < 10
    assert refused.value.filename == KEY.url
    assert doubt_of(refused.value) is None


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = {
            "endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
            "read_timeout": 0.2,
        }
        with pytest.raises(TimeoutError) as late:
            S3Driver().open_read(KEY, options, 10)
    assert late.value.errno == errno.ETIMEDOUT
    assert doubt_of(late.value) == "lost"


def test_no_credentials(no_aws: None) -> None:
    with pytest.raises(PermissionError, match="no credentials"):
        S3Driver().open_read(KEY, {"endpoint_url": "http://127.0.0.1:1"}, 10)


def test_an_unknown_profile(no_aws: None) -> None:
    with pytest.raises(InvalidArgumentError, match="nowhere") as unknown:
        S3Driver().stat(KEY, {"profile": "nowhere"})
    assert unknown.value.filename == KEY.url


def test_an_untrusted_certificate(on_tls: Bucket) -> None:
    options = {name: value for name, value in on_tls.options.items() if name != "ca_bundle"}
    with pytest.raises(OSError, match="ca_bundle") as untrusted:
        on_tls.driver.stat(on_tls.at("key"), options)
    assert untrusted.value.errno == errno.EPROTO


def test_a_file_of_certificates_that_is_missing(on_tls: Bucket) -> None:
    options = {**on_tls.options, "ca_bundle": "/no/such/file.pem"}
    with pytest.raises(InvalidArgumentError, match="ca_bundle") as missing:
        on_tls.driver.stat(on_tls.at("key"), options)
    assert missing.value.filename == on_tls.at("key").url


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize(
    "handled",
    [
        FileNotFoundError(2, "none", "/x"),
        TimeoutError(),
        ConnectionRefusedError(111, "no"),
        ssl.SSLCertVerificationError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_caller_was_handling_is_no_part_of_it(
    handled: OSError, timeout: float | None, cleared: bool, transport: str
) -> None:
    options = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "transport": transport, "max_attempts": 1}
    with Scripted(always=lambda _: [CLOSE]) as server:
        options |= {"endpoint_url": server.endpoint}
        with Storage(options={"s3": options}, timeout=timeout) as storage:
            try:
                raise handled
            except OSError as error:
                if cleared:  # as programs do that keep an exception, but not the frames
                    error.__traceback__ = None
                with pytest.raises(ConnectionResetError) as failed:
                    storage.getsize("s3://box/key")
                with pytest.raises(OSError, match="The answer was lost") as unknown:
                    storage.open("s3://box/key", "wb").close()
    assert doubt_of(failed.value) == "lost"
    assert "The connection to the store was cut" in str(unknown.value)
