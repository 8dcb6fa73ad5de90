"""Connections: HTTP/1.1 over kept sockets, as much of it as S3 speaks.

A request goes out as one head and perhaps one buffer. Its reply is read head first, into a small buffer that belongs to
the connection; what follows of the body is received straight into the place where its reader wants it. The standard
library's client parses every head as if it were a mail, and copies each body once more: five times the processor time
for a small object, half as much again for a large one.

*Waiting.* A plain socket waits in the kernel (``SO_RCVTIMEO``), for all the bytes that were asked for
(``MSG_WAITALL``). So a piece of a megabyte is one call without the interpreter's lock, and not sixty that each queue up
for it. In the main thread it waits for the first of them in ``poll``: each signal ends the kernel's wait, and Python
begins it anew with all of its time before it. A TLS socket has to wait in Python, which takes its records one by one in
any case.

*Keeping.* A connection whose reply was read to its end goes back to where it is kept for the next request (``pools``).

*Fork.* A child has the same sockets as its parent. It uses none of them and ends none; they are left where they are.

Errors here are Python's own (``OSError``, ``ssl.SSLError``) and three of this module's, which ``errors`` translates.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from storagekit.deadlines import remaining
from storagekit.fork_guard import guarded
from storagekit_s3.dialling import LEAST_WAIT, dial
from storagekit_s3.processes import generation

if TYPE_CHECKING:
    import ssl

__all__ = [
    "Address",
    "Connection",
    "CutReplyError",
    "Keeper",
    "MalformedReplyError",
    "Reply",
    "UnsentError",
    "read_all",
]

# A head of S3 has about half a KiB, with user metadata at most a few more; and a small object comes along with it.
BUFFER = 64 * 1024
# The largest answer that is a document is a page of 1,000 keys of 1,024 bytes, each byte written as "%XX": 3 MiB.
MOST_DOCUMENT = 16 * 1024 * 1024
# Interim replies ("100 Continue") before the one that counts.
MOST_INTERIM = 8
# Lines behind the last chunk.
MOST_TRAILERS = 64
# Digits of a Content-Length: an exabyte has 19, and S3's largest object 14.
MOST_DIGITS = 19
# A body below this is joined to its head: one packet, and one TLS record, instead of two.
JOINED = 16 * 1024

# As much goes out over TLS in one wait, which is for all of it and not for the next byte.
TLS_PIECE = 256 * 1024

_HEX_DIGITS = b"0123456789abcdefABCDEF"

# The longest wait of ``poll``, in milliseconds: it takes them as a C int. It is 24 days.
LONGEST_POLL = 2**31 - 1

# The kernel's time-outs are known to work so where time_t is as wide as a long.
_KERNEL_WAITS = sys.platform in ("linux", "darwin") and struct.calcsize("l") == 8


class UnsentError(Exception):
    """No connection could be made, so not a byte of the request has left; the cause says why."""


class MalformedReplyError(Exception):
    """What was answered is no HTTP."""


class CutReplyError(Exception):
    """The connection ended before the reply did."""


class Address:
    """Where connections go, and how."""

    __slots__ = ("connect_timeout", "context", "host", "port", "read_timeout")

    def __init__(
        self,
        host: str,
        port: int,
        context: Callable[[], ssl.SSLContext] | None,
        *,
        connect_timeout: float,
        read_timeout: float,
    ) -> None:
        self.host = host
        self.port = port
        self.context = context
        """Makes the context for TLS, once; None for plain HTTP."""
        self.connect_timeout = connect_timeout
        """Seconds for a connection, TLS included, whatever number of addresses the host has."""
        self.read_timeout = read_timeout
        """Seconds without a byte coming, or going. In the middle of a body up to twice as many may pass."""

    def connect(self) -> Connection:
        """A new connection; ``UnsentError``. Only the system knows how long it takes to look the host's name up."""
        try:
            context = self._context()
            plain, end = dial(self.host, self.port, self.connect_timeout)
        except OSError as error:
            raise UnsentError(f"no connection to {self.host}:{self.port}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                with guarded():
                    plain.settimeout(max(end - time.monotonic(), LEAST_WAIT))
                    secure = context.wrap_socket(plain, server_hostname=self.host)
                return Connection(secure, waits=False, read_timeout=self.read_timeout)
            if _KERNEL_WAITS:
                plain.settimeout(None)
            return Connection(plain, waits=_KERNEL_WAITS, read_timeout=self.read_timeout)
        except OSError as error:
            plain.close()
            raise UnsentError(f"no TLS with {self.host}:{self.port}") from error
        except BaseException:  # an interrupt, or a name that no certificate can have
            plain.close()
            raise

    def _context(self) -> ssl.SSLContext | None:
        if self.context is None:
            return None
        with guarded():
            return self.context()


class Connection:
    """One socket, and what was received of the next reply. Used by one thread at a time."""

    __slots__ = (
        "_buffer",
        "_end",
        "_failure",
        "_flags",
        "_incoming",
        "_outgoing",
        "_patience",
        "_read_timeout",
        "_start",
        "_view",
        "idle_since",
        "socket",
        "waits",
    )

    def __init__(self, connected: socket.socket, *, waits: bool, read_timeout: float) -> None:
        self.socket = connected
        self.waits = waits
        """True where receiving waits for all that was asked for."""
        self._read_timeout = read_timeout
        self._patience = -1.0
        self._be_patient(read_timeout)
        self.idle_since = 0.0
        self._incoming = select.poll()
        self._incoming.register(connected, select.POLLIN)
        self._outgoing = select.poll()
        self._outgoing.register(connected, select.POLLOUT)
        self._flags = socket.MSG_WAITALL if waits else 0
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._failure: Exception | None = None
        """What ended the last read after some bytes had come: for the next one."""

    def _be_patient(self, seconds: float) -> None:
        """From now on wait so many seconds for the next byte to come or to go."""
        if seconds == self._patience:
            return
        self._patience = seconds
        if not self.waits:
            self.socket.settimeout(seconds)
            return
        whole, rest = divmod(seconds, 1)
        limit = struct.pack("ll", int(whole), int(rest * 1e6))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def _limit(self) -> None:
        """Wait no longer than the caller has time. To be called before each wait."""
        left = remaining()
        if left is not None:
            if not left:
                raise TimeoutError(errno.ETIMEDOUT, "the caller's time is over")
            self._be_patient(min(max(left, LEAST_WAIT), self._read_timeout))
        elif self._patience != self._read_timeout:
            self._be_patient(self._read_timeout)

    def _wait(self, poll: select.poll) -> None:
        """Where a signal may come, wait for the first byte to come or to go: not even many end this wait too late.

        Behind it the kernel has at least a byte to give or to take, so that a signal ends its wait with that. Signals
        come to the main thread, as a rule; all others are spared to ask for the interpreter's lock once more.
        """
        if (
            self.waits
            and threading.get_ident() == threading.main_thread().ident
            and not poll.poll(min(self._patience * 1000, LONGEST_POLL))
        ):
            raise BlockingIOError

    def send(self, head: bytes, body: bytes | bytearray | memoryview) -> None:
        """Send a request."""
        try:
            if not body:
                self._send(head)
            elif len(body) <= JOINED:
                self._send(b"".join((head, body)))
            else:
                self._send(head)
                self._send(body)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, "the request could not be sent in time") from None

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. ``sendall`` would begin to wait anew with each piece that goes, and not ask for the time."""
        view, sent = memoryview(data), 0
        most = len(view) if self.waits else TLS_PIECE
        while sent < len(view):
            self._limit()
            self._wait(self._outgoing)
            sent += self.socket.send(view[sent : sent + most])

    def receive(self) -> Reply:
        """The head of the reply. Raises ``CutReplyError`` where the connection ends before."""
        for _ in range(MOST_INTERIM):
            status, version, headers = self._head()
            if status >= 200:
                return Reply(self, status, headers, keep=version == "1.1")
        raise MalformedReplyError("interim replies without end")

    def _head(self) -> tuple[int, str, dict[str, str]]:
        buffer = self._buffer
        if self._start == self._end:
            self._start = self._end = 0
        searched = self._start
        while (stop := buffer.find(b"\r\n\r\n", searched, self._end)) < 0:
            searched = max(self._start, self._end - 3)
            if self._end == BUFFER:
                if self._start == 0:
                    raise MalformedReplyError(f"a head of more than {BUFFER} bytes")
                searched -= self._start
                self._make_room()
            if not self._fill():
                raise CutReplyError("the connection was closed before an answer came")
        text = str(self._view[self._start : stop], "latin-1")
        self._start = stop + 4
        return _parse(text)

    def _make_room(self) -> None:
        left = self._end - self._start
        self._buffer[:left] = self._buffer[self._start : self._end]
        self._start, self._end = 0, left

    def _fill(self) -> int:
        """Receive something behind what is in the buffer; 0 at the end of the connection."""
        count = self._into(self._view[self._end :], 0)
        self._end += count
        return count

    def _into(self, view: memoryview, flags: int) -> int:
        self._limit()
        try:
            self._wait(self._incoming)
            return self.socket.recv_into(view, 0, flags)
        except BlockingIOError:
            pass
        # Out here it has no context, whose frames would hold *view* for as long as the error is kept.
        raise TimeoutError(errno.ETIMEDOUT, "no byte came in time")

    def readinto(self, view: memoryview) -> int:
        """Receive into *view*: all of it where that is possible; at the end of the connection 0.

        An error after some bytes is that of the next call: they are given out first, and then it comes without another
        wait. The kernel's wait for all of *view* does not tell when its last byte came, so silence in the middle is
        waited for once more: it is noticed after twice the time at most.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # which its own traceback would hold, and *view* with it
        ready = self._end - self._start
        if ready:
            count = min(ready, len(view))
            view[:count] = self._view[self._start : self._start + count]
            self._start += count
            if count == len(view):
                return count
        else:
            count = 0
        try:
            while count < len(view):
                received = self._into(view[count:] if count else view, self._flags)
                if not received:
                    break
                count += received
        except Exception as error:
            if not count:
                raise
            self._failure = error.with_traceback(None)
        return count

    def line(self) -> bytes:
        """A line, without its end, of those between chunks."""
        while (stop := self._buffer.find(b"\r\n", self._start, self._end)) < 0:
            if self._end - self._start > 1024:
                raise MalformedReplyError("a line between two chunks has no end")
            if self._end == BUFFER or self._start == self._end:
                self._make_room()
            if not self._fill():
                raise CutReplyError("the connection was closed between two chunks")
        line = bytes(self._view[self._start : stop])
        self._start = stop + 2
        return line

    def buffered(self) -> int:
        """How many bytes were received and not read."""
        return self._end - self._start

    def is_quiet(self) -> bool:
        """True where nothing has come that nobody asked for: as a rule that is the end of the connection.

        It may also be an answer too many, which would be taken for that to the next request: so it is looked for
        each time, although looking gives the interpreter's lock away once more.
        """
        pending = getattr(self.socket, "pending", None)
        if pending is not None and pending():  # of a TLS record that has left the system's socket already
            return False
        return not self._incoming.poll(0)

    def close(self) -> None:
        """End it; never raises."""
        try:
            self.socket.close()
        except OSError:
            pass  # it had ended already


