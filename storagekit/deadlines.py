"""Deadlines: until when a call of the user's has to be over.

A user gives ``timeout``, seconds for a whole call, as an option or as a setting. The core makes a ``Deadline`` of it
and lets it hold while a hook runs, and while a handle reads, writes or is closed (``within``). It belongs to the thread
that is waiting for the call: a driver asks ``remaining()`` wherever it is about to wait, for a connection, for the next
byte or between two attempts, waits no longer than that, and raises ``expired(location)``.

What a Storage does in the background, such as reading ahead, has no deadline: it goes on for the next call. So a driver
that never asks is held to the deadline only between two of its answers.

>>> from storagekit import deadlines
>>> with deadlines.within(deadlines.Deadline(30.0)):
...     29.0 < deadlines.remaining() <= 30.0
True
>>> deadlines.remaining() is None
True
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import TypeAlias, TypeGuard, TypeVar
from weakref import ReferenceType, ref

from storagekit.errors import invalid, os_error

__all__ = [
    "LONGEST",
    "Deadline",
    "carried",
    "check_timeout",
    "expired",
    "is_time",
    "remaining",
    "stepwise",
    "within",
    "without",
]

# Systems wait for a socket by milliseconds in an int of C: of more Python makes a negative number or, worse, a small
# one, without a word. It is 24 days; who means longer means no limit.
LONGEST = (2**31 - 1) // 1000

T = TypeVar("T")


class Deadline:
    """The moment that is *seconds* from now."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """How long the call was given."""
        self.at = time.monotonic() + seconds

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.seconds:g} s>"


class within:  # noqa: N801 (it reads as a function)
    """A ``with`` block under *deadline*, or under the one that holds already where that comes first.

    A number of seconds makes one that begins now; with None nothing changes.
    """

    __slots__ = ("__weakref__", "_token", "deadline")

    def __init__(self, deadline: Deadline | float | None) -> None:
        self.deadline = deadline if deadline is None or isinstance(deadline, Deadline) else Deadline(deadline)
        self._token: Token[_Holder] | None = None

    def __enter__(self) -> None:
        deadline = self.deadline
        if deadline is None:
            return
        held = _held()
        if held is None or deadline.at < held.at:
            self._token = _current.set(ref(self))

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None


_Holder: TypeAlias = ReferenceType[within] | None

# The block, and a reference to it that is weak: an interrupt may come between the end of a call and what ends its
# block. Then nobody says that the deadline is over, and it would hold for all that the thread does from then on.
_current: ContextVar[_Holder] = ContextVar("storagekit_deadline", default=None)


def _held() -> Deadline | None:
    """The deadline that holds in this thread."""
    holder = _current.get()
    block = None if holder is None else holder()
    return None if block is None else block.deadline


class without:  # noqa: N801
    """A ``with`` block under no deadline: what cleans up after a call that took too long must not be refused."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _current.set(None)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


def remaining() -> float | None:
    """Seconds that are left of this thread's call, 0.0 where none are; None where it may take its time."""
    deadline = _held()
    return None if deadline is None else max(0.0, deadline.at - time.monotonic())


def expired(location: object, what: str = "") -> OSError:
    """The error of a call that took too long; *what* says what was still missing."""
    deadline = _held()
    seconds = f" of {deadline.seconds:g} s" if deadline is not None else ""
    text = f"The call took longer than its timeout{seconds}"
    return os_error(errno.ETIMEDOUT, location, f"{text}: {what}" if what else text)


def carried(work: Callable[[], T]) -> Callable[[], T]:
    """*work* for another thread, under the deadline that holds in this one."""
    deadline = _held()
    if deadline is None:
        return work

    def run() -> T:
        with within(deadline):
            return work()

    return run


def stepwise(items: Iterator[T], deadline: Deadline | float) -> Iterator[T]:
    """*items*, which have to come before *deadline*, or each in so many seconds."""
    while True:
        with within(deadline):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def check_timeout(value: object, filename: object) -> float | None:
    """The option or setting ``timeout`` as seconds; None where the call may take its time."""
    if value is None:
        return None
    if not is_time(value):
        text = f"timeout must be a number of seconds above 0, and up to {LONGEST}; None is no limit"
        raise invalid(filename, text)
    return float(value)


def is_time(value: object) -> TypeGuard[float]:
    """True for a number of seconds that can be waited for."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST
