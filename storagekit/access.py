"""Access: one handle's way through its object; what a read fetches, and what is fetched ahead of it.

Every read ends in one of four ways, and each has its module:

* *blocks* shared with others and kept for a while (``blocks``), with read-ahead by a ``Window`` where reads are
  sequential and by ``Runs`` where they jump in a recognisable manner: random reads, and scans of slow links;
* a *stream* (``streaming``): a scan through a link so fast that one connection outruns any threads;
* a *filling* (``filling``): a read of all the rest of a large object, over many connections straight into the result;
* *ranges* asked for in one call, fetched side by side through blocks.

Streams and fillings leave nothing behind in the cache, so they are taken only where no other handle on the same
object is open, and never for small objects, which are likely to be read again.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from storagekit.blocks import BlockCache
from storagekit.filling import Filling
from storagekit.flights import Source
from storagekit.pace import LARGEST_REQUEST, SMALLEST_REQUEST, TELLING
from storagekit.patterns import Runs
from storagekit.ranges import Coming, Span
from storagekit.readahead import CONNECTIONS, STRIDE, Room, Window
from storagekit.settings import BLOCK_SIZE
from storagekit.streaming import Stream

__all__ = ["Access"]

MiB = 1024 * 1024

# The share of the budget that read-ahead plans with, so that 24 requests of 8 MiB fit into the default. The rest is
# for what is being consumed and for what others keep.
AHEAD_SHARE = 3 / 4

# However many handles scan, one gets this much ahead.
LEAST_WINDOW = 256 * 1024

# Two connections at least, or the next request would only begin when the last has ended.
LEAST_CONNECTIONS = 2

# A stream or a filling keeps nothing, and below this an object is likely to be read again and cheap to keep.
LEAST_UNKEPT = 8 * MiB

# What a long read begins with where nothing is known of the link yet: a block, which mostly came with opening, and as
# much as tells a rate. One round trip, once per container.
PROBE = BLOCK_SIZE + TELLING

# A stream that is left before it has brought this much cost more than it gave; after two of those the handle opens no
# more.
LEAST_STREAMED = 8 * MiB
FAILED_STREAMS = 2


class Access:
    """How one handle reads. Used by one thread at a time, but for ``ranges``; others get right bytes all the same."""

    def __init__(self, source: Source, cache: BlockCache, hint: str | None = None) -> None:
        """*hint* is ``"sequential"`` or ``"random"`` where the user has said so."""
        self._source = source
        self._cache = cache
        self._window = Window(eager=hint == "sequential")
        self._scans = hint != "random"
        self._runs = Runs() if hint is None else None
        self._stream: Stream | None = None
        self._streaming = threading.Lock()
        self._failed_streams = 0

    def scans(self, start: int) -> bool:
        """True where a read from *start* on goes on with a scan."""
        return self._window.expects(start)

    # -- one read after another ---------------------------------------------------------------------------

    def read_into(self, start: int, stop: int, view: memoryview) -> None:
        """Fill *view* with bytes ``[start, stop)``, which exist."""
        size = self._source.size
        if stop - start <= LARGEST_REQUEST:
            self._read(start, stop, view, limit=size)
            return
        if stop == size and self._cache.alone(self._source):
            if self._source.pace.rate is None:
                self._read(start, start + PROBE, view[:PROBE], limit=size)
                start, view = start + PROBE, view[PROBE:]
            if not self._source.pace.fast:
                self._fill(start, stop, view)
                return
        if not self._scans:  # no byte more than is asked for
            self._copy(start, stop, view)
            return
        # On a scan this read is only the next; else nothing is known of what comes after it.
        limit = size if self._window.leads_to(start) else stop
        self._window.open_wide(start, min(self._room().most, stop - start))
        for offset in range(start, stop, LARGEST_REQUEST):
            end = min(offset + LARGEST_REQUEST, stop)
            self._read(offset, end, view[offset - start : end - start], limit)

    def _read(self, start: int, stop: int, view: memoryview, limit: int) -> None:
        # Of an object of one block nothing is left to be fetched ahead of any read.
        more = self._look_ahead(start, stop, limit) if self._source.size > BLOCK_SIZE else 0
        done = start
        waited = False
        while done < stop:
            if self._read_stream(done, view[done - start : stop - start]):
                break
            first = done // BLOCK_SIZE
            last = min(-(-stop // BLOCK_SIZE), first + LARGEST_REQUEST // BLOCK_SIZE)
            run, stalled = self._cache.take(self._source, first, last, more=more, scanning=self._window.size > 0)
            waited = waited or stalled
            for segment in run:
                begin = done - segment.start
                piece = memoryview(segment.data)[begin : begin + stop - done]
                view[done - start : done - start + len(piece)] = piece
                done += len(piece)
        if waited:
            self._window.stalled()

    def _look_ahead(self, start: int, stop: int, limit: int) -> int:
        """Fetch ahead of a read what the patterns say; answer up to which block the read's own request should go."""
        window, cache, source = self._window, self._cache, self._source
        runs = self._runs
        wanted = stop if runs is None else runs.read(start, stop)
        hold = not self._scans or (runs is not None and runs.usual)
        ahead = window.read(start, stop, limit=limit, room=self._room(), hold=hold)
        cache.scans(source, start if window.size and stop < source.size else None)
        if window.moved:
            window.moved = False
            cache.abandon(source, keep=start // BLOCK_SIZE)
        if window.size:
            if ahead is not None:
                streaming = self._stream is not None or self._may_stream(ahead[0], limit)
                window.granted(stop if streaming else cache.ahead(source, *ahead, window.request))
            return 0
        if source.flights and not (runs and runs.told):
            cache.abandon(source, keep=start // BLOCK_SIZE)
        for begin, end in [] if runs is None else runs.ahead(limit):
            cache.ahead(source, begin, end, LARGEST_REQUEST)
        return -(-min(wanted, limit) // BLOCK_SIZE)

    def _room(self) -> Room:
        """A fair share: of the budget, though not so little that it is of no use, and of the connections."""
        scanning = max(1, self._cache.scanning)
        budget = int(self._cache.budget * AHEAD_SHARE)
        most = min(budget, max(LEAST_WINDOW, budget // scanning))
        return Room(most, max(LEAST_CONNECTIONS, CONNECTIONS // scanning), self._source.pace.request)

    # -- streams ------------------------------------------------------------------------------------------

    def _read_stream(self, start: int, view: memoryview) -> bool:
        """Fill *view* from the handle's stream, if there is one for bytes from *start* on, or one is worth opening."""
        if not self._window.size or not self._streaming.acquire(blocking=False):
            return False
        try:
            stream = self._stream_at(start)
            if stream is None:
                return False
            try:
                stream.read_into(view)
                return True
            except BaseException:  # after an error or an interrupt nobody knows where it stands
                self._end_stream()
                raise
        finally:
            self._streaming.release()

    def _stream_at(self, start: int) -> Stream | None:
        stream, source = self._stream, self._source
        if stream is not None and source.pace.fast and not stream.inherited:
            gap = start - stream.position
            if 0 <= gap <= STRIDE and start < stream.stop:
                stream.skip(gap)
                return stream
        if not self._may_stream(start, source.size):
            if stream is not None and not source.pace.fast:
                self._end_stream()
            return None
        if not self._cache.missing(source, start, start + 1):
            return None  # it is ready, or on its way
        self._end_stream()
        if self._failed_streams < FAILED_STREAMS:
            self._stream = Stream(source, self._cache, start, source.size)
        return self._stream

    def _may_stream(self, start: int, limit: int) -> bool:
        return (
            self._source.pace.fast
            and self._failed_streams < FAILED_STREAMS
            and limit - start >= LEAST_UNKEPT
            and self._cache.alone(self._source)
        )

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            if stream.delivered < LEAST_STREAMED and stream.position < stream.stop:
                self._failed_streams += 1
            stream.close()

    # -- all the rest -------------------------------------------------------------------------------------

    def _fill(self, start: int, stop: int, view: memoryview) -> None:
        """Fetch what is missing of a long read straight into its place, and copy what is here already."""
        room = self._room()
        missing = self._cache.missing(self._source, start, stop)
        length = sum(end - begin for begin, end in missing)
        # Equal parts, so that no connection is left over with one when the others are done.
        rounds = max(1, -(-length // (room.request * room.connections)))
        request = max(SMALLEST_REQUEST, -(-length // (rounds * room.connections)))
        parts = []
        done = start
        for begin, end in missing:
            self._copy(done, begin, view[done - start :])
            done = end
            for offset in range(begin, end, request):
                parts.append((offset, view[offset - start : min(offset + request, end) - start]))
        if parts:
            Filling(self._source, parts, self._cache.count_request, self._cache.count_fetched).run(
                self._cache.transfers, room.connections
            )
        self._copy(done, stop, view[done - start :])

    def _copy(self, start: int, stop: int, view: memoryview) -> None:
        done = 0
        for piece in self._pieces(start, stop, Coming([(start, stop)], self._cache.budget // 2)):
            view[done : done + len(piece)] = piece
            done += len(piece)

    # -- ranges -------------------------------------------------------------------------------------------

    def ranges(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, fetched side by side. Safe in several threads at once, and moves nothing."""
        results = [b""] * len(spans)
        order = sorted((i for i, (start, stop) in enumerate(spans) if start < stop), key=lambda i: spans[i])
        coming = Coming((spans[i] for i in order), self._cache.budget // 2)
        for i in order:
            whole = io.BytesIO()
            for piece in self._pieces(*spans[i], coming):
                whole.write(piece)
            results[i] = whole.getvalue()
        return results

    def _pieces(self, start: int, stop: int, coming: Coming) -> Iterator[memoryview]:
        """Bytes ``[start, stop)`` piece by piece, while what is *coming* is fetched side by side."""
        last = -(-stop // BLOCK_SIZE)
        while start < stop:
            self._ask(coming, start)
            first = start // BLOCK_SIZE
            run, _ = self._cache.take(self._source, first, min(last, first + LARGEST_REQUEST // BLOCK_SIZE))
            for segment in run:
                begin = start - segment.start
                piece = memoryview(segment.data)[begin : begin + stop - start]
                yield piece
                start += len(piece)

    def _ask(self, coming: Coming, position: int) -> None:
        while (due := coming.due(position)) is not None:
            begin, end = due
            request = max(SMALLEST_REQUEST, min(self._source.pace.request, (end - begin) // CONNECTIONS))
            reached = self._cache.ahead(self._source, begin, end, request, asked_for=True)
            coming.asked(reached)
            if reached < end:
                return  # no room at the moment

    # -- the end ------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Keep nothing of the object's bytes: they are wrong."""
        self._end_stream()
        self._cache.forget(self._source)

    def close(self, later: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Let go of blocks and connections; what does I/O is handed to *later*, if that is given (in a finalizer)."""
        release = partial(self._cache.release, self._source)
        # A finalizer may run inside the lock; if another thread takes it only now, it gives it back. Not so while the
        # interpreter is torn down: a thread that is given the lock then ends with it, before ``locked`` tells of it.
        if later is None or not (self._cache.lock.locked() or sys.is_finalizing()):
            release()
        else:
            later(release)
        stream, self._stream = self._stream, None
        for close in ([] if stream is None else [stream.close]) + [self._source.reader.close]:
            if later is None:
                close()
            else:
                later(close)
