"""once: the first who takes it has it, and those who wait learn when it is over, even from one who cannot tell them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from storagekit.once import Once

GUARD = 30.0


def test_of_many_at_once_exactly_one_has_it() -> None:
    with ThreadPoolExecutor(8) as threads:
        for _ in range(200):
            once, start = Once(), threading.Barrier(8)

            def take(once: Once = once, start: threading.Barrier = start) -> bool:
                start.wait(GUARD)
                return once.take(object())

            assert sum(done.result(GUARD) for done in [threads.submit(take) for _ in range(8)]) == 1
            assert once.taken
            assert not once.over


def test_the_same_one_does_not_take_it_twice_for_others() -> None:
    once, me = Once(), object()
    assert once.take(me)
    assert not once.take(object())
    assert once.takers[:1] == [me]


def test_all_who_wait_are_woken() -> None:
    once = Once()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(once.wait) for _ in range(8)]
        assert once.wait(0.01) is False
        once.over = True
        once.ring()
        once.ring()
        assert all(done.result(GUARD) for done in waiting)
    assert once.wait(0)


def test_who_was_not_woken_looks_by_itself() -> None:
    """As when an interrupt came between the end and the waking."""
    once = Once()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(once.wait)
        time.sleep(0.05)
        once.over = True
        assert waiting.result(GUARD)
