"""Metering: what passes between a Storage and its drivers, counted per scheme and operation."""

from __future__ import annotations

import os
import signal

import pytest

import storagekit
from storagekit.metering import Metering, Sample, Total
from storagekit_conformance.support import content

DATA = content(300_000)


def test_reading_and_writing_are_counted() -> None:
    meter = Metering()
    with storagekit.Storage(wrappers=[meter]) as storage:
        with storage.open("memory://box/key", "wb") as file:
            file.write(DATA)
        with storage.open("memory://box/key", "rb") as file:
            assert file.read() == DATA
        assert storage.listdir("memory://box") == ["key"]
        with pytest.raises(FileNotFoundError):
            storage.stat("memory://box/absent")
        storage.remove("memory://box/key")
    totals = meter.totals()
    assert totals["memory", "put"].written == len(DATA)
    read = sum(total.read for total in totals.values())
    assert read == len(DATA)
    assert totals["memory", "stat"].errors >= 1
    assert totals["memory", "delete"].count == 1
    assert all(total.seconds >= 0 for total in totals.values())


def test_every_function_works_as_without_it() -> None:
    with storagekit.Storage(wrappers=[Metering()]) as storage:
        storage.makedirs("memory://box/folder/below")
        with storage.open("memory://box/folder/a", "w") as file:
            file.write("one")
        with storage.open("memory://box/folder/a", "a") as file:
            file.write(" two")
        storage.copyfile("memory://box/folder/a", "memory://box/folder/b")
        storage.rename("memory://box/folder/b", "memory://box/folder/c")
        storage.touch("memory://box/folder/c")
        assert storage.listdir("memory://box/folder") == ["a", "below", "c"]
        with storage.open("memory://box/folder/c") as file:
            assert file.read() == "one two"
        storage.rmtree("memory://box/folder")
        assert not storage.exists("memory://box/folder")


def test_each_sample_is_reported_without_a_key() -> None:
    seen: list[Sample] = []
    with storagekit.Storage(wrappers=[Metering(seen.append)]) as storage:
        with pytest.raises(FileNotFoundError):
            storage.open("memory://box/hunter2")
        with pytest.raises(KeyError), storage.open("memory://box/hunter2", "wb") as file:
            file.write(DATA)
            raise KeyError
    assert ("open_read", "FileNotFoundError") in [(sample.operation, sample.error) for sample in seen]
    assert "abort" in [sample.operation for sample in seen]
    assert "hunter2" not in repr(seen)


def test_sums() -> None:
    total = Total().plus(Sample("s3", "put", 0.5, written=3)).plus(Sample("s3", "put", 0.25, error="OSError"))
    assert total == Total(2, 1, 0.75, 0, 3)


def test_parts_and_commits() -> None:
    meter = Metering()
    with storagekit.Storage(wrappers=[meter]) as storage:
        data = content(20 * 1024 * 1024)
        with storage.open("memory://box/key", "wb") as file:
            file.write(data)
    totals = meter.totals()
    sent = totals.get(("memory", "write_part"), Total()).written + totals.get(("memory", "put"), Total()).written
    assert sent == len(data)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_is_forked_while_a_thread_counts() -> None:
    meter = Metering()
    with storagekit.Storage(wrappers=[meter]) as storage:
        storage.touch("memory://box/key")
        with meter._lock:  # as a thread that is adding holds it
            child = os.fork()
            if child == 0:
                signal.alarm(30)  # which ends one that waits for ever
                try:
                    before = meter.totals()["memory", "stat"].count
                    storage.stat("memory://box/key")
                    os._exit(0 if meter.totals()["memory", "stat"].count == before + 1 else 1)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
