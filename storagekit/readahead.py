"""Read-ahead: how far to read ahead, and when. Pure arithmetic: no I/O, no threads, no clock.

A window belongs to one handle. It watches the reads that reach the blocks, each a byte range, and
keeps a score of how sequential they are: a read that continues the last one counts ``CONTINUES``, one a
short stride further on counts ``STRIDES`` (the headers of a tar archive), anything else sets it
back to zero. At ``OPENS`` the window opens. The first read of a handle starts with one point if it begins
at the start of the object, as a scan does; so a scan pays for one demand read before it runs ahead, while
random reads, of which hardly ever two in a row are neighbours, never fetch more than they touch.

An open window asks for ``size`` bytes beyond the last read, and asks again when half of it has been
consumed (Linux's marker), so requests overlap with consumption. It grows by doubling whenever
the reader had to wait (a *stall*): a consumer slower than the store never makes it grow, one that is
faster gets to ``most`` in a few round trips. ``most`` is what the budget has room for, and is told anew
with every call, because other handles come and go.
"""

from __future__ import annotations

__all__ = ["Window"]

KiB = 1024
MiB = 1024 * KiB

# The first step: at 80 MB/s per connection and 28 ms to the first byte, 1 MiB keeps one connection busy a third
# of the time, and is what is lost at most if the second read was the last one.
FIRST = 1 * MiB

# A longer jump is cheaper to skip than to read: 1 MiB takes 13 ms at 80 MB/s, a new request 28 ms.
STRIDE = 1 * MiB

# Per-connection rate x time to first byte is about 2.3 MB; a request of 8 MiB spends under a quarter of its
# time waiting, and a buffer beyond 16 MiB costs more in page faults than it saves in requests.
LARGEST_REQUEST = 8 * MiB

# A window is requested in at least this many pieces, so that several connections share the work.
PIECES = 16

CONTINUES = 2
STRIDES = 1
OPENS = 3


class Window:
    """How far one handle reads ahead.

    >>> from storagekit.readahead import Window
    >>> window = Window()
    >>> end = 1 << 30
    >>> window.read(0, 65536, limit=end, most=1 << 26)       # the start of the object: nothing yet
    >>> window.read(65536, 131072, limit=end, most=1 << 26)  # it goes on: this read, and 1 MiB beyond
    (65536, 1179648)
    """

    __slots__ = ("_requested", "_score", "_stop", "size")

    def __init__(self) -> None:
        self._stop: int | None = None
        self._score = 0
        self._requested = 0
        self.size = 0
        """Bytes to have requested beyond the last read; 0 while the reads are not sequential."""

    def read(self, start: int, stop: int, *, limit: int, most: int) -> tuple[int, int] | None:
        """Note a read of ``[start, stop)``; answer the byte range to request now, or None.

        The range may begin inside the read itself, where that is not requested yet; whoever fetches
        skips what is there already. Nothing at or beyond *limit* is asked for (the object's end, or the
        end of a known long read). *most* is the largest window, in bytes.
        """
        self._judge(start, stop)
        self._stop = stop
        if self._score < OPENS:
            self.size = 0
            return None
        if not self.size:
            self.size = FIRST
            self._requested = start
        self.size = min(self.size, most)
        self._requested = max(self._requested, start)
        if self.size <= 0 or self._requested - stop > self.size // 2:
            return None
        begin, end = self._requested, min(stop + self.size, limit)
        self._requested = max(begin, end)
        return (begin, end) if begin < end else None

    def _judge(self, start: int, stop: int) -> None:
        last = self._stop
        if last is None:
            self._score = 1 if start == 0 else 0
        elif start == last:
            self._score += CONTINUES
        elif last < start <= max(last + STRIDE, self._requested if self.size else 0):
            self._score += STRIDES
        elif not (self.size and last - STRIDE <= start < last):  # a short step back keeps an open window
            self._score = 0

    def granted(self, stop: int) -> None:
        """Only the bytes up to *stop* could be requested; the rest will be asked for again."""
        self._requested = min(self._requested, stop)

    def stalled(self) -> None:
        """The reader had to wait for its bytes: grow, if the window is open."""
        self.size *= 2

    def open_wide(self, start: int, *, most: int) -> None:
        """A long read from *start* on is known to come: open as wide as the budget allows, at once."""
        self._stop = start
        self._score = OPENS
        self._requested = start
        self.size = most

    @property
    def request(self) -> int:
        """How large one request is to be, in bytes, so that a window is fetched over several connections."""
        return max(FIRST, min(LARGEST_REQUEST, self.size // PIECES))
