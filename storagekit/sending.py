"""Sending: the bytes of one object become parts, on their way to the store with bounded memory, and end once.

``PartSender`` collects bytes into parts and sends them side by side; in the end it publishes what it has, or aborts.
Nothing above it needs to know of parts. Of an object that is edited it may have the store copy what did not change
(``splice``), so that an append to a large object moves only what is new.

The first failure of a part poisons it: a later ``publish`` raises it again. In a forked child an inherited one is dead:
it neither sends, nor publishes, nor aborts what its parent is writing.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Callable

from storagekit import deadlines
from storagekit.driver import ObjectWriter, Stat
from storagekit.errors import OutcomeUnknownError, os_error
from storagekit.once import Once
from storagekit.room import Room
from storagekit.transfers import Job, Reaper, Transfers

__all__ = ["PartSender"]

logger = logging.getLogger(__name__)


class PartSender:
    """The parts of one object on their way out. Used by one thread at a time, but for ``abort``.

    It ends once: by the first of ``publish`` and ``abort`` that takes ``ending``. Until that is over the reaper keeps
    it, so that nothing exits or closes in the middle of it.
    """

    def __init__(self, writer: ObjectWriter, url: str, transfers: Transfers, reaper: Reaper, room: Room) -> None:
        self.url = url
        self.written = 0
        """Bytes taken in so far."""
        self.abandoned = False
        """True once it was given up on nobody's time; the abort itself may still be the reaper's to do."""
        self.unseen = False
        """True where a buffer above may have held bytes that are not in ``written``."""
        self._writer = writer
        self._transfers = transfers
        self._reaper = reaper
        self._room = room
        self._pid = os.getpid()
        self._part = bytearray()
        self._number = 1
        self._size = self._part_size(1)
        self._sent = 0
        self._copies = writer.copies
        self._copied = False
        self._jobs: deque[Job] = deque()
        self._failure: Exception | None = None
        # What an interrupt left may be done by two threads, the reaper's and the one that exits.
        self._cleaning = threading.Lock()
        self.ending = Once()
        """Over when it has been published or given up, and nothing of it is under way any more."""
        reaper.watch(self)

    def __repr__(self) -> str:
        return f"<writer of {self.url!r}>"

    @property
    def ended(self) -> bool:
        """True once it is being published or given up."""
        return self.ending.taken

    @property
    def inherited(self) -> bool:
        """True in a forked child of the process that opened it."""
        return self._pid != os.getpid()

    def feed(self, data: memoryview) -> None:
        """Take *data* in, sending every part that is full and not the last."""
        self.check()
        try:
            while len(data):
                if len(self._part) >= self._size:
                    self._send()
                room = self._size - len(self._part)
                self._part += data[:room]
                self.written += min(room, len(data))
                data = data[room:]
        except BaseException as error:
            self.poison(error)
            raise

    def poison(self, error: BaseException) -> None:
        """A write failed or was interrupted. How much of it was taken in is unknown to the layer above, which would
        send it again, so nothing is taken in or published any more."""
        if self._failure is None:
            if not isinstance(error, Exception) or isinstance(error, InterruptedError):
                # Not EINTR, which the C buffer takes for a reason to write again, at once and for ever.
                message = "a write was interrupted, so the object cannot be published"
                error = os_error(errno.ECANCELED, self.url, message)
            self._failure = error

    def check(self) -> None:
        """Raise where nothing can be taken in any more."""
        if self.inherited:
            raise os_error(
                errno.EBADF, self.url, f"this writer was inherited through fork: it belongs to process {self._pid}"
            )
        if self._failure is not None:
            raise self._failure
        if self.abandoned or self.ended:
            raise self._given_up()

    def _given_up(self) -> OSError:
        return os_error(errno.ECANCELED, self.url, "this writer was given up, so the object cannot be published")

    def _send(self) -> None:
        """Send the current part in the background, once there is room for it among those in flight."""
        number, offset, body = self._number, self._sent, self._part
        size = len(body)

        def work() -> None:
            try:
                self._writer.write_part(number, offset, [body])
            finally:
                self._room.give(job)

        job = Job(work)
        # Before it has room: wherever an interrupt comes, an abort finds what the room is to be taken back from.
        self._jobs.append(job)
        while len(self._jobs) > 1 and (self._writer.ordered or not self._room.take(job, size)):
            self._settle_oldest()
        if len(self._jobs) == 1:
            self._room.take(job, size, must=True)
        if job.taken:  # by an abort in another thread, which may have looked before there was room to take back
            self._room.give(job)
        self._part = bytearray()
        self._next(size)
        self._transfers.submit(job)

    def _next(self, size: int) -> None:
        """A part of *size* bytes is on its way."""
        self._sent += size
        self._number += 1
        self._size = self._part_size(self._number)

    def splice(self, start: int, stop: int, fetch: Callable[[int, int], None]) -> None:
        """Take in bytes *start* to *stop* (excluded) of the version that is edited.

        The store copies them where it can; the rest, and what fills up a part before them, ``fetch(start, stop)`` has
        to ``feed``.
        """
        self.check()
        while self._copies is not None:
            least, most = self._copies
            filling = max(0, least - len(self._part)) if self._part else 0
            if stop - start - filling < least:
                break
            fetch(start, start + filling)
            start += filling
            if self._part:
                self._send()
            # What would be too short for a part is not left over.
            end = stop if stop - start <= most else min(start + most, stop - least)
            if not self._copy(start, end):
                break
            start = end
        fetch(start, stop)

    def _copy(self, start: int, stop: int) -> bool:
        """Have the store copy a part; False where it turns out that it cannot."""
        number, offset = self._number, self._sent
        if self._copied:
            job = Job(lambda: self._writer.copy_part(number, offset, start, stop))
            self._jobs.append(job)
            self._transfers.submit(job)
        else:  # alone, because only now it shows whether the store can do it
            try:
                self._writer.copy_part(number, offset, start, stop)
            except io.UnsupportedOperation:
                self._copies = None
                return False
            self._copied = True
        self.written += stop - start
        self._next(stop - start)
        return True

    def _part_size(self, number: int) -> int:
        size = self._writer.part_size(number)
        if size < 1:  # which would send empty parts for ever
            raise os_error(errno.EINVAL, self.url, f"the driver wants {size} bytes in part {number}")
        return size

    def _settle_oldest(self) -> None:
        try:
            job = self._jobs[0]
            # Until it is over it stays in the queue, where an abort finds and awaits it.
            if not job.result(deadlines.remaining()):
                raise deadlines.expired(self.url, "a part is still on its way")
            self._jobs.popleft()
        except IndexError:
            if not self.ended:
                raise
            raise self._given_up() from None  # an abort in another thread has emptied the queue

    def publish(self) -> Stat:
        """Send what is left and publish the object; raise, having aborted, where that fails."""
        try:
            self.check()
        except BaseException:
            self.abort()
            raise
        me = object()
        try:
            if not self.ending.take(me):
                raise self._given_up()  # another thread was faster; what is left here is not the whole any more
            if self._number == 1:
                stat = self._writer.put([self._part] if self._part else [])
            else:
                if self._part:
                    self._send()
                while self._jobs:
                    self._settle_oldest()
                stat = self._writer.commit()
            self._finish()
        except BaseException as error:
            if self.ending.takers[:1] == [me]:
                certain = isinstance(error, Exception) and not isinstance(error, OutcomeUnknownError)
                self._end(certain=certain)
            raise
        finally:
            if self.ending.takers[:1] == [me] and not self.ending.over:
                self._reaper.leave(self._clean_up)  # an interrupt has left it
        return stat

    def _finish(self) -> None:
        self._reaper.forget(self)
        self.ending.over = True
        self.ending.ring()

    def abort(self) -> None:
        """Give the object up: wait for the parts in flight, then remove what was sent. Raises interrupts only."""
        if self.inherited:
            return
        me = object()
        try:
            if self.ending.take(me):
                self._end()
        finally:
            if self.ending.takers[:1] == [me] and not self.ending.over:
                self._reaper.leave(self._clean_up)  # an interrupt has left it

    def _end(self, *, certain: bool = True) -> None:
        """End without having published; *certain* is False where the store may have published it all the same.

        The rest is done here, or on nobody's time where the caller's is limited: parts in flight have to be waited for.
        """
        if not certain:
            logger.warning("%r: it is not known whether what was written is published", self.url)
        elif self.unseen:
            logger.warning("%r was not closed: what was written is discarded, nothing is published", self.url)
        elif self.written:
            message = "%r: %d bytes that were written are discarded, nothing is published"
            logger.warning(message, self.url, self.written)
        if deadlines.remaining() is None:
            self._clean_up()
        else:
            self.abandoned = True
            self._reaper.leave(self._clean_up)

    def _clean_up(self) -> None:
        """Wait for the parts in flight and remove what was sent, unless that is over. To do it again does no harm."""
        with self._cleaning:
            if not self.ending.over:
                self._remove()
                self._finish()

    def _remove(self) -> None:
        try:
            for job in list(self._jobs):
                job.cancel()
                self._room.give(job)
            self._jobs.clear()
            self._part = bytearray()
            try:
                self._writer.abort()
            except OSError:  # once more, on nobody's time: what hindered it has often passed by then
                self._reaper.leave(self._abort_again)
        except Exception:
            self._warn_of_remains()

    def _abort_again(self) -> None:
        try:
            self._writer.abort()
        except Exception:
            self._warn_of_remains()

    def _warn_of_remains(self) -> None:
        logger.warning("%r: an unfinished upload may remain", self.url, exc_info=True)

    def abandon(self) -> None:
        """Leave the abort to the reaper: all that a finalizer may do."""
        if not self.ended and not self.inherited:
            self.abandoned = self.unseen = True
            self._reaper.leave(self.abort)

    def give_up(self) -> None:
        """Abort it, still open as it is: the reaper does so at exit. What buffers above hold is lost uncounted."""
        self.unseen = True
        self.abort()
