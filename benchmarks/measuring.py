"""What is measured beside the seconds, and how the bytes are compared.

The processor's seconds and the peak memory are those of this process, which runs one workload with one peer. The
requests and the bytes are the simulator's counts; an endpoint of somebody's own has none.

Bytes are compared with the same object as a file. What is kept is compared whole, after the timer has stopped. What
comes in pieces and goes again is compared as it comes: in a timed run the ends of every piece at its place, which costs
next to nothing, and in a thorough run, whose time means nothing, every byte.
"""

from __future__ import annotations

import json
import mmap
import resource
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.data import Sizes

__all__ = ["Check", "Run", "WrongBytesError"]

# Of each end of a piece, in a timed run.
SAMPLE = 32


class WrongBytesError(Exception):
    """A peer gave other bytes than the object has, or not all of them."""


class Check:
    """Compares what comes in with a file; also a sink for ``Peer.read_through``. Threads may share it for ranges."""

    def __init__(self, path: Path, thorough: bool) -> None:
        with path.open("rb") as file:
            self._expected = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._name = path.name
        self._thorough = thorough
        self._lock = threading.Lock()
        self._next = 0
        self._seen = 0

    def __call__(self, data: Any, start: int | None = None) -> None:
        """Compare the next bytes, or those from *start* on."""
        view = memoryview(data).cast("B")
        with self._lock:
            place = self._next if start is None else start
            self._next = place + len(view)
            self._seen += len(view)
        if self._thorough or len(view) <= 2 * SAMPLE:
            self._compare(view, place)
        else:
            self._compare(view[:SAMPLE], place)
            self._compare(view[-SAMPLE:], place + len(view) - SAMPLE)

    def _compare(self, view: memoryview, place: int) -> None:
        # bytes are compared by memcmp, memoryviews item by item
        if bytes(view) != bytes(self._expected[place : place + len(view)]):
            raise WrongBytesError(f"{self._name}: other bytes at {place}")

    def all(self, data: Any, start: int = 0) -> None:
        """Compare every byte of *data*, whose place is *start*."""
        self._compare(memoryview(data).cast("B"), start)

    def finish(self, size: int | None = None) -> None:
        """Everything must have come by now; or *size* bytes of it."""
        wanted = len(self._expected) if size is None else size
        if self._seen != wanted:
            raise WrongBytesError(f"{self._name}: {self._seen} bytes of {wanted}")


class Run:
    """One run of one workload: what it works on, and what was measured."""

    def __init__(self, folder: Path, sizes: Sizes, control: str | None, thorough: bool) -> None:
        self.folder, self.sizes, self.thorough = folder, sizes, thorough
        self._control = control
        self.seconds = 0.0
        self.measured: dict[str, Any] = {}

    def check(self, key: str) -> Check:
        """A comparison with the object *key*."""
        return Check(self.folder / key, self.thorough)

    def counts(self) -> dict[str, Any] | None:
        """The simulator's counts until now."""
        return self._ask("stats")

    def _ask(self, what: str) -> dict[str, Any] | None:
        if self._control is None:
            return None
        with urllib.request.urlopen(f"{self._control}/_control/{what}") as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts

    @contextmanager
    def timed(self, settle: float = 0.0) -> Iterator[None]:
        """Measure what is in the block. Requests and bytes are counted for *settle* seconds more: what a peer began to
        fetch before it was told to stop is fetched, too."""
        self._ask("reset")
        base = _reset_peak()
        cpu, start = _cpu_seconds(), time.perf_counter()
        yield
        self.seconds = time.perf_counter() - start
        self.measured = {"seconds": self.seconds, "cpu_seconds": _cpu_seconds() - cpu}
        self.measured["peak_bytes"] = max(0, _peak() - base)
        time.sleep(settle)
        if counts := self.counts():
            self.measured |= {
                "requests": counts["requests"],
                "fetched": counts["sent"],
                "sent": counts["received"],
                "most_in_flight": counts["most_in_flight"],
                "connections": counts["connections"],
                "server_cpu_seconds": counts["cpu_seconds"],
            }


def _cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _reset_peak() -> int:
    """Forget the highest use of memory until now, where the system can; what is used now, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS:")
    except OSError:
        return _peak()


def _peak() -> int:
    """The most memory that was used, in bytes."""
    try:
        return _status("VmHWM:")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} in /proc/self/status")
