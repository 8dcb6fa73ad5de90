"""walking: the tuples of a walk one listing at a time, in its order, but with the coming listings under way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listing_support import GUARD, Eager, Held, Toy, exit_of, names

from storagekit.backend import Resource
from storagekit.chunks import CHUNK
from storagekit.directories import extend, scandir
from storagekit.driver import Stat
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.storage import Storage
from storagekit.transfers import Job, Transfers
from storagekit.walking import HELD, LISTINGS, walk
from storagekit_memory.driver import MemoryDriver

TOP = "toy://box"


def one_by_one(place: Resource, path: str, topdown: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    """A walk as it is written in a book."""
    entries = list(scandir(place, path))
    directories = [entry.name for entry in entries if entry.is_dir()]
    if topdown:
        yield path, directories, [entry.name for entry in entries if not entry.is_dir()]
    for name in directories:
        below = extend(path, name)
        yield from one_by_one(place.at(place.backend.parse(below)), below, topdown)
    if not topdown:
        yield path, directories, [entry.name for entry in entries if not entry.is_dir()]


def walked(toy: Toy, transfers: Transfers, **more: Any) -> Iterator[tuple[str, list[str], list[str]]]:
    """A walk over everything in *toy*."""
    return walk(toy.at(toy.storage()), TOP, transfers=transfers, **more)


def fan(directories: int, files: int, levels: int = 1) -> Toy:
    """A tree: so many directories in each directory of so many levels, and so many files in each but the top."""

    def level(prefix: str) -> Iterator[str]:
        depth = prefix.count("/")
        if depth < levels:
            yield from names(directories, "d{:04}/")(prefix)
        if depth:
            yield from names(files, "f{:05}")(prefix)

    return Toy(level)


# ---------------------------------------------------------------- the same walk

segments = st.sampled_from(["", "a", "b", "a-", "a.b", ".", "ä"])
key_sets = st.sets(st.lists(segments, min_size=1, max_size=4).map("/".join).filter(bool), min_size=1, max_size=12)


@given(key_sets, st.booleans(), st.sampled_from(["real", "eager", "held", "none"]))
def test_it_is_the_walk_that_lists_at_each_turn(keys: set[str], topdown: bool, kind: str) -> None:
    with Storage() as storage:
        for key in keys:
            # Every other object is empty; where its key ends in a slash it is a marker, else data under the empty name.
            with_data = len(key) % 2
            driver_put(storage, key, b"data" * with_data)
        pools = {"real": storage._transfers, "eager": Eager(), "held": Held(), "none": None}
        top = "memory://box"
        expected = list(one_by_one(storage._url(top, None), top, topdown))
        assert list(walk(storage._url(top, None), top, topdown, transfers=pools[kind])) == expected


def driver_put(storage: Storage, key: str, data: bytes) -> None:
    """Write an object under any key, also one that no file has."""
    place = storage._url("memory://box", None)
    place.backend.open_write(Location("memory", "box", key), {}).put([data])


@given(key_sets, st.booleans())
def test_it_lists_each_directory_once(keys: set[str], topdown: bool) -> None:
    toy = Toy.of(keys)
    with toy.storage() as storage:
        expected = list(one_by_one(toy.at(storage), TOP, topdown))
        lists, toy.lists = Counter(toy.lists), []
        assert list(storage.walk(TOP, topdown)) == expected
        assert Counter(toy.lists) == lists
        assert max(lists.values()) == 1


def test_containers_and_markers_have_their_names() -> None:
    with Storage() as storage:
        for key in ("a/", "a/b", "p/", "p/q"):
            driver_put(storage, key, b"data" if key == "p/" else b"")
        tree = list(storage.walk("memory://"))
    assert tree == [
        ("memory://", ["box"], []),
        ("memory://box", ["a", "p"], []),
        ("memory://box/a", [], ["b"]),
        ("memory://box/p", [], ["", "q"]),
    ]


def test_a_driver_that_lists_what_is_not_below_is_an_error() -> None:
    toy = Toy(lambda prefix: ["a/", "b/"] if not prefix else ["elsewhere"])
    with toy.storage() as storage:
        walk = storage.walk(TOP)
        next(walk)
        with pytest.raises(OSError, match="does not lie below") as caught:
            next(walk)
    assert caught.value.errno == errno.EIO


# ---------------------------------------------------------------- ahead


def test_the_children_are_listed_at_once() -> None:
    toy = fan(8, 3)
    together = threading.Barrier(8)
    toy.on_list = lambda prefix: together.wait(GUARD) if prefix else None
    with toy.storage() as storage:
        assert len(list(storage.walk(TOP))) == 9


@pytest.mark.parametrize("topdown", [True, False])
def test_a_full_house_is_listed_at_once(topdown: bool) -> None:
    toy = fan(LISTINGS, 1)
    together = threading.Barrier(LISTINGS)
    toy.on_list = lambda prefix: together.wait(GUARD) if prefix else None
    with toy.storage() as storage:
        assert len(list(storage.walk(TOP, topdown))) == 1 + LISTINGS


def test_the_children_are_asked_for_after_their_parent_was_had() -> None:
    toy = fan(5, 1, levels=2)
    held = Held()
    tree = walked(toy, held)
    next(tree)
    assert (held.jobs, toy.lists) == ([], [""])
    next(tree)
    assert toy.lists == ["", "d0000/"]  # the first child in the caller's thread
    assert len(held.jobs) == 4
    next(tree)
    assert toy.lists[2:] == ["d0000/d0000/"]
    assert len(held.jobs) == 8  # now those below the first child, and nothing of the others'


def test_what_was_pruned_is_not_asked_for_and_what_was_added_is() -> None:
    toy = fan(5, 1)
    with toy.storage() as storage:
        tree = storage.walk(TOP)
        _, directories, _ = next(tree)
        directories[:] = ["d0003", "d0001", "d0099"]
        assert [path for path, _, _ in tree] == [f"{TOP}/d0003", f"{TOP}/d0001", f"{TOP}/d0099"]
    assert sorted(toy.lists) == ["", "d0001/", "d0003/", "d0099/"]
    toy = fan(5, 1)
    with toy.storage() as storage:
        for _, directories, _ in storage.walk(TOP):
            directories.clear()
    assert toy.lists == [""]


def test_so_many_listings_are_under_way_and_no_more() -> None:
    toy = fan(100, 1)
    held = Held()
    tree = walked(toy, held)
    list(islice(tree, 2))
    assert len(held.jobs) == LISTINGS - 1  # the caller's own thread was one
    next(tree)  # for which it runs the first job
    assert len(held.jobs) == LISTINGS
    assert len(list(tree)) == 98


def test_one_directory_and_a_chain_of_them_start_no_thread() -> None:
    for toy in (Toy(names(10)), Toy.of(["a/b/c/d/e/f"])):
        with toy.storage() as storage:
            assert list(storage.walk(TOP))
            assert storage._transfers.threads == 0


def test_real_directories_are_not_listed_ahead(tmp_path: Path) -> None:
    toy = fan(20, 3)
    toy.real = True
    with toy.storage() as storage:
        assert len(list(storage.walk(TOP))) == 21
        assert storage._transfers.threads == 0
    for number in range(5):
        (tmp_path / str(number) / "below").mkdir(parents=True)
    with Storage() as storage:
        assert len(list(storage.walk(f"file://{tmp_path}"))) == 11
        assert storage._transfers.threads == 0


def test_links_are_followed_where_that_is_wanted() -> None:
    class Linked(MemoryDriver):
        """Its directories whose name begins with an "l" are links."""

        @hookimpl(specname="list")
        def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
            for stat in super().entries(location, recursive, limit, start_after):
                if stat.is_directory and stat.location.name.startswith("l"):
                    stat = Stat(stat.location, "directory", extra={"symlink": True})
                yield stat

    with Storage(drivers={"memory": Linked}) as storage:
        for key in ("a/x", "l/y", "z/l/w"):
            driver_put(storage, key, b"")
        seen = [path.removeprefix("memory://box") for path, _, _ in storage.walk("memory://box")]
        assert seen == ["", "/a", "/z"]
        seen = [path.removeprefix("memory://box") for path, _, _ in storage.walk("memory://box", followlinks=True)]
        assert seen == ["", "/a", "/l", "/z", "/z/l"]


# ---------------------------------------------------------------- errors, and the end


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("page", [0, 1])
def test_an_error_comes_at_its_turn(topdown: bool, page: int) -> None:
    toy = fan(6, 2 * CHUNK)

    def on_page(prefix: str, number: int) -> None:
        if (prefix, number) == ("d0003/", page):
            raise PermissionError(errno.EACCES, "no", prefix)

    toy.on_page = on_page
    with toy.storage() as storage:
        tree = storage.walk(TOP, topdown)
        assert len(list(islice(tree, 3 + topdown))) == 3 + topdown
        with pytest.raises(PermissionError):
            next(tree)
        assert list(tree) == []
        errors: list[OSError] = []
        paths = [path for path, _, _ in storage.walk(TOP, topdown, errors.append)]
        assert len(paths) == 6
        assert f"{TOP}/d0003" not in paths
        assert [error.errno for error in errors] == [errno.EACCES]


def test_what_is_no_oserror_is_raised_whoever_listens() -> None:
    toy = fan(6, 1)

    def on_list(prefix: str) -> None:
        if prefix == "d0004/":
            raise ZeroDivisionError

    toy.on_list = on_list
    with toy.storage() as storage:
        tree = storage.walk(TOP, onerror=lambda error: None)
        assert len(list(islice(tree, 5))) == 5
        with pytest.raises(ZeroDivisionError):
            next(tree)


def test_a_directory_that_went_meanwhile_is_an_error_and_a_missing_top_is_none() -> None:
    toy = Toy(lambda prefix: ["a/", "b/", "c/"] if not prefix else [] if prefix == "b/" else [prefix + "x"])
    with toy.storage() as storage:
        tree = storage.walk(TOP)
        assert len(list(islice(tree, 2))) == 2
        with pytest.raises(FileNotFoundError):
            next(tree)
        assert list(storage.walk(f"{TOP}/b")) == []


def test_a_walk_that_is_left_asks_for_nothing_more() -> None:
    toy = fan(100, 1)
    held = Held()
    tree: Any = walked(toy, held)
    list(islice(tree, 2))
    tree.close()
    assert all(job.run() for job in held.jobs)
    assert toy.lists == ["", "d0000/"]


def test_a_job_that_runs_stops_when_the_walk_is_left() -> None:
    toy = fan(2, 900)
    asked, answer = threading.Event(), threading.Event()

    def on_page(prefix: str, number: int) -> None:
        if prefix == "d0001/":
            asked.set()
            assert answer.wait(GUARD)

    toy.on_page = on_page
    with toy.storage() as storage:
        tree = storage.walk(TOP)
        list(islice(tree, 2))
        assert asked.wait(GUARD)
        del tree
        answer.set()
    assert toy.given == 2 + 900 + 1


# ---------------------------------------------------------------- memory


def test_of_a_large_directory_one_chunk_is_taken_ahead() -> None:
    toy = fan(5, 3 * CHUNK)
    tree = walked(toy, Eager())
    list(islice(tree, 2))
    assert toy.given == 5 + 3 * CHUNK + 4 * CHUNK
    assert [len(files) for _, _, files in tree] == [3 * CHUNK] * 4
    assert sorted(toy.lists) == ["", *(f"d000{number}/" for number in range(5))]


def test_what_is_held_is_bounded_and_the_lower_levels_have_their_turn() -> None:
    toy = fan(40, CHUNK - 40, levels=3)
    eager = Eager()
    taken = asked = 0
    growth = []
    for number, (_, directories, files) in enumerate(walked(toy, eager)):
        taken += len(directories) + len(files)
        assert toy.given - taken <= 2 * HELD
        if number < 4:
            growth.append(eager.jobs - asked)
            asked = eager.jobs
        if number == 150:
            break
    # Nothing with the top; its children until they hold HELD; half as much of the grandchildren, half of that below.
    assert growth == [0, 31, 16, 8]


def test_small_siblings_do_not_keep_the_children_waiting() -> None:
    toy = fan(24, 2, levels=2)
    eager = Eager()
    tree = walked(toy, eager)
    list(islice(tree, 2))
    assert eager.jobs == 23
    next(tree)
    assert eager.jobs == 23 + 23


def test_two_hundred_thousand_keys_in_flat_memory() -> None:
    toy = fan(400, 500)
    with toy.storage() as storage:
        tracemalloc.start()
        try:
            assert sum(len(files) for _, _, files in storage.walk(TOP)) == 200_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 12 * 1024 * 1024  # 32,000 names are 3 MB; all of them would be 18 MB


# ---------------------------------------------------------------- processes


def test_a_forked_child_goes_on_and_so_does_its_parent() -> None:
    toy = fan(40, 3)
    gate = threading.Event()
    under_way = threading.Semaphore(0)
    parent = os.getpid()

    def on_list(prefix: str) -> None:
        if prefix > "d0005/" and os.getpid() == parent:
            under_way.release()
            assert gate.wait(GUARD)

    with toy.storage() as storage:
        expected = list(one_by_one(toy.at(storage), TOP, True))
        toy.on_list = on_list
        tree = storage.walk(TOP)
        start = list(islice(tree, 3))
        for _ in range(10):
            assert under_way.acquire(timeout=GUARD)
        # Some have come, some are being listed in threads that the child has not, some were not asked for.
        assert exit_of(lambda: start + list(tree) == expected) == 0
        gate.set()
        assert start + list(tree) == expected


def test_a_forked_child_may_drop_it() -> None:
    toy = fan(40, 3)
    with toy.storage() as storage:
        tree: Any = storage.walk(TOP)
        list(islice(tree, 3))
        assert exit_of(lambda: tree.close() is None) == 0
        assert len(list(tree)) == 38


def test_a_busy_pool_holds_up_nobody() -> None:
    toy = fan(10, 3)
    busy, go = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        go.wait(GUARD)

    with toy.storage(threads=1) as storage:
        storage._transfers.submit(Job(work))
        assert busy.wait(GUARD)
        assert len(list(storage.walk(TOP))) == 11
        go.set()


EXIT = """
import sys, threading
from itertools import islice
sys.path.insert(0, sys.argv[1])
from listing_support import Toy

toy = Toy.of([f"{name}/x" for name in "abcdef"])
asked = threading.Event()
def on_list(prefix):
    if prefix > "b/":
        asked.set()
        threading.Event().wait()  # an answer that never comes
toy.on_list = on_list
storage = toy.storage()
tree = storage.walk("toy://box")
print([path for path, _, _ in islice(tree, 2)])
asked.wait()
"""


def test_a_listing_that_never_comes_does_not_hold_up_the_exit() -> None:
    command = [sys.executable, "-c", EXIT, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=6 * GUARD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['toy://box', 'toy://box/a']\n", "")
