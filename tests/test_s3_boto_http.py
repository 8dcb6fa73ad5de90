"""The HTTP session of a boto3 client: connections go back to their pool, and end with the client."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from s3_scripted import SILENCE, Scripted, reply

from storagekit.location import Location
from storagekit_s3.boto import BotoApi, connect
from storagekit_s3.options import parse

HERE = Location("s3", "box", "key")
HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "e"\r\n\r\n'
GONE = reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


def api(server: Scripted) -> BotoApi:
    given = {"endpoint_url": server.endpoint, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    made = connect(parse(given, HERE).connection, HERE)
    assert isinstance(made, BotoApi)
    return made


def test_answers_with_a_body_and_without_give_their_connection_back(server: Scripted) -> None:
    server.answers = [[HEAD], [HEAD], [GONE], [EMPTY], [HEAD]]
    port = api(server)
    kept = [port.head(HERE), port.head(HERE)]
    with pytest.raises(FileNotFoundError) as missing:
        port.tags(HERE)
    port.delete(HERE)
    kept.append(port.head(HERE))
    assert [info.size for info in kept] == [5, 5, 5]
    assert missing.value.filename == "s3://box/key"
    assert server.connections == 1


def test_a_body_that_is_closed_early_keeps_the_connection_if_its_rest_has_come(server: Scripted) -> None:
    server.answers = [[HEAD + b"12345"], [HEAD]]
    port = api(server)
    body = port.get(HERE, 0, 5).body
    assert body.readinto(memoryview(bytearray(2))) == 2
    body.close()
    assert port.head(HERE).size == 5
    assert server.connections == 1


def test_a_body_that_is_closed_early_waits_for_nothing(server: Scripted) -> None:
    """Its connection is another one's no more: what comes late would be taken for the next answer."""
    server.answers = [[HEAD + b"12", SILENCE], [HEAD]]
    port = api(server)
    body = port.get(HERE, 0, 5).body
    assert body.readinto(memoryview(bytearray(2))) == 2
    closing = threading.Thread(target=body.close)
    closing.start()
    closing.join(20)  # of the 60 seconds of read_timeout
    assert not closing.is_alive()
    assert port.head(HERE).size == 5
    assert server.connections == 2


def test_close_ends_what_is_kept_by_somebody(server: Scripted) -> None:
    server.answers = [[HEAD]]
    port = api(server)
    port.head(HERE)
    manager = port.session(HERE).client._endpoint.http_session._session._manager
    (pool,) = (manager.pools.get(key) for key in manager.pools.keys())  # noqa: SIM118
    (idle,) = (connection for connection in pool.pool.queue if connection is not None)
    assert idle.sock is not None
    port.close()
    assert idle.sock is None
