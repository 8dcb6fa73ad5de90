"""The limit: ranges on plain sockets, many at once, with nothing around them.

Not a library and not a file: it knows the object's size, takes the bytes in any order, signs nothing and checks
nothing. What it reaches is what the network, the simulator and this machine allow. It speaks to the simulator alone,
because a real store wants signatures.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers.base import MiB, Peer, Sink

__all__ = ["Connection", "Sockets", "fetch"]

# As many ranges as it takes to fill 1,250 MB/s with connections of 80 MB/s, and those that wait for their first byte.
CONNECTIONS = 24
# 100 ms of a connection of 80 MB/s, beside a first byte at 28 ms.
BLOCK = 8 * MiB
# Where nothing is far away the processor is the limit: few threads, and buffers that stay in its cache.
NEAR_CONNECTIONS = 2
NEAR_BLOCK = MiB


class Connection:
    """One keep-alive connection that fetches ranges into a buffer."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        assert address.hostname is not None
        self._host = address.netloc
        self._socket = socket.create_connection((address.hostname, address.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str, start: int, view: memoryview) -> None:
        """Fill *view* with ``bucket/key``'s bytes from *start* on."""
        stop = start + len(view) - 1
        request = f"GET /{path} HTTP/1.1\r\nHost: {self._host}\r\nRange: bytes={start}-{stop}\r\n\r\n"
        self._socket.sendall(request.encode())
        head = b""
        while (end := head.find(b"\r\n\r\n")) < 0:
            if not (data := self._socket.recv(4096)):
                raise ConnectionError("the server closed the connection")
            head += data
        if not head.startswith(b"HTTP/1.1 206"):
            raise ConnectionError(head.partition(b"\r\n")[0].decode())
        count = len(head) - end - 4
        view[:count] = head[end + 4 :]
        while count < len(view):
            if not (received := self._socket.recv_into(view[count:])):
                raise ConnectionError("the body was cut")
            count += received

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def fetch(
    endpoint: str,
    path: str,
    size: int,
    done: Callable[[int, memoryview], object],
    connections: int = CONNECTIONS,
    block: int = BLOCK,
    room: AbstractContextManager[object] | None = None,
) -> None:
    """All of an object by ranges on several connections, into a buffer per connection that is used again.

    ``done(start, view)`` gets each range in the thread that fetched it, and may use it until it returns. *room* is
    entered for every range: a semaphore there bounds the ranges of several calls together.
    """
    starts: queue.SimpleQueue[int] = queue.SimpleQueue()
    for start in range(0, size, block):
        starts.put(start)
    failed: list[BaseException] = []
    room = room or nullcontext()

    def work() -> None:
        buffer = memoryview(bytearray(min(block, size)))
        connection = Connection(endpoint)
        try:
            while True:
                start = starts.get_nowait()
                view = buffer[: min(block, size - start)]
                with room:
                    connection.get(path, start, view)
                done(start, view)
        except queue.Empty:
            pass
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


class Sockets(Peer):
    """``fetch``, for the workloads that a limit can be shown for."""

    def set_up(self) -> None:
        self._connections: queue.LifoQueue[Connection] = queue.LifoQueue()
        near = self.place.endpoint == self.place.plain_endpoint
        self._most, self._block = (NEAR_CONNECTIONS, NEAR_BLOCK) if near else (CONNECTIONS, BLOCK)
        self._room = threading.Semaphore(self._most)

    def _fetch(self, key: str, size: int, done: Callable[[int, memoryview], object]) -> None:
        fetch(self.place.endpoint, self.place.path(key), size, done, self._most, self._block, self._room)

    def _size(self, key: str) -> int:
        return (self.place.folder / key).stat().st_size

    def read_through(self, key: str, sink: Sink) -> None:
        # Ranges come in any order, so each says where it belongs.
        self._fetch(key, self._size(key), lambda start, view: sink(view, start))

    def read(self, key: str) -> Any:
        whole = memoryview(bytearray(self._size(key)))

        def keep(start: int, view: memoryview) -> None:
            whole[start : start + len(view)] = view

        if len(whole) <= NEAR_BLOCK:
            self._get(key, 0, whole)
        else:
            self._fetch(key, len(whole), keep)
        return whole

    def _get(self, key: str, start: int, view: memoryview) -> None:
        try:
            connection = self._connections.get_nowait()
        except queue.Empty:
            connection = Connection(self.place.endpoint)
        connection.get(self.place.path(key), start, view)
        self._connections.put(connection)

    def _range(self, key: str, start: int, stop: int) -> memoryview:
        view = memoryview(bytearray(stop - start))
        self._get(key, start, view)
        return view

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        return [data for _, data in self.pool(lambda one: self._range(key, *one), ranges, 64)]

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        return self.pool(self.read, keys, 64)
