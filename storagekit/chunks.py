"""Chunks: a listing that is longer than a page, fetched ahead of whoever goes through it.

A driver's listing is an iterator that waits for the store at the end of every page. ``pages_ahead`` stands before
it. The first ``CHUNK`` entries are taken where they are wanted, so a short listing costs no thread and no job, and
a look at its beginning costs the one request that it always did. Once half of a chunk was given out, a job of the
``Transfers`` takes the next one from the driver, as the marker in the kernel's read-ahead has it: a reader that
came halfway will come to the end. So there are at most one chunk and a half at a time: what is left of the one that
is given out, and the one that is being fetched.

*One at a time.* The driver's iterator is touched by the job while there is one, and by nobody else. An error
belongs behind the entries that came before it, and is raised there; after an error or the end, nothing is asked
again.

*The end.* A generator that is left, or collected, sets ``over``: a job that has not begun does not begin, and one
that has stops at the next entry. Nobody waits for it, so this may happen in any thread.

*Fork.* A child has none of its parent's threads. A chunk that had come by then is there; one whose job had not
begun is asked for anew. One that was being fetched is lost with the iterator, which stands in the middle of a step
that nobody will finish: an ``OSError`` says so, where that chunk would begin.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from storagekit import errors
from storagekit.backend import Resource
from storagekit.driver import Stat
from storagekit.transfers import Job, Transfers

__all__ = ["CHUNK", "pages_ahead", "worth_asking_ahead"]

# The most that S3 and those who speak its protocol put into a page: a chunk is one request, and no request serves two.
CHUNK = 1000

# From here on it is likely that the rest is wanted too. Going through the other half takes about a millisecond where
# nothing is done with the entries, and longer than a request where one is made for each.
HALF = CHUNK // 2


def pages_ahead(found: Iterator[Stat], resource: Resource, transfers: Transfers) -> Iterator[Stat]:
    """The entries of *found*, a listing of *resource*, fetched ahead once it proves to be long."""
    for given, stat in enumerate(found, 1):
        yield stat
        if given == HALF:
            break
    else:
        return
    if not worth_asking_ahead(resource):
        yield from found
        return
    chunk = _Chunk(found)
    chunk.fetch(CHUNK - HALF)  # of a page that is here
    coming: _Chunk | None = None
    try:
        while not chunk.last:
            coming = chunk.following(transfers)
            yield from chunk.entries
            chunk = coming
            chunk.wait(resource, transfers)
            if not chunk.last:
                yield from chunk.entries[:HALF]
                del chunk.entries[:HALF]
        yield from chunk.entries
        if chunk.error is not None:
            raise chunk.error
    finally:
        chunk.error = None  # whose traceback holds this frame
        if coming is not None:
            coming.over = True


def worth_asking_ahead(resource: Resource) -> bool:
    """False for real directories: their entries are in the kernel, which reads ahead itself.

    To be asked once a listing was answered: by then a driver that learns from answers what store it has knows it, and
    makes no request. Where it makes one that fails, the listing goes on as it is, and tells itself what is wrong.
    """
    try:
        return resource.traits.implicit_directories
    except OSError:
        return False


class _Chunk:
    """Up to ``CHUNK`` entries, which are there, or on their way."""

    __slots__ = ("_begun", "_found", "_job", "_pid", "entries", "error", "last", "over", "ready")

    def __init__(self, found: Iterator[Stat]) -> None:
        self._found = found
        self._begun = False
        self._job: Job | None = None
        self._pid = os.getpid()
        self.entries: list[Stat] = []
        self.error: BaseException | None = None
        """What the driver raised behind the entries."""
        self.last = False
        """True where nothing follows."""
        self.ready = False
        self.over = False
        """Set by the consumer, who wants no more."""

    def fetch(self, count: int = CHUNK) -> None:
        """Take *count* entries from the driver; its error is kept."""
        if self.over:
            return
        self._begun = True
        try:
            for stat in self._found:
                self.entries.append(stat)
                if len(self.entries) == count or self.over:
                    break
            else:
                self.last = True
        except BaseException as error:
            self.last = True
            self.error = error
            if not isinstance(error, Exception):
                raise  # KeyboardInterrupt and SystemExit are the running thread's own
        finally:
            self.ready = True  # the very last: a forked child goes by it

    def following(self, transfers: Transfers) -> _Chunk:
        """The next chunk, on its way."""
        coming = _Chunk(self._found)
        coming._send(transfers)
        return coming

    def _send(self, transfers: Transfers) -> None:
        self._job = Job(self.fetch)
        transfers.submit(self._job)

    def wait(self, resource: Resource, transfers: Transfers) -> None:
        """Return when it is ready. Raises for what was lost in a fork."""
        if self.ready:  # the job itself is not asked: in a forked child its locks may be held for ever
            return
        if self._pid != os.getpid():
            if self._begun:
                raise errors.os_error(
                    errno.EIO,
                    resource.location,
                    "this listing was being fetched by another thread when the process was forked; list again",
                )
            self._pid = os.getpid()
            self._send(transfers)
        if self._job is not None:
            self._job.result()
