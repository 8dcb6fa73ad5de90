"""chunks: the next pages of a long listing come while the caller goes through this one, and only then."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from listing_support import GUARD, Eager, Held, Toy, exit_of, names

from storagekit.chunks import CHUNK, HALF, pages_ahead
from storagekit.directories import scandir
from storagekit.driver import Stat
from storagekit.storage import Storage
from storagekit.transfers import Job, Transfers

SIZES = [0, 1, HALF - 1, HALF, HALF + 1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + HALF, 2 * CHUNK, 2 * CHUNK + 1, 4321]


def listing(toy: Toy, transfers: Transfers) -> Iterator[Stat]:
    """The listing of the top, with its pages ahead."""
    resource = toy.at(toy.storage())
    return pages_ahead(resource.entries(), resource, transfers)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", [7, 1000])
def test_every_entry_comes_once_and_in_its_order(size: int, page: int) -> None:
    toy = Toy(names(size), page=page)
    with toy.storage() as storage:
        found = [entry.name for entry in storage.scandir("toy://box")] if size else []
        assert found == [f"{number:06}" for number in range(size)]
        assert toy.lists == [""] * bool(size)
        assert (storage._transfers.threads > 0) == (size >= CHUNK)
    assert len(toy.pages) == -(-size // page)


def test_the_next_page_is_asked_for_when_half_of_one_was_given() -> None:
    toy = Toy(names(5 * CHUNK))
    held = Held()
    found = listing(toy, held)
    wanted = {0: 0, 1: 0, HALF: 0, HALF + 1: 1, CHUNK: 1, CHUNK + HALF: 1, CHUNK + HALF + 1: 2, 2 * CHUNK + HALF: 2}
    taken = 0
    for count, jobs in wanted.items():
        taken += len(list(islice(found, count - taken)))
        assert len(held.jobs) == jobs, count
    assert toy.pages == [("", 0), ("", 1), ("", 2)]


def test_a_page_is_fetched_while_the_caller_has_the_one_before() -> None:
    toy = Toy(names(3 * CHUNK))
    asked, answer = threading.Event(), threading.Event()

    def on_page(prefix: str, number: int) -> None:
        if number == 1:
            asked.set()
            assert answer.wait(GUARD)

    toy.on_page = on_page
    with toy.storage() as storage, storage.scandir("toy://box") as scan:
        assert len(list(islice(scan, HALF))) == HALF
        assert not asked.is_set()
        next(scan)
        assert asked.wait(GUARD)
        assert len(list(islice(scan, CHUNK - HALF - 1))) == CHUNK - HALF - 1  # although the page has not come
        answer.set()
        assert len(list(scan)) == 2 * CHUNK


def test_no_more_than_a_chunk_and_a_half_is_there() -> None:
    toy = Toy(names(200_000))
    most = 0
    for count, _ in enumerate(listing(toy, Eager()), 1):
        most = max(most, toy.given - count)
    assert count == 200_000
    assert most < CHUNK + HALF


@pytest.mark.parametrize("place", [1, HALF, HALF + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2500])
def test_an_error_comes_where_it_belongs(place: int) -> None:
    asked = 0

    class Broken(Iterator[Stat]):
        def __next__(self) -> Stat:
            nonlocal asked
            asked += 1
            if asked == place + 1:
                raise PermissionError(errno.EACCES, "no")
            assert asked <= place, "asked again after an error"
            return stat

    toy = Toy(names(1))
    with toy.storage() as storage:
        resource = toy.at(storage)
        stat = next(resource.entries())
        found = pages_ahead(Broken(), resource, storage._transfers)
        assert len(list(islice(found, place))) == place
        with pytest.raises(PermissionError):
            next(found)
        assert next(found, None) is None
    assert asked == place + 1


def test_nothing_is_asked_after_the_end() -> None:
    asked = 0

    class Counted(Iterator[Stat]):
        def __next__(self) -> Stat:
            nonlocal asked
            asked += 1
            if asked > 1200:
                raise StopIteration
            return stat

    toy = Toy(names(1))
    with toy.storage() as storage:
        resource = toy.at(storage)
        stat = next(resource.entries())
        found = pages_ahead(Counted(), resource, storage._transfers)
        assert len(list(found)) == 1200
        assert next(found, None) is None
    assert asked == 1201


def test_a_scan_that_is_left_asks_for_nothing_more() -> None:
    toy = Toy(names(9 * CHUNK))
    held = Held()
    scan = scandir(toy.at(toy.storage()), None, held)
    assert len(list(islice(scan, HALF + 1))) == HALF + 1
    scan.close()
    (job,) = held.jobs
    assert job.run()
    assert toy.pages == [("", 0)]
    assert toy.given == CHUNK
    held.jobs.clear()
    del job
    assert toy.stopped == 1


def test_a_job_that_runs_stops_when_the_scan_is_left() -> None:
    toy = Toy(names(99 * CHUNK), page=100)  # of which a chunk would be ten
    asked, answer = threading.Event(), threading.Event()

    def on_page(prefix: str, number: int) -> None:
        if number == 10:
            asked.set()
            assert answer.wait(GUARD)

    toy.on_page = on_page
    with toy.storage() as storage:
        scan = storage.scandir("toy://box")
        assert len(list(islice(scan, HALF + 1))) == HALF + 1
        assert asked.wait(GUARD)
        scan.close()
        answer.set()
    assert toy.given == CHUNK + 1  # closing the Storage waits for its threads


def test_real_directories_are_not_fetched_ahead(tmp_path: Path) -> None:
    toy = Toy(names(3 * CHUNK), real=True)
    with toy.storage() as storage:
        assert len(storage.listdir("toy://box")) == 3 * CHUNK
        assert storage._transfers.threads == 0
    for number in range(CHUNK + 1):
        (tmp_path / str(number)).touch()
    with Storage() as storage:
        assert len(storage.listdir(f"file://{tmp_path}")) == CHUNK + 1
        assert storage._transfers.threads == 0


def test_a_store_that_does_not_say_what_it_is_is_listed_as_it_comes() -> None:
    def on_traits() -> None:
        assert toy.lists, "asked before a listing was answered"
        raise PermissionError(errno.EACCES, "no")

    for toy in (Toy(names(3 * CHUNK)), Toy.of(["a/x", "b/y"])):
        toy.on_traits = on_traits
        with toy.storage() as storage:
            assert storage.listdir("toy://box")
            assert list(storage.walk("toy://box"))
            assert storage._transfers.threads == 0


def test_all_that_list_at_length_fetch_ahead() -> None:
    for use in ("listdir", "glob", "rmtree"):
        toy = Toy(names(2 * CHUNK + 5))
        with toy.storage() as storage:
            if use == "listdir":
                assert len(storage.listdir("toy://box")) == 2 * CHUNK + 5
            elif use == "glob":
                assert len(storage.glob("toy://box/*")) == 2 * CHUNK + 5
            else:
                assert len(storage.rmtree("toy://box/d", dry_run=True) or ()) == 2 * CHUNK + 5
            assert storage._transfers.threads > 0


# ---------------------------------------------------------------- processes


def in_one_thread(storage: Storage) -> None:
    """Return when everything that was given to the one thread of *storage* is over."""
    done = threading.Event()
    storage._transfers.submit(Job(done.set))
    assert done.wait(GUARD)


def test_a_forked_child_has_what_had_come() -> None:
    toy = Toy(names(4 * CHUNK))
    with toy.storage(threads=1) as storage:
        scan = storage.scandir("toy://box")
        list(islice(scan, HALF + 1))
        in_one_thread(storage)
        assert exit_of(lambda: len(list(scan)) == 4 * CHUNK - HALF - 1) == 0
        assert len(list(scan)) == 4 * CHUNK - HALF - 1


def test_a_forked_child_asks_for_what_nobody_had_begun() -> None:
    toy = Toy(names(4 * CHUNK))
    busy, go = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        go.wait(GUARD)

    with toy.storage(threads=1) as storage:
        storage._transfers.submit(Job(work))
        assert busy.wait(GUARD)
        scan = storage.scandir("toy://box")
        list(islice(scan, HALF + 1))
        assert exit_of(lambda: len(list(scan)) == 4 * CHUNK - HALF - 1) == 0
        go.set()
        assert len(list(scan)) == 4 * CHUNK - HALF - 1


def test_what_was_being_fetched_at_a_fork_is_an_error_in_the_child() -> None:
    toy = Toy(names(4 * CHUNK))
    asked, answer = threading.Event(), threading.Event()

    def on_page(prefix: str, number: int) -> None:
        if number == 1:
            asked.set()
            assert answer.wait(GUARD)

    def child() -> bool:
        if len(list(islice(scan, CHUNK - HALF - 1))) != CHUNK - HALF - 1:
            return False
        try:
            next(scan)
        except OSError as error:
            return error.errno == errno.EIO and "forked" in str(error) and next(scan, None) is None
        return False

    toy.on_page = on_page
    with toy.storage() as storage:
        scan = storage.scandir("toy://box")
        list(islice(scan, HALF + 1))
        assert asked.wait(GUARD)
        assert exit_of(child) == 0
        answer.set()
        assert len(list(scan)) == 4 * CHUNK - HALF - 1


EXIT = """
import sys, threading
from itertools import islice
sys.path.insert(0, sys.argv[1])
from listing_support import Toy, names

toy = Toy(names(5000))
asked = threading.Event()
def on_page(prefix, number):
    if number:
        asked.set()
        threading.Event().wait()  # an answer that never comes
toy.on_page = on_page
storage = toy.storage()
scan = storage.scandir("toy://box")
print(len(list(islice(scan, 501))))
asked.wait()
"""


def test_a_page_that_never_comes_does_not_hold_up_the_exit() -> None:
    command = [sys.executable, "-c", EXIT, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=6 * GUARD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "501\n", "")
