"""Pools: connections to one address, kept between two requests.

The latest is taken first, so that those that a burst has left over grow old and are closed. The server may have closed
one meanwhile: what is readable while nobody asked is not used again. Nor is what was idle for long: a firewall forgets
such a connection without telling either side, and a request over it would meet nothing but silence. The server may also
close at just this moment: then nothing of an answer comes, and the request goes out again over another one
(``exchanges``).
"""

from __future__ import annotations

import time
import weakref
from collections import deque

from storagekit_s3.connections import Address, Connection
from storagekit_s3.processes import generation

__all__ = ["Pool"]

# S3 closes what is idle for some seconds; most other servers for a minute.
IDLE_SECONDS = 30.0
# As many as read_many has in flight (64) and twice what transfers may run at once (32).
MOST_IDLE = 128


class Pool:
    """Connections to one address that wait for their next request; many threads take and give."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.server: str | None = None
        """The ``Server`` header of the latest reply, empty where it has none; None before the first."""
        # By process (``generation``). A parent's stay where they are in its child, unused.
        self._idle: dict[int, deque[Connection]] = {}
        self._closed = False
        # When it is collected, and when the interpreter exits: else each socket would warn that nobody has closed it.
        weakref.finalize(self, _close_idle, self._idle)

    def take(self) -> Connection | None:
        """The connection that was used last, and is still good; None where there is none."""
        idle = self._idle.get(generation())
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - connection.idle_since <= IDLE_SECONDS and connection.is_quiet():
                return connection
            connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose reply was read to its end."""
        if self._closed:
            connection.close()
            return
        idle = self._idle.get(generation())
        if idle is None:
            idle = self._idle.setdefault(generation(), deque())
        now = connection.idle_since = time.monotonic()
        idle.append(connection)
        try:
            while len(idle) > MOST_IDLE or now - idle[0].idle_since > IDLE_SECONDS:
                idle.popleft().close()
        except IndexError:
            pass  # other threads have taken them

    def close(self) -> None:
        """Close those of this process, and keep none any more."""
        self._closed = True
        _close_idle(self._idle)


def _close_idle(idle: dict[int, deque[Connection]]) -> None:
    """Close the connections of this process."""
    waiting = idle.pop(generation(), None)
    while waiting:
        waiting.pop().close()
