"""Buffers: one comes back when nobody can see it any more, and never before."""

from __future__ import annotations

import random
import threading

from storagekit import Storage
from storagekit.buffers import MOST_SPARE, Buffers
from storagekit.segments import Segment
from storagekit.settings import BLOCK_SIZE

SIZE = 2 * BLOCK_SIZE


def segment(buffers: Buffers, data: bytearray) -> Segment:
    return Segment("key", 0, data, buffers)


def test_a_buffer_comes_back_when_its_segment_is_gone() -> None:
    buffers = Buffers(SIZE)
    data = buffers.take(SIZE)
    data[:4] = b"mark"
    held = segment(buffers, data)
    del data
    assert bytes(buffers.take(SIZE)[:4]) == bytes(4)
    del held
    assert bytes(buffers.take(SIZE)[:4]) == b"mark"


def test_one_that_somebody_sees_does_not_come_back() -> None:
    buffers = Buffers(SIZE)
    held = segment(buffers, buffers.take(SIZE))
    view = memoryview(held.data)[10:20]
    del held
    other = buffers.take(SIZE)
    other[:] = b"x" * SIZE
    assert bytes(view) == bytes(10)


def test_another_size_and_bytes_do_not_come_back() -> None:
    buffers = Buffers(SIZE)
    for data in (bytearray(b"x" * BLOCK_SIZE), b"x" * SIZE):
        Segment("key", 0, data, buffers)
        del data
    assert bytes(buffers.take(SIZE)) == bytes(SIZE)
    assert len(buffers.take(100)) == 100


def test_only_so_many_are_kept_and_none_after_clear() -> None:
    buffers = Buffers(1)
    held = [segment(buffers, bytearray(b"x")) for _ in range(MOST_SPARE + 5)]
    held.clear()
    assert [bytes(buffers.take(1)) for _ in range(MOST_SPARE + 1)] == [b"x"] * MOST_SPARE + [b"\0"]
    segment(buffers, bytearray(b"x"))
    buffers.clear()
    assert buffers.take(1) == b"\0"


def test_readers_of_a_small_cache_never_see_anothers_bytes() -> None:
    wrong: list[str] = []
    with Storage(cache_bytes=4 * 1024 * 1024, threads=8) as storage:
        contents = {}
        for name in ("one", "two", "three"):
            contents[name] = random.Random(name).randbytes(6 * 1024 * 1024)
            with storage.open(f"memory://buffers/{name}", "wb") as file:
                file.write(contents[name])

        def read(name: str, seed: int) -> None:
            chance = random.Random(seed)
            with storage.open(f"memory://buffers/{name}", "rb") as file:
                for _ in range(3):
                    position = chance.randrange(4 * 1024 * 1024)
                    file.seek(position)
                    while len(data := file.read(chance.randrange(1, 700_000))) and position < 6 * 1024 * 1024:
                        if data != contents[name][position : position + len(data)]:
                            wrong.append(f"{name} at {position}")
                        position += len(data)

        threads = [threading.Thread(target=read, args=(name, seed)) for name in contents for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
