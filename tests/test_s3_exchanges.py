"""Exchanges: what is tried again, what is mended on the way, and what a failure then says."""

from __future__ import annotations

import errno
import io
import socket
import time
import traceback

import pytest
from s3_scripted import CLOSE, EARLY, RESET, SILENCE, Answer, Asked, Scripted, reply

from storagekit import deadlines
from storagekit.driver import Absent
from storagekit.errors import InvalidArgumentError, ObjectChangedError
from storagekit.location import Location
from storagekit_s3 import connections, dialling, retrying
from storagekit_s3.api import Api, Attributes, Part, Source
from storagekit_s3.errors import doubt_of, status_of, store_code_of
from storagekit_s3.options import Connection
from storagekit_s3.transports import Transports

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")
CREDENTIALS = {"aws_access_key_id": "id", "aws_secret_access_key": "hunter2"}
WRITTEN = reply(200, b"", ETag='"abc"')
OBJECT = reply(206, b"data", ETag='"abc"', Content_Range="bytes 0-3/4")


def error(status: int, code: str, more: str = "", **headers: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>as it is</Message>{more}<RequestId>R1</RequestId></Error>"
    return reply(status, body.encode(), **headers)


class Wired:
    """The port over the wire, to a server of a test."""

    def __init__(self, server: Scripted, **options: object) -> None:
        given = {"endpoint_url": server.endpoint, "region_name": "here", "read_timeout": 20.0, **CREDENTIALS, **options}
        self.transports = Transports(Connection(transport="wire", **given))  # type: ignore[arg-type]
        self.api: Api = self.transports.api(KEY)

    def __enter__(self) -> Api:
        return self.api

    def __exit__(self, *_: object) -> None:
        self.transports.close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, no_aws: None) -> list[float]:
    """The pauses that were made, none of which is waited for."""
    made: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", made.append)  # type: ignore[attr-defined]
    monkeypatch.setattr(retrying, "FIRST_DISTANCE", 0.0)  # whose pauses are no retry's
    return made


def read(api: Api) -> bytes:
    got = api.get(KEY, 0, 4)
    view = memoryview(bytearray(got.stop - got.start))
    count = got.body.readinto(view)
    got.body.close()
    return bytes(view[:count])


PASSING: list[Answer | bytes] = [
    error(503, "SlowDown"),
    error(500, "InternalError"),
    error(429, "TooManyRequests"),
    error(502, "Bad"),
    reply(504, b"<html>gateway</html>"),
    error(400, "RequestTimeout"),
    [CLOSE],
    [RESET],
    [b"HTTP/1.1 200 OK\r\ncontent-", CLOSE],
    [b"not HTTP\r\n\r\n", CLOSE],
]


@pytest.mark.parametrize("answer", PASSING)
def test_what_passes_is_tried_again(answer: Answer | bytes, pauses: list[float]) -> None:
    with Scripted(answer, OBJECT) as server, Wired(server) as api:
        assert read(api) == b"data"
    assert [0 <= pause <= 1 for pause in pauses] == [True]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "number", "code", "status"),
    [
        (error(503, "SlowDown"), errno.EBUSY, "SlowDown", 503),
        (error(500, "InternalError"), errno.EIO, "InternalError", 500),
        ([RESET], errno.ECONNRESET, None, None),
        ([b"not HTTP\r\n\r\n", CLOSE], errno.EIO, None, None),
    ],
)
def test_three_attempts(
    answer: Answer | bytes, number: int, code: str | None, status: int | None, pauses: list[float]
) -> None:
    with Scripted(*[answer] * 9) as server, Wired(server) as api, pytest.raises(OSError) as failed:
        read(api)
    assert (failed.value.errno, failed.value.filename) == (number, KEY.url)
    assert (store_code_of(failed.value), status_of(failed.value)) == (code, status)
    assert failed.value.__cause__ is not None
    assert (len(server.asked), len(pauses)) == (3, 2)


