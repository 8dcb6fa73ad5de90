"""The calls of boto3: how they are tried, and what becomes of them when their caller's time is over."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from s3_scripted import CLOSE, RESET, SILENCE, Asked, Scripted, reply

from storagekit.deadlines import within
from storagekit.location import Location
from storagekit_s3 import boto_calls, retrying
from storagekit_s3.api import Attributes
from storagekit_s3.boto import BotoApi, connect
from storagekit_s3.errors import doubt_of
from storagekit_s3.options import Connection
from storagekit_s3.retrying import Retrying

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")
WRITTEN = reply(200, etag='"e"', x_amz_request_id="r")
FAILED = reply(500, b"<Error><Code>InternalError</Code></Error>")
PATIENCE = 8.0
"""More than a call takes that ends in time, and less than one that does not."""


@contextmanager
def api(endpoint: str, slow: Retrying | None = None, **options: Any) -> Iterator[BotoApi]:
    given = Connection(
        endpoint, aws_access_key_id="id", aws_secret_access_key="secret", region_name="us-east-1", **options
    )
    made = connect(given, KEY, slow)
    assert isinstance(made, BotoApi)
    try:
        yield made
    finally:
        made.close()


def put(port: BotoApi) -> None:
    port.put(KEY, b"old", Attributes())


def delete(port: BotoApi) -> None:
    port.delete(KEY)


def late(work: Callable[[], object], seconds: float = 0.5) -> OSError:
    """The error of a call that has so long, when the thread that made it is gone."""
    before = set(threading.enumerate())
    with within(seconds), pytest.raises(TimeoutError) as caught:
        work()
    left = [thread for thread in set(threading.enumerate()) - before if thread.name == "storagekit-boto3"]
    for thread in left:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in left)
    return caught.value


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("change", [put, delete])
def test_nothing_is_sent_again_when_the_callers_time_is_over(change: Callable[[BotoApi], None]) -> None:
    with Scripted([SILENCE], WRITTEN, WRITTEN) as server, api(server.endpoint, read_timeout=1) as port:
        error = late(lambda: change(port))
        assert doubt_of(error) == "lost"
        assert error.filename == KEY.url
        assert len(server.asked) == 1


def test_its_connection_ends_with_it() -> None:
    with Scripted([SILENCE], WRITTEN) as server, api(server.endpoint, read_timeout=60) as port:
        late(lambda: put(port))
        put(port)
        assert [server.connections, len(server.asked)] == [2, 2]


def test_nothing_is_sent_over_a_connection_that_came_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib3.util import connection

    create = connection.create_connection

    def slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(1)
        return create(*arguments, **more)

    with Scripted(WRITTEN) as server, api(server.endpoint) as port:
        monkeypatch.setattr(connection, "create_connection", slowly)
        assert doubt_of(late(lambda: put(port))) is None
        assert server.asked == []


def test_nothing_is_sent_again_for_a_caller_who_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted([SILENCE], WRITTEN, WRITTEN) as server, api(server.endpoint, read_timeout=1) as port:

        class Interrupted(SimpleQueue[Any]):
            def get(self, *_: object, **__: object) -> Any:
                while not server.asked:
                    time.sleep(0.01)
                raise KeyboardInterrupt

        monkeypatch.setattr(boto_calls, "SimpleQueue", Interrupted)
        with within(30), pytest.raises(KeyboardInterrupt):
            put(port)
        for thread in threading.enumerate():
            if thread.name == "storagekit-boto3":
                thread.join(PATIENCE)
        assert len(server.asked) == 1


def test_what_never_left_is_not_in_doubt() -> None:
    slow = Retrying()
    with Scripted(WRITTEN) as server, api(server.endpoint, slow) as port:
        slow._distance, slow._next = 1.0, time.monotonic() + 60
        assert doubt_of(late(lambda: put(port))) is None
        assert server.asked == []


def test_what_left_before_is_in_doubt_while_another_attempt_waits() -> None:
    slow = Retrying()

    def always(_: Asked) -> list[bytes | str]:
        slow._distance, slow._next = 1.0, time.monotonic() + 60
        return [RESET]

    with Scripted(always=always) as server, api(server.endpoint, slow) as port:
        assert doubt_of(late(lambda: put(port), 3)) == "lost"
        assert len(server.asked) == 1


def test_an_answer_in_the_last_moment_counts() -> None:
    call = boto_calls.Call("PutObject", KEY)
    assert call.answered()
    assert not call.give_up()
    call = boto_calls.Call("PutObject", KEY)
    assert call.give_up()
    assert not call.answered()
    with pytest.raises(TimeoutError):
        call.leave()


# ---------------------------------------------------------------- attempts


def test_a_burst_of_failures_leaves_each_request_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.0)
    with Scripted(always=lambda _: [FAILED]) as server, api(server.endpoint, max_attempts=5) as port:
        for number in range(1, 31):
            with pytest.raises(OSError, match="5 attempts"):
                delete(port)
            assert len(server.asked) == 5 * number


@pytest.mark.parametrize(("option", "variable", "attempts"), [(None, None, 3), (2, "4", 2), (None, "4", 4)])
def test_how_often_a_request_is_tried(
    no_aws: None, monkeypatch: pytest.MonkeyPatch, option: int | None, variable: str | None, attempts: int
) -> None:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.0)
    if variable is not None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", variable)
    for answer, seen in ((FAILED, "failed"), (CLOSE, "lost")):
        with Scripted(always=lambda _, a=answer: [a]) as server, api(server.endpoint, max_attempts=option) as port:  # type: ignore[misc]
            with pytest.raises(OSError, match="attempts") as failed:
                delete(port)
            assert (len(server.asked), failed.value.attempts) == (attempts, attempts)  # type: ignore[attr-defined]
            assert doubt_of(failed.value) == seen


def test_a_refusal_is_not_tried_again() -> None:
    refused = reply(403, b"<Error><Code>AccessDenied</Code></Error>")
    with Scripted(refused, WRITTEN) as server, api(server.endpoint) as port:
        with pytest.raises(PermissionError):
            put(port)
        assert len(server.asked) == 1


def test_a_bucket_in_another_region_is_followed_with_a_single_attempt() -> None:
    moved = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"
    with Scripted(reply(400, moved), WRITTEN) as server, api(server.endpoint, max_attempts=1) as port:
        put(port)
        assert ["/eu-west-1/" in asked.headers["authorization"] for asked in server.asked] == [False, True]


# ---------------------------------------------------------------- bodies

HEAD = b'HTTP/1.1 206 Said\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\nETag: "e"\r\n\r\n'


@contextmanager
def trickling() -> Iterator[str]:
    """The endpoint of a server whose body comes byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                try:
                    connection.sendall(HEAD)
                    for _ in range(1000):
                        connection.sendall(b"X")
                        time.sleep(0.05)
                except OSError:
                    pass  # the client has ended it

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_body_that_trickles_ends_with_the_callers_time() -> None:
    begun = time.monotonic()
    with trickling() as endpoint, api(endpoint) as port:
        body = port.get(KEY, 0, 1000).body
        view, got = memoryview(bytearray(1000)), 0
        with within(1.0), pytest.raises(TimeoutError) as caught:
            while count := body.readinto(view[got:]):
                got += count
        body.close()
        assert 0 < got < 1000
        assert caught.value.filename == KEY.url
    assert time.monotonic() - begun < PATIENCE


