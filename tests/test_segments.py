"""segments: what is kept is found, sizes add up, and what a scan has passed goes first."""

from __future__ import annotations

from collections.abc import Hashable

import cachetools
import pytest
from block_support import check_ready
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storagekit.segments import ReadyBlocks, Segment
from storagekit.settings import BLOCK_SIZE

# Objects here are so many blocks long, of which the last is short.
BLOCKS = 12
SHORT = 100


def segment(key: Hashable, first: int, stop: int) -> Segment:
    size = (stop - first) * BLOCK_SIZE - (BLOCK_SIZE - SHORT if stop == BLOCKS else 0)
    return Segment(key, first, bytes(size))


# -- one segment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "size", "stop"),
    [(0, 1, 1), (3, BLOCK_SIZE, 4), (3, BLOCK_SIZE + 1, 5), (7, 16 * BLOCK_SIZE, 23), (7, 16 * BLOCK_SIZE - 1, 23)],
)
def test_a_segment_knows_where_it_stands(first: int, size: int, stop: int) -> None:
    one = Segment("key", first, bytes(size))
    assert (one.first, one.stop, one.start) == (first, stop, first * BLOCK_SIZE)
    assert one.unused == size


@given(
    st.integers(0, 5),
    st.integers(1, 40 * BLOCK_SIZE),
    st.lists(st.tuples(st.integers(0, 45), st.integers(1, 45)), max_size=6),
)
def test_unused_is_what_no_read_touched(first: int, size: int, reads: list[tuple[int, int]]) -> None:
    one = Segment("key", first, bytes(size))
    used: set[int] = set()
    for begin, count in reads:
        touched = set(range(begin, begin + count)) & set(range(one.first, one.stop))
        if touched:  # nobody uses what does not lie here
            assert one.use(begin, begin + count) == len(touched)
            used |= touched
    sizes = {index: min(BLOCK_SIZE, size - (index - first) * BLOCK_SIZE) for index in range(one.first, one.stop)}
    assert one.unused == sum(size for index, size in sizes.items() if index not in used)


# -- all of them, against a model --------------------------------------------------------------------------

keys = st.sampled_from(["a", "b"])
places = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(lambda p: (p[0], min(BLOCKS, p[0] + p[1])))


