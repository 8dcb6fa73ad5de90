"""transfers: jobs run once, threads come and go, finalizers are safe, and the exit gives up what is open."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from interrupts import interrupted_at

from storagekit import once, transfers
from storagekit.once import Once
from storagekit.transfers import Job, Reaper, Transfers

# How long a test waits for what must happen before it calls it a failure.
GUARD = 10.0


@pytest.fixture
def pool() -> Iterator[Transfers]:
    pool = Transfers(4)
    yield pool
    pool.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs a result waits for a thread, however long it takes to come."""
    monkeypatch.setattr(transfers, "GRACE_SECONDS", GUARD)


def done(job: Job) -> None:
    """Wait for *job* without ever running it here."""
    assert job._once.wait(GUARD)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    end = time.monotonic() + GUARD
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def in_threads(count: int, work: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()


def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


class Marker:
    """Something that a weak reference can watch."""


# -- jobs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["run", "result"])
def test_of_many_racing_threads_exactly_one_runs_it(finish: str) -> None:
    for _ in range(20):
        ran: list[int] = []
        job = Job(lambda ran=ran: ran.append(threading.get_ident()))  # type: ignore[misc]
        start = threading.Barrier(16)

        def race(job: Job = job, start: threading.Barrier = start) -> None:
            start.wait(GUARD)
            getattr(job, finish)()

        join(in_threads(16, race))
        assert len(ran) == 1


def test_result_runs_it_here_where_no_thread_comes() -> None:
    ran: list[int] = []
    job = Job(lambda: ran.append(threading.get_ident()))
    assert not job.taken
    job.result()
    assert ran == [threading.get_ident()]
    assert job.taken
    assert job.run() is False


def test_result_waits_for_the_thread_that_runs_it() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(GUARD)
        ended.set()

    job = Job(work)
    runner = in_threads(1, job.run)
    assert begun.wait(GUARD)
    seen: list[bool] = []

    def ask() -> None:
        job.result()
        seen.append(ended.is_set())

    asker = in_threads(1, ask)
    go.set()
    join(runner + asker)
    assert seen == [True]


def test_an_error_is_kept_for_whoever_asks() -> None:
    error = OSError(5, "no", "toy://box/key")

    def work() -> None:
        raise error

    job = Job(work)
    assert job.run() is True
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            job.result()
        assert caught.value is error


@pytest.mark.parametrize("way", ["run", "cancel", "result"])
def test_an_interrupt_anywhere_leaves_nobody_waiting(way: str) -> None:
    """What is taken is over, whatever came in between; what is not may still be taken."""
    nth, ran = 0, 0
    interrupted = True
    while interrupted:
        nth += 1
        runs: list[int] = []
        job = Job(partial(runs.append, 1))
        interrupted = interrupted_at(nth, {transfers.__file__, once.__file__}, getattr(job, way))
        assert job.over == job.taken, f"interrupted at {nth}"
        job.cancel()
        assert len(runs) <= (way != "cancel")
        ran += len(runs)
    assert nth > 5
    assert (ran > 0) == (way != "cancel")


def test_an_interruption_goes_to_the_thread_that_ran_it() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    job = Job(work)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert job.over


def test_a_cancelled_job_never_runs() -> None:
    ran: list[int] = []
    job = Job(lambda: ran.append(1))
    job.cancel()
    assert job.taken
    assert job.run() is False
    job.result()
    assert ran == []


def test_cancel_waits_for_one_that_runs() -> None:
    begun, go, order = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert go.wait(GUARD)
        order.append("ran")
        raise OSError("kept, not raised by cancel")

    job = Job(work)
    runner = in_threads(1, job.run)
    assert begun.wait(GUARD)

    def cancel() -> None:
        job.cancel()
        order.append("cancelled")

    canceller = in_threads(1, cancel)
    go.set()
    join(runner + canceller)
    assert order == ["ran", "cancelled"]


@pytest.mark.parametrize("how", ["run", "cancel"])
def test_a_job_that_is_over_keeps_nothing_alive(how: str) -> None:
    """Without the help of the garbage collector: what jobs work on are megabytes."""

    class Owner:
        job: Job

        def work(self) -> None:
            assert self.job.taken

    def use() -> weakref.ref[Owner]:
        owner = Owner()
        owner.job = Job(owner.work)  # the cycle that every flight is: it has a job that works on it
        getattr(owner.job, how)()
        return weakref.ref(owner)

    gc.disable()
    try:
        assert use()() is None
    finally:
        gc.enable()


# -- threads -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
def test_threads_come_with_the_work_up_to_the_most(pool: Transfers) -> None:
    assert pool.threads == 0
    all_at_work, go = threading.Barrier(5), threading.Event()
    count, lock = [0], threading.Lock()

    def work() -> None:
        with lock:
            count[0] += 1
            first = count[0] <= 4
        if first:
            all_at_work.wait(GUARD)
        assert go.wait(GUARD)

    jobs = [Job(work) for _ in range(12)]
    for job in jobs:
        pool.submit(job)
    all_at_work.wait(GUARD)
    assert pool.threads == 4
    assert sum(job.taken for job in jobs) == 4
    go.set()
    for job in jobs:
        job.result()
    assert count == [12]
    assert pool.threads <= 4


@pytest.mark.usefixtures("patient")
def test_an_idle_thread_is_used_again(pool: Transfers) -> None:
    for _ in range(50):
        job = Job(lambda: None)
        pool.submit(job)
        done(job)
        until(lambda: pool._idle == 1)
    assert pool.threads == 1


def test_idle_threads_end_and_new_work_starts_new_ones(monkeypatch: pytest.MonkeyPatch, pool: Transfers) -> None:
    monkeypatch.setattr(transfers, "IDLE_SECONDS", 0.01)
    for _ in range(3):
        jobs = [Job(lambda: None) for _ in range(8)]
        for job in jobs:
            pool.submit(job)
        mine = list(pool._threads)
        for job in jobs:
            done(job)
        join(mine)
        assert pool.threads == 0


def test_a_submission_that_meets_a_thread_about_to_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "IDLE_SECONDS", 0.0001)
    pool = Transfers(2)
    for _ in range(500):
        job = Job(lambda: None)
        pool.submit(job)
        done(job)
    pool.close()


