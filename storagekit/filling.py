"""Filling: a long read, fetched over many connections at once, straight into its result.

Such a read is nobody else's, and it wants all of its bytes before it returns. So its requests need no blocks and no
window: they are cut, as many as there may be are under way at any time, and each receives into its own place. The
caller's thread works as one of them. The first error ends them all and is raised.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from storagekit.deadlines import carried
from storagekit.flights import RECEIVE, Incoming, Source
from storagekit.transfers import Job, Transfers

__all__ = ["Filling"]


class Filling:
    """Parts of an object on their way to their places."""

    def __init__(
        self,
        source: Source,
        parts: Sequence[tuple[int, memoryview]],
        on_request: Callable[[], None],
        on_fetched: Callable[[int], None],
    ) -> None:
        """*parts* are pairs of an offset in the object and the place for the bytes from there on."""
        self._source = source
        self._parts = deque(parts)
        self._on_request = on_request
        self._on_fetched = on_fetched
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def run(self, transfers: Transfers, connections: int) -> None:
        """Fetch everything over so many *connections*; return when the last byte is in its place."""
        helpers = [Job(carried(self._work)) for _ in range(min(connections, len(self._parts)) - 1)]
        try:
            for helper in helpers:
                transfers.submit(helper)
            self._work()
            self._await(helpers)
            self._work()  # what a helper left that was interrupted
        except BaseException as error:  # an interrupt of this thread
            self._fail(error)
        finally:
            self._await(helpers)
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this frame

    def _await(self, helpers: Sequence[Job]) -> None:
        """Wait until none of them is at work, however often this thread is interrupted meanwhile.

        Nothing may be written into the result afterwards: whoever owns it may have freed it.
        """
        for helper in helpers:
            while True:
                try:
                    helper.cancel()
                    break
                except BaseException as error:
                    self._fail(error)

    def _work(self) -> None:
        """Fetch one part after another until none is left."""
        while self._error is None:
            try:
                offset, place = self._parts.popleft()
            except IndexError:
                return
            try:
                self._fetch(offset, place)
            except Exception as error:
                self._fail(error)
            except BaseException:  # an interrupt is this thread's own; the part remains to be fetched
                self._parts.append((offset, place))
                raise

    def _fetch(self, offset: int, place: memoryview) -> None:
        incoming = Incoming(self._source, offset, offset + len(place), self._on_request)
        try:
            for start in range(0, len(place), RECEIVE):
                if self._error is not None:
                    return
                piece = place[start : start + RECEIVE]
                incoming.fill(piece)
                self._on_fetched(len(piece))
        finally:
            incoming.close()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None or not isinstance(error, Exception):  # an interrupt must not get lost
                self._error = error
        self._parts.clear()
