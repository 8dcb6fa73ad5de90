"""Walking: the tree below a directory, listed ahead.

Whoever walks over a store waits for one listing after another, though the walk has known for long where it will go.
So the directories whose turn comes are listed by jobs of the ``Transfers`` while the caller has the tuples before
them: the same tuples, in the same order, by the same listings, as if each were asked for at its turn. Nothing is
asked about a directory before the caller had the tuple that names it, since until then he may prune it.

*Broods.* The directories below one directory are a brood. The walk is a stack of broods, so no depth is too much
for it, and the brood that was pushed last is listed ahead first: its turn comes before that of everything further
down. What is at its turn and was not asked for yet, the caller's thread lists itself; so one directory alone, or a
chain of them, starts no thread.

*Two limits.* ``LISTINGS`` are under way at a time. What came and waits for its turn is counted in entries: of each
directory one ``CHUNK`` is taken ahead, one page, and the rest when its turn comes. The further down the tree a
brood is, the more may wait in all for its jobs to begin (``_Brood.ceiling``). So full siblings never take the room
of the children whose turn comes first, and there is a bound for all of them together: ``2 * HELD``.

*Names.* What waits are names, since a tuple is made of nothing else: no entry object is built for a file.

*Real directories* are not listed ahead: their entries are in the kernel, and a thread would only be in the way.

*The end.* A generator that is left, or collected, sets a flag: a job that has not begun does not begin, and one
that has stops at the next entry. Nobody waits for them.

*Fork.* A child that goes on with its parent's walk has none of its threads. It takes what had come by then, and
asks again for what had not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from storagekit.backend import Resource
from storagekit.chunks import CHUNK, worth_asking_ahead
from storagekit.directories import extend, is_link, listed, not_below
from storagekit.driver import Stat
from storagekit.transfers import Job, Transfers

__all__ = ["walk"]

# Listings under way. One takes 30 to 70 ms on S3, and a core in Python goes through the answers of 32 in about that
# time. It is also how many threads a Storage has, unless the settings say otherwise.
LISTINGS = 32

# Entries that the directories right below the top may hold: as many pages as there are listings. All levels together
# get twice that. A name takes about 80 bytes, so it is 5 MB at the most, and seldom a tenth of it.
HELD = LISTINGS * CHUNK


def walk(
    resource: Resource,
    top: str,
    topdown: bool = True,
    onerror: Callable[[OSError], object] | None = None,
    followlinks: bool = False,
    transfers: Transfers | None = None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every directory below and with *top*, as ``os.walk`` yields them: path, names of directories, of files.

    *top* is the URL of *resource* as the user wrote it. A name that is a file and a directory stands in both
    lists. The names may be pruned in place where *topdown*. A missing top yields nothing; every other error is
    raised, since a folder that may not be listed is not an empty one; with *onerror*, all are passed to it instead.
    *transfers* list ahead; without them each directory is listed at its turn.

    There is no recursion, so the depth of a tree is limited by nothing.
    """
    ahead = _Ahead(resource, transfers)
    # Broods still to be read, and bottom-up also visits that wait for those below them.
    todo: list[_Visit | _Brood] = [_Brood([_Place(top, resource)], 0)]
    try:
        while todo:
            item = todo.pop()
            if isinstance(item, _Visit):
                yield item.path, item.directories, item.files
                continue
            place = item.places.popleft()
            if item.places:
                todo.append(item)
            try:
                visit = ahead.visit(item, place)
            except OSError as error:
                if onerror is not None:
                    onerror(error)
                elif place.resource is not resource or not isinstance(error, FileNotFoundError):
                    raise
                continue
            if topdown:
                yield visit.path, visit.directories, visit.files
            else:
                todo.append(visit)
            if below := _below(visit, resource, followlinks):
                brood = _Brood(below, item.depth + 1)
                todo.append(brood)
                ahead.add(brood)
    finally:
        ahead.leave()


def _below(visit: _Visit, resource: Resource, followlinks: bool) -> list[_Place]:
    """The places below a directory, of the names that the caller left in it."""
    places = []
    for name in visit.directories:
        if followlinks or name not in visit.links:
            path = extend(visit.path, name)
            # Parsed like any other URL, because a pruned list may also hold names that were added.
            places.append(_Place(path, resource.at(resource.backend.parse(path))))
    return places


