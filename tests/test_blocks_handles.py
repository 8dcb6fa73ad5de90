"""blocks: what comes and goes with handles, and what the numbers tell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from block_support import (
    DATA,
    GUARD,
    PIECE,
    Engine,
    MiB,
    Object,
    Stalled,
    Thread,
    blocks,
)

from storagekit.blocks import STEP_BACK, CacheInfo
from storagekit.driver import Stat
from storagekit.location import Location
from storagekit.settings import BLOCK_SIZE


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.settle()


# -- heads, keys, handles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "head", "there"),
    [
        (100, 100, 1),
        (100, 99, 0),
        (BLOCK_SIZE, BLOCK_SIZE, 1),
        (BLOCK_SIZE + 1, BLOCK_SIZE, 1),
        (BLOCK_SIZE + 1, BLOCK_SIZE + 1, 2),
        (3 * BLOCK_SIZE, 2 * BLOCK_SIZE + 5, 2),
        (3 * BLOCK_SIZE, 0, 0),
        (0, 0, 0),
    ],
)
def test_the_head_is_taken_in_as_far_as_it_fills_blocks(engine: Engine, size: int, head: int, there: int) -> None:
    whole = Object(DATA[:size], head=head)
    source = engine.open(whole)
    assert engine.info.fetched == head
    assert engine.info.requests == (1 if head else 0)
    assert engine.info.cached == min(size, there * BLOCK_SIZE)
    assert engine.read(source) == DATA[:size]
    assert whole.asked == size - min(size, there * BLOCK_SIZE)
    assert engine.info.hits == there


def test_a_head_that_is_there_already_changes_nothing(engine: Engine) -> None:
    whole = Object(head=2 * BLOCK_SIZE)
    engine.read(engine.open(whole), 0, 2)
    cached = engine.info.cached
    engine.open(whole)
    assert engine.info.cached == cached
    assert engine.info.unused == 0


@pytest.mark.parametrize("key", ["key", None])
def test_only_what_nobody_can_ask_for_again_goes_with_the_handle(engine: Engine, key: str | None) -> None:
    whole = Object(key=key)
    source = engine.open(whole)
    engine.read(source, 0, 4)
    engine.cache.release(source)
    assert engine.info.cached == (4 * BLOCK_SIZE if key else 0)
    again = engine.open(whole)
    assert engine.read(again, 0, 4) == blocks(0, 4)
    assert len(whole.requests) == (1 if key else 2)


def test_two_unshared_handles_see_nothing_of_each_other(engine: Engine) -> None:
    one, two = Object(key=None), Object(DATA[::-1], key=None)
    first, second = engine.open(one), engine.open(two)
    assert engine.read(first, 0, 2) == blocks(0, 2)
    assert engine.read(second, 0, 2) == DATA[::-1][: 2 * BLOCK_SIZE]
    engine.cache.release(first)
    assert engine.read(second, 0, 2) == DATA[::-1][: 2 * BLOCK_SIZE]
    assert len(two.requests) == 1


def test_places_that_are_scanned_share_the_room_and_handles_at_one_place_share_its(engine: Engine) -> None:
    whole, other, unshared = Object(), Object(key="other"), Object(key=None)
    sources = [engine.open(each) for each in (whole, whole, other, unshared, unshared)]
    assert engine.cache.scanning == 0
    for source, count in zip(sources, (1, 1, 2, 3, 4), strict=True):
        for place in (0, 100, MiB):  # going on is no other place
            engine.cache.scans(source, place)
        assert engine.cache.scanning == count
    engine.cache.scans(sources[0], None)
    engine.cache.scans(sources[0], None)
    assert engine.cache.scanning == 4  # the second handle on it goes on
    engine.cache.release(sources[1])
    assert engine.cache.scanning == 3
    engine.cache.release(sources[0])
    assert engine.cache.scanning == 3
    for source in sources[2:]:
        engine.cache.release(source)
    assert engine.cache.scanning == 0
    assert not engine.cache._handles


@pytest.mark.parametrize("budget", [0, 4 * BLOCK_SIZE, 16 * MiB])
def test_handles_further_apart_than_the_budget_is_long_are_at_different_places(budget: int) -> None:
    engine, whole = Engine(budget=budget), Object()
    one, two = engine.open(whole), engine.open(whole)
    engine.cache.scans(one, 0)
    engine.cache.scans(two, 10 * budget + 1)
    assert engine.cache.scanning == 2
    engine.check_books()
    engine.cache.scans(one, 10 * budget + 1)  # it has caught up
    assert engine.cache.scanning == 1
    engine.check_books()
    engine.cache.release(two)
    assert engine.cache.scanning == 1
    engine.cache.release(one)
    assert engine.cache.scanning == 0
    engine.settle()


def test_to_release_again_does_no_harm(engine: Engine) -> None:
    sources = [engine.open(Object()) for _ in range(2)]
    for _ in range(2):
        engine.cache.release(sources[0])
    assert engine.read(sources[1], 0, 4) == blocks(0, 4)
    engine.cache.release(sources[1])
    assert not engine.cache._handles


def test_a_scan_drives_out_what_is_behind_it_only_if_it_is_alone() -> None:
    """Room is made by what the scan has passed; where another scans at its side, by what was not used for longest."""
    for alone in (True, False):
        engine = Engine(budget=12 * BLOCK_SIZE)
        kept, whole = engine.open(Object(key="kept")), Object()
        source, second = engine.open(whole), engine.open(whole)
        engine.read(kept, 0, 4)
        engine.cache.scans(source, 0)
        engine.cache.scans(second, None if alone else 0)
        for index in range(20):
            engine.cache.take(source, index, index + 1, scanning=True)  # it waits for the block
            engine.cache.take(source, index, index + 1, scanning=True)  # and leaves it behind
        before = engine.info.misses
        assert engine.read(kept, 0, 4) == blocks(0, 4)
        assert engine.info.misses - before == (0 if alone else 4)
        engine.settle()


def test_dropping_costs_what_is_cached_and_not_what_the_object_is_long(engine: Engine) -> None:
    """A terabyte has sixteen million blocks, and dropping is done under the lock."""
    whole = Object(key=None, size=1 << 50)
    source = engine.open(whole)
    engine.read(source, 0, 6)
    other = engine.open(Object())
    engine.read(other, 0, 3)
    assert engine.info.cached == 9 * BLOCK_SIZE
    Thread(lambda: engine.cache.release(source)).result()
    assert engine.info.cached == 3 * BLOCK_SIZE


# -- the numbers -------------------------------------------------------------------------------------------


def test_the_numbers_tell_what_happened(engine: Engine) -> None:
    whole = Object(head=BLOCK_SIZE)
    source = engine.open(whole)
    engine.read(source, 0, 1)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (1, 0, 0)
    engine.read(source, 1, 4)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (1, 3, 1)
    engine.read(source, 0, 4)
    assert (engine.info.hits, engine.info.misses, engine.info.stalls) == (5, 3, 1)
    engine.cache.ahead(source, 4 * BLOCK_SIZE, 8 * BLOCK_SIZE, MiB)
    engine.transfers.close()
    engine.read(source, 4, 6)
    assert engine.info == CacheInfo(
        hits=7,
        misses=3,
        stalls=1,
        requests=3,
        fetched=8 * BLOCK_SIZE,
        unused=0,
        cached=8 * BLOCK_SIZE,
        in_flight=0,
        budget=16 * MiB,
    )
    engine.cache.clear()
    assert engine.info.unused == 2 * BLOCK_SIZE
    assert engine.info.cached == 0


def test_what_a_read_asked_for_is_used_even_where_the_cache_has_no_room_for_it() -> None:
    engine = Engine(budget=0)
    engine.read(engine.open(Object()))
    assert engine.info.fetched == len(DATA)
    assert engine.info.unused == 0
    engine.settle()


def test_what_arrives_for_a_closed_unshared_handle_was_never_used(engine: Engine) -> None:
    whole = Object(key=None)
    source = engine.open(whole)
    stalled = Stalled(whole, lambda offset: offset == PIECE * BLOCK_SIZE)
    engine.cache.ahead(source, 0, 4 * PIECE * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    engine.cache.release(source)
    stalled.go.set()
    engine.transfers.close()
    assert engine.info.fetched == engine.info.unused == 2 * PIECE * BLOCK_SIZE
    assert engine.info.cached == 0


# -- what passes by ----------------------------------------------------------------------------------------


def test_missing_is_what_is_neither_here_nor_on_its_way(engine: Engine) -> None:
    whole = Object()
    source, stalled = engine.open(whole), Stalled(whole, lambda offset: offset == 10 * BLOCK_SIZE)
    missing = engine.cache.missing
    assert missing(source, 5, 5 + BLOCK_SIZE) == [(5, 5 + BLOCK_SIZE)]
    assert missing(source, 0, len(DATA)) == [(0, len(DATA))]
    engine.read(source, 3, 5)
    engine.cache.ahead(source, 10 * BLOCK_SIZE, 12 * BLOCK_SIZE, MiB)
    assert stalled.begun.wait(GUARD)
    assert missing(source, 100, len(DATA) - 1) == [
        (100, 3 * BLOCK_SIZE),
        (5 * BLOCK_SIZE, 10 * BLOCK_SIZE),
        (12 * BLOCK_SIZE, len(DATA) - 1),
    ]
    assert missing(source, 3 * BLOCK_SIZE + 1, 5 * BLOCK_SIZE - 1) == []
    assert missing(source, 5 * BLOCK_SIZE - 1, 5 * BLOCK_SIZE + 1) == [(5 * BLOCK_SIZE, 5 * BLOCK_SIZE + 1)]
    stalled.go.set()


def test_a_handle_is_alone_while_no_other_is_open_on_the_object(engine: Engine) -> None:
    source, other = engine.open(Object()), engine.open(Object(key="other"))
    assert engine.cache.alone(source)
    second = engine.open(Object())
    assert not engine.cache.alone(source)
    assert not engine.cache.alone(second)
    assert engine.cache.alone(other)
    engine.cache.release(source)
    assert engine.cache.alone(second)


def test_what_was_given_to_a_reader_directly_counts_as_fetched(engine: Engine) -> None:
    engine.cache.count_request()
    engine.cache.count_fetched(1000)
    engine.cache.count_fetched(24)
    info = engine.info
    assert (info.requests, info.fetched, info.cached, info.unused, info.misses) == (1, 1024, 0, 0, 0)


def test_handles_on_one_container_share_what_they_learn_of_its_pace(engine: Engine) -> None:
    one, two = Object(), Object(key="two")
    elsewhere = Object(key="three")
    elsewhere.stat = Stat(Location("toy", "another box", "key"), size=len(DATA))
    first, second, third = engine.open(one), engine.open(two), engine.open(elsewhere)
    engine.read(first)
    assert first.pace is second.pace is not third.pace
    assert second.pace.rate is not None
    assert third.pace.rate is None


def test_a_scan_of_more_than_could_be_kept_keeps_little_behind_it() -> None:
    for budget, kept in ((20 * BLOCK_SIZE, STEP_BACK + 1), (64 * BLOCK_SIZE, 40)):
        engine = Engine(budget=budget)
        source = engine.open(Object())
        engine.cache.scans(source, 0)
        for index in range(40):
            engine.cache.take(source, index, index + 1, scanning=True)
            engine.cache.take(source, index, index + 1, scanning=True)
        assert engine.info.cached == min(kept, budget // BLOCK_SIZE) * BLOCK_SIZE
        engine.settle()
