"""Many processes: what was opened before a fork goes on after it, in parent and child, and nobody harms the other.

The conformance family ``concurrency`` holds what one fork does to one handle, for every driver. Here are the shapes
that programs have (pools, servers that fork first, loaders with workers), over real servers and both transports, and
forks at the worst moment: while threads of the parent hold every lock there is, in the middle of a read or a write.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storagekit.checksums import Checksum, Digest
from storagekit.hookspecs import hookimpl
from storagekit.storage import Storage
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Before, Faults
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import run_in_child

pytest_plugins = ["s3_support"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

MiB = 1024 * 1024
# A child that works is done in a fraction of a second, five on a busy machine; one that waits for a lock never is.
CHILD_SECONDS = 30.0

DATA = random.Random(1).randbytes(5 * MiB)
LINES = b"".join(b"line %d\n" % number for number in range(100_000))


@dataclass
class Place:
    """A bucket with some objects, and a storage that reaches it."""

    base: str
    storage: Storage
    server: S3Server
    faults: Faults
    release: threading.Event

    @property
    def url(self) -> str:
        return f"{self.base}/folder/large"

    def busy(self, work: Callable[[], object], operation: str) -> threading.Thread:
        """A thread that does *work*, and waits in the middle of it for an answer that is late."""
        waits = threading.Event()

        def wait() -> None:
            waits.set()
            self.release.wait(6 * CHILD_SECONDS)

        self.faults.arm(Before(wait), operation)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert waits.wait(CHILD_SECONDS), f"no {operation} was asked for"
        return thread


@pytest.fixture
def place(rclone: S3Server, transport: str) -> Iterator[Place]:
    with fault_proxy(rclone) as (server, faults):
        # Small budgets: most reads are requests, and a writer waits for its parts.
        options = {"s3": server.options() | {"transport": transport}}
        with Storage(options=options, cache_bytes=MiB, write_bytes=6 * MiB) as storage:
            base = f"s3://{rclone.new_bucket()}"
            for name, data in (("large", DATA), ("lines", LINES), ("small", b"small")):
                with storage.open(f"{base}/folder/{name}", "wb") as file:
                    file.write(data)
            made = Place(base, storage, server, faults, threading.Event())
            try:
                yield made
            finally:
                made.release.set()


def start(step: Callable[[], object]) -> tuple[int, int]:
    """A forked child that does *step*: its id, and where it tells how that went."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run_in_child(step, writing)
    os.close(writing)
    return pid, reading


def finish(pid: int, reading: int) -> None:
    """Wait for a child, and raise what went wrong there."""
    try:
        ready, _, _ = select.select([reading], [], [], CHILD_SECONDS)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        report = os.read(reading, 65536)
    finally:
        os.close(reading)
        os.waitpid(pid, 0)
    assert ready, "the child hangs"
    assert report == b"ok", report.decode(errors="replace")


def in_child(step: Callable[[], object]) -> None:
    finish(*start(step))


def reads(file: Any, seed: int, times: int = 6) -> None:
    """Seek and read here and there, in every way, and compare."""
    places = random.Random(seed)
    for _ in range(times):
        at, size = places.randrange(len(DATA) - 400_000), places.randrange(1, 400_000)
        file.seek(at)
        assert file.read(size) == DATA[at : at + size]
        assert file.tell() == at + size
        assert file.pread(at, 1000) == DATA[at : at + 1000]


# ---------------------------------------------------------------- in the middle of something


def test_a_handle_that_a_thread_of_the_parent_is_reading_from(place: Place) -> None:
    with place.storage.open(place.url, "rb") as file, place.storage.open(f"{place.base}/folder/lines") as text:
        assert file.read(10) == DATA[:10]
        assert next(text) == "line 0\n"
        file.seek(3 * MiB)
        thread = place.busy(lambda: file.read(MiB), "read")

        def child() -> None:
            assert 3 * MiB <= file.tell() <= 4 * MiB
            reads(file, 1)
            assert next(text) == "line 1\n"
            assert sum(1 for _ in text) == 100_000 - 2
            file.close()

        in_child(child)
        in_child(child)
        assert thread.is_alive(), "the parent was in the middle of it all the time"
        place.release.set()
        thread.join(CHILD_SECONDS)
        assert file.tell() == 4 * MiB


