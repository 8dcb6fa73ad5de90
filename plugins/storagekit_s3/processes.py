"""Processes: which one this is, told without asking the system.

Whatever is connected to a server must not be used, nor ended, by a forked child: both would have the same socket. So it
is noted in which process a connection was made. ``os.getpid`` would tell, but it is a call of the system, and several
of them for every request show. ``generation()`` is a number that ``os.fork`` makes another one in the child.
"""

from __future__ import annotations

import os
import threading

__all__ = ["ProcessLock", "generation"]

_generation = 0


def generation() -> int:
    """How many forks lie between the process that loaded this module and this one."""
    return _generation


def _begin() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_begin)


class ProcessLock:
    """A lock per process: what a thread of the parent holds at a fork, nobody in the child would ever give back."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {generation(): threading.Lock()}

    def __call__(self) -> threading.Lock:
        """This process's, to be taken in a ``with`` block."""
        lock = self._locks.get(generation())
        return lock if lock is not None else self._locks.setdefault(generation(), threading.Lock())