def test_silence_is_tried_again_and_then_a_time_out() -> None:
    with Scripted([SILENCE], OBJECT) as server, Wired(server, read_timeout=0.3) as api:
        assert read(api) == b"data"
    with (
        Scripted([SILENCE], [SILENCE], [SILENCE]) as server,
        Wired(server, read_timeout=0.2) as api,
        pytest.raises(TimeoutError),
    ):
        read(api)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (error(403, "AccessDenied"), PermissionError, "AccessDenied"),
        (error(404, "NoSuchKey"), FileNotFoundError, "NoSuchKey"),
        (error(412, "PreconditionFailed"), ObjectChangedError, "PreconditionFailed"),
        (error(501, "NotImplemented"), io.UnsupportedOperation, "NotImplemented"),
        (reply(403, b"<html>no"), PermissionError, "403"),
        (reply(304, b""), OSError, "304"),
    ],
)
def test_a_refusal_is_not_tried_again(answer: bytes, kind: type[OSError], code: str, pauses: list[float]) -> None:
    with Scripted(answer) as server, Wired(server) as api, pytest.raises(kind) as refused:
        read(api)
    assert (store_code_of(refused.value), len(server.asked), pauses) == (code, 1, [])
    assert code in str(refused.value.__cause__)
    assert doubt_of(refused.value) == ("failed" if code == "NotImplemented" else None)


def test_a_refusal_names_the_request() -> None:
    with Scripted(error(403, "AccessDenied")) as server, Wired(server) as api, pytest.raises(OSError) as refused:
        api.get(KEY, 0, 1)
    assert getattr(refused.value, "request_id", None) == "R1"


@pytest.mark.parametrize(
    ("first", "doubt"),
    [([RESET], "lost"), (error(500, "InternalError"), "failed"), (reply(502, b""), "lost"), (None, None)],
)
def test_what_an_earlier_attempt_leaves_in_doubt(first: Answer | bytes | None, doubt: str | None) -> None:
    answers = [error(412, "PreconditionFailed")] if first is None else [first, error(412, "PreconditionFailed")]
    with Scripted(*answers) as server, Wired(server) as api, pytest.raises(ObjectChangedError) as refused:
        api.put(KEY, b"data", Attributes(), Absent())
    assert doubt_of(refused.value) == doubt
    assert server.asked[0].headers["if-none-match"] == "*"


def test_nobody_listens(pauses: list[float]) -> None:
    with Scripted() as server:
        pass
    with Wired(server) as api, pytest.raises(ConnectionRefusedError) as refused:
        api.put(KEY, b"data", Attributes(), Absent())
    assert (doubt_of(refused.value), len(pauses)) == (None, 2)


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_stale_connection_costs_no_attempt(end: str, pauses: list[float]) -> None:
    with Scripted(OBJECT, [end], OBJECT) as server, Wired(server) as api:
        assert read(api) == read(api) == b"data"
    assert (pauses, server.connections) == ([], 2)


def test_a_stale_connection_leaves_a_change_in_doubt() -> None:
    answers: list[Answer | bytes] = [OBJECT, [CLOSE], error(412, "PreconditionFailed")]
    with Scripted(*answers) as server, Wired(server) as api:
        read(api)
        with pytest.raises(ObjectChangedError) as refused:
            api.put(KEY, b"data", Attributes(), Absent())
    assert doubt_of(refused.value) == "lost"


def test_no_time_to_wait_for_a_turn_leaves_an_earlier_attempt_in_doubt() -> None:
    made: list[Wired] = []

    def always(asked: Asked) -> Answer:
        # It may have been carried out; meanwhile other threads were told to slow down.
        shared = made[0].api._caller.retrying  # type: ignore[attr-defined]
        shared._distance, shared._next = 1.0, time.monotonic() + 1000
        return [RESET]

    with Scripted(always=always) as server:
        made.append(Wired(server))
        with made[0] as api, deadlines.within(60.0), pytest.raises(TimeoutError) as late:
            api.put(KEY, b"data", Attributes())
    assert (doubt_of(late.value), len(server.asked)) == ("lost", 1)