def test_every_other_way_of_reading_while_threads_of_the_parent_read(place: Place) -> None:
    file = place.storage.open(place.url, "rb")
    scan = place.storage.scandir(f"{place.base}/folder")
    threads = []
    first = next(scan)
    for work, operation in (
        (lambda: reads(file, 3), "read"),
        (lambda: place.storage.open(place.url, "rb").read(), "read"),
        (lambda: place.storage.listdir(place.base), "list"),
        (lambda: place.storage.stat(place.url), "stat"),
    ):
        threads.append(place.busy(work, operation))

    def child() -> None:
        reads(file, 2)
        assert [first.name, *(entry.name for entry in scan)] == ["large", "lines", "small"]
        assert place.storage.listdir(f"{place.base}/folder") == ["large", "lines", "small"]
        assert place.storage.getsize(place.url) == len(DATA)
        with place.storage.open(place.url, "rb") as fresh:
            assert fresh.read() == DATA
        with place.storage.open(f"{place.base}/of-the-child", "wb") as written:
            written.write(DATA)

    in_child(child)
    assert all(thread.is_alive() for thread in threads)
    place.release.set()
    for thread in threads:
        thread.join(CHILD_SECONDS)
    file.close()
    assert place.storage.getsize(f"{place.base}/of-the-child") == len(DATA)


@pytest.mark.parametrize("mode", ["wb", "w", "w+b"])
def test_a_handle_that_a_thread_of_the_parent_is_writing_to(place: Place, mode: str) -> None:
    file: Any = place.storage.open(f"{place.base}/new", mode, options={"part_size": 5 * MiB})
    data: Any = "x" * 1_000_000 if mode == "w" else b"x" * 1_000_000
    if mode == "w+b":
        file.write(data)
        thread = place.busy(file.close, "put")
    else:
        thread = place.busy(lambda: [file.write(data) for _ in range(40)], "begin")

    def child() -> None:
        with pytest.raises((OSError, ValueError)):
            file.write(data)
            file.flush()
        with pytest.raises(OSError):
            file.close()
        assert not place.storage.exists(f"{place.base}/new")

    in_child(child)
    assert thread.is_alive()
    place.release.set()
    thread.join(CHILD_SECONDS)
    file.close()
    assert place.storage.getsize(f"{place.base}/new") == (1_000_000 if mode == "w+b" else 40_000_000)


class Slow(Checksum):
    """A checksum whose computing has a lock, as that of a hash has, which the parent's threads hold for long."""

    computing = threading.Event()
    release = threading.Event()
    parent = os.getpid()

    def begin(self) -> Digest:
        digest, lock = super().begin(), threading.Lock()
        assert digest is not None
        update = digest.update

        def slow(data: memoryview | bytes, /) -> None:
            with lock:
                if os.getpid() == self.parent:
                    self.computing.set()
                    self.release.wait(6 * CHILD_SECONDS)
                update(data)

        return SimpleNamespace(update=slow, value=digest.value)


class Slowly:
    """Hooks around a driver: what is read is verified with ``Slow``."""

    @hookimpl(wrapper=True)
    def open_read(self) -> Generator[None, Any, Any]:
        reader = yield
        reader.checksum = Slow("crc32", zlib.crc32(DATA).to_bytes(4, "big"))
        return reader


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_handle_whose_bytes_a_thread_of_the_parent_is_verifying(buffering: int) -> None:
    Slow.computing, Slow.release = threading.Event(), threading.Event()
    with Storage(wrappers=[Slowly()]) as storage:
        with storage.open("memory://box/key", "wb") as written:
            written.write(DATA)
        file = storage.open("memory://box/key", "rb", buffering)
        thread = threading.Thread(target=file.read, daemon=True)
        thread.start()
        assert Slow.computing.wait(CHILD_SECONDS)

        def child() -> None:
            assert file.tell() == 0
            assert file.read() == DATA
            file.seek(0)
            assert file.read() == DATA

        in_child(child)
        in_child(child)
        Slow.release.set()
        thread.join(CHILD_SECONDS)
        assert file.tell() == len(DATA)
        file.close()


# ---------------------------------------------------------------- shapes of programs