class _Visit:
    """One directory, read or being read."""

    __slots__ = ("count", "directories", "files", "links", "over", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.directories: list[str] = []
        self.files: list[str] = []
        self.links: set[str] = set()
        """Which of the directories are links."""
        self.count = 0
        """How many entries were taken."""
        self.over = False
        """Set by a walk that wants no more."""

    def take(self, resource: Resource, found: Iterable[Stat], most: int | None = None) -> None:
        """Take the names of *most* entries of a listing; the directory's own marker has none.

        It says what ``Scan`` says of names, and ``DirEntry`` of kinds, without an object for each.
        """
        location = resource.location
        container, prefix = location.container, location.prefix
        start = len(prefix)
        for stat in found:
            where = stat.location
            path = where.path
            if not path.startswith(prefix) or (container and where.container != container):
                raise not_below(location, stat)
            self.count += 1
            if path == prefix:
                if not path:  # a container, in the list of containers
                    self._add(where.name, stat)
                elif not stat.is_directory and stat.size != 0:  # data under the empty name; else the marker
                    self.files.append("")
            elif stat.is_directory:
                self._add(path[start:].removesuffix("/"), stat)
            else:
                self.files.append(path[start:].removesuffix("/"))
            if self.count == most or self.over:
                return

    def _add(self, name: str, stat: Stat) -> None:
        if not stat.is_directory:
            self.files.append(name)
            return
        self.directories.append(name)
        if stat.extra and is_link(stat):
            self.links.add(name)


class _Place:
    """A directory whose turn comes."""

    __slots__ = ("error", "held", "job", "path", "ready", "resource", "rest", "visit")

    def __init__(self, path: str, resource: Resource) -> None:
        self.path = path
        self.resource = resource
        self.job: Job | None = None
        """What lists it ahead; None where nothing does."""
        self.visit = _Visit(path)
        self.rest: Iterator[Stat] = iter(())
        """What the visit has not taken."""
        self.error: BaseException | None = None
        self.ready = False
        """True once the job is over."""
        self.held = 0
        """What it counts for while it waits for its turn."""

    def ask(self, transfers: Transfers) -> None:
        """List it ahead; in a forked child, again."""
        self.error = None
        visit = self.visit = _Visit(self.path)
        self.job = Job(lambda: self._list(visit))
        transfers.submit(self.job)

    def _list(self, visit: _Visit) -> None:
        """Take the first chunk; its error is kept for its turn."""
        if visit.over:
            return
        try:
            self.rest = listed(self.resource)
            visit.take(self.resource, self.rest, CHUNK)
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise  # KeyboardInterrupt and SystemExit are the running thread's own
        finally:
            self.ready = True  # the very last: a forked child goes by it

    def read(self) -> _Visit:
        """Everything in it, waited for where it is on its way, and listed here where it is not."""
        if self.job is None:
            self.rest = listed(self.resource)
        else:
            if not self.ready:  # else the job is not asked: in a forked child its locks may be held for ever
                self.job.result()
            error, self.error = self.error, None
            if error is not None:
                raise error
        self.visit.take(self.resource, self.rest)
        return self.visit


class _Brood:
    """The directories below one directory, in their order."""

    __slots__ = ("ceiling", "coming", "depth", "places")

    def __init__(self, places: list[_Place], depth: int) -> None:
        self.places = deque(places)
        """Those whose turn is still to come."""
        self.coming = deque(places)
        """Those of them that nobody has asked for."""
        self.depth = depth
        # 1, 1 1/2, 1 3/4, 1 7/8 … times HELD: there is room for the lower levels when the upper ones are full.
        self.ceiling = 2 * HELD - (HELD >> min(depth - 1, HELD.bit_length())) if depth else 0
        """So many entries may be held, in all, where one of these is asked for."""


class _Ahead:
    """The listings that are under way or wait for their turn, and their limits."""

    def __init__(self, resource: Resource, transfers: Transfers | None) -> None:
        self._resource = resource
        self._transfers = transfers
        self._decided = False
        self._broods: list[_Brood] = []  # the last one's turn comes first
        self._running: list[_Place] = []
        self._held = 0
        self._pid = os.getpid()

    def add(self, brood: _Brood) -> None:
        """A brood whose turn comes before that of all others."""
        if not self._decided:
            self._decided = True  # now that the top was listed
            if not worth_asking_ahead(self._resource):
                self._transfers = None
        if self._transfers is not None:
            self._broods.append(brood)

    def visit(self, brood: _Brood, place: _Place) -> _Visit:
        """What is in *place*, whose turn it is; meanwhile others are asked for."""
        if place.job is None:
            brood.coming.popleft()  # it is the first of them, for they are asked for in their order
        if self._transfers is not None:
            if self._pid != os.getpid():
                self._ask_again(self._transfers)
            # The caller's own thread is one of those that list, where nobody lists for it.
            self._ask(self._transfers, LISTINGS - (place.job is None))
        try:
            return place.read()
        finally:
            if place in self._running:
                self._running.remove(place)
            self._held -= place.held

    def _ask(self, transfers: Transfers, most: int) -> None:
        """Begin as many listings as the two limits allow."""
        self._settle()
        while self._broods and len(self._running) < most:
            brood = self._broods[-1]
            if not brood.coming:
                self._broods.pop()
                continue
            if self._held + CHUNK * (len(self._running) + 1) > brood.ceiling:
                return  # those further down have less room still
            place = brood.coming.popleft()
            self._running.append(place)
            place.ask(transfers)

    def _settle(self) -> None:
        """Count what came."""
        running = []
        for place in self._running:
            if place.ready:
                place.held = place.visit.count + 1  # an empty directory takes room too
                self._held += place.held
            else:
                running.append(place)
        self._running = running

    def _ask_again(self, transfers: Transfers) -> None:
        """In a forked child: what the parent's threads were at, or had not begun."""
        self._pid = os.getpid()
        self._settle()
        for place in self._running:
            place.ask(transfers)

    def leave(self) -> None:
        """Nothing is wanted any more. Takes no lock: a finalizer may be where this is called."""
        for place in self._running:
            place.visit.over = True
