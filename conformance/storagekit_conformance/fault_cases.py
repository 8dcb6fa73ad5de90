"""What the tests of faults share: trying what may fail.

Whatever a fault does to an operation, three things are right: it works all the same, or it raises an ``OSError`` that
says what and where (``attempt``), and what is stored then is old or new and whole (``remains.untouched``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storagekit_conformance.faults import Fault, Faults, Lost, Reset, Status
from storagekit_conformance.support import PART, Box

__all__ = [
    "ONCE",
    "REFUSED",
    "Outcome",
    "attempt",
    "faults_of",
    "part_of",
]

REFUSED = Status(403)
"""What no driver tries again, so it costs no time: the fault of most cases."""

ONCE: dict[str, Fault] = {"busy": Status(503), "reset": Reset(), "lost": Lost()}
"""What passes: a driver may try again and go on, or raise."""


def faults_of(box: Box) -> Faults:
    """The faults of a place that has some."""
    assert box.root.faults is not None
    return box.root.faults


def part_of(box: Box) -> int:
    """A size of which the driver makes at least one whole part: its own, or what the place says in its options."""
    size = box.root.options.get("part_size", PART)
    assert isinstance(size, int)
    return size


class Outcome:
    """What became of one attempt: its error, None where it went well."""

    error: OSError | None = None


@contextmanager
def attempt(*urls: str) -> Iterator[Outcome]:
    """Let the block succeed or raise a clear ``OSError``: with errno and text, about one of *urls*."""
    outcome = Outcome()
    try:
        yield outcome
    except OSError as error:
        assert error.errno is not None, f"{error!r} has no errno"
        assert error.strerror, f"{error!r} has no text"
        assert str(error.filename) in urls, f"{error!r} has the filename {error.filename!r}"
        outcome.error = error
