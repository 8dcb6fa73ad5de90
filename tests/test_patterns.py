"""patterns: what a handle's jumps have in common, and that guessing on it never costs more than it may."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.patterns import CREDIT, EVIDENCE, FOLLOW, LONGEST_GUESS, MOST_AHEAD, REMEMBERED, RETURN, Runs
from storagekit.settings import BLOCK_SIZE

KiB = 1024
MiB = 1024 * KiB
END = 1 << 40

# A row group of a Parquet file, and a column's part of it.
GROUP = 12 * MiB + 12_345
CHUNK = 300_000


def blocks(start: int, stop: int) -> set[int]:
    return set(range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE)))


@dataclass
class Watched:
    """Runs, and what they told."""

    runs: Runs = field(default_factory=Runs)
    told: list[tuple[int, int]] = field(default_factory=list)
    hits: int = 0
    read_blocks: set[int] = field(default_factory=set)

    def run(self, start: int, stop: int, pieces: int = 1, limit: int = END) -> int:
        """Read a run piece by piece; the request for its first piece goes up to what is answered."""
        self.hits += blocks(start, stop) <= set().union(*(blocks(*span) for span in self.told))
        step = -(-(stop - start) // pieces)
        first = self.runs.read(start, min(start + step, stop))
        self.told += self.runs.ahead(limit)
        for at in range(start + step, stop, step):
            self.runs.read(at, min(at + step, stop))
            self.told += self.runs.ahead(limit)
        self.read_blocks |= blocks(start, stop)
        return first

    def all(self, places: Iterable[int], size: int = CHUNK, pieces: int = 1, limit: int = END) -> None:
        for place in places:
            self.run(place, place + size, pieces, limit)

    @property
    def in_vain(self) -> int:
        """Bytes in the blocks that were told and never read."""
        told = set[int]().union(*(blocks(*span) for span in self.told))
        return len(told - self.read_blocks) * BLOCK_SIZE


def shuffled(places: list[int], by: int) -> list[int]:
    """In the order in which several threads come to them."""
    chance, order = random.Random(by), list[int]()
    for at in range(0, len(places), by):
        part = places[at : at + by]
        chance.shuffle(part)
        order += part
    return order


# -- distances ---------------------------------------------------------------------------------------------

ROW_GROUPS = [group * GROUP for group in range(40)]


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_equal_distances_are_told_ahead(backwards: bool, pieces: int) -> None:
    watched = Watched()
    watched.all(reversed(ROW_GROUPS) if backwards else ROW_GROUPS, pieces=pieces)
    assert watched.hits >= len(ROW_GROUPS) - EVIDENCE - 1
    assert watched.in_vain <= 10 * (CHUNK + 2 * BLOCK_SIZE), "a few beyond the end of the file"


COLUMNS = [
    [0, MiB],
    [0, 3 * MiB],
    [700 * KiB, 9 * MiB],
    [0, 2 * MiB, 5 * MiB],
    [0, MiB, 2_700_000, 5_900_000, 9_300_000],
    [0, MiB, 3 * MiB + 70_007, 5 * MiB + 90_009, 8 * MiB],
]


@pytest.mark.parametrize("columns", COLUMNS, ids=str)
@pytest.mark.parametrize("order", ["in turns", "one by one", "threads"])
def test_columns_are_told_ahead_in_whatever_order(columns: list[int], order: str) -> None:
    turns = [group + column for group in ROW_GROUPS for column in columns]
    one_by_one = [group + column for column in columns for group in ROW_GROUPS]
    watched = Watched()
    watched.all({"in turns": turns, "one by one": one_by_one, "threads": shuffled(turns, 4)}[order], limit=40 * GROUP)
    assert watched.hits >= 0.8 * len(turns)
    assert watched.in_vain <= 0.3 * len(watched.read_blocks) * BLOCK_SIZE


def test_the_nearest_are_told_first_and_none_twice() -> None:
    watched = Watched()
    watched.all([at * GROUP for at in range(20, 25)])
    here = 24 * GROUP
    distances = [abs(begin - here) for begin, _ in watched.told]
    assert distances[0] <= GROUP + CHUNK
    assert len(set(watched.told)) == len(watched.told)
    assert not any(begin <= at * GROUP < end for begin, end in watched.told for at in range(20, 24)), "they were read"


def test_nothing_is_told_beyond_the_end_or_before_the_start() -> None:
    watched, limit = Watched(), 7 * GROUP + 100
    for at in (0, 1, 2, 3, 4, 5, 6):
        watched.run(at * GROUP, at * GROUP + CHUNK, limit=limit)
    assert watched.told
    assert all(0 <= begin < end <= limit for begin, end in watched.told)
    assert max(end for _, end in watched.told) == limit


def test_distances_that_differ_a_little_are_told_with_room() -> None:
    chance = random.Random(5)
    places = [at * GROUP + chance.randrange(100) for at in range(40)]
    watched = Watched()
    watched.all(places)
    assert watched.hits >= 25


@pytest.mark.parametrize("seed", range(5))
def test_random_places_are_hardly_ever_a_pattern(seed: int) -> None:
    chance, watched = random.Random(seed), Watched()
    watched.all((chance.randrange(1 << 30) for _ in range(400)), size=4096)
    assert len(watched.told) <= 2 * MOST_AHEAD, "by chance, and not again and again"


def test_a_pattern_that_ends_is_given_up() -> None:
    chance, watched = random.Random(2), Watched()
    watched.all(ROW_GROUPS[:10])
    assert watched.runs.told
    watched.all((chance.randrange(1 << 40, 1 << 41) for _ in range(20)), size=4096)
    assert not watched.runs.told


# -- what it may cost --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("to"), st.integers(0, 1 << 33)),
            st.tuples(st.just("row"), st.sampled_from([MiB + 1, 3 * MiB, GROUP])),
            st.tuples(st.just("trap"), st.sampled_from([2 * MiB, 7 * MiB])),
        ),
        max_size=40,
    ),
    st.sampled_from([100, 4096, CHUNK, MiB]),
    st.integers(1, 3),
)
def test_what_is_told_in_vain_is_bounded_by_what_was_right(
    steps: list[tuple[str, int]], size: int, pieces: int
) -> None:
    """A trap looks like a pattern for as long as it takes to believe in it, and then is none."""
    watched, at = Watched(), 0
    for step, by in steps:
        if step == "to":
            watched.run(by, by + size, pieces)
            at = by
        elif step == "row":
            for _ in range(12):
                at += by
                watched.run(at, at + size, pieces)
        else:
            for _ in range(EVIDENCE + 1):
                at += by
                watched.run(at, at + size, pieces)
            at += 5 * GROUP + by // 3
    right = {block for begin, end in watched.told for block in blocks(begin, end)} & watched.read_blocks
    # What was right brings the whole of what was told there: a run may turn out shorter than the others.
    longest = max((len(blocks(*span)) for span in watched.told), default=0)
    assert watched.in_vain <= CREDIT + RETURN * max(len(right), watched.hits) * longest * BLOCK_SIZE
    assert all(begin < end for begin, end in watched.told)


@pytest.mark.parametrize("size", [100, 4096, CHUNK, MiB])
def test_traps_cost_the_credit_and_no_more(size: int) -> None:
    """In bytes that are fetched, which are whole blocks: a trap of 100 bytes costs a block too."""
    chance, watched = random.Random(1), Watched()
    for _ in range(300):
        at, by = chance.randrange(1 << 38), chance.randrange(2 * MiB, 8 * MiB)
        watched.all((at + n * by for n in range(EVIDENCE + 1)), size=size)
    assert watched.told
    assert watched.in_vain <= CREDIT


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 32), st.integers(1, 20 * MiB)), min_size=1, max_size=60),
    st.integers(1, 1 << 32),
)
def test_whatever_is_read_the_answers_keep_their_bounds(reads: list[tuple[int, int]], limit: int) -> None:
    runs = Runs()
    for start, size in reads:
        wanted = runs.read(start, start + size)
        assert start + size <= wanted <= max(start + size + FOLLOW, start + LONGEST_GUESS)
        told = runs.ahead(limit)
        assert len(told) <= MOST_AHEAD
        assert all(0 <= begin < end <= limit for begin, end in told)


# -- lengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("differ", "least"), [(1, 18), (100_000, 9)])
def test_after_the_first_few_a_member_is_one_request(differ: int, least: int) -> None:
    """A header of 30 bytes and then the data: as much as the longer of the last two is asked for at once."""
    runs, chance, whole = Runs(), random.Random(7), []
    for at in range(0, 200 * MiB, 10 * MiB):
        size = 500_000 + chance.randrange(differ)
        answer = runs.read(at, at + 30)
        whole.append(answer >= at + size)
        runs.read(at + 30, at + 30 + BLOCK_SIZE)
        runs.read(at + 30 + BLOCK_SIZE, at + size)
    assert whole[:2] == [False, False]
    assert sum(whole) >= least


def test_the_guess_stands_where_the_beginning_was_here_already() -> None:
    """Then no request is made for the first read, and the second asks for the rest of what is usual."""
    runs = Runs()
    for at in (0, 10 * MiB):
        runs.read(at, at + 1000)
        runs.read(at + 1000, at + 500_000)
    assert runs.read(30 * MiB, 30 * MiB + 1000) == 30 * MiB + 500_000
    assert runs.read(30 * MiB + 1000, 30 * MiB + 2000) == 30 * MiB + 500_000


def test_one_that_goes_on_at_first_asks_for_as_much_again() -> None:
    runs = Runs()
    assert runs.read(MiB, MiB + 1000) == MiB + 1000
    assert runs.read(MiB + 1000, MiB + 5000) == MiB + 9000
    assert runs.read(MiB + 5000, MiB + 6000) == MiB + 6000, "only once: what goes on for longer is a scan"
    runs = Runs()
    runs.read(MiB, MiB + 1000)
    assert runs.read(MiB + 1000, 3 * MiB) == 3 * MiB + FOLLOW


def test_random_reads_ask_for_just_themselves() -> None:
    runs, chance = Runs(), random.Random(3)
    for _ in range(200):
        at = chance.randrange(1 << 40)
        assert runs.read(at, at + 4096) == at + 4096


def test_the_longest_guess_is_bounded() -> None:
    runs = Runs()
    for at in range(0, 5 * 100 * MiB, 100 * MiB):
        assert runs.read(at, at + 100) <= at + LONGEST_GUESS
        runs.read(at + 100, at + 50 * MiB)


def test_a_run_like_the_last_ones_is_usual_and_a_longer_one_is_not() -> None:
    runs = Runs()
    assert not runs.usual
    for at in (0, 10 * MiB, 20 * MiB):
        runs.read(at, at + 100)
        runs.read(at + 100, at + 100_000)
    assert runs.usual
    runs.read(20 * MiB + 100_000, 20 * MiB + 150_000)
    assert runs.usual
    runs.read(20 * MiB + 150_000, 20 * MiB + 250_000)
    assert not runs.usual, "more than twice as long as those: a scan perhaps"


def test_many_runs_take_no_more_memory() -> None:
    runs = Runs()
    for n in range(6_000):
        runs.read(n * 3 * MiB, n * 3 * MiB + 100)
        runs.ahead(END)
    assert len(runs._begun) == REMEMBERED