class Model(RuleBasedStateMachine):
    """A list of segments from the one to be evicted first to the last: those that were passed, and the others."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = 20 * BLOCK_SIZE
        self.ready = ReadyBlocks(self.budget)
        self.passed: list[Segment] = []
        self.others: list[Segment] = []
        self.touched: dict[Segment, set[int]] = {}
        self.unused = 0

    @property
    def all(self) -> list[Segment]:
        return self.passed + self.others

    def owner(self, key: Hashable, index: int) -> Segment | None:
        found = [s for s in self.all if s.key == key and s.first <= index < s.stop]
        assert len(found) <= 1
        return found[0] if found else None

    def gone(self, one: Segment) -> None:
        for part in (self.passed, self.others):
            if one in part:
                part.remove(one)
        last = one.stop - 1
        for index in set(range(one.first, one.stop)) - self.touched.pop(one, set()):
            short = index == last and len(one.data) % BLOCK_SIZE
            self.unused += len(one.data) % BLOCK_SIZE if short else BLOCK_SIZE

    @rule(key=keys, place=places, used=st.booleans())
    def keep(self, key: str, place: tuple[int, int], used: bool) -> None:
        one = segment(key, *place)
        self.touched[one] = set(range(*place)) if used else set()
        if used:
            one.use(*place)
        while self.ready.size + len(one.data) > self.budget:
            self.evict()
        others = [s for s in self.all if s.key == key and s.first < one.stop and one.first < s.stop]
        if others and one.stop - one.first <= sum(s.stop - s.first for s in others):
            self.gone(one)
        else:
            for other in others:
                self.gone(other)
            self.others.append(one)
        self.ready.keep(one)

    @rule(key=keys, place=places, passing=st.booleans())
    def run(self, key: str, place: tuple[int, int], passing: bool) -> None:
        first, stop = place
        expected = []
        at = first
        while at < stop and (one := self.owner(key, at)) is not None:
            expected.append(one)
            self.touched[one] |= set(range(at, min(stop, one.stop)))
            if passing and one.stop <= stop:
                if one not in self.passed:
                    self.others.remove(one)
                    self.passed.append(one)
            elif not passing:
                (self.passed if one in self.passed else self.others).remove(one)
                self.others.append(one)
            at = one.stop
        assert self.ready.run(key, first, stop, passing=passing) == expected

    @precondition(lambda self: self.all)
    @rule()
    def evict(self) -> None:
        victim = self.all[0]
        assert self.ready.holds(victim.key, victim.first)
        self.ready.evict()
        assert not self.ready.holds(victim.key, victim.first)
        self.gone(victim)

    @rule(key=keys, first=st.integers(-2, BLOCKS + 1))
    def leave_behind(self, key: str, first: int) -> None:
        self.ready.leave_behind(key, first)
        while self.passed and self.passed[0].key == key and self.passed[0].stop <= first:
            self.gone(self.passed[0])

    @rule(key=keys, blocks=st.sampled_from([BLOCKS, 1 << 40]))
    def drop(self, key: str, blocks: int) -> None:
        self.ready.drop(key, blocks)
        for one in [s for s in self.all if s.key == key]:
            self.gone(one)

    @rule()
    def clear(self) -> None:
        self.ready.clear()
        for one in self.all:
            self.gone(one)

    @invariant()
    def agree(self) -> None:
        check_ready(self.ready)
        assert self.ready.size == sum(len(one.data) for one in self.all) <= self.budget
        assert self.ready.unused == self.unused
        assert list(self.ready._passed) == [(one.key, one.first) for one in self.passed]
        for key in ("a", "b"):
            for index in range(BLOCKS):
                assert self.ready.holds(key, index) is (self.owner(key, index) is not None)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


# -- what the model is too small to tell -------------------------------------------------------------------


def test_what_was_kept_and_not_dropped_is_found() -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    for first in range(0, 40, 4):
        ready.keep(Segment("key", first, bytes(4 * BLOCK_SIZE)))
    run = ready.run("key", 5, 38)
    assert [one.first for one in run] == list(range(4, 40, 4))
    assert ready.run("key", 40, 41) == []
    assert ready.run("other", 0, 4) == []
    assert ready.size == 40 * BLOCK_SIZE


def test_a_gap_ends_a_run() -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    ready.keep(Segment("key", 0, bytes(2 * BLOCK_SIZE)))
    ready.keep(Segment("key", 3, bytes(2 * BLOCK_SIZE)))
    assert [one.first for one in ready.run("key", 0, 5)] == [0]


@pytest.mark.parametrize(
    ("here", "comes", "stays"),
    [
        ([(0, 4)], (0, 4), [(0, 4)]),
        ([(0, 4), (4, 8)], (0, 8), [(0, 4), (4, 8)]),  # nothing new
        ([(0, 2)], (0, 8), [(0, 8)]),  # a late answer after the small piece that was asked for beside it
        ([(0, 2), (4, 6)], (0, 8), [(0, 8)]),
        ([(0, 8)], (6, 9), [(0, 8)]),  # one block is no reason to lose six
        ([(0, 3)], (2, 8), [(2, 8)]),
        ([(0, 8)], (8, 12), [(0, 8), (8, 12)]),
    ],
)
def test_no_block_is_held_twice(
    here: list[tuple[int, int]], comes: tuple[int, int], stays: list[tuple[int, int]]
) -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    for place in here:
        ready.keep(segment("key", *place))
    ready.keep(segment("key", *comes))
    check_ready(ready)
    assert sorted((one.first, one.stop) for one in ready._segments.values()) == stays
    received = sum(len(segment("key", *place).data) for place in [*here, comes])
    assert ready.size + ready.unused == received


def test_a_scan_of_any_length_drives_out_only_itself() -> None:
    ready = ReadyBlocks(16 * BLOCK_SIZE)
    for first in range(0, 8, 4):
        ready.keep(segment("kept", first, first + 4))
    for first in range(0, 400, 4):
        while ready.size + 4 * BLOCK_SIZE > 16 * BLOCK_SIZE:
            ready.evict()
        ready.keep(Segment("scan", first, bytes(4 * BLOCK_SIZE)))
        for index in range(first, first + 4):  # block by block, as a slow reader would
            assert ready.holds("scan", first)
            ready.run("scan", index, index + 1, passing=True)
    assert [one.first for one in ready.run("kept", 0, 8)] == [0, 4]


def test_what_a_scan_has_passed_and_somebody_else_wants_stays() -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    for first in (0, 4, 8):
        ready.keep(segment("key", first, first + 4))
    ready.run("key", 0, 12, passing=True)
    ready.run("key", 0, 4)
    ready.evict()
    assert [ready.holds("key", index) for index in (0, 4, 8)] == [True, False, True]


def test_dropping_looks_at_what_is_there_and_not_at_every_block_there_could_be() -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    ready.keep(segment("key", 0, 4))
    ready.keep(segment("other", 0, 4))
    ready.drop("key", 1 << 60)  # would not end in this life
    assert ready.size == 4 * BLOCK_SIZE
    assert ready.holds("other", 0)
    ready.drop("nobody", 1 << 60)
    assert ready.size == 4 * BLOCK_SIZE


def test_dropping_one_object_is_no_use_of_another() -> None:
    ready = ReadyBlocks(100 * BLOCK_SIZE)
    for key in ("first", "second", "third"):
        ready.keep(segment(key, 0, 4))
    ready.run("first", 0, 4)
    ready.drop("third", 1 << 60)
    ready.evict()
    assert ready.holds("first", 0)
    assert not ready.holds("second", 0)


@pytest.mark.parametrize("half", ["bytes", "order", "blocks"])
def test_a_change_that_was_interrupted_half_way_is_made_good(half: str) -> None:
    ready = ReadyBlocks(10 * BLOCK_SIZE)
    for first in (0, 2, 4):
        ready.keep(segment("key", first, first + 2))
    ready.run("key", 0, 2, passing=True)
    if half == "bytes":
        cachetools.Cache.__delitem__(ready._segments, ("key", 2))
    elif half == "order":
        del ready._segments._LRUCache__order["key", 2]  # type: ignore[attr-defined]
    else:
        del ready._of_block["key", 2]
    for _ in range(10):
        if ready.size:
            ready.evict()
    assert ready.size == 0
    assert not any(ready.holds("key", index) for index in range(6))
    ready.keep(segment("key", 2, 4))
    assert [s.first for s in ready.run("key", 2, 4)] == [2]
