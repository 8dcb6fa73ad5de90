"""Hammering: thirty-two threads on one handle, on one object and on one prefix.

Whatever they do at once, each gets the right bytes, all of one version, without an exception; and the sockets that it
takes are no more than the threads that asked, and those of read-ahead.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storagekit.errors import ObjectChangedError
from storagekit.storage import Storage
from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
THREADS = 32
# Read-ahead and parts run in as many threads again (``Settings.threads``); one that is being closed may be counted
# beside the one that takes its place.
MOST_SOCKETS = 3 * THREADS
SIZE = 6 * MiB + 77


class Many:
    """A bucket with one object, and a storage whose sockets are counted."""

    def __init__(self, storage: Storage, base: str) -> None:
        self.storage = storage
        self.base = base
        self.url = f"{base}/hammered/object"
        self.data = random.Random(1).randbytes(SIZE)
        self.put(self.data)
        self.before = sockets()
        self.most = 0

    def put(self, data: bytes) -> None:
        with self.storage.open(self.url, "wb") as file:
            file.write(data)

    def together(self, work: Callable[[int], None], *, most: int = MOST_SOCKETS) -> None:
        """*work* in every thread at once; the first exception is raised."""
        begin = threading.Barrier(THREADS)

        def run(number: int) -> None:
            begin.wait(60)
            work(number)
            self.most = max(self.most, sockets() - self.before)

        with ThreadPoolExecutor(THREADS) as threads:
            for done in [threads.submit(run, number) for number in range(THREADS)]:
                done.result(120)
        assert self.most <= most, f"{self.most} sockets at once"


def sockets() -> int:
    """The sockets of this process; 0 where nobody tells."""
    if sys.platform != "linux":
        return 0
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            pass  # it was closed meanwhile
    return found


@pytest.fixture
def many(rclone: S3Server, transport: str) -> Iterator[Many]:
    yield from _many(rclone, transport)


@pytest.fixture
def many_on_moto(moto: S3Server, transport: str) -> Iterator[Many]:
    """Where an object that is replaced while it is read is no error of the server's."""
    yield from _many(moto, transport)


def _many(server: S3Server, transport: str) -> Iterator[Many]:
    options = {"s3": server.options() | {"transport": transport}}
    # A third of the object fits, so that blocks come and go all the time.
    with Storage(options=options, cache_bytes=2 * MiB) as storage:
        yield Many(storage, f"s3://{server.new_bucket()}")


def test_one_handle_is_read_at_places_by_all(many: Many) -> None:
    with many.storage.open(many.url, "rb") as opened:
        file: Any = opened

        def work(number: int) -> None:
            places = random.Random(number)
            for _ in range(10):
                at, size = places.randrange(SIZE), places.randrange(1, 200_000)
                assert file.pread(at, size) == many.data[at : at + size]
                spans = [(at, min(at + 100, SIZE)), (at // 2, at // 2 + 50_000)]
                assert file.read_ranges(spans) == [many.data[start:stop] for start, stop in spans]

        many.together(work)
        assert file.tell() == 0


def test_one_handle_is_read_on_by_all(many: Many) -> None:
    chunks: list[bytes] = []
    with many.storage.open(many.url, "rb") as file:

        def work(number: int) -> None:
            while chunk := file.read(9973):
                chunks.append(chunk)
                if number % 4 == 0:
                    at = len(chunks) * 1000 % SIZE
                    assert file.pread(at, 100) == many.data[at : at + 100]  # type: ignore[attr-defined]

        many.together(work)
    wanted = [many.data[at : at + 9973] for at in range(0, SIZE, 9973)]
    assert sorted(chunks) == sorted(wanted), "each byte once, no read torn"


def test_one_object_is_opened_by_all(many: Many) -> None:
    def work(number: int) -> None:
        with many.storage.open(many.url, "rb", access=("sequential", "random", None)[number % 3]) as file:
            if number % 2:
                assert file.read() == many.data
            else:
                for at in range(number * 1000, SIZE, SIZE // 7):
                    file.seek(at)
                    assert file.read(70_000) == many.data[at : at + 70_000]
        assert many.storage.getsize(many.url) == SIZE

    many.together(work)


def test_all_see_one_version_each_while_it_is_replaced(many_on_moto: Many) -> None:
    many = many_on_moto
    versions = [many.data, *(random.Random(seed).randbytes(SIZE + seed) for seed in (2, 3))]
    changed = threading.Semaphore(0)

    def work(number: int) -> None:
        if number == 0:
            for turn in range(6):
                many.put(versions[turn % 3])
            return
        for _ in range(2):
            try:
                with many.storage.open(many.url, "rb") as file:
                    begun = file.read(100_000)
                    (version,) = [version for version in versions if version.startswith(begun)]
                    for at in (SIZE // 2, SIZE - 50_000, 200_000):
                        file.seek(at)
                        assert file.read(50_000) == version[at : at + 50_000], "never a mixture"
            except ObjectChangedError:
                changed.release()

    many.together(work)
    many.put(versions[1])
    assert many.storage.open(many.url, "rb").read() == versions[1]


def test_one_prefix_is_listed_asked_about_and_written_by_all(many: Many) -> None:
    folder = f"{many.base}/prefix"
    steady = [f"steady-{number}" for number in range(20)]
    many.storage.write_many({f"{folder}/{name}": name.encode() for name in steady})

    def work(number: int) -> None:
        storage = many.storage
        for turn in range(4):
            kind = (number + turn) % 5
            name = steady[(number + turn) % 20]
            if kind == 0:
                assert set(steady) <= set(storage.listdir(folder))
            elif kind == 1:
                assert storage.getsize(f"{folder}/{name}") == len(name)
                assert not storage.exists(f"{folder}/absent-{number}")
            elif kind == 2:
                assert storage.open(f"{folder}/{name}").read() == name
            elif kind == 3:
                with storage.open(f"{folder}/own-{number}-{turn}", "w") as file:
                    file.write(name)
                assert storage.open(f"{folder}/own-{number}-{turn}").read() == name
            else:
                found = dict(storage.read_many([f"{folder}/{name}" for name in steady[:5]]))
                assert found == {f"{folder}/{name}": name.encode() for name in steady[:5]}

    many.together(work, most=MOST_SOCKETS + 5 * THREADS)  # each read_many has five threads of its own
    written = [f"own-{n}-{turn}" for n in range(THREADS) for turn in range(4) if (n + turn) % 5 == 3]
    assert sorted(many.storage.listdir(folder)) == sorted([*steady, *written])


def test_one_cache_serves_all_and_its_books_balance(many: Many) -> None:
    with many.storage.open(many.url, "rb") as file:
        many.together(lambda number: file.pread(number * 1000, 500_000))  # type: ignore[attr-defined]
    info = many.storage.cache_info()
    assert info.in_flight == 0
    assert info.cached <= info.budget