def test_servers_that_fork_first_and_one_that_is_killed(place: Place) -> None:
    file = place.storage.open(place.url, "rb")
    writer = place.storage.open(f"{place.base}/by-parent", "wb", options={"part_size": 5 * MiB})
    writer.write(DATA + DATA[:100])
    served, serve = os.pipe()

    def child(number: int, killed: bool) -> None:
        for turn in itertools.count():
            reads(file, number * 1000 + turn, times=1)
            with place.storage.open(f"{place.base}/by-{number}", "wb") as mine:
                mine.write(b"%d" % number)
                if killed and turn:
                    os.write(serve, b"!")
                    time.sleep(CHILD_SECONDS)
            if turn == 8:
                return

    children = [start(lambda number=number: child(number, number == 0)) for number in range(4)]  # type: ignore[misc]
    assert os.read(served, 1) == b"!"
    os.kill(children[0][0], signal.SIGKILL)
    os.waitpid(children[0][0], 0)
    os.close(children[0][1])
    reads(file, 7)
    for pid, reading in children[1:]:
        finish(pid, reading)
    os.close(served)
    os.close(serve)
    file.close()
    writer.close()
    with place.storage.open(f"{place.base}/by-parent", "rb") as again:
        assert again.read() == DATA + DATA[:100]
    for number in range(4):
        assert place.storage.open(f"{place.base}/by-{number}", "rb").read() == b"%d" % number
    assert list(place.storage.uploads(place.base)) == []


def all_read(files: list[Any], seed: int) -> None:
    for file in files:
        reads(file, seed, times=2)


def test_workers_of_a_loader_that_come_and_go(place: Place) -> None:
    files = [place.storage.open(place.url, "rb") for _ in range(3)]
    for epoch in range(3):
        workers = [
            start(lambda seed=10 * epoch + worker: all_read(files, seed))  # type: ignore[misc]
            for worker in range(3)
        ]
        for file in files:
            reads(file, epoch, times=1)  # the parent goes on meanwhile
        for pid, reading in workers:
            finish(pid, reading)
    for file in files:
        file.close()


def test_children_of_children(place: Place) -> None:
    file = place.storage.open(place.url, "rb")

    def generation(depth: int) -> None:
        reads(file, depth, times=2)
        assert place.storage.getsize(place.url) == len(DATA)
        if depth:
            in_child(lambda: generation(depth - 1))
            reads(file, depth + 100, times=2)

    generation(3)
    file.close()


# ---------------------------------------------------------------- how children end


PROLOGUE = """
import json, os, sys, threading
import storagekit
given = json.loads(os.environ["GIVEN"])
base = given["base"]
storage = storagekit.Storage(options={"s3": given["options"]})
DATA = b"0123456789abcdef" * 400_000
def wait(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code
"""

ENDS = """
reader = storage.open(base + "/folder/large", "rb")
reader.read(100)
writer = storage.open(base + "/whole", "wb", options={"part_size": 5 << 20})
writer.write(DATA)  # a part is on its way, or there already
text = storage.open(base + "/text", "w")
text.write("half of ")
half = storage.open(base + "/forgotten-by-the-child", "wb")
half.write(b"x" * 100)
for how in ("return", "exit", "error", "_exit"):
    pid = os.fork()
    if pid == 0:
        reader.seek(1 << 20)
        assert len(reader.read(1000)) == 1000
        del half
        if how == "return":
            own = storage.open(base + "/of-a-child", "w")  # never closed: given up at the end, with a warning
            own.write("x" * 100)
            break
        if how == "exit":
            sys.exit(0)
        if how == "error":
            sys.excepthook = lambda *_: os._exit(0) if not text.closed else None
            raise RuntimeError
        os._exit(0)
    wait(pid)
else:
    writer.write(b"!")
    writer.close()
    text.write("it")
    text.close()
    half.close()
    reader.close()
    storage.close()
    print("parent done")
"""


def run(place: Place, script: str) -> subprocess.CompletedProcess[str]:
    given = {"base": place.base, "options": place.storage.settings.options["s3"]}
    environment = {**os.environ, "GIVEN": json.dumps(given)}
    # From Python 3.12 on a fork beside threads is warned of.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", PROLOGUE + script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=6 * CHILD_SECONDS)


