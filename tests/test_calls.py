"""Calls: what goes along with a call of the user's to the hooks."""

from __future__ import annotations

import pickle

import pytest

from storagekit.calls import CallOptions, is_timed, limit, timeout_of
from storagekit.deadlines import remaining


def test_they_are_the_options() -> None:
    options = CallOptions({"profile": "x"})
    assert options == {"profile": "x"}
    assert (is_timed(options), timeout_of(options)) == (False, None)
    with limit(options):
        assert remaining() is None
    assert not is_timed({})
    assert timeout_of({"timeout": 3}) is None


def test_no_value_shows() -> None:
    assert "hunter2" not in repr(CallOptions({"secret": "hunter2"}, 3.0))
    assert "secret" in repr(CallOptions({"secret": "hunter2"}))


def test_a_call_has_one_deadline_for_all_that_it_asks() -> None:
    options = CallOptions({}, 60.0)
    assert options.deadline is not None
    options.deadline.at -= 50
    for _ in range(2):
        with limit(options):
            assert (remaining() or 60) <= 10


def test_a_lazy_call_has_one_for_each_question() -> None:
    options = CallOptions({}, 60.0, lazy=True)
    assert options.deadline is None
    with limit(options):
        assert (remaining() or 0) > 50


def test_what_is_unpickled_begins_anew() -> None:
    options = CallOptions({"a": 1}, 60.0)
    assert options.deadline is not None
    options.deadline.at -= 1000
    found = pickle.loads(pickle.dumps(options))
    assert found == options
    with limit(found):
        assert (remaining() or 0) > 50


@pytest.mark.parametrize("timed", [False, True])
def test_the_time_is_no_part_of_their_equality(timed: bool) -> None:
    assert CallOptions({"a": 1}, 60.0 if timed else None) == CallOptions({"a": 1})
