"""A soak: thousands of opens of every kind, and what the process holds meanwhile; see ``scripts/soak``.

Each transport is used by a process of its own, which does the same few things over and over: small and ranged reads,
lines of text, scans that are left in the middle, writes of one request and of several, opens that fail, listings, and
writes that are given up, by an exception or by being forgotten. The objects are few and are written again and again, so
that the server does not grow either.

Before it begins, after each quarter and when everything was closed it notes the memory (RSS), the descriptors, the
threads and the unfinished uploads. They have to be flat:

* memory: at the end at most 8 MiB more than after the first quarter, by when every buffer and every module is there.
  Of 10,000 opens 7,500 come after that, so a leak of 1.2 KB an open shows;
* descriptors: after each quarter at most 40 more than before: 32 threads may each have left a connection that waits for
  its next request; and none more than before once all is closed;
* threads: no more than before once all is closed. Unfinished uploads: none.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import storagekit
from storagekit_conformance.servers import S3Server, moto_server, rclone_server

MiB = 1024 * 1024
MEMORY_BOUND = 8 * MiB
DESCRIPTOR_BOUND = 40
# How long after the end a thread may take to be gone.
END_SECONDS = 10.0

LARGE = 4 * MiB
# More than one part of the least size that S3 allows.
PART, IN_PARTS = 5 * MiB, 6 * MiB
LINES = "".join(f"line {number}\n" for number in range(2000))


@dataclass
class Held:
    """What the process holds at one moment."""

    when: str
    memory: int
    descriptors: int
    threads: int
    uploads: int

    def row(self) -> str:
        return f"{self.when:<16}{self.memory / MiB:>12.1f}{self.descriptors:>13}{self.threads:>9}{self.uploads:>21}"


HEAD = f"{'':<16}{'memory, MiB':>12}{'descriptors':>13}{'threads':>9}{'unfinished uploads':>21}"


class Soak:
    """The work, on one bucket."""

    def __init__(self, storage: storagekit.Storage, base: str) -> None:
        self.storage = storage
        self.base = base
        self.draw = random.Random(1)
        self.data = self.draw.randbytes(IN_PARTS)
        # Each kind, and how many of a hundred opens are of it. Those that move megabytes are the fewer.
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (20, self.read_small),
            (18, self.read_range),
            (10, self.read_lines),
            (4, self.leave_scan),
            (20, self.write_small),
            (1, self.write_parts),
            (10, self.fail),
            (8, self.list),
            (6, self.give_up_small),
            (1, self.give_up_parts),
            (2, self.forget),
        ]

    def prepare(self) -> None:
        self._write("small", self.data[:1000])
        self._write("large", self.data[:LARGE])
        self._write("lines.txt", LINES.encode())

    def run(self, opens: int) -> None:
        weights, kinds = zip(*self.kinds, strict=True)
        for kind in self.draw.choices(kinds, weights, k=opens):
            kind()

    def run_each(self) -> None:
        for _, kind in self.kinds:
            kind()

    def _write(self, name: str, data: bytes) -> None:
        with self.storage.open(f"{self.base}/{name}", "wb") as file:
            file.write(data)

    def read_small(self) -> None:
        with self.storage.open(f"{self.base}/small", "rb") as file:
            assert file.read() == self.data[:1000]

    def read_range(self) -> None:
        start = self.draw.randrange(LARGE - 50_000)
        with self.storage.open(f"{self.base}/large", "rb") as file:
            file.seek(start)
            assert file.read(50_000) == self.data[start : start + 50_000]

    def read_lines(self) -> None:
        with self.storage.open(f"{self.base}/lines.txt") as file:
            assert sum(len(line) for line in file) == len(LINES)

    def leave_scan(self) -> None:
        with self.storage.open(f"{self.base}/large", "rb", access="sequential") as file:
            assert file.read(300_000) == self.data[:300_000]

    def write_small(self) -> None:
        self._write(f"written-{self.draw.randrange(50)}", self.data[: self.draw.randrange(10_000)])

    def write_parts(self) -> None:
        with self.storage.open(f"{self.base}/parts", "wb", options={"part_size": PART}) as file:
            file.write(self.data)

    def fail(self) -> None:
        for wrong in ({}, {"no_such_option": 1}, {"part_size": 1}):
            with suppress(OSError):
                self.storage.open(f"{self.base}/absent", "rb", options=wrong)
                raise AssertionError("it should have failed")

    def list(self) -> None:
        assert "small" in self.storage.listdir(self.base)

    def give_up_small(self) -> None:
        with suppress(LookupError), self.storage.open(f"{self.base}/never", "wb") as file:
            file.write(b"x" * 1000)
            raise LookupError

    def give_up_parts(self) -> None:
        options = {"part_size": PART}
        with suppress(LookupError), self.storage.open(f"{self.base}/never", "wb", options=options) as file:
            file.write(self.data)
            raise LookupError

    def forget(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.storage.open(f"{self.base}/never", "wb").write(b"x" * 1000)
            gc.collect()


def held(when: str, storage: storagekit.Storage, bucket: str) -> Held:
    uploads = sum(1 for _ in storage.uploads(bucket))  # first: it may open a connection, which counts from then on
    gc.collect()
    pid = str(os.getpid())
    memory = int(subprocess.run(["ps", "-o", "rss=", "-p", pid], capture_output=True, check=True).stdout) * 1024
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    descriptors = len(os.listdir(folder)) - 1  # one is that of the folder
    return Held(when, memory, descriptors, threading.active_count(), uploads)


def soak(server: S3Server, opens: int, transport: str) -> list[str]:
    """Do it, print what was held, and give what was wrong."""
    bucket = f"s3://{server.new_bucket()}"
    logging.getLogger("storagekit").setLevel(logging.ERROR)  # of each write that is given up it says so
    options = {"s3": server.options() | {"transport": transport}}
    looking = storagekit.Storage(options=options)  # which asks for uploads, and is there from beginning to end
    with storagekit.Storage(options=options, cache_bytes=16 * MiB) as warm:  # imports, and what is kept for good
        first = Soak(warm, f"{bucket}/soak")
        first.prepare()
        first.run_each()
    print(f"{opens} opens, {transport}\n{HEAD}", flush=True)
    before = held("before", looking, bucket)
    print(before.row(), flush=True)
    quarters = []
    start = time.monotonic()
    with storagekit.Storage(options=options, cache_bytes=16 * MiB) as storage:
        work = Soak(storage, f"{bucket}/soak")
        for number in range(1, 5):
            work.run(opens * number // 4 - opens * (number - 1) // 4)
            quarters.append(held(f"after {opens * number // 4}", looking, bucket))
            print(quarters[-1].row(), flush=True)
    seconds = time.monotonic() - start
    deadline = time.monotonic() + END_SECONDS
    while threading.active_count() > before.threads and time.monotonic() < deadline:
        time.sleep(0.1)
    after = held("closed", looking, bucket)
    print(f"{after.row()}\n{seconds:.0f} s, {1000 * seconds / opens:.1f} ms an open", flush=True)
    looking.close()
    return wrong(before, quarters, after)


def wrong(before: Held, quarters: list[Held], after: Held) -> list[str]:
    """Which bounds were exceeded, in words."""
    found = []
    if (grown := quarters[-1].memory - quarters[0].memory) > MEMORY_BOUND:
        found.append(f"memory has grown by {grown / MiB:.1f} MiB since the first quarter")
    if (most := max(quarter.descriptors for quarter in quarters)) > before.descriptors + DESCRIPTOR_BOUND:
        found.append(f"{most} descriptors, {before.descriptors} before")
    for name in ("descriptors", "threads"):
        if (left := getattr(after, name) - getattr(before, name)) > 0:
            found.append(f"{left} {name} were left open when everything was closed")
    if after.uploads:
        found.append(f"{after.uploads} uploads were left unfinished")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Thousands of opens; is memory flat?")
    parser.add_argument("opens", nargs="?", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--server", choices=["rclone", "moto"], default="rclone", help="which server to start (rclone)")
    parser.add_argument("--transport", choices=["wire", "boto3", "both"], default="both", help="which (both)")
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.opens < 4:
        parser.error("at least 4 opens")
    if given.endpoint:  # the process of one transport
        found = soak(S3Server(given.endpoint, "testkey", "testsecret"), given.opens, given.transport)
        for line in found:
            print(f"NOT FLAT: {line}")
        return 1 if found else 0
    failed = 0
    with (rclone_server if given.server == "rclone" else moto_server)() as server:
        for transport in ["wire", "boto3"] if given.transport == "both" else [given.transport]:
            command = [sys.executable, __file__, str(given.opens), "--transport", transport]
            ran = subprocess.run([*command, "--endpoint", server.endpoint], env=server.environment())
            failed += ran.returncode != 0
            print(flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
