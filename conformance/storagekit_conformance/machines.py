"""The machines of the model test: hypothesis makes up programs, and after every step store and model must agree.

Each machine is a set of rules, a rule a step. It does its step to the storage under test and to the
``Model`` alike; where the model says that the step is refused, the storage must refuse it with one of those errors
and change nothing. The keys come from a small set, so that things get into each other's way.

What every machine has in common stands here, the rules of each in ``machine_rules``. Every example has a folder of
its own below the test's root, with one object in it that nothing touches, so that the folder itself is always there.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from storagekit_conformance.exploring import explored
from storagekit_conformance.model import Held, Model, Refusal
from storagekit_conformance.support import BLOCK, PART, Box, content, refused
from storagekit_conformance.target import Client

__all__ = ["FOLDERS", "Machine", "Reader", "Setting", "Writer", "play"]

# A few seconds on a server. A store without one answers at once, and is then asked as much in the same time as finds
# every defect of tests/test_conformance_model.py.
EXAMPLES, MANY_EXAMPLES, STEPS = 10, 150, 15
QUICK_SECONDS = 1.0

FOLDERS = ["a", "a/b", "a/b/c", "d d", "d d/ü", "absent/x"]
# `a-b` and `a.b` sort between `a` and `a/b`.
PLAIN = [*FOLDERS, "a-b", "a.b", "a/b-c", "100%2F?#", "d d/100%"]
LITERAL = ["a//b", "a/../b", "a/.", "A"]
FEW = ["a", "a-b", "100%2F?#"]
ANCHOR = "~anchor"

SIZES = [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 20 * BLOCK + 7]
# Several parts take longer; they come with the depth.
LARGE = [PART - 1, PART, PART + 1, 2 * PART + 1]


@dataclass(frozen=True)
class Setting:
    """What a machine plays in: where its places are made, and what was found out before."""

    box: Box
    depth: int
    can_delete: bool
    numbers: Iterator[int]

    def place(self) -> Box:
        """A fresh folder below the root, with its own view of the second client."""
        number = next(self.numbers)
        client = self.box.root.client
        root = replace(
            self.box.root,
            url=self.box.url(str(number)),
            client=_Below(client, f"{number}/") if client is not None else None,
        )
        place = replace(self.box, root=root)
        if not place.traits.implicit_directories:
            place.storage.mkdir(place.url())
        return place


class _Below(Client):
    """A client's view of one folder."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def put(self, key: str, data: bytes) -> None:
        self._client.put(self._prefix + key, data)

    def get(self, key: str) -> bytes:
        return self._client.get(self._prefix + key)

    def delete(self, key: str) -> None:
        self._client.delete(self._prefix + key)

    def keys(self) -> list[str]:
        known = self._client.keys()
        return [key.removeprefix(self._prefix) for key in known if key.startswith(self._prefix)]


@dataclass(eq=False)
class Reader:
    """A handle that is kept open, and the version that it was opened on."""

    key: str
    file: Any
    held: Held
    position: int = 0


@dataclass(eq=False)
class Writer:
    """A writer that is kept open, and what it was given."""

    key: str
    file: Any
    exclusive: bool
    data: bytes = b""


