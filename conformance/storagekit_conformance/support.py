"""What the tests share: a place with its storage, contents to write, errors to expect, forks and processes."""

from __future__ import annotations

import functools
import io
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

import storagekit
from storagekit.driver import Traits
from storagekit_conformance.target import Root

__all__ = [
    "BLOCK",
    "PART",
    "REMOVES_NOTHING",
    "Box",
    "content",
    "in_child",
    "needs",
    "needs_removal",
    "needs_renaming",
    "refused",
    "run_in_child",
    "script",
    "together",
]

BLOCK = 64 * 1024
"""The unit in which the core caches; a driver sees ranges that begin and end at its multiples."""

PART = 8 * 1024 * 1024
"""The size from which the bundled drivers cut an object into parts."""

REMOVES_NOTHING = "the driver removes nothing: it has no delete hook"

# A child that has not answered by then hangs: everything that children do here takes well under a second.
CHILD_SECONDS = 60.0


@dataclass(frozen=True)
class Box:
    """The place of one test: its root, the storage under test, and short names for what every test does."""

    root: Root
    storage: storagekit.Storage
    traits: Traits

    @classmethod
    @contextmanager
    def opened(cls, root: Root) -> Iterator[Box]:
        """A box over *root* with a storage of its own."""
        storage = root.storage()
        try:
            yield cls(root, storage, storage.traits(root.url))
        finally:
            storage.close()

    def url(self, key: str = "") -> str:
        """The URL of *key*, or of the place itself."""
        return f"{self.root.url}/{key}" if key else self.root.url

    def open(self, url: str | os.PathLike[str], mode: str = "r", **arguments: Any) -> Any:
        """``open`` of the storage, without a static type: tests use what files of every kind have."""
        return self.storage.open(url, mode, **arguments)

    def put(self, key: str, data: bytes = b"data") -> str:
        """Write an object, and the directories above it where a store needs them; return its URL."""
        url = self.url(key)
        self.parents(key)
        with self.storage.open(url, "wb") as file:
            file.write(data)
        return url

    def parents(self, key: str) -> None:
        """Make the directories above *key* where opening for write does not."""
        above = key.rpartition("/")[0]
        if above and not self.traits.implicit_directories:
            self.storage.makedirs(self.url(above), exist_ok=True)

    def get(self, key: str) -> bytes:
        """Read an object whole."""
        with self.storage.open(self.url(key), "rb") as file:
            return bytes(file.read())

    @functools.cached_property
    def removes(self) -> bool:
        """Whether the driver removes at all, found out by removing nothing: it may leave out the hook ``delete``."""
        try:
            self.storage.remove(self.url("never-there"), missing_ok=True)
        except io.UnsupportedOperation:
            return False
        except OSError:
            pass  # it tries to; what is wrong with that is for the clauses about removing
        return True

    @property
    def renames(self) -> bool:
        """Whether files can be renamed: in one step, or by removing what was copied."""
        return self.traits.atomic_rename or self.removes

    def absent(self, key: str) -> bool:
        """True where nothing is at *key*, for us and for a second client."""
        seen = self.storage.exists(self.url(key))
        client = self.root.client
        return not seen and (client is None or key not in set(client.keys()))


# Bounded: a few of these are tens of megabytes.
@functools.lru_cache(maxsize=16)
def content(size: int, seed: int = 0) -> bytes:
    """Bytes that differ everywhere, so that a shifted or repeated block shows."""
    return random.Random(seed).randbytes(size)


def needs(condition: object, reason: str) -> None:
    """Skip the rest of the test, with the reason in the report, where *condition* is false."""
    if not condition:
        pytest.skip(reason)


def needs_removal(box: Box) -> None:
    """Skip the rest of the test where the driver removes nothing; ``changes.remove-refused`` is held there instead."""
    needs(box.removes, REMOVES_NOTHING)


def needs_renaming(box: Box) -> None:
    """As ``needs_removal``, where a driver without ``delete`` may all the same rename in one step."""
    needs(box.renames, REMOVES_NOTHING)


@contextmanager
def refused(*kinds: type[BaseException], url: str | None = None, errno: int | None = None) -> Iterator[Any]:
    """Expect an ``OSError`` of one of *kinds*, about *url*, with *errno*; yields pytest's record of it."""
    with pytest.raises(kinds or OSError) as caught:
        yield caught
    error = caught.value
    if isinstance(error, OSError):
        assert error.errno is not None, f"{error!r} has no errno"
        assert error.strerror, f"{error!r} has no text"
        if errno is not None:
            assert error.errno == errno
        if url is not None:
            assert str(error.filename) == url, f"{error!r} has the filename {error.filename!r}"


def together(count: int, function: Callable[[int], object]) -> None:
    """Run ``function(0) … function(count - 1)`` in as many threads, which begin at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(60)
        function(number)

    with ThreadPoolExecutor(count) as threads:
        for future in [threads.submit(run, number) for number in range(count)]:
            future.result(120)


def in_child(function: Callable[[], object]) -> None:
    """Run *function* in a forked child and raise here what went wrong there."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        run_in_child(function, writing)
    os.close(writing)
    try:
        report = _read_all(reading, time.monotonic() + CHILD_SECONDS)
    finally:
        os.close(reading)
        if report_missing := not _ended(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert not report_missing, "the child hangs"
    assert report == b"ok", report.decode(errors="replace")


def run_in_child(function: Callable[[], object], writing: int) -> NoReturn:
    """The child's life: no pytest, no exit handlers, whatever happens."""
    report = b"the child died"
    try:
        function()
        report = b"ok"
    except BaseException:
        report = traceback.format_exc().encode()
    finally:
        os.write(writing, report[-32768:])
        os._exit(0)


def _read_all(reading: int, deadline: float) -> bytes:
    chunks = []
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(reading, 65536)
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _ended(pid: int) -> bool:
    """True once the child is reaped; it gets ten seconds after its report."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    return False


_PROLOGUE = """
import json, os, sys
import storagekit
given = json.loads(os.environ["STORAGEKIT_CONFORMANCE"])
storage = storagekit.Storage(options={given["scheme"]: given["options"]})
url = given["url"]
"""


@contextmanager
def script(root: Root, key: str, body: str, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Run *body* in a Python of its own, where ``storage`` and ``url`` (of *key*) are at hand; yields the process.

    It has pipes on its standard streams, and is killed at the end if it still runs.
    """
    needs(root.shared, "another process does not see this target's objects")
    given = json.dumps({"scheme": root.scheme, "options": dict(root.options), "url": f"{root.url}/{key}"})
    process = subprocess.Popen(
        [sys.executable, "-c", _PROLOGUE + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {}), "STORAGEKIT_CONFORMANCE": given},
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
