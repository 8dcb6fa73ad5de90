"""Many at once: threads, forked children, pickles, and somebody else who changes what we read."""

from __future__ import annotations

import io
import os
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storagekit.errors import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, PART, Box, content, in_child, needs, needs_renaming, script, together
from storagekit_conformance.target import Client

THREADS = 32
SIZE = 16 * BLOCK + 99


@clause("concurrency.one-object")
def test_threads_with_their_own_handles(box: Box) -> None:
    data = content(SIZE)
    url = box.put("object", data)

    def read(number: int) -> None:
        with box.open(url, "rb") as file:
            if number % 2:
                assert file.read() == data
                return
            for step in range(20):
                at = (number * 7919 + step * 104729) % SIZE
                file.seek(at)
                assert file.read(5000) == data[at : at + 5000]

    together(THREADS, read)


@clause("concurrency.one-handle")
def test_threads_with_one_handle(box: Box) -> None:
    data = content(SIZE)
    chunks: list[bytes] = []
    with box.open(box.put("object", data), "rb") as file:

        def read(number: int) -> None:
            while chunk := file.read(1009):
                chunks.append(chunk)

        together(THREADS, read)
    pieces = sorted(data[i : i + 1009] for i in range(0, SIZE, 1009))
    assert sorted(chunks) == pieces, "every byte once, no read torn"


@clause("concurrency.writers")
def test_threads_writing(box: Box) -> None:
    def write(number: int) -> None:
        box.put(f"object-{number}", content(BLOCK + number, seed=number))

    together(16, write)
    for number in range(16):
        assert box.get(f"object-{number}") == content(BLOCK + number, seed=number)
    assert len(box.storage.listdir(box.url())) == 16


@clause("concurrency.functions")
def test_threads_calling_functions(box: Box) -> None:
    removes = box.removes

    def work(number: int) -> None:
        url = box.put(f"folder-{number}/object", b"x" * number)
        assert box.storage.getsize(url) == number
        assert box.storage.listdir(box.url(f"folder-{number}")) == ["object"]
        if not removes:
            return
        box.storage.rename(url, url + "-renamed")
        assert not box.storage.exists(url)
        box.storage.remove(url + "-renamed")

    together(16, work)


@clause("concurrency.exclusive-race")
@pytest.mark.parametrize("size", [100, PART + 100], ids=["small", "parts"])
def test_eight_exclusive_writers(box: Box, size: int) -> None:
    needs(box.traits.exclusive_create, "the store does not decide exclusive creation")
    url = box.url("object")
    results: dict[int, object] = {}

    opened = threading.Barrier(8)  # nobody publishes before the last has looked: else a fast store has no race

    def write(number: int) -> None:
        try:
            file = box.open(url, "xb")
        except FileExistsError:
            results[number] = "lost"
            opened.wait(60)
            return
        opened.wait(60)
        try:
            with file:
                file.write(bytes([number]) * size)
            results[number] = "won"
        except FileExistsError:
            results[number] = "lost"

    together(8, write)
    won = [number for number, result in results.items() if result == "won"]
    assert len(won) == 1, f"{len(won)} of 8 writers in mode x have won; exactly one may (trait exclusive_create)"
    assert len(results) == 8
    (winner,) = won
    assert box.get("object") == bytes([winner]) * size


@clause("concurrency.changed")
@pytest.mark.parametrize("how", ["replaced", "same-size", "removed"])
def test_object_changes_under_a_reader(box: Box, client: Client, how: str) -> None:
    needs(box.traits.pinned_reads or how == "removed", "the store does not promise to keep a reader to its version")
    old, new = content(SIZE * 4, seed=1), content(SIZE * 4 if how == "same-size" else SIZE * 5, seed=2)
    with box.open(box.put("object", old), "rb") as file:
        assert file.read(10) == old[:10]
        if how == "removed":
            client.delete("object")
        else:
            client.put("object", new)
        for at in (0, 20 * BLOCK + 5, SIZE * 4 - 100, 10, 40 * BLOCK - 3):
            try:
                file.seek(at)
                seen = file.read(BLOCK)
            except ObjectChangedError as error:
                assert error.filename == box.url("object")
                continue
            assert seen == old[at : at + BLOCK], "old bytes or an error, never a mixture"
    if how == "removed":
        assert box.absent("object")
    else:
        assert box.get("object") == new, "a fresh open reads the new object"


@clause("concurrency.changed-while-running")
def test_object_changes_during_a_scan(box: Box, client: Client) -> None:
    needs(box.traits.pinned_reads, "the store does not promise to keep a reader to its version")
    versions = [content(SIZE * 2, seed=seed) for seed in range(4)]
    box.put("object", versions[0])
    stop = threading.Event()

    def change() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            client.put("object", versions[number % 4])
        return number

    with ThreadPoolExecutor(1) as background:
        changing = background.submit(change)
        try:
            for _ in range(12):
                _scan(box, versions)
        finally:
            stop.set()
        assert changing.result(60) > 1, "nothing changed while it was read"


