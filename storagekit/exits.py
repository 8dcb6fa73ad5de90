"""Exits: what is unfinished has to be given up before a process ends, in whichever way it ends.

An interpreter that ends waits for the threads that are no daemons, and then does what ``atexit`` has. A process that
``multiprocessing`` has forked, alone or in a pool, does not: it waits for its threads too, but leaves by ``os._exit``.
What it offers instead is ``multiprocessing.util.Finalize``. From Python 3.13 on that comes when its threads have ended;
before, when its main thread is done and the others may still be at work. To give up what they write would be wrong
then. So one thread more is started, for which the process waits: it lets the others end, and does the rest.

Such a process forgets at its start what was asked of it before. So it is asked when something is begun (``prepare``).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable

__all__ = ["at_exit", "prepare"]

_works: list[Callable[[], None]] = []

# The process that has been asked to tell of its end, and the one that is ending: a forked child is neither.
_asked = _ending = -1


def at_exit(work: Callable[[], None]) -> None:
    """Do *work* before this process, or one that is forked from it, ends by itself; it may be done twice."""
    _works.append(work)
    atexit.register(work)


def prepare() -> None:
    """See to it that this process will do so. Called whenever something is begun that an exit has to end."""
    global _asked
    process = os.getpid()
    if _asked == process:
        return
    theirs = sys.modules.get("multiprocessing.process")  # loaded in every process that it has made
    if theirs is not None and theirs.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _begin_to_end, exitpriority=0)  # without a priority it would not be called
    _asked = process


def _begin_to_end() -> None:
    """The work of a process of ``multiprocessing`` is done, in its main thread."""
    global _ending
    if not _others():
        _do()
    elif _ending != os.getpid():  # two threads may both have asked
        _ending = os.getpid()
        threading.Thread(target=_end, name="storagekit-exit", daemon=False).start()


def _end() -> None:
    while others := _others():
        for thread in others:
            thread.join()
    _do()


def _others() -> list[threading.Thread]:
    """The threads that a process waits for before it ends."""
    mine = threading.current_thread(), threading.main_thread()
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in mine]


def _do() -> None:
    for work in _works:
        work()