ELSEWHERE = [
    error(301, "PermanentRedirect", x_amz_bucket_region="there"),
    error(307, "TemporaryRedirect", x_amz_bucket_region="there"),
    reply(400, b"", x_amz_bucket_region="there"),
    error(400, "AuthorizationHeaderMalformed", "<Region>there</Region>"),
]


@pytest.mark.parametrize("answer", ELSEWHERE)
def test_a_bucket_elsewhere_is_asked_there_from_then_on(answer: bytes, pauses: list[float]) -> None:
    with Scripted(answer, OBJECT, OBJECT) as server, Wired(server) as api:
        assert read(api) == read(api) == b"data"
    regions = [asked.headers["authorization"].split("/")[2] for asked in server.asked]
    assert (regions, pauses) == (["here", "there", "there"], [])


def test_two_regions_that_point_at_each_other_are_an_error() -> None:
    back = error(301, "PermanentRedirect", x_amz_bucket_region="here")
    with Scripted(*[ELSEWHERE[0], back] * 4) as server, Wired(server) as api, pytest.raises(OSError, match="elsewhere"):
        read(api)
    assert len(server.asked) == 2


@pytest.mark.parametrize("region", ["no region", "a\u00e4", "a/b", ""])
def test_what_is_no_regions_name_is_not_gone_to(region: str) -> None:
    answer = error(301, "PermanentRedirect", x_amz_bucket_region=region)
    with Scripted(answer) as server, Wired(server) as api, pytest.raises(OSError, match="elsewhere"):
        read(api)
    assert len(server.asked) == 1


def test_signing_goes_by_the_servers_clock() -> None:
    skewed = error(403, "RequestTimeTooSkewed", date="Sat, 01 Jan 2000 00:00:30 GMT")
    with Scripted(skewed, OBJECT, OBJECT) as server, Wired(server) as api:
        assert read(api) == read(api) == b"data"
    assert [asked.headers["x-amz-date"][:8] for asked in server.asked[1:]] == ["20000101", "20000101"]


def test_a_bare_refusal_with_another_time_is_signed_by_that() -> None:
    skewed = reply(403, b"", date="Sat, 01 Jan 2000 00:00:30 GMT")
    with Scripted(skewed, reply(200, b"", content_length="5", ETag='"abc"')) as server, Wired(server) as api:
        assert api.head(KEY).size == 5


def test_a_skew_that_stays_is_an_error() -> None:
    dates = ["Sat, 01 Jan 2000 00:00:30 GMT", "Sun, 01 Jan 2040 00:00:30 GMT"]
    answers = [error(403, "RequestTimeTooSkewed", date=date) for date in dates]
    with Scripted(*answers) as server, Wired(server) as api, pytest.raises(PermissionError, match="clock"):
        read(api)


def test_a_refusal_that_comes_before_the_body_was_sent() -> None:
    early: Answer = [EARLY, error(403, "AccessDenied"), CLOSE]
    with Scripted(early, early, early) as server, Wired(server) as api, pytest.raises(OSError) as refused:
        api.put(KEY, bytes(32 * 1024 * 1024), Attributes())
    # The kernel may have thrown away what had come when the reset came; mostly it has not.
    assert isinstance(refused.value, PermissionError | ConnectionError)
    if isinstance(refused.value, PermissionError):
        assert store_code_of(refused.value) == "AccessDenied"


