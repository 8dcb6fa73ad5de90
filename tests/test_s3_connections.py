"""Connections: heads, bodies and their ends, as a server may send them; what is kept, and what is not."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_scripted import CLOSE, RESET, SILENCE, Answer, Scripted, reply

from storagekit import deadlines
from storagekit_conformance.servers import make_certificate
from storagekit_s3 import connections, pools
from storagekit_s3.connections import (
    BUFFER,
    Address,
    Connection,
    CutReplyError,
    MalformedReplyError,
    Reply,
    UnsentError,
    read_all,
)
from storagekit_s3.pools import Pool

REQUEST = b"GET /box/key HTTP/1.1\r\nhost: somewhere\r\n\r\n"


def address(server: Scripted, context: ssl.SSLContext | None = None, seconds: float = 20.0) -> Address:
    made = None if context is None else (lambda: context)
    return Address("127.0.0.1", server.port, made, connect_timeout=seconds, read_timeout=seconds)


def ask(connection: Connection, pool: Pool | None = None) -> Reply:
    connection.send(REQUEST, b"")
    got = connection.receive()
    if pool is not None:
        got.return_to(pool)
    return got


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder / "c.pem", folder / "k.pem")
    return folder / "c.pem", folder / "k.pem"


@pytest.fixture(params=["http", "https"])
def contexts(
    request: pytest.FixtureRequest, certificate: tuple[Path, Path]
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's and the client's, over both."""
    if request.param == "http":
        return None, None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """An unclosed socket warns when it is collected, and a warning is an error."""
    yield
    gc.collect()


# ---------------------------------------------------------------- heads


def test_a_head_and_its_body(contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None]) -> None:
    server_context, context = contexts
    with Scripted(reply(206, b"some bytes", ETag='"x"'), context=server_context) as server:
        connection = address(server, context).connect()
        got = ask(connection)
        assert (got.status, got.headers["etag"]) == (206, '"x"')
        assert read_all(got) == b"some bytes"


def test_a_head_that_comes_byte_by_byte() -> None:
    whole = reply(200, b"body", a="1")
    with Scripted([whole[i : i + 1] for i in range(len(whole))]) as server:
        assert read_all(ask(address(server).connect())) == b"body"


def test_interim_replies_are_passed_over_but_not_for_ever() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    with Scripted([interim, interim, reply(200, b"body")], [interim * 100]) as server:
        connection = address(server).connect()
        pool = Pool(address(server))
        assert read_all(ask(connection, pool)) == b"body"
        with pytest.raises(MalformedReplyError):
            ask(connection)
        pool.close()


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-something\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: four\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"1" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"x" * BUFFER + b"\r\n\r\n",
        b"\x00" * (BUFFER + 1),
    ],
)
def test_what_is_no_http_is_refused(head: bytes) -> None:
    with Scripted([head, CLOSE]) as server:
        connection = address(server).connect()
        with pytest.raises((MalformedReplyError, CutReplyError)):
            ask(connection)
        connection.close()


def test_the_same_length_twice_is_one() -> None:
    with Scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody") as server:
        assert read_all(ask(address(server).connect())) == b"body"


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_an_end_before_the_answer(end: str) -> None:
    with Scripted([end]) as server:
        connection = address(server).connect()
        with pytest.raises((CutReplyError, ConnectionError)):
            ask(connection)
        connection.close()


# ---------------------------------------------------------------- bodies


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%X;name=value\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def test_a_body_in_chunks_with_trailers() -> None:
    with Scripted(chunked(b"one, ", b"x" * 70_000, end=b"0\r\nchecksum: 1\r\n\r\n"), reply(200, b"next")) as server:
        pool = Pool(address(server))
        connection = pool.address.connect()
        assert read_all(ask(connection, pool)) == b"one, " + b"x" * 70_000
        assert pool.take() is connection
        assert read_all(ask(connection, pool)) == b"next"
        pool.close()


@pytest.mark.parametrize(
    "body",
    [
        chunked(end=b"zz\r\n"),
        chunked(end=b"-5\r\n"),
        chunked(b"abc", end=b"3\r\nabcdef\r\n0\r\n\r\n"),
        chunked(end=b"5" * 2000),
        chunked(b"abc", end=b"5\r\nab"),
        chunked(b"abc", end=b"0\r\n" + b"a: b\r\n" * 1000),
        chunked(end=b"0x4\r\nabcd\r\n0\r\n\r\n"),
        chunked(end=b"0_4\r\nabcd\r\n0\r\n\r\n"),
        reply(200, b"short", content_length="10"),
    ],
)
def test_a_body_that_is_not_what_it_says(body: bytes) -> None:
    with Scripted([body, CLOSE]) as server:
        got = ask(address(server).connect())
        with pytest.raises((MalformedReplyError, CutReplyError)):
            read_all(got)
        got.close()


