"""Once: something is done by the first who takes it, and the others can wait until it is over.

It stands apart from ``threading``'s locks, events and conditions because of interrupts. A signal's handler may raise
between any two steps of the main thread, also right after a lock was taken and before the ``try`` that would see to the
rest: then what is taken is never over. So who takes it brings an object of its own, and learns from that, in its
``finally``, whether it has something to end:

    me = object()
    try:
        if once.take(me):
            ...
    finally:
        if once.takers[:1] == [me]:
            once.over = True
            once.ring()

CPython looks for signals after a call, at the beginning of a function and where a loop turns. The ``if`` and the
assignment of that ``finally`` are none of these, so nothing comes between: which is why they are no method here.

``Event`` and ``Condition`` are Python themselves: an interrupt of one who waits may leave their inner lock held, or
have it given back by one who does not hold it. A ``Bell`` has none: each who waits has a lock of his own, and an
interrupt of his is nothing to the others.
"""

from __future__ import annotations

import threading
import time

__all__ = ["LOOK_SECONDS", "Bell", "Once"]

# Those who wait look by themselves too, for the case that an interrupt came while the bell was being rung.
LOOK_SECONDS = 1.0


class Bell:
    """Wakes those who wait, as often as it is rung.

    >>> bell = Bell()
    >>> ear = bell.listen()
    >>> ear.acquire(timeout=0.01)
    False
    >>> bell.ring()
    >>> ear.acquire(timeout=LOOK_SECONDS)
    True
    """

    __slots__ = ("_ears",)

    def __init__(self) -> None:
        self._ears: list[threading.Lock] = []

    def listen(self) -> threading.Lock:
        """A lock that can be acquired from the next time on that it rings.

        First listen, then look whether what is waited for has come already; who rings does it the other way round.
        """
        ear = threading.Lock()
        ear.acquire()
        self._ears.append(ear)
        return ear

    def ring(self) -> None:
        """Wake those who listen. By one thread at a time."""
        while self._ears:
            self._ears.pop().release()


class Once(Bell):
    """Not taken, taken by one, over.

    >>> once, me, other = Once(), object(), object()
    >>> once.take(me), once.take(other), once.over
    (True, False, False)
    """

    __slots__ = ("over", "takers")

    def __init__(self) -> None:
        super().__init__()
        self.takers: list[object] = []
        """Those who wanted it; the first one has it."""
        self.over = False
        """True when it has been done."""

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
        ear = self.listen()
        while not self.over:
            left = LOOK_SECONDS if until is None else min(LOOK_SECONDS, until - time.monotonic())
            if left <= 0:
                break
            ear.acquire(timeout=left)
        return self.over
