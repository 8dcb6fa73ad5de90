"""Refusals told apart: each names what has to be granted, although the answer to a HEAD has no words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from s3_scripted import CLOSE, Asked, Scripted, reply

import storagekit
from storagekit.location import Location
from storagekit.storage import Storage
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Answer, Faults
from storagekit_conformance.servers import S3Server
from storagekit_s3.errors import reply_error

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "a/key")


def words(code: str, message: str = "Access Denied") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>R1</RequestId></Error>".encode()


class Place:
    """A key on moto behind a proxy that refuses what it is told to."""

    def __init__(self, server: S3Server, faults: Faults, transport: str, bucket: str) -> None:
        self.faults = faults
        self.storage = storagekit.Storage(options={"s3": server.options() | {"transport": transport}})
        self.url = f"s3://{bucket}/folder/object"
        with self.storage.open(self.url, "wb") as file:
            file.write(b"data")

    def error(self, url: str | None = None, status: int = 403, **answers: bytes) -> OSError:
        """What ``stat`` raises where a HEAD is refused, and other operations with these documents."""
        with ExitStack() as armed:
            armed.enter_context(self.faults.armed(Answer(b"", status), "stat", times=None))
            for operation, body in answers.items():
                armed.enter_context(self.faults.armed(Answer(body, status), operation, times=None, certain=False))
            with pytest.raises(OSError) as caught:
                self.storage.stat(url or self.url)
            if url is None:
                with pytest.raises(OSError):
                    self.storage.exists(self.url)
        return caught.value


@pytest.fixture
def place(moto: S3Server, transport: str) -> Iterator[Place]:
    with fault_proxy(moto) as (seen, faults):
        made = Place(seen, faults, transport, moto.new_bucket())
        yield made
        made.storage.close()
        faults.check()


@pytest.mark.parametrize(
    ("status", "code", "message", "says"),
    [
        (400, "ExpiredToken", "The provided token has expired.", "the session token has expired: renew"),
        (403, "InvalidAccessKeyId", "unknown", "the access key id is not known to the store"),
        (403, "SignatureDoesNotMatch", "differs", "the secret access key is wrong"),
        (403, "RequestTimeTooSkewed", "differs", "clock"),
        (
            403,
            "AccessDenied",
            "User: arn:aws:iam::1:user/x is not authorized to perform: s3:GetObject on resource: "
            '"arn:aws:s3:::b/k" because no identity-based policy allows the s3:GetObject action',
            "grant s3:GetObject",
        ),
        (
            403,
            "AccessDenied",
            "User: x is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext",
            "grant kms:Decrypt",
        ),
        (400, "KMS.DisabledException", "arn:aws:kms:::key/1 is disabled", "grant kms:Decrypt"),
        (403, "AccessDenied", "This is a Requester Pays bucket", "request_payer='requester'"),
        (403, "AllAccessDisabled", "All access to this object has been disabled", "s3:GetObject"),
    ],
)
def test_a_head_is_asked_again_in_words(place: Place, status: int, code: str, message: str, says: str) -> None:
    error = place.error(status=status, read=words(code, message))
    assert isinstance(error, PermissionError)
    assert (error.errno, error.filename) == (errno.EACCES, place.url)
    assert says in str(error)
    assert getattr(error, "store_code", None) == code


def test_allowed_to_list_and_not_to_read(place: Place) -> None:
    error = place.error(read=words("AccessDenied"))
    assert "allow s3:GetObject" in str(error)
    assert "may be missing" not in str(error)


def test_neither_allowed_to_read_nor_to_list(place: Place) -> None:
    error = place.error(read=words("AccessDenied"), list=words("AccessDenied"))
    assert isinstance(error, PermissionError)
    assert "which S3 tells only to those who are allowed s3:ListBucket" in str(error)


def test_only_the_head_is_refused(place: Place) -> None:
    error = place.error()
    assert isinstance(error, PermissionError)
    assert "s3:GetObject" in str(error)


def test_a_bucket(place: Place) -> None:
    bucket = place.url.rpartition("/folder")[0]
    error = place.error(bucket, list=words("AccessDenied"))
    assert isinstance(error, PermissionError)
    assert "s3:ListBucket" in str(error)
    error = place.error(bucket, status=400, list=words("ExpiredToken"))
    assert "renew" in str(error)


def test_a_missing_bucket_is_told_from_a_missing_key(place: Place) -> None:
    for ask in (place.storage.stat, place.storage.open, place.storage.listdir):
        with pytest.raises(FileNotFoundError, match="the bucket storagekit-absent does not exist"):
            ask("s3://storagekit-absent/key")
    with pytest.raises(FileNotFoundError) as caught:
        place.storage.stat(place.url + "-absent")
    assert "bucket" not in str(caught.value.strerror)


def test_words_are_quoted_and_secrets_are_not() -> None:
    error = reply_error("GetObject", KEY, code="KMS.NotFoundException", status=400, message="Invalid keyId")
    assert isinstance(error, PermissionError)
    assert "Invalid keyId" in str(error)
    error = reply_error("GetObject", KEY, code="SignatureDoesNotMatch", status=403, message="you sent hunter2")
    assert "hunter2" not in str(error)


# ---------------------------------------------------------------- a gateway that has no route

PAGE = reply(404, b"404 page not found\n", content_type="text/plain; charset=utf-8")
OBJECT = b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: "e"\r\nx-amz-request-id: R1\r\n\r\n'
MISSING = reply(404, words("NoSuchKey"), content_type="application/xml")


def at(server: Scripted, transport: str) -> Storage:
    given = {"endpoint_url": server.endpoint, "aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    return Storage(options={"s3": given | {"transport": transport, "max_attempts": 1}})


def test_a_gateways_404_is_no_removal(transport: str) -> None:
    server = Scripted(always=lambda asked: [OBJECT if asked.method == "HEAD" else PAGE])
    with server, at(server, transport) as storage, pytest.raises(OSError, match="no store") as caught:
        storage.remove("s3://box/key")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "s3://box/key")


def test_a_removal_that_a_gateway_answered_and_the_store_made(transport: str) -> None:
    deleted: list[str] = []

    def always(asked: Asked) -> list[bytes | str]:
        if asked.method == "HEAD":
            return [reply(404) if deleted else OBJECT]
        deleted.extend(["yes"] if asked.method == "DELETE" else [])
        return [PAGE if asked.method == "DELETE" else MISSING]

    with Scripted(always=always) as server, at(server, transport) as storage:
        storage.remove("s3://box/key")


def test_a_gateways_404_does_not_say_that_nothing_is_there(transport: str) -> None:
    server = Scripted(always=lambda asked: [reply(404) if asked.method == "HEAD" else PAGE])
    with server, at(server, transport) as storage:
        for ask in (storage.exists, storage.isfile, storage.open):
            with pytest.raises(OSError, match="no store") as caught:
                ask("s3://box/key")
            assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("name", ["x-amz-request-id", "x-amzn-requestid"])
def test_a_404_that_names_its_request_is_a_stores(name: str, transport: str) -> None:
    empty = b"<ListBucketResult><Name>box</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    named = f"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{name}: R1\r\n\r\n".encode()
    answers = {"HEAD": named, "GET": reply(200, empty)}
    with Scripted(always=lambda asked: [answers[asked.method]]) as server, at(server, transport) as storage:
        assert storage.exists("s3://box/key") is False
    # Whether it is a directory, and not for the object once more.
    assert all("list-type=2" in asked.target for asked in server.asked if asked.method == "GET")


def test_a_404_to_a_head_that_names_nothing_is_asked_again(transport: str) -> None:
    server = Scripted(always=lambda asked: [reply(404) if asked.method == "HEAD" else MISSING])
    with server, at(server, transport) as storage:
        assert storage.isfile("s3://box/key") is False
    assert [asked.method for asked in server.asked][:2] == ["HEAD", "GET"]


def test_a_404_to_a_head_that_a_get_contradicts_is_no_absence(transport: str) -> None:
    heads: list[bytes] = [reply(404), reply(200, ETag='"x"', content_length="4")]

    def always(asked: Asked) -> list[bytes]:
        return [heads.pop(0) if asked.method == "HEAD" else reply(206, b"d", ETag='"x"', content_range="bytes 0-0/4")]

    with Scripted(always=always) as server, at(server, transport) as storage:
        assert storage.isfile("s3://box/key") is True
        heads += [reply(404)] * 4
        for ask in (storage.exists, storage.getsize):
            with pytest.raises(OSError, match="GetObject finds the object") as caught:
                ask("s3://box/key")
            assert caught.value.errno == errno.EIO


def test_a_404_of_a_bucket_that_can_be_listed_is_no_absence(transport: str) -> None:
    page = b"<ListBucketResult><Name>box</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    server = Scripted(always=lambda asked: [reply(404) if asked.method == "HEAD" else reply(200, page)])
    with server, at(server, transport) as storage:
        assert storage.isdir("s3://box") is True


def test_a_404_stays_open_where_the_second_question_has_no_answer(transport: str) -> None:
    server = Scripted(always=lambda asked: [reply(404)] if asked.method == "HEAD" else [CLOSE])
    with server, at(server, transport) as storage:
        for url in ("s3://box/key", "s3://box"):
            with pytest.raises(ConnectionError):
                storage.exists(url)