@pytest.mark.parametrize("operation", ["complete", "copy", "copy_part"])
def test_an_error_inside_a_success_is_a_failure(operation: str) -> None:
    late = reply(200, b'\n\n<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'.lstrip())
    good = reply(200, b'<R><ETag>"abc"</ETag></R>')

    def change(api: Api) -> object:
        if operation == "complete":
            return api.complete_upload(KEY, "id", [Part(1, "abc")]).etag
        if operation == "copy":
            return api.copy(KEY, Source(KEY), Attributes(), replace=False).etag
        return api.copy_part(KEY, "id", 1, Source(KEY), (0, 5))

    with Scripted(late, good) as server, Wired(server) as api:
        assert change(api) == "abc"
    with Scripted(late, late, late) as server, Wired(server) as api, pytest.raises(OSError) as failed:
        change(api)
    assert (store_code_of(failed.value), doubt_of(failed.value)) == ("InternalError", "failed")


def test_a_change_that_is_answered_with_no_document_is_in_doubt() -> None:
    with Scripted(reply(200, b"<a><b>")) as server, Wired(server) as api, pytest.raises(OSError) as odd:
        api.create_upload(KEY, Attributes())
    assert (odd.value.errno, doubt_of(odd.value)) == (errno.EIO, "failed")


@pytest.mark.parametrize("body", [b"", b"<html><body>busy</body></html>", b"garbage", b"<!DOCTYPE x []><x/>"])
def test_what_is_no_listing_is_an_error(body: bytes) -> None:
    with Scripted(reply(200, body)) as server, Wired(server) as api, pytest.raises(OSError) as refused:
        api.list_page(KEY, "", delimited=False, limit=10, start_after="", token=None)
    assert (refused.value.errno, refused.value.filename) == (errno.EIO, KEY.url)


def test_a_listing_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.read_all, "__defaults__", (10_000,))
    endless: Answer = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        *[b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 9,
    ]
    with (
        Scripted(endless, endless, endless) as server,
        Wired(server) as api,
        pytest.raises(OSError, match="10000 bytes"),
    ):
        api.list_page(KEY, "", delimited=False, limit=10, start_after="", token=None)


@pytest.mark.parametrize("token", ["hunter2\r\nx-evil: 1", "hunter2\n", "hünter2", "hunter2\0", "hunter2\udcff"])
def test_a_token_that_no_header_can_hold_is_not_shown(token: str) -> None:
    with Scripted() as server, pytest.raises(OSError) as wrong, Wired(server, aws_session_token=token) as api:
        api.head(KEY)
    assert isinstance(wrong.value, InvalidArgumentError)
    assert "nter2" not in "".join(traceback.format_exception(wrong.value))
    assert (wrong.value.__cause__, wrong.value.__context__, server.asked) == (None, None, [])


def test_anonymous_requests_are_not_signed() -> None:
    none = {"aws_access_key_id": None, "aws_secret_access_key": None}
    with Scripted(OBJECT) as server, Wired(server, anonymous=True, **none) as api:
        assert read(api) == b"data"
    assert not {"authorization", "x-amz-date"} & server.asked[0].headers.keys()


def test_keys_go_out_as_they_are() -> None:
    with Scripted(OBJECT) as server, Wired(server) as api:
        api.get(Location("s3", "box", "a//../b c+d%2F?#ä~"), 0, 4).body.close()
    assert server.asked[0].target == "/box/a//../b%20c%2Bd%252F%3F%23%C3%A4~"


def test_a_body_that_breaks_off_is_an_error_of_the_object() -> None:
    half = reply(206, b"da", content_length="4", ETag='"abc"', Content_Range="bytes 0-3/4")
    with Scripted([half, CLOSE]) as server, Wired(server) as api:
        body = api.get(KEY, 0, 4).body
        view = memoryview(bytearray(4))
        assert body.readinto(view) == 2
        with pytest.raises(ConnectionResetError) as cut:
            body.readinto(view)
        assert cut.value.filename == KEY.url
        assert body.readinto(view) == 0
        body.close()


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> socket.socket:
        raise socket.gaierror(-2, "Name or service not known")

    with Scripted() as server, Wired(server) as api:
        monkeypatch.setattr(dialling.socket, "getaddrinfo", unknown)  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="host name was not found") as lost:
            api.head(KEY)
        monkeypatch.undo()
    assert lost.value.errno == errno.EHOSTUNREACH
