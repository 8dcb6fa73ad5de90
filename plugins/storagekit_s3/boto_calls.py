"""What happens around a call of boto3's: its attempts, and the time that its caller has.

botocore makes one attempt of each (``boto_client``); whether another one follows is decided here, by the rules of the
wire and with its pauses (``errors``, ``retrying``). botocore's own count of what it may still try belongs to its
client: after a burst of failures nobody's request is tried twice, whatever its caller has asked for. And it goes on
trying in a thread that nobody waits for any more, where a late PUT may overwrite what was written since.

A ``Call`` is one request over all of its attempts. It knows what they leave in doubt: for a conditional write
"precondition failed" after a lost answer may mean that the first attempt has succeeded. Its caller may give it up, from
another thread than the one that makes it. From then on nothing of it is sent, and its connection is ended.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any

import storagekit.errors
from storagekit import deadlines
from storagekit.location import Location
from storagekit_s3 import errors
from storagekit_s3.retrying import Retrying
from storagekit_s3.routes import TOTAL_ATTEMPTS

__all__ = ["BotoSession", "Call", "current", "in_time"]


class Call:
    """One request, over all of its attempts, and whether there is still somebody who waits for it."""

    def __init__(self, operation: str, location: Location) -> None:
        self.operation = operation
        self.location = location
        self.attempts = 0
        self.doubt: errors.Doubt = None
        """What the attempts that are over have left open."""
        self.late: OSError | None = None
        """What ended it where that was neither an answer nor a failure, but the caller's time."""
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._sent = False
        self._answered = False
        self._given_up = False
        self._socket: Any = None

    # ------------------------------------------------------------ by the thread that makes it

    def check(self) -> None:
        """Raise where nobody waits any more, before something is sent."""
        if self._given_up or deadlines.remaining() == 0.0:
            raise deadlines.expired(self.location, self._unanswered())

    def leave(self) -> None:
        """From here on a byte of this attempt may leave."""
        with self._lock:
            self.check()
            self._sent = True

    def connect(self) -> None:
        """A connection is made for it: nothing can have left yet."""
        self._sent = False

    def hold(self, connection: Any) -> None:
        """It is about to be sent over *connection*, a socket, which is now its own."""
        with self._lock:
            self.check()
            self._socket, self._sent = connection, True

    def let_go(self) -> None:
        """Its connection goes back to the others, and may be another's next."""
        with self._lock:
            self._socket = None

    def end_attempt(self, doubt: errors.Doubt) -> None:
        """An attempt has failed, and leaves that in *doubt*."""
        with self._lock:
            self._sent, self._socket = False, None
            if self.doubt != "lost":
                self.doubt = doubt or self.doubt

    @property
    def sent(self) -> bool:
        """Whether a byte of the present attempt may have left."""
        return self._sent

    def end_late(self, late: OSError) -> OSError:
        """*late*, the error of a call without time, with what the attempts have left open."""
        late.doubt = self.doubt  # type: ignore[attr-defined]
        self.late = storagekit.errors.describe(late)
        return self.late

    def answered(self) -> bool:
        """Whether its answer, or its failure, is still waited for; then it cannot be given up any more."""
        with self._lock:
            self._answered, self._socket = not self._given_up, None
            return self._answered

    # ------------------------------------------------------------ by the one that waits for it

    def give_up(self) -> bool:
        """Stop it, so that nothing more of it is sent; False where it has been answered in this moment."""
        with self._lock:
            self._given_up = not self._answered
            if self._given_up and self._socket is not None:
                try:
                    # Not the method of a socket with TLS: that would let go of the encryption first.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except (OSError, TypeError):
                    pass  # it has ended, or is a socket within another one; the time-outs of the client end it
            return self._given_up

    def given_up(self) -> OSError:
        """The error for the one who has given it up."""
        error = storagekit.errors.describe(deadlines.expired(self.location, self._unanswered()))
        error.doubt = "lost" if self._sent else self.doubt  # type: ignore[attr-defined]
        return storagekit.errors.tried(error, max(self.attempts, 1), time.monotonic() - self._begun)

    def _unanswered(self) -> str:
        return f"{self.operation} was not answered in attempt {max(self.attempts, 1)}"


