"""Registry: from a URL's scheme to the Backend that answers for it.

Drivers are found through the entry-point group ``storagekit.drivers``: the entry point's name is
the scheme, its value a factory. The loop over ``importlib.metadata`` is our own, because pluggy's
loader imports every plugin there is, and one that is broken would break all others. Here a
driver is imported when the first URL of its scheme is used, and a failure says whose it is.
"""

from __future__ import annotations

# Drivers are imported late, by whichever thread comes first; and this module, which many a driver needs (boto3 does),
# refuses to be imported once the main thread has ended, when other threads may still be at work.
import concurrent.futures.thread  # noqa: F401
import difflib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from storagekit.backend import Backend
from storagekit.errors import no_driver
from storagekit.hookspecs import ENTRY_POINT_GROUP
from storagekit.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Registry"]


class Registry:
    """The backends of one ``Storage``, each made on first use."""

    def __init__(self, settings: Settings) -> None:
        self._chosen = settings.drivers
        self._wrappers = settings.wrappers
        self._backends: dict[str, Backend] = {}
        self._lock = threading.RLock()

    def backend(self, scheme: str, url: str) -> Backend:
        """The backend of *scheme*; ``OSError`` (EPROTONOSUPPORT) about *url* where there is none that works."""
        backend = self._backends.get(scheme)
        if backend is None:
            with self._lock:
                backend = self._backends.get(scheme)
                if backend is None:
                    factory, name = self._find(scheme, url)
                    backend = self._backends[scheme] = self._make(scheme, url, factory, name)
        return backend

    def loaded(self) -> list[Backend]:
        """The backends in use so far."""
        return list(self._backends.values())

    def knows(self, scheme: str) -> bool:
        """True where some installed or chosen driver claims *scheme*."""
        return scheme in self._chosen or any(point.name == scheme for point in _entry_points())

    def reset_after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()
        for backend in self.loaded():
            backend.reset_after_fork()

    def close(self) -> None:
        """Close every backend that was made."""
        with self._lock:
            backends, self._backends = self._backends, {}
        for backend in backends.values():
            backend.close()

    def _find(self, scheme: str, url: str) -> tuple[Callable[[], Callable[[], object]], str]:
        """How to import the factory for *scheme*, and whose it is."""
        choice = self._chosen.get(scheme)
        if choice is not None and not isinstance(choice, str):
            return (lambda: choice), getattr(choice, "__qualname__", repr(choice))
        points = _entry_points()
        claims = {(_owner(point), point.value): point for point in points if point.name == scheme}
        if not claims:
            known = sorted({point.name for point in points} | set(self._chosen))
            near = difflib.get_close_matches(scheme, known, n=1)
            hint = f"did you mean {near[0]}://?" if near else f"installed are {', '.join(known) or 'none'}"
            raise no_driver(url, f"no driver for {scheme}:// is installed; {hint}")
        if choice is not None:
            claims = {key: point for key, point in claims.items() if key[0] == choice}
            if not claims:
                raise no_driver(url, f"the settings choose {choice!r} for {scheme}://, which has no such driver")
        if len(claims) > 1:
            owners = " and ".join(sorted(f"{owner} ({value})" for owner, value in claims))
            raise no_driver(
                url,
                f"{scheme}:// is claimed by {owners}; choose with Settings(drivers={{{scheme!r}: 'distribution'}}) "
                f"or STORAGEKIT_DRIVERS={scheme}=distribution",
            )
        ((owner, _), point) = claims.popitem()
        return point.load, owner

    def _make(self, scheme: str, url: str, load: Callable[[], Callable[[], object]], name: str) -> Backend:
        try:
            driver = load()()
        except Exception as error:
            raise no_driver(
                url, f"the driver of {scheme}://, from {name}, failed to load: {type(error).__name__}: {error}"
            ) from error
        return Backend(scheme, driver, name, self._wrappers)


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # a slow import, which plain local paths never need

    return list(entry_points(group=ENTRY_POINT_GROUP))


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
