"""As much of HTTP/1.1 as a proxy needs that disturbs: heads as they came, bodies by the piece.

A head is kept as the bytes that it was, so that what is signed stays signed. A body is an iterator of its payload:
where it came in chunks, those are taken apart and made anew, which changes no byte of what they carry.
https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Framing", "Gathered", "Head", "Wire", "read_body", "read_head", "write_body"]

# No head of a test is near this; without a limit a mistake would fill the memory.
HEAD_BYTES = 64 * 1024
PIECE_BYTES = 256 * 1024

Framing: TypeAlias = int | Literal["chunks", "close"]
"""How a body's end is told: by its length, in chunks, or by the end of the connection."""


class Wire:
    """A connected socket with what was read of it and not used yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def read(self, most: int) -> bytes:
        """At least one byte and at most *most*; nothing at the end."""
        if not self._buffer:
            return self.socket.recv(min(most, PIECE_BYTES))
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        return data

    def line(self) -> bytes:
        """A line with its end; nothing at the end of the connection."""
        while b"\n" not in self._buffer:
            data = self.socket.recv(HEAD_BYTES)
            if not data:
                if self._buffer:
                    raise ConnectionResetError("a line was cut")
                return b""
            self._buffer += data
            if len(self._buffer) > 2 * HEAD_BYTES:
                raise ConnectionAbortedError("a line is too long")
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def send(self, data: bytes) -> None:
        """All of it."""
        self.socket.sendall(data)

    def close(self, *, reset: bool = False) -> None:
        """End the connection; with *reset* by a RST, which throws away what the other side has not read yet."""
        try:
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster
        self.socket.close()


@dataclass(frozen=True)
class Head:
    """The head of a request or a reply: its lines as they came, without the empty one at the end."""

    lines: tuple[bytes, ...]

    @property
    def first(self) -> list[str]:
        """The words of the first line: at most three."""
        return self.lines[0].decode("latin-1").split(None, 2)

    @property
    def status(self) -> int:
        """The status of a reply."""
        return int(self.first[1])

    def get(self, name: str) -> str:
        """The value of a header, in lower case; nothing where there is none."""
        wanted = name.lower().encode()
        for line in self.lines[1:]:
            found, _, value = line.partition(b":")
            if found.strip().lower() == wanted:
                return value.decode("latin-1").strip().lower()
        return ""

    def data(self) -> bytes:
        """The head as it came."""
        return b"".join(self.lines) + b"\r\n"

    def request_framing(self) -> Framing:
        """How the body of a request is framed."""
        if "chunked" in self.get("transfer-encoding"):
            return "chunks"
        return int(self.get("content-length") or 0)

    def reply_framing(self, method: str) -> Framing:
        """How the body of a reply to *method* is framed."""
        if method == "HEAD" or self.status in (204, 304):
            return 0
        if "chunked" in self.get("transfer-encoding"):
            return "chunks"
        length = self.get("content-length")
        return int(length) if length else "close"


def read_head(wire: Wire) -> Head | None:
    """The next head; None where the connection ends instead."""
    lines: list[bytes] = []
    while line := wire.line():
        if line.strip():
            lines.append(line)
        elif lines:  # an empty line before a head is passed over, as the standard asks
            return Head(tuple(lines))
    if lines:
        raise ConnectionResetError("a head was cut")
    return None


def read_body(wire: Wire, framing: Framing) -> Iterator[bytes]:
    """The payload of a body, piece by piece; ``ConnectionResetError`` where it ends too early."""
    if framing == "chunks":
        while size := _chunk_size(wire):
            yield from read_body(wire, size)
            wire.line()
        while wire.line().strip():
            pass  # trailers of HTTP itself: S3 has none, its own stand within the payload
    elif framing == "close":
        while data := wire.read(PIECE_BYTES):
            yield data
    else:
        while framing:
            data = wire.read(framing)
            if not data:
                raise ConnectionResetError("a body was cut")
            framing -= len(data)
            yield data


def _chunk_size(wire: Wire) -> int:
    line = wire.line()
    if not line:
        raise ConnectionResetError("a body was cut")
    return int(line.partition(b";")[0], 16)


class Gathered:
    """What is sent to it, to be sent at once."""

    def __init__(self) -> None:
        self.data = bytearray()

    def send(self, data: bytes) -> None:
        self.data += data


def write_body(wire: Wire | Gathered, framing: Framing, pieces: Iterable[bytes]) -> None:
    """Send a body as *framing* says."""
    for piece in pieces:
        if framing != "chunks":
            wire.send(piece)
        elif piece:  # an empty chunk would be the end
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    if framing == "chunks":
        wire.send(b"0\r\n\r\n")
