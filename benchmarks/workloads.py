"""What is done with every peer. Each is a few lines, as a user would write them; its text says what it does.

A workload makes its own comparison of the bytes, outside of the timer (``measuring``), and returns its figures by name.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.data import PER_FOLDER, THREADS, TINY, blocks
from benchmarks.first import NOT_OFFERED
from benchmarks.measuring import Run, WrongBytesError
from benchmarks.peers.base import CHUNK, MiB, NotOfferedError, Peer
from benchmarks.store import Store

__all__ = ["WORKLOADS", "Figure", "Workload"]

RANDOM_READ = 64 * 1024
SPARSE_READS = 100
SPARSE_READ = 4096
RANGES = 64
ZIP_MEMBERS = 20
# What was on its way when a file was closed has come by then.
SETTLE_SECONDS = 0.4


@dataclass(frozen=True)
class Figure:
    """What a workload measures: one number."""

    name: str
    unit: str
    higher: bool = False
    """True where more is better."""


SPEED = Figure("speed", "MB/s", higher=True)
SECONDS = Figure("time", "s")


@dataclass(frozen=True)
class Workload:
    """One thing that is done with a peer."""

    name: str
    text: str
    """What it does, at full size."""

    needs: tuple[str, ...]
    """The data, by its names in ``benchmarks.data``."""

    figures: tuple[Figure, ...]
    run: Callable[[Peer, Run], dict[str, float]]
    sampled: bool
    """A timed run compares only samples: a thorough run must come first."""

    writes: bool


WORKLOADS: dict[str, Workload] = {}


def workload(
    text: str, *figures: Figure, needs: str = "", sampled: bool = False, writes: bool = False
) -> Callable[[Callable[[Peer, Run], dict[str, float]]], Callable[[Peer, Run], dict[str, float]]]:
    """Make a workload out of a function."""

    def add(function: Callable[[Peer, Run], dict[str, float]]) -> Callable[[Peer, Run], dict[str, float]]:
        name = function.__name__.replace("_", "-")
        WORKLOADS[name] = Workload(name, text, tuple(needs.split()), figures, function, sampled, writes)
        return function

    return add


def _speed(size: int, run: Run) -> dict[str, float]:
    return {"speed": size / run.seconds / 1e6}


def _fetched(run: Run, unit: float) -> dict[str, float]:
    """The bytes that were fetched, where somebody counts them."""
    return {"fetched": run.measured["fetched"] / unit} if "fetched" in run.measured else {}


# Reading one object from its beginning


@workload("1 GiB read in pieces of 1 MiB", SPEED, needs="big", sampled=True)
def sequential(peer: Peer, run: Run) -> dict[str, float]:
    check = run.check("big.bin")
    with run.timed():
        peer.read_through("big.bin", check)
    check.finish()
    return _speed(run.sizes.big, run)


@workload("10 MiB of 1 GiB read in pieces of 1 MiB, then closed", Figure("fetched", "MB"), SECONDS, needs="big")
def start(peer: Peer, run: Run) -> dict[str, float]:
    pieces, left = [], run.sizes.read_first
    with run.timed(SETTLE_SECONDS):
        file = peer.open("big.bin")
        while left:
            pieces.append(file.read(min(CHUNK, left)))
            left -= len(pieces[-1])
        file.close()
    run.check("big.bin").all(b"".join(pieces))
    return _fetched(run, 1e6) | {"time": run.seconds}


@workload("256 MiB read by one read()", SPEED, needs="whole")
def whole(peer: Peer, run: Run) -> dict[str, float]:
    with run.timed():
        data = peer.read("whole.bin")
    check = run.check("whole.bin")
    check.all(data)
    if len(data) != run.sizes.whole:
        raise WrongBytesError(f"{len(data)} bytes of {run.sizes.whole}")
    return _speed(run.sizes.whole, run)


@workload("256 MiB of text read line by line", SPEED, needs="text", sampled=True)
def lines(peer: Peer, run: Run) -> dict[str, float]:
    path = run.folder / "lines.txt"
    count = length = 0
    if run.thorough:
        with run.timed(), peer.open_text("lines.txt") as text, path.open(encoding="utf-8", newline="") as expected:
            for line, wanted in zip(text, expected, strict=True):
                if line != wanted:
                    raise WrongBytesError(f"lines.txt: another line {count}")
                length += len(line)
    else:
        with run.timed(), peer.open_text("lines.txt") as text:
            for line in text:
                length += len(line)
    if length != run.sizes.text:
        raise WrongBytesError(f"lines.txt: {length} characters of {run.sizes.text}")
    return _speed(run.sizes.text, run)


# Jumping in an object


def _offsets(size: int, count: int, length: int, seed: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(size - length) for _ in range(count)]


def _read_at(file: Any, offset: int, length: int) -> bytes:
    """Exactly *length* bytes, whatever the library's ``read`` gives at a time."""
    file.seek(offset)
    data = bytes(file.read(length))
    while len(data) < length:
        if not (more := file.read(length - len(data))):
            raise WrongBytesError(f"the object ends at {offset + len(data)}")
        data += bytes(more)
    return data


