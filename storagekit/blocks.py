"""Blocks: what was read of objects, shared by all handles of a Storage; who fetches, and who waits.

*Blocks and requests are different sizes.* Objects are cut into blocks of ``BLOCK_SIZE`` bytes; asking, finding
and waiting count blocks. A request (a ``Flight``) fetches one contiguous run of missing
blocks, claimed under one hold of the lock; what of it has arrived is there for everyone at once.

*Ready* blocks stand in ``segments``, least recently used first out. *Pending* ones stand apart (there they would
be evicted), and the entry that says "pending" is also what makes fetching
single-flight: who finds one waits for it instead of asking again. Their bytes count against the same
budget, so ready blocks make room for them.

*Demand and read-ahead.* A demand read is always granted, whatever the budget says; read-ahead is
granted what room there is. A demand read gets the bytes of its flight directly and not
through the cache, so one that is too small, or zero, costs speed and never correctness.

*The slow few.* Of a large store's answers one in a hundred takes many times as long as the others, and a scan waits
for each of its bytes in order. So an answer ahead of the reader that is overdue (``Pace.patience``) is given up and
asked for again; and a reader who has come to wait for one asks itself, for just what it needs. What comes late is
still taken in. One request in twenty at most is asked again.

*Cancelling* a flight that others wait for would hurt them. Three rules: a flight with waiters is never
abandoned; a claim treats a block that is pending in an abandoned flight as missing; a waiter whose flight
ended without its block claims it itself. An abandoned flight still runs to its own end, a moment later, and takes
its pending entries away.

*The lock* is held for dictionary work only: never while a driver is called, a body read or bytes copied. A
finalizer may run inside it, so what one has to do here (``release``) it leaves to the reaper where the lock is taken.

*An interrupt* of the thread that runs a flight may come anywhere, and end it before it has landed. So it is landed
again by who ran it (``take``), and to land twice does no harm: what is counted of a flight stands in the flight too,
and both change with no call between them, which is where interrupts come (see ``once``).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

from cachetools import LRUCache

from storagekit.buffers import Buffers
from storagekit.deadlines import expired, remaining
from storagekit.flights import Flight, Incoming, Source
from storagekit.once import LOOK_SECONDS
from storagekit.pace import Pace
from storagekit.segments import LARGEST_SEGMENT, ReadyBlocks, Segment
from storagekit.settings import BLOCK_SIZE
from storagekit.sharing import Scans
from storagekit.tracing import Request, note, tracing
from storagekit.transfers import GRACE_SECONDS, Job, Transfers

__all__ = ["BlockCache", "CacheInfo", "Source"]

# What is cut off for a reader who waits: 3 ms at 80 MB/s.
SEGMENT_IN_DEMAND = 256 * 1024

# What is asked for a second time because its answer is overdue, at most: a few, and one in twenty of all requests.
# Where more than that are slow, it is the store that has too much to do.
AGAIN_AT_FIRST = 2
AGAIN_PER_REQUESTS = 20

# A scan of an object larger than the budget keeps so many blocks behind it, for who steps back a little.
STEP_BACK = 16

# How many containers' paces are remembered.
PACES = 256


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What the block cache has done and holds; counts are since the ``Storage`` was made.

    >>> import storagekit
    >>> storagekit.Storage().cache_info().fetched
    0
    """

    hits: int
    """Blocks that a read found ready."""
    misses: int
    """Blocks that a read had to wait for or fetch."""
    stalls: int
    """Times that a read had to wait; a long read may wait more than once."""
    requests: int
    """Ranges asked of drivers, the heads that came with opening included."""
    fetched: int
    """Bytes received from drivers."""
    unused: int
    """Bytes received that were dropped again before any read used them."""
    cached: int
    """Bytes in ready blocks now."""
    in_flight: int
    """Bytes in pending blocks now."""
    budget: int
    """What ready and pending blocks may hold together, in bytes."""


