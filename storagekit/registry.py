"""Registry: from a URL's scheme to the Backend that answers for it.

Drivers are found through the entry-point group ``storagekit.drivers``: the entry point's name is
the scheme, its value a factory. ``discovery`` looks for them and not pluggy, because pluggy's
loader imports every plugin there is, and one that is broken would break all others. Here a
driver is imported when the first URL of its scheme is used, and a failure says whose it is.
"""

from __future__ import annotations

# Drivers are imported late, by whichever thread comes first; and this module, which many a driver needs (boto3 does),
# refuses to be imported once the main thread has ended, when other threads may still be at work.
import concurrent.futures.thread  # noqa: F401
import threading
from collections.abc import Callable

from storagekit.backend import Backend
from storagekit.errors import no_driver
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.hiding import without_query
from storagekit.settings import Settings

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
        from storagekit.discovery import claims  # with pluggy, which is slow and for URLs only

        return scheme in self._chosen or any(claim.scheme == scheme for claim in claims())

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
        with guarded(IMPORT_SECONDS):
            from storagekit.discovery import claims  # with pluggy, which is slow and for URLs only

            installed = claims()
        # One distribution may be found twice, under two names of its folder.
        claiming = {claim for claim in installed if claim.scheme == scheme}
        if not claiming:
            import difflib  # slow, and needed for a mistake only

            known = sorted({claim.scheme for claim in installed} | set(self._chosen))
            near = difflib.get_close_matches(scheme, known, n=1)
            hint = f"did you mean {near[0]}://?" if near else f"installed are {', '.join(known) or 'none'}"
            raise no_driver(without_query(url), f"no driver for {scheme}:// is installed; {hint}")
        if choice is not None:
            claiming = {claim for claim in claiming if claim.owner == choice}
            if not claiming:
                raise no_driver(url, f"the settings choose {choice!r} for {scheme}://, which has no such driver")
        if len(claiming) > 1:
            owners = " and ".join(sorted(f"{claim.owner} ({claim.value})" for claim in claiming))
            raise no_driver(
                url,
                f"{scheme}:// is claimed by {owners}; choose with Settings(drivers={{{scheme!r}: 'distribution'}}) "
                f"or STORAGEKIT_DRIVERS={scheme}=distribution",
            )
        (claim,) = claiming
        return claim.load, claim.owner

    def _make(self, scheme: str, url: str, load: Callable[[], Callable[[], object]], name: str) -> Backend:
        with guarded(IMPORT_SECONDS):
            try:
                driver = load()()
            except Exception as error:
                raise no_driver(
                    url, f"the driver of {scheme}://, from {name}, failed to load: {type(error).__name__}: {error}"
                ) from error
            return Backend(scheme, driver, name, self._wrappers)