def test_what_is_left_of_a_body_is_not_waited_for_in_a_hurry() -> None:
    begun = time.monotonic()
    with Scripted([HEAD + b"half", SILENCE]) as server, api(server.endpoint, read_timeout=20) as port:
        body = port.get(KEY, 0, 1000).body
        with within(30.0):
            assert body.readinto(memoryview(bytearray(4))) == 4
            body.close()
    assert time.monotonic() - begun < PATIENCE


def test_a_body_that_was_read_in_a_hurry_gives_its_connection_back() -> None:
    whole = HEAD + b"x" * 1000
    with Scripted(whole, whole) as server, api(server.endpoint) as port:
        for _ in range(2):
            view, got = memoryview(bytearray(1000)), 0
            with within(5.0):
                body = port.get(KEY, 0, 1000).body
                got += body.readinto(view)
            while count := body.readinto(view[got:]):
                got += count
            body.close()
            assert bytes(view) == b"x" * 1000
        assert server.connections == 1


def test_a_body_that_breaks_off_in_a_hurry() -> None:
    with Scripted([HEAD + b"half", CLOSE]) as server, api(server.endpoint) as port, within(5.0):
        body = port.get(KEY, 0, 1000).body
        view = memoryview(bytearray(1000))
        with pytest.raises(ConnectionResetError):
            while body.readinto(view):
                pass
        body.close()