def _parse(text: str) -> tuple[int, str, dict[str, str]]:
    """Status, version and headers (names in lower case) of a head."""
    first, *lines = text.split("\r\n")
    protocol, _, rest = first.partition(" ")
    name, _, version = protocol.partition("/")
    status = rest[:3]
    if (
        name != "HTTP"
        or not version.startswith("1.")
        or not (status.isascii() and status.isdigit() and len(status) == 3)
    ):
        raise MalformedReplyError("the answer does not begin as one of HTTP/1.1 does")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedReplyError("a line of the head is no header")
        name, value = name.strip().lower(), value.strip()
        if name in headers and name in ("content-length", "content-range", "transfer-encoding"):
            if headers[name] != value:
                raise MalformedReplyError(f"two different headers {name}")
        elif name in headers:
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return int(status), version, headers


class Keeper(Protocol):
    """Where a connection goes whose reply was read to its end."""

    def give(self, connection: Connection) -> None:
        """Keep it, or close it."""


class Reply:
    """A reply whose head was read; its body is read through ``readinto``, by one thread."""

    __slots__ = ("_chunked", "_connection", "_keep", "_left", "_pool", "_process", "headers", "status")

    def __init__(self, connection: Connection, status: int, headers: Mapping[str, str], *, keep: bool) -> None:
        self.status = status
        self.headers = headers
        """Names in lower case."""
        self._connection: Connection | None = connection
        self._pool: Keeper | None = None
        self._process = generation()
        closing = headers.get("connection", "").lower()
        self._keep = "close" not in closing if keep else "keep-alive" in closing
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._left: int | None = None
        """Bytes up to the end of the body, or of the chunk; None where the end of the connection tells."""
        length = headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) <= MOST_DIGITS):
            raise MalformedReplyError("a length that is no number")
        if self._chunked or status in (204, 304):
            self._left = 0
            self._chunked = self._chunked and status not in (204, 304)
        elif length is not None:
            self._left = int(length)
        else:
            self._keep = False

    def without_body(self) -> None:
        """It is the reply to a HEAD, whatever its headers say."""
        # There are servers (Swift) that end the chunks of the body that is not there.
        self._keep = self._keep and not self._chunked
        self._left, self._chunked = 0, False

    def close_after(self) -> None:
        """The connection is of no further use."""
        self._keep = False

    def return_to(self, pool: Keeper) -> None:
        """Where the connection goes when the body has been read."""
        self._pool = pool

    @property
    def announced(self) -> int:
        """How many bytes may be left of the body, 0 at its end; a lot where only its end will tell."""
        if self._connection is None:
            return 0
        return MOST_DOCUMENT if self._left is None or self._chunked else self._left

    @property
    def inherited(self) -> bool:
        """True in a forked child of the process that made the request."""
        return self._process != generation()

    def readinto(self, view: memoryview, /) -> int:
        """Fill the start of *view*; how many bytes, 0 at the end. ``CutReplyError`` where that comes too early."""
        connection = self._connection
        if connection is None or not len(view):
            return 0
        try:
            return self._readinto(connection, view)
        except BaseException:  # an interrupt too: nobody knows how far it had come
            self._abandon()
            raise

    def _readinto(self, connection: Connection, view: memoryview) -> int:
        if self._left == 0 and not (self._chunked and self._next_chunk(connection)):
            self._finish()
            return 0
        left = self._left
        count = connection.readinto(view if left is None or len(view) <= left else view[:left])
        if left is None:
            if not count:
                self._finish()
            return count
        if not count:
            raise CutReplyError("the connection was closed before the end of the body")
        self._left = left - count
        if self._left == 0:
            if self._chunked:
                if connection.line():
                    raise MalformedReplyError("a chunk is longer than it says")
            else:
                self._finish()
        return count

    def _next_chunk(self, connection: Connection) -> bool:
        """Read the line before a chunk; False at the last, which is empty."""
        size = connection.line().partition(b";")[0].strip()
        if not size or size.strip(_HEX_DIGITS):  # Python's own numbers may have a sign, a prefix and "_"
            raise MalformedReplyError("the length of a chunk is no number")
        self._left = int(size, 16)
        if self._left == 0:
            for _ in range(MOST_TRAILERS):
                if not connection.line():
                    break  # trailers say nothing that is needed
            else:
                raise MalformedReplyError("trailers without end")
            self._chunked = False
        return self._left > 0

    def _finish(self) -> None:
        """The body is at its end: give the connection back, or close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._keep and self._pool is not None and not connection.buffered():
            self._pool.give(connection)
        else:
            connection.close()

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Let go of the connection: kept if what is left of the body has come already, else closed. Never raises."""
        connection = self._connection
        if connection is None:
            return
        if self.inherited:
            _inherited.append(connection)
            self._connection = None
        elif self._left is not None and not self._chunked and self._left == connection.buffered():
            scrap = memoryview(bytearray(self._left))
            connection.readinto(scrap)
            self._finish()
        else:
            self._abandon()


# Connections with a reply that was being read at a fork, in the child. They are kept, because their end would be that
# of the parent's TLS.
_inherited: list[Connection] = []


def read_all(reply: Reply, most: int = MOST_DOCUMENT) -> bytes:
    """The whole body of a reply that is a document; ``MalformedReplyError`` where that is longer than any."""
    data, filled = bytearray(min(reply.announced, BUFFER)), 0
    while left := reply.announced:
        if filled == len(data):  # twice as large each time: a document of many small chunks is seldom copied
            data = data + bytes(min(left, filled))  # and not made longer in place, for a view may be left on it
        count = reply.readinto(memoryview(data)[filled:])
        if not count:
            break
        filled += count
        if filled > most:
            reply.close()
            raise MalformedReplyError(f"an answer of more than {most} bytes")
    reply.close()
    return bytes(data) if filled == len(data) else bytes(memoryview(data)[:filled])
