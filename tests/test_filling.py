"""filling: every byte in its place, over several connections; or an error, and nobody writes any more."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from block_support import DATA, GUARD, LOCATION, Engine, MiB, Object, Queued, Thread, hold, waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit.errors import ObjectChangedError, changed
from storagekit.filling import Filling
from storagekit.flights import RECEIVE, RESUMES, Source
from storagekit.transfers import Job, Transfers

PART = 64 * 1024


class Filled:
    """A buffer for an object, and the filling that is to fill it."""

    def __init__(self, whole: Object, part: int = PART) -> None:
        self.whole = whole
        self.result = bytearray(len(whole.data))
        self.fetched = self.requests = 0
        self._lock = threading.Lock()
        view = memoryview(self.result)
        parts = [(at, view[at : at + part]) for at in range(0, len(view), part)]
        self.filling = Filling(Source(whole, len(whole.data)), parts, self._on_request, self._on_fetched)

    def _on_request(self) -> None:
        with self._lock:
            self.requests += 1

    def _on_fetched(self, size: int) -> None:
        with self._lock:
            self.fetched += size

    def run(self, transfers: Transfers, connections: int = 4) -> bytes:
        self.filling.run(transfers, connections)
        return bytes(self.result)


@pytest.fixture
def transfers() -> Iterator[Transfers]:
    transfers = Transfers(4)
    yield transfers
    transfers.close()


class Gathered:
    """Answers wait until so many are under way at once; then they come, and ``then`` is called with their starts."""

    def __init__(self, whole: Object, count: int, then: Callable[[int], None] = lambda start: None) -> None:
        self._barrier = threading.Barrier(count)
        self._then = then
        self._left = count
        self._lock = threading.Lock()
        whole.on_open = self._open

    def _open(self, start: int, stop: int) -> None:
        with self._lock:
            early = self._left > 0
            self._left -= 1
        if early:
            self._barrier.wait(GUARD)
        self._then(start)


# -- when all goes well ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, len(DATA)),
    st.integers(1000, 20 * PART),
    st.integers(1, 9),
    st.lists(st.integers(0, 30_000), max_size=10),
)
def test_every_byte_is_in_its_place(size: int, part: int, connections: int, given_out: list[int]) -> None:
    transfers, whole, left = Transfers(3), Object(DATA[:size]), list(given_out)
    lock = threading.Lock()

    def hand_over(offset: int) -> int | None:
        with lock:
            return left.pop() or 1 if left else None

    whole.on_read = hand_over
    filled = Filled(whole, part)
    assert filled.run(transfers, connections) == whole.data
    assert filled.fetched == size
    assert filled.requests == len(whole.requests) == -(-size // part)
    assert whole.asked == size
    assert whole.bodies == 0
    transfers.close()


def test_so_many_connections_are_used_and_the_caller_is_one_of_them(transfers: Transfers) -> None:
    whole, threads = Object(), set()
    Gathered(whole, 3, lambda start: threads.add(threading.get_ident()))
    filled = Filled(whole)
    assert filled.run(transfers, connections=3) == DATA
    assert len(threads) == 3
    assert threading.get_ident() in threads
    assert transfers.threads <= 2


def test_one_connection_needs_no_thread(transfers: Transfers) -> None:
    filled = Filled(Object())
    assert filled.run(transfers, connections=1) == DATA
    assert transfers.threads == 0
    assert [start for start, _ in filled.whole.requests] == list(range(0, len(DATA), PART))


def test_nothing_to_fetch_is_nothing_asked(transfers: Transfers) -> None:
    assert Filled(Object(b"")).run(transfers) == b""
    assert transfers.threads == 0


def test_what_goes_wrong_on_the_way_is_asked_for_again_where_it_stopped(transfers: Transfers) -> None:
    whole, cuts = Object(), {100, PART + 1, 5 * PART + 777}
    lock = threading.Lock()

    def cut(offset: int) -> int | None:
        with lock:
            if offset in cuts:
                cuts.remove(offset)
                raise ConnectionResetError(errno.ECONNRESET, "reset", "toy://box/key")
            return min((c - offset for c in cuts if c > offset), default=None)

    whole.on_read = cut
    filled = Filled(whole)
    assert filled.run(transfers) == DATA
    assert not cuts
    assert filled.requests == -(-len(DATA) // PART) + 3


def test_without_any_thread_to_be_had_the_caller_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    transfers = Transfers(4)

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    filled = Filled(Object())
    assert filled.run(transfers) == DATA
    assert whole_parts(filled) == -(-len(DATA) // PART)


def whole_parts(filled: Filled) -> int:
    return len({start for start, _ in filled.whole.requests})


def test_threads_that_are_busy_with_other_things_are_not_waited_for() -> None:
    transfers, go = Transfers(1), threading.Event()
    transfers.submit(Job(lambda: hold(go)))
    assert Thread(lambda: Filled(Object()).run(transfers)).result() == DATA
    go.set()
    transfers.close()


def test_helpers_that_come_too_late_find_nothing_to_do() -> None:
    queue, filled = Queued(), Filled(Object())
    assert filled.run(queue, connections=5) == DATA
    assert len(queue.jobs) == 4
    requests, filled.result[:] = len(filled.whole.requests), bytes(len(DATA))
    for job in queue.jobs:
        assert not job.run()
    assert len(filled.whole.requests) == requests
    assert not any(filled.result)


def test_many_fillings_at_once_share_the_threads(transfers: Transfers) -> None:
    begin = threading.Barrier(12)

    def work() -> bytes:
        filled = Filled(Object(), part=3 * PART + 1)
        begin.wait(GUARD)
        return filled.run(transfers, connections=6)

    for thread in [Thread(work) for _ in range(12)]:
        assert thread.result() == DATA
    assert transfers.threads <= 4


# -- when it does not --------------------------------------------------------------------------------------


class Watched:
    """Bodies note after which moment they still write; that moment is ``over``."""

    def __init__(self, whole: Object) -> None:
        self.late: list[int] = []
        self.over = False
        self._inner = whole.on_read
        whole.on_read = self._read

    def _read(self, offset: int) -> int | None:
        answer = self._inner(offset)
        if self.over:
            self.late.append(offset)
        return answer


@pytest.mark.parametrize("where", ["open", "read"])
@pytest.mark.parametrize("part", [0, 2, 40])
def test_the_first_error_ends_it_and_is_raised(transfers: Transfers, part: int, where: str) -> None:
    whole, error = Object(), PermissionError(errno.EACCES, "no", "toy://box/key")

    def fail(at: int) -> None:
        if at // PART == part:
            raise error

    if where == "open":
        whole.on_open = lambda start, stop: fail(start)
    else:
        whole.on_read = fail
    filled, watched = Filled(whole), Watched(whole)
    with pytest.raises(PermissionError) as caught:
        filled.run(transfers)
    watched.over = True
    assert caught.value is error
    transfers.close()
    assert watched.late == []
    assert whole.bodies == 0
    assert not filled.filling._parts


def test_nobody_writes_any_more_once_the_error_is_raised(transfers: Transfers) -> None:
    """The third part fails while the others are in the middle of theirs: they stop before it is raised."""
    whole, others_at_it = Object(bytes(16 * RECEIVE)), threading.Semaphore(0)
    filled = Filled(whole, part=4 * RECEIVE)
    reads: list[int] = []

    def read(offset: int) -> None:
        if offset == 2 * (4 * RECEIVE):
            for _ in range(3):
                assert others_at_it.acquire(timeout=GUARD)
            raise RuntimeError("the third part")
        if offset % (4 * RECEIVE) == 0:
            others_at_it.release()
            waiting(lambda: filled.filling._error is not None, True)
        reads.append(offset)

    whole.on_read = read
    watched = Watched(whole)
    with pytest.raises(RuntimeError, match="the third part"):
        filled.run(transfers)
    watched.over = True
    transfers.close()
    assert watched.late == []
    assert whole.bodies == 0
    # Nobody went on with more than the piece that was under way.
    assert sorted(reads) == [0, 4 * RECEIVE, 12 * RECEIVE]


def test_a_body_that_always_ends_early_is_an_error(transfers: Transfers) -> None:
    whole = Object()
    whole.on_read = lambda offset: 0 if offset >= 3 * PART + 5 else 3 * PART + 5 - offset
    with pytest.raises(OSError) as caught:
        Filled(whole).run(transfers, connections=2)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == "toy://box/key"
    assert len([start for start, _ in whole.requests if start == 3 * PART + 5]) <= RESUMES


def test_an_object_that_changes_in_the_middle_is_never_mixed(transfers: Transfers) -> None:
    whole = Object()

    def other_version(start: int, stop: int) -> None:
        if len(whole.requests) > 5:
            raise changed(LOCATION)

    whole.on_open = other_version
    with pytest.raises(ObjectChangedError) as caught:
        Filled(whole).run(transfers)
    assert caught.value.errno == errno.ESTALE
    transfers.close()
    assert whole.bodies == 0


def test_an_object_that_is_removed_in_the_middle_has_changed(transfers: Transfers) -> None:
    whole = Object()

    def gone(start: int, stop: int) -> None:
        if len(whole.requests) > 5:
            raise FileNotFoundError(errno.ENOENT, "no such object", "toy://box/key")

    whole.on_open = gone
    with pytest.raises(ObjectChangedError):
        Filled(whole).run(transfers)


# -- interruptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("connections", [1, 4])
def test_an_interrupt_of_the_caller_is_raised_when_nobody_writes_any_more(
    transfers: Transfers, connections: int, kind: type[BaseException]
) -> None:
    whole, caller = Object(), threading.get_ident()

    def interrupt(start: int) -> None:
        if threading.get_ident() == caller:
            raise kind

    Gathered(whole, connections, interrupt)
    filled, watched = Filled(whole), Watched(whole)
    with pytest.raises(kind):
        filled.run(transfers, connections)
    watched.over = True
    transfers.close()
    assert watched.late == []
    assert whole.bodies == 0


def test_an_interrupt_is_not_lost_behind_an_error(transfers: Transfers) -> None:
    """Control-C was pressed: that is what is raised, although a connection had broken before."""
    whole, caller, failed = Object(), threading.get_ident(), threading.Event()

    def fail(start: int) -> None:
        if threading.get_ident() == caller:
            assert failed.wait(GUARD)
            raise KeyboardInterrupt
        failed.set()
        raise RuntimeError("broken")

    Gathered(whole, 2, fail)
    with pytest.raises(KeyboardInterrupt):
        Filled(whole).run(transfers, connections=2)


def test_an_interrupt_while_it_waits_for_the_others_waits_for_them_all_the_same(
    transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer may be freed as soon as the call is left, so it is left only when nobody writes into it."""
    whole, caller = Object(), threading.get_ident()
    interrupted = threading.Event()
    cancel, times = Job.cancel, [KeyboardInterrupt, KeyboardInterrupt]

    def read(offset: int) -> None:
        if threading.get_ident() != caller:
            assert interrupted.wait(GUARD)

    def interrupted_cancel(job: Job) -> None:
        if times:
            raise times.pop()
        interrupted.set()
        cancel(job)

    Gathered(whole, 3)
    whole.on_read = read
    monkeypatch.setattr(Job, "cancel", interrupted_cancel)
    filled, watched = Filled(whole), Watched(whole)
    with pytest.raises(KeyboardInterrupt):
        filled.run(transfers, connections=3)
    watched.over = True
    interrupted.set()
    transfers.close()
    assert times == []
    assert watched.late == []
    assert whole.bodies == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_an_interrupted_helper_leaves_is_fetched_all_the_same(
    transfers: Transfers, kind: type[BaseException]
) -> None:
    """It was that thread's own interrupt. That its part is missing must not go unnoticed."""
    whole, caller, lock = Object(), threading.get_ident(), threading.Lock()
    ended: list[threading.Thread] = []

    def interrupt(start: int) -> None:
        with lock:
            if threading.get_ident() != caller and not ended:
                ended.append(threading.current_thread())
                raise kind

    Gathered(whole, 3, interrupt)
    filled = Filled(whole)
    assert filled.run(transfers, connections=3) == DATA
    assert filled.fetched == len(DATA)
    ended[0].join(GUARD)  # what it still has to say is said here


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_is_fetched_also_when_the_caller_had_finished_already(transfers: Transfers) -> None:
    whole, caller, finished = Object(), threading.get_ident(), threading.Event()
    ended: list[threading.Thread] = []

    class Noting(Filled):
        def _on_fetched(self, size: int) -> None:
            super()._on_fetched(size)
            if self.fetched == len(DATA) - PART:
                finished.set()

    def interrupt(start: int) -> None:
        if threading.get_ident() != caller and not finished.is_set():
            assert finished.wait(GUARD)
            ended.append(threading.current_thread())
            raise SystemExit

    Gathered(whole, 2, interrupt)
    assert Noting(whole).run(transfers, connections=2) == DATA
    ended[0].join(GUARD)


# -- what it leaves ----------------------------------------------------------------------------------------


def test_the_books_of_a_cache_see_it_pass(transfers: Transfers) -> None:
    engine, whole = Engine(), Object()
    source, result = engine.open(whole), bytearray(MiB)
    Filling(source, [(0, memoryview(result))], engine.cache.count_request, engine.cache.count_fetched).run(transfers, 4)
    info = engine.info
    assert (info.requests, info.fetched, info.cached, info.in_flight) == (1, MiB, 0, 0)
    assert source.pace.rate is not None
    engine.settle()


def test_the_result_is_the_callers_alone_when_it_returns(transfers: Transfers) -> None:
    """No view of it lives on, in a thread or a queue: a bytearray could not be resized otherwise."""
    filled = Filled(Object())
    filled.run(transfers, connections=4)
    result = filled.result
    del filled
    transfers.close()
    result.append(0)


def test_a_forked_child_fills_with_threads_of_its_own(transfers: Transfers) -> None:
    assert Filled(Object()).run(transfers) == DATA
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            transfers.reset_after_fork()
            code = 0 if Filled(Object()).run(transfers) == DATA else 2
        finally:
            os._exit(code)
    assert Filled(Object()).run(transfers) == DATA
    assert Thread(lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).result() == 0