COLD, AGAIN = Figure("cold", "ms"), Figure("again", "ms")


@workload("random reads of 64 KiB in 1 GiB, and the same ones again", COLD, AGAIN, needs="big")
def random_reads(peer: Peer, run: Run) -> dict[str, float]:
    offsets = _offsets(run.sizes.big, run.sizes.reads, RANDOM_READ, 3)
    with run.timed():
        # Opening is part of it: some fetch the whole object there.
        begin = time.perf_counter()
        file = peer.open_random("big.bin")
        cold = [_read_at(file, offset, RANDOM_READ) for offset in offsets]
        between = time.perf_counter()
        again = [_read_at(file, offset, RANDOM_READ) for offset in offsets]
        end = time.perf_counter()
        file.close()
    check = run.check("big.bin")
    for offset, first, second in zip(offsets, cold, again, strict=True):
        check.all(first, offset)
        check.all(second, offset)
    return {"cold": (between - begin) / len(offsets) * 1e3, "again": (end - between) / len(offsets) * 1e3}


PER_BYTE = Figure("fetched", "×")


@workload("100 random reads of 4 KiB in 64 MiB: bytes fetched per byte asked for", PER_BYTE, SECONDS, needs="sparse")
def sparse(peer: Peer, run: Run) -> dict[str, float]:
    offsets = _offsets(run.sizes.sparse, SPARSE_READS, SPARSE_READ, 5)
    with run.timed(SETTLE_SECONDS):
        file = peer.open_random("sparse.bin")
        pieces = [_read_at(file, offset, SPARSE_READ) for offset in offsets]
        file.close()
    check = run.check("sparse.bin")
    for offset, piece in zip(offsets, pieces, strict=True):
        check.all(piece, offset)
    return _fetched(run, SPARSE_READS * SPARSE_READ) | {"time": run.seconds}


@workload("64 ranges of 64 KiB in 1 GiB by one call", SECONDS, needs="big")
def ranges(peer: Peer, run: Run) -> dict[str, float]:
    wanted = [(offset, offset + RANDOM_READ) for offset in _offsets(run.sizes.big, RANGES, RANDOM_READ, 7)]
    with run.timed():
        pieces = peer.read_ranges("big.bin", wanted)
    check = run.check("big.bin")
    for (begin, end), piece in zip(wanted, pieces, strict=True):
        if len(piece) != end - begin:
            raise WrongBytesError(f"{len(piece)} bytes of {end - begin}")
        check.all(piece, begin)
    return {"time": run.seconds}


# Formats of files


