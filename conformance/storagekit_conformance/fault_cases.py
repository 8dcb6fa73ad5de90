"""What the tests of faults share: trying what may fail, and looking whether anything was half done.

Whatever a fault does to an operation, three things are right: it works all the same, or it raises an ``OSError`` that
says what and where (``attempt``), and what is stored then is old or new and whole (``untouched``).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from storagekit_conformance.faults import Fault, Faults, Lost, Reset, Status
from storagekit_conformance.support import PART, Box

__all__ = [
    "ONCE",
    "REFUSED",
    "Outcome",
    "attempt",
    "faults_of",
    "no_uploads",
    "part_of",
    "untouched",
    "uploads",
    "wait_for",
]

REFUSED = Status(403)
"""What no driver tries again, so it costs no time: the fault of most cases."""

ONCE: dict[str, Fault] = {"busy": Status(503), "reset": Reset(), "lost": Lost()}
"""What passes: a driver may try again and go on, or raise."""

# What another thread does on its own time takes a few milliseconds; a test that fails may wait for this long.
WAIT_STEPS, WAIT_SECONDS = 400, 0.025


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


def no_uploads(box: Box) -> None:
    """No upload is left unfinished, as far as the store can tell."""
    assert uploads(box) == []


def uploads(box: Box) -> list[str]:
    """The URLs of unfinished uploads, as far as the store can tell of them."""
    try:
        return [upload.location.url for upload in box.storage.uploads(box.url())]
    except io.UnsupportedOperation:
        return []


def untouched(box: Box, *, uploads: bool = False) -> None:
    """There is the object ``old`` as it was, and nothing else; *uploads* says that one may be left unfinished."""
    if not uploads:
        no_uploads(box)
    assert box.get("old") == b"old bytes"
    assert box.storage.listdir(box.url()) == ["old"]
    if box.root.client is not None:
        assert box.root.client.keys() == ["old"]
        assert box.root.client.get("old") == b"old bytes"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait for what another thread does in the background."""
    never = threading.Event()
    for _ in range(WAIT_STEPS):
        if condition():
            return
        never.wait(WAIT_SECONDS)
    pytest.fail(f"{what} within ten seconds")
