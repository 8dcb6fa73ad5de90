"""readahead: when a window opens, what it asks for, when it grows and when it closes. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.pace import LARGEST_REQUEST, SMALLEST_REQUEST
from storagekit.readahead import FIRST, GROWTH, LEAD, LONG, OPENS, RAMP, STRIDE, Room, Window
from storagekit.settings import BLOCK_SIZE

KiB = 1024
MiB = 1024 * KiB
END = 1 << 40
MOST = 128 * MiB
ROOM = Room(MOST)


@dataclass
class Watched:
    """A window, and what it asked for since it opened last."""

    window: Window = field(default_factory=Window)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, start: int, stop: int, limit: int = END, most: int = MOST) -> tuple[int, int] | None:
        was_open = self.window.size > 0
        answer = self.window.read(start, stop, limit=limit, room=Room(most))
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
            window.open_wide(position, size)
            watched.asked.clear()
            continue
        position = {"on": position, "skip": position + by, "back": max(0, position - by), "to": by}[step]
        position = min(position, limit - 1)
        stop = min(position + size, limit)
        answer = watched.read(position, stop, limit, most)
        assert 0 <= window.size <= most
        assert watched.window.request <= LARGEST_REQUEST
        if answer is not None:
            begin, end = answer
            assert position <= begin < end <= limit
            assert end <= stop + window.size
            # Within one open window no byte is asked for twice, and the requests go forward.
            for before, after in pairwise(watched.asked):
                assert before[1] <= after[0]
        assert window.request >= (min(SMALLEST_REQUEST, max(BLOCK_SIZE, most // 2)) if window.size else BLOCK_SIZE)
        position = stop


@settings(deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.integers(STRIDE + 1, 1 << 30), max_size=50), st.data())
def test_jumps_never_open_it(start: int, jumps: list[int], data: st.DataObject) -> None:
    window, position = Window(), start
    for jump in jumps:
        size = data.draw(st.sampled_from([1, 4096, BLOCK_SIZE]))
        forward = data.draw(st.booleans()) or position < jump
        position = position + jump if forward else position - jump
        assert window.read(position, position + size, limit=END, room=ROOM) is None
        assert window.size == 0
        position += size


@settings(deadline=None)
@given(st.lists(st.integers(1, STRIDE), min_size=1, max_size=30))
def test_reading_backwards_never_opens_it(steps_back: list[int]) -> None:
    window, position = Window(), 1 << 30
    for back in steps_back:
        position -= back
        assert window.read(position, position + 1, limit=END, room=ROOM) is None


@settings(deadline=None)
@given(st.integers(1, 200), st.sampled_from([BLOCK_SIZE, 100_000, 1 << 20]), st.sampled_from([0, 3 << 20]))
def test_a_scan_is_asked_for_without_a_gap(count: int, size: int, start: int) -> None:
    watched = Watched()
    watched.scan(start, count, size)
    for before, after in pairwise(watched.asked):
        assert before[1] == after[0]
    if watched.window.size:
        # At least half of the window is on its way at every moment, but for a request that is too large for the rest.
        ahead = watched.asked[-1][1] - (start + count * size)
        assert ahead > watched.window.size // 2 or ahead + watched.window.request > watched.window.size


# -- opening -----------------------------------------------------------------------------------------------


def test_a_scan_from_the_start_opens_at_the_second_read() -> None:
    window = Window()
    assert window.read(0, BLOCK_SIZE, limit=END, room=ROOM) is None
    assert window.read(BLOCK_SIZE, 2 * BLOCK_SIZE, limit=END, room=ROOM) == (BLOCK_SIZE, 2 * BLOCK_SIZE + FIRST)


def test_a_scan_from_the_middle_opens_at_the_third_read() -> None:
    window, at = Window(), 7 * MiB
    assert window.read(at, at + 100, limit=END, room=ROOM) is None
    assert window.read(at + 100, at + 200, limit=END, room=ROOM) is None
    assert window.read(at + 200, at + 300, limit=END, room=ROOM) == (at + 200, at + 300 + FIRST)


@pytest.mark.parametrize("stride", [513, 20 * KiB, 700 * KiB, STRIDE])
def test_short_strides_open_it_after_a_few(stride: int) -> None:
    """The headers of a tar archive: 512 bytes here, 512 a member further on."""
    window, opened = Window(), None
    for n in range(OPENS + 1):
        start = 5 * MiB + n * (512 + stride)
        if window.read(start, start + 512, limit=END, room=ROOM) is not None:
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


def test_who_jumps_over_most_of_it_is_no_scanner() -> None:
    """One short read in every few mebibytes, all within what was asked for: else the whole object would be fetched."""
    watched, position = Watched(), 64 * MiB
    watched.scan(0, 64, size=MiB)
    watched.window.stalled()
    for _ in range(60):
        watched.read(position, position + 1000)
        watched.window.stalled()
        position += 3 * MiB
        if not watched.window.size:
            break
    assert watched.window.size == 0
    # It had read 64 MiB.
    assert position <= (64 + 16 + LEAD * 64 + 3 + 3) * MiB


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


def test_a_long_read_from_the_start_opens_it_at_once() -> None:
    """Nobody looks at a header with a read of a mebibyte."""
    window = Window()
    assert window.read(0, LONG - 1, limit=END, room=ROOM) is None
    window = Window()
    assert window.read(0, LONG, limit=END, room=ROOM) == (0, LONG + FIRST)
    window = Window()
    assert window.read(MiB, MiB + LONG, limit=END, room=ROOM) is None, "elsewhere it may be one column of many"


@pytest.mark.parametrize("start", [0, 1, 77 * MiB + 5])
def test_an_eager_one_is_open_wherever_the_reads_are(start: int) -> None:
    window = Window(eager=True)
    assert window.read(start, start + 10, limit=END, room=ROOM) == (start, start + 10 + FIRST)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 30), min_size=1, max_size=20), st.booleans())
def test_an_eager_one_that_jumps_asks_for_what_follows_there(places: list[int], stalled: bool) -> None:
    window, asked = Window(eager=True), dict[int, list[int]]()
    for place in places:
        for at in range(place, place + 8 * BLOCK_SIZE, BLOCK_SIZE):
            if stalled:
                window.stalled()
            answer = window.read(at, at + BLOCK_SIZE, limit=END, room=ROOM)
            if answer is not None:
                asked.setdefault(place, []).append(answer[1])
    far = [place for before, place in pairwise(places) if abs(place - before) > 256 * MiB]
    for place in far:
        assert place in asked, "read-ahead stands still after a jump"


def test_on_hold_it_does_not_open_and_an_open_one_stays() -> None:
    window, size = Window(), BLOCK_SIZE
    for n in range(50):
        assert window.read(n * size, (n + 1) * size, limit=END, room=ROOM, hold=True) is None
    assert window.size == 0
    assert window.read(50 * size, 51 * size, limit=END, room=ROOM) is not None
    window.read(51 * size, 52 * size, limit=END, room=ROOM, hold=True)
    assert window.size == FIRST


def test_it_expects_what_goes_on_and_nothing_while_it_is_closed() -> None:
    window, size = Window(), BLOCK_SIZE
    assert not window.expects(0)
    window.read(0, size, limit=END, room=ROOM)
    assert not window.expects(size)
    window.read(size, 2 * size, limit=END, room=ROOM)
    expected = {at: window.expects(at) for at in (2 * size - 1, 2 * size, 2 * size + STRIDE, 2 * size + STRIDE + 1)}
    assert list(expected.values()) == [False, True, True, False]


# -- growing -----------------------------------------------------------------------------------------------


def test_without_a_stall_it_never_grows() -> None:
    watched = Watched()
    watched.scan(0, 500)
    assert watched.window.size == FIRST


def test_every_stall_multiplies_it_up_to_the_most() -> None:
    watched, sizes_seen = Watched(), []
    watched.scan(0, 2)
    for n in range(2, 12):
        watched.window.stalled()
        watched.scan(n * BLOCK_SIZE, 1, most=10 * MiB)
        sizes_seen.append(watched.window.size)
    assert sizes_seen[:2] == [GROWTH * MiB, 10 * MiB]
    assert set(sizes_seen[2:]) == {10 * MiB}


def test_it_leads_by_a_multiple_of_what_was_read() -> None:
    """Beyond the start, which is fast: who stops early has not caused the whole object to be fetched."""
    window, opened = Window(), 3 * MiB + 2 * BLOCK_SIZE  # at the third read
    for at in range(3 * MiB, 200 * MiB, BLOCK_SIZE):
        window.read(at, at + BLOCK_SIZE, limit=END, room=ROOM)
        assert window.size <= max(RAMP, LEAD * (at + BLOCK_SIZE - opened))
        window.stalled()
    window.read(200 * MiB, 200 * MiB + BLOCK_SIZE, limit=END, room=ROOM)
    assert window.size == MOST


chunks = st.one_of(
    st.integers(4096, 64 * KiB), st.sampled_from([n * MiB // 4 for n in (1, 2, 4, 7, 8, 20, 31, 33, 40)])
)


@settings(deadline=None)
@given(st.integers(0, 1 << 35), chunks, st.booleans())
def test_ten_mebibytes_of_a_huge_object_cost_thirty_two(start: int, chunk: int, eager: bool) -> None:
    """Whatever the reads are, and though each had to wait; a read above the largest request comes in pieces."""
    watched, stop, position = Watched(Window(eager=eager)), start + 10 * MiB, start
    furthest = 0
    while position < stop:
        count = min(chunk, stop - position)
        if count > LARGEST_REQUEST:
            watched.window.open_wide(position, count)
        for at in range(position, position + count, LARGEST_REQUEST):
            end = min(at + LARGEST_REQUEST, position + count)
            asked = watched.read(at, end)
            furthest = max(furthest, end, asked[1] if asked else 0)
            watched.window.stalled()
        position += count
    assert furthest <= start + 32 * MiB


def test_a_stall_of_a_closed_window_opens_nothing() -> None:
    window = Window()
    window.stalled()
    assert window.size == 0
    assert window.read(0, 1, limit=END, room=ROOM) is None


def test_less_room_shrinks_it_at_once() -> None:
    watched = Watched()
    watched.scan(0, 40, size=MiB)
    for _ in range(6):
        watched.window.stalled()
    watched.scan(40 * MiB, 1, most=MOST)
    assert watched.window.size > 80 * MiB
    watched.scan(40 * MiB + BLOCK_SIZE, 1, most=2 * MiB)
    assert watched.window.size == 2 * MiB


def test_no_room_asks_for_nothing() -> None:
    watched = Watched()
    watched.scan(0, 50, most=0)
    assert watched.asked == []


# -- asking ------------------------------------------------------------------------------------------------


def test_it_asks_again_in_whole_requests_as_they_are_consumed() -> None:
    watched, chunk = Watched(), 256 * KiB
    watched.scan(0, 40, size=MiB)
    watched.window.stalled()
    watched.window.stalled()
    watched.scan(40 * MiB, 200, size=chunk)
    size, request = watched.window.size, watched.window.request
    assert (size, request) == (16 * MiB, SMALLEST_REQUEST)
    later = [stop - start for start, stop in watched.asked[-20:]]
    assert set(later) == {request}
    assert watched.asked[-1][1] - (40 * MiB + 200 * chunk) > size - request - chunk


def test_nothing_is_asked_for_at_the_end() -> None:
    watched, limit = Watched(), 10 * BLOCK_SIZE
    watched.scan(0, 10, limit=limit)
    assert watched.asked == [(BLOCK_SIZE, limit)]


def test_a_long_read_is_asked_for_at_once_and_no_further_than_the_limit() -> None:
    watched = Watched()
    watched.window.open_wide(3, 64 * MiB)
    assert watched.read(3, 3 + 8 * MiB, limit=30 * MiB) == (3, 30 * MiB)
    assert watched.read(3 + 8 * MiB, 3 + 16 * MiB, limit=30 * MiB) is None


def test_a_long_read_leads_by_no_more_than_it_is_long() -> None:
    watched = Watched()
    watched.window.open_wide(0, 100 * MiB)
    watched.read(0, 8 * MiB)
    assert watched.asked[-1][1] <= 108 * MiB
    for at in range(8, 96, 8):
        watched.read(at * MiB, (at + 8) * MiB)
    assert watched.asked[-1][1] <= (96 + LEAD * 96) * MiB


@pytest.mark.parametrize("there", [0, 500 * MiB])
def test_a_long_read_elsewhere_begins_anew(there: int) -> None:
    watched = Watched()
    watched.scan(200 * MiB, 100, size=MiB)
    watched.window.open_wide(there, 20 * MiB)
    assert watched.read(there, there + 8 * MiB) == (there, there + 8 * MiB + RAMP)


def test_requests_are_parts_of_the_window() -> None:
    window = Window()
    assert window.request == SMALLEST_REQUEST
    for size, request in (
        (24 * 3 * MiB, 3 * MiB),
        (1 << 40, LARGEST_REQUEST),
        (4 * MiB, SMALLEST_REQUEST),
        (MiB, MiB // 2),
        (1, BLOCK_SIZE),
    ):
        window = Window()
        window.open_wide(0, size + 1)
        window.read(0, 1, limit=END, room=Room(size))
        assert window.request == request
    window.open_wide(0, 64 * MiB)
    window.read(0, 1, limit=END, room=Room(64 * MiB, connections=2, request=5 * MiB))
    assert window.request == 5 * MiB, "no larger than the pace says"


def test_what_was_not_granted_is_asked_for_again() -> None:
    window = Window()
    window.read(0, 65536, limit=1 << 30, room=Room(1 << 26))
    assert window.read(65536, 131072, limit=1 << 30, room=Room(1 << 26)) == (65536, 131072 + (1 << 20))
    window.granted(196608)
    assert window.read(131072, 196608, limit=1 << 30, room=Room(1 << 26)) == (196608, 196608 + (1 << 20))
