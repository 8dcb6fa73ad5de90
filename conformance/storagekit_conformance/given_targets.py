"""Targets that are named on the command line by their place: ``--root foo://…``.

Nobody has described these stores, so the suite has to find out by itself what a ``Target`` would say. Before
the run the controlling process asks (``probe``): it writes one object below a prefix that it made up and looks
whether another ``Storage`` and another process see it. The answers travel to the workers of pytest-xdist, whose
places lie below the same prefix.

Two rules guard what else is in the store: every test gets a place of its own below that one prefix, and
nothing is removed that does not begin with it. As the driver may be broken, being under test, what it would remove is
listed first and compared.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import storagekit
from storagekit.location import scheme_of
from storagekit_conformance.finding import TargetError
from storagekit_conformance.hooks import Driver
from storagekit_conformance.support import Box
from storagekit_conformance.target import Root, StorageClient, Target

__all__ = ["PREFIX", "GivenPlace", "GivenRoot", "number_hint", "parse_options", "remove_below"]

PREFIX = "storagekit-conformance-"
"""How the one prefix of a run begins, below which everything happens; a random text follows."""

# A Python that starts, imports storagekit and a driver, and reads one small object.
_PROBE_SECONDS = 60.0

_PROBE = """
import json, os, sys
import storagekit
given = json.loads(os.environ["STORAGEKIT_CONFORMANCE"])
storage = storagekit.Storage(options={given["scheme"]: given["options"]})
sys.exit(0 if storage.exists(given["url"]) else 3)
"""


def parse_options(given: Sequence[str]) -> dict[str, object]:
    """Options of the driver, from ``name=value`` each; a value is JSON where it reads as JSON, else text.

    >>> parse_options(["region_name=eu-west-1", "verify=false", "part_size=5242880"])
    {'region_name': 'eu-west-1', 'verify': False, 'part_size': 5242880}
    """
    options: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            # Not the text itself: it could be a secret that lost its name.
            raise TargetError("--option takes name=value")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def number_hint(options: Mapping[str, object], text: str) -> str:
    """What to add to the error *text* where it speaks of an option that was read as a number; "" where it does not.

    A secret of digits alone is a number to JSON, and a driver that wants a text says only that.
    """
    for name, value in options.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and name in text:
            return f"; --option read {name} as a number: '{name}=\"…\"' gives it as a text"
    return ""


class GivenPlace(ABC):
    """A place from the command line: a target, what has to be found out about it, and what is left of it."""

    options: Mapping[str, object]
    """Options of the driver, as ``--option`` gave them."""

    @abstractmethod
    def target(self, name: str) -> Target:
        """The target, under that name, which knows what was found out by the time that a test needs a root."""

    @abstractmethod
    def probe(self) -> dict[str, object]:
        """Find out, in the controlling process before the run; raises ``OSError`` or ``TargetError``.

        What is returned goes to ``learn`` in each worker, so it is made of texts, numbers and such.
        """

    @abstractmethod
    def learn(self, found: Mapping[str, object]) -> None:
        """Take what ``probe`` found out in another process."""

    @abstractmethod
    def clear(self) -> str | None:
        """Remove what the run has made, after all tests; one line about what had to stay, or None.

        Also where ``probe`` has raised, or was never called; nothing is asked where nothing was begun.
        """


@dataclass
class GivenRoot(GivenPlace):
    """A place of any installed scheme, reached through its driver alone."""

    url: str
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    run: str = field(default_factory=lambda: PREFIX + uuid.uuid4().hex[:12])
    """The name of the one folder of this run."""
    shared: bool = False
    """Another process sees the objects; then so does another ``Storage``."""
    visible: bool = False
    """Another ``Storage`` of the same process sees them."""
    secrets: Sequence[str] = ()
    """The options that the driver calls secret, and that are given and not empty."""
    _begun: bool = field(default=False, init=False, repr=False)
    """Something was made that does not go with the ``Storage`` that made it."""

    def __post_init__(self) -> None:
        scheme = scheme_of(self.url)
        if scheme is None or self.url.endswith("://"):
            raise TargetError(f"--root takes the URL of a place, as foo://container/folder, not {self.url!r}")
        self.scheme = scheme
        # As the driver will write it, so that what it lists can be compared.
        self.url = scheme + self.url[len(scheme) :]

    @property
    def folder(self) -> str:
        """The URL of the folder of this run."""
        return f"{self.url.removesuffix('/')}/{self.run}"

    def target(self, name: str) -> Target:
        return Target(name, self.root)

    def storage(self) -> storagekit.Storage:
        """A ``Storage`` of its own for this place."""
        return storagekit.Storage(options={self.scheme: dict(self.options)})

    @contextmanager
    def root(self) -> Iterator[Root]:
        """A fresh folder below that of the run."""
        url = f"{self.folder}/{uuid.uuid4().hex[:12]}"
        with self.storage() as storage:
            if not storage.traits(url).implicit_directories:
                storage.makedirs(url)
            try:
                client = StorageClient(storage, url) if self.visible else None
                # Which environment variable would say a secret, nobody has told.
                secrets = dict.fromkeys(self.secrets, "")
                yield Root(url, options=self.options, client=client, shared=self.shared, secrets=secrets)
            finally:
                if self.visible:
                    _tidy(storage, url, self.folder)

    def probe(self) -> dict[str, object]:
        with self.storage() as storage, self.storage() as other:
            traits = storage.traits(self.url)
            # The driver would list the place under another name, and what is there could not be told to be ours.
            if ".." in self.url.split("/") and not traits.literal_keys:
                raise TargetError(f"--root takes a place without '..': {self.url}")
            self.secrets = self._secrets()
            if not traits.implicit_directories:
                if not storage.isdir(self.url):
                    raise TargetError(f"there is no such directory: {self.url}")
                storage.makedirs(self.folder)
                self._begun = True
            try:
                url = self._write(storage)
                self.visible = other.exists(url)
                self._begun = self.visible  # what nobody else sees goes with the storage
                self.shared = self.visible and self._another_process_sees(url)
                if not self.visible and not traits.implicit_directories:
                    raise TargetError("another Storage does not see what this one makes: describe it in a Target")
            finally:
                _tidy(storage, self.folder, self.folder)
        return {"run": self.run, "visible": self.visible, "shared": self.shared, "secrets": list(self.secrets)}

    def learn(self, found: Mapping[str, Any]) -> None:
        self.run, self.visible, self.shared = str(found["run"]), bool(found["visible"]), bool(found["shared"])
        self.secrets = tuple(found["secrets"])

    def clear(self) -> str | None:
        if not self._begun:
            return None
        try:
            with self.storage() as storage:
                remove_below(storage, self.folder, self.folder)
        # The driver is under test: whatever it raises here, the run's results are not to be lost for it.
        except Exception as error:
            return f"left behind: {self.folder} ({getattr(error, 'strerror', None) or error})"
        return None

    def _secrets(self) -> Sequence[str]:
        with Box.opened(Root(self.url, options=self.options)) as box, Driver.of(box) as driver:
            known = driver.call("known_options") or ()
        # An empty text is found in any other, and tells nothing.
        return tuple(option.name for option in known if option.secret and self.options.get(option.name))

    def _write(self, storage: storagekit.Storage) -> str:
        """Write the first object and note that something was begun; its URL."""
        url = f"{self.folder}/probe"
        try:
            with storage.open(url, "wb") as file:
                file.write(b"written before the run to see that it can be")
        except BaseException:
            # A write that fails may have written. That a store which refuses everything keeps something, nobody
            # needs to be told.
            self._begun = self._begun or _holds(storage, self.folder)
            raise
        self._begun = True
        return url

    def _another_process_sees(self, url: str) -> bool:
        given = json.dumps({"scheme": self.scheme, "options": dict(self.options), "url": url})
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env={**os.environ, "STORAGEKIT_CONFORMANCE": given},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def remove_below(storage: storagekit.Storage, url: str, folder: str) -> None:
    """Remove *url* and what is below it, if every name that the driver lists there lies in *folder*.

    Raises ``io.UnsupportedOperation`` where the driver cannot delete, and another ``OSError`` where it lists
    what lies elsewhere; then nothing is removed.
    """
    try:
        going = storage.rmtree(url, dry_run=True) or []
    except FileNotFoundError:
        return
    for name in going:
        inside = name == folder or name.startswith(folder + "/")
        if not inside or (".." in name.split("/") and not storage.traits(url).literal_keys):
            raise OSError(f"the driver lists what lies elsewhere, so nothing was removed: {name}")
    _abort_uploads(storage, url, folder)
    storage.rmtree(url)


def _abort_uploads(storage: storagekit.Storage, url: str, folder: str) -> None:
    """End what killed writers have begun there: it may hold a directory fast, and it costs storage."""
    try:
        for upload in list(storage.uploads(url)):
            if upload.location.url.startswith(folder + "/"):
                storage.abort_upload(upload)
    except io.UnsupportedOperation:
        return  # a driver that cannot tell of them


def _holds(storage: storagekit.Storage, folder: str) -> bool:
    """Whether anything is listed there."""
    try:
        return bool(storage.rmtree(folder, dry_run=True))
    except Exception:
        return False  # the driver is under test, and this is about the error before


def _tidy(storage: storagekit.Storage, url: str, folder: str) -> None:
    """``remove_below`` as far as it goes: what stays is told at the end of the run (``clear``)."""
    try:
        remove_below(storage, url, folder)
    except Exception:
        pass  # the driver is under test, and a place that could not be cleaned up is no clause