class Machine(RuleBasedStateMachine):
    """What every machine does: write, remove, and look."""

    few = False
    """True where a few objects of several blocks are wanted rather than many of every size."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.box = setting.place()
        self.storage = self.box.storage
        self.model = Model(self.box.traits, can_delete=setting.can_delete)
        self.client = self.box.root.client
        self.seeds = itertools.count(1)
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self.sizes = SIZES + (LARGE if setting.depth > 1 else [])
        self.keys = PLAIN + (LITERAL if self.box.traits.literal_keys else [])
        if self.few:
            self.sizes, self.keys = [size for size in self.sizes if size >= BLOCK], FEW
        self.box.put(ANCHOR, b"anchor")
        self.model.write(ANCHOR, b"anchor")

    def teardown(self) -> None:
        """The whole place once more, and every handle closed."""
        try:
            for writer in self.writers:
                writer.file.discard()
            self.writers.clear()
            self.compare_all()
        finally:
            for reader in self.readers:
                reader.file.close()

    # what the rules share

    def key(self, number: int) -> str:
        """One of the keys that this store can have."""
        return self.keys[number % len(self.keys)]

    def data(self, size: int) -> bytes:
        """Bytes that no other object of the example has at the same place."""
        begin = next(self.seeds) * 97
        return content(2 * max(self.sizes))[begin : begin + self.sizes[size % len(self.sizes)]]

    def may_hold_both(self, key: str) -> bool:
        """True for a key below a file, where the store may hold both or refuse."""
        return self.model.unclear(key) and not self.model.is_dir(key)

    def does(self, refusal: Refusal, action: Callable[[], object]) -> None:
        """Do *action*, or see it refused."""
        if not refusal:
            action()
        elif shutil.SameFileError in refusal:  # which the standard library raises without an errno
            with pytest.raises(refusal):
                action()
        else:
            with refused(*refusal):
                action()

    def agree(self, *keys: str) -> None:
        """The store says of these keys what the model says."""
        for key in keys:
            url = self.box.url(key)
            assert self.storage.isdir(url) == self.model.is_dir(key), f"isdir({key!r})"
            if not self.model.is_file(key):
                assert not self.storage.isfile(url), f"isfile({key!r})"
            elif self.box.get(key) != self.model.held[key].data:
                raise AssertionError(f"{key!r} holds other bytes")

    def compare_all(self) -> None:
        """The whole tree, the contents, and what the second client sees."""
        expected = {
            self.box.url(prefix if prefix.endswith("//") else prefix.removesuffix("/")): (
                sorted(folders),
                sorted(files),
            )
            for prefix, folders, files in self.model.tree()
        }
        walked = {top: (sorted(folders), sorted(files)) for top, folders, files in self.storage.walk(self.box.url())}
        assert walked == expected
        contents = {key: held.data for key, held in self.model.held.items() if self.model.is_file(key)}
        for key, data in contents.items():
            assert self.box.get(key) == data, key
        if self.client is not None and not self.writers:
            known = self.client.keys()
            assert {key for key in known if not key.endswith("/")} == set(contents), "the second client sees the same"

    def change(self, key: str, data: bytes | None) -> None:
        """Write *key*, or remove it: somebody else does where there is somebody else, and nobody who must not."""
        if data is None:
            if not self.model.remove(key):
                self.client.delete(key) if self.client is not None else self.storage.remove(self.box.url(key))
        elif not self.model.write(key, data):
            self.client.put(key, data) if self.client is not None else self.box.put(key, data)

    def settle_writers(self) -> None:
        """Real directories cannot be removed or moved under a file that is being written; so none is."""
        if not self.box.traits.implicit_directories:
            for writer in self.writers:
                writer.file.discard()
            self.writers.clear()

    # rules

    @initialize(numbers=st.lists(st.integers(0, 20), max_size=4, unique=True))
    def begin(self, numbers: list[int]) -> None:
        """A few objects to begin with, written by somebody else where there is somebody else."""
        for number in numbers:
            key, data = self.key(number), self.data(number)
            if self.model.no_room(key) or self.model.unclear(key):
                continue
            self.change(key, data)

    @rule(number=st.integers(0, 20), size=st.integers(0, 20), mode=st.sampled_from(["wb", "wb", "w", "xb", "x"]))
    def write(self, number: int, size: int, mode: str) -> None:
        """Write an object, whole or exclusively; where directories are real, more often than not into one."""
        key, data = self.key(number), self.data(size)
        if self.model.unclear(key):
            return
        if not self.box.traits.implicit_directories and size % 3:
            above = key.rpartition("/")[0]
            if above and not self.model.makedirs(above, exist_ok=True):
                self.storage.makedirs(self.box.url(above), exist_ok=True)
        text = {"encoding": "latin-1", "newline": ""} if "b" not in mode else {}

        def write() -> None:
            with self.box.open(self.box.url(key), mode, **text) as file:
                half = len(data) // 2
                for piece in (data[:half], data[half:]):
                    file.write(piece.decode("latin-1") if text else piece)

        self.does(self.model.write(key, data, exclusive="x" in mode), write)
        self.agree(key)

    @rule(number=st.integers(0, 20), size=st.integers(0, 20), how=st.sampled_from(["exception", "discard"]))
    def give_up(self, number: int, size: int, how: str) -> None:
        """Write an object and do not mean it."""
        key, data = self.key(number), self.data(size)
        if self.model.unclear(key):
            return

        def write() -> None:
            with pytest.raises(ZeroDivisionError), self.box.open(self.box.url(key), "wb") as file:
                file.write(data)
                if how == "discard":
                    file.discard()
                raise ZeroDivisionError

        # A store may only find out at the end that there is no room; nothing comes to an end here.
        refusal = self.model.no_room(key)
        if self.box.traits.implicit_directories and refusal:
            return
        self.does(refusal, write)
        self.agree(key)

    @rule(number=st.integers(0, 20), missing_ok=st.booleans())
    def remove(self, number: int, missing_ok: bool) -> None:
        """Remove a file."""
        key = self.key(number)
        missing_ok = missing_ok and not self.model.below_a_file(key)
        refusal = self.model.remove(key, missing_ok=missing_ok)
        self.does(refusal, lambda: self.storage.remove(self.box.url(key), missing_ok=missing_ok))
        self.agree(key)

    @rule(number=st.integers(0, 20))
    def ask(self, number: int) -> None:
        """Every question about one key, and opening it."""
        key = self.key(number)
        url = self.box.url(key)
        is_file, is_dir = self.model.is_file(key), self.model.is_dir(key)
        assert self.storage.exists(url) is (is_file or is_dir)
        self.does(self.model.no_file(key), lambda: self.box.open(url, "rb").close())
        if is_file or is_dir:
            found = self.storage.stat(url)
            assert found.is_directory is not is_file
            assert not is_file or found.st_size == len(self.model.held[key].data)
        else:
            self.does(self.model.no_file(key), lambda: self.storage.stat(url))
        self.agree(key)

    @rule()
    def look(self) -> None:
        """Everything there is."""
        self.compare_all()


def play(box: Box, machine: type[Machine], depth: int) -> None:
    """Let hypothesis look for a program of *machine*'s steps in which store and model disagree."""
    setting = Setting(box, depth, box.removes, itertools.count())

    def begin() -> Machine:
        return machine(setting)

    for examples in (EXAMPLES, MANY_EXAMPLES):
        started = time.monotonic()
        settings = explored(depth, examples=examples, steps=STEPS)
        run_state_machine_as_test(begin, settings=settings)  # type: ignore[arg-type]
        if time.monotonic() - started > QUICK_SECONDS * depth:
            break
