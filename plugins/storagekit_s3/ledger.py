"""The ledger: what one driver has asked of S3, counted; and told to whoever traces.

Both transports write into it, once for each request, when its answer is over: the body of a GET was read to its end, or
let go of.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from storagekit import tracing
from storagekit_s3.errors import store_code_of
from storagekit_s3.processes import ProcessLock

__all__ = ["Ledger", "Line"]


class Ledger:
    """Counts of one driver. Safe to use from many threads, and in a forked child, which counts on for itself."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._counts: Counter[str] = Counter()

    def counts(self) -> Mapping[str, int]:
        """What was counted so far."""
        with self._lock():
            return dict(self._counts)

    def begin(self, operation: str, method: str, url: str, sent: int = 0) -> Line:
        """A request begins."""
        return Line(self, operation, method, url, sent)

    def write(self, line: Line) -> None:
        """A request is over."""
        with self._lock():
            counts = self._counts
            counts["requests"] += 1
            counts["bytes_sent"] += line.sent
            counts["bytes_received"] += line.received
            if line.attempts > 1:
                counts["retries"] += line.attempts - 1
            if line.error:
                counts["errors"] += 1
        if tracing.tracing():
            seconds = time.monotonic() - line.begun
            tracing.note(
                tracing.Request(
                    line.operation,
                    line.method,
                    line.url,
                    line.sent,
                    line.received,
                    line.attempts,
                    seconds,
                    line.error,
                )
            )


class Line:
    """One request in the ledger. It is written down once, by ``close``."""

    __slots__ = ("_ledger", "attempts", "begun", "error", "method", "operation", "received", "sent", "url")

    def __init__(self, ledger: Ledger, operation: str, method: str, url: str, sent: int) -> None:
        self._ledger: Ledger | None = ledger
        self.operation = operation
        self.method = method
        self.url = url
        self.sent = sent
        self.received = 0
        self.attempts = 1
        self.error = ""
        self.begun = time.monotonic()

    def fail(self, error: OSError) -> None:
        """It came to this."""
        code = store_code_of(error)
        self.error = f"{type(error).__name__} {code}" if code else type(error).__name__
        self.attempts = getattr(error, "attempts", self.attempts)
        self.close()

    def close(self) -> None:
        """It is over."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.write(self)
