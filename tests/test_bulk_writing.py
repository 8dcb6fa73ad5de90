"""bulk_writing: how many are at it at once, what one request is, and that nothing is left running."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import storagekit
from storagekit.driver import Body, ObjectWriter, Options, Stat, WholeObjectWriter, body_size
from storagekit.errors import os_error
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


class Store(MemoryDriver):
    """Counts who writes at once; puts of ``slow`` take a while, and of ``bad`` fail."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.bodies: dict[str, Body] = {}

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: object) -> ObjectWriter:
        def put(body: Body) -> Stat:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            try:
                time.sleep(0.02 if "slow" in location.path else 0)
                if "bad" in location.path:
                    raise os_error(5, location)
                self.bodies[location.path] = body
                return Stat(location, size=body_size(body))
            finally:
                with self.lock:
                    self.now -= 1

        return WholeObjectWriter(put)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def storage(store: Store) -> Iterator[storagekit.Storage]:
    with storagekit.Storage(drivers={"toy": lambda: store}) as made:
        yield made


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """The names of the threads that were not there when the test began."""
    before = set(threading.enumerate())
    return lambda: [thread.name for thread in threading.enumerate() if thread not in before]


def test_as_many_at_once_as_asked_for(
    store: Store, storage: storagekit.Storage, new_threads: Callable[[], list[str]]
) -> None:
    storage.write_many({f"toy://box/slow-{n}": b"x" for n in range(30)}, in_flight=7)
    assert store.most == 7
    assert len(store.bodies) == 30
    assert new_threads() == []


def test_plain_bytes_reach_the_driver_as_they_are(store: Store, storage: storagekit.Storage) -> None:
    data = bytes(1000)
    objects: dict[str, bytes | bytearray] = {
        "toy://box/bytes": data,
        "toy://box/array": bytearray(data),
        "toy://box/none": b"",
    }
    storage.write_many(objects)
    assert store.bodies["bytes"][0] is data
    assert store.bodies["array"] == [data]
    assert store.bodies["none"] == []


def test_the_first_error_ends_it(
    store: Store, storage: storagekit.Storage, new_threads: Callable[[], list[str]]
) -> None:
    drawn = []

    def pairs() -> Iterator[tuple[str, bytes]]:
        for number in range(1000):
            drawn.append(number)
            yield f"toy://box/{'bad' if number == 3 else 'slow'}-{number}", b"x"

    with pytest.raises(OSError, match="bad-3"):
        storage.write_many(pairs(), in_flight=4)
    assert len(drawn) < 20
    written = len(store.bodies)
    assert new_threads() == []
    time.sleep(0.05)
    assert len(store.bodies) == written, "nothing goes on behind the caller's back"


def test_an_iterator_that_fails_ends_it(
    store: Store, storage: storagekit.Storage, new_threads: Callable[[], list[str]]
) -> None:
    def pairs() -> Iterator[tuple[str, bytes]]:
        yield "toy://box/slow", b"x"
        while not store.now:
            time.sleep(0.001)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        storage.write_many(pairs())
    assert "slow" in store.bodies, "what was on its way was waited for"
    assert new_threads() == []


def test_a_closed_storage_writes_nothing(store: Store, storage: storagekit.Storage) -> None:
    storage.close()
    with pytest.raises(ValueError, match="closed"):
        storage.write_many({"toy://box/key": b"x"})
    assert store.bodies == {}


def test_a_buffer_that_is_used_again_is_written_as_it_was(store: Store, storage: storagekit.Storage) -> None:
    buffer = bytearray(1000)

    def pairs() -> Iterator[tuple[str, bytearray]]:
        for number in range(50):
            buffer[:] = bytes([number]) * 1000
            yield f"toy://box/slow-{number}", buffer

    storage.write_many(pairs())
    assert all(store.bodies[f"slow-{number}"] == [bytes([number]) * 1000] for number in range(50))


@pytest.mark.parametrize("wrong", ["toy://box/key", ["toy://box/key"], [("toy://box/key",)], [5]])
def test_what_is_no_pairs_is_refused_in_words(store: Store, storage: storagekit.Storage, wrong: Any) -> None:
    with pytest.raises(TypeError, match="mapping of URLs to their bytes"):
        storage.write_many(wrong)
    assert store.bodies == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("more", [0, 100])
def test_a_forked_child_that_goes_on_is_refused(store: Store, storage: storagekit.Storage, more: int) -> None:
    """*more*: with and without another pair to be drawn."""
    child = 0

    def pairs() -> Iterator[tuple[str, bytes]]:
        nonlocal child
        for number in range(20):
            yield f"toy://box/slow-{number}", b"x"
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # which ends one that waits for ever
        for number in range(more):
            yield f"toy://box/more-{number}", b"x"

    try:
        failures = storage.write_many(pairs(), in_flight=8)
    except BaseException as error:
        if child == 0:
            told = isinstance(error, OSError) and error.errno == errno.EBADF and f"process {os.getppid()}" in str(error)
            os._exit(0 if told else 1)
        raise
    finally:
        if child == 0:
            os._exit(2)
    assert failures == []
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(store.bodies) == 20 + more
