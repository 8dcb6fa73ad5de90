"""ranges: what is a range and what is not, and how far fetching runs ahead of consuming. Arithmetic only."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.errors import InvalidArgumentError
from storagekit.ranges import LARGEST_GAP, Coming, check_position, check_ranges, sought
from storagekit.settings import BLOCK_SIZE

MiB = 1024 * 1024
URL = "toy://box/key"


class Number:
    """A whole number that is no ``int``, as numpy's are."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


def test_a_position_and_a_size_are_a_range() -> None:
    assert check_position(URL, 3, 4) == (3, 7)
    assert check_position(URL, 0, 0) == (0, 0)
    answer = check_position(URL, Number(3), Number(4))  # type: ignore[arg-type]
    assert [type(n) for n in answer] == [int, int]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (-5, -5)])
def test_a_negative_position_is_refused(offset: int, size: int) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_position(URL, offset, size)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, URL)
    assert isinstance(caught.value, ValueError)
    assert str(offset) in str(caught.value)


@pytest.mark.parametrize(("offset", "size"), [(1.0, 1), (0, "1"), (None, 1)])
def test_a_position_is_of_whole_numbers(offset: Any, size: Any) -> None:
    with pytest.raises(TypeError):
        check_position(URL, offset, size)


def test_ranges_may_come_out_of_any_iterable() -> None:
    pairs: Any = [(0, 0), [3, 5], (Number(1), 2)]
    assert check_ranges(URL, iter(pairs)) == [(0, 0), (3, 5), (1, 2)]
    assert check_ranges(URL, []) == []


@pytest.mark.parametrize("wrong", [(-1, 3), (5, 4), (-3, -2)])
def test_what_is_no_range_is_named(wrong: tuple[int, int]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_ranges(URL, [(0, 1), wrong])
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, URL)
    assert str(wrong) in str(caught.value)


@pytest.mark.parametrize("wrong", [5, [5], [(1, 2, 3)], [(1,)], [("1", 2)], [(1.5, 2)], [None]])
def test_what_is_no_list_of_pairs_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_ranges(URL, wrong)


# -- what is coming ----------------------------------------------------------------------------------------


def drained(coming: Coming, position: int) -> list[tuple[int, int]]:
    """Everything that is due at a position, all of it asked for."""
    asked = []
    while (due := coming.due(position)) is not None:
        asked.append(due)
        coming.asked(due[1])
    return asked


def test_neighbours_are_one_and_others_are_not() -> None:
    far = BLOCK_SIZE + LARGEST_GAP
    assert drained(Coming([(0, 10), (far, far + 1)], 64 * MiB), 0) == [(0, far + BLOCK_SIZE)]
    further = far + BLOCK_SIZE
    assert drained(Coming([(0, 10), (further, further + 1)], 64 * MiB), 0) == [
        (0, BLOCK_SIZE),
        (further, further + BLOCK_SIZE),
    ]


def test_no_more_is_asked_for_than_is_kept() -> None:
    coming = Coming([(0, 100 * MiB)], 8 * MiB)
    assert drained(coming, 0) == [(0, 8 * MiB)]
    assert drained(coming, 4 * MiB - 1) == [], "not in crumbs"
    assert drained(coming, 4 * MiB + 1) == [(8 * MiB, 12 * MiB + 1)]
    assert drained(coming, 100 * MiB) == []


def test_without_room_nothing_is_due() -> None:
    assert Coming([(0, 100)], 0).due(0) is None


def test_what_got_no_room_stays_due() -> None:
    coming = Coming([(0, 10 * MiB)], 64 * MiB)
    assert coming.due(0) == (0, 10 * MiB)
    coming.asked(3 * MiB)
    assert coming.due(0) == (3 * MiB, 10 * MiB)
    coming.asked(3 * MiB)
    assert coming.due(5 * MiB) == (5 * MiB, 10 * MiB), "what was consumed without it is not asked for again"


spans = st.lists(st.tuples(st.integers(0, 50 * MiB), st.integers(1, 9 * MiB)), min_size=1, max_size=30)


@settings(deadline=None)
@given(spans, st.sampled_from([0, 1, BLOCK_SIZE, 3 * MiB, 100 * MiB]), st.integers(BLOCK_SIZE, 5 * MiB))
def test_all_is_asked_for_once_and_in_order(given_spans: list[tuple[int, int]], most: int, step: int) -> None:
    ranges = sorted((start, start + size) for start, size in given_spans)
    coming, asked, position = Coming(ranges, most), list[tuple[int, int]](), 0
    for start, stop in ranges:
        position = max(position, start)
        while position < stop:
            asked += drained(coming, position)
            beyond = sum(max(0, end - max(begin, position)) for begin, end in asked)
            assert beyond <= most
            position += step
    assert all(before[1] <= after[0] for before, after in pairwise(asked))
    wanted = set().union(*(range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE)) for start, stop in ranges))
    got = set().union(*(range(begin // BLOCK_SIZE, -(-end // BLOCK_SIZE)) for begin, end in asked))
    gaps = len(ranges) * LARGEST_GAP // BLOCK_SIZE
    assert len(got - wanted) <= gaps
    if most == 100 * MiB:
        assert wanted <= got


@pytest.mark.parametrize(
    ("offset", "whence", "target"),
    [
        (5, os.SEEK_SET, 5),
        (Number(3), os.SEEK_CUR, 10),
        (-7, os.SEEK_CUR, 0),
        (-1, os.SEEK_END, 19),
        (99, os.SEEK_END, 119),
    ],
)
def test_where_a_seek_leads(offset: Any, whence: int, target: int) -> None:
    assert sought(URL, offset, whence, position=7, size=20) == target


@pytest.mark.parametrize(("offset", "whence"), [(-1, os.SEEK_SET), (-8, os.SEEK_CUR), (-21, os.SEEK_END), (0, 7)])
def test_a_seek_that_leads_nowhere(offset: int, whence: int) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        sought(URL, offset, whence, position=7, size=20)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, URL)
