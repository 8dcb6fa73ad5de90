"""Retrying: how long to wait between attempts, and how all threads slow down together.

One ``Retrying`` belongs to a client, so that all requests with one set of connection options share it, whichever
transport makes them.

*A pause* before another attempt doubles with each and is drawn at random below that, so that those who failed together
do not come back together. It is never longer than what is left of the caller's time.

*A store that says that it is busy* says so to one thread, but it means them all. From then on requests keep a distance
from each other, twice as long for every further such answer, and a little shorter for every answer that is none. So a
client finds the rate that it may have, from above and from below, and 32 threads take turns instead of failing one by
one.

The first retry is told as a warning, for it may explain why a program is slow; further ones are for those who look.
"""

from __future__ import annotations

import logging
import time

from storagekit import deadlines
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.location import Location
from storagekit_s3.processes import ProcessLock

__all__ = ["Retrying"]

logger = logging.getLogger(__name__)

# The longest pause between two attempts, in seconds; the first is half a second on average; as botocore's.
LONGEST_PAUSE = 20.0

# The distance between two requests after the first complaint: 200 in a second, which is a tenth of what a client in
# Python can ask for, and a fiftieth of what S3 promises for one prefix.
FIRST_DISTANCE = 0.005
LONGEST_DISTANCE = 1.0
# Complaints within so many seconds are about the same burst, and count once.
BURST = 0.5
# By how much an answer without complaint shortens the distance: from the first to none in some fifty answers.
RECOVERY = 0.97
# A distance below this, in seconds, is less than a request costs anyway.
LEAST_DISTANCE = 0.001


class Retrying:
    """What the requests of one client know of each other's failures. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._distance = 0.0
        self._next = 0.0
        self._complained = float("-inf")
        self._told = False

    @property
    def distance(self) -> float:
        """Seconds between two requests at this moment; 0.0 where the store has not complained, or not lately."""
        return self._distance

    def turn(self, location: Location) -> None:
        """Wait until it is this request's turn."""
        if not self._distance:
            return
        with self._lock():
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._distance
        wait(turn - now, location)

    def answered(self, *, busy: bool) -> None:
        """Note an answer of the store, and whether it was a complaint."""
        if not busy and not self._distance:
            return
        with self._lock():
            if busy:
                now = time.monotonic()
                if now - self._complained >= BURST:
                    self._complained = now
                    self._distance = min(max(2 * self._distance, FIRST_DISTANCE), LONGEST_DISTANCE)
            else:
                shorter = self._distance * RECOVERY
                self._distance = shorter if shorter >= LEAST_DISTANCE else 0.0

    def succeeded(self, operation: str, location: Location, doubt: str | None) -> None:
        """Note a success, and say so where an attempt before it, whose answer was lost, may have left something:
        each CreateMultipartUpload makes an upload of its own, and only its answer has the id to abort it by."""
        self.answered(busy=False)
        if doubt == "lost" and operation == "CreateMultipartUpload":
            logger.warning("an unfinished upload may remain at %s: the first answer was lost", location)

    def pause(self, operation: str, location: Location, reason: str, attempt: int) -> None:
        """Wait before another attempt, of which there were *attempt* until now; ``TimeoutError`` where no time is left
        for it."""
        with guarded(IMPORT_SECONDS):
            import random  # which is slow to import, and seldom needed

        seconds = min(random.random() * 2 ** (attempt - 1), LONGEST_PAUSE)
        self.note(operation, location, reason, f"again in {seconds:.2f} s")
        wait(seconds, location, f"{reason}, in attempt {attempt}")

    def note(self, operation: str, location: Location, reason: str, then: str = "again") -> None:
        """Say that an attempt has failed and another one follows."""
        if self._told:
            logger.debug("%s %s: %s; %s", operation, location.url, reason, then)
        else:
            self._told = True
            more = "further retries of this client are logged at level DEBUG"
            logger.warning("%s %s: %s; %s (%s)", operation, location.url, reason, then, more)


def wait(seconds: float, location: Location, why: str = "") -> None:
    """Wait so many seconds; ``TimeoutError`` at once where the caller has not as many."""
    left = deadlines.remaining()
    if left is not None and seconds >= left:
        raise deadlines.expired(location, why)
    if seconds > 0:
        time.sleep(seconds)
