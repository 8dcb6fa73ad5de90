"""The body of an object's bytes, as boto3 gives it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Any

import storagekit.errors
from storagekit import deadlines
from storagekit.location import Location
from storagekit_s3 import errors
from storagekit_s3.ledger import Line

__all__ = ["BotoBody"]

# What is left of a body is read to keep its connection where that costs less than a new one and it has come
# already: about what a socket's buffer holds.
DRAIN_BYTES = 64 * 1024

# Where nothing less can be read than what was asked for, so many bytes are waited for under a deadline.
LEAST_READ = 4096

# A buffer of that size is made for what the socket has, which is seldom more.
MOST_READ = 256 * 1024

# Bodies that were open at a fork, in the child. They are kept, because their end would be that of the parent's socket.
_inherited: list[Any] = []


class BotoBody:
    """The body of a GetObject reply.

    ``StreamingBody.readinto`` costs one copy more than reading from the socket would; going below
    urllib3 to save it was measured and gains little while the request itself goes through botocore.

    It also waits until the view is full, however slowly that comes about. So under a deadline only as much is read at
    once as the socket has (``_read_some``).
    """

    def __init__(self, stream: Any, location: Location, length: int | None, read_timeout: float, line: Line) -> None:
        self._stream = stream
        self._line = line
        self._read_timeout = read_timeout
        self._location = location
        self._left = length
        self._ended = False
        self._process = os.getpid()
        self._hurried = False

    def readinto(self, view: memoryview, /) -> int:
        if self._process != os.getpid():
            text = "The connection was that of another process, before it forked"
            raise storagekit.errors.describe(storagekit.errors.os_error(errno.ECONNRESET, self._location, text))
        try:
            self._hurry()
            count = self._read_some(view) if self._hurried else int(self._stream.readinto(view))
        except Exception as error:
            self._ended, self._left = True, None
            raise errors.client_error(error, "GetObject", self._location) from error
        self._line.received += count
        if self._left is not None:
            self._left -= count
        self._ended = count == 0 or self._left == 0
        return count

    def _read_some(self, view: memoryview) -> int:
        """Read what comes first, which may be less than fits into *view*."""
        stream = self._stream
        raw: Any = getattr(stream, "_raw_stream", None)
        if not hasattr(raw, "read1"):  # an old urllib3: what has come before is not lost, but waited for
            return int(stream.readinto(view[:LEAST_READ]))
        data = raw.read1(min(len(view), MOST_READ))
        view[: len(data)] = data
        stream._amount_read += len(data)  # which it compares with the length in the end
        if not data and len(view):
            stream._verify_content_length()
        return len(data)

    def _hurry(self) -> None:
        """Wait no longer than the caller has time."""
        left = deadlines.remaining()
        if left == 0.0:
            raise TimeoutError(errno.ETIMEDOUT, "the caller's time is over")
        if self._ended:  # and its connection is no more its own
            return
        if left is not None:
            self._stream.set_socket_timeout(min(left, self._read_timeout))
        elif self._hurried:
            self._stream.set_socket_timeout(self._read_timeout)
        self._hurried = left is not None

    def _is_hurried(self) -> bool:
        return self._hurried or deadlines.remaining() is not None

    def close(self) -> None:
        self._line.close()
        if self._stream is None:
            return
        if self._process != os.getpid():
            _inherited.append(self._stream)
            self._stream = None
            return
        stream, self._stream = self._stream, None
        with suppress(Exception):  # the connection is given up then, and there is nobody to tell
            if not self._ended and self._left is not None and self._left <= DRAIN_BYTES and not self._is_hurried():
                self._drain(stream)
        with suppress(Exception):
            stream.close()

    def _drain(self, stream: Any) -> None:
        """Read what is left, so that the connection is kept; fail where that would have to be waited for."""
        connection = stream._raw_stream.connection  # which is given back with the last byte
        stream.set_socket_timeout(0)
        stream.read()
        connection.sock.settimeout(self._read_timeout)
