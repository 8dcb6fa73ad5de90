"""What happens around a call of boto3's: its attempts, and the time that its caller has.

botocore retries by itself, and reports only the last attempt. Its events tell of each. So here is kept, for the thread
that makes a call, what its attempts leave in doubt: for a conditional write "precondition failed" after a lost answer
may mean that the first attempt has succeeded. The same events let a store that is busy slow all threads down together,
as on the wire (``retrying``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import storagekit.errors
from storagekit import deadlines
from storagekit.location import Location
from storagekit_s3 import errors
from storagekit_s3.retrying import Retrying

__all__ = ["BotoSession", "in_time"]


class BotoSession:
    """A client, which is safe to use from many threads of the process that made it, and what its attempts left open."""

    def __init__(self, client: Any, retrying: Retrying) -> None:
        self.client = client
        self.call = _Call()
        self._retrying = retrying
        # The very first, because mocks answer in this event too.
        client.meta.events.register_first("before-send.s3", self._begin_attempt)
        client.meta.events.register("needs-retry.s3", self._note_attempt)

    def _begin_attempt(self, **_: Any) -> None:
        """Called by botocore before each attempt."""
        self._retrying.turn(self.call.location)
        if self.call.attempts:
            self._retrying.note(self.call.operation, self.call.location, self.call.reason)
        self.call.attempts += 1

    def _note_attempt(self, response: Any, caught_exception: Any, **_: Any) -> None:
        """Called by botocore after each attempt, with its response or its exception."""
        call = self.call
        if caught_exception is not None:
            doubt: errors.Doubt = None if errors.is_unsent(caught_exception) else "lost"
            call.reason = type(caught_exception).__name__
        else:
            http, parsed = response
            failed = http.status_code >= 300 or "Error" in parsed
            code = str(parsed.get("Error", {}).get("Code", ""))
            doubt = errors.status_doubt(http.status_code) if failed else None
            call.reason = f"{http.status_code} {code}"
            self._retrying.answered(busy=failed and errors.is_busy(http.status_code, code))
        if call.doubt != "lost":
            call.doubt = doubt or call.doubt


class _Call(threading.local):
    """The request that a thread is making, over all of its attempts."""

    def __init__(self) -> None:
        self.begin("", Location("s3", "", ""))

    def begin(self, operation: str, location: Location) -> None:
        """Count from nothing."""
        self.operation = operation
        self.location = location
        self.doubt: errors.Doubt = None
        self.attempts = 0
        self.reason = ""
        """What was wrong with the last attempt."""


def in_time(ask: Callable[[], dict[str, Any]], operation: str, location: Location) -> dict[str, Any]:
    """What *ask* answers, if it does so in the time that the caller has left.

    botocore's time-outs belong to its client, not to a request; and a thread that waits in it cannot be called back. So
    it waits in a thread of its own, and where that takes too long it is left to itself, until those time-outs end it.
    """
    answered: SimpleQueue[tuple[dict[str, Any] | None, Exception | None]] = SimpleQueue()
    late = threading.Event()

    def run() -> None:
        try:
            reply = ask()
        except Exception as error:
            answered.put((None, error))
            return
        answered.put((reply, None))
        if late.is_set() and "Body" in reply:
            reply["Body"].close()

    threading.Thread(target=deadlines.carried(run), name="storagekit-boto3", daemon=True).start()
    try:
        reply, failure = answered.get(timeout=deadlines.remaining())
    except Empty:
        late.set()
        error = storagekit.errors.describe(deadlines.expired(location, f"{operation} was not answered"))
        error.doubt = "lost"  # type: ignore[attr-defined]
        raise error from None
    if failure is not None:
        raise failure
    assert reply is not None
    return reply
