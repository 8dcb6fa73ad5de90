"""Engine: what a Storage owns, and how a path finds its driver.

One engine has one set of settings, one registry of drivers, one block cache, one pool of threads and one
reaper; two engines share nothing. Making one costs microseconds: drivers are imported and threads started
when they are needed.

*Fork.* Every engine is prepared for ``os.fork``: its cache lock is held across the fork, so that the child finds
the cache whole; in the child the threads are gone, pending blocks are given up, handles get new buffers (``forking``),
and drivers drop the connections that now belong to the parent.

*Exit.* Writers that are still open when the process exits are aborted (``exits``).

Both reach caches, threads and reapers by themselves and not through their engine, because an open handle keeps
them alive when the engine that it came from is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeAlias

from storagekit import exits, forking
from storagekit.backend import Resource
from storagekit.blocks import BlockCache, CacheInfo
from storagekit.calls import CallOptions
from storagekit.deadlines import check_timeout
from storagekit.driver import Options
from storagekit.errors import invalid
from storagekit.files import Streams
from storagekit.hiding import HiddenOptions, hidden, password_refusal, refuse_password, unsigned
from storagekit.location import scheme_of
from storagekit.registry import Registry
from storagekit.room import Room
from storagekit.settings import Settings
from storagekit.stats import StorageStats
from storagekit.transfers import Reaper, Transfers

__all__ = ["AnyPath", "BytesPath", "Engine", "StrPath"]

StrPath: TypeAlias = str | os.PathLike[str]
BytesPath: TypeAlias = bytes | os.PathLike[bytes]
AnyPath: TypeAlias = StrPath | BytesPath
"""What the functions of ``os`` take for a path, URLs among it."""

TIMEOUT = "timeout"
"""The option that every URL takes, whatever its driver: seconds for the whole call."""


class Engine:
    """Settings, drivers, cache and threads. ``Storage`` adds the functions."""

    def __init__(self, settings: Settings | None = None, **changes: Any) -> None:
        if "options" in changes:
            changes["options"] = hidden(changes["options"])
        self.settings = replace(settings or Settings(), **changes)
        self._registry = Registry(self.settings)
        self._transfers = Transfers(self.settings.threads)
        self._reaper = Reaper()
        self._cache = BlockCache(self.settings.cache_bytes, self._transfers)
        self._streams = Streams(self._transfers, self._cache, self._reaper, Room(self.settings.write_bytes))
        self._closed = False
        with _fork_lock:
            _caches.add(self._cache)
            _reapers.add(self._reaper)
            _pools.add(self._transfers)
            _registries.add(self._registry)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.settings!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up unfinished writers, end the threads, close the drivers and forget every block.

        Nothing can be opened through it afterwards (``ValueError``). Open readers can go on with what is cached.
        """
        self._closed = True
        # The ``with`` block of a generator that nobody has ended: all was done at exit, and the threads are gone, with
        # the locks that they had.
        if sys.is_finalizing():
            return
        try:
            self._reaper.close()  # which warns, and a warning may be an exception
        finally:
            self._transfers.close()
            self._registry.close()
            self._cache.clear()

    def cache_info(self) -> CacheInfo:
        """What the block cache has done and holds: hits, misses, requests, bytes fetched and cached.

        >>> import storagekit
        >>> storagekit.Storage(cache_bytes=1 << 20).cache_info().budget
        1048576
        """
        return self._cache.info()

    def stats(self) -> StorageStats:
        """What this Storage has done and holds at this moment; no request is made for it.

        >>> import storagekit
        >>> with storagekit.Storage() as storage:
        ...     storage.touch("memory://box/key")
        ...     storage.stats().writers, list(storage.stats().drivers)
        (0, ['memory'])
        """
        return StorageStats(
            cache=self._cache.info(),
            threads=self._transfers.threads,
            writers=self._reaper.unfinished,
            bytes_on_their_way=self._streams.room.taken,
            drivers={backend.scheme: backend.counts() for backend in self._registry.loaded()},
        )

    def __reduce__(self) -> str | tuple[Any, ...]:
        for prefix, options in self.settings.options.items():
            scheme = prefix.partition("://")[0]
            if self._registry.backend(scheme, prefix).has_secret(options):
                raise TypeError(f"cannot pickle a Storage whose options for {prefix!r} hold a secret")
        return _restored, (type(self), self.settings.values())

    # -- from a path to a resource ------------------------------------------------------------------------

    def _resource(self, path: AnyPath | int, options: Options | None, *, lazy: bool = False) -> Resource | None:
        """What a URL names; None for a plain local path or a file descriptor, which the builtins take as they are.

        *lazy*: the call is answered little by little, so its timeout is for each step.
        """
        text = _url_text(path)
        scheme = scheme_of(text) if text is not None else None
        if text is None or scheme is None:
            if options:
                raise invalid(path, "options are for URLs; a plain local path or a file descriptor takes none")
            if isinstance(path, os.PathLike):
                self._refuse_collapsed(path)
            return None
        if self._closed:
            raise ValueError("this Storage is closed")
        refuse_password(text)
        backend = self._registry.backend(scheme, text)
        # The prefixes in the settings are matched with the scheme as everyone writes it.
        given = self.settings.options_for(scheme, scheme + text[len(scheme) :], options)
        location = backend.parse(text)  # first: it refuses URLs that no message may repeat
        timeout = self.settings.timeout
        if TIMEOUT in given:
            timeout = check_timeout(given[TIMEOUT], text)
            given = HiddenOptions({name: value for name, value in given.items() if name != TIMEOUT})
        return Resource(backend, location, CallOptions(backend.take_options(given, text), timeout, lazy=lazy))

    def _url(self, path: AnyPath, options: Options | None, *, lazy: bool = False) -> Resource:
        """What a URL names, for operations that plain local paths do not have."""
        resource = self._resource(path, options, lazy=lazy)
        if resource is None:
            raise invalid(path, "expected a URL such as s3://bucket/key, not a plain local path")
        return resource

    def _pair(
        self, source: AnyPath, target: AnyPath, options: Options | None
    ) -> tuple[Resource | None, Resource | None]:
        """Two paths of one call. Each driver gets the options that it knows; one that none knows is refused."""
        ends = [self._resource(path, None) for path in (source, target)]
        stores = [end for end in ends if end is not None]
        for name in options or {}:
            if not stores:
                raise invalid(source, "options are for URLs; plain local paths take none")
            if name != TIMEOUT and not any(name in end.backend.known_options for end in stores):
                stores[0].backend.check_options({name: None}, stores[0].location)
        resolved = []
        for path, end in zip((source, target), ends, strict=True):
            takes = set() if end is None else {TIMEOUT, *end.backend.known_options}
            known = HiddenOptions({name: (options or {})[name] for name in options or {} if name in takes})
            resolved.append(self._resource(path, known) if known else end)
        return resolved[0], resolved[1]

    def _limit(self, source: Resource | None, target: Resource | None) -> ExitStack:
        """A ``with`` block under the deadline of a call that is about both."""
        stack = ExitStack()
        for side in (source, target):
            if side is not None:
                stack.enter_context(side.limit())
        return stack

    def _refuse_collapsed(self, path: object) -> None:
        """``pathlib`` turns ``s3://b/k`` into ``s3:/b/k``, which would quietly be a local file of that name."""
        from pathlib import PurePath  # slow, and loaded already where *path* is one

        if not isinstance(path, PurePath):
            return
        scheme, colon, rest = str(path).partition(":/")
        if colon and len(scheme) > 1 and "/" not in scheme and rest and self._registry.knows(scheme.lower()):
            if (refusal := password_refusal(path, self._registry.knows)) is not None:
                raise refusal  # which does not repeat it
            raise invalid(path, f"pathlib collapses the slashes of a URL; pass the string '{scheme}://{rest}' instead")