def test_without_any_thread_work_runs_in_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_threads(monkeypatch)
    pool, ran = Transfers(4), []
    job = Job(lambda: ran.append(threading.get_ident()))
    pool.submit(job)
    assert ran == [threading.get_ident()]
    assert pool.threads == 0
    job.result()


def test_an_error_of_work_in_the_caller_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_threads(monkeypatch)

    def work() -> None:
        raise OSError("kept")

    job = Job(work)
    Transfers(4).submit(job)
    with pytest.raises(OSError, match="kept"):
        job.result()


def test_where_no_further_thread_starts_the_work_queues_for_those_there_are(pool: Transfers) -> None:
    begun, go, ran = threading.Event(), threading.Event(), []

    def block() -> None:
        begun.set()
        assert go.wait(GUARD)

    pool.submit(Job(block))
    assert begun.wait(GUARD)
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_more_threads(monkeypatch)
        job = Job(lambda: ran.append(threading.get_ident()))
        pool.submit(job)
    assert ran == []
    go.set()
    done(job)
    assert ran != [threading.get_ident()]


@pytest.mark.usefixtures("patient")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_of_its_work_is_replaced() -> None:
    """SystemExit and asyncio's CancelledError are no Exceptions; a pool must not shrink by them."""
    pool = Transfers(1)

    def exit_thread() -> None:
        raise SystemExit

    pool.submit(dying := Job(exit_thread))
    mine = list(pool._threads)
    done(dying)
    join(mine)
    assert pool.threads == 0
    ran: list[int] = []
    job = Job(lambda: ran.append(threading.get_ident()))
    pool.submit(job)
    done(job)
    assert ran != [threading.get_ident()]
    pool.close()


