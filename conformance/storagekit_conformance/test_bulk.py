"""Bulk: ``read_many``, whole objects many at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from storagekit.errors import ObjectChangedError
from storagekit.hookspecs import hookimpl
from storagekit_conformance.clauses import clause
from storagekit_conformance.fault_cases import ONCE, REFUSED, faults_of
from storagekit_conformance.faults import Cut, Fault
from storagekit_conformance.support import BLOCK, PART, Box, content, in_child, needs, refused
from storagekit_conformance.target import Client

MiB = 1024 * 1024

SIZES = [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, MiB - 1, MiB, MiB + 1, PART + 1]


def several(box: Box, count: int = 20, size: int = 1000) -> dict[str, bytes]:
    """URLs of so many objects, with what is in them."""
    return {box.put(f"object-{number}", data): data for number in range(count) for data in [content(size, number)]}


@clause("bulk.whole")
def test_sizes(box: Box) -> None:
    wanted = {box.put(f"size-{size}", content(size)): content(size) for size in SIZES}
    found = list(box.storage.read_many(wanted))
    assert len(found) == len(wanted)
    assert dict(found) == wanted


@clause("bulk.whole")
def test_more_than_are_in_flight(box: Box) -> None:
    wanted = several(box, 40)
    assert dict(box.storage.read_many(wanted, in_flight=7)) == wanted
    counted = Counter(url for url, _ in box.storage.read_many([*wanted, *wanted]))
    assert counted == dict.fromkeys(wanted, 2)
    assert list(box.storage.read_many([])) == []


@clause("bulk.one-request")
def test_requests(faulty: Box) -> None:
    small = {faulty.put(f"size-{size}", content(size)): content(size) for size in (1, 1000, BLOCK + 1, MiB)}
    empty = faulty.put("empty", b"")
    faults = faults_of(faulty)
    faults.forget()
    with faulty.open(next(iter(small)), "rb") as file:
        assert file.read() == content(1)
    each = faults.count()
    assert each <= 2
    faults.forget()
    assert dict(faulty.storage.read_many(small)) == small
    assert faults.count() == each * len(small)
    faults.forget()
    assert list(faulty.storage.read_many([empty])) == [(empty, b"")]
    assert faults.count() <= 2


@clause("bulk.errors")
def test_errors_come_in_place(box: Box) -> None:
    wanted = several(box)
    box.put("folder/key")
    box.put("file")
    bad = [box.url(key) for key in ("missing", "folder", "folder/", "file/", "missing/below")]
    bad += ["no-such-scheme://box/key", box.url("nul\0"), box.url()]
    first, *rest = wanted
    found: dict[str, Any] = dict(box.storage.read_many([first, *bad, *rest]))
    assert {url: found.pop(url) for url in wanted} == wanted
    assert sorted(found) == sorted(bad)
    # A server may see some of them otherwise than the clauses about `open` say; then `read_many` sees it so too.
    for url, outcome in found.items():
        assert told(outcome) == told(opening(box, url)), url
    for url in (bad[0], bad[1], bad[5], bad[6]):
        assert isinstance(found[url], OSError), url


def opening(box: Box, url: str) -> bytes | OSError:
    """What ``open`` and ``read`` give for a URL."""
    try:
        with box.open(url, "rb") as file:
            return bytes(file.read())
    except OSError as error:
        return error


def told(outcome: bytes | OSError) -> object:
    """What is to be compared of one."""
    if isinstance(outcome, bytes):
        return outcome
    return type(outcome), outcome.errno, outcome.strerror, outcome.filename


@clause("bulk.errors")
def test_options_that_nobody_knows(box: Box) -> None:
    url = box.put("object")
    ((_, error),) = box.storage.read_many([url], options={"no-such-option": 1})
    assert isinstance(error, ValueError)
    assert "no-such-option" in str(error)


@clause("bulk.raise")
def test_the_first_error_is_raised(box: Box) -> None:
    wanted, missing = several(box), box.url("missing")
    found: dict[str, bytes] = {}
    with refused(FileNotFoundError, url=missing):
        found.update(box.storage.read_many([missing], on_error="raise"))
    with refused(FileNotFoundError, url=missing):
        for url, data in box.storage.read_many([*wanted, missing], on_error="raise"):
            found[url] = data
    assert found.items() <= wanted.items()
    assert dict(box.storage.read_many(wanted, on_error="raise")) == wanted


@clause("bulk.lazy")
def test_an_endless_iterable(box: Box) -> None:
    url = box.put("object")
    drawn: list[str] = []

    def urls() -> Iterator[str]:
        while True:
            drawn.append(url)
            yield url

    results = box.storage.read_many(urls(), in_flight=4)
    assert drawn == [], "nothing is drawn before the first result is asked for"
    for taken in range(1, 30):
        assert next(results) == (url, b"data")
        assert len(drawn) <= taken + 3
    results.close()


class _Together:
    """A wrapper that lets nobody open before *count* are there to do so, and counts how many are."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.lock = threading.Lock()
        self.inside = self.most = 0

    @hookimpl(wrapper=True)
    def open_file(self) -> Generator[None, IO[bytes] | None, IO[bytes] | None]:  # which is asked for every object
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.barrier.wait(60)
        try:
            return (yield)
        finally:
            with self.lock:
                self.inside -= 1


