"""sending: which parts reach an ObjectWriter, in which order and how many at once, and that each object ends once."""

from __future__ import annotations

import errno
import threading
from functools import partial

import pytest
from interrupts import interrupted_at
from writing_support import HERE, PART, URL, Box, Recorder, some

from storagekit import once, sending
from storagekit import room as room_module
from storagekit import transfers as transfers_module
from storagekit.driver import Stat
from storagekit.errors import OutcomeUnknownError
from storagekit.room import Room
from storagekit.sending import PartSender
from storagekit.transfers import Job, Reaper, Transfers

pytest_plugins = ["writing_support"]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_what_ends_inside_or_exactly_at_part_one_is_one_put(box: Box, size: int, chunk: int) -> None:
    store = Recorder()
    data = some("binary", size)
    with box.open(store) as file:
        for start in range(0, size, chunk):
            assert file.write(data[start : start + chunk]) == len(data[start : start + chunk])
    assert store.calls == ["put"]
    assert store.published == data
    assert file.stat == Stat(HERE, "file", size, identity="v1")


@pytest.mark.parametrize("size", [PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1, 7 * PART, 7 * PART + 3])
@pytest.mark.parametrize("chunk", [1, 7, PART, PART + 1, 1000])
def test_parts_are_cut_at_their_sizes(box: Box, size: int, chunk: int) -> None:
    store = Recorder()
    data = some("binary", size)
    with box.open(store) as file:
        for start in range(0, size, chunk):
            file.write(data[start : start + chunk])
    count = -(-size // PART)
    assert sorted(store.calls) == sorted([f"part {n}" for n in range(1, count + 1)] + ["commit"])
    assert store.calls[-1] == "commit"
    assert store.parts == {n: ((n - 1) * PART, data[(n - 1) * PART : n * PART]) for n in range(1, count + 1)}
    assert store.published == data


def test_part_sizes_may_grow(box: Box) -> None:
    class Growing(Recorder):
        def part_size(self, number: int, /) -> int:
            return 1 << number

    store = Growing()
    with box.open(store) as file:
        file.write(some("binary", 20))
    assert {number: (offset, len(data)) for number, (offset, data) in store.parts.items()} == {
        1: (0, 2),
        2: (2, 4),
        3: (6, 8),
        4: (14, 6),
    }


def test_parts_go_side_by_side_within_the_limit(box: Box) -> None:
    store = Recorder()
    store.held = {n: threading.Event() for n in range(1, 4)}
    writing_done = threading.Event()
    file = box.open(store, limit=3 * PART)

    def write() -> None:
        file.write(some("binary", 10 * PART))
        file.close()
        writing_done.set()

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(3):
        assert store.entered.acquire(timeout=30)
    # Three are in flight and held up; there is no room for a fourth.
    assert not store.entered.acquire(timeout=0.1)
    assert not writing_done.is_set()
    for event in store.held.values():
        event.set()
    thread.join(30)
    assert writing_done.is_set()
    assert store.published == some("binary", 10 * PART)
    assert store.most_in_flight == 3
    assert store.most_bytes == 3 * PART


def test_a_limit_below_one_part_still_writes_one_at_a_time(box: Box) -> None:
    store = Recorder()
    with box.open(store, limit=1) as file:
        file.write(some("binary", 5 * PART))
    assert store.published == some("binary", 5 * PART)
    assert store.most_in_flight == 1


def test_ordered_writers_get_one_part_after_another(box: Box) -> None:
    store = Recorder(ordered=True)
    with box.open(store) as file:
        for start in range(0, 95, 5):
            file.write(some("binary", 95)[start : start + 5])
    assert store.calls == [f"part {n}" for n in range(1, 11)] + ["commit"]
    assert store.most_in_flight == 1
    assert store.published == some("binary", 95)


def test_an_abort_that_fails_is_logged_and_hides_no_error(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    store = Recorder(fail="abort")
    with pytest.raises(ZeroDivisionError), box.open(store) as file:
        file.write(b"x")
        raise ZeroDivisionError
    box.reaper.close()
    assert store.calls == ["abort", "abort"], "it is tried once more, in the background"
    assert len([r for r in caplog.records if "unfinished upload may remain" in r.getMessage()]) == 1


def test_an_abort_that_fails_once_is_made_up_for(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    class Recovering(Recorder):
        def abort(self) -> None:
            self.fail = None if "abort" in self.calls else "abort"
            super().abort()

    store = Recovering()
    file = box.open(store)
    file.write(b"x")
    file.discard()
    box.reaper.close()
    assert store.calls == ["abort", "abort"]
    assert not [r for r in caplog.records if "may remain" in r.getMessage()]


def test_abort_waits_for_parts_in_flight(box: Box) -> None:
    store = Recorder()  # whose abort asserts that nothing is in flight
    store.held = {1: threading.Event(), 2: threading.Event()}
    file = box.open(store)
    file.write(some("binary", 3 * PART))
    for _ in range(2):
        assert store.entered.acquire(timeout=30)
    thread = threading.Thread(target=file.discard)
    thread.start()
    assert not store.aborted.wait(0.1)
    for event in store.held.values():
        event.set()
    thread.join(30)
    assert store.aborted.is_set()
    assert store.calls[-1] == "abort"


def test_an_interrupt_while_waiting_for_a_part_leaves_the_abort_to_wait_for_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Recorder()
    store.held = {1: threading.Event()}
    file = box.open(store, limit=PART)
    file.write(some("binary", 2 * PART))
    assert store.entered.acquire(timeout=30)

    def interrupted(job: Job, seconds: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(some("binary", 2 * PART))
    monkeypatch.undo()
    thread = threading.Thread(target=file.discard)
    thread.start()
    assert not store.aborted.wait(0.1)
    store.held[1].set()
    thread.join(30)
    assert store.calls[-1] == "abort"
    assert store.published is None


def test_an_interrupt_anywhere_leaves_no_room_taken() -> None:
    """Room is shared by all writers of a Storage: what one does not give back, no other ever has."""
    nth = 0
    interrupted = True
    while interrupted:
        nth += 1
        transfers, reaper, room = Transfers(2), Reaper(), Room(2 * PART)
        sender = PartSender(Recorder(), URL, transfers, reaper, room)
        feed = partial(sender.feed, memoryview(some("binary", 5 * PART)))
        interrupted = interrupted_at(nth, {sending.__file__, room_module.__file__}, feed)
        sender.abort()
        assert room.taken == 0, f"interrupted at {nth}"
        transfers.close()
        reaper.close()
    assert nth > 50


def test_an_abort_while_a_part_waits_for_room_leaves_none_taken(box: Box) -> None:
    store = Recorder()
    store.held = {1: threading.Event()}
    room = Room(PART)
    sender = PartSender(store, URL, box.transfers, box.reaper, room)
    sender.feed(memoryview(some("binary", 2 * PART)))
    assert store.entered.acquire(timeout=30)
    errors: list[BaseException] = []

    def feed() -> None:
        try:
            sender.feed(memoryview(some("binary", 2 * PART)))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=feed)
    thread.start()
    while len(sender._jobs) < 2:  # it waits for the first part now
        thread.join(0.01)
    ending = threading.Thread(target=sender.abort)
    ending.start()
    store.held[1].set()
    ending.join(30)
    thread.join(30)
    assert room.taken == 0


def test_given_up_from_outside_it_cannot_publish_what_is_left(box: Box) -> None:
    store = Recorder()
    file = box.open(store)
    file.write(b"first")
    file.flush()
    with pytest.warns(ResourceWarning, match=URL):
        box.reaper.give_up()
    assert store.calls == ["abort"]
    with pytest.raises(OSError, match="given up"), file:
        file.write(b"second")
        file.flush()
    assert store.published is None
    assert store.calls == ["abort"]


@pytest.mark.parametrize("first", ["publish", "abort"])
def test_publish_and_abort_do_not_cross(box: Box, first: str) -> None:
    """The first wins: no abort under a commit's feet, no commit of what an abort has emptied."""
    started, go = threading.Event(), threading.Event()

    class Slow(Recorder):
        def _step(self, name: str, key: object) -> None:
            started.set()
            assert go.wait(30)
            super()._step(name, key)

    store = Slow()
    sender = box.sender(store)
    sender.feed(memoryview(b"abc"))
    errors: list[BaseException] = []

    def slowly() -> None:
        try:
            getattr(sender, first)()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert started.wait(30)
    if first == "publish":
        sender.abort()
        with pytest.raises(OSError, match="given up"):
            sender.publish()
    else:
        with pytest.raises(OSError, match="given up"):
            sender.publish()
    go.set()
    thread.join(30)
    assert not errors
    assert store.calls == (["put"] if first == "publish" else ["abort"])
    assert store.published == (b"abc" if first == "publish" else None)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("end", ["publish", "abort"])
def test_an_interrupt_anywhere_in_its_end_leaves_no_upload_and_nobody_waiting(end: str, parts: int) -> None:
    nth, ways = 0, set()
    interrupted = True
    while interrupted:
        nth += 1
        transfers, reaper, room, store = Transfers(2), Reaper(), Room(2 * PART), Recorder()
        sender = PartSender(store, URL, transfers, reaper, room)
        sender.feed(memoryview(some("binary", parts * PART)))
        files = {sending.__file__, once.__file__, transfers_module.__file__}
        interrupted = interrupted_at(nth, files, getattr(sender, end))
        sender.abort()  # as ``with`` and the finalizer do; nothing where it has been taken
        reaper.drain()  # as an exit does, beside the reaper's thread
        assert sender.ending.wait(30), f"interrupted at {nth}"
        assert room.taken == 0
        assert reaper.unfinished == 0
        assert store.published is not None or store.aborted.is_set(), f"interrupted at {nth}: {store.calls}"
        ways.add("published" if store.published is not None else "aborted")
        transfers.close()
        reaper.close()
    assert ways == ({"published", "aborted"} if end == "publish" else {"aborted"})
    assert nth > 5


def test_a_driver_that_wants_empty_parts_is_refused() -> None:
    with pytest.raises(OSError, match="0 bytes in part 1"):
        PartSender(Recorder(size=0), URL, Transfers(1), Reaper(), Room(1))


def test_where_the_outcome_is_unknown_the_log_does_not_claim_to_know(caplog: pytest.LogCaptureFixture) -> None:
    store = Recorder(fail="put")
    store.error = OutcomeUnknownError(errno.EIO, "the answer was lost", URL)
    sender = PartSender(store, URL, Transfers(1), Reaper(), Room(1))
    sender.feed(memoryview(b"data"))
    with pytest.raises(OutcomeUnknownError):
        sender.publish()
    (record,) = caplog.records
    assert "not known" in record.getMessage()
    assert "nothing is published" not in record.getMessage()
