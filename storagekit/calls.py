"""Calls: what goes along with one call of the user's, from the URL to the hooks.

``CallOptions`` are the options that a driver gets, and with them how long the call may take. A call that is answered at
once has one deadline for all that it asks the driver for. One that is answered little by little, as ``walk`` is, goes
on for as long as its caller takes; there the time holds for each question anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, SupportsIndex, TypeGuard, TypeVar

from storagekit.deadlines import Deadline, stepwise, within
from storagekit.driver import Options
from storagekit.hiding import HiddenOptions

__all__ = ["CallOptions", "is_timed", "limit", "steps", "timeout_of"]

T = TypeVar("T")


class CallOptions(HiddenOptions):
    """The options of one call, for a driver."""

    __slots__ = ("deadline", "timeout")

    def __init__(self, options: Mapping[str, object], timeout: float | None = None, *, lazy: bool = False) -> None:
        super().__init__(options)
        self.timeout = timeout
        """Seconds for a call; None where it may take its time."""
        self.deadline = None if timeout is None or lazy else Deadline(timeout)
        """The end of this call; None where it has none, or the time holds for each question."""

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        return type(self), (dict(self), self.timeout)


class _Timed(Protocol):
    timeout: float
    deadline: Deadline | None


def is_timed(options: Any) -> TypeGuard[_Timed]:
    """Whether the time for a call with these options is limited."""
    return isinstance(options, CallOptions) and options.timeout is not None


def timeout_of(options: Options) -> float | None:
    """How many seconds a call with these options may take; None where it may take its time."""
    return options.timeout if is_timed(options) else None


def limit(options: Options) -> within:
    """A ``with`` block under the deadline of the call, or one that begins now where each question has its own."""
    return within(options.deadline or options.timeout) if is_timed(options) else within(None)


def steps(items: Iterator[T], options: Options) -> Iterator[T]:
    """*items*, all of which have to come before the deadline of the call, or each in its time."""
    return stepwise(items, options.deadline or options.timeout) if is_timed(options) else items
