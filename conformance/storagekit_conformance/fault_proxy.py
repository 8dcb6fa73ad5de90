"""The fault proxy: the carrier for stores that are reached by HTTP.

A loopback proxy on a port of its own in front of one real server, over http or https as that server is. What it is
not told to disturb it passes on as it came: heads byte for byte, the ``Host`` header too, because a signature covers
it; bodies of any framing, as they come. So a server that checks signatures accepts what came through here. Over https
it has a certificate of its own, and speaks to the server as any client.

Each connection of a client has a thread and a connection to the server of its own. A request is read as far as its
head, named (``s3_operation``), and asked about (``Faults.take``); what is due is then done in one of three places:
*instead of* the request (``_instead``), *to the body* of its reply (``_BODIES``), or *after* it (its answer is lost).
``Expect: 100-continue`` is answered here, since a proxy may, and the server's own "continue" is dropped.
"""

from __future__ import annotations

import html
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from storagekit_conformance.fault_http import Framing, Gathered, Head, Wire, read_body, read_head, write_body
from storagekit_conformance.faults import (
    Answer,
    Corrupt,
    Cut,
    Elsewhere,
    Fault,
    Faults,
    KeyRefused,
    Lost,
    Misplaced,
    Reset,
    Stall,
    Status,
    Trickle,
    Twice,
)
from storagekit_conformance.servers import S3Server, make_certificate

__all__ = ["FaultProxy", "fault_proxy", "s3_operation"]

# Longer than anything takes here; it only keeps a mistake from hanging for ever.
SOCKET_SECONDS = 60.0

# What S3 says along with a status. Of any other the code is a word that no driver knows.
_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "OperationAborted",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}

_KEY = re.compile(rb"<Key>(.*?)</Key>", re.S)

# Parts of a query that make a request to a bucket a listing.
_LISTING = {"list-type", "prefix", "delimiter", "max-keys", "marker", "continuation-token", "start-after"}


def s3_operation(method: str, target: str, copies: bool) -> tuple[str, str]:
    """The operation that a path-style request is, and the key that it is about; *copies*: it names a source to copy."""
    path, _, query = target.partition("?")
    bucket, _, key = path.lstrip("/").partition("/")
    names = {pair.partition("=")[0] for pair in query.split("&") if pair}
    key = unquote(key)
    if not bucket:
        return "list", ""
    if not key:
        return _bucket_operation(method, names), ""
    if "uploadId" in names:
        part = "copy" if copies else "part"
        return {"PUT": part, "POST": "commit", "DELETE": "abort"}.get(method, "uploads"), key
    if method == "POST" and "uploads" in names:
        return "begin", key
    if method == "PUT":
        return "copy" if copies else "put", key
    return {"GET": "read", "HEAD": "stat", "DELETE": "delete"}.get(method, "other"), key


def _bucket_operation(method: str, names: set[str]) -> str:
    if method == "HEAD":
        return "stat"
    if method == "POST" and "delete" in names:
        return "delete"
    if method == "GET" and "uploads" in names:
        return "uploads"
    return "list" if method == "GET" and (not names or names & _LISTING) else "other"


class FaultProxy:
    """A proxy in front of the server at *upstream*, which trusts *ca_bundle* there and shows *certificate* here."""

    def __init__(
        self, upstream: str, *, ca_bundle: str | None = None, certificate: tuple[Path, Path] | None = None
    ) -> None:
        address = urlsplit(upstream)
        self._host, self._port = address.hostname or "", address.port or 0
        self._upstream_tls = ssl.create_default_context(cafile=ca_bundle) if address.scheme == "https" else None
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._closing = threading.Event()
        self.faults = Faults(counts_bytes=True, wait=self._closing.wait)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        """Where it answers."""
        self._listening = self._start(self._accept)

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name="storagekit-fault-proxy", daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            self._threads.append(self._start(_Client(self, connection).serve))

    def _adopt(self, connection: socket.socket) -> socket.socket:
        """Keep a socket, so that ``close`` can end it."""
        connection.settimeout(SOCKET_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(connection)
        if self._closing.is_set():
            connection.close()
            raise ConnectionAbortedError("the proxy is closing")
        return connection

    def client(self, connection: socket.socket) -> Wire:
        """A client's connection, ready to be read."""
        if self._tls is not None:
            connection.settimeout(SOCKET_SECONDS)
            connection = self._tls.wrap_socket(connection, server_side=True)
        return Wire(self._adopt(connection))

    def server(self) -> Wire:
        """A new connection to the server."""
        connection = socket.create_connection((self._host, self._port), timeout=SOCKET_SECONDS)
        if self._upstream_tls is not None:
            connection = self._upstream_tls.wrap_socket(connection, server_hostname=self._host)
        return Wire(self._adopt(connection))

    def forget(self, wire: Wire, *, reset: bool = False) -> None:
        """End a connection."""
        with self._lock:
            self._open.discard(wire.socket)
        wire.close(reset=reset)

    def close(self) -> None:
        """End every connection and every thread; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        # Waking it by a visit works everywhere; closing a socket under accept() does not.
        socket.create_connection(self._listener.getsockname()).close()
        self._listening.join()
        self._listener.close()
        with self._lock:
            open_now = list(self._open)
        for connection in open_now:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself
        for thread in self._threads:
            thread.join(SOCKET_SECONDS)


@contextmanager
def fault_proxy(server: S3Server) -> Iterator[tuple[S3Server, Faults]]:
    """*server* as it is reached through a proxy, and the faults of that."""
    with tempfile.TemporaryDirectory(prefix="storagekit-faults-") as folder:
        certificate = None
        if server.endpoint.startswith("https:"):
            certificate = Path(folder, "certificate.pem"), Path(folder, "key.pem")
            make_certificate(*certificate)
        proxy = FaultProxy(server.endpoint, ca_bundle=server.ca_bundle, certificate=certificate)
        try:
            bundle = str(certificate[0]) if certificate else None
            yield replace(server, endpoint=proxy.endpoint, ca_bundle=bundle), proxy.faults
        finally:
            proxy.close()


class _EndError(Exception):
    """The fault ends the connection of the client here."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset


class _Client:
    """One connection of a client, with the one to the server that serves it."""

    def __init__(self, proxy: FaultProxy, connection: socket.socket) -> None:
        self._proxy = proxy
        self._faults = proxy.faults
        self._connection = connection
        self._client: Wire | None = None
        self._server: Wire | None = None

    def serve(self) -> None:
        """Pass on request after request, until one side ends."""
        reset = False
        try:
            self._client = self._proxy.client(self._connection)
            while (head := read_head(self._client)) and self._exchange(self._client, head):
                pass
        except _EndError as end:
            reset = end.reset
        except OSError:
            pass  # one side is gone: the other learns it when this ends
        except Exception as error:
            self._faults.keep(error)
        finally:
            if self._client is None:
                self._connection.close()
            for wire in (self._client, self._server):
                if wire is not None:
                    self._proxy.forget(wire, reset=reset and wire is self._client)

    def _exchange(self, client: Wire, head: Head) -> bool:
        """One request and its reply; False where the connection ends with it."""
        method, target, _ = head.first
        framing = head.request_framing()
        if head.get("expect") == "100-continue":
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body: Iterable[bytes] = read_body(client, framing)
        operation, key = s3_operation(method, target, bool(head.get("x-amz-copy-source")))
        keys = [key]
        if (operation, method) == ("delete", "POST"):
            body = list(body)
            keys = [html.unescape(found.decode()) for found in _KEY.findall(b"".join(body))]
        fault = self._faults.take(operation, *keys)
        self._faults.prepare(fault)
        if (reply := self._instead(fault, method)) is not None:
            for _ in body:
                pass  # the whole request, so that the client has sent it and waits
            if not reply:
                self._faults.wait(fault.seconds if isinstance(fault, Stall) else 0)
                raise _EndError(reset=True)
            client.send(reply)
            return True
        if isinstance(fault, Misplaced):
            head = _misplaced(head, fault.by)
        server = self._send(head, framing, self._counted(body, operation, "sent"))
        if isinstance(fault, KeyRefused):
            fault = replace(fault, key=next(key for key in keys if key.endswith(fault.key)))
        return self._receive(client, server, fault, method, operation, keys)

    def _instead(self, fault: Fault | None, method: str) -> bytes | None:
        """What is answered instead of the server's reply: nothing at all, or this; None where the server is asked."""
        if isinstance(fault, Reset) or (isinstance(fault, Stall) and fault.after is None):
            return b""
        if isinstance(fault, Status):
            return _refusal(fault.code, method)
        if isinstance(fault, KeyRefused) and method == "DELETE":
            return _refusal(403, method)
        if isinstance(fault, Answer):
            return _reply(fault.status, fault.body, method)
        if isinstance(fault, Elsewhere):
            # A port where nobody listens: below 1024 only who is root may, and 9 is there to throw away.
            return _reply(fault.status, b"", method, "Location: http://127.0.0.1:9/elsewhere\r\n")
        return None

    def _send(self, head: Head, framing: Framing, body: Iterable[bytes]) -> Wire:
        if self._server is None:
            self._server = self._proxy.server()
        try:
            self._server.send(head.data())
            write_body(self._server, framing, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server may have answered before it had read all
        return self._server

    def _receive(
        self, client: Wire, server: Wire, fault: Fault | None, method: str, operation: str, keys: Sequence[str]
    ) -> bool:
        head = read_head(server)
        while head is not None and 100 <= head.status < 200:
            head = read_head(server)
        if head is None:
            raise ConnectionResetError("the server has ended the connection")
        framing = head.reply_framing(method)
        body: Iterable[bytes] = read_body(server, framing)
        if isinstance(fault, Lost) or (isinstance(fault, Cut | Stall) and framing == 0):
            for _ in body:
                pass
            if isinstance(fault, Stall):
                self._faults.wait(fault.seconds)
            raise _EndError(reset=True)
        if isinstance(fault, KeyRefused):
            for _ in body:
                pass
            client.send(_reply(200, _batch_failure(fault.key, keys), method))
            return True
        if fault is not None and (change := _BODIES.get(type(fault))):
            body = change(self._faults, fault, iter(body), framing)
        body = self._counted(body, operation, "received")
        if isinstance(fault, Twice):
            # At once: a second answer that came later than the next request would be taken for the answer to that.
            answer = Gathered()
            answer.send(head.data())
            write_body(answer, framing, body)
            client.send(bytes(2 * answer.data))
        else:
            client.send(head.data())
            write_body(client, framing, body)
        if framing == 0 and "chunked" in head.get("transfer-encoding"):
            # Swift ends the body that such a reply does not have: what comes next would be no head.
            self._proxy.forget(server, reset=False)
            self._server = None
        return framing != "close" and head.get("connection") != "close"

    def _counted(self, pieces: Iterable[bytes], operation: str, direction: str) -> Iterator[bytes]:
        for piece in pieces:
            self._faults.note(operation, **{direction: len(piece)})
            yield piece


# -- replies of our own -----------------------------------------------------------------------------------


def _reply(status: int, body: bytes, method: str, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


def _refusal(status: int, method: str) -> bytes:
    code = _CODES.get(status, "Disturbed")
    return _reply(status, f"<Error><Code>{code}</Code><Message>as a test wants it</Message></Error>".encode(), method)


def _batch_failure(key: str, keys: Sequence[str]) -> bytes:
    """Of the *keys* of a batch, all but *key* were removed."""
    removed = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in keys if name != key)
    error = f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>as a test wants it</Message></Error>"
    return f"<DeleteResult>{removed}{error}</DeleteResult>".encode()


# -- what faults do to the body of a reply ----------------------------------------------------------------


def _cut(faults: Faults, fault: Any, pieces: Iterator[bytes], framing: Framing) -> Iterator[bytes]:
    """A ``Cut`` or a ``Stall``: the first bytes, and then the end, soon or late."""
    left = fault.after
    for piece in pieces:
        if len(piece) > left:
            if left:
                yield piece[:left]
            if isinstance(fault, Stall):
                faults.wait(fault.seconds)
            raise _EndError(reset=not getattr(fault, "quiet", False))
        left -= len(piece)
        yield piece


def _corrupt(faults: Faults, fault: Any, pieces: Iterator[bytes], framing: Framing) -> Iterator[bytes]:
    """A ``Corrupt``: every piece, some of its bytes changed. The length must be known before; chunks are gathered."""
    if not isinstance(framing, int):
        gathered = b"".join(pieces)
        pieces, framing = iter([gathered]), len(gathered)
    changes, start = fault.changes(framing), 0
    for piece in pieces:
        changed = bytearray(piece)
        for place, mask in changes.items():
            if start <= place < start + len(piece):
                changed[place - start] ^= mask
        start += len(piece)
        yield bytes(changed)


def _trickle(faults: Faults, fault: Any, pieces: Iterator[bytes], framing: Framing) -> Iterator[bytes]:
    """A ``Trickle``: everything, little by little."""
    for piece in pieces:
        for start in range(0, len(piece), fault.size):
            yield piece[start : start + fault.size]
            faults.wait(fault.seconds)


def _misplaced(head: Head, by: int | None) -> Head:
    """A request for another range, or for no range at all."""
    lines = []
    for line in head.lines:
        if line.lower().startswith(b"range:"):
            if by is None:
                continue
            first, last = line.partition(b"=")[2].split(b"-")
            line = b"Range: bytes=%d-%d\r\n" % (int(first) + by, int(last) + by)
        lines.append(line)
    return Head(tuple(lines))


_BODIES: dict[type[Fault], Callable[[Faults, Any, Iterator[bytes], Framing], Iterator[bytes]]] = {
    Cut: _cut,
    Stall: _cut,
    Corrupt: _corrupt,
    Trickle: _trickle,
}
