"""A server that says what a test has written down, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["CLOSE", "EARLY", "RESET", "SILENCE", "Asked", "Scripted", "reply"]

CLOSE = "close"
"""End the connection."""
RESET = "reset"
"""End it with a reset."""
SILENCE = "silence"
"""Say nothing more until the test is over."""
EARLY = "early"
"""As the first thing of an answer: what follows is said before the request's body has come, and then the end."""

Answer: TypeAlias = Sequence[bytes | str]


def reply(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; underscores in the names of *headers* are hyphens."""
    given = {"content_length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode("latin-1") + body


@dataclass
class Asked:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)


class Scripted:
    """Answers the next request, over whichever connection, with the next of *answers*, or with what *always* makes."""

    def __init__(
        self,
        *answers: Answer | bytes,
        context: ssl.SSLContext | None = None,
        always: Callable[[Asked], Answer] | None = None,
    ) -> None:
        self._always = always
        self.answers: list[Answer] = [[a] if isinstance(a, bytes) else a for a in answers]
        self.asked: list[Asked] = []
        self.connections = 0
        self._context = context
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="scripted", daemon=True)
        thread.start()
        self._threads.append(thread)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has ended
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            with self._lock:
                self._open.append(connection)
            self.connections += 1
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.append(connection)
            with connection, connection.makefile("rb") as file:
                while self._exchange(connection, file):
                    pass
        except OSError:
            pass  # the client has ended it
        finally:
            connection.close()

    def _exchange(self, connection: socket.socket, file: object) -> bool:
        line = file.readline()  # type: ignore[attr-defined]
        if not line:
            return False
        method, target, _ = line.decode().split(" ")
        headers: dict[str, str] = {}
        while (line := file.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        asked = Asked(method, target, headers)
        self.asked.append(asked)
        with self._lock:
            answer = self.answers.pop(0) if self.answers else [CLOSE]
        if self._always is not None:
            answer = self._always(asked)
        if answer[0] != EARLY:
            asked.body = file.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
        return all(self._say(connection, part) for part in answer) and answer[0] != EARLY

    def _say(self, connection: socket.socket, part: bytes | str) -> bool:
        if isinstance(part, bytes):
            connection.sendall(part)
        elif part == SILENCE:
            self._over.wait()
            return False
        elif part == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return part not in (CLOSE, RESET)
