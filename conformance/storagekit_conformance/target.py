"""What the suite runs against: a ``Target``, which makes a ``Root`` for each test.

A driver's author writes one ``Target``: a name, and a context manager that gives every test a place
of its own. Everything else has a default or makes more clauses apply: a second client that changes
things behind storagekit's back, a container of the test's own, options that must be refused.

>>> from contextlib import contextmanager
>>> from storagekit_conformance.target import Root, Target
>>> @contextmanager
... def root():
...     yield Root("toy://box/place")
>>> target = Target("toy", root)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import pytest

import storagekit
from storagekit.location import scheme_of
from storagekit_conformance.faults import Faults

__all__ = ["Client", "Root", "RootFactory", "StorageClient", "Target"]


class Client(ABC):
    """A second, independent way to the objects below a root: it shares no state with the storage under test.

    Keys are relative to the root: ``put("a/b", …)`` makes the object ``<root>/a/b``. A directory marker,
    and an empty directory where they are real, is the key with a trailing slash.
    """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object whole."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The bytes of an object; ``KeyError`` where there is none."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Every key below the root, markers and empty directories among them, in any order."""


class StorageClient(Client):
    """A client that is another ``Storage``: for stores that nothing else can reach."""

    def __init__(self, storage: storagekit.Storage, url: str) -> None:
        self._storage, self._url = storage, url

    def put(self, key: str, data: bytes) -> None:
        if key.endswith("/"):
            pytest.skip("the second client is a storage, which writes no key that ends in a slash")
        with self._storage.open(f"{self._url}/{key}", "wb") as file:
            file.write(data)

    def get(self, key: str) -> bytes:
        try:
            with self._storage.open(f"{self._url}/{key}", "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        self._storage.remove(f"{self._url}/{key}")

    def keys(self) -> list[str]:
        found: list[str] = []
        for folder, folders, files in self._storage.walk(self._url):
            below = folder.removesuffix("/").removeprefix(self._url).lstrip("/")
            found += [f"{below}/{name}".lstrip("/") for name in files]
            if below and not folders and not files:
                found.append(below + "/")
        return found


@dataclass(frozen=True)
class Root:
    """One test's own place: a prefix under which nothing exists yet, and how it is reached."""

    url: str
    """Without a trailing slash. On stores with real directories the directory itself exists, and is empty."""

    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What the driver needs at this place."""

    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Settings of the ``Storage``, as ``drivers``."""

    client: Client | None = None
    """A second way in. Without one, clauses about changes behind our back are skipped."""

    shared: bool = False
    """True where another process that has the URL and the options sees the same objects."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    """Which options are secrets, each with the environment variable that may say it instead (empty: none is known)."""

    denied: Mapping[str, object] | None = field(default=None, repr=False)
    """Options with which the store refuses every request, as a wrong secret."""

    unreachable: Mapping[str, object] | None = field(default=None, repr=False)
    """Options that lead to an address where nothing answers."""

    faults: Faults | None = field(default=None, repr=False)
    """What stands between the storage and its store and can be made to fail: at a target's ``faulty`` places."""

    missing_container: str | None = None
    """The URL of a container that does not exist, on stores where containers have to be created."""

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return scheme_of(self.url) or ""

    def storage(self, **settings: object) -> storagekit.Storage:
        """A ``Storage`` for this place, with its options; *settings* are added or say it last."""
        chosen: dict[str, Any] = {"options": {self.scheme: dict(self.options)}, **self.settings, **settings}
        return storagekit.Storage(**chosen)


RootFactory: TypeAlias = Callable[[], AbstractContextManager[Root]]


@dataclass(frozen=True)
class Target:
    """A driver at one kind of place, for the suite to run against."""

    name: str

    root: RootFactory
    """Makes a fresh place for one test and cleans up behind it: nothing outside of the place is touched."""

    container: RootFactory | None = None
    """Makes a fresh, empty container: its ``url`` is the container's own, as ``s3://bucket``."""

    faulty: RootFactory | None = None
    """Makes a fresh place whose requests pass through a fault proxy (``fault_proxy``), with its ``faults``; its
    ``client`` and the cleaning up pass by. Without it the suite stands around the driver's hooks (``fault_wrapper``).
    """

    session: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered before the target's first test in a process and left after its last, as for a server."""

    missing: Callable[[], str | None] = field(default=lambda: None)
    """One line that says what must be installed before the target can run, or None."""

    gaps: Mapping[str, str] = field(default_factory=dict)
    """Known gaps of this *server*: patterns of clause ids, each with the reason. Their tests must fail.

    A pattern may go on with a slash and a test's parameter: ``names.literal/newline``."""

    unreliable: Mapping[str, str] = field(default_factory=dict)
    """As ``gaps``, for what sometimes works."""

    def gap(self, name: str) -> tuple[str, bool] | None:
        """The reason why the clause *name* fails here and whether it always does, or None."""
        for table, strict in ((self.gaps, True), (self.unreliable, False)):
            for pattern, reason in table.items():
                if fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[0], pattern):
                    return reason, strict
        return None

    @contextmanager
    def running(self) -> Iterator[Target]:
        """The target with its session entered."""
        with self.session():
            yield self
