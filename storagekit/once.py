"""Once: something is done by the first who takes it, and the others can wait until it is over.

It stands apart from ``threading.Lock`` and ``threading.Event`` because of interrupts. A signal's handler may raise
between any two steps of the main thread, also right after a lock was taken and before the ``try`` that would see to the
rest: then what is taken is never over. And ``Event`` is Python, in which an interrupt may leave its inner lock held.
So who takes it brings an object of its own, and learns from that, in its ``finally``, whether it has something to end:

    me = object()
    try:
        if once.take(me):
            ...
    finally:
        if once.takers[:1] == [me]:
            once.over = True
            once.wake()

CPython looks for signals after a call, at the beginning of a function and where a loop turns. The ``if`` and the
assignment of that ``finally`` are none of these, so nothing comes between: which is why they are no method here.
"""

from __future__ import annotations

import threading
import time

__all__ = ["Once"]

# Those who wait look by themselves too, for the case that an interrupt came while they were being woken.
LOOK_SECONDS = 1.0


class Once:
    """Not taken, taken by one, over.

    >>> once, me, other = Once(), object(), object()
    >>> once.take(me), once.take(other), once.over
    (True, False, False)
    """

    __slots__ = ("_waiting", "over", "takers")

    def __init__(self) -> None:
        self.takers: list[object] = []
        """Those who wanted it; the first one has it."""
        self.over = False
        """True when it has been done."""
        self._waiting: list[threading.Lock] = []

    @property
    def taken(self) -> bool:
        """True once somebody has it, had it, or has ended it."""
        return bool(self.takers)

    def take(self, who: object) -> bool:
        """Take it for *who*, an object made for this; tell whether nobody was faster."""
        self.takers.append(who)  # in one step, so there is one first
        return self.takers[0] is who

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is over, no longer than so many *seconds*, and tell whether it is."""
        if self.over:
            return True
        until = None if seconds is None else time.monotonic() + seconds
        mine = threading.Lock()
        mine.acquire()
        self._waiting.append(mine)  # before the look at ``over``: who ends it looks in the other order
        while not self.over:
            left = LOOK_SECONDS if until is None else min(LOOK_SECONDS, until - time.monotonic())
            if left <= 0:
                break
            mine.acquire(timeout=left)
        return self.over

    def wake(self) -> None:
        """It is over: wake those who wait. May be called again."""
        while self._waiting:
            self._waiting.pop().release()