def _restored(kind: type[Engine], settings: dict[str, Any]) -> Engine:
    return kind(Settings(**settings))


def _url_text(path: object) -> str | None:
    """*path* as text, where it may be a URL; whatever the builtins would refuse is left for them to refuse."""
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return unsigned(path) if isinstance(path, str) and "://" in path else None


_caches: weakref.WeakSet[BlockCache] = weakref.WeakSet()
_reapers: weakref.WeakSet[Reaper] = weakref.WeakSet()
_pools: weakref.WeakSet[Transfers] = weakref.WeakSet()
_registries: weakref.WeakSet[Registry] = weakref.WeakSet()

# Held while one of the sets changes, and from before a fork to after it: of two threads that fork, one waits.
_fork_lock = threading.Lock()
_forking: list[BlockCache] = []


def _before_fork() -> None:
    _fork_lock.acquire()
    _forking.extend(_caches)
    for cache in _forking:
        cache.lock.acquire()


def _after_fork_in_parent() -> None:
    for cache in _forking:
        cache.lock.release()
    _forking.clear()
    _fork_lock.release()


def _after_fork_in_child() -> None:
    for cache in _forking:
        cache.reset_after_fork()
    _forking.clear()
    for pool in _pools:
        pool.reset_after_fork()
    for reaper in _reapers:
        reaper.reset_after_fork()
    forking.renew()
    _fork_lock.release()
    for registry in _registries:  # last, because here drivers are asked
        registry.reset_after_fork()


def _at_exit() -> None:
    with _fork_lock:
        reapers = list(_reapers)
    for reaper in reapers:
        reaper.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
exits.at_exit(_at_exit)
