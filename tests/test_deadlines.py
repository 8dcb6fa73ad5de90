"""Deadlines: until when a call has to be over, in the thread that waits for it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

import pytest
from interrupts import interrupted_at

from storagekit import deadlines
from storagekit.deadlines import (
    LONGEST,
    Deadline,
    carried,
    check_timeout,
    expired,
    remaining,
    stepwise,
    within,
    without,
)
from storagekit.errors import InvalidArgumentError


def test_what_is_left() -> None:
    assert remaining() is None
    with within(Deadline(60.0)):
        left = remaining()
        assert left is not None
        assert 50 < left <= 60
    assert remaining() is None


def test_none_changes_nothing() -> None:
    with within(None):
        assert remaining() is None
    with within(60.0), within(None):
        assert remaining() is not None


def test_the_earlier_one_holds() -> None:
    with within(60.0):
        with within(600.0):
            assert (remaining() or 600) <= 60
        with within(6.0):
            assert (remaining() or 60) <= 6
        assert (remaining() or 0) > 6


def test_no_time_is_left_and_never_less() -> None:
    past = Deadline(1.0)
    past.at -= 100
    with within(past):
        assert remaining() == 0.0
        with without():
            assert remaining() is None
        assert remaining() == 0.0


def test_an_error_ends_it() -> None:
    with pytest.raises(KeyError), within(60.0):
        raise KeyError
    assert remaining() is None


@pytest.mark.parametrize("keep", [False, True])
def test_an_interrupt_ends_it_wherever_it_comes(keep: bool) -> None:
    deadline = Deadline(60.0)  # as the options of a handle keep theirs
    places = 0

    def step() -> None:
        with within(deadline if keep else 60.0):
            assert remaining() is not None

    while interrupted_at(places + 1, [deadlines.__file__], step):
        places += 1
        assert remaining() is None, f"place {places}"
    assert places > 5


def test_the_error_says_how_long_and_for_what() -> None:
    with within(2.5):
        error = expired("s3://box/key", "nobody answered")
    assert isinstance(error, TimeoutError)
    assert (error.errno, error.filename) == (errno.ETIMEDOUT, "s3://box/key")
    assert error.strerror == "The call took longer than its timeout of 2.5 s: nobody answered"


def test_other_threads_have_none_unless_it_is_carried() -> None:
    seen: list[float | None] = []
    with within(60.0):
        look = lambda: seen.append(remaining())  # noqa: E731
        for work in (look, carried(look)):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    assert seen[0] is None
    assert seen[1] is not None
    assert carried(look) is look


def test_each_step_has_its_own() -> None:
    def items() -> Iterator[float | None]:
        yield remaining()
        yield remaining()

    found = stepwise(items(), 60.0)
    first = next(found)
    assert remaining() is None, "between two steps nothing holds"
    second = next(found)
    assert first is not None
    assert second is not None
    assert 50 < second <= 60
    assert list(found) == []


def test_steps_before_one_deadline() -> None:
    past = Deadline(1.0)
    past.at -= 100

    def items() -> Iterator[float | None]:
        yield remaining()

    assert list(stepwise(items(), past)) == [0.0]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "5", True, b"", [1], LONGEST + 1, 1e10, 10**400])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout must be a number of seconds above 0"):
        check_timeout(value, "s3://box")


def test_what_is_a_time() -> None:
    assert check_timeout(None, "s3://box") is None
    assert check_timeout(5, "s3://box") == 5.0
    assert check_timeout(LONGEST, "s3://box") == LONGEST
    assert repr(deadlines.Deadline(5)) == "<Deadline of 5 s>"


def test_the_longest_time_is_one_that_a_socket_waits_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(LONGEST)
        threading.Timer(0.1, theirs.send, (b"x",)).start()
        assert ours.recv(1) == b"x"
