"""Processes: which one this is, told without asking the system.

Whatever is connected to a server must not be used, nor ended, by a forked child: both would have the same socket. So it
is noted in which process a connection was made. ``os.getpid`` would tell, but it is a call of the system, and several
of them for every request show. ``generation()`` is a number that ``os.fork`` makes another one in the child.
"""

from __future__ import annotations

import os

__all__ = ["generation"]

_generation = 0


def generation() -> int:
    """How many forks lie between the process that loaded this module and this one."""
    return _generation


def _begin() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_begin)
