"""Handshakes: a fork waits for those that are under way.

OpenSSL guards what it loads with locks, and knows nothing of ``fork``: a child that is forked while another thread
makes a context for TLS, or agrees on one with a server, inherits the lock as it is, with no thread left to release it,
and its own first connection waits for ever. (Of 450 children forked while four threads opened their first objects over
https, four did.) So whoever does such a thing does it in ``guarded()``: a fork waits until nobody is there, and keeps
others from beginning while it lasts.

Neither waits longer than ``FORK_SECONDS`` for the other: a handshake that takes longer waits for a server, and holds no
lock of OpenSSL's meanwhile; a fork that takes longer may itself be waiting for a lock that the thread holds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["guarded"]

# A handshake takes some milliseconds, one with a distant server some tenths of a second.
FORK_SECONDS = 1.0

_changed = threading.Condition()
_inside: dict[int, int] = {}  # how often each thread is in there
_forks = 0  # under way


@contextmanager
def guarded() -> Iterator[None]:
    """No fork but this thread's own begins within, for a second at least."""
    thread = threading.get_ident()
    with _changed:
        if thread not in _inside:
            _changed.wait_for(lambda: not _forks, FORK_SECONDS)
        _inside[thread] = _inside.get(thread, 0) + 1
    try:
        yield
    finally:
        with _changed:
            _inside[thread] -= 1
            if not _inside[thread]:
                del _inside[thread]
                _changed.notify_all()


def _before_fork() -> None:
    global _forks
    with _changed:
        _forks += 1
        _changed.wait_for(lambda: not _inside.keys() - {threading.get_ident()}, FORK_SECONDS)


def _after_fork_in_parent() -> None:
    global _forks
    with _changed:
        _forks = max(_forks - 1, 0)  # an interrupt may have come before it was counted
        _changed.notify_all()


def _after_fork_in_child() -> None:
    global _changed, _forks
    _changed = threading.Condition()
    _forks = 0
    for thread in _inside.keys() - {threading.get_ident()}:
        del _inside[thread]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
