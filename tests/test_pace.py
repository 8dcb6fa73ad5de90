"""pace: how large requests are, when an answer is overdue, and what counts as fast."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.pace import (
    FAST,
    LARGEST_REQUEST,
    LEAST_PATIENCE,
    NEAR,
    NO_LONGER_FAST,
    PATIENCE,
    SLOW,
    SMALLEST_REQUEST,
    TELLING,
    WAITS,
    Pace,
)

# Long enough to tell a rate.
SIZE = TELLING

samples = st.tuples(
    st.floats(0.0, 100.0), st.integers(0, 1 << 40), st.floats(0.0, 1000.0, allow_nan=False, allow_infinity=False)
)


def paced(first_byte: float, rate: float, times: int = 1) -> Pace:
    pace = Pace()
    for _ in range(times):
        pace.note(first_byte, SIZE, SIZE / rate)
    return pace


def test_before_the_first_sample_nothing_is_known() -> None:
    pace = Pace()
    assert (pace.first_byte, pace.rate, pace.patience, pace.fast) == (None, None, None, False)
    assert pace.request == LARGEST_REQUEST


def test_the_first_sample_is_taken_as_it_is() -> None:
    pace = paced(0.028, 80_000_000)
    assert pace.first_byte == 0.028
    assert pace.rate == pytest.approx(80_000_000)


def test_an_answer_that_is_too_short_tells_nothing() -> None:
    pace = Pace()
    pace.note(9.0, TELLING - 1, 0.0)
    assert pace.rate is None
    pace.note(0.01, TELLING, 0.01)
    assert pace.rate == TELLING / 0.01
    pace.note(9.0, 0, 0.0)
    assert pace.first_byte == 0.01


@given(st.lists(samples, max_size=30))
def test_whatever_is_noted_the_answers_are_within_their_bounds(noted: list[tuple[float, int, float]]) -> None:
    pace = Pace()
    told = []
    for first_byte, size, seconds in noted:
        pace.note(first_byte, size, seconds)
        if size >= TELLING:
            told.append((first_byte, size / max(seconds, 1e-6)))
        assert SMALLEST_REQUEST <= pace.request <= LARGEST_REQUEST
        assert (pace.patience is None) is (not told)
        if told:
            assert pace.first_byte is not None
            assert pace.rate is not None
            assert pace.patience is not None
            assert pace.patience >= LEAST_PATIENCE
            # An average lies between the least and the largest of what went in.
            slack = 1 + 1e-9
            assert min(f for f, _ in told) <= pace.first_byte * slack
            assert pace.first_byte <= max(f for f, _ in told) * slack
            assert min(r for _, r in told) <= pace.rate * slack
            assert pace.rate <= max(r for _, r in told) * slack
            assert pace.fast or pace.rate < FAST or pace.first_byte > NEAR
            assert not pace.fast or pace.rate >= NO_LONGER_FAST


@pytest.mark.parametrize(
    ("first_byte", "rate", "request_size"),
    [
        (0.028, 80_000_000, LARGEST_REQUEST),  # 9 MB would be as much as it waits four times over
        (0.014, 80_000_000, 4_480_000),
        (0.001, 80_000_000, SMALLEST_REQUEST),
        (0.0, 80_000_000, SMALLEST_REQUEST),
        (0.100, 12_000_000, 4_800_000),
        (5.0, 1_000.0, SMALLEST_REQUEST),
    ],
)
def test_a_request_receives_four_times_as_long_as_it_waits(first_byte: float, rate: float, request_size: int) -> None:
    pace = paced(first_byte, rate)
    assert pace.request == pytest.approx(request_size, rel=1e-6)
    if SMALLEST_REQUEST < pace.request < LARGEST_REQUEST:
        assert pace.request / rate == pytest.approx(WAITS * first_byte, rel=1e-3)


def test_patience_is_twice_the_usual_and_never_less_than_what_a_busy_machine_needs() -> None:
    assert paced(0.1, 80e6).patience == pytest.approx(0.1 * PATIENCE)
    assert paced(0.001, 80e6).patience == LEAST_PATIENCE
    assert paced(0.0, 80e6).patience == LEAST_PATIENCE


def test_some_ten_samples_decide() -> None:
    pace = paced(0.1, 10e6, times=50)
    for _ in range(10):
        pace.note(0.02, SIZE, SIZE / 90e6)
    assert pace.first_byte is not None
    assert pace.rate is not None
    assert math.isclose(pace.first_byte, 0.02, rel_tol=0.5)
    assert math.isclose(pace.rate, 90e6, rel_tol=0.15)
    before = pace.rate
    pace.note(0.02, SIZE, SIZE / 10e6)  # and one is an accident
    assert pace.rate > 0.75 * before


def test_what_is_fast_stays_so_until_it_is_much_slower() -> None:
    pace = paced(0.0001, FAST - 1, times=30)
    assert not pace.fast
    between = (FAST + NO_LONGER_FAST) / 2
    pace = paced(0.0001, between, times=30)
    assert not pace.fast
    for _ in range(40):
        pace.note(0.0001, SIZE, SIZE / (2 * FAST))
    assert pace.fast
    for _ in range(100):
        pace.note(0.0001, SIZE, SIZE / between)
    assert pace.fast
    for _ in range(100):
        pace.note(0.0001, SIZE, SIZE / (NO_LONGER_FAST * 0.9))
    assert not pace.fast
    for _ in range(100):
        pace.note(0.0001, SIZE, SIZE / between)
    assert not pace.fast


def test_one_answer_proves_that_a_link_is_not_fast() -> None:
    """What seemed fast came out of buffers, or it is another link now: nothing of the average is to be kept."""
    pace = paced(0.0001, 100 * FAST, times=30)
    assert pace.fast
    pace.note(0.028, SIZE, SIZE / (SLOW * 0.9))
    assert not pace.fast
    assert pace.first_byte == 0.028
    assert pace.rate == pytest.approx(SLOW * 0.9)
    # Where it was not thought to be fast, one slow answer is an accident.
    pace = paced(0.028, FAST * 0.9, times=30)
    pace.note(0.5, SIZE, SIZE / (SLOW / 10))
    assert pace.rate is not None
    assert pace.rate > SLOW


def test_threads_may_note_and_ask_at_the_same_time() -> None:
    pace, begin = Pace(), threading.Barrier(8)
    wrong: list[object] = []

    def work() -> None:
        begin.wait(10)
        for n in range(2000):
            pace.note(0.01 + n % 3 / 100, SIZE, 0.01)
            if not SMALLEST_REQUEST <= pace.request <= LARGEST_REQUEST or pace.patience is None:
                wrong.append(pace.request)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pace.first_byte is not None
    assert 0.01 <= pace.first_byte <= 0.03
