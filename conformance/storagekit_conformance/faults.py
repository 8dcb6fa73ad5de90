"""Faults: what can go wrong between a driver and its store, in words that hold for every driver.

A test says *which operation* is disturbed and *how*; a carrier does it. There are two: ``fault_proxy`` stands as a
loopback proxy between a driver and a real HTTP server, and ``fault_wrapper`` stands around a driver's hooks, for every
store that is not reached by HTTP. Both ask one ``Faults`` object at each operation whether a fault is due, and count
there what passes, so a test reads the same on every target.

*Operations* are what a store is asked for: ``read`` (bytes of an object, also those that come with opening it),
``stat``, ``list`` (one page), ``put`` (an object whole), ``begin``, ``part``, ``commit`` and ``abort`` (of an upload),
``delete`` (one or a batch), ``copy``, ``rename``, ``uploads``, and ``other``.

*Faults* are frozen values. Nothing is drawn at random while a test runs: what needs chance has a seed of its own. Armed
faults are asked in the order in which they were armed, and each operation meets at most one.

A new fault is a dataclass here, and a few lines in each carrier that can do it: how it answers, or what it does to a
body on its way. A carrier that cannot says so (``can``), and the test is skipped with that reason.

>>> from storagekit_conformance.faults import Faults, Status
>>> faults = Faults()
>>> with faults.armed(Status(503), "read", after=1, times=None) as rule:
...     [faults.take("read", "key") for _ in range(3)], rule.hits
([None, Status(code=503), Status(code=503)], 2)
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = [
    "OPERATIONS",
    "Answer",
    "Before",
    "Corrupt",
    "Cut",
    "Delay",
    "Elsewhere",
    "Fault",
    "Faults",
    "KeyRefused",
    "Lost",
    "Misplaced",
    "Reset",
    "Rule",
    "Stall",
    "Status",
    "Trickle",
    "Twice",
]

OPERATIONS = frozenset(
    ["read", "stat", "list", "put", "begin", "part", "commit", "abort", "delete", "copy", "rename", "uploads", "other"]
)
"""Every name that an operation can have."""


@dataclass(frozen=True)
class Fault:
    """What all faults are."""


@dataclass(frozen=True)
class Status(Fault):
    """Refused before anything is done: an HTTP status, or the error that a driver makes of such a refusal."""

    code: int


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset before anything is done."""


@dataclass(frozen=True)
class Lost(Fault):
    """The operation is carried out, and its answer is lost."""


@dataclass(frozen=True)
class Cut(Fault):
    """The answer's body ends after so many bytes, by a reset, or *quiet*, as if that were its end.

    What has no body loses its answer instead.
    """

    after: int
    quiet: bool = False


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing comes for so many seconds, and then the connection ends.

    *after* is the number of the body's bytes that come before; with None the operation is not carried out and there
    is no answer at all. A driver without HTTP ends a stall by a time-out of its own, so there it is that error at once.
    """

    seconds: float
    after: int | None = None


@dataclass(frozen=True)
class Delay(Fault):
    """It takes so many seconds longer, and all is well."""

    seconds: float


@dataclass(frozen=True)
class Corrupt(Fault):
    """The answer's body arrives with this many of its bytes changed, the same ones every time for one seed."""

    flips: int = 1
    seed: int = 0

    def changes(self, length: int) -> dict[int, int]:
        """Which bytes of *length* are changed, each with what is to be XORed onto it: never zero."""
        draw = random.Random(self.seed)
        places = sorted(draw.sample(range(length), min(self.flips, length)))
        return {place: draw.randrange(1, 256) for place in places}


@dataclass(frozen=True)
class Trickle(Fault):
    """The answer's body comes whole, so many bytes at a time with a pause of so many seconds between them."""

    size: int
    seconds: float


@dataclass(frozen=True)
class Misplaced(Fault):
    """A range is answered by another one, so many bytes further on; with None by the whole object, without a range."""

    by: int | None


@dataclass(frozen=True)
class Twice(Fault):
    """The answer comes twice, one right behind the other, though nobody asked again."""


@dataclass(frozen=True)
class Elsewhere(Fault):
    """The request is sent to another address, with this status; there nobody answers."""

    status: int = 307


@dataclass(frozen=True)
class Before(Fault):
    """Something happens just before the operation, which then goes on as it would: another client writes, say.

    An error of *action* is kept and raised by the test's fixture at the end, because no driver must see it.
    """

    action: Callable[[], object]


@dataclass(frozen=True)
class Answer(Fault):
    """Something else than the store answers, as a gateway with a page of its own: the request does not arrive."""

    body: bytes
    status: int = 200


@dataclass(frozen=True)
class KeyRefused(Fault):
    """A removal is said to have failed for one key, alone or in a batch in which the others went well.

    In a batch the key may be gone all the same: what is promised is that the failure is told.
    """

    key: str


