"""The end: of an interpreter with reads and writes under way, and of a Storage, of which nothing is left.

Each is a program of its own, over both transports, on a real server, and on one that has stopped to answer. What it
must not do is to wait for ever, to publish anything, to leave an upload, or to show a traceback of a thread that nobody
knows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from storagekit.storage import Storage
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Before, Faults
from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
# A fifth of a second of silence is given up, three times per request; and the machine may be busy.
END_SECONDS = 90.0

PROLOGUE = """
import json, os, sys, threading, time
import storagekit
given = json.loads(os.environ["GIVEN"])
base = given["base"]
options = {"s3": given["options"]}
storage = storagekit.Storage(options=options)
PART = {"part_size": 5 << 20}
DATA = b"x" * (11 << 20)
"""


@dataclass
class Place:
    """A bucket with an object, as it is reached through a proxy, and without."""

    base: str
    server: S3Server
    direct: Storage
    faults: Faults
    transport: str

    def run(self, script: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """A program with *script*, which sees the warnings about what was not closed."""
        given = {"base": self.base, "options": self.server.options() | {"transport": self.transport, **options}}
        return subprocess.run(
            [sys.executable, "-W", "always::ResourceWarning", *arguments, "-c", PROLOGUE + script],
            env={**os.environ, "GIVEN": json.dumps(given)},
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )

    @contextmanager
    def stalling(self, *operations: str) -> Iterator[None]:
        """Nobody answers these until it is over."""
        over = threading.Event()
        self.faults.arm(Before(lambda: over.wait(END_SECONDS)), *operations, times=None)
        try:
            yield
        finally:
            self.faults.clear()
            over.set()

    def nothing_was_written(self) -> bool:
        return self.direct.listdir(self.base) == ["object"] and list(self.direct.uploads(self.base)) == []


@pytest.fixture
def place(rclone: S3Server, transport: str) -> Iterator[Place]:
    base = f"s3://{rclone.new_bucket()}"
    with Storage(options={"s3": rclone.options()}) as direct, fault_proxy(rclone) as (server, faults):
        with direct.open(f"{base}/object", "wb") as file:
            file.write(b"0123456789abcdef" * MiB)
        yield Place(base, server, direct, faults, transport)


# ---------------------------------------------------------------- reads under way

READS = """
file = storage.open(base + "/object", "rb", access="sequential")
assert file.read(10) == b"0123456789"  # and much more is on its way
text = storage.open(base + "/object")
text.read(10)
rest = storage.read_many([base + "/object"] * 50, in_flight=16)
next(rest)
walked = storage.walk(base)
next(walked)
"""
ENDS = {"end": "", "exit": "sys.exit(0)", "error": "sys.excepthook = lambda *error: None\nraise LookupError"}


@pytest.mark.parametrize("end", ENDS)
def test_reads_under_way(place: Place, end: str) -> None:
    ran = place.run(READS + ENDS[end])
    assert (ran.returncode, ran.stdout, ran.stderr) == (1 if end == "error" else 0, "", "")


STALLED_READS = """
file = storage.open(base + "/object", "rb", access="sequential")
file.read(10)
def blocked():
    storage.open(base + "/object", "rb").read()
threading.Thread(target=blocked, daemon=True).start()
time.sleep(0.3)
"""


def test_read_ahead_that_nobody_answers(place: Place) -> None:
    over = threading.Event()
    place.faults.arm(Before(lambda: over.wait(END_SECONDS)), "read", after=2, times=None)
    try:
        ran = place.run(STALLED_READS)
    finally:
        place.faults.clear()
        over.set()
    assert (ran.returncode, ran.stderr) == (0, "")


# A thread that waits for a lock and is given it while the interpreter is torn down ends with it, before Python can
# see that it has it. That is what "last" does here, on purpose, before the readers are collected.
LOCK_LOST_IN_THE_END = """
last = None  # what is named first is collected first
class Last:
    def __init__(self, lock):
        self.parts = lock.release, time.sleep, lock.locked
    def __del__(self):
        release, sleep, locked = self.parts
        release()
        sleep(0.3)
        print("locked" if locked() else "not to be seen")
