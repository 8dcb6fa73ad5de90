"""HTTP as far as S3 needs it, by hand: heads are lines, bodies are readers stacked on each other.

The buffered reader of a socket is C, so a head costs a few microseconds, and a large read of a body goes past the
buffer, straight to where it is wanted.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.simulator.shaping import Clock

__all__ = ["BadRequestError", "Request", "body_of", "head", "read_request"]

# A line of a head, or of a chunk's: S3's own limit for all headers together is 8 KiB.
LONGEST_LINE = 16 * 1024

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BadRequestError(Exception):
    """The client sent something that is no HTTP, or went away in the middle: nothing can follow it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    """With names in lower case."""

    @property
    def name(self) -> str:
        """``bucket/key``."""
        return f"{self.bucket}/{self.key}"


def read_request(stream: io.BufferedIOBase) -> Request | None:
    """The next request's head; None where the client closed the connection between two requests."""
    line = stream.readline(LONGEST_LINE)
    if not line:
        return None
    try:
        method, target, _ = line.decode("ascii").split(" ")
    except ValueError as error:
        raise BadRequestError(f"no request line: {line!r}") from error
    headers: dict[str, str] = {}
    while (line := stream.readline(LONGEST_LINE)) not in (b"\r\n", b"\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequestError(f"no header: {line!r}")
        headers[name.lower()] = value.strip()
    if "://" in target:  # as a request to a proxy
        address = urlsplit(target)
        target = f"{address.path}?{address.query}"
    path, _, query = target.partition("?")
    bucket, _, key = path[1:].partition("/")
    pairs = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return Request(method, bucket, unquote(key), pairs, headers)


_date = (0, b"")


def _now() -> bytes:
    """The Date header's value; it is made once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True).encode())
    return _date[1]


def head(status: int, length: int, *headers: str) -> bytes:
    """The head of an answer with a body of *length* bytes."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return (
        b"HTTP/1.1 %d %s\r\nServer: AmazonS3\r\nx-amz-request-id: 0000000000000000\r\nDate: %s\r\n"
        b"Content-Length: %d\r\n%s\r\n" % (status, _REASONS[status].encode(), _now(), length, lines.encode())
    )


class _Limited(io.RawIOBase):
    """The next *left* bytes of a stream, at a line's rate."""

    def __init__(self, stream: io.BufferedIOBase, left: int, clocks: tuple[Clock, ...]) -> None:
        self._stream, self._left, self._clocks = stream, left, clocks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = _fill(self._stream, buffer, self._left)
        self._left -= count
        for clock in self._clocks:
            clock.take(count)
        return count


class _Chunked(io.RawIOBase):
    """What is in the chunks of a stream: of HTTP's (``5\\r\\nhello\\r\\n0\\r\\n\\r\\n``) and of aws-chunked.

    There ``;chunk-signature=…`` follows the sizes, and checksums in trailers the last chunk.
    """

    def __init__(self, stream: io.BufferedIOBase, clocks: tuple[Clock, ...], inner: bool = False) -> None:
        """*inner* is for chunks within a body, which is then read to its own end, too."""
        self._stream, self._clocks, self._inner = stream, clocks, inner
        self._left = 0
        self._begun = self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left and not self._ended:
            self._next()
        count = _fill(self._stream, buffer, self._left)
        self._left -= count
        for clock in self._clocks:
            clock.take(count)
        return count

    def _next(self) -> None:
        """Read the line before the next chunk, and behind the last one all trailers."""
        if self._begun:
            self._stream.readline(LONGEST_LINE)
        self._begun = True
        line = self._stream.readline(LONGEST_LINE)
        try:
            self._left = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise BadRequestError(f"no size of a chunk: {line!r}") from error
        if not self._left:
            self._ended = True
            while self._stream.readline(LONGEST_LINE).strip():
                pass
            if self._inner:
                self._stream.read()


def _fill(stream: io.BufferedIOBase, buffer: memoryview, left: int) -> int:
    """Read as much as is wanted and there; the stream may not end before it."""
    if not (wanted := min(len(buffer), left)):
        return 0
    count = stream.readinto(memoryview(buffer)[:wanted])
    if not count:
        raise BadRequestError("the body was cut")
    return count


def body_of(
    request: Request, stream: io.BufferedIOBase, clocks: tuple[Clock, ...], buffer_size: int
) -> io.BufferedIOBase:
    """The bytes of the request's body, without what wraps them; *clocks* say how fast they come in.

    It must be read to its end, or the next request is not where it should be.
    """
    if "chunked" in request.headers.get("transfer-encoding", ""):
        body: io.BufferedIOBase = io.BufferedReader(_Chunked(stream, clocks), buffer_size)
    else:
        length = int(request.headers.get("content-length", "0"))
        body = io.BufferedReader(_Limited(stream, length, clocks), buffer_size)
    signed = request.headers.get("x-amz-content-sha256", "")
    if signed.startswith("STREAMING-") or "aws-chunked" in request.headers.get("content-encoding", ""):
        body = io.BufferedReader(_Chunked(body, (), inner=True), buffer_size)
    return body
