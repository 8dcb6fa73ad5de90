"""What a write that was not finished may leave behind: nothing that anybody can see, and no upload.

For the tests that break writers off, by an exception, a fault, or the garbage collector.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest

from storagekit_conformance.support import Box

__all__ = ["no_uploads", "untouched", "uploads", "wait_for"]

# What another thread does on its own time takes a few milliseconds; a test that fails may wait for this long.
WAIT_STEPS, WAIT_SECONDS = 400, 0.025


def no_uploads(box: Box) -> None:
    """No upload is left unfinished, as far as the store can tell."""
    assert uploads(box) == []


def uploads(box: Box) -> list[str]:
    """The URLs of unfinished uploads, as far as the store can tell of them."""
    try:
        return [upload.location.url for upload in box.storage.uploads(box.url())]
    except io.UnsupportedOperation:
        return []


def untouched(box: Box) -> None:
    """There is the object ``old`` as it was, and nothing else: nothing new, and nothing half done."""
    no_uploads(box)
    assert box.get("old") == b"old bytes"
    assert box.absent("new")
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