@workload("20 of 2,000 members of a zip archive of 256 MiB", SECONDS, needs="zip")
def zip_members(peer: Peer, run: Run) -> dict[str, float]:
    with run.timed():
        file = peer.open_random("members.zip")
        archive = zipfile.ZipFile(file)
        names = random.Random(9).sample(archive.namelist(), ZIP_MEMBERS)
        members = {name: archive.read(name) for name in names}
        file.close()
    with zipfile.ZipFile(run.folder / "members.zip") as expected:
        if any(expected.read(name) != data for name, data in members.items()):
            raise WrongBytesError("members.zip: another member")
    return {"time": run.seconds}


@workload("the names of the 2,000 members of a tar archive of 256 MiB", SECONDS, needs="tar")
def tar_names(peer: Peer, run: Run) -> dict[str, float]:
    with run.timed():
        file = peer.open_random("members.tar")
        names = tarfile.open(fileobj=file).getnames()
        file.close()
    with tarfile.open(run.folder / "members.tar") as expected:
        if names != expected.getnames():
            raise WrongBytesError("members.tar: other names")
    return {"time": run.seconds}


@workload("2 of 20 columns of a Parquet file of 208 MB, by pyarrow through a file", SECONDS, needs="parquet")
def parquet_columns(peer: Peer, run: Run) -> dict[str, float]:
    from pyarrow import parquet

    columns = ["c03", "c11"]
    with run.timed():
        file = peer.open_random("table.parquet")
        table = parquet.read_table(file, columns=columns)
        file.close()
    if not table.equals(parquet.read_table(run.folder / "table.parquet", columns=columns)):
        raise WrongBytesError("table.parquet: other columns")
    return {"time": run.seconds}


# Many at once


def _by_threads(peer: Peer, run: Run, keys: Sequence[str]) -> None:
    checks = [run.check(key) for key in keys]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            peer.read_through(keys[number], checks[number])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(keys))]
    with run.timed():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    for check in checks:
        check.finish()


@workload("8 threads read an object of 128 MiB each", SPEED, needs="each", sampled=True)
def threads_each(peer: Peer, run: Run) -> dict[str, float]:
    _by_threads(peer, run, [f"each/{number}.bin" for number in range(THREADS)])
    return _speed(THREADS * run.sizes.each, run)


@workload("8 threads read the same object of 192 MiB", SPEED, needs="shared", sampled=True)
def threads_shared(peer: Peer, run: Run) -> dict[str, float]:
    _by_threads(peer, run, ["shared.bin"] * THREADS)
    return _speed(THREADS * run.sizes.shared, run)


def _small_keys(run: Run) -> list[str]:
    return [f"small/{number:05}.bin" for number in range(run.sizes.small)]


def _compare_small(run: Run, found: dict[str, Any]) -> None:
    wanted = _small_keys(run)
    if sorted(found) != wanted:
        raise WrongBytesError(f"{len(found)} objects of {len(wanted)}")
    for key in wanted:
        if bytes(found[key]) != (run.folder / key).read_bytes():
            raise WrongBytesError(f"{key}: other bytes")


@workload("2,000 objects of 16 KiB read by a pool of 16 threads", SECONDS, needs="small")
def small_pool(peer: Peer, run: Run) -> dict[str, float]:
    keys = _small_keys(run)
    with run.timed():
        found = dict(peer.pool(peer.read_small, keys))
    _compare_small(run, found)
    return {"time": run.seconds}


@workload("2,000 objects of 16 KiB read by the call for many", SECONDS, needs="small")
def small_bulk(peer: Peer, run: Run) -> dict[str, float]:
    keys = _small_keys(run)
    with run.timed():
        found = dict(peer.read_many(keys))
    _compare_small(run, found)
    return {"time": run.seconds}


# Writing


@workload("256 MiB written in pieces of 1 MiB", SPEED, writes=True)
def write(peer: Peer, run: Run) -> dict[str, float]:
    store, key = Store(peer.place), "written/large.bin"
    chunks = list(blocks(run.sizes.written, 20))
    try:
        with run.timed():
            peer.write_through(key, chunks)
        place = 0
        with store.open(key) as body:
            for chunk in chunks:
                if body.read(len(chunk)) != chunk:
                    raise WrongBytesError(f"{key}: other bytes in the MiB at {place}")
                place += len(chunk)
            if body.read(1):
                raise WrongBytesError(f"{key}: more than {place} bytes")
    finally:
        store.delete_all("written/")
    return _speed(run.sizes.written, run)


