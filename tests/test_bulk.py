"""bulk: whole objects, many at once, in bounded memory; whatever ends the iteration ends the reading."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

import storagekit
from storagekit import bulk
from storagekit.driver import BytesReader, RangeBody, RangeReader, Stat
from storagekit.errors import InvalidArgumentError, not_found
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.storage import Storage

# How long a test waits for what must happen before it calls it a failure.
GUARD = 5.0

KiB = 1024


class Reader(BytesReader):
    """A reader that tells its store when it is asked, and when it is let go of."""

    def __init__(self, store: Store, location: Location, data: bytes, head: int, key: Hashable) -> None:
        super().__init__(Stat(location, size=len(data), identity="v1"), data, head=head, cache_key=key)
        if head >= len(data):
            self.head = data  # itself, and no copy
        self._store = store
        self._path = location.path

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        self._store.ranges.append((self._path, start, stop))
        self._store.on_range(self._path)
        return Body(self._store, super().open_range(start, stop))

    def close(self) -> None:
        self._store.open.discard(self)


class Body(RangeBody):
    """A range of it, which tells of each piece that is read."""

    def __init__(self, store: Store, body: RangeBody) -> None:
        self._store = store
        self._body = body

    def readinto(self, view: memoryview, /) -> int:
        count = self._body.readinto(view[: 64 * KiB])
        self._store.on_read(count)
        return count

    def close(self) -> None:
        self._body.close()


class Store:
    """Objects in a dictionary: what is asked of it is written down, and each hook may wait or raise on its way."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.opened: list[str] = []
        self.ranges: list[tuple[str, int, int]] = []
        self.listed = 0
        self.open: set[Reader] = set()
        self.brings_head = True
        self.on_open: Callable[[str], None] = lambda path: None
        self.on_range: Callable[[str], None] = lambda path: None
        self.on_read: Callable[[int], object] = lambda count: None

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        self.opened.append(location.path)
        self.on_open(location.path)
        if location.path not in self.objects:
            raise not_found(location)
        data = self.objects[location.path]
        reader = Reader(self, location, data, head if self.brings_head else 0, ("store", location.path))
        self.open.add(reader)
        return reader

    @hookimpl
    def open_write(self, location: Location) -> Any:
        raise AssertionError

    @hookimpl
    def stat(self, location: Location) -> Stat:
        if location.path not in self.objects:
            raise not_found(location)
        return Stat(location, size=len(self.objects[location.path]))

    @hookimpl(specname="list")
    def entries(self, location: Location) -> Iterator[Stat]:
        self.listed += 1
        return iter([Stat(location.child(name)) for name in self.objects if name.startswith(location.prefix)][:1])

    def fill(self, count: int, size: int = 100) -> list[str]:
        """*count* more objects of *size* bytes; their URLs."""
        names = [f"{len(self.objects) + number:06}" for number in range(count)]
        self.objects |= {name: name.encode() * (size // 6) + b"x" * (size % 6) for name in names}
        return [f"toy://box/{name}" for name in names]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def storage(store: Store) -> Iterator[Storage]:
    with Storage(drivers={"toy": lambda: store}) as made:
        yield made
    until(lambda: not crew(), "every thread of a call ends with it")
    until(lambda: not store.open, "what was opened is closed")


def crew() -> int:
    """How many threads read for calls of read_many."""
    return sum(thread.name == "storagekit-bulk" for thread in threading.enumerate())


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces."""
    end = time.monotonic() + GUARD
    while not holds():
        assert time.monotonic() < end, what
        threading.Event().wait(0.001)


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


class Gate:
    """Where threads of a call wait until ``go``."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.go = threading.Event()

    def __call__(self, path: str) -> None:
        self.waiting.append(path)
        assert self.go.wait(GUARD)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than 1 KiB is large, and there is room for 10 KiB of it."""
    monkeypatch.setattr(bulk, "HEAD", KiB)
    monkeypatch.setattr(bulk, "LARGE_BYTES", 10 * KiB)


# ---------------------------------------------------------------- what comes


def test_a_thousand_objects_come_once_each(storage: Storage, store: Store) -> None:
    urls = store.fill(1000, 16 * KiB)
    found = list(storage.read_many(urls))
    assert len(found) == 1000
    assert dict(found) == {url: store.objects[name_of(url)] for url in urls}
    assert Counter(store.opened) == dict.fromkeys(map(name_of, urls), 1)
    assert store.ranges == []
    info = storage.cache_info()
    assert (info.cached, info.requests) == (0, 0), "small objects pass the cache by"


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("size", [0, 1, bulk.HEAD - 1, bulk.HEAD, bulk.HEAD + 1, 9 * bulk.HEAD + 7])
def test_every_size_is_whole(storage: Storage, store: Store, size: int, head: bool) -> None:
    store.brings_head = head
    (url,) = store.fill(1, size)
    assert list(storage.read_many([url])) == [(url, store.objects[name_of(url)])]
    assert len(store.opened) == 1
    assert bool(store.ranges) == (size > bulk.HEAD or (size > 0 and not head))


def test_large_and_small_ones_in_one_call(storage: Storage, store: Store, small_limits: None) -> None:
    urls = [url for size in (10, KiB, KiB + 1, 3 * KiB, 0, 30 * KiB, 5) for url in store.fill(10, size)]
    found = dict(storage.read_many(urls))
    assert found == {url: store.objects[name_of(url)] for url in urls}


def test_nothing_given_gives_nothing(storage: Storage) -> None:
    assert list(storage.read_many([])) == []
    assert list(storage.read_many(iter(()))) == []
    assert crew() == 0


def test_one_given_twice_is_read_and_given_twice(storage: Storage, store: Store) -> None:
    one, two = store.fill(2)
    found = Counter(storage.read_many([one, two, one, one]))
    assert found == {(one, store.objects["000000"]): 3, (two, store.objects["000001"]): 1}
    assert store.opened.count("000000") == 3


def test_each_comes_back_as_it_was_given(storage: Storage, store: Store, tmp_path: Path) -> None:
    store.objects["key"] = b"toy"
    with storage.open("memory://box/key", "wb") as file:
        file.write(b"memory")
    (tmp_path / "local").write_bytes(b"local")
    (tmp_path / "big").write_bytes(bytes(3 * bulk.HEAD))
    given: dict[Any, bytes] = {
        "toy://box/key": b"toy",
        b"toy://box/key": b"toy",
        "TOY://box/key": b"toy",
        "memory://box/key": b"memory",
        f"file://{tmp_path}/local": b"local",
        f"file://{tmp_path}/big": bytes(3 * bulk.HEAD),
        str(tmp_path / "local"): b"local",
        os.fsencode(tmp_path / "local"): b"local",
        tmp_path / "local": b"local",
        str(tmp_path / "big"): bytes(3 * bulk.HEAD),
    }
    found = list(storage.read_many(given))
    assert dict(found) == given
    assert {type(url) for url, _ in found} == {str, bytes, type(tmp_path)}


def test_a_pipe_is_read_to_its_end(storage: Storage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"through a pipe",))
    writer.start()
    assert list(storage.read_many([tmp_path / "pipe"])) == [(tmp_path / "pipe", b"through a pipe")]
    writer.join(GUARD)


def test_options_go_to_the_driver(storage: Storage, store: Store) -> None:
    (url,) = store.fill(1)
    ((_, refused),) = storage.read_many([url], options={"colour": "red"})
    assert isinstance(refused, InvalidArgumentError)
    assert "colour" in str(refused)
    ((_, refused),) = storage.read_many(["plain"], options={"colour": "red"})
    assert isinstance(refused, InvalidArgumentError)


def test_the_module_function_is_the_default_storages() -> None:
    assert storagekit.read_many.__func__ is Storage.read_many  # type: ignore[attr-defined]
    with storagekit.open("memory://read-many-here/key", "wb") as file:
        file.write(b"data")
    assert list(storagekit.read_many(["memory://read-many-here/key"])) == [("memory://read-many-here/key", b"data")]


# ---------------------------------------------------------------- errors


def test_an_error_is_that_of_open_and_stops_no_other(storage: Storage, store: Store, tmp_path: Path) -> None:
    good = store.fill(50)
    store.objects |= {"folder/key": b"x", "marked/": b"", "slash/": b"data", "file": b"x"}
    (tmp_path / "folder").mkdir()
    bad: list[Any] = [f"toy://box/{name}" for name in ("missing", "folder", "folder/", "marked/", "file/", "no/", "")]
    bad += ["toy://", "nothing://box/key", "toy://box/nul\0", Path("toy://box/key")]
    bad += [f"{kind}{tmp_path}/{name}" for kind in ("", "file://") for name in ("missing", "folder", "missing/below")]
    found = dict(storage.read_many([*good[:25], *bad, "toy://box/slash/", *good[25:]]))
    assert {url: found.pop(url) for url in good} == {url: store.objects[name_of(url)] for url in good}
    assert found.pop("toy://box/slash/") == b"data"
    assert set(found) == set(bad)
    for url, error in found.items():
        with pytest.raises(OSError) as caught:
            storage.open(url, "rb").read()
        assert type(error) is type(caught.value), url
        assert str(error) == str(caught.value)
        assert isinstance(error, OSError)
        assert (error.errno, error.filename) == (caught.value.errno, caught.value.filename)


def test_a_missing_object_costs_what_it_costs_open(storage: Storage, store: Store) -> None:
    ((_, error),) = storage.read_many(["toy://box/missing"])
    assert isinstance(error, FileNotFoundError)
    assert (store.opened, store.listed) == (["missing"], 1)


def test_an_error_while_a_large_one_is_read(storage: Storage, store: Store, small_limits: None) -> None:
    urls = store.fill(6, 3 * KiB)

    def fail(path: str) -> None:
        if path == "000002":
            raise PermissionError(errno.EACCES, "refused", f"toy://box/{path}")

    store.on_range = fail
    found = dict(storage.read_many(urls))
    assert isinstance(found.pop(urls[2]), PermissionError)
    assert found == {url: store.objects[name_of(url)] for url in urls if url != urls[2]}


def test_with_raise_the_first_error_ends_it(storage: Storage, store: Store) -> None:
    urls = [*store.fill(5), "toy://box/missing", *store.fill(1000)]
    taken = []
    with pytest.raises(FileNotFoundError, match="missing"):
        for url, data in storage.read_many(urls, in_flight=4, on_error="raise"):
            assert data == store.objects[name_of(url)]
            taken.append(url)
    assert len(taken) < 15
    until(lambda: not crew(), "the threads end")
    assert len(store.opened) < 20, "the others are given up"


@pytest.mark.parametrize("on_error", ["return", "raise"])
def test_what_is_no_os_error_is_raised(storage: Storage, store: Store, on_error: Any) -> None:
    urls = store.fill(10)

    def fail(path: str) -> None:
        if path == "000003":
            raise ZeroDivisionError

    store.on_open = fail
    with pytest.raises(ZeroDivisionError):
        list(storage.read_many(urls, on_error=on_error))


@pytest.mark.parametrize("wrong", [5, None, 1.5, True, ["toy://box/key"]])
def test_what_is_no_path_is_a_type_error(storage: Storage, store: Store, wrong: Any) -> None:
    with pytest.raises(TypeError):
        list(storage.read_many([*store.fill(3), wrong, *store.fill(3)]))


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, FileNotFoundError])
def test_what_the_iterable_raises_is_raised(storage: Storage, store: Store, kind: type[BaseException]) -> None:
    def urls() -> Iterator[str]:
        yield from store.fill(10)
        raise kind

    with pytest.raises(kind):
        list(storage.read_many(urls()))


@pytest.mark.parametrize("url", ["toy://box/key", b"toy://box/key"])
def test_one_url_in_place_of_many_is_refused(storage: Storage, url: Any) -> None:
    with pytest.raises(TypeError, match="iterable of URLs"):
        storage.read_many(url)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"in_flight": 0}, InvalidArgumentError),
        ({"in_flight": -1}, InvalidArgumentError),
        ({"in_flight": 1.5}, TypeError),
        ({"in_flight": "8"}, TypeError),
        ({"on_error": "ignore"}, InvalidArgumentError),
        ({"on_error": None}, InvalidArgumentError),
        ({"urls": 5}, TypeError),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(storage: Storage, arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        storage.read_many(**{"urls": [], **arguments})


def test_an_error_is_freed_without_the_collector(storage: Storage, store: Store) -> None:

    class RefusedError(OSError):
        """Unlike the builtin's, one that can be looked for."""

    def refuse(path: str) -> None:
        raise RefusedError(errno.EACCES, "refused", path)

    store.brings_head = False
    store.on_range = refuse  # not in a hook: pluggy's own frame holds the error that passes through it
    gc.collect()
    gc.disable()
    try:
        seen = []
        for _, error in storage.read_many(store.fill(10)):
            assert isinstance(error, RefusedError)
            seen.append(weakref.ref(error))
            del error
        try:
            list(storage.read_many(store.fill(10), on_error="raise"))
        except RefusedError as raised:
            seen.append(weakref.ref(raised))
        until(lambda: not any(reference() for reference in seen), "nothing keeps an error")
        assert len(seen) == 11
    finally:
        gc.enable()


# ---------------------------------------------------------------- how many at once


def test_sixty_four_are_in_flight_at_once(storage: Storage, store: Store) -> None:
    together = threading.Barrier(64)
    store.on_open = lambda path: (together.wait(GUARD), None)[1]
    assert len(list(storage.read_many(store.fill(128)))) == 128


def test_no_more_than_in_flight_at_once(storage: Storage, store: Store) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def count(path: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.001)
        with lock:
            now -= 1

    store.on_open = count
    assert len(list(storage.read_many(store.fill(100), in_flight=3))) == 100
    assert most == 3


def test_one_in_flight_keeps_the_order(storage: Storage, store: Store) -> None:
    urls = store.fill(20)
    assert [url for url, _ in storage.read_many(urls, in_flight=1)] == urls


def test_what_arrives_first_comes_first(storage: Storage, store: Store) -> None:
    first, *others = store.fill(10)
    last = threading.Event()
    store.on_open = lambda path: (path == "000000" and last.wait(GUARD), None)[1]
    found = storage.read_many([first, *others])
    assert {next(found)[0] for _ in others} == set(others)
    last.set()
    assert next(found)[0] == first
    assert list(found) == []


def test_urls_are_drawn_as_results_are_taken(storage: Storage, store: Store) -> None:
    (url,) = store.fill(1)
    drawn: list[str] = []

    def urls() -> Iterator[str]:
        while True:
            drawn.append(url)
            yield url

    results = storage.read_many(urls(), in_flight=8)
    assert not drawn, "before the first is asked for, nothing happens"
    for taken, _ in enumerate(results, 1):
        assert len(drawn) <= taken + 7, "one is in the consumer's hands"
        if taken == 100:
            break
    results.close()


def test_what_has_arrived_does_not_wait_for_slow_urls(storage: Storage, store: Store) -> None:
    drawn: list[str] = []

    def urls() -> Iterator[str]:
        for url in store.fill(5):
            until(lambda: len(store.opened) == len(drawn), "what was drawn is read")
            threading.Event().wait(0.02)  # and put down
            drawn.append(url)
            yield url

    results = storage.read_many(urls())
    next(results)
    assert len(drawn) <= 3
    assert len(list(results)) == 4


def test_a_consumer_that_pauses_stops_the_reading(storage: Storage, store: Store) -> None:
    results = storage.read_many(store.fill(1000), in_flight=5)
    for taken in range(1, 20):
        next(results)
        threading.Event().wait(0.005)
        assert len(store.opened) <= taken + 4
    results.close()


def test_large_ones_wait_for_room(storage: Storage, store: Store, small_limits: None) -> None:
    urls = store.fill(20, 4 * KiB)
    gate = Gate()
    store.on_range = gate
    taken: list[str] = []
    consumer = threading.Thread(target=lambda: taken.extend(url for url, _ in storage.read_many(urls)))
    consumer.start()
    until(lambda: len(gate.waiting) == 2, "two have room")
    until(lambda: len(store.opened) == 20, "the others are opened")
    threading.Event().wait(0.05)
    assert len(gate.waiting) == 2, "8 of 10 KiB are in use, and a third would make 12"
    gate.go.set()
    consumer.join(GUARD)
    assert sorted(taken) == urls


def test_large_results_that_nobody_takes_hold_their_room(storage: Storage, store: Store, small_limits: None) -> None:
    results = storage.read_many(store.fill(20, 4 * KiB))
    for taken in range(1, 18):
        next(results)
        threading.Event().wait(0.005)
        assert len({path for path, *_ in store.ranges}) <= taken + 2
    assert len(list(results)) == 3


def test_one_that_is_larger_than_all_room_is_read_alone(storage: Storage, store: Store, small_limits: None) -> None:
    huge, others = store.fill(3, 50 * KiB), store.fill(5, 2 * KiB)
    small = store.fill(5)
    busy: set[str] = set()
    lock = threading.Lock()

    def alone(path: str) -> None:
        with lock:
            busy.add(path)
            sizes = [len(store.objects[name]) for name in busy]
            assert sum(sizes) <= 10 * KiB or len(sizes) == 1, sizes
        threading.Event().wait(0.002)

    store.on_range = alone
    found = []
    for url, data in storage.read_many([*huge, *small, *others]):
        assert data == store.objects[name_of(url)]
        found.append(url)
        with lock:
            busy.discard(name_of(url))
    assert sorted(found) == sorted([*huge, *others, *small])


class Mortal(bytes):
    """Bytes that tell when nobody holds them any more."""

    freed = 0

    def __del__(self) -> None:
        Mortal.freed += 1


def test_a_result_is_the_consumers_alone(storage: Storage, store: Store) -> None:
    """Neither the generator nor a thread keeps what was given out."""
    urls = store.fill(3)
    store.objects = {name: Mortal(data) for name, data in store.objects.items()}
    results = storage.read_many(urls)
    for taken in range(1, 4):
        url, data = next(results)
        assert type(data) is Mortal
        del data, store.objects[name_of(url)]
        until(lambda count=taken: Mortal.freed == count, "nothing keeps it")  # type: ignore[misc]
    assert list(results) == []


# ---------------------------------------------------------------- the end


def test_leaving_the_loop_ends_the_reading(storage: Storage, store: Store) -> None:
    for _ in storage.read_many(store.fill(1000), in_flight=10):
        break
    until(lambda: not crew(), "the threads end")
    assert len(store.opened) <= 20


def test_an_exception_in_the_loop_ends_the_reading(storage: Storage, store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in storage.read_many(store.fill(1000), in_flight=10):
            raise ZeroDivisionError
    until(lambda: not crew(), "the threads end")
    assert len(store.opened) <= 20


def test_a_generator_that_is_collected_ends_the_reading(storage: Storage, store: Store) -> None:
    results: Any = storage.read_many(store.fill(1000), in_flight=10)
    next(results)
    cycle = [results]
    cycle.append(cycle)
    del results, cycle
    gc.collect()
    until(lambda: not crew(), "the threads end")
    assert len(store.opened) <= 20


def test_closing_waits_for_no_answer(storage: Storage, store: Store) -> None:
    urls = store.fill(10)
    gate = Gate()

    def answer(path: str) -> None:
        if path == "000000":
            until(lambda: len(gate.waiting) == 9, "the others wait for their answers")
        else:
            gate(path)

    store.on_open = answer
    results = storage.read_many(urls)
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < GUARD / 2
    assert list(results) == []
    gate.go.set()


def test_a_large_one_is_given_up_in_the_middle(storage: Storage, store: Store) -> None:
    large, small = store.fill(1, 16 * bulk.HEAD), store.fill(1)
    received: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def wait(count: int) -> None:
        received.append(count)
        begun.set()
        assert go.wait(GUARD)

    store.on_read = wait
    results = storage.read_many([*large, *small])
    assert next(results)[0] == small[0]
    assert begun.wait(GUARD)
    results.close()
    go.set()
    until(lambda: not crew(), "the thread ends")
    assert sum(received) < 8 * bulk.HEAD, "each connection has brought what was on its way"
    asked = len(store.ranges)
    threading.Event().wait(0.05)
    assert len(store.ranges) == asked


def test_what_waited_for_room_is_closed(storage: Storage, store: Store, small_limits: None) -> None:
    urls = store.fill(20, 8 * KiB)
    store.on_range = lambda path: until(lambda: len(store.opened) == 20, "all are opened while the first is read")
    results = storage.read_many(urls)
    next(results)
    assert len(store.open) >= 18
    results.close()
    until(lambda: not store.open, "and closed")


def test_a_generator_that_never_began_leaves_nothing(storage: Storage, store: Store) -> None:
    results = storage.read_many(store.fill(10))
    results.close()
    assert list(results) == []
    assert crew() == 0
    assert store.opened == []


def test_a_closed_storage_ends_it_with_a_clear_error(store: Store) -> None:
    storage = Storage(drivers={"toy": lambda: store})
    urls = store.fill(20)
    unbegun, begun, drawn = (storage.read_many(urls, in_flight=n) for n in (5, 5, 64))
    next(begun)
    next(drawn)
    storage.close()
    for results in (unbegun, begun, drawn):
        with pytest.raises(ValueError, match="Storage is closed"):
            next(results)
        assert list(results) == []
    until(lambda: not crew(), "the threads end")


def test_a_storage_that_is_closed_while_somebody_waits(store: Store) -> None:
    storage = Storage(drivers={"toy": lambda: store})
    gate = Gate()
    store.on_open = gate
    raised: list[BaseException] = []

    def consume() -> None:
        try:
            list(storage.read_many(store.fill(3)))
        except BaseException as error:
            raised.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    until(lambda: len(gate.waiting) == 3, "all wait for their answers")
    storage.close()
    gate.go.set()
    consumer.join(GUARD)
    assert [str(error) for error in raised] == ["this Storage is closed"]


def test_without_threads_the_consumer_reads(storage: Storage, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    urls = [*store.fill(20), *store.fill(3, 3 * bulk.HEAD), "toy://box/missing"]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        found = dict(storage.read_many(urls))
    assert isinstance(found.pop("toy://box/missing"), FileNotFoundError)
    assert found == {url: store.objects[name_of(url)] for url in urls[:-1]}


def test_calls_side_by_side_and_inside_of_one_another(storage: Storage, store: Store) -> None:
    urls = store.fill(60)
    wanted = {url: store.objects[name_of(url)] for url in urls}
    found: list[dict[Any, Any]] = []

    def consume() -> None:
        found.append(dict(storage.read_many(urls, in_flight=16)))

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for url, data in storage.read_many(urls[:5]):
        assert data == wanted[url]
        found.append(dict(storage.read_many(urls, in_flight=4)))
    for thread in threads:
        thread.join(GUARD)
    assert found == [wanted] * 13


# ---------------------------------------------------------------- processes


def test_a_forked_child_goes_on_and_so_does_its_parent(storage: Storage, store: Store, small_limits: None) -> None:
    urls: list[Any] = [*store.fill(40), *store.fill(10, 4 * KiB), "nothing://box/key"]
    taken: set[Any] = set()
    results = storage.read_many(urls, in_flight=16)
    for _ in range(5):
        taken.add(next(results)[0])
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        status = 1
        try:
            rest = dict(results)
            right = all(data == store.objects[name_of(url)] for url, data in rest.items() if url != urls[-1])
            whole = set(rest) | taken == set(urls) and len(rest) == len(urls) - 5
            status = 0 if right and whole and rest.get(urls[-1]).__class__ is OSError else 2
        finally:
            os._exit(status)
    rest = dict(results)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert set(rest) | taken == set(urls)
    assert len(rest) == len(urls) - 5
    assert all(data == store.objects[name_of(url)] for url, data in rest.items() if url != urls[-1])


def test_a_forked_child_may_drop_it(storage: Storage, store: Store) -> None:
    results: Any = storage.read_many(store.fill(40), in_flight=8)
    next(results)
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        status = 1
        try:
            results.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(list(results)) == 39


EXIT = """
import sys, threading
from storagekit import Storage
from storagekit.driver import BytesReader, Stat
from storagekit.hookspecs import hookimpl

class Stuck:
    @hookimpl
    def open_read(self, location, head):
        if location.path != "0":
            threading.Event().wait()  # an answer that never comes
        return BytesReader(Stat(location, size=1), b"x", head=head)
    @hookimpl
    def open_write(self, location): ...
    @hookimpl
    def stat(self, location): ...
    @hookimpl(specname="list")
    def entries(self, location): ...

storage = Storage(drivers={"toy": Stuck})
results = storage.read_many(f"toy://box/{n}" for n in range(100))
print(next(results), flush=True)
"""


@pytest.mark.parametrize("last", ["", "results.close()", "storage.close()", "raise SystemExit(0)", "del results"])
def test_an_exit_waits_for_nothing(last: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT + last], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "('toy://box/0', b'x')\n", "")


def test_closing_the_storage_ends_the_threads_of_a_call_that_is_under_way(storage: Storage, store: Store) -> None:
    with Storage(drivers=storage.settings.drivers) as closing:
        with closing.open("memory://box/key", "wb") as file:
            file.write(b"x")
        results = closing.read_many(["memory://box/key"] * 20, in_flight=4)
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name == "storagekit-bulk"]
    with pytest.raises(ValueError, match="closed"):
        next(results)