def test_children_that_end_in_every_way_leave_the_parents_writers_alone(place: Place) -> None:
    ran = run(place, ENDS)
    assert (ran.returncode, ran.stdout) == (0, "parent done\n"), ran.stderr
    assert "Traceback" not in ran.stderr
    storage = place.storage
    assert storage.open(f"{place.base}/whole", "rb").read() == b"0123456789abcdef" * 400_000 + b"!"
    assert storage.open(f"{place.base}/text").read() == "half of it"
    assert not storage.exists(f"{place.base}/of-a-child")
    assert storage.getsize(f"{place.base}/forgotten-by-the-child") == 100
    assert list(storage.uploads(place.base)) == []


BUSY_EXIT = """
writer = storage.open(base + "/busy", "wb", options={"part_size": 5 << 20})
started = threading.Event()
def write():
    for number in range(100):
        writer.write(b"x" * 200_000)
        started.set()
reader = storage.open(base + "/folder/large", "rb")
def read():
    for number in range(200):
        reader.seek(number * 10_000)
        reader.read(10_000)
threads = [threading.Thread(target=write), threading.Thread(target=read)]
for thread in threads:
    thread.start()
started.wait(30)
for number in range(20):
    pid = os.fork()
    if pid == 0:
        break  # and ends as programs do, with both handles in whatever state they are
    wait(pid)
else:
    for thread in threads:
        thread.join()
    writer.close()
    reader.close()
    storage.close()
    print("parent done")
"""


def test_children_that_end_while_the_parents_threads_hold_the_locks_of_handles(place: Place) -> None:
    ran = run(place, BUSY_EXIT)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "parent done\n", "")
    assert place.storage.getsize(f"{place.base}/busy") == 100 * 200_000
    assert list(place.storage.uploads(place.base)) == []


# ---------------------------------------------------------------- pools of the standard library


POOLS = """
import concurrent.futures, functools, multiprocessing, os, pickle, sys
import storagekit

BASE = os.environ["BASE"]

def tail(file):
    file.seek(-10, 2)
    return file.read()

def whole(url):
    with storagekit.open(url, "rb") as file:
        return len(file.read())

def through(storage, url):
    return storage.getsize(url)

def write(number):
    with storagekit.open(f"{BASE}/written-{number}", "w") as file:
        file.write(str(number))
    return number

def main():
    method = os.environ["METHOD"]
    url = f"{BASE}/folder/large"
    size = storagekit.getsize(url)  # connections and threads are there before any child is
    with storagekit.open(url, "rb") as file:
        end = tail(file)
        file.seek(100)
        expected = file.read(10)
        file.seek(100)
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(whole, [url] * 4) == [size] * 4
            assert pool.map(storagekit.getsize, [url] * 2) == [size] * 2
            assert pool.map(functools.partial(through, storagekit.Storage(threads=2)), [url]) == [size]
            assert pool.map(tail, [file, file]) == [end, end]
            assert pool.map(write, range(4)) == [0, 1, 2, 3]
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(storagekit.isfile, [url, BASE])) == [True, False]
            assert pool.submit(tail, file).result(60) == end
            error = pool.submit(storagekit.open, f"{BASE}/absent").exception(60)
            assert isinstance(error, FileNotFoundError) and error.filename == f"{BASE}/absent"
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(whole, [url] * 16)) == [size] * 16
            assert list(pool.map(lambda at: file.pread(at, 10), [100] * 16)) == [expected] * 16
        assert file.read(10) == expected
    print(sorted(storagekit.listdir(BASE)))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_every_kind(place: Place, tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(POOLS)
    environment = place.server.environment() | {"BASE": place.base, "METHOD": method}
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=6 * CHILD_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{['folder', *(f'written-{number}' for number in range(4))]}\n"
    assert ran.stderr == ""


# ---------------------------------------------------------------- pickles


def test_text_and_compressed_handles_say_that_they_do_not_pickle(place: Place) -> None:
    with place.storage.open(f"{place.base}/packed.gz", "wb") as file:
        file.write(gzip.compress(b"packed"))
    for mode, compression in (("r", None), ("rb", "gzip"), ("r", "gzip"), ("w", None)):
        with (
            place.storage.open(f"{place.base}/packed.gz", mode, compression=compression) as handle,
            pytest.raises(TypeError, match="pickle"),
        ):
            pickle.dumps(handle)
