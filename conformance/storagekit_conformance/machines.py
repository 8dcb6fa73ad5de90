"""The machines of the model test: hypothesis makes up programs, and after every step store and model must agree.

Each machine is a set of rules, a rule a step. It does its step to the storage under test and to the
``Model`` alike; where the model says that the step is refused, the storage must refuse it with one of those errors
and change nothing. The keys come from a small set, so that things get into each other's way.

Whoever reads a failure wrote a driver and not this file. So every failure is an ``AssertionError`` that names the step,
what is expected of it and what the store did, and the helpers here stay out of its traceback. What goes wrong first is
what is told: a machine that has failed is not compared once more.

What every machine has in common stands here, the rules of each in ``machine_rules``. Every example has a folder of
its own below the test's root, with one object in it that nothing touches, so that the folder itself is always there.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
from storagekit_conformance.model import ALLOWED, Held, Model, Refusal
from storagekit_conformance.support import BLOCK, PART, Box, content
from storagekit_conformance.target import Client

__all__ = ["A_KEY", "A_SIZE", "FOLDERS", "Machine", "Reader", "Setting", "Writer", "play"]

# A few seconds on a server. A store without one answers at once, and is then asked as much in the same time as finds
# every defect of tests/test_conformance_model.py.
EXAMPLES, MANY_EXAMPLES, STEPS = 10, 250, 15
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

# Drawn as they are, so that the printed steps show them: which there are, only the machine knows.
A_KEY: st.SearchStrategy[str] = st.runner().flatmap(lambda machine: st.sampled_from(machine.keys))
A_SIZE: st.SearchStrategy[int] = st.runner().flatmap(lambda machine: st.sampled_from(machine.sizes))

# How many names a message lists; a driver that loses every key is understood from a few.
NAMES_TOLD = 8


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
        self.step = "the beginning"
        self.box.put(ANCHOR, b"anchor")
        self.model.write(ANCHOR, b"anchor")

    def teardown(self) -> None:
        """The whole place once more, unless something has failed already, and every handle closed."""
        # Hypothesis comes here in a ``finally``: an error on its way is the one to tell, and none here may replace it.
        failed = sys.exc_info()[0] is not None
        with contextlib.suppress(Exception) if failed else contextlib.nullcontext():
            try:
                for writer in self.writers:
                    writer.file.discard()
                self.writers.clear()
                if not failed:
                    self.compare_all()
            finally:
                for reader in self.readers:
                    reader.file.close()

    # what the rules share

    def data(self, size: int) -> bytes:
        """Bytes that no other object of the example has at the same place."""
        begin = next(self.seeds) * 97
        return content(2 * max(self.sizes))[begin : begin + size]

    def may_hold_both(self, key: str) -> bool:
        """True for a key below a file, where the store may hold both or refuse."""
        return self.model.unclear(key) and not self.model.is_dir(key)

    def does(self, step: str, refusal: Refusal, action: Callable[[], Any]) -> Any:
        """Do *action*, which is *step* in words, and return what it returns; or see it refused, and return None."""
        __tracebackhide__ = True
        self.step = step
        try:
            result = action()
        except AssertionError:
            raise
        except Exception as error:
            if not isinstance(error, refusal.kinds):
                raise AssertionError(f"{step}: expected {refusal}; the store raised {error!r}") from error
            # The standard library raises a SameFileError without an errno.
            if isinstance(error, OSError) and not isinstance(error, shutil.SameFileError):
                self.told(error.errno is not None, f"{error!r} has no errno")
                self.told(error.strerror, f"{error!r} has no text")
            return None
        if refusal:
            raise AssertionError(f"{step}: expected {refusal}; the store allowed it")
        return result

    def told(self, holds: object, wrong: str) -> None:
        """Fail with the step and what is *wrong* after it, unless it *holds*."""
        __tracebackhide__ = True
        if not holds:
            raise AssertionError(f"{self.step}: {wrong}")

    def same(self, what: str, seen: object, expected: object) -> None:
        """The store's answer is the expected one; bytes are told by where they differ."""
        __tracebackhide__ = True
        if seen == expected:
            return  # which is nearly always so, and a message takes longer than the comparison
        if isinstance(seen, bytes) and isinstance(expected, bytes):
            self.told(False, f"{what} differs: {_difference(seen, expected)}")
        self.told(False, f"{what} is {seen!r}, expected {expected!r}")

    def same_names(self, what: str, seen: Iterable[str], expected: Iterable[str]) -> None:
        """The store names what is expected, each as often; told by what is too much and what is missing."""
        __tracebackhide__ = True
        found, wanted = Counter(seen), Counter(expected)
        wrong = [
            f"{label} {_list(names)}"
            for label, names in (("too much:", found - wanted), ("missing:", wanted - found))
            if names
        ]
        self.told(not wrong, f"{what} differs: {'; '.join(wrong)}")

    def agree(self, *keys: str) -> None:
        """The store says of these keys what the model says."""
        __tracebackhide__ = True
        after = self._after()
        for key in keys:
            url = self.box.url(key)
            is_dir = self.does(f"{after}, isdir {key!r}", ALLOWED, functools.partial(self.storage.isdir, url))
            self.same("the answer", is_dir, self.model.is_dir(key))
            if self.model.is_file(key):
                self._holds(after, key)
            else:
                is_file = self.does(f"{after}, isfile {key!r}", ALLOWED, functools.partial(self.storage.isfile, url))
                self.same("the answer", is_file, False)

    def compare_all(self) -> None:
        """The whole tree, the contents, and what the second client sees."""
        __tracebackhide__ = True
        after, place = self._after(), self.box.url()
        walked = self.does(f"{after}, walk", ALLOWED, lambda: list(self.storage.walk(place)))
        trees = ((prefix if prefix.endswith("//") else prefix[:-1], *names) for prefix, *names in self.model.tree())
        found = ((top.removeprefix(place).removeprefix("/"), *names) for top, *names in walked)
        self.same_names("the tree", _named(found), _named(trees))
        files = [key for key in self.model.held if self.model.is_file(key)]
        for key in files:
            self._holds(after, key)
        if self.client is not None and not self.writers:
            known = self.does(f"{after}, a second client's look", ALLOWED, self.client.keys)
            self.same_names("what it sees", (repr(key) for key in known if not key.endswith("/")), map(repr, files))

    def _after(self) -> str:
        # A question after a question is one after the same change.
        return self.step if self.step.startswith("after ") else f"after {self.step}"

    def _holds(self, after: str, key: str) -> None:
        __tracebackhide__ = True
        seen = self.does(f"{after}, read {key!r}", ALLOWED, lambda: self.box.get(key))
        self.same("the content", seen, self.model.held[key].data)

    def change(self, key: str, data: bytes | None) -> None:
        """Write *key*, or remove it: somebody else does where there is somebody else, and nobody who must not."""
        self.step = f"{'removing' if data is None else f'writing {len(data)} bytes to'} {key!r} from elsewhere"
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

    @initialize(objects=st.lists(st.tuples(A_KEY, A_SIZE), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
    def begin(self, objects: list[tuple[str, int]]) -> None:
        """A few objects to begin with, written by somebody else where there is somebody else."""
        for key, size in objects:
            if self.model.no_room(key) or self.model.unclear(key):
                continue
            self.change(key, self.data(size))

    @rule(
        key=A_KEY,
        size=A_SIZE,
        mode=st.sampled_from(["wb", "wb", "w", "xb", "x"]),
        parents=st.sampled_from([True, True, False]),
    )
    def write(self, key: str, size: int, mode: str, parents: bool) -> None:
        """Write an object, whole or exclusively; where directories are real, more often than not into one."""
        data = self.data(size)
        if self.model.unclear(key):
            return
        above = key.rpartition("/")[0]
        wanted = above and parents and not self.box.traits.implicit_directories
        if wanted and not self.model.makedirs(above, exist_ok=True):
            url = self.box.url(above)
            self.does(f"makedirs {above!r}", ALLOWED, lambda: self.storage.makedirs(url, exist_ok=True))
        text = {"encoding": "latin-1", "newline": ""} if "b" not in mode else {}

        def write() -> None:
            with self.box.open(self.box.url(key), mode, **text) as file:
                half = len(data) // 2
                for piece in (data[:half], data[half:]):
                    file.write(piece.decode("latin-1") if text else piece)

        refusal = self.model.write(key, data, exclusive="x" in mode)
        self.does(f"write {size} bytes to {key!r} in mode {mode!r}", refusal, write)
        self.agree(key)

    @rule(key=A_KEY, size=A_SIZE, how=st.sampled_from(["exception", "discard"]))
    def give_up(self, key: str, size: int, how: str) -> None:
        """Write an object and do not mean it."""
        data = self.data(size)
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
        self.does(f"write {size} bytes to {key!r} and give up by {how}", refusal, write)
        self.agree(key)

    @rule(key=A_KEY, missing_ok=st.booleans())
    def remove(self, key: str, missing_ok: bool) -> None:
        """Remove a file."""
        missing_ok = missing_ok and not self.model.below_a_file(key)
        refusal = self.model.remove(key, missing_ok=missing_ok)
        step = f"remove {key!r}, missing_ok={missing_ok}"
        self.does(step, refusal, lambda: self.storage.remove(self.box.url(key), missing_ok=missing_ok))
        self.agree(key)

    @rule(key=A_KEY)
    def ask(self, key: str) -> None:
        """Every question about one key, and opening it."""
        url = self.box.url(key)
        is_file, is_dir = self.model.is_file(key), self.model.is_dir(key)
        found = self.does(f"exists {key!r}", ALLOWED, lambda: self.storage.exists(url))
        self.same("the answer", found, is_file or is_dir)
        self.does(f"open {key!r} to read", self.model.no_file(key), lambda: self.box.open(url, "rb").close())
        there = is_file or is_dir
        found = self.does(
            f"stat {key!r}", ALLOWED if there else self.model.no_file(key), lambda: self.storage.stat(url)
        )
        if there:
            self.same("is_directory", found.is_directory, not is_file)
        if is_file:
            self.same("st_size", found.st_size, len(self.model.held[key].data))
        self.agree(key)

    @rule()
    def look(self) -> None:
        """Everything there is."""
        self.compare_all()


def _difference(seen: bytes, expected: bytes) -> str:
    """Sizes, and where the first difference is; never the bytes, which are many and say nothing."""
    offset = next((at for at, pair in enumerate(zip(seen, expected, strict=False)) if pair[0] != pair[1]), None)
    if offset is None:
        offset = min(len(seen), len(expected))
    return f"{len(seen)} bytes, expected {len(expected)}; the first difference is at offset {offset}"


def _named(tree: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """What ``walk`` says, a name for each thing in it."""
    for top, folders, files in tree:
        yield f"the walk of {top!r}"
        for kind, names in (("directory", folders), ("file", files)):
            yield from (f"the {kind} {name!r} in {top!r}" for name in names)


def _list(names: Counter[str]) -> str:
    told = sorted(names.elements())
    more = [f"{len(told) - NAMES_TOLD} more"] if len(told) > NAMES_TOLD else []
    return ", ".join(told[:NAMES_TOLD] + more)


def play(box: Box, machine: type[Machine], depth: int) -> None:
    """Let hypothesis look for a program of *machine*'s steps in which store and model disagree."""
    __tracebackhide__ = True
    setting = Setting(box, depth, box.removes, itertools.count())

    def begin() -> Machine:
        __tracebackhide__ = True
        return machine(setting)

    for examples in (EXAMPLES, MANY_EXAMPLES):
        started = time.monotonic()
        settings = explored(depth, examples=examples, steps=STEPS)
        run_state_machine_as_test(begin, settings=settings)  # type: ignore[arg-type]
        if time.monotonic() - started > QUICK_SECONDS * depth:
            break
