"""The port over boto3: what is sent, and what the attempts below one request leave in doubt."""

from __future__ import annotations

import base64
import errno
import io
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from s3_scripted import Scripted
from s3_scripted import reply as said

from storagekit.driver import Absent
from storagekit.errors import InvalidArgumentError, ObjectChangedError
from storagekit.location import Location
from storagekit_conformance.support import in_child
from storagekit_s3.api import Api, Attributes, Part, Source
from storagekit_s3.boto import connect
from storagekit_s3.boto_client import header_checksum, make_client, make_session, upload_checksum
from storagekit_s3.driver import S3Driver
from storagekit_s3.errors import doubt_of
from storagekit_s3.options import Connection

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "e1"\r\nServer: Test\r\n\r\n'
FAILED = b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
SHORT = b'HTTP/1.1 206 Partial\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\nETag: "e1"\r\n\r\nhalf'
WHOLE = b'HTTP/1.1 206 Partial\r\nContent-Length: 4\r\nContent-Range: bytes 0-3/4\r\nETag: "e1"\r\n\r\nfour'
CUT = b""


@contextmanager
def scripted(replies: Sequence[bytes]) -> Iterator[tuple[Api, list[bytes]]]:
    """A server that answers each request on a connection of its own with the next of *replies*; CUT says nothing."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)  # a test that fails early sends fewer requests

        def serve() -> None:
            for reply in replies:
                with listener.accept()[0] as connection:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += connection.recv(65536)
                    requests.append(data)
                    if b"100-continue" in data:
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    # What is not read when the connection ends would make a reset of that.
                    head, _, body = data.partition(b"\r\n\r\n")
                    length = re.search(rb"content-length: *([0-9]+)", head, re.I)
                    left = (int(length[1]) if length else 0) - len(body)
                    while left > 0 and (more := connection.recv(left)):
                        left -= len(more)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        api = connect(
            Connection(f"http://127.0.0.1:{port}", aws_access_key_id="id", aws_secret_access_key="secret"), KEY
        )
        try:
            yield api, requests
        finally:
            api.close()
            thread.join()


def test_a_precondition_after_a_lost_answer_is_in_doubt() -> None:
    with scripted([CUT, FAILED]) as (api, requests), pytest.raises(ObjectChangedError) as failed:
        api.put(KEY, b"data", Attributes(), Absent())
    assert doubt_of(failed.value) == "lost"
    assert len(requests) == 2
    assert b"if-none-match: *" in requests[0].lower()


def test_a_precondition_after_a_server_error_is_in_doubt() -> None:
    with scripted([BROKEN, FAILED]) as (api, _), pytest.raises(ObjectChangedError) as failed:
        api.put(KEY, b"data", Attributes(), Absent())
    assert doubt_of(failed.value) == "failed"


def test_a_precondition_at_once_is_certain() -> None:
    with scripted([FAILED, OK]) as (api, _):
        with pytest.raises(ObjectChangedError) as failed:
            api.put(KEY, b"data", Attributes(), Absent())
        assert doubt_of(failed.value) is None
        assert api.put(KEY, b"data", Attributes()).etag == "e1"
        assert api.server == "Test"


def test_an_error_of_a_gateway_does_not_change_what_the_server_is() -> None:
    forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    gateway = b"HTTP/1.1 500 Internal Server Error\r\nServer: gateway\r\nContent-Length: 0\r\n\r\n"
    with scripted([OK, forbidden, *[gateway] * 3]) as (api, _):
        api.put(KEY, b"data", Attributes())
        with pytest.raises(PermissionError):
            api.put(KEY, b"data", Attributes())
        with pytest.raises(OSError, match="500"):
            api.put(KEY, b"data", Attributes())
        assert api.server == "Test"


@pytest.mark.parametrize("body", [b"<html><body>Please sign in.</body></html>", b""], ids=["page", "nothing"])
def test_what_is_no_listing_is_not_an_empty_one(body: bytes) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with scripted([reply] * 3) as (api, _):
        for ask in (
            lambda: api.list_page(KEY, "", delimited=False, limit=10, start_after="", token=None),
            lambda: api.uploads_page(KEY, "", None),
            lambda: api.buckets(),
        ):
            with pytest.raises(OSError, match="no store's answer") as failed:
                ask()
            assert failed.value.errno == errno.EIO


def test_an_upload_without_an_id_is_an_error() -> None:
    with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"]) as (api, _):
        with pytest.raises(OSError, match="without giving its id") as failed:
            api.create_upload(KEY, Attributes())
        assert failed.value.filename == KEY.url


@pytest.mark.parametrize(("header", "by_store"), [(b"", False), (b"x-amz-request-id: 7", True), (b'ETag: "a"', True)])
def test_who_answered_a_put(header: bytes, by_store: bool) -> None:
    reply = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n%s\r\n" % (header and header + b"\r\n")
    with scripted([reply]) as (api, _):
        assert api.put(KEY, b"data", Attributes()).by_store == by_store


def test_three_attempts() -> None:
    with scripted([CUT, BROKEN, BROKEN]) as (api, requests), pytest.raises(OSError, match="500") as failed:
        api.put(KEY, b"data", Attributes())
    assert (len(requests), doubt_of(failed.value)) == (3, "lost")


def test_an_error_inside_a_reply_of_status_200() -> None:
    body = b"<Error><Code>InternalError</Code><Message>later</Message></Error>"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with scripted([reply] * 3) as (api, _), pytest.raises(OSError, match="InternalError") as failed:
        api.complete_upload(KEY, "id", [Part(1, "e1")])
    assert doubt_of(failed.value) == "failed"


def test_a_body_that_breaks_off() -> None:
    with scripted([SHORT]) as (api, _):
        reply = api.get(KEY, 0, 10)
        buffer = memoryview(bytearray(10))
        with pytest.raises(ConnectionResetError) as cut:
            while reply.body.readinto(buffer):
                pass
        assert cut.value.filename == KEY.url
        reply.body.close()


def test_a_body_that_was_open_at_a_fork() -> None:
    with scripted([WHOLE, WHOLE]) as (api, requests):
        inherited = api.get(KEY, 0, 4).body
        buffer = memoryview(bytearray(4))

        def child() -> None:
            with pytest.raises(ConnectionResetError) as cut:
                inherited.readinto(buffer)
            assert cut.value.filename == KEY.url
            inherited.close()
            assert api.get(KEY, 0, 4).body.readinto(buffer) == 4

        in_child(child)
        assert inherited.readinto(buffer) == 4
        assert bytes(buffer) == b"four"
        assert len(requests) == 2


def test_a_custom_endpoint_gets_path_style_and_no_trailers(no_aws: None) -> None:
    connection = Connection("http://store.example:9000", aws_access_key_id="id", aws_secret_access_key="secret")
    client = make_client(connection)
    assert client.meta.config.s3["addressing_style"] == "path"
    assert client.meta.config.request_checksum_calculation == "when_required"
    assert client.meta.config.response_checksum_validation == "when_required"
    assert client.meta.config.signature_version == "s3v4"
    assert client.meta.config.retries["total_max_attempts"] == 3
    client.close()


def test_amazon_keeps_its_defaults(no_aws: None) -> None:
    client = make_client(Connection(region_name="eu-west-1", anonymous=True))
    assert "addressing_style" not in (client.meta.config.s3 or {})
    assert client.meta.config.request_checksum_calculation == "when_supported"
    client.close()


def test_the_users_own_configuration_wins(no_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with open(f"{tmp_path}/config", "w") as file:
        file.write("[default]\nendpoint_url = http://store.example\nrequest_checksum_calculation = when_supported\n")
        file.write("max_attempts = 7\ns3 =\n  addressing_style = virtual\n")
    client = make_client(Connection(aws_access_key_id="id", aws_secret_access_key="secret", region_name="r"))
    assert client.meta.endpoint_url == "http://store.example"
    assert client.meta.config.s3["addressing_style"] == "virtual"
    assert client.meta.config.request_checksum_calculation == "when_supported"
    assert client.meta.config.retries["total_max_attempts"] == 7
    client.close()
    named = Connection(aws_access_key_id="id", aws_secret_access_key="secret", addressing_style="path")
    client = make_client(named)
    assert client.meta.config.s3["addressing_style"] == "path"
    client.close()


@pytest.mark.parametrize(
    ("endpoint", "calculation", "sent"),
    [
        ("https://minio.example", "when_supported", True),
        ("https://minio.example", "when_required", False),
        ("http://minio.example", "when_supported", False),  # no frames there
        ("https://s3.us-east-1.amazonaws.com", "when_supported", False),  # which understands frames
    ],
)
def test_checksums_go_in_a_header_where_frames_might_be_stored(
    endpoint: str, calculation: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", calculation)
    client = make_client(Connection(endpoint, None, "us-east-1", "key", "secret"))
    try:
        parameters = header_checksum(client, b"data", None)
        assert parameters == ({"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": "rfPzYw=="} if sent else {})
        seen: list[Any] = []

        def stop(request: Any, **_: object) -> None:
            seen.append(request)
            raise InterruptedError

        client.meta.events.register_first("before-send.s3", stop)
        with pytest.raises(InterruptedError):
            client.put_object(Bucket="box", Key="key", Body=b"data", **parameters)
        framed = b"aws-chunked" in seen[0].headers.get("Content-Encoding", b"")
        assert framed == (endpoint.endswith("amazonaws.com"))
    finally:
        client.close()


def test_the_header_that_a_batch_delete_needs_beyond_amazon() -> None:
    result = b"<DeleteResult><Deleted><Key>key</Key></Deleted></DeleteResult>"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(result), result)
    with scripted([reply]) as (api, requests):
        assert api.delete_many([KEY]) == []
    assert b"content-md5:" in requests[0].lower()


SSE_KEY = base64.b64encode(bytes(range(32))).decode()


def test_what_belongs_to_every_request() -> None:
    given: dict[str, Any] = {"sse_customer_key": SSE_KEY, "request_payer": "requester"}
    got = said(200, b"data", content_range="bytes 0-3/4", etag='"a"')
    with Scripted(said(200, etag='"a"'), got, said(200, b"<CopyObjectResult/>")) as server:
        connection = Connection(
            server.endpoint, aws_access_key_id="id", aws_secret_access_key="secret", region_name="r", **given
        )
        api = connect(connection, KEY)
        api.put(KEY, b"data", Attributes())
        api.get(KEY, 0, 4).body.close()
        api.copy(KEY, Source(KEY), Attributes(), replace=False)
        api.close()
    for asked in server.asked:
        assert asked.headers["x-amz-request-payer"] == "requester"
        assert asked.headers["x-amz-server-side-encryption-customer-key"] == SSE_KEY
        assert asked.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
    assert server.asked[2].headers["x-amz-copy-source-server-side-encryption-customer-key"] == SSE_KEY
    assert SSE_KEY not in repr(connection)


@pytest.mark.parametrize("given", [{"sse_customer_key": SSE_KEY}, {"request_payer": "requester"}])
def test_the_wire_leaves_them_to_boto3(given: dict[str, str]) -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "region_name": "r", "transport": "wire", **given}
    options |= {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    driver = S3Driver()
    with pytest.raises(io.UnsupportedOperation, match="transport excludes boto3") as refused:
        driver.stat(KEY, options)
    driver.close()
    assert SSE_KEY not in str(refused.value)


@pytest.mark.parametrize("key", ["c2hvcnQ=", "no base64!", base64.b64encode(bytes(31)).decode()])
def test_a_key_that_is_none_is_refused_without_being_told(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match="32 bytes in base64") as refused:
        S3Driver().stat(KEY, {"sse_customer_key": key})
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "calculation", "declared"),
    [
        (
            "https://s3.eu-west-1.amazonaws.com",
            "when_supported",
            {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"},
        ),
        ("https://s3.eu-west-1.amazonaws.com", "when_required", {}),
        ("https://minio.example", "when_supported", {}),
    ],
)
def test_an_upload_declares_the_checksums_of_its_parts_to_amazon(
    endpoint: str, calculation: str, declared: dict[str, str]
) -> None:
    meta = SimpleNamespace(endpoint_url=endpoint, config=SimpleNamespace(request_checksum_calculation=calculation))
    assert upload_checksum(SimpleNamespace(meta=meta), None) == declared


def test_sessions_share_what_describes_the_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client takes a tenth of the time, from the second in a process on."""
    given = Connection("http://127.0.0.1:1", aws_access_key_id="id", aws_secret_access_key="secret")
    first, second = (make_session(given)._session.get_component("data_loader") for _ in range(2))
    assert first is second
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert str(tmp_path) in make_session(given)._session.get_component("data_loader").search_paths
