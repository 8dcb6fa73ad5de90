"""Tracing: every request of the process while somebody looks, over both transports."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import storagekit
from storagekit import tracing
from storagekit.tracing import Request, Trace, note
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Faults, Status
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import content

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
ONE = Request("GetObject", "GET", "s3://box/key", received=10, seconds=0.5)


def test_only_while_somebody_looks() -> None:
    assert not tracing.tracing()
    note(ONE)
    with Trace() as outer:
        assert tracing.tracing()
        note(ONE)
        with Trace() as inner:
            note(ONE)
        note(ONE)
    assert not tracing.tracing()
    assert (len(outer), len(inner)) == (3, 1)
    assert list(inner) == inner.requests == [ONE]


def test_other_threads_are_seen() -> None:
    with Trace() as seen:
        thread = threading.Thread(target=note, args=(ONE,))
        thread.start()
        thread.join()
    assert list(seen) == [ONE]


def test_the_table_has_a_line_for_each_and_a_sum() -> None:
    seen = Trace()
    seen.requests = [
        Request("PutObject", "PUT", "s3://box/a", sent=5, attempts=3, seconds=1.25, error="OSError SlowDown"),
        Request("cache", "", "s3://box/b", received=7, attempts=0),
    ]
    _, put, cached, total = str(seen).splitlines()
    assert put.split() == ["PutObject", "5", "0", "3", "1.250", "s3://box/a", "OSError", "SlowDown"]
    assert cached.split() == ["cache", "0", "7", "cache", "0.000", "s3://box/b"]
    assert total.split() == ["1", "requests", "5", "0", "3", "1.250"]


@pytest.fixture
def place(moto: S3Server, transport: str) -> Iterator[tuple[storagekit.Storage, Faults, str]]:
    with fault_proxy(moto) as (seen, faults):
        storage = storagekit.Storage(options={"s3": seen.options() | {"transport": transport}})
        yield storage, faults, f"s3://{moto.new_bucket()}/folder"
        storage.close()
        faults.check()


def of(seen: Trace, root: str) -> list[Request]:
    """Those in the bucket of *root*: what an earlier test has left to its threads may still be going on."""
    bucket = root.rpartition("/")[0]
    return [request for request in seen if request.url == bucket or request.url.startswith(f"{bucket}/")]


def test_what_a_user_does(place: tuple[storagekit.Storage, Faults, str]) -> None:
    storage, faults, root = place
    data = content(9 * MiB)
    with storagekit.trace() as seen:
        with storage.open(f"{root}/small", "wb") as file:
            file.write(b"12345")
        with storage.open(f"{root}/large", "wb") as file:
            file.write(data)
        with storage.open(f"{root}/small", "rb") as file:
            assert file.read() == b"12345"
        assert storage.listdir(root) == ["large", "small"]
        assert storage.getsize(f"{root}/small") == 5
        storage.copyfile(f"{root}/small", f"{root}/copy")
        storage.rmtree(root)
    noted = of(seen, root)
    made = [(r.operation, r.method) for r in noted if not r.cached]
    for wanted in (
        ("PutObject", "PUT"),
        ("CreateMultipartUpload", "POST"),
        ("UploadPart", "PUT"),
        ("CompleteMultipartUpload", "POST"),
        ("GetObject", "GET"),
        ("ListObjectsV2", "GET"),
        ("HeadObject", "HEAD"),
        ("CopyObject", "PUT"),
        ("DeleteObjects", "POST"),
    ):
        assert wanted in made
    # A connection that the server has closed meanwhile costs a request once more, and counts as the same attempt.
    assert len(made) <= faults.count() <= len(made) + 3, "each request once, and no other"
    assert sum(r.sent for r in noted if r.operation == "UploadPart") == len(data)
    (put,) = (r for r in noted if r.operation == "PutObject")
    assert (put.url, put.sent, put.attempts, put.error) == (f"{root}/small", 5, 1, "")
    assert 0 < put.seconds < 60
    (got,) = (r for r in noted if r.operation == "GetObject" and r.url == f"{root}/small")
    assert got.received == 5
    counts = storage.stats().drivers["s3"]
    assert counts["requests"] == len(made)
    assert counts["bytes_sent"] == sum(r.sent for r in noted)
    assert counts["bytes_received"] == sum(r.received for r in noted if not r.cached)


def test_attempts_and_errors(place: tuple[storagekit.Storage, Faults, str]) -> None:
    storage, faults, root = place
    storage.touch(f"{root}/key")
    before = storage.stats().drivers["s3"]
    with storagekit.trace() as seen:
        with faults.armed(Status(503), "stat"):
            storage.stat(f"{root}/key")
        with faults.armed(Status(403), "read", times=None), pytest.raises(PermissionError):
            storage.open(f"{root}/key")
        with faults.armed(Status(503), "stat", times=None), pytest.raises(OSError, match="3 attempts in") as busy:
            storage.stat(f"{root}/key")
    assert [(r.attempts, r.error) for r in of(seen, root)] == [
        (2, ""),
        (1, "PermissionError AccessDenied"),
        (3, "OSError 503"),
    ]
    assert busy.value.attempts == 3  # type: ignore[attr-defined]
    assert 0 < busy.value.elapsed < 60  # type: ignore[attr-defined]
    counts = storage.stats().drivers["s3"]
    assert counts["retries"] - before.get("retries", 0) == 3
    assert counts["errors"] - before.get("errors", 0) == 2


def test_reads_from_the_cache(place: tuple[storagekit.Storage, Faults, str]) -> None:
    storage, _, root = place
    with storage.open(f"{root}/key", "wb") as file:
        file.write(content(100_000))
    with storage.open(f"{root}/key", "rb") as file:
        file.read()
    with storagekit.trace() as seen, storage.open(f"{root}/key", "rb") as file:
        assert file.read() == content(100_000)
    assert sum(r.received for r in of(seen, root) if r.cached) == 100_000
    assert all(r.url == f"{root}/key" for r in of(seen, root))


def test_threads_do_not_wait_for_a_lock_of_the_parent() -> None:
    held = threading.Event()
    over = threading.Event()

    def hold() -> None:
        with tracing._lock:
            held.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    child = os.fork()
    if not child:
        with Trace():
            os._exit(0)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_quiet_until_logging_is_set_up() -> None:
    """Without a handler of the program's, Python itself would print warnings."""
    program = (
        "import logging, storagekit, storagekit_s3;"
        "logging.getLogger('storagekit.sending').warning('told');"
        "logging.getLogger('storagekit_s3.retrying').warning('told')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    assert logging.getLogger("storagekit").level == logging.NOTSET