class BlockCache:
    """The blocks of one Storage."""

    def __init__(self, budget: int, transfers: Transfers) -> None:
        self._budget = budget
        self._transfers = transfers
        self._ready = ReadyBlocks(budget)
        # So many that evicting one frees little, and still large where the budget is.
        self._segment = max(BLOCK_SIZE, min(LARGEST_SEGMENT, budget // 64 // BLOCK_SIZE * BLOCK_SIZE))
        self._buffers = Buffers(self._segment)
        self._pending: dict[tuple[Hashable, int], Flight] = {}
        self._pending_bytes = 0
        self._handles: dict[Hashable, int] = {}
        self._scans = Scans()
        self._counts: Counter[str] = Counter()
        self._paces: LRUCache[Hashable, Pace] = LRUCache(PACES)
        self.lock = threading.Lock()

    # -- handles ------------------------------------------------------------------------------------------

    def attach(self, source: Source) -> None:
        """A handle was opened; take in the head that came with it."""
        head = source.reader.head
        # Whole blocks only, of which the object's last one may be short.
        head = head if len(head) == source.size else head[: len(head) // BLOCK_SIZE * BLOCK_SIZE]
        location = source.reader.stat.location
        with self.lock:
            source.pace = self._paces.setdefault((location.scheme, location.container), source.pace)
            self._handles[source.key] = self._handles.get(source.key, 0) + 1
            source.attached = True
            if not source.reader.head:
                return
            self._counts["requests"] += 1
            self._counts["fetched"] += len(source.reader.head)
            if head and not self._ready.holds(source.key, 0):
                self._make_room(len(head))
                self._keep(Segment(source.key, 0, head))

    def release(self, source: Source) -> None:
        """The handle is closed. To say so again does no harm."""
        with self.lock:
            if not source.attached:
                return
            self._abandon(source, keep=None)
            self._scans.move(source.scan, None)
            left = self._handles[source.key] - 1
            if not left and not source.shared:  # nobody can ever ask for them again
                self._ready.drop(source.key, -(-source.size // BLOCK_SIZE))
            source.attached = False
            if left:
                self._handles[source.key] = left
            else:
                del self._handles[source.key]
            if not self._handles:
                self._buffers.clear()  # nobody reads: memory goes back

    def scans(self, source: Source, offset: int | None) -> None:
        """The handle reads ahead of itself from *offset* on, or, with None, does so no more."""
        place = None if offset is None else (source.key, offset // max(1, self._budget))
        self._scans.read(source.scan)
        if source.scan.place != place:
            with self.lock:
                if source.key in self._handles:  # else it was closed meanwhile, and nobody would take it back
                    self._scans.move(source.scan, place)

    @property
    def scanning(self) -> int:
        """At how many places objects are being read ahead; they share the room, and the handles at one its share."""
        with self.lock:
            return self._scans.count()

    @property
    def budget(self) -> int:
        """Bytes that all blocks may hold together."""
        return self._budget

    @property
    def transfers(self) -> Transfers:
        """The threads that fetch."""
        return self._transfers

    # -- reading ------------------------------------------------------------------------------------------

    def take(
        self, source: Source, first: int, stop: int, *, more: int = 0, scanning: bool = False
    ) -> tuple[list[Segment], bool]:
        """Segments with the blocks from *first* on, at least that one, of those up to *stop*; and whether they had to
        be waited for. The first and the last may hold more than was asked for.

        Ready ones at once. Otherwise waits for a flight that carries the first, or fetches the missing
        run in this thread, up to block *more* where that is beyond *stop*. *scanning* says that
        what is taken will hardly be wanted again. Raises what the driver raised.
        """
        stalled = False
        while True:
            with self.lock:
                passing = scanning and self._scans.alone(source.scan)
                run = self._ready.run(source.key, first, stop, passing=passing)
                if run:
                    self._counts["misses" if stalled else "hits"] += min(stop, run[-1].stop) - first
                    if passing and source.size > self._budget:
                        self._ready.leave_behind(source.key, first - STEP_BACK)
                    if not stalled and tracing():
                        size = source.span(first, min(stop, run[-1].stop) - first)
                        note(Request("cache", "", source.url, received=size, attempts=0))
                    return run, stalled
                if not stalled:
                    self._counts["stalls"] += 1
                    stalled = True
                flight = self._pending.get((source.key, first))
                if flight is None or not flight.in_charge:
                    flight = self._claim(source, first, max(stop, more), wanted=stop)
                    waiting = False
                else:
                    flight.waiters += 1
                    waiting = True
            try:
                if waiting:
                    self._await(flight, first)
                else:
                    flight.job.run()
            finally:
                with self.lock:
                    if flight.job.over and not flight.done:  # an interrupt has ended it in the air
                        self._take_off(flight)
                    run = flight.run(first, stop)
                    if waiting:
                        flight.leave()
                    if run:
                        self._counts["misses"] += min(stop, run[-1].stop) - first
                        if passing:  # else what was just read would be the last to go
                            self._ready.run(source.key, first, min(stop, run[-1].stop), passing=True)
            if run:
                return run, True
            if isinstance(flight.error, Exception) and flight.source is source:
                try:
                    raise flight.error
                finally:
                    del flight  # the error's traceback holds this frame: no cycle through it
            # The flight was another handle's and failed, or it was given up or interrupted: claim the block ourselves.

    def _await(self, flight: Flight, index: int) -> None:
        """Wait until *flight* has brought block *index* or is over; run it here if no thread takes it."""
        ear = flight.arrival.listen()
        if flight.brings(index):
            ear.acquire(timeout=GRACE_SECONDS)
        if not flight.job.taken:
            flight.job.run()
        patience = flight.source.pace.patience
        while True:
            ear = flight.arrival.listen()
            if not flight.brings(index) or flight.overdue:
                return
            left = remaining()
            if left == 0.0:
                raise expired(flight.source.url)
            ear.acquire(timeout=min(LOOK_SECONDS, patience or LOOK_SECONDS, LOOK_SECONDS if left is None else left))
            if patience is not None and flight.unanswered() > patience:
                with self.lock:
                    # Another who waits may have given it up meanwhile: that counts once.
                    flight.overdue = flight.overdue or self._may_ask_again()

    def _may_ask_again(self) -> bool:
        """Under the lock: True, and counted, where asking beside an overdue request is within bounds."""
        if self._counts["again"] >= AGAIN_AT_FIRST + self._counts["requests"] // AGAIN_PER_REQUESTS:
            return False
        self._counts["again"] += 1
        return True

    # -- read-ahead ---------------------------------------------------------------------------------------

    def ahead(self, source: Source, start: int, stop: int, request: int, *, asked_for: bool = False) -> int:
        """Fetch the missing of bytes ``[start, stop)`` in the background, *request* bytes at a time, as room allows.

        The offset up to which everything is there or on its way. What is *asked_for* is not given up when the handle
        goes elsewhere.
        """
        first, last = start // BLOCK_SIZE, -(-min(stop, source.size) // BLOCK_SIZE)
        most = max(1, request // BLOCK_SIZE)
        flights: list[Flight] = []
        try:
            with self.lock:
                flights += self._again(source)
                while first < last:
                    key = (source.key, first)
                    pending = self._pending.get(key)
                    if self._ready.holds(*key) or (pending is not None and not pending.abandoned):
                        first += 1
                        continue
                    room = (self._budget - self._pending_bytes) // BLOCK_SIZE
                    if room <= 0:
                        break
                    flight = self._claim(source, first, min(last, first + min(most, room)), wanted=0)
                    flight.asked_for = asked_for
                    flights.append(flight)
                    first += flight.count
            for flight in flights:
                self._transfers.submit(flight.job)
            return first * BLOCK_SIZE
        except BaseException:  # interrupted: what no thread was told of would stay pending
            for flight in flights:
                with self.lock:
                    flight.abandoned = not flight.waiters
                if flight.abandoned:
                    flight.job.run()
            raise

    def _again(self, source: Source) -> list[Flight]:
        """Under the lock: flights to take the place of those ahead that are overdue, before a reader comes to wait."""
        patience = source.pace.patience
        if patience is None:
            return []
        instead = []
        for late in list(source.flights):
            own = late.in_charge and not late.waiters and not late.demand
            if own and late.unanswered() > patience and self._may_ask_again():
                late.abandoned = True
                first = late.first + late.arrived
                again = self._claim(source, first, late.first + late.count, wanted=0)
                again.asked_for = late.asked_for
                instead.append(again)
        return instead

    def abandon(self, source: Source, keep: int) -> None:
        """The handle went elsewhere: give up what it had asked for ahead, but for the flight with block *keep*."""
        if source.flights:
            with self.lock:
                self._abandon(source, keep)

    def _abandon(self, source: Source, keep: int | None) -> None:
        for flight in source.flights:
            carries = keep is not None and flight.first <= keep < flight.first + flight.count
            kept = keep is not None and flight.asked_for
            if not flight.waiters and not flight.demand and not carries and not kept:
                flight.abandoned = True

    # -- under the lock -----------------------------------------------------------------------------------

    def _claim(self, source: Source, first: int, stop: int, wanted: int) -> Flight:
        """Take charge of the missing blocks from *first* on, up to the first that is there or in charge of another."""
        count = 0
        for index in range(first, stop):
            pending = self._pending.get((source.key, index))
            if self._ready.holds(source.key, index) or (pending is not None and pending.in_charge):
                break
            count += 1
        flight = Flight(source, first, count, wanted)
        flight.job = Job(partial(self._fly, flight))
        size = source.span(first, count)
        self._make_room(size)
        try:
            source.flights.add(flight)
            flight.counted = size
            self._pending_bytes += size
            for index in range(first, first + count):
                self._pending[source.key, index] = flight
        except BaseException:  # interrupted
            self._take_off(flight)
            raise
        return flight

    def _make_room(self, size: int) -> None:
        while self._ready.size and self._ready.size + self._pending_bytes + size > self._budget:
            self._ready.evict()

    def _keep(self, segment: Segment) -> None:
        if len(segment.data) <= self._budget - self._pending_bytes:
            self._ready.keep(segment)
        else:
            self._ready.forget(segment)

    # -- in flight ----------------------------------------------------------------------------------------

    def _fly(self, flight: Flight) -> None:
        """Run a flight: receive piece after piece, make each ready, and at the end take the rest off the books."""
        incoming = None
        try:  # from here on, and nothing before it: what does not land is waited for for ever
            source, start = flight.source, flight.first * BLOCK_SIZE
            stop = min(start + flight.count * BLOCK_SIZE, source.size)
            incoming = flight.incoming = Incoming(source, start, stop, self.count_request)
            while flight.arrived < flight.count and not flight.abandoned:
                incoming.open()  # by the time it answers somebody may have come to wait
                most = min(self._segment, SEGMENT_IN_DEMAND) if flight.waiters else self._segment
                left = flight.count - flight.arrived
                self._arrive(flight, incoming.next_piece(min(left * BLOCK_SIZE, most), self._buffers))
        except BaseException as error:
            flight.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            try:
                if incoming is not None:
                    incoming.close()
            finally:
                self._land(flight)
                del flight  # the error's traceback holds this frame: no cycle through it

    def _land(self, flight: Flight) -> None:
        """A flight is over: take off the books what did not arrive, and tell those who wait."""
        with self.lock:
            self._take_off(flight)

    def _take_off(self, flight: Flight) -> None:
        """Under the lock, and perhaps again."""
        source = flight.source
        for index in range(flight.first, flight.first + flight.count):
            if self._pending.get((source.key, index)) is flight:
                del self._pending[source.key, index]
        source.flights.discard(flight)
        left = flight.counted
        flight.counted = 0
        self._pending_bytes -= left
        flight.done = True
        flight.arrival.ring()

    def _arrive(self, flight: Flight, data: bytearray) -> None:
        source = flight.source
        segment = Segment(source.key, flight.first + flight.arrived, data, self._buffers)
        size, count = len(data), segment.stop - segment.first
        with self.lock:
            flight.arrived += count
            flight.counted -= size
            self._pending_bytes -= size
            self._counts["fetched"] += size
            for index in range(segment.first, segment.stop):
                if self._pending.get((source.key, index)) is flight:
                    del self._pending[source.key, index]
            if flight.wanted > segment.first:
                segment.use(segment.first, flight.wanted)
            if flight.demand or flight.waiters:
                flight.held.append(segment)
                flight.arrival.ring()
            if not flight.abandoned or source.shared:
                self._make_room(size)
                self._keep(segment)
            else:
                self._ready.forget(segment)

    # -- what passes by -----------------------------------------------------------------------------------

    def alone(self, source: Source) -> bool:
        """True where no other handle on the object could have use for what this one fetches."""
        return self._handles.get(source.key) == 1

    def missing(self, source: Source, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of bytes ``[start, stop)`` that are neither ready nor on their way."""
        parts: list[tuple[int, int]] = []
        with self.lock:
            for index in range(start // BLOCK_SIZE, -(-stop // BLOCK_SIZE)):
                if self._ready.holds(source.key, index) or (source.key, index) in self._pending:
                    continue
                begin, end = max(start, index * BLOCK_SIZE), min(stop, (index + 1) * BLOCK_SIZE)
                if parts and parts[-1][1] == begin:
                    begin = parts.pop()[0]
                parts.append((begin, end))
        return parts

    def count_request(self) -> None:
        """A range was asked of a driver."""
        with self.lock:
            self._counts["requests"] += 1

    def count_fetched(self, size: int) -> None:
        """*size* bytes were received and given to a reader directly."""
        with self.lock:
            self._counts["fetched"] += size

    # -- the whole ----------------------------------------------------------------------------------------

    def info(self) -> CacheInfo:
        """What the cache has done and holds."""
        with self.lock:
            counts = self._counts
            return CacheInfo(
                hits=counts["hits"],
                misses=counts["misses"],
                stalls=counts["stalls"],
                requests=counts["requests"],
                fetched=counts["fetched"],
                unused=self._ready.unused,
                cached=self._ready.size,
                in_flight=self._pending_bytes,
                budget=self._budget,
            )

    def forget(self, source: Source) -> None:
        """Forget every ready block of one object."""
        with self.lock:
            self._ready.drop(source.key, -(-source.size // BLOCK_SIZE))

    def clear(self) -> None:
        """Forget every ready block."""
        with self.lock:
            self._ready.clear()
        self._buffers.clear()

    def reset_after_fork(self) -> None:
        """In a forked child, which holds the lock since before the fork: no thread here will end what is pending."""
        for flight in set(self._pending.values()):
            flight.abandoned = True
            flight.source.flights.discard(flight)
        self._pending.clear()
        self._pending_bytes = 0
        self.lock = threading.Lock()
