"""Tracing: every request that is made while somebody looks.

A driver that talks to a store says of each finished request what it was (``note``); the core says the same of a read
that was answered out of the cache. Where nobody looks, that is one look at an empty tuple. A trace sees the requests of
all threads of the process, because what a read asks for may be fetched by threads that read ahead of it.

No secret is in a record: it has the URL of the object, and none that was signed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["Request", "Trace", "note", "tracing"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was made of a store, over all of its attempts, or one read that needed none."""

    operation: str
    """What the store calls it (``GetObject``); ``cache`` for a read from the cache."""
    method: str
    """The HTTP method; empty where there was none."""
    url: str
    """What it was about; of a batch the container."""
    sent: int = 0
    """Bytes of the body that was sent, once."""
    received: int = 0
    """Bytes of the body that was received, or taken from the cache."""
    attempts: int = 1
    """How often it was sent; 0 from the cache."""
    seconds: float = 0.0
    """From its beginning to the end of its body, pauses between attempts included."""
    error: str = ""
    """What became of it where it failed: the class of the error, and the store's own code for it."""

    @property
    def cached(self) -> bool:
        """True where no request was needed."""
        return not self.attempts


_active: tuple[Trace, ...] = ()
_lock = threading.Lock()


class Trace:
    """The requests of a ``with`` block, in the order in which they ended.

    >>> import storagekit
    >>> with storagekit.trace() as seen:
    ...     with storagekit.open("memory://trace-example/key", "w") as f:  # which asks no store for anything
    ...         _ = f.write("text")
    >>> len(seen), seen.requests
    (0, [])
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __enter__(self) -> Self:
        global _active
        with _lock:
            _active = (*_active, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _active
        with _lock:
            _active = tuple(other for other in _active if other is not self)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self.requests))

    def __len__(self) -> int:
        return len(self.requests)

    def __str__(self) -> str:
        """A table with a line for each request, and a sum."""
        lines = [f"{'operation':24} {'sent':>10} {'received':>12} {'tries':>5} {'seconds':>8}  url"]
        asked = [request for request in self if not request.cached]
        for r in self:
            tries = "cache" if r.cached else str(r.attempts)
            failed = f"  {r.error}" if r.error else ""
            lines.append(
                f"{r.operation:24} {r.sent:>10} {r.received:>12} {tries:>5} {r.seconds:>8.3f}  {r.url}{failed}"
            )
        sent, received = (sum(getattr(r, name) for r in asked) for name in ("sent", "received"))
        tries = str(sum(r.attempts for r in asked))
        seconds = sum(r.seconds for r in asked)
        lines.append(f"{f'{len(asked)} requests':24} {sent:>10} {received:>12} {tries:>5} {seconds:>8.3f}")
        return "\n".join(lines)


def tracing() -> bool:
    """Whether anybody looks; where nobody does, a record need not be made."""
    return bool(_active)


def note(request: Request) -> None:
    """Tell those who look of a request that is over."""
    for trace in _active:
        trace.requests.append(request)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
