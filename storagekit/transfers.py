"""Transfers: the threads of one Storage, the work given to them, and the reaper.

*Jobs.* A piece of work runs exactly once: in a thread of the pool, or in the caller who needs its
result before any thread took it. So a full queue, a pool that cannot start a thread any more (the
interpreter is shutting down) or a forked child never make anybody wait for work that nobody does.

*Threads* are daemons: they start when there is work and none is idle, and end after a while
without any. What must not be lost at exit is not left to them: ``Reaper.at_exit`` is waited for (``exits``).

*The reaper.* Finalizers may run at any moment, in any thread, inside any lock; so they take no
lock and do no I/O. They leave what is to be done in a ``SimpleQueue``, whose ``put`` is
documented as reentrant for just this use, and a thread does it.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from storagekit import exits
from storagekit.once import Once

__all__ = ["Endable", "Job", "Reaper", "Transfers"]

logger = logging.getLogger(__name__)

# How long a thread waits for more work before it ends: longer than the pauses between the requests
# of one reader, shorter than anybody's patience with an idle process that still shows threads.
IDLE_SECONDS = 5.0

# How long one who needs a job waits for a thread to take it before running it itself. A thread that
# is idle wakes within a millisecond; one that is not may be busy for seconds.
GRACE_SECONDS = 0.02

# How long an exit waits for a thread that is ending a writer: longer than a store's time-outs and retries take,
# but not for ever, because an interrupt in just the wrong place leaves nobody at it.
ENDING_SECONDS = 300.0


class Job:
    """Work that runs once, in whichever thread comes first."""

    __slots__ = ("_error", "_once", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._once = Once()
        self._error: BaseException | None = None

    @property
    def taken(self) -> bool:
        """True once some thread runs it, ran it, or cancelled it."""
        return self._once.taken

    @property
    def over(self) -> bool:
        """True once it ran or was cancelled."""
        return self._once.over

    def run(self) -> bool:
        """Run it here, unless somebody has taken it; tell whether it ran here. Its error is kept for ``result``."""
        me, once, work = object(), self._once, None
        try:
            if not once.take(me):
                return False
            # What ran is let go of at once: it holds buffers, and often this job itself.
            work, self._work = self._work, _nothing
            work()
        except BaseException as error:
            if once.takers[:1] == [me]:
                self._error = error
            if not isinstance(error, Exception):
                raise  # KeyboardInterrupt and SystemExit are the running thread's own
        finally:
            if once.takers[:1] == [me]:
                once.over = True
                once.ring()
            del work  # an error's traceback holds this frame
        return True

    def cancel(self) -> None:
        """See to it that it does not run, or has run: wait for it if somebody is at it."""
        me, once = object(), self._once
        try:
            if once.take(me):
                self._work = _nothing
        finally:
            if once.takers[:1] == [me]:
                once.over = True
                once.ring()
        once.wait()

    def result(self, seconds: float | None = None) -> bool:
        """Wait until it is over, running it here if no thread takes it soon, and raise its error if it had one.

        False where it is not over after so many *seconds*.
        """
        if not self._once.wait(GRACE_SECONDS) and not self.run() and not self._once.wait(seconds):
            return False
        if self._error is not None:
            raise self._error
        return True


def _nothing() -> None:
    """What a job that is over still has to do."""


class Endable(Protocol):
    """Something with threads of its own."""

    def end_threads(self) -> None:
        """End them, and wait a moment for them."""


class Transfers:
    """A bounded pool of daemon threads that come and go with the work."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._reset()

    def _reset(self) -> None:
        # The lock itself is what is held, never the condition: its ``with`` is Python, in which an interrupt may come
        # between taking it and beginning, and then nobody gives it back.
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._queue: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._others: weakref.WeakSet[Endable] = weakref.WeakSet()
        self._idle = 0
        self._closed = False

    @property
    def threads(self) -> int:
        """How many threads there are at this moment."""
        return len(self._threads)

    def submit(self, job: Job) -> None:
        """Give *job* to a thread; where none can be had, run it here and now."""
        with self._lock:
            if self._closed or not self._grow():
                here = True
            else:
                here = False
                self._queue.append(job)
                self._ready.notify()
        if here:
            job.run()

    def _grow(self) -> bool:
        """Under the lock: see to it that a thread will come by; False where there is none and none can start."""
        if self._idle > len(self._queue) or len(self._threads) >= self._most:
            return True
        thread = threading.Thread(target=self._serve, name="storagekit", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the system is out of threads
            return bool(self._threads)
        self._threads.add(thread)
        return True

    def _serve(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                while not self._queue:
                    self._idle += 1
                    woken = not self._closed and self._ready.wait(IDLE_SECONDS)
                    self._idle -= 1
                    if not woken and not self._queue:
                        self._threads.discard(me)
                        return
                job = self._queue.popleft()
            try:
                job.run()
            except BaseException:
                with self._lock:
                    self._threads.discard(me)
                raise
            del job  # an idle thread keeps no block and no part alive

    def also_ends(self, other: Endable) -> None:
        """With these threads, end those of *other* too, if there still are any."""
        with self._lock:
            self._others.add(other)

    def close(self) -> None:
        """End the threads when the queue is empty, and wait for them."""
        with self._lock:
            others = list(self._others)
        for other in others:
            other.end_threads()
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            self._ready.notify_all()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def reset_after_fork(self) -> None:
        """In a forked child: no thread of the parent exists here, and nothing it had queued is ours."""
        self._reset()


class Abandonable(Protocol):
    """Something unfinished that publishes nothing and is cleaned up when it is given up."""

    abandoned: bool
    """True where a finalizer has given it up, and said so, already."""
    ending: Once
    """Over when it has ended, one way or the other."""

    def give_up(self) -> None:
        """Abort it, unless another thread is ending it. Does not raise."""


class Reaper:
    """Does what finalizers leave behind, and gives up what is unfinished when the interpreter exits."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._left: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._unfinished: set[Abandonable] = set()

    def leave(self, work: Callable[[], None]) -> None:
        """Leave *work* to be done soon. Safe in a finalizer: takes no lock, does no I/O."""
        self._left.put(work)

    def watch(self, unfinished: Abandonable) -> None:
        """Keep *unfinished* until ``forget``: it is given up at exit. The reaper's thread runs meanwhile."""
        self._unfinished.add(unfinished)
        exits.prepare()
        self._start()

    @property
    def unfinished(self) -> int:
        """How many writers are neither published nor given up to their end."""
        return len(self._unfinished)

    def forget(self, unfinished: Abandonable) -> None:
        """It was finished or given up."""
        self._unfinished.discard(unfinished)

    def poke(self) -> None:
        """See to it that what was left is done, where no thread is at it. Called whenever something is opened."""
        if not self._left.empty():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._serve, name="storagekit-reaper", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can start any more: at_exit will come by
                return
            self._thread = thread

    def _serve(self) -> None:
        while True:
            try:
                work = self._left.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._unfinished or not self._left.empty():
                        continue
                    self._thread = None
                    return
            if work is None:  # ``close`` waits for this thread
                return
            self._do(work)
            del work

    @staticmethod
    def _do(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.warning("cleaning up after something that was not closed failed", exc_info=True)

    def close(self) -> None:
        """Give up what is unfinished, and end the thread; a later ``watch`` starts it again."""
        try:
            self.give_up()
        finally:
            with self._lock:
                thread, self._thread = self._thread, None
            if thread is not None and thread is not threading.current_thread():
                self._left.put(None)
                thread.join()

    def drain(self) -> None:
        """Do here and now what was left."""
        while True:
            try:
                work = self._left.get_nowait()
            except Empty:
                return
            if work is None:
                continue
            try:
                self._do(work)
            except BaseException:  # interrupted: it remains to be done, and to do it twice does no harm
                self._left.put(work)
                raise

    def give_up(self) -> None:
        """Abort everything unfinished, and do what was left, here and now."""
        given_up = []
        for unfinished in list(self._unfinished):
            if not unfinished.abandoned:
                given_up.append(repr(unfinished))
            self._do(unfinished.give_up)
            self.drain()  # what an interrupt left of it, where no thread runs any more
            unfinished.ending.wait(ENDING_SECONDS)
        self.drain()
        self._await_thread()
        for name in given_up:  # last, because a warning may be an exception
            warnings.warn(f"unclosed, not published: {name}", ResourceWarning, stacklevel=2)

    def _await_thread(self) -> None:
        """Wait until the thread has done what it took before now."""
        done = threading.Lock()
        done.acquire()
        with self._lock:  # under which the thread ends only if nothing is left
            if self._thread is None or self._thread is threading.current_thread():
                return
            self._left.put(done.release)
        done.acquire(timeout=ENDING_SECONDS)

    def at_exit(self) -> None:
        """Give up what is unfinished, unless that is the parent's and this a forked child."""
        if self._pid == os.getpid():
            self.give_up()

    def reset_after_fork(self) -> None:
        """In a forked child: what is unfinished belongs to the parent."""
        self._reset()
