"""The fault carriers themselves: what is not disturbed passes byte for byte, and each fault does what it says."""

from __future__ import annotations

import errno
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import storagekit
from storagekit_conformance.fault_proxy import FaultProxy, fault_proxy, s3_operation
from storagekit_conformance.fault_wrapper import PAGE, FaultWrapper, disturbed
from storagekit_conformance.faults import (
    OPERATIONS,
    Answer,
    Before,
    Corrupt,
    Cut,
    Delay,
    Fault,
    Faults,
    KeyRefused,
    Lost,
    Reset,
    Stall,
    Status,
)
from storagekit_conformance.servers import S3Server, missing_moto, missing_rclone, moto_server, rclone_server
from storagekit_conformance.support import content
from storagekit_conformance.target import Root, Target

BODY = content(300_000)
MiB = 1024 * 1024


# -- the plan ---------------------------------------------------------------------------------------------


def test_a_fault_comes_after_so_many_and_so_often() -> None:
    faults = Faults()
    rule = faults.arm(Status(503), "read", "stat", after=1, times=2)
    took = [faults.take(name, "key") for name in ("read", "list", "stat", "read", "read")]
    assert took == [None, None, Status(503), Status(503), None]
    assert rule.hits == 2
    assert (faults.count("read"), faults.count("read", "stat"), faults.count()) == (3, 4, 5)
    faults.forget()
    assert faults.count() == 0


def test_the_first_that_is_due_is_done_and_keys_choose() -> None:
    faults = Faults()
    faults.arm(Reset(), "delete", key="/b", times=None)
    faults.arm(KeyRefused("c"), "delete", times=None)
    faults.arm(Status(403), "delete", times=None)
    assert faults.take("delete", "a/b") == Reset()
    assert faults.take("delete", "a/c") == KeyRefused("c")
    assert faults.take("delete", "a", "b", "x/b") == Reset()
    assert faults.take("delete", "a") == Status(403)
    faults.clear()
    assert faults.take("delete", "a/b") is None


def test_what_would_prove_nothing_is_refused() -> None:
    faults = Faults(cannot=frozenset({Answer}))
    with pytest.raises(ValueError, match="no such operation: reed"):
        faults.arm(Reset(), "reed")
    with pytest.raises(ValueError, match="none given"):
        faults.arm(Reset())
    with pytest.raises(ValueError, match="cannot do Answer"):
        faults.arm(Answer(b""), "read")
    with pytest.raises(AssertionError, match="never done"), faults.armed(Reset(), "read"):
        pass
    with faults.armed(Reset(), "read", certain=False) as rule:
        pass
    assert rule.hits == 0
    assert faults.take("read", "key") is None, "disarmed"