_current: ContextVar[Call | None] = ContextVar("storagekit_s3_boto_call", default=None)


def current() -> Call | None:
    """The call that this thread is making."""
    return _current.get()


class BotoSession:
    """A client, which is safe to use from many threads of the process that made it, and how its calls are tried."""

    def __init__(self, client: Any, retrying: Retrying) -> None:
        self.client = client
        self._retrying = retrying
        self._most = int((client.meta.config.retries or {}).get("total_max_attempts") or TOTAL_ATTEMPTS)
        # The very first, because mocks answer in this event too.
        client.meta.events.register_first("before-send.s3", _before_sending)

    def ask(self, call: Call, send: Callable[[], Any]) -> Any:
        """What *send* answers, in one of its attempts; raise what the last one has raised, or ``call.late``."""
        while True:
            try:
                call.check()
                self._retrying.turn(call.location)
            except TimeoutError as late:
                raise call.end_late(late) from None
            call.attempts += 1
            token = _current.set(call)
            try:
                reply = send()
            except Exception as error:
                reason = self._failed(call, error)
                if reason is None or call.attempts >= self._most:
                    raise
            else:
                self._retrying.succeeded(call.operation, call.location, call.doubt)
                return reply
            finally:
                _current.reset(token)
            try:  # when the client's own exception is out of the way: it may hold a signed request
                self._retrying.pause(call.operation, call.location, reason, call.attempts)
            except TimeoutError as late:
                raise call.end_late(late) from None

    def _failed(self, call: Call, error: Exception) -> str | None:
        """Note what a failed attempt has come to; the reason for another one, None where there is none."""
        response = getattr(error, "response", None)
        if isinstance(response, Mapping):
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            code = str(response.get("Error", {}).get("Code") or status)
            call.end_attempt(errors.status_doubt(status))
            # What began well and ended in an error is the server's failure.
            status = status if status >= 300 else 500
            self._retrying.answered(busy=errors.is_busy(status, code))
            return f"{status} {code}" if errors.is_passing(status, code) else None
        if not call.sent or errors.is_unsent(error):
            call.end_attempt(None)
        else:  # an answer that cannot be read was one of success
            call.end_attempt("failed" if errors.is_unreadable(error) else "lost")
        return type(error).__name__ if errors.is_broken(error) else None


def _before_sending(**_: Any) -> None:
    """Called by botocore before it sends a request, which is signed by then."""
    call = current()
    if call is not None:
        call.leave()


def in_time(call: Call, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What *ask* answers, which makes *call*, if it does so in the time that the caller has left.

    botocore's time-outs belong to its client, not to a request; and a thread that waits in it cannot be called back. So
    it waits in a thread of its own. Where that takes too long the call is given up: its connection is ended, and with
    that the thread. One that finds a host or makes a connection is left to itself, until the time-outs of the client
    end that; it sends nothing any more.
    """
    answers: SimpleQueue[tuple[dict[str, Any] | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        reply, failure = None, None
        try:
            reply = ask()
        except Exception as error:
            failure = error
        try:
            if call.answered():
                answers.put((reply, failure))
            elif reply is not None and "Body" in reply:
                reply["Body"].close()
                reply["line"].close()
        finally:
            del failure  # its traceback holds this frame

    threading.Thread(target=deadlines.carried(run), name="storagekit-boto3", daemon=True).start()
    try:
        reply, failure = answers.get(timeout=min(deadlines.remaining() or 0.0, threading.TIMEOUT_MAX))
    except Empty:
        if call.give_up():
            raise call.given_up() from None
        reply, failure = answers.get()
    except BaseException:  # such as KeyboardInterrupt
        call.give_up()
        raise
    if failure is not None:
        try:
            raise failure
        finally:
            del failure
    assert reply is not None
    return reply