def test_a_body_up_to_the_end_of_the_connection_is_not_kept() -> None:
    with Scripted([b"HTTP/1.0 200 OK\r\n\r\nall of it", CLOSE]) as server:
        pool = Pool(address(server))
        assert read_all(ask(pool.address.connect(), pool)) == b"all of it"
        assert pool.take() is None


def test_replies_without_a_body() -> None:
    with Scripted(b"HTTP/1.1 204 No\r\n\r\n", reply(200, b"", content_length="500"), reply(200, b"x")) as server:
        pool = Pool(address(server))
        connection = pool.address.connect()
        ask(connection, pool).close()
        assert pool.take() is connection
        head = ask(connection, pool)
        head.without_body()
        head.close()
        assert pool.take() is connection
        assert read_all(ask(connection, pool)) == b"x"
        pool.close()


def test_the_answer_to_a_head_in_chunks_is_not_kept() -> None:
    with Scripted([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n"]) as server:
        pool = Pool(address(server))
        got = ask(pool.address.connect(), pool)
        got.without_body()
        got.close()
        assert pool.take() is None


VIEWS = [1, 7, 4096, 65_536, 1 << 20]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_however_it_is_sent_and_read_the_bytes_are_right(data: st.DataObject) -> None:
    body = bytes(range(256)) * data.draw(st.integers(0, 600)) + b"end"
    whole = chunked(body[:1000], body[1000:] or b"-") if data.draw(st.booleans()) else reply(200, body)
    if not whole.startswith(reply(200, body)[:40]) and len(body) <= 1000:
        body += b"-"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    with Scripted(pieces) as server:
        got = ask(address(server).connect())
        found = bytearray()
        try:
            while count := got.readinto(view := memoryview(bytearray(data.draw(st.sampled_from(VIEWS))))):
                found += view[:count]
                if len(view) < 100 and len(found) > 300:
                    found += read_all(got)
        finally:
            got.close()
    assert bytes(found) == body


def test_silence_is_a_time_out(contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None]) -> None:
    server_context, context = contexts
    half = reply(200, b"half", content_length="8")
    with Scripted([half, SILENCE], [SILENCE], context=server_context) as server:
        where = address(server, context, seconds=0.3)
        got = ask(where.connect())
        view = memoryview(bytearray(8))
        assert got.readinto(view) == 4
        with pytest.raises(TimeoutError):
            got.readinto(view)
        assert got.readinto(view) == 0  # nothing more comes of it
        connection = where.connect()
        with pytest.raises(TimeoutError):
            ask(connection)
        connection.close()


@pytest.mark.parametrize("waits", [True, False])
def test_silence_in_the_middle_is_not_waited_for_again_by_the_next_read(waits: bool) -> None:
    here, there = socket.socketpair()
    connection = Connection(here, waits=waits, read_timeout=0.2)
    buffer = bytearray(8)
    with there, memoryview(buffer) as view:
        there.sendall(b"half")
        assert connection.readinto(view) == 4
        there.sendall(b"late")  # a read that waited anew would find it
        try:
            connection.readinto(view[4:])
        except TimeoutError:
            pass
        else:
            pytest.fail("it was waited for again")
    buffer.append(0)  # nothing holds it: neither what was kept of the error nor a cycle with its traceback
    connection.close()


@contextmanager
def many_signals() -> Iterator[Callable[[], bool]]:
    """A signal each twentieth of a second, five seconds long; gives out whether they are still coming."""
    seen = 0

    def handle(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 100:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        yield lambda: seen < 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signals_make_no_wait_for_an_answer_longer(
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
) -> None:
    server_context, context = contexts
    half = reply(200, b"half", content_length="80000")
    with Scripted([SILENCE], [half, SILENCE], context=server_context) as server:
        for step in ("head", "body"):
            connection = address(server, context, seconds=0.3).connect()
            with many_signals() as coming:
                if step == "head":
                    with pytest.raises(TimeoutError):
                        ask(connection)
                else:
                    with pytest.raises(TimeoutError):
                        read_all(ask(connection))
                assert coming()
            connection.close()


@contextmanager
def reads_slowly(context: ssl.SSLContext | None, bytes_a_second: int) -> Iterator[int]:
    """The port of a server that reads one request so slowly, for fifteen seconds at most."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            for _ in range(150):
                if over.wait(0.1):
                    break
                left = bytes_a_second // 10
                while left > 0:
                    left -= len(connection.recv(left)) or left
        except OSError:
            pass  # the client has ended it
        finally:
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()


def test_signals_make_no_wait_to_send_longer() -> None:
    with reads_slowly(None, 0) as port:
        connection = Address("127.0.0.1", port, None, connect_timeout=20, read_timeout=0.3).connect()
        with many_signals() as coming:
            with pytest.raises(TimeoutError):
                connection.send(REQUEST, bytes(32 * 1024 * 1024))
            assert coming()
        connection.close()


def test_an_upload_that_goes_on_slowly_ends_with_the_callers_time(
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
) -> None:
    server_context, context = contexts
    with reads_slowly(server_context, 3_000_000) as port:  # fast enough for some to go each second
        made = None if context is None else (lambda: context)
        connection = Address("127.0.0.1", port, made, connect_timeout=20, read_timeout=20).connect()
        begun = time.monotonic()
        with deadlines.within(1.0), pytest.raises(TimeoutError):
            connection.send(REQUEST, bytes(64 * 1024 * 1024))
        assert time.monotonic() - begun < 9
        connection.close()


def test_an_upload_over_tls_may_take_longer_than_the_wait_for_a_part_of_it(certificate: tuple[Path, Path]) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*certificate)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with reads_slowly(server_context, 10_000_000) as port:
        connection = Address("127.0.0.1", port, lambda: context, connect_timeout=20, read_timeout=2).connect()
        connection.send(REQUEST, bytes(48 * 1024 * 1024))  # four seconds
        connection.close()


def test_tls_has_only_the_time_that_the_connection_has_left_over(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dialled(host: str, port: int, seconds: float) -> tuple[socket.socket, float]:
        return socket.create_connection((host, port), seconds), time.monotonic()

    monkeypatch.setattr(connections, "dial", dialled)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = Address("127.0.0.1", silent.getsockname()[1], lambda: context, connect_timeout=20.0, read_timeout=20.0)
        begun = time.monotonic()
        with pytest.raises(UnsentError) as late:
            where.connect()
        assert time.monotonic() - begun < 9
    assert isinstance(late.value.__cause__, TimeoutError)


class Pieces:
    """The body of a reply that comes byte by byte; counts the buffers that it was read into."""

    def __init__(self, count: int) -> None:
        self.announced = count
        self.buffers: list[object] = []

    def readinto(self, view: memoryview) -> int:
        if not self.buffers or self.buffers[-1] is not view.obj:
            self.buffers.append(view.obj)
        view[0] = self.announced & 0x7F
        self.announced -= 1
        return 1

    def close(self) -> None:
        pass


def test_a_document_in_tiny_pieces_is_not_copied_for_each() -> None:
    pieces = Pieces(300_000)
    assert read_all(pieces) == bytes(n & 0x7F for n in range(300_000, 0, -1))  # type: ignore[arg-type]
    assert len(pieces.buffers) < 10


def test_an_interrupt_in_the_middle_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(reply(200, b"x" * 200_000)) as server:
        pool = Pool(address(server))
        got = ask(pool.address.connect(), pool)

        def interrupted(self: Connection, view: memoryview, flags: int) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Connection, "_into", interrupted)
            view = memoryview(bytearray(200_000))
            with pytest.raises(KeyboardInterrupt):
                while got.readinto(view):
                    pass
        assert got.readinto(view) == 0
        assert pool.take() is None


def test_a_document_that_has_no_end_is_refused() -> None:
    with (
        Scripted([chunked(*[b"x" * 1000] * 20, end=b""), CLOSE]) as server,
        pytest.raises(MalformedReplyError, match="more than 5000 bytes"),
    ):
        read_all(ask(address(server).connect()), 5000)


# ---------------------------------------------------------------- what is kept


def test_a_half_read_body_ends_its_connection_and_one_that_is_there_does_not() -> None:
    with Scripted([reply(200, b"all here")], [reply(200, b"half", content_length="8"), SILENCE]) as server:
        pool = Pool(address(server))
        first = ask(pool.address.connect(), pool)
        assert first.readinto(memoryview(bytearray(3))) == 3
        first.close()
        connection = pool.take()
        assert connection is not None
        second = ask(connection, pool)
        assert second.readinto(memoryview(bytearray(3))) == 3
        second.close()
        second.close()
        assert pool.take() is None


def test_the_latest_is_taken_first_and_the_old_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [reply()] * 8
    with Scripted(*answers) as server:
        pool = Pool(address(server))
        first, second = pool.address.connect(), pool.address.connect()
        got = [ask(first, pool), ask(second, pool)]
        for one in got:
            one.close()
        assert pool.take() is second
        assert pool.take() is first
        ask(first, pool).close()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + pools.IDLE_SECONDS + 1)
        ask(second, pool).close()
        assert first.socket.fileno() == -1
        monkeypatch.setattr(pools, "MOST_IDLE", 0)
        ask(second, pool).close()
        assert second.socket.fileno() == -1


def test_one_that_was_idle_for_long_is_not_used_again() -> None:
    with Scripted(reply(), reply()) as server:
        pool = Pool(address(server))
        kept = [pool.address.connect(), pool.address.connect()]
        for got in [ask(connection, pool) for connection in kept]:
            got.close()
        for connection in kept:
            connection.idle_since -= pools.IDLE_SECONDS + 1
        assert pool.take() is None
        assert [connection.socket.fileno() for connection in kept] == [-1, -1]


def test_one_that_the_server_has_closed_is_not_used_again() -> None:
    with Scripted([reply(), CLOSE]) as server:
        pool = Pool(address(server))
        connection = pool.address.connect()
        ask(connection, pool).close()
        select.select([connection.socket], [], [], 20)  # its end has come
        assert pool.take() is None
        assert connection.socket.fileno() == -1


def test_an_answer_too_many_is_not_taken_for_the_next(
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
) -> None:
    server_context, context = contexts
    twice = reply(200, b"first") * 2
    with Scripted([twice], reply(200, b"next"), context=server_context) as server:
        pool = Pool(address(server, context))
        connection = pool.address.connect()
        assert read_all(ask(connection, pool)) == b"first"
        again = pool.take() or pool.address.connect()
        assert read_all(ask(again, pool)) == b"next"
        assert again is not connection
        pool.close()


def test_a_closed_pool_keeps_nothing() -> None:
    with Scripted(reply(), reply()) as server:
        pool = Pool(address(server))
        kept, other = pool.address.connect(), pool.address.connect()
        ask(kept, pool).close()
        pool.close()
        assert kept.socket.fileno() == -1
        ask(other, pool).close()
        assert other.socket.fileno() == -1


def test_a_pool_that_is_forgotten_leaves_no_socket_open() -> None:
    with Scripted(reply()) as server:
        pool = Pool(address(server))
        connection = pool.address.connect()
        ask(connection, pool).close()
        del pool
        gc.collect()
        assert connection.socket.fileno() == -1


def test_nobody_there_and_nobody_trusted(certificate: tuple[Path, Path]) -> None:
    with Scripted() as server:
        where = address(server)
    with pytest.raises(UnsentError) as refused:
        where.connect()
    assert isinstance(refused.value.__cause__, ConnectionRefusedError)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Scripted(reply(), context=context) as server, pytest.raises(UnsentError) as untrusted:
        address(server, ssl.create_default_context()).connect()
    assert isinstance(untrusted.value.__cause__, ssl.SSLCertVerificationError)


def test_a_forked_child_uses_and_ends_nothing_of_its_parents() -> None:
    answers: list[Answer | bytes] = [reply(200, b"x" * 300_000), reply(), reply(200, b"again")]
    with Scripted(*answers) as server:
        pool = Pool(address(server))
        half = ask(pool.address.connect(), pool)
        view = memoryview(bytearray(1000))
        assert half.readinto(view) == 1000
        idle = pool.address.connect()
        ask(idle, pool).close()
        child = os.fork()
        if not child:
            try:
                half.close()
                right = half.inherited and pool.take() is None
                pool.close()
                os._exit(0 if right else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(read_all(half)) == 299_000
        connection = pool.take()
        assert connection is not None
        assert read_all(ask(connection, pool)) == b"again"
        pool.close()


def test_many_threads_share_a_pool() -> None:
    with Scripted(*[reply(200, b"body")] * 200) as server:
        pool = Pool(address(server))
        wrong: list[object] = []

        def work() -> None:
            for _ in range(25):
                connection = pool.take() or pool.address.connect()
                if (found := read_all(ask(connection, pool))) != b"body":
                    wrong.append(found)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pool.close()
        assert not wrong
        assert server.connections <= 8