def test_an_error_of_the_test_itself_is_kept_and_raised_at_the_end() -> None:
    faults = Faults()
    faults.prepare(Before(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        faults.check()
    faults.check()


def test_corruption_is_the_same_for_one_seed() -> None:
    changes = Corrupt(5, seed=3).changes(10_000)
    assert changes == Corrupt(5, seed=3).changes(10_000) != Corrupt(5, seed=4).changes(10_000)
    assert len(changes) == 5
    assert all(0 < mask < 256 for mask in changes.values())
    assert Corrupt(5).changes(0) == {}


@pytest.mark.parametrize(
    ("method", "target", "copies", "expected"),
    [
        ("GET", "/box/a/b", False, ("read", "a/b")),
        ("GET", "/box/a%2Fb%20c?versionId=1", False, ("read", "a/b c")),
        ("GET", "/box//a", False, ("read", "/a")),
        ("HEAD", "/box/a", False, ("stat", "a")),
        ("HEAD", "/box", False, ("stat", "")),
        ("GET", "/box?list-type=2&prefix=a", False, ("list", "")),
        ("GET", "/box/", False, ("list", "")),
        ("GET", "/box?versioning", False, ("other", "")),
        ("GET", "/", False, ("list", "")),
        ("GET", "/box?uploads", False, ("uploads", "")),
        ("PUT", "/box/a", False, ("put", "a")),
        ("PUT", "/box/a", True, ("copy", "a")),
        ("POST", "/box/a?uploads", False, ("begin", "a")),
        ("PUT", "/box/a?uploadId=u&partNumber=1", False, ("part", "a")),
        ("PUT", "/box/a?partNumber=1&uploadId=u", True, ("copy", "a")),
        ("POST", "/box/a?uploadId=u", False, ("commit", "a")),
        ("DELETE", "/box/a?uploadId=u", False, ("abort", "a")),
        ("GET", "/box/a?uploadId=u", False, ("uploads", "a")),
        ("DELETE", "/box/a", False, ("delete", "a")),
        ("POST", "/box?delete", False, ("delete", "")),
        ("OPTIONS", "/box/a", False, ("other", "a")),
        ("PUT", "/box", False, ("other", "")),
    ],
)
def test_requests_are_named(method: str, target: str, copies: bool, expected: tuple[str, str]) -> None:
    assert s3_operation(method, target, copies) == expected
    assert expected[0] in OPERATIONS


# -- the proxy, in front of a server that answers in every way ------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def do_GET(self) -> None:
        self._answer(self._body())

    do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 (http.server calls them so)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(self, sent: bytes) -> None:
        self.seen.append((self.command, self.path, dict(self.headers), sent))
        kind = self.path.rpartition("/")[2]
        self.send_response({"none": 204, "same": 304}.get(kind, 200))
        self.send_header("X-Kind", kind)
        if kind in ("chunks", "swift"):
            self.send_header("Transfer-Encoding", "chunked")
        elif kind == "close":
            self.send_header("Connection", "close")
        elif kind not in ("none", "same"):
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if kind == "swift":  # so it answers a HEAD of what is not there
            self.wfile.write(b"0\r\n\r\n")
        if self.command == "HEAD" or kind in ("none", "same", "swift"):
            return
        if kind == "chunks":
            for at in range(0, len(BODY), 70_000):
                piece = BODY[at : at + 70_000]
                self.wfile.write(b"%x;note=1\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")
        else:
            self.wfile.write(BODY)

    def log_message(self, *words: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def upstream() -> Iterator[str]:
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream: str) -> Iterator[FaultProxy]:
    made = FaultProxy(upstream)
    yield made
    made.close()
    made.faults.check()


@contextmanager
def connected(endpoint: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, str | None, bytes]:
    """One request and what came of it; a body that breaks off raises ``http.client.IncompleteRead``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named, encode_chunked="Transfer-Encoding" in named)
    reply = connection.getresponse()
    return reply.status, reply.headers.get("X-Kind"), reply.read()


@pytest.mark.parametrize("kind", ["length", "chunks", "close", "none", "same"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_disturbed_passes(upstream: str, proxy: FaultProxy, kind: str, method: str) -> None:
    with connected(upstream) as direct:
        expected = ask(direct, f"/box/{kind}", method)
    with connected(proxy.endpoint) as through:
        assert ask(through, f"/box/{kind}", method) == expected
        assert ask(through, f"/box/{kind}", method) == expected  # on the same connection, where that goes on
    assert proxy.faults.count("read", "stat") == 2
    assert proxy.faults.traffic().received == 2 * len(expected[2])


def test_a_body_where_none_may_be_is_not_taken_for_the_next_reply(proxy: FaultProxy) -> None:
    for _ in range(3):
        with connected(proxy.endpoint) as through:
            assert ask(through, "/box/swift", "HEAD") == (200, "swift", b"")
            assert ask(through, "/box/length") == (200, "length", BODY)


def test_requests_arrive_as_they_were_sent(proxy: FaultProxy) -> None:
    with connected(proxy.endpoint) as through:
        ask(through, "/box/length", "PUT", BODY, X_Odd="a  b", Host="signed.example")
        ask(through, "/box/length?x=%2F", "PUT", iter([BODY[:1000], BODY[1000:]]), Transfer_Encoding="chunked")
        ask(through, "/box/length", "PUT", BODY, Expect="100-continue")
    (_, _, first, whole), (_, path, _, chunked), (*_, expected) = Handler.seen
    assert whole == chunked == expected == BODY
    assert (first["X-Odd"], first["Host"], path) == ("a  b", "signed.example", "/box/length?x=%2F")
    assert proxy.faults.traffic("put").sent == 3 * len(BODY)


def test_faults_instead_of_a_request(proxy: FaultProxy) -> None:
    with connected(proxy.endpoint) as through:
        with proxy.faults.armed(Status(503), "put"):
            status, _, body = ask(through, "/box/length", "PUT", BODY)
            assert (status, b"<Code>SlowDown</Code>" in body) == (503, True)
        with proxy.faults.armed(Status(404), "stat"):
            assert ask(through, "/box/length", "HEAD") == (404, None, b"")
        with proxy.faults.armed(Answer(b"hello", 201), "read"):
            assert ask(through, "/box/length") == (201, None, b"hello")
        with proxy.faults.armed(KeyRefused("length"), "delete"):
            assert ask(through, "/box/length", "DELETE")[0] == 403
    for fault in (Reset(), Stall(0.1)):
        with (
            proxy.faults.armed(fault, "put"),
            connected(proxy.endpoint) as through,
            pytest.raises(ConnectionResetError),
        ):
            ask(through, "/box/length", "PUT", BODY)
    assert Handler.seen == []
    assert proxy.faults.traffic().sent == 0


def test_faults_after_a_request(proxy: FaultProxy) -> None:
    for fault, method in ((Lost(), "PUT"), (Cut(0), "HEAD"), (Stall(0.1, 5), "HEAD")):
        with (
            proxy.faults.armed(fault, "put", "stat"),
            connected(proxy.endpoint) as through,
            pytest.raises(ConnectionResetError),
        ):
            ask(through, "/box/length", method)
    assert [command for command, *_ in Handler.seen] == ["PUT", "HEAD", "HEAD"]


@pytest.mark.parametrize("kind", ["length", "chunks"])
@pytest.mark.parametrize("after", [0, 1000, 100_000])
def test_a_body_is_cut_where_it_says(proxy: FaultProxy, kind: str, after: int) -> None:
    with (
        proxy.faults.armed(Cut(after, quiet=True), "read"),
        connected(proxy.endpoint) as through,
        pytest.raises(http.client.IncompleteRead) as cut,
    ):
        ask(through, f"/box/{kind}")
    assert cut.value.partial == BODY[:after]
    with (
        proxy.faults.armed(Cut(after), "read"),
        connected(proxy.endpoint) as through,
        pytest.raises(ConnectionResetError),
    ):
        ask(through, f"/box/{kind}")
    assert proxy.faults.traffic("read").received == 2 * after


def test_a_stall_ends_with_its_time_and_with_the_proxy(proxy: FaultProxy) -> None:
    with (
        proxy.faults.armed(Stall(0.1, 1000), "read"),
        connected(proxy.endpoint) as through,
        pytest.raises(ConnectionResetError),
    ):
        ask(through, "/box/length")
    begun = time.monotonic()
    with proxy.faults.armed(Stall(600.0, 1000), "read"), connected(proxy.endpoint) as through:
        through.request("GET", "/box/length")
        assert through.getresponse().read(1000) == BODY[:1000]
        proxy.close()
    assert time.monotonic() - begun < 60
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(proxy.endpoint).port or 0))


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_corruption_changes_what_it_says(proxy: FaultProxy, kind: str) -> None:
    fault = Corrupt(4, seed=9)
    with proxy.faults.armed(fault, "read", times=2), connected(proxy.endpoint) as through:
        once, again = ask(through, f"/box/{kind}")[2], ask(through, f"/box/{kind}")[2]
    assert once == again
    assert len(once) == len(BODY)
    changed = {at: a ^ b for at, (a, b) in enumerate(zip(once, BODY, strict=True)) if a != b}
    assert changed == fault.changes(len(BODY))


def test_what_only_comes_before(proxy: FaultProxy) -> None:
    with connected(proxy.endpoint) as through:
        with proxy.faults.armed(Before(lambda: Handler.seen.append(("a change", "", {}, b""))), "read"):
            assert ask(through, "/box/length")[2] == BODY
        begun = time.monotonic()
        with proxy.faults.armed(Delay(0.2), "read"):
            assert ask(through, "/box/length")[2] == BODY
        assert time.monotonic() - begun >= 0.2
    assert [command for command, *_ in Handler.seen] == ["a change", "GET", "GET"]


# -- the proxy, in front of real servers -----------------------------------------------------------------


def _boto(server: S3Server, secret: str | None = None) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret or server.secret_key,
        region_name=server.region,
        verify=server.ca_bundle,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_supported"),
    )


@pytest.mark.skipif(missing_moto(tls=True) is not None, reason=str(missing_moto(tls=True)))
def test_https_with_checksum_trailers() -> None:
    with moto_server(tls=True) as server, fault_proxy(server) as (seen, faults):
        assert seen.endpoint.startswith("https:")
        bucket, client, framed = server.new_bucket(), _boto(seen), []
        client.meta.events.register("before-send.s3", lambda request, **_: framed.append(dict(request.headers)))
        client.put_object(Bucket=bucket, Key="key", Body=BODY)
        assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == BODY
        client.close()
        assert b"x-amz-checksum-crc32" in framed[0]["X-Amz-Trailer"]
        assert faults.traffic("put").sent > len(BODY), "the frames and the trailer too"
        assert server.client().get_object(Bucket=bucket, Key="key")["Body"].read() == BODY
        faults.check()


@pytest.mark.skipif(missing_rclone() is not None, reason=str(missing_rclone()))
def test_signatures_stay_valid() -> None:
    from botocore.exceptions import ClientError

    with rclone_server() as server, fault_proxy(server) as (seen, faults):
        bucket = server.new_bucket()
        with storagekit.Storage(options={"s3": {**seen.options(), "part_size": 5 * MiB}}) as storage:
            url = f"s3://{bucket}/a folder/ä+%2F.bin"
            data = content(11 * MiB)
            with storage.open(url, "wb") as file:
                file.write(data)
            with storage.open(url, "rb") as file:
                assert file.read() == data
            assert storage.listdir(f"s3://{bucket}/a folder") == ["ä+%2F.bin"]
            storage.remove(url)
        assert faults.count("part") == 3
        assert faults.traffic("read").received == len(data)
        stranger = _boto(seen, "not-the-secret")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            stranger.list_objects_v2(Bucket=bucket)
        stranger.close()
        faults.check()


# -- the wrapper ------------------------------------------------------------------------------------------


@pytest.fixture
def wrapped() -> Iterator[tuple[storagekit.Storage, Faults]]:
    faults = Faults(cannot=frozenset({Answer}))
    with storagekit.Storage(wrappers=[FaultWrapper(faults)]) as storage:
        with storage.open("memory://box/key", "wb") as file:
            file.write(BODY)
        yield storage, faults


def read(storage: storagekit.Storage) -> bytes:
    with storage.open("memory://box/key", "rb") as file:
        return file.read()


CALLS: dict[str, Callable[[storagekit.Storage], object]] = {
    "read": read,
    "stat": lambda storage: storage.stat("memory://box/key"),
    "list": lambda storage: storage.listdir("memory://box"),
    "put": lambda storage: storage.open("memory://box/new", "wb").close(),
    "copy": lambda storage: storage.copyfile("memory://box/key", "memory://box/copy"),
    "delete": lambda storage: storage.remove("memory://box/key"),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Status(403), errno.EACCES),
        (Status(503), errno.EBUSY),
        (Status(500), errno.EIO),
        (Reset(), errno.ECONNRESET),
        (Lost(), errno.ECONNRESET),
        (Stall(60.0), errno.ETIMEDOUT),
    ],
)
def test_a_driver_says_what_failed(
    wrapped: tuple[storagekit.Storage, Faults], operation: str, fault: Fault, code: int
) -> None:
    storage, faults = wrapped
    with faults.armed(fault, operation, times=None), pytest.raises(OSError, match="memory://box") as failed:
        CALLS[operation](storage)
    assert failed.value.errno == code
    assert str(failed.value.filename).startswith("memory://box")
    applied = isinstance(fault, Lost)
    assert storage.exists("memory://box/new") == (applied and operation == "put")
    assert storage.exists("memory://box/copy") == (applied and operation == "copy")
    assert storage.exists("memory://box/key") == (not (applied and operation == "delete"))
    faults.forget()
    CALLS[operation](storage) if operation != "delete" else storage.remove("memory://box/key", missing_ok=True)
    assert faults.count(operation) >= 1


def test_ranges_are_disturbed_as_bodies_are(wrapped: tuple[storagekit.Storage, Faults]) -> None:
    _, faults = wrapped
    # Without a cache every read asks the driver, and the head that came with opening is not kept.
    with storagekit.Storage(wrappers=[FaultWrapper(faults)], cache_bytes=0) as storage:
        with storage.open("memory://box/key", "wb") as file:
            file.write(BODY)
        for fault in (Cut(100), Cut(100_000, quiet=True), Stall(60.0, 70_000)):
            faults.forget()
            with faults.armed(fault, "read", after=1):
                assert read(storage) == BODY
            assert faults.count("read") == 3
        corrupt = Corrupt(3, seed=1)
        with faults.armed(corrupt, "read", after=1):
            got = read(storage)
        changed = {at: a ^ b for at, (a, b) in enumerate(zip(got, BODY, strict=True)) if a != b}
        assert changed == corrupt.changes(len(BODY))


def test_a_head_is_disturbed_as_a_body_is(wrapped: tuple[storagekit.Storage, Faults]) -> None:
    storage, faults = wrapped
    for fault in (Cut(0), Cut(100, quiet=True), Stall(60.0, 5)):
        with faults.armed(fault, "read"):
            assert read(storage) == BODY


def test_a_listing_asks_again_after_a_page(wrapped: tuple[storagekit.Storage, Faults]) -> None:
    storage, faults = wrapped
    for number in range(PAGE):
        storage.touch(f"memory://box/folder/{number}")
    faults.forget()
    assert len(storage.listdir("memory://box/folder")) == PAGE
    assert faults.count("list") == 1
    storage.touch("memory://box/folder/more")
    with faults.armed(Reset(), "list", after=1), pytest.raises(ConnectionResetError):
        storage.listdir("memory://box/folder")


def test_native_files_are_read_through_hooks(tmp_path: Path) -> None:
    faults = Faults()
    (tmp_path / "key").write_bytes(BODY)
    with storagekit.Storage(wrappers=[FaultWrapper(faults)]) as storage:
        with storage.open(f"file://{tmp_path}/key", "rb") as file:
            assert file.read() == BODY
        assert faults.count("read") >= 1
        with faults.armed(Status(403), "read"), pytest.raises(PermissionError):
            storage.open(f"file://{tmp_path}/key", "rb")


def test_one_key_of_a_batch(wrapped: tuple[storagekit.Storage, Faults]) -> None:
    storage, faults = wrapped
    for name in "abc":
        storage.touch(f"memory://box/folder/{name}")
    with faults.armed(KeyRefused("/b"), "delete"), pytest.raises(PermissionError) as failed:
        storage.rmtree("memory://box/folder")
    assert failed.value.filename == "memory://box/folder/b"


# -- the place --------------------------------------------------------------------------------------------


def test_a_target_without_a_proxy_gets_the_wrapper() -> None:
    @contextmanager
    def root() -> Iterator[Root]:
        yield Root("memory://box/place", settings={"wrappers": [FaultWrapper(others)]})

    others = Faults()
    with disturbed(Target("plain", root)) as place, place.storage() as storage:
        assert place.faults is not None
        storage.touch("memory://box/place/key")
        assert place.faults.count("put") == others.count("put") == 1
        assert not place.faults.can(Answer)
        assert not place.faults.counts_bytes


def test_an_error_that_a_carrier_kept_fails_the_test() -> None:
    @contextmanager
    def root() -> Iterator[Root]:
        yield Root("memory://box/place")

    with pytest.raises(ZeroDivisionError), disturbed(Target("plain", root)) as place, place.storage() as storage:
        assert place.faults is not None
        place.faults.arm(Before(lambda: 1 / 0), "put")
        storage.touch("memory://box/place/key")