def _written(peer: Peer, run: Run, write: Callable[[dict[str, bytes]], None]) -> dict[str, float]:
    """Write the small objects by *write*, and compare them."""
    store = Store(peer.place)
    source = b"".join(blocks(MiB, 21))
    data = {f"written/{number:05}.bin": source[number : number + 16 * 1024] for number in range(run.sizes.writes)}
    try:
        with run.timed():
            write(data)
        for key, wanted in data.items():
            with store.open(key) as body:
                if body.read() != wanted:
                    raise WrongBytesError(f"{key}: other bytes")
    finally:
        store.delete_all("written/")
    return {"time": run.seconds}


@workload("500 objects of 16 KiB written by 16 threads", SECONDS, writes=True)
def write_small(peer: Peer, run: Run) -> dict[str, float]:
    def write(data: dict[str, bytes]) -> None:
        for _ in peer.pool(lambda key: peer.write(key, data[key]), list(data)):
            pass

    return _written(peer, run, write)


@workload("500 objects of 16 KiB written by the call for many", SECONDS, writes=True)
def write_bulk(peer: Peer, run: Run) -> dict[str, float]:
    return _written(peer, run, peer.write_many)


@workload("one byte appended to an object of 64 MiB", SECONDS, writes=True)
def append(peer: Peer, run: Run) -> dict[str, float]:
    store, key = Store(peer.place), "written/log.bin"
    data = b"".join(blocks(run.sizes.sparse, 22))
    try:
        store.put(key, data)
        with run.timed():
            peer.append(key, b"!")
        with store.open(key) as body:
            if body.read() != data + b"!":
                raise WrongBytesError(f"{key}: other bytes")
    finally:
        store.delete_all("written/")
    return {"time": run.seconds}


# Listing


def _listed(run: Run) -> list[str]:
    return [f"keys/{number // PER_FOLDER:03}/{number:05}.txt" for number in range(run.sizes.keys)]


def _compare_listed(run: Run, found: list[str]) -> dict[str, float]:
    if sorted(found) != _listed(run):
        raise WrongBytesError(f"keys/: {len(found)} other keys than the {run.sizes.keys} that are there")
    return {"time": run.seconds}


@workload("20,000 keys listed at once", SECONDS, needs="keys")
def list_flat(peer: Peer, run: Run) -> dict[str, float]:
    with run.timed():
        found = peer.list_flat("keys/")
    return _compare_listed(run, found)


@workload("20,000 keys in 200 folders, listed folder by folder", SECONDS, needs="keys")
def list_folders(peer: Peer, run: Run) -> dict[str, float]:
    with run.timed():
        found = peer.list_folders("keys/")
    return _compare_listed(run, found)


# Beginning


def _process(peer: Peer, run: Run, *arguments: str) -> dict[str, float]:
    with run.timed():
        done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    if done.returncode == NOT_OFFERED:
        raise NotOfferedError
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    wanted = (run.folder / TINY).read_bytes()[:1].hex()
    if done.stdout.decode().strip() not in ("", wanted):
        raise WrongBytesError(f"{TINY}: another first byte")
    return {"time": run.seconds}


@workload("a new process reads the first byte of an object, and ends", SECONDS)
def first_byte(peer: Peer, run: Run) -> dict[str, float]:
    return _process(peer, run, "-m", "benchmarks.first", *sys.argv[1:])


@workload("a new process imports the library, and ends", SECONDS)
def import_time(peer: Peer, run: Run) -> dict[str, float]:
    if not peer.imports:
        raise NotOfferedError
    return _process(peer, run, "-c", f"import {peer.imports}")