def lines():
    with storage.open(base + "/object", "rb") as file:
        yield file.read(10)
file = storage.open(base + "/object", "rb")
file.read(10)
text = storage.open(base + "/object")
text.read(10)
generator = lines()
next(generator)
lock = file.raw._access._cache.lock
last = Last(lock)
lock.acquire()
threading.Thread(target=lock.acquire, daemon=True).start()
time.sleep(0.3)
"""


def test_readers_whose_cache_is_locked_by_a_thread_that_has_ended(place: Place) -> None:
    ran = place.run(LOCK_LOST_IN_THE_END)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout in ("locked\n", "not to be seen\n")  # the latter up to Python 3.12


GENERATOR = """
def pieces():
    with storagekit.Storage(options=options) as own:
        with own.open(base + "/object", "rb", access="sequential") as file:
            with own.open(base + "/never", "wb", options=PART) as copy:
                copy.write(DATA)
                yield file.read(10)
generator = pieces()
next(generator)
"""


def test_a_storage_and_its_files_in_a_generator_that_nobody_has_ended(place: Place) -> None:
    ran = place.run(GENERATOR)
    assert ran.returncode == 0, ran.stderr
    promised(ran.stderr, f"{place.base}/never")
    assert place.nothing_was_written()


# ---------------------------------------------------------------- writes under way

WRITES = """
import logging
logging.basicConfig()
files = [storage.open(f"{base}/never-{number}", "wb", options=PART) for number in range(2)]
for file in files:
    file.write(DATA)
text = storage.open(base + "/never-text", "w")
text.write("half")
"""


def promised(stderr: str, *names: str) -> None:
    """The warning about each that was not closed, and nothing that looks like a mistake of ours."""
    for name in names:
        assert f"unclosed, not published: <writer of '{name}'>" in stderr
    for noise in ("Traceback", "Exception ignored", "Fatal", "Error"):
        assert noise not in stderr, stderr


@pytest.mark.parametrize("end", ENDS)
def test_writes_under_way(place: Place, end: str) -> None:
    ran = place.run(WRITES + ENDS[end])
    assert ran.returncode == (1 if end == "error" else 0), ran.stderr
    promised(ran.stderr, *(f"{place.base}/never-{name}" for name in (0, 1, "text")))
    assert place.nothing_was_written()


def test_writes_under_way_in_a_thread_that_the_interpreter_does_not_wait_for(place: Place) -> None:
    script = """
started = threading.Event()
def write():
    with storage.open(base + "/never", "wb", options=PART) as file:
        while True:
            file.write(DATA)
            started.set()
threading.Thread(target=write, daemon=True).start()
started.wait(60)
"""
    ran = place.run(script)
    assert ran.returncode == 0, ran.stderr
    assert f"unclosed, not published: <writer of '{place.base}/never'>" in ran.stderr
    assert place.nothing_was_written()


@pytest.mark.parametrize("operations", [["part"], ["begin"], ["part", "abort"]], ids=lambda names: "-".join(names))
def test_writes_that_nobody_answers(place: Place, operations: list[str]) -> None:
    script = WRITES + "time.sleep(0.3)\n"
    with place.stalling(*operations):
        ran = place.run(script, read_timeout=0.2)
    assert ran.returncode == 0, ran.stderr
    names = [f"{place.base}/never-{name}" for name in (0, 1, "text")]
    for name in names:
        assert f"unclosed, not published: <writer of '{name}'>" in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert "Exception in thread" not in ran.stderr
    assert place.direct.listdir(place.base) == ["object"]
    if operations == ["part"]:
        assert list(place.direct.uploads(place.base)) == []
    elif "abort" in operations:
        assert "may remain" in ran.stderr


def test_a_close_that_nobody_answers_ends_as_well(place: Place) -> None:
    script = """