@dataclass(eq=False)
class Rule:
    """One armed fault: on which operations, on which keys, after how many that pass, and how many times."""

    fault: Fault
    operations: frozenset[str]
    after: int
    times: int | None
    key: str
    seen: int = 0
    """How many operations it has looked at."""
    hits: int = 0
    """How many times it was done."""

    def take(self, operation: str, keys: Sequence[str]) -> bool:
        """Whether it is due at this operation; counts it then."""
        if operation not in self.operations or not any(key.endswith(self.key) for key in keys):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


@dataclass
class Traffic:
    """What has passed of one operation: how many times, and the bytes of bodies in each direction."""

    count: int = 0
    sent: int = 0
    """Bytes on their way to the store."""
    received: int = 0
    """Bytes on their way back."""


@dataclass
class Faults:
    """What is armed at one place, and what has passed there. Safe to use from many threads at once."""

    cannot: frozenset[type[Fault]] = frozenset()
    """The faults that the carrier cannot do."""

    counts_bytes: bool = False
    """Whether the carrier sees every byte between the driver and its store."""

    wait: Callable[[float], object] = field(default_factory=lambda: threading.Event().wait)
    """How a carrier waits for so many seconds; a proxy's ends early when the proxy does."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._traffic: dict[str, Traffic] = {}
        self._errors: list[BaseException] = []

    def can(self, kind: type[Fault]) -> bool:
        """Whether the carrier can do this kind of fault."""
        return kind not in self.cannot

    # -- for tests ----------------------------------------------------------------------------------------

    def arm(self, fault: Fault, *operations: str, after: int = 0, times: int | None = 1, key: str = "") -> Rule:
        """Do *fault* at these operations, once *after* of them have passed, so many *times* (None: for ever).

        With *key*, only at objects whose key ends so. Raises ``ValueError`` for an operation that does not exist and
        for a fault that the carrier cannot do: either would make a test that proves nothing.
        """
        unknown = set(operations) - OPERATIONS
        if unknown or not operations:
            raise ValueError(f"no such operation: {', '.join(sorted(unknown)) or 'none given'}")
        if not self.can(type(fault)):
            raise ValueError(f"this carrier cannot do {fault}")
        if isinstance(fault, KeyRefused):
            key = key or fault.key
        rule = Rule(fault, frozenset(operations), after, times, key)
        with self._lock:
            self._rules.append(rule)
        return rule

    @contextmanager
    def armed(
        self,
        fault: Fault,
        *operations: str,
        after: int = 0,
        times: int | None = 1,
        key: str = "",
        certain: bool = True,
    ) -> Iterator[Rule]:
        """``arm`` for a ``with`` block. Unless *certain* is False, a fault that never came is an AssertionError."""
        rule = self.arm(fault, *operations, after=after, times=times, key=key)
        try:
            yield rule
        finally:
            with self._lock:
                self._rules.remove(rule)
        if certain:
            assert rule.hits, f"{fault} was armed on {', '.join(sorted(operations))} and never done"

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._rules.clear()

    def traffic(self, *operations: str) -> Traffic:
        """What has passed of these operations together; of all without a name."""
        with self._lock:
            found = [t for name, t in self._traffic.items() if not operations or name in operations]
        return Traffic(sum(t.count for t in found), sum(t.sent for t in found), sum(t.received for t in found))

    def count(self, *operations: str) -> int:
        """How many of these operations have come by, disturbed ones among them."""
        return self.traffic(*operations).count

    def forget(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._traffic.clear()

    def check(self) -> None:
        """Raise the first error that happened in the carrier or in a ``Before``."""
        with self._lock:
            errors, self._errors = self._errors, []
        if errors:
            raise errors[0]

    # -- for carriers -------------------------------------------------------------------------------------

    def take(self, operation: str, *keys: str) -> Fault | None:
        """Count one operation, on one key or a batch of them, and tell the fault that is due at it."""
        with self._lock:
            self._traffic.setdefault(operation, Traffic()).count += 1
            return next((rule.fault for rule in self._rules if rule.take(operation, keys)), None)

    def note(self, operation: str, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes of bodies."""
        with self._lock:
            traffic = self._traffic.setdefault(operation, Traffic())
            traffic.sent += sent
            traffic.received += received

    def keep(self, error: BaseException) -> None:
        """Keep an error that no driver must see, for ``check``."""
        with self._lock:
            self._errors.append(error)

    def prepare(self, fault: Fault | None) -> None:
        """Do what comes before an operation that then goes on as it would: ``Delay`` and ``Before``."""
        if isinstance(fault, Delay):
            self.wait(fault.seconds)
        elif isinstance(fault, Before):
            try:
                fault.action()
            except Exception as error:
                self.keep(error)
