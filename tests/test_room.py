"""room: as many bytes on their way as there is room for, and one part more where nothing else is on its way."""

from __future__ import annotations

import os

from storagekit.room import Room


def test_room_is_taken_and_given_back() -> None:
    room = Room(10)
    assert room.take("a", 6)
    assert not room.take("b", 5)
    assert room.take("c", 4)
    assert room.taken == 10
    room.give("a")
    assert room.take("b", 5)


def test_who_must_may_pass_the_limit() -> None:
    room = Room(10)
    assert room.take("a", 100, must=True)
    assert not room.take("b", 1)
    assert room.take("b", 1, must=True)
    room.give("a")
    room.give("b")
    assert room.taken == 0


def test_to_take_or_give_twice_is_to_do_it_once() -> None:
    room = Room(10)
    assert room.take("a", 6)
    assert room.take("a", 6, must=True)
    assert room.taken == 6
    room.give("a")
    room.give("a")
    assert room.taken == 0


def test_a_child_begins_anew() -> None:
    room = Room(10)
    room.take("a", 10)
    room._lock.acquire()  # as another thread may hold it at the fork
    pid = os.fork()
    if pid == 0:
        os._exit(0 if room.take("b", 10) and room.taken == 10 else 1)
    room._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert room.taken == 10
