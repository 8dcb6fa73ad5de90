"""What a fork waits for.

A child that is forked while another thread holds a lock inherits the lock as it is, with no thread left to release it.
Locks of our own are renewed in the child. Two kinds cannot be, because they are not ours:

* OpenSSL guards what it loads with locks, and knows nothing of ``fork``. A child that is forked while another thread
  makes a context for TLS, or agrees on one with a server, may wait for ever in its own first connection. (Of 450
  children forked while four threads opened their first objects over https, four did.)
* Python guards the import of each module with one. A child that is forked while another thread imports a driver, or
  what the driver needs, waits for ever in the same import. (Of 519 that were forked beside a first request nine did,
  where one import was forgotten.)

So whoever does such a thing does it in ``guarded()``: a fork waits until nobody is there, and keeps others from
beginning while it lasts. Neither waits for ever: a handshake that takes more than ``HANDSHAKE_SECONDS`` waits for a
server, and holds no lock of OpenSSL's meanwhile; an import has ``IMPORT_SECONDS``; and a fork that takes longer than
the first of these may itself be waiting for a lock that the thread holds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HANDSHAKE_SECONDS", "IMPORT_SECONDS", "guarded"]

# A handshake takes some milliseconds, one with a distant server some tenths of a second.
HANDSHAKE_SECONDS = 1.0
# boto3 is imported in a third of a second; from a cold network file system it may take several.
IMPORT_SECONDS = 10.0

_changed = threading.Condition()
_inside: list[tuple[int, float]] = []  # the threads that are in there, and until when a fork waits for each
_forks = 0  # under way


@contextmanager
def guarded(seconds: float = HANDSHAKE_SECONDS) -> Iterator[None]:
    """For so many *seconds* no other thread forks while this one is within.

    >>> from storagekit.fork_guard import IMPORT_SECONDS, guarded
    >>> with guarded(IMPORT_SECONDS):
    ...     import json  # in place of what a driver needs, and loads only when it is used
    """
    thread = threading.get_ident()
    entry = (thread, time.monotonic() + seconds)
    with _changed:
        if not any(inside == thread for inside, _ in _inside):
            _changed.wait_for(lambda: not _forks, HANDSHAKE_SECONDS)
        _inside.append(entry)
    try:
        yield
    finally:
        with _changed:
            _inside.remove(entry)
            _changed.notify_all()


def _others_until() -> float:
    """The time until which a fork in this thread has to wait; 0.0 where nobody else is within."""
    me = threading.get_ident()
    return max((until for thread, until in _inside if thread != me), default=0.0)


def _before_fork() -> None:
    global _forks
    with _changed:
        _forks += 1
        while (left := _others_until() - time.monotonic()) > 0:
            _changed.wait(left)


def _after_fork_in_parent() -> None:
    global _forks
    with _changed:
        _forks = max(_forks - 1, 0)  # an interrupt may have come before it was counted
        _changed.notify_all()


def _after_fork_in_child() -> None:
    global _changed, _forks
    me = threading.get_ident()
    _changed = threading.Condition()
    _forks = 0
    _inside[:] = [(thread, until) for thread, until in _inside if thread == me]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
