"""Pace: how long a store takes to answer, and how fast it then sends. Pure arithmetic: no I/O, no threads, no clock.

One ``Pace`` is shared by all handles on a container, so that the next one starts with what the last has learnt. It
weighs in every answer that is long enough to tell a rate. Threads may note at the same time: then a sample
is lost, which costs nothing.

Two things follow from it. *How large one request is*: a connection waits for the first byte and then receives, so
the request is a few times what would have arrived during the wait; then most of its time is spent receiving.
*Whether one connection is enough*: through a fast link, bytes arrive faster than they can be copied
twice, and then a single body, read where it is needed, beats any number of them that threads hand over.
"""

from __future__ import annotations

__all__ = ["LARGEST_REQUEST", "SMALLEST_REQUEST", "TELLING", "Pace"]

MiB = 1024 * 1024

# A request spends WAITS times as long receiving as it spends waiting: four fifths of what the connection can do.
WAITS = 4

# 2 MiB at 80 MB/s are 26 ms, as long as the first byte takes: smaller ones mostly wait, and each costs a millisecond
# of CPU.
SMALLEST_REQUEST = 2 * MiB
# 28 ms x 80 MB/s x WAITS is 9 MB; and the more goes into one request, the later its last byte comes.
LARGEST_REQUEST = 8 * MiB

# A shorter answer tells no rate: its bytes may all have been in the buffers on the way already.
TELLING = 1 * MiB

# Bytes per second. No object store sends that fast through one connection over a network; a server on this machine or
# in the next rack does. Once it is fast it stays so until it is much slower: the two ways are not to alternate.
FAST = 400_000_000
NO_LONGER_FAST = 200_000_000
# Seconds. What takes longer to answer is not near, however fast bytes seemed to come: they may have piled up on this
# machine while the interpreter was busy.
NEAR = 0.020
# One answer at this rate is proof that it is not.
SLOW = 100_000_000

# An answer that takes so many times as long as usual is one of the slow few in a hundred that every large store has:
# who needs it asks again rather than wait, as AWS advises ("Best practices design patterns: optimizing Amazon S3
# performance", "Timeouts and retries for latency-sensitive applications").
# First bytes that vary by a quarter around their median are that late in three of a thousand.
PATIENCE = 2.0
# Below this, seconds, it is this machine that was busy elsewhere.
LEAST_PATIENCE = 0.05

# The share of a new sample in the average: the last ten or so decide.
SHARE = 0.2


class Pace:
    """Seconds to the first byte, and bytes per second after it, of one connection.

    >>> from storagekit.pace import Pace
    >>> pace = Pace()
    >>> pace.note(0.050, 1 << 20, 1 / 20)  # 50 ms to the first byte, then 1 MiB at 20 MiB/s
    >>> pace.request / (1 << 20)
    4.0
    """

    __slots__ = ("fast", "first_byte", "rate")

    def __init__(self) -> None:
        self.first_byte: float | None = None
        """Seconds from asking to the first byte; None before the first sample."""
        self.rate: float | None = None
        """Bytes per second through one connection; None before the first sample."""
        self.fast = False
        """True where one connection outruns what several could bring through threads."""

    def note(self, first_byte: float, size: int, seconds: float) -> None:
        """An answer came after *first_byte* seconds, and its *size* bytes took another *seconds*."""
        if size < TELLING:
            return
        rate = size / max(seconds, 1e-6)
        if self.rate is None or self.first_byte is None or (self.fast and rate < SLOW):
            self.first_byte, self.rate = first_byte, rate
        else:
            self.first_byte += SHARE * (first_byte - self.first_byte)
            self.rate += SHARE * (rate - self.rate)
        if self.fast:
            self.fast = self.rate >= NO_LONGER_FAST
        else:
            self.fast = self.rate >= FAST and self.first_byte <= NEAR

    @property
    def patience(self) -> float | None:
        """Seconds after which a first byte is overdue; None where nothing is known."""
        return None if self.first_byte is None else max(LEAST_PATIENCE, PATIENCE * self.first_byte)

    @property
    def request(self) -> int:
        """How large one request is to be at most, in bytes."""
        if self.rate is None or self.first_byte is None:
            return LARGEST_REQUEST
        return max(SMALLEST_REQUEST, min(LARGEST_REQUEST, int(WAITS * self.first_byte * self.rate)))
