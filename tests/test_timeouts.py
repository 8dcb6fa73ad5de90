"""Time-outs: ``timeout`` bounds a whole call, whatever the store does not do, over both transports."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import storagekit
from storagekit.errors import InvalidArgumentError, OutcomeUnknownError
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Delay, Faults, Reset, Stall, Status
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import content

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
DATA = content(3 * MiB + 17)
TIMEOUT = 1.0
# Far more than a call may take, and less than what ends it without our time-out.
PATIENCE, SILENCE = 9.0, Stall(10.0)


class Slow:
    """A place on a real server behind a proxy, and a Storage whose calls may take a second."""

    def __init__(self, server: S3Server, faults: Faults, transport: str, bucket: str) -> None:
        self.faults = faults
        self.options = server.options() | {"transport": transport}
        self.root = f"s3://{bucket}/{transport}"
        self.patient = storagekit.Storage(options={"s3": self.options})
        self.storage = storagekit.Storage(options={"s3": self.options}, timeout=TIMEOUT)
        # What a process does once, a client and a handshake, may take longer than that on a machine that is busy.
        self.storage.exists(self.root, options={"timeout": None})

    def put(self, name: str, data: bytes = DATA) -> str:
        url = f"{self.root}/{name}"
        with self.patient.open(url, "wb") as file:
            file.write(data)
        return url

    def close(self) -> None:
        self.storage.close()
        self.patient.close()


@pytest.fixture(params=["http", "https"])
def slow(request: pytest.FixtureRequest, transport: str) -> Iterator[Slow]:
    server: S3Server = request.getfixturevalue("moto" if request.param == "http" else "moto_tls")
    bucket = server.new_bucket()
    with fault_proxy(server) as (seen, faults):
        place = Slow(seen, faults, transport, bucket)
        try:
            yield place
        finally:
            faults.clear()
            place.close()
            faults.check()


def late(call: Callable[[], object], url: str | None = None) -> OSError:
    """The error of a call that has to end in time. Of a change that was sent it says that its outcome is unknown."""
    begun = time.monotonic()
    with pytest.raises((TimeoutError, OutcomeUnknownError)) as caught:
        call()
    assert time.monotonic() - begun < PATIENCE
    assert caught.value.errno in (errno.ETIMEDOUT, errno.EIO)
    assert "timeout of 1 s" in str(caught.value)
    assert caught.value.filename is not None
    assert url is None or caught.value.filename == url
    return caught.value


def test_questions(slow: Slow) -> None:
    url = slow.put("folder/object")
    for ask in (slow.storage.stat, slow.storage.exists, slow.storage.open):
        with slow.faults.armed(SILENCE, "stat", "read", "list", times=None):
            assert isinstance(late(lambda: ask(url), url), TimeoutError)  # noqa: B023
    with slow.faults.armed(SILENCE, "list", times=None):
        late(lambda: slow.storage.listdir(slow.root))
    with slow.faults.armed(SILENCE, "list", times=None):
        late(lambda: list(slow.storage.walk(slow.root)))
    assert slow.storage.getsize(url) == len(DATA)


@pytest.mark.parametrize("after", [None, 100_000], ids=["silence", "half-a-body"])
def test_reading(slow: Slow, after: int | None) -> None:
    url = slow.put("object")
    with slow.storage.open(url, "rb") as file:
        assert isinstance(file, storagekit.BufferedReader)
        with slow.faults.armed(Stall(SILENCE.seconds, after), "read", times=None):
            assert isinstance(late(file.read), TimeoutError)
            assert isinstance(late(lambda: file.read_ranges([(2 * MiB, 2 * MiB + 10)])), TimeoutError)
        assert file.seek(0) == 0
        assert file.read() == DATA


def test_writing(slow: Slow) -> None:
    url = f"{slow.root}/object"
    for operation, data in (("put", b"small"), ("begin", 9), ("part", 9), ("commit", 9)):
        body = data if isinstance(data, bytes) else content(data * MiB)
        with slow.faults.armed(SILENCE, operation, times=None):
            file: Any = slow.storage.open(url, "wb")

            def write(file: Any = file, body: bytes = body) -> None:
                with file:
                    file.write(body)

            late(write, url)
        assert not slow.patient.exists(url)
    slow.storage.close()  # waits for what is being cleaned up
    assert list(slow.patient.uploads(slow.root)) == []


def test_changes(slow: Slow) -> None:
    url = slow.put("object")
    for operation, change in (
        ("copy", lambda: slow.storage.copyfile(url, url + "-copy")),
        ("copy", lambda: slow.storage.rename(url, url + "-moved")),
        ("delete", lambda: slow.storage.remove(url)),
        ("delete", lambda: slow.storage.rmtree(slow.root)),
    ):
        with slow.faults.armed(SILENCE, operation, times=None):
            late(change)
    assert slow.patient.getsize(url) == len(DATA)


def test_retries_end_with_it(slow: Slow) -> None:
    url = slow.put("object")
    options = {"timeout": 1.5, "max_attempts": 100}
    for fault in (Status(503), Status(500), Reset()):
        with slow.faults.armed(fault, "stat", times=None) as rule:
            begun = time.monotonic()
            with pytest.raises(OSError) as caught:
                slow.storage.stat(url, options=options)
            assert time.monotonic() - begun < PATIENCE
        assert 1 <= rule.hits < 100
        assert caught.value.filename == url
        assert caught.value.errno in (errno.ETIMEDOUT, errno.EBUSY)
    assert slow.storage.getsize(url) == len(DATA)


def test_the_whole_call_and_not_each_request(slow: Slow) -> None:
    for number in range(6):
        slow.put(f"many/{number}", b"x")
    with slow.faults.armed(Delay(0.4), "read", "put", "copy", "stat", "list", "delete", times=None):
        late(lambda: slow.storage.rename(f"{slow.root}/many/1", f"{slow.root}/moved"))
    # One after another may take longer than all of them together had.
    with slow.faults.armed(Delay(0.3), "read", times=None):
        found = dict(slow.storage.read_many([f"{slow.root}/many/{number}" for number in range(6)], in_flight=1))
    assert list(found.values()) == [b"x"] * 6


def test_others_are_not_hurried(slow: Slow) -> None:
    """A connection that was used in a hurry serves those who have time."""
    url = slow.put("object")
    assert slow.storage.getsize(url) == len(DATA)
    with slow.storage.open(url, "rb", options={"timeout": 5.0}) as file:
        file.read(10)
    free = storagekit.Storage(options={"s3": slow.options})
    try:
        for storage in (slow.storage, free):
            with slow.faults.armed(Delay(0.3), "stat"):
                assert storage.getsize(url) == len(DATA)
        with (
            slow.faults.armed(Delay(1.5), "stat"),
            pytest.raises(TimeoutError),
        ):
            slow.storage.getsize(url)
        with slow.faults.armed(Delay(1.5), "stat"):
            assert slow.storage.getsize(url, options={"timeout": None}) == len(DATA)
    finally:
        free.close()


def test_threads_of_a_dead_store_end(slow: Slow) -> None:
    """Those who wait for a call that was left to itself are not many, and end with the time-outs of the transport."""
    url = slow.put("object")
    with slow.faults.armed(Stall(2.0), "stat", times=None):
        for _ in range(3):
            late(lambda: slow.storage.stat(url))
    names = [thread.name for thread in threading.enumerate() if thread.name == "storagekit-boto3"]
    assert len(names) <= 6


def test_as_an_option_and_a_setting() -> None:
    with storagekit.Storage() as storage:
        storage.touch("memory://box/key")
        assert storage.stat("memory://box/key", options={"timeout": 5}).st_size == 0
        with pytest.raises(InvalidArgumentError, match="timeout"):
            storage.stat("memory://box/key", options={"timeout": "soon"})
        with pytest.raises(InvalidArgumentError, match="plain local path"):
            storage.stat("/tmp", options={"timeout": 5})
    with pytest.raises(InvalidArgumentError, match="timeout"):
        storagekit.Storage(timeout=-1)
    with storagekit.Storage(options={"memory://box/": {"timeout": 7}}) as storage:
        resource = storage._resource("memory://box/key", None)
        assert resource is not None
        assert resource.timeout == 7.0
        assert resource.options == {}