file = storage.open(base + "/never", "wb")
file.write(b"x")
def close():
    try:
        file.close()
    except OSError:
        pass  # a daemon that prints its error while the interpreter ends is Python's own way to a fatal error
threading.Thread(target=close, daemon=True).start()
time.sleep(0.3)
"""
    with place.stalling("put"):
        ran = place.run(script, read_timeout=0.2)
    assert ran.returncode == 0, ran.stderr
    assert "Fatal" not in ran.stderr


# ---------------------------------------------------------------- nothing is left

USE = """
def descriptors():
    return sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{name}") or os.path.islink(f"/proc/self/fd/{name}"))

def use(storage):
    urls = [f"{base}/used-{number}" for number in range(20)]
    storage.write_many({url: b"y" * 1000 for url in urls})
    assert len(list(storage.read_many(urls, on_error="raise"))) == 20
    with storage.open(base + "/parts", "wb", options=PART) as file:
        file.write(DATA)
    with storage.open(base + "/parts", "rb", access="sequential") as file:
        file.read(300_000)
    with storage.open(base + "/parts", "rb") as file:
        file.read()
        file.pread(5 << 20, 100)
    threads = [threading.Thread(target=storage.getsize, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for wrong in (base + "/absent", "s3://no-such-bucket-anywhere/key"):
        try:
            storage.open(wrong)
        except OSError:
            pass
    storage.open(base + "/given-up", "wb", options=PART).write(DATA)
    list(storage.walk(base))
    next(storage.walk(base))
    next(storage.read_many(urls))
    left = storage.open(base + "/parts", "rb", access="sequential")
    left.read(100)
    return left
"""

CLOSED = (
    USE
    + """
import warnings
warnings.simplefilter("ignore")
import logging
logging.getLogger("storagekit").setLevel(logging.ERROR)
warm = storagekit.Storage(options=options)
use(warm).close()  # imports, and what is kept for good
warm.close()
before = descriptors()
assert threading.active_count() == 1, threading.enumerate()
left = use(storage)
during = descriptors()
secure = options["s3"]["endpoint_url"].startswith("https:")
assert len(during) > len(before) or secure, (before, during)  # else there is nothing to be closed
storage.close()
left.close()
after = descriptors()
assert len(after) == len(before), (before, after)
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
print("nothing is left")
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_after_close_no_thread_no_socket_and_no_descriptor_is_left(
    request: pytest.FixtureRequest, transport: str, secure: bool
) -> None:
    server: S3Server = request.getfixturevalue("moto_tls" if secure else "rclone")
    base = f"s3://{server.new_bucket()}"
    given = {"base": base, "options": server.options() | {"transport": transport}}
    ran = subprocess.run(
        [sys.executable, "-c", PROLOGUE + CLOSED],
        env={**os.environ, "GIVEN": json.dumps(given)},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )
    assert (ran.returncode, ran.stdout) == (0, "nothing is left\n"), ran.stderr


IDLE = (
    USE
    + """
import storagekit.transfers, storagekit_s3.pools
storagekit.transfers.IDLE_SECONDS = 0.3
storagekit_s3.pools.IDLE_SECONDS = 0.5
import warnings, logging
warnings.simplefilter("ignore")
logging.getLogger("storagekit").setLevel(logging.ERROR)
use(storage).close()
deadline = time.monotonic() + 60
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.05)
assert threading.active_count() == 1, threading.enumerate()
def sockets():
    return sum(name.startswith("socket:") for name in descriptors())
waiting = sockets()
assert waiting <= 128, waiting
time.sleep(0.6)
storage.getsize(base + "/object")
if given["options"]["transport"] == "wire":  # boto3 closes none before the end, and keeps no more than so many
    assert sockets() <= 1, (waiting, sockets())
storage.close()
assert sockets() == 0
print("all have gone", waiting > 1)
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
def test_idle_threads_end_by_themselves_and_idle_sockets_with_the_next_request(place: Place) -> None:
    ran = place.run(IDLE)
    assert (ran.returncode, ran.stdout) == (0, "all have gone True\n"), ran.stderr