def test_close_does_what_is_queued_and_ends_the_threads() -> None:
    pool, go, ran = Transfers(2), threading.Event(), []

    def work() -> None:
        assert go.wait(GUARD)
        ran.append(1)

    for _ in range(10):
        pool.submit(Job(work))
    mine = list(pool._threads)
    closer = in_threads(1, pool.close)
    go.set()
    join(closer)
    assert len(ran) == 10
    assert not any(thread.is_alive() for thread in mine)
    assert pool.threads == 0
    # Afterwards work is still done, here.
    pool.submit(Job(lambda: ran.append(threading.get_ident())))
    assert ran[-1] == threading.get_ident()


def test_close_wakes_idle_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "IDLE_SECONDS", 100 * GUARD)
    pool = Transfers(4)
    job = Job(lambda: None)
    pool.submit(job)
    done(job)
    closer = in_threads(1, pool.close)
    join(closer)
    assert pool.threads == 0


def test_close_from_one_of_its_own_threads_does_not_wait_for_itself() -> None:
    pool = Transfers(2)
    job = Job(pool.close)
    pool.submit(job)
    done(job)
    pool.close()
    assert pool.threads == 0


def test_an_idle_thread_keeps_nothing_alive(pool: Transfers) -> None:
    marker = Marker()
    gone = threading.Event()
    weakref.finalize(marker, gone.set)

    def keep(held: Marker) -> None:
        assert held

    def submit(held: Marker) -> None:
        pool.submit(Job(lambda: keep(held)))

    submit(marker)
    del marker
    assert gone.wait(GUARD)


def test_a_forked_child_starts_over(pool: Transfers) -> None:
    begun, go = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert go.wait(GUARD)

    for _ in range(10):
        pool.submit(Job(block))
    assert begun.wait(GUARD)

    def child() -> bool:
        pool.reset_after_fork()
        job = Job(lambda: None)
        pool.submit(job)
        return pool.threads == 1 and job._once.wait(GUARD)

    assert forked(child)
    go.set()


