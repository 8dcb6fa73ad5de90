"""readahead: when a window opens, what it asks for, when it grows and when it closes. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.readahead import FIRST, LARGEST_REQUEST, OPENS, PIECES, STRIDE, Window
from storagekit.settings import BLOCK_SIZE

KiB = 1024
MiB = 1024 * KiB
END = 1 << 40
MOST = 128 * MiB


@dataclass
class Watched:
    """A window, and what it asked for since it opened last."""

    window: Window = field(default_factory=Window)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, start: int, stop: int, limit: int = END, most: int = MOST) -> tuple[int, int] | None:
        was_open = self.window.size > 0
        answer = self.window.read(start, stop, limit=limit, most=most)
        if not (was_open and self.window.size):
            self.asked.clear()
        if answer is not None:
            self.asked.append(answer)
        return answer

    def scan(self, start: int, count: int, size: int = BLOCK_SIZE, limit: int = END, most: int = MOST) -> None:
        for n in range(count):
            self.read(start + n * size, start + (n + 1) * size, limit, most)


# -- what holds whatever is read ---------------------------------------------------------------------------

sizes = st.sampled_from([1, 512, 4096, BLOCK_SIZE, BLOCK_SIZE + 1, 300_000, 1 << 20, 5 << 20])
steps = st.one_of(
    st.tuples(st.just("on"), st.integers(0, 0)),
    st.tuples(st.just("skip"), st.integers(1, 3 * STRIDE)),
    st.tuples(st.just("back"), st.integers(1, 3 * STRIDE)),
    st.tuples(st.just("to"), st.integers(0, 64 << 20)),
    st.tuples(st.just("stall"), st.integers(0, 0)),
    st.tuples(st.just("wide"), st.integers(0, 64 << 20)),
)
room = st.sampled_from([0, 1, 5_000, BLOCK_SIZE, 700_000, 4 << 20, MOST])


@settings(deadline=None)
@given(st.integers(1, 64 << 20), st.lists(st.tuples(steps, sizes, room), max_size=60))
def test_whatever_is_read_the_window_keeps_its_bounds(
    limit: int, reads: list[tuple[tuple[str, int], int, int]]
) -> None:
    watched = Watched()
    window, position = watched.window, 0
    for (step, by), size, most in reads:
        if step == "stall":
            window.stalled()
            continue
        if step == "wide":
            position = min(by, limit - 1)
            window.open_wide(position, most=most)
            watched.asked.clear()
            continue
        position = {"on": position, "skip": position + by, "back": max(0, position - by), "to": by}[step]
        position = min(position, limit - 1)
        stop = min(position + size, limit)
        answer = watched.read(position, stop, limit, most)
        assert 0 <= window.size <= most
        if answer is not None:
            begin, end = answer
            assert position <= begin < end <= limit
            assert end <= stop + window.size
            # Within one open window no byte is asked for twice, and the requests go forward.
            for before, after in pairwise(watched.asked):
                assert before[1] <= after[0]
        assert FIRST <= window.request <= LARGEST_REQUEST
        position = stop


@settings(deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.integers(STRIDE + 1, 1 << 30), max_size=50), st.data())
def test_jumps_never_open_it(start: int, jumps: list[int], data: st.DataObject) -> None:
    window, position = Window(), start
    for jump in jumps:
        size = data.draw(st.sampled_from([1, 4096, BLOCK_SIZE]))
        forward = data.draw(st.booleans()) or position < jump
        position = position + jump if forward else position - jump
        assert window.read(position, position + size, limit=END, most=MOST) is None
        assert window.size == 0
        position += size


@settings(deadline=None)
@given(st.lists(st.integers(1, STRIDE), min_size=1, max_size=30))
def test_reading_backwards_never_opens_it(steps_back: list[int]) -> None:
    window, position = Window(), 1 << 30
    for back in steps_back:
        position -= back
        assert window.read(position, position + 1, limit=END, most=MOST) is None


@settings(deadline=None)
@given(st.integers(1, 200), st.sampled_from([BLOCK_SIZE, 100_000, 1 << 20]), st.sampled_from([0, 3 << 20]))
def test_a_scan_is_asked_for_without_a_gap(count: int, size: int, start: int) -> None:
    watched = Watched()
    watched.scan(start, count, size)
    for before, after in pairwise(watched.asked):
        assert before[1] == after[0]
    if watched.window.size:
        # At least half of the window is on its way at every moment.
        assert watched.asked[-1][1] >= start + count * size + watched.window.size // 2


# -- opening -----------------------------------------------------------------------------------------------


def test_a_scan_from_the_start_opens_at_the_second_read() -> None:
    window = Window()
    assert window.read(0, BLOCK_SIZE, limit=END, most=MOST) is None
    assert window.read(BLOCK_SIZE, 2 * BLOCK_SIZE, limit=END, most=MOST) == (BLOCK_SIZE, 2 * BLOCK_SIZE + FIRST)


def test_a_scan_from_the_middle_opens_at_the_third_read() -> None:
    window, at = Window(), 7 * MiB
    assert window.read(at, at + 100, limit=END, most=MOST) is None
    assert window.read(at + 100, at + 200, limit=END, most=MOST) is None
    assert window.read(at + 200, at + 300, limit=END, most=MOST) == (at + 200, at + 300 + FIRST)


@pytest.mark.parametrize("stride", [513, 20 * KiB, 700 * KiB, STRIDE])
def test_short_strides_open_it_after_a_few(stride: int) -> None:
    """The headers of a tar archive: 512 bytes here, 512 a member further on."""
    window, opened = Window(), None
    for n in range(OPENS + 1):
        start = 5 * MiB + n * (512 + stride)
        if window.read(start, start + 512, limit=END, most=MOST) is not None:
            opened = n
            break
    assert opened == OPENS


def test_a_stride_beyond_what_was_asked_for_closes_it() -> None:
    watched = Watched()
    watched.scan(0, 3)
    assert watched.window.size == FIRST
    far = watched.asked[-1][1] + STRIDE + 1
    assert watched.read(far, far + 1) is None
    assert watched.window.size == 0


def test_a_jump_within_what_was_asked_for_keeps_it() -> None:
    watched = Watched()
    watched.scan(0, 3)
    for _ in range(4):
        watched.window.stalled()
    watched.scan(3 * BLOCK_SIZE, 1)
    inside = watched.asked[-1][1] - BLOCK_SIZE
    assert inside > 4 * BLOCK_SIZE + STRIDE
    watched.read(inside, inside + 1)
    assert watched.window.size > 0


def test_a_short_step_back_keeps_it_and_a_long_one_does_not() -> None:
    watched = Watched()
    watched.scan(0, 40)
    size, at = watched.window.size, 40 * BLOCK_SIZE
    assert size
    watched.read(at - STRIDE, at - STRIDE + 1)
    assert watched.window.size == size
    watched.read(at - 2 * STRIDE, at - 2 * STRIDE + 1)
    assert watched.window.size == 0


def test_after_closing_it_opens_anew_where_the_reads_are() -> None:
    watched = Watched()
    watched.scan(0, 20)
    watched.scan(50 * MiB, 1)
    assert watched.window.size == 0
    watched.scan(50 * MiB + BLOCK_SIZE, 2)
    assert watched.asked == [(50 * MiB + 2 * BLOCK_SIZE, 50 * MiB + 3 * BLOCK_SIZE + FIRST)]


# -- growing -----------------------------------------------------------------------------------------------


def test_without_a_stall_it_never_grows() -> None:
    watched = Watched()
    watched.scan(0, 500)
    assert watched.window.size == FIRST


def test_every_stall_doubles_it_up_to_the_most() -> None:
    watched, sizes_seen = Watched(), []
    watched.scan(0, 2)
    for n in range(2, 12):
        watched.window.stalled()
        watched.scan(n * BLOCK_SIZE, 1, most=6 * MiB)
        sizes_seen.append(watched.window.size)
    assert sizes_seen[:3] == [2 * MiB, 4 * MiB, 6 * MiB]
    assert set(sizes_seen[3:]) == {6 * MiB}


def test_a_stall_of_a_closed_window_opens_nothing() -> None:
    window = Window()
    window.stalled()
    assert window.size == 0
    assert window.read(0, 1, limit=END, most=MOST) is None


def test_less_room_shrinks_it_at_once() -> None:
    watched = Watched()
    watched.scan(0, 2)
    for _ in range(6):
        watched.window.stalled()
    watched.scan(2 * BLOCK_SIZE, 1, most=MOST)
    assert watched.window.size == 64 * MiB
    watched.scan(3 * BLOCK_SIZE, 1, most=2 * MiB)
    assert watched.window.size == 2 * MiB


def test_no_room_asks_for_nothing() -> None:
    watched = Watched()
    watched.scan(0, 50, most=0)
    assert watched.asked == []


# -- asking ------------------------------------------------------------------------------------------------


def test_it_asks_again_when_half_is_consumed() -> None:
    watched, asked_at = Watched(), []
    for n in range(60):
        if watched.read(n * BLOCK_SIZE, (n + 1) * BLOCK_SIZE) is not None:
            asked_at.append(n)
    gaps = {after - before for before, after in pairwise(asked_at)}
    assert gaps == {FIRST // BLOCK_SIZE // 2}


def test_nothing_is_asked_for_at_the_end() -> None:
    watched, limit = Watched(), 10 * BLOCK_SIZE
    watched.scan(0, 10, limit=limit)
    assert watched.asked == [(BLOCK_SIZE, limit)]


def test_a_long_read_is_asked_for_at_once_and_no_further() -> None:
    watched = Watched()
    watched.window.open_wide(3, most=64 * MiB)
    assert watched.read(3, 3 + 8 * MiB, limit=30 * MiB) == (3, 30 * MiB)
    assert watched.read(3 + 8 * MiB, 3 + 16 * MiB, limit=30 * MiB) is None


def test_requests_are_pieces_of_the_window() -> None:
    window = Window()
    assert window.request == FIRST
    window.open_wide(0, most=PIECES * 3 * MiB)
    assert window.request == 3 * MiB
    window.open_wide(0, most=1 << 40)
    assert window.request == LARGEST_REQUEST


def test_what_was_not_granted_is_asked_for_again() -> None:
    window = Window()
    window.read(0, 65536, limit=1 << 30, most=1 << 26)
    assert window.read(65536, 131072, limit=1 << 30, most=1 << 26) == (65536, 131072 + (1 << 20))
    window.granted(196608)
    assert window.read(131072, 196608, limit=1 << 30, most=1 << 26) == (196608, 196608 + (1 << 20))
