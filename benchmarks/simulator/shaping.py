"""Delays and rates: what makes a loopback socket feel like a network.

The rate of a connection is the kernel's work where it can do it: Linux spaces the packets of a socket by itself
(``SO_MAX_PACING_RATE``), which costs nothing here. Elsewhere, for what comes in, and for the limit of all connections
together, a ``Clock`` says when the next bytes may pass.
"""

from __future__ import annotations

import math
import random
import socket
import sys
import threading
import time

from benchmarks.simulator.profiles import Profile

__all__ = ["SLICE", "Clock", "Delays", "pace"]

# Linux' number of the option; Python has no name for it.
SO_MAX_PACING_RATE = 47

# How much passes at a time where a clock decides. It is 0.4 ms of a line of 1,250 MB/s, and 6 ms of a connection of
# 80 MB/s: short beside a first byte, and few enough decisions that they do not show in the server's processor time.
SLICE = 512 * 1024

# What a paced socket may hold back. Without a bound the kernel takes megabytes in, and a client that closes after the
# first of them would have fetched them all.
SEND_BUFFER = 256 * 1024

# How far a clock may fall behind the time before what was not used is lost: about what a sleep is late.
SLACK_SECONDS = 0.002

# As many delays are drawn in advance; then they come again. More than any workload's requests in flight, so that no
# order of requests is favoured.
DRAWN = 8192


class Delays:
    """The times to the first byte, in seconds: the same sequence after every ``reset``."""

    def __init__(self, profile: Profile, seed: int = 1) -> None:
        source = random.Random(seed)
        self._drawn = [self._draw(profile, source) for _ in range(DRAWN)]
        self._next = 0
        self._lock = threading.Lock()

    @staticmethod
    def _draw(profile: Profile, source: random.Random) -> float:
        usual = profile.first_byte * math.exp(profile.sigma * source.gauss(0.0, 1.0))
        return (profile.tail if source.random() < profile.tail_share else usual) / 1000

    def draw(self) -> float:
        """The next one."""
        with self._lock:
            self._next += 1
            return self._drawn[self._next % DRAWN]

    def reset(self) -> None:
        """Begin again."""
        with self._lock:
            self._next = 0


class Clock:
    """A line of a certain rate, shared by all who ask it.

    >>> from benchmarks.simulator.shaping import Clock
    >>> import time
    >>> clock, start = Clock(10.0), time.monotonic()
    >>> for _ in range(10):
    ...     clock.take(100_000)
    >>> 0.05 < time.monotonic() - start
    True
    """

    def __init__(self, rate: float) -> None:
        """*rate* is in MB/s; 0 is a line without a limit."""
        self._bytes_per_second = rate * 1e6
        self._lock = threading.Lock()
        self._busy_until = 0.0

    def take(self, count: int) -> None:
        """Return when *count* bytes have passed."""
        if not self._bytes_per_second:
            return
        with self._lock:
            now = time.monotonic()
            self._busy_until = max(self._busy_until, now - SLACK_SECONDS) + count / self._bytes_per_second
            wait = self._busy_until - now
        if wait > 0:
            time.sleep(wait)


def pace(connection: socket.socket, rate: float) -> Clock:
    """Let *connection* send *rate* MB/s. The clock must be asked besides; it has no limit where the kernel paces."""
    if not rate:
        return Clock(0.0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sys.platform != "linux":
        return Clock(rate)
    try:
        connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate * 1e6))
    except OSError:  # a kernel without it, or an emulation of one
        return Clock(rate)
    return Clock(0.0)
