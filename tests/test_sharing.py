"""sharing: a place counts once, and only while somebody reads there."""

from __future__ import annotations

from storagekit.sharing import ACTIVE_SECONDS, COUNT_SECONDS, Scan, Scans


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def scanning(scans: Scans, *places: str) -> list[Scan]:
    """A handle that reads at each place."""
    handles = []
    for place in places:
        handles.append(Scan())
        scans.read(handles[-1])
        scans.move(handles[-1], (place, 0))
    return handles


def test_handles_at_one_place_count_once() -> None:
    scans = Scans(Clock())
    assert scans.count() == 0
    one, two, other = scanning(scans, "a", "a", "b")
    assert scans.count() == 2
    scans.move(one, None)
    assert scans.count() == 2
    scans.move(two, ("b", 0))
    assert scans.count() == 1
    scans.move(two, None)
    scans.move(other, None)
    assert scans.count() == 0
    assert not scans._at


def test_one_is_alone_where_no_other_scans() -> None:
    scans = Scans(Clock())
    one, two, other = scanning(scans, "a", "a", "b")
    assert [scans.alone(scan) for scan in (one, two, other)] == [False, False, True]
    scans.move(two, None)
    assert [scans.alone(scan) for scan in (one, two, other)] == [True, False, True]


def test_a_handle_that_is_left_open_takes_nothing_after_a_moment() -> None:
    clock = Clock()
    scans = Scans(clock)
    busy, *_ = scanning(scans, "busy", *(f"idle {n}" for n in range(100)))
    assert scans.count() == 101
    clock.now += ACTIVE_SECONDS + COUNT_SECONDS
    scans.read(busy)
    assert scans.count() == 1


def test_one_that_reads_on_counts_again() -> None:
    clock = Clock()
    scans = Scans(clock)
    (scan,) = scanning(scans, "a")
    clock.now += 10 * ACTIVE_SECONDS
    assert scans.count() == 0
    scans.read(scan)
    clock.now += 2 * COUNT_SECONDS
    assert scans.count() == 1


def test_moving_twice_is_moving_once() -> None:
    scans = Scans(Clock())
    (scan,) = scanning(scans, "a")
    scans.move(scan, ("a", 0))
    scans.move(scan, None)
    scans.move(scan, None)
    assert scans.count() == 0
