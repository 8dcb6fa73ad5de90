"""What the tests of listing share: a store of directories that notes what is asked of it, and pools with manners."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from storagekit.backend import Resource
from storagekit.driver import ObjectWriter, RangeReader, Stat, Traits
from storagekit.errors import not_found
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.storage import Storage
from storagekit.transfers import Job, Transfers

__all__ = ["GUARD", "Eager", "Held", "Toy", "exit_of", "names"]

# How long a test waits for what must happen before it calls it a failure.
GUARD = 10.0


class Toy:
    """A store of directories only: ``level`` gives what is in one, by its prefix, as paths.

    ``on_list`` is called with the prefix when a listing is asked for, ``on_page`` with the prefix and a number when one
    of its pages is, the first (0) included; both in the thread that asks, and may raise or wait. So may ``on_traits``.
    """

    def __init__(self, level: Callable[[str], Iterable[str]], *, page: int = 1000, real: bool = False) -> None:
        self.level = level
        self.page = page
        self.real = real
        self.on_list: Callable[[str], object] = lambda prefix: None
        self.on_page: Callable[[str, int], object] = lambda prefix, number: None
        self.on_traits: Callable[[], object] = lambda: None
        self.lists: list[str] = []
        self.pages: list[tuple[str, int]] = []
        self.given = 0
        """How many entries were given out, in all."""
        self.stopped = 0
        """How many listings came to their end, or were left."""

    @classmethod
    def of(cls, keys: Iterable[str], **more: Any) -> Toy:
        """A store of these keys; one that ends in a slash is a marker where it stands alone."""
        levels: dict[str, dict[str, None]] = {}
        for key in sorted(keys):
            prefix = ""
            while slash := key[len(prefix) :].partition("/")[1]:
                levels.setdefault(prefix, {})[prefix + key[len(prefix) :].partition("/")[0] + slash] = None
                prefix += key[len(prefix) :].partition("/")[0] + slash
            levels.setdefault(prefix, {})[key] = None  # the marker, where the key is its prefix
        return cls(lambda prefix: levels.get(prefix, ()), **more)

    def storage(self, **changes: Any) -> Storage:
        """A Storage with this as ``toy://``."""
        return Storage(drivers={"toy": lambda: self}, **changes)

    def at(self, storage: Storage, path: str = "") -> Resource:
        """A directory of the container ``box``."""
        return storage._url(f"toy://box/{path}", None)

    @hookimpl
    def traits(self) -> Traits:
        self.on_traits()
        return Traits(implicit_directories=not self.real, empty_directories=True, literal_keys=True)

    @hookimpl
    def open_read(self, location: Location) -> RangeReader:
        raise not_found(location)

    @hookimpl
    def open_write(self, location: Location) -> ObjectWriter:
        raise not_found(location)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        raise not_found(location)

    @hookimpl
    def delete(self, location: Location) -> bool:
        return True

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None) -> Iterator[Stat]:
        prefix = location.prefix
        self.lists.append(prefix)
        self.on_list(prefix)
        return self._given(location, prefix)

    def _given(self, location: Location, prefix: str) -> Iterator[Stat]:
        try:
            for number, path in enumerate(self.level(prefix)):
                if number % self.page == 0:
                    self.pages.append((prefix, number // self.page))
                    self.on_page(prefix, number // self.page)
                self.given += 1
                directory = path.endswith("/") and path != prefix
                yield Stat(Location("toy", location.container, path), "directory" if directory else "file", 0)
        finally:
            self.stopped += 1


class Held(Transfers):
    """A pool without threads: the jobs wait for the test, or for the caller who needs them."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)


class Eager(Transfers):
    """A pool that is faster than everybody: each job is over when it was given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0

    def submit(self, job: Job) -> None:
        self.jobs += 1
        job.run()


def names(count: int, form: str = "{:06}") -> Callable[[str], Iterator[str]]:
    """A level of so many files, or directories where *form* ends in a slash, in every directory."""
    return lambda prefix: (prefix + form.format(number) for number in range(count))


def exit_of(step: Callable[[], bool]) -> int:
    """What a forked child says of *step*: 0 for True."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        status = 1
        try:
            status = 0 if step() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
