"""Native: the file objects of stores that have real files, with what our own readers have beyond the builtin's.

``file://`` opens real files (the ``open_file`` hook), so a binary reader is the builtin's ``io.BufferedReader`` over
a file descriptor; here it gets ``pread`` and ``read_ranges``, which the kernel serves. A plain local path never comes
here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable

from storagekit.errors import unsupported
from storagekit.ranges import Span, check_position, check_ranges

__all__ = ["NativeReader"]

LEAST_ASKED = 64 * 1024

# The system counts in 63 bits; no file goes beyond half of that.
LARGEST_FILE = 1 << 62


class NativeReader(io.BufferedReader):
    """The C buffer over a file descriptor."""

    def pread(self, offset: int, size: int, /) -> bytes:
        """See ``BufferedReader.pread``."""
        start, stop = check_position(self.name, offset, size)
        return self.read_ranges([(start, stop)])[0]

    def read_ranges(self, ranges: Iterable[Span], /) -> list[bytes]:
        """See ``BufferedReader.read_ranges``."""
        descriptor = self.fileno()
        if not hasattr(os, "pread"):
            raise unsupported(self.name, "this system has no pread; seek and read instead")
        return [_read(descriptor, start, stop) for start, stop in check_ranges(self.name, ranges)]


def _read(descriptor: int, start: int, stop: int) -> bytes:
    """Bytes ``[start, stop)``, fewer at the end of the file. One read may bring fewer, as of a very long range."""
    # The system makes room for all that is asked for, so that is what the file holds, or a little where it does not
    # tell, as below /proc.
    most = max(LEAST_ASKED, os.fstat(descriptor).st_size - start)
    stop = min(stop, LARGEST_FILE)
    pieces = []
    while start < stop and (piece := os.pread(descriptor, min(most, stop - start), start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