def _scan(box: Box, versions: list[bytes]) -> None:
    """Read once in pieces: a whole version, or the beginning of one and a clean error."""
    collected = bytearray()
    try:
        with box.open(box.url("object"), "rb") as file:
            while chunk := file.read(BLOCK // 2):
                collected += chunk
    except ObjectChangedError:
        assert any(version.startswith(bytes(collected)) for version in versions), "what came before was one version"
    else:
        assert bytes(collected) in versions


@clause("concurrency.fork-reader")
def test_reading_in_a_forked_child(box: Box) -> None:
    data = content(SIZE)
    url = box.put("object", data)
    with box.open(url, "rb") as file:
        assert file.read(100) == data[:100]

        def child() -> None:
            with box.open(url, "rb") as fresh:
                assert fresh.read() == data
            file.seek(5 * BLOCK)
            assert file.read(BLOCK) == data[5 * BLOCK : 6 * BLOCK]
            assert box.storage.getsize(url) == SIZE
            assert box.storage.listdir(box.url()) == ["object"]

        in_child(child)
        file.seek(9 * BLOCK)
        assert file.read() == data[9 * BLOCK :]


@clause("concurrency.fork-both-read")
def test_parent_and_child_read_at_the_same_time(box: Box) -> None:
    size, length = 64 * BLOCK, 4 * BLOCK
    data = content(size)
    url = box.put("object", data)
    # Nothing is cached, so every read is a request: a connection that both use would mix the answers up.
    storage = box.root.storage(cache_bytes=0) if box.root.shared else box.storage

    def read(file: Any, seed: int) -> None:
        places = random.Random(seed)
        for _ in range(12):
            at = places.randrange(size - length)
            file.seek(at)
            assert file.read(length) == data[at : at + length]

    with storage.open(url, "rb") as file, ThreadPoolExecutor(1) as threads:
        needs(
            not _has_descriptor(file), "a descriptor that was inherited has one position for both, as the builtin's has"
        )
        for number in range(6):
            read(file, number)
            begun, begin = os.pipe()

            def child(begin: int = begin, number: int = number) -> None:
                os.write(begin, b"!")
                read(file, 1000 + number)

            def parent(begun: int = begun, number: int = number) -> None:
                os.read(begun, 1)  # not earlier: the child would inherit the handle's lock as it is while we read
                read(file, 2000 + number)

            reading = threads.submit(parent)
            try:
                in_child(child)
            finally:
                os.close(begin)
                reading.result(60)
                os.close(begun)
    if storage is not box.storage:
        storage.close()


@clause("concurrency.fork-busy")
def test_forking_while_threads_read(box: Box) -> None:
    data = content(SIZE)
    url = box.put("object", data)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with box.open(url, "rb") as file:
                assert file.read() == data

    def child() -> None:
        with box.open(url, "rb") as file:
            file.seek(-10, 2)
            assert file.read() == data[-10:]

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        try:
            for _ in range(3):
                in_child(child)
        finally:
            stop.set()
        for reader in readers:
            reader.result(60)


@clause("concurrency.fork-writer")
@pytest.mark.parametrize("size", [100, PART + 100], ids=["small", "parts"])
def test_inherited_writer_is_dead(box: Box, size: int) -> None:
    data = content(size)
    file = box.open(box.url("object"), "wb")
    file.write(data[: size // 2])
    file.flush()

    def child() -> None:
        try:
            file.write(b"the child's")
            file.close()
        except (OSError, ValueError):
            pass  # refused, or given up: both publish nothing
        assert not box.storage.exists(box.url("object"))

    in_child(child)
    assert box.absent("object")
    file.write(data[size // 2 :])
    file.close()
    assert box.get("object") == data, "the parent's write is whole"


@clause("concurrency.fork-forgotten-writer")
def test_inherited_writer_forgotten(box: Box) -> None:
    data = content(PART + 100)
    files = [box.open(box.url("object"), "wb")]
    files[0].write(data)

    def child() -> None:
        import gc
        import warnings

        warnings.simplefilter("ignore")
        files.clear()
        gc.collect()

    in_child(child)
    files[0].close()
    assert box.get("object") == data, "a child's garbage collection touches nothing of the parent's"


@pytest.fixture
def public(box: Box, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same place with the secrets in the environment, where a handle can be pickled: (storage, url of a key)."""
    needs(box.root.shared, "another storage does not see this target's objects")
    unsaid = [option for option, variable in box.root.secrets.items() if not variable]
    needs(not unsaid, f"no environment variable says the options {', '.join(unsaid)}")
    for option, variable in box.root.secrets.items():
        monkeypatch.setenv(variable, str(box.root.options[option]))
    open_options = {k: v for k, v in box.root.options.items() if k not in box.root.secrets}
    storage = box.root.storage(options={box.root.scheme: open_options})
    yield storage
    storage.close()


@clause("concurrency.pickle")
def test_pickled_reader(box: Box, public: Any) -> None:
    data = content(SIZE)
    with public.open(box.put("object", data), "rb") as file:
        file.seek(3 * BLOCK + 7)
        try:
            pickled = pickle.dumps(file)
        except TypeError:
            assert _has_descriptor(file), "only a file of the system's own may refuse, as the builtin's do"
            return
        with pickle.loads(pickled) as again:
            assert again.tell() == 3 * BLOCK + 7
            assert again.read() == data[3 * BLOCK + 7 :]
            again.seek(0)
            assert again.read(10) == data[:10]
        assert file.read(5) == data[3 * BLOCK + 7 :][:5], "the first handle is where it was"
    body = "import pickle; f = pickle.loads(bytes.fromhex(sys.stdin.read())); print(f.tell(), len(f.read()))"
    with script(box.root, "", body) as process:
        out, err = process.communicate(pickled.hex(), timeout=60)
    assert out.split() == [str(3 * BLOCK + 7), str(SIZE - 3 * BLOCK - 7)], err


def _has_descriptor(file: Any) -> bool:
    try:
        return isinstance(file.fileno(), int)
    except io.UnsupportedOperation:
        return False


@clause("concurrency.pickle-changed")
def test_pickled_reader_of_a_changed_object(box: Box, public: Any, client: Client) -> None:
    needs(box.traits.pinned_reads, "the store does not promise to tell versions apart")
    with public.open(box.put("object", b"old bytes"), "rb") as file:
        pickled = pickle.dumps(file)
    client.put("object", b"new bytes")
    with pytest.raises(ObjectChangedError), pickle.loads(pickled) as again:
        again.read()


@clause("concurrency.pickle-secrets")
def test_secrets_are_not_pickled(box: Box) -> None:
    needs(box.root.secrets, "the target's options hold no secrets")
    with box.open(box.put("object"), "rb") as file:
        with pytest.raises((TypeError, pickle.PicklingError)) as caught:
            pickle.dumps(file)
        for option in box.root.secrets:
            assert str(box.root.options[option]) not in str(caught.value)
        assert file.read() == b"data"


@clause("concurrency.pickle-writer")
def test_writers_do_not_pickle(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        file.write(b"data")
        with pytest.raises(TypeError):
            pickle.dumps(file)
    assert box.get("object") == b"data"


@clause("concurrency.pickle-text")
def test_text_does_not_pickle(box: Box) -> None:
    box.put("object", b"text")
    with box.open(box.url("object")) as file:
        with pytest.raises(TypeError):
            pickle.dumps(file)
        assert file.read() == "text"


@clause("concurrency.writers-of-one-object")
@pytest.mark.parametrize("size", [100, PART + 100], ids=["small", "parts"])
def test_eight_writers_of_one_object(box: Box, size: int) -> None:
    def write(number: int) -> None:
        box.put("object", bytes([number]) * (size + number))

    together(8, write)
    written = box.get("object")
    assert written == bytes([written[0]]) * (size + written[0]), "one of them, whole"
    assert box.storage.listdir(box.url()) == ["object"]


@clause("concurrency.replace-is-whole")
@pytest.mark.parametrize("name", ["replace", "copyfile", "open"])
def test_target_is_always_whole(box: Box, name: str) -> None:
    if name == "replace":
        needs_renaming(box)
    versions = [content(BLOCK + 100, seed=seed) for seed in range(3)]
    box.put("target", versions[0])
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                assert box.get("target") in versions
            except ObjectChangedError:
                pass  # it was read by half when it was replaced

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        try:
            for number in range(20):
                if name == "open":
                    box.put("target", versions[number % 3])
                else:
                    source = box.put("source", versions[number % 3])
                    getattr(box.storage, name)(source, box.url("target"))
        finally:
            stop.set()
        for reader in readers:
            reader.result(60)


@clause("concurrency.listing-while-changing")
def test_listing_while_others_come_and_go(box: Box) -> None:
    steady = {f"steady-{number}" for number in range(20)}
    for name in steady:
        box.put(f"folder/{name}")
    stop, removes = threading.Event(), box.removes

    def change() -> None:
        while not stop.is_set():
            url = box.put("folder/passing")
            if removes:
                box.storage.remove(url)

    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(change)
        try:
            for _ in range(20):
                names = box.storage.listdir(box.url("folder"))
                assert steady <= set(names) <= steady | {"passing"}, "what is there all the time is always listed"
        finally:
            stop.set()
        changing.result(60)