def forked(child: Callable[[], bool]) -> bool:
    """Run *child* in a forked process and tell whether it said yes."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if child() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- the reaper --------------------------------------------------------------------------------------------


class Unfinished:
    def __init__(self, reaper: Reaper) -> None:
        self.abandoned = False
        self.ending = Once()
        self.aborted = 0
        self._reaper = reaper

    def __repr__(self) -> str:
        return f"<Unfinished, aborted {self.aborted} times>"

    def give_up(self) -> None:
        self.aborted += 1
        self.ending.over = True
        self._reaper.forget(self)


def test_a_finalizer_may_leave_work_while_its_thread_holds_the_reapers_lock() -> None:
    reaper, ran = Reaper(), threading.Event()

    class Dropped:
        def __del__(self) -> None:
            reaper.leave(ran.set)

    dropped = Dropped()
    with reaper._lock:
        del dropped
    assert not ran.is_set()
    reaper.poke()
    assert ran.wait(GUARD)


def test_poke_starts_no_thread_without_need() -> None:
    before = threading.active_count()
    Reaper().poke()
    assert threading.active_count() == before


def test_its_thread_ends_when_there_is_nothing_to_do_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "IDLE_SECONDS", 0.01)
    reaper, threads = Reaper(), []
    for _ in range(3):
        ran = threading.Event()

        def note(ran: threading.Event = ran) -> None:
            threads.append(threading.current_thread())
            ran.set()

        reaper.leave(note)
        reaper.poke()
        assert ran.wait(GUARD)
        threads[-1].join(GUARD)
        assert not threads[-1].is_alive()
    assert len(set(threads)) == 3


def test_while_something_is_unfinished_nobody_has_to_poke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "IDLE_SECONDS", 0.01)
    reaper = Reaper()
    unfinished = Unfinished(reaper)
    reaper.watch(unfinished)
    for _ in range(5):
        ran = threading.Event()
        reaper.leave(ran.set)
        assert ran.wait(GUARD)
    ended: list[threading.Thread] = []
    reaper.leave(lambda: ended.append(threading.current_thread()))
    reaper.forget(unfinished)
    until(lambda: bool(ended))
    ended[0].join(GUARD)
    assert not ended[0].is_alive()
    assert reaper._thread is None


def test_what_is_interrupted_remains_to_be_done() -> None:
    reaper, done = Reaper(), []

    def work() -> None:
        done.append(1)
        if len(done) == 1:
            raise KeyboardInterrupt

    reaper.leave(work)
    with pytest.raises(KeyboardInterrupt):
        reaper.drain()
    reaper.drain()
    assert len(done) == 2


def test_what_fails_is_logged_and_the_rest_still_done(caplog: pytest.LogCaptureFixture) -> None:
    reaper, ran = Reaper(), []

    def fail() -> None:
        raise OSError("cannot")

    reaper.leave(fail)
    reaper.leave(lambda: ran.append(1))
    reaper.drain()
    assert ran == [1]
    assert "cannot" in caplog.text


def test_drain_does_everything_here() -> None:
    reaper, ran = Reaper(), []
    for n in range(5):
        reaper.leave(lambda n=n: ran.append((n, threading.get_ident())))  # type: ignore[misc]
    reaper.drain()
    assert ran == [(n, threading.get_ident()) for n in range(5)]


def test_without_threads_work_waits_for_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_threads(monkeypatch)
    reaper, ran = Reaper(), []
    reaper.leave(lambda: ran.append(1))
    reaper.poke()
    assert ran == []
    reaper.at_exit()
    assert ran == [1]


def test_the_exit_gives_up_what_is_unfinished_with_a_warning() -> None:
    reaper = Reaper()
    unfinished, finished = Unfinished(reaper), Unfinished(reaper)
    reaper.watch(unfinished)
    reaper.watch(finished)
    reaper.forget(finished)
    with pytest.warns(ResourceWarning, match="Unfinished, aborted 0 times"):
        reaper.at_exit()
    assert (unfinished.aborted, finished.aborted) == (1, 0)
    reaper.at_exit()
    assert unfinished.aborted == 1


@pytest.mark.filterwarnings("error")
def test_where_warnings_are_errors_everything_is_given_up_all_the_same() -> None:
    reaper, left = Reaper(), []
    several = [Unfinished(reaper) for _ in range(3)]
    for unfinished in several:
        reaper.watch(unfinished)
    reaper.leave(lambda: left.append(1))
    with pytest.raises(ResourceWarning):
        reaper.give_up()
    assert [unfinished.aborted for unfinished in several] == [1, 1, 1]
    assert left == [1]


@pytest.mark.parametrize("told", [True, False])
def test_a_forked_child_gives_up_nothing_of_its_parents(told: bool) -> None:
    reaper, left = Reaper(), list[int]()
    unfinished = Unfinished(reaper)
    reaper.watch(unfinished)
    with reaper._lock:  # another thread of the parent may hold it at that moment

        def child() -> bool:
            if told:
                reaper.reset_after_fork()
            reaper.at_exit()
            if not told:
                return unfinished.aborted == 0 and left == []
            own, ran = Unfinished(reaper), threading.Event()
            reaper.watch(own)
            reaper.leave(ran.set)
            return unfinished.aborted == 0 and ran.wait(GUARD)

        assert forked(child)
    reaper.forget(unfinished)


def test_what_a_finalizer_gave_up_is_not_warned_of_again() -> None:
    reaper = Reaper()
    unfinished = Unfinished(reaper)
    reaper.watch(unfinished)
    unfinished.abandoned = True
    reaper.give_up()  # a warning would be an error here
    assert unfinished.aborted == 1
