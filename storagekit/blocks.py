"""Blocks: what was read of objects, shared by all handles of a Storage; who fetches, and who waits.

*Blocks and requests are different sizes.* Objects are cut into blocks of ``BLOCK_SIZE`` bytes; caching,
accounting and waiting count blocks. A request (a ``Flight``) fetches one contiguous run of missing
blocks, claimed under one hold of the lock; each block is there for everyone as soon as it is full.

*Ready* blocks stand in one ``cachetools.LRUCache`` counted in bytes. *Pending* ones stand apart (in
the LRU they would be evicted), and the entry that says "pending" is also what makes fetching
single-flight: who finds one waits for it instead of asking again. Their bytes count against the same
budget, so ready blocks make room for them. A block is a plain ``bytearray`` that nobody changes once
it is ready and that is never reused: whoever still copies from an evicted one keeps it alive.

*Demand and read-ahead.* A demand read is always granted, whatever the budget says; read-ahead is
granted what room there is. A demand read returns the blocks of its flight directly and not
through the LRU, so a cache that is too small, or zero, costs speed and never correctness.

*Cancelling* a flight that others wait for would hurt them. Three rules: a flight with waiters is never
abandoned; a claim treats a block that is pending in an abandoned flight as missing; a waiter whose flight
ended without its block claims it itself. An abandoned flight still runs to its own end, a moment later, and takes
its pending entries away.

*The lock* is held for dictionary work only: never while a driver is called, a body read or bytes copied. A
finalizer may run inside it, so whatever finalizers reach (``release``) only tries the lock, and
leaves the work to the reaper when it is taken.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

from cachetools import LRUCache

from storagekit.flights import Block, Flight, Incoming, Source
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import GRACE_SECONDS, Job, Reaper, Transfers

__all__ = ["BlockCache", "CacheInfo", "Source"]


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

    def __init__(self, budget: int, transfers: Transfers, reaper: Reaper) -> None:
        self._budget = budget
        self._transfers = transfers
        self._reaper = reaper
        self._ready: LRUCache[tuple[Hashable, int], Block] = LRUCache(budget, getsizeof=lambda block: len(block.data))
        self._pending: dict[tuple[Hashable, int], Flight] = {}
        self._pending_bytes = 0
        self._handles: Counter[Hashable] = Counter()
        self._open = 0
        self._counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    # -- handles ------------------------------------------------------------------------------------------

    def attach(self, source: Source) -> None:
        """A handle was opened; take in the head that came with it."""
        head = source.reader.head
        with self.lock:
            self._handles[source.key] += 1
            self._open += 1
            if not head:
                return
            self._counts["requests"] += 1
            self._counts["fetched"] += len(head)
            for index in range(-(-source.size // BLOCK_SIZE)):
                data = head[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
                if len(data) < min(BLOCK_SIZE, source.size - index * BLOCK_SIZE):
                    return
                if (source.key, index) not in self._ready:
                    self._make_room(len(data))
                    self._keep((source.key, index), Block(data))

    def release(self, source: Source) -> None:
        """The handle is closed. Safe in a finalizer."""
        if self.lock.acquire(blocking=False):
            try:
                self._release(source)
            finally:
                self.lock.release()
        else:
            self._reaper.leave(lambda: self._release_later(source))

    def _release_later(self, source: Source) -> None:
        with self.lock:
            self._release(source)

    def _release(self, source: Source) -> None:
        self._abandon(source, keep=None)
        self._handles[source.key] -= 1
        self._open -= 1
        if self._handles[source.key] <= 0:
            del self._handles[source.key]
            if not source.shared:  # nobody can ever ask for them again
                self._drop(source.key, 0, -(-source.size // BLOCK_SIZE))

    @property
    def readers(self) -> int:
        """How many handles are open, on whatever objects, to share the room for read-ahead between them."""
        return self._open

    @property
    def budget(self) -> int:
        """Bytes that all blocks may hold together."""
        return self._budget

    # -- reading ------------------------------------------------------------------------------------------

    def take(self, source: Source, first: int, stop: int) -> tuple[list[Block], bool]:
        """Blocks from *first* on, at least one and at most up to *stop*; and whether they had to be waited for.

        Ready ones at once. Otherwise waits for a flight that carries the first, or fetches the missing
        run in this thread. Raises what the driver raised.
        """
        stalled = False
        while True:
            with self.lock:
                run = self._run(source.key, first, stop)
                if run:
                    self._counts["misses" if stalled else "hits"] += len(run)
                    return run, stalled
                if not stalled:
                    self._counts["stalls"] += 1
                    stalled = True
                flight = self._pending.get((source.key, first))
                if flight is None or flight.abandoned:
                    flight = self._claim(source, first, stop, demand=True)
                    waiting = False
                else:
                    flight.waiters += 1
                    waiting = True
            if waiting:
                self._await(flight, first)
            else:
                flight.job.run()
            with self.lock:
                run = flight.run(first, stop)
                self._counts["misses"] += len(run)
            if run:
                return run, True
            if isinstance(flight.error, Exception) and flight.source is source:
                try:
                    raise flight.error
                finally:
                    del flight  # the error's traceback holds this frame: no cycle through it
            # The flight was another handle's and failed, or it was given up or interrupted: claim the block ourselves.

    def _run(self, key: Hashable, first: int, stop: int) -> list[Block]:
        run = []
        for index in range(first, stop):
            block = self._ready.get((key, index))
            if block is None:
                break
            block.used = True
            run.append(block)
        return run

    def _await(self, flight: Flight, index: int) -> None:
        """Wait until *flight* has brought block *index* or is over; run it here if no thread takes it."""
        try:
            with self.lock:
                if not flight.has(index) and not flight.done:
                    flight.arrival.wait(GRACE_SECONDS)
            if not flight.job.taken:
                flight.job.run()
            with self.lock:
                while not flight.has(index) and not flight.done:
                    flight.arrival.wait()
        finally:
            with self.lock:
                flight.waiters -= 1

    # -- read-ahead ---------------------------------------------------------------------------------------

    def ahead(self, source: Source, start: int, stop: int, request: int) -> int:
        """Fetch the missing of bytes ``[start, stop)`` in the background, *request* bytes at a time, as room allows.

        The offset up to which everything is there or on its way.
        """
        first, last = start // BLOCK_SIZE, -(-min(stop, source.size) // BLOCK_SIZE)
        most = max(1, request // BLOCK_SIZE)
        flights = []
        with self.lock:
            while first < last:
                key = (source.key, first)
                pending = self._pending.get(key)
                if key in self._ready or (pending is not None and not pending.abandoned):
                    first += 1
                    continue
                room = (self._budget - self._pending_bytes) // BLOCK_SIZE
                if room <= 0:
                    break
                flight = self._claim(source, first, min(last, first + min(most, room)), demand=False)
                flights.append(flight)
                first += flight.count
        try:
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

    def abandon(self, source: Source, keep: int) -> None:
        """The handle went elsewhere: give up what it had asked for ahead, but for the flight with block *keep*."""
        if source.flights:
            with self.lock:
                self._abandon(source, keep)

    def _abandon(self, source: Source, keep: int | None) -> None:
        for flight in source.flights:
            carries = keep is not None and flight.first <= keep < flight.first + flight.count
            if not flight.waiters and not flight.demand and not carries:
                flight.abandoned = True

    def drop_behind(self, source: Source, first: int, stop: int) -> None:
        """A scan of an object much larger than the cache has passed these blocks: drop them, if it is alone."""
        with self.lock:
            if self._handles[source.key] == 1:
                self._drop(source.key, first, stop)

    # -- under the lock -----------------------------------------------------------------------------------

    def _claim(self, source: Source, first: int, stop: int, demand: bool) -> Flight:
        """Take charge of the missing blocks from *first* on, up to the first that is there or in charge of another."""
        count = 0
        for index in range(first, stop):
            pending = self._pending.get((source.key, index))
            if (source.key, index) in self._ready or (pending is not None and not pending.abandoned):
                break
            count += 1
        flight = Flight(source, first, count, threading.Condition(self.lock), demand)
        flight.job = Job(partial(self._fly, flight))
        for index in range(first, first + count):
            self._pending[source.key, index] = flight
        source.flights.add(flight)
        size = source.span(first, count)
        self._pending_bytes += size
        self._make_room(0)
        return flight

    def _make_room(self, size: int) -> None:
        while self._ready and self._ready.currsize + self._pending_bytes + size > self._budget:
            self._forget(self._ready.popitem()[1])

    def _keep(self, key: tuple[Hashable, int], block: Block) -> None:
        if len(block.data) <= self._budget - self._pending_bytes:
            self._ready[key] = block
        else:
            self._forget(block)

    def _drop(self, key: Hashable, first: int, stop: int) -> None:
        keys = [(key, index) for index in range(first, min(stop, first + len(self._ready) + 1))]
        if len(keys) > len(self._ready):  # more blocks than are cached at all: look through those
            keys = [held for held in self._ready if held[0] == key and first <= held[1] < stop]
        for one in keys:
            block = self._ready.pop(one, None)
            if block is not None:
                self._forget(block)

    def _forget(self, block: Block) -> None:
        if not block.used:
            self._counts["unused"] += len(block.data)

    # -- in flight ----------------------------------------------------------------------------------------

    def _fly(self, flight: Flight) -> None:
        """Run a flight: receive block after block, make each ready, and at the end take the rest off the books."""
        source = flight.source
        start = flight.first * BLOCK_SIZE
        incoming = Incoming(source, start, min(start + flight.count * BLOCK_SIZE, source.size), self._count_request)
        try:
            while flight.arrived < flight.count and not flight.abandoned:
                self._arrive(flight, incoming.next_block())
        except BaseException as error:
            flight.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            try:
                incoming.close()
            finally:
                self._land(flight)
                del flight  # the error's traceback holds this frame: no cycle through it

    def _land(self, flight: Flight) -> None:
        """A flight is over: take off the books what did not arrive, and tell those who wait."""
        source = flight.source
        with self.lock:
            first, stop = flight.first + flight.arrived, flight.first + flight.count
            for index in range(first, stop):
                if self._pending.get((source.key, index)) is flight:
                    del self._pending[source.key, index]
            self._pending_bytes -= source.span(first, stop - first)
            source.flights.discard(flight)
            flight.done = True
            flight.arrival.notify_all()

    def _arrive(self, flight: Flight, data: bytearray) -> None:
        block = Block(data)
        block.used = flight.demand
        with self.lock:
            index = flight.first + flight.arrived
            key = (flight.source.key, index)
            flight.arrived += 1
            self._counts["fetched"] += len(data)
            self._pending_bytes -= len(data)
            if self._pending.get(key) is flight:
                del self._pending[key]
            if not flight.abandoned or flight.source.shared:
                self._make_room(len(data))
                self._keep(key, block)
            else:
                self._forget(block)
            if flight.demand or flight.waiters:
                flight.held[index] = block
                flight.arrival.notify_all()

    def _count_request(self) -> None:
        with self.lock:
            self._counts["requests"] += 1

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
                unused=counts["unused"],
                cached=int(self._ready.currsize),
                in_flight=self._pending_bytes,
                budget=self._budget,
            )

    def clear(self) -> None:
        """Forget every ready block."""
        with self.lock:
            while self._ready:
                self._forget(self._ready.popitem()[1])

    def reset_after_fork(self) -> None:
        """In a forked child, which holds the lock since before the fork: no thread here will end what is pending."""
        for flight in set(self._pending.values()):
            flight.abandoned = True
            flight.source.flights.discard(flight)
        self._pending.clear()
        self._pending_bytes = 0
        self.lock = threading.Lock()