@clause("bulk.at-once")
@pytest.mark.parametrize("count", [8, 64])
def test_in_flight(box: Box, count: int) -> None:
    wanted = several(box, 8, 100)
    urls = list(wanted) * (2 * count // 8)
    together = _Together(count)
    with box.root.storage(wrappers=(together,)) as storage:
        # What is in flight for the second time may meet those of the first on their way out.
        assert all(data == wanted[url] for url, data in storage.read_many(urls, in_flight=count))
    assert together.most == count


@clause("bulk.mixed")
def test_mixed(box: Box, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"local")
    with box.open("memory://bulk-mixed/key", "wb") as file:
        file.write(b"memory")
    url = box.put("object", b"stored")
    wanted: dict[Any, bytes] = {
        url: b"stored",
        url.encode(): b"stored",
        "memory://bulk-mixed/key": b"memory",
        str(tmp_path / "local"): b"local",
        tmp_path / "local": b"local",
        f"file://{tmp_path}/local": b"local",
    }
    found = list(box.storage.read_many(wanted))
    assert dict(found) == wanted
    assert {type(given) for given, _ in found} == {str, bytes, type(tmp_path)}


@clause("bulk.arguments")
def test_wrong_arguments(box: Box) -> None:
    url = box.put("object")
    wrong: Any
    for wrong in (None, 5, 1.5, [url]):
        with pytest.raises(TypeError):
            list(box.storage.read_many([url, wrong]))
    for wrong in (url, url.encode(), 5):
        with pytest.raises(TypeError):
            box.storage.read_many(wrong)
    for arguments in ({"in_flight": 0}, {"in_flight": -5}, {"on_error": "ignore"}):
        wrong = arguments
        with pytest.raises(ValueError, match=next(iter(arguments))):
            box.storage.read_many([url], **wrong)


@clause("bulk.early-end")
@pytest.mark.parametrize("size", [1000, 2 * MiB])
def test_leaving_the_loop(box: Box, size: int) -> None:
    wanted = several(box, 12, size)
    for url, data in box.storage.read_many(wanted, in_flight=4):
        assert data == wanted[url]
        break
    with pytest.raises(ZeroDivisionError):
        for _ in box.storage.read_many(wanted):
            raise ZeroDivisionError
    results = box.storage.read_many(wanted)
    next(results)
    results.close()
    assert list(results) == []
    assert dict(box.storage.read_many(wanted)) == wanted
    url = next(iter(wanted))
    with box.open(url, "rb") as file:
        assert file.read() == wanted[url]


@clause("bulk.changing")
@pytest.mark.parametrize("size", [1000, 3 * MiB])
def test_objects_that_are_replaced(box: Box, client: Client, size: int) -> None:
    needs(box.traits.pinned_reads, "the driver does not promise that a reader keeps to one version")
    versions = [bytes([65 + number]) * (size + number) for number in range(4)]
    urls = [box.put(f"object-{number}", versions[0]) for number in range(4)]
    stop = threading.Event()

    def replace() -> None:
        for turn in range(1, 40):
            if stop.is_set():
                return
            client.put(f"object-{turn % 4}", versions[turn % 4])

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(5):
            for _, data in box.storage.read_many(urls):
                assert isinstance(data, ObjectChangedError) or data in versions
    finally:
        stop.set()
        thread.join(60)


@clause("bulk.fresh")
def test_a_second_call_sees_what_is_there(box: Box, client: Client) -> None:
    wanted = several(box, 5, 2 * MiB)
    assert dict(box.storage.read_many(wanted)) == wanted
    for number in range(5):
        client.put(f"object-{number}", b"new %d" % number)
    found = dict(box.storage.read_many(wanted))
    assert found == {box.url(f"object-{number}"): b"new %d" % number for number in range(5)}


FAULTS: dict[str, Fault] = {"refused": REFUSED, **ONCE, "cut": Cut(700), "ended": Cut(700, quiet=True)}


@clause("bulk.faults")
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("size", [1000, 2 * MiB], ids=["small", "large"])
def test_right_bytes_or_an_error(faulty: Box, name: str, size: int) -> None:
    wanted = several(faulty, 10, size)
    faults = faults_of(faulty)
    with faults.armed(FAULTS[name], "read", after=3, times=2):
        found: dict[str, Any] = dict(faulty.storage.read_many(wanted, in_flight=4))
    assert set(found) == set(wanted)
    wrong = {url: data for url, data in found.items() if data != wanted[url]}
    assert len(wrong) <= 2, "each fault is that of one object"
    for url, error in wrong.items():
        assert isinstance(error, OSError), "fewer bytes, or other ones"
        assert error.errno is not None
        assert error.filename == url
    assert dict(faulty.storage.read_many(wanted)) == wanted


@clause("bulk.denied")
def test_refused_requests(box: Box) -> None:
    needs(box.root.denied, "the target refuses nobody")
    wanted = several(box, 3)
    found = dict(box.storage.read_many(wanted, options=box.root.denied))
    assert [type(error) for error in found.values()] == [PermissionError] * 3
    with refused(PermissionError):
        list(box.storage.read_many(wanted, options=box.root.denied, on_error="raise"))


@clause("bulk.fork")
@pytest.mark.parametrize("size", [1000, 2 * MiB])
def test_a_child_goes_on(box: Box, size: int) -> None:
    wanted = several(box, 12, size)
    results = box.storage.read_many(wanted, in_flight=5)
    taken = dict(next(results) for _ in range(3))

    def finish() -> None:
        assert taken | dict(results) == wanted

    in_child(finish)
    finish()


@clause("bulk.written")
@pytest.mark.parametrize("kind", ["mapping", "pairs"])
def test_many_are_written(box: Box, tmp_path: Path, kind: str) -> None:
    sizes = [0, 1, BLOCK, PART, PART + 1, *range(20)]
    objects: dict[Any, Any] = {box.url(f"object-{n}"): content(size, seed=n) for n, size in enumerate(sizes)}
    objects[tmp_path / "local"] = bytearray(b"local")
    objects[box.url("view")] = memoryview(b"0123456789")[::2].tobytes()
    given: Any = objects if kind == "mapping" else iter(objects.items())
    assert box.storage.write_many(given) == []
    assert (tmp_path / "local").read_bytes() == b"local"
    assert box.get("view") == b"02468"
    for number, size in enumerate(sizes):
        assert box.get(f"object-{number}") == content(size, seed=number)
    assert box.storage.write_many({}) == []


@clause("bulk.write-errors")
def test_what_cannot_be_written(box: Box) -> None:
    folder = box.url("folder/")
    box.put("folder/object")
    objects = {box.url("one"): b"1", folder: b"2", box.url("three"): b"3"}
    failures = box.storage.write_many(objects, on_error="return")
    assert [url for url, _ in failures] == [folder]
    assert isinstance(failures[0][1], IsADirectoryError)
    assert (box.get("one"), box.get("three")) == (b"1", b"3")

    def pairs() -> Iterator[tuple[str, bytes]]:
        yield folder, b"2"
        yield box.url("two"), b"2"
        pytest.fail("drawn after the error")

    with refused(IsADirectoryError, url=folder):
        box.storage.write_many(pairs(), in_flight=1)


@clause("bulk.write-arguments")
def test_wrong_things_to_write(box: Box) -> None:
    url = box.url("object")
    write_many: Any = box.storage.write_many
    for wrong in ({url: "text"}, {url: 5}, {5: b"data"}):
        with pytest.raises(TypeError):
            write_many(wrong)
    for arguments in ({"in_flight": 0}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match="must be"):
            write_many({url: b"data"}, **arguments)
    assert box.absent("object")
