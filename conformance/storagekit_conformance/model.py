"""The model: what a store should hold and how it should answer, as a dictionary.

The machine in ``test_model.py`` does every step twice, on the storage under test and here, and compares. So
this file is the contract once more, as short as it can be said: no I/O, no storage, nothing lazy.

Everything is a key. A file is a key with its bytes; a directory that exists by itself, because it is real or
because a marker stands for it, is a key that ends in a slash. Both kinds of store then follow the same few
questions, and differ in what a change asks for first:

* with *implicit directories* a key needs no parent, and a directory is there as long as a key begins with it;
* with *real directories* a parent must be there, is a key of its own, and stays when its last child goes.

Each change answers with the classes of error that it must be refused with and the reason, and then changes nothing;
or with ``ALLOWED``, and is then done. Where several things are wrong at once any of their errors is right: which one a
store meets first is its own affair. The reasons are for the author of a driver, who has to read what went wrong.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from storagekit.driver import Traits

__all__ = ["ALLOWED", "Held", "Model", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The errors that are right, and why; false, with no errors at all, where the change is allowed."""

    reason: str = ""
    kinds: tuple[type[OSError], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __add__(self, other: Refusal) -> Refusal:
        """Both are wrong at once."""
        reasons = dict.fromkeys(filter(None, (self.reason, other.reason)))
        return Refusal(", and ".join(reasons), tuple(dict.fromkeys(self.kinds + other.kinds)))

    def __str__(self) -> str:
        names = " or ".join(kind.__name__ for kind in self.kinds)
        return f"{names}, because {self.reason}" if self.kinds else "no error"


def _no(reason: str, *kinds: type[OSError]) -> Refusal:
    return Refusal(reason, kinds)


ALLOWED = Refusal()

# "What the system says" of a directory that is removed or copied as a file: macOS and Linux differ.
_DIRECTORY = (IsADirectoryError, PermissionError)
_REMOVES_NOTHING = "the driver removes nothing"


@dataclass(frozen=True, eq=False, slots=True)
class Held:
    """One version of one object. Two versions are never equal, also where their bytes are."""

    data: bytes


class Model:
    """The keys of one place, relative to it; the place itself is the key ``""``."""

    def __init__(self, traits: Traits, *, can_delete: bool = True) -> None:
        self.traits = traits
        self.can_delete = can_delete
        self.held: dict[str, Held] = {}
        if not traits.implicit_directories:
            self.held[""] = Held(b"")

    # looking

    def is_file(self, key: str) -> bool:
        """True where ``open`` reads something."""
        return key in self.held and key == key.rstrip("/") != ""

    def is_dir(self, key: str) -> bool:
        """True where something can be listed, and be it nothing."""
        prefix = _prefix(key)
        return any(other.startswith(prefix) for other in self.held)

    def below_a_file(self, key: str) -> bool:
        """True where a file stands in the way to *key*, on a store where nothing can be below a file."""
        return self._in_the_way(key) is not None

    def _in_the_way(self, key: str) -> str | None:
        above = [] if self.traits.file_beside_directory else _above(key)
        return next(filter(self.is_file, above), None)

    def names(self, key: str) -> tuple[set[str], set[str]]:
        """The names directly below a directory: of directories, and of files."""
        prefix = _prefix(key)
        folders: set[str] = set()
        files: set[str] = set()
        for other in self.held:
            if other.startswith(prefix) and other != prefix:
                name, slash, _ = other[len(prefix) :].partition("/")
                (folders if slash else files).add(name)
        return folders, files

    def tree(self, key: str = "") -> Iterator[tuple[str, set[str], set[str]]]:
        """The directory *key* and every one below it, as ``walk`` has them; each as its prefix."""
        folders, files = self.names(key)
        yield _prefix(key), folders, files
        for name in folders:
            yield from self.tree(f"{_prefix(key)}{name}/")

    def no_file(self, key: str, *, directory: tuple[type[OSError], ...] = (IsADirectoryError,)) -> Refusal:
        """Why *key* cannot be read as a file."""
        if self.is_file(key):
            return ALLOWED
        return _no(f"{key!r} is a directory", *directory) if self.is_dir(key) else self._missing(key)

    def no_directory(self, key: str) -> Refusal:
        """Why *key* cannot be listed."""
        if self.is_dir(key):
            return ALLOWED
        return _no(f"{key!r} is a file", NotADirectoryError) if self.is_file(key) else self._missing(key)

    def _missing(self, key: str) -> Refusal:
        if self.below_a_file(key):
            return self._below(key, FileNotFoundError, NotADirectoryError)
        return _no(f"nothing is at {key!r}", FileNotFoundError)

    def _below(self, key: str, *kinds: type[OSError]) -> Refusal:
        return _no(f"{self._in_the_way(key)!r} is a file and file_beside_directory is not declared", *kinds)

    # files

    def unclear(self, key: str) -> bool:
        """True for a file over an implied directory or below a file, where nobody promises that both can be: a store
        may refuse it or hold both, and some servers lose sight of the directory, so those questions have clauses of
        their own (``listing.directory-then-file``, ``listing.file-and-directory-refused``)."""
        traits = self.traits
        together = self.is_dir(key) or self.below_a_file(key)
        return traits.implicit_directories and not traits.file_beside_directory and together

    def no_room(self, key: str) -> Refusal:
        """Why no file can be made at *key*."""
        if self.traits.implicit_directories:
            # Which words a server has for this, nobody promises.
            return self._below(key, OSError) if self.below_a_file(key) else ALLOWED
        if self.is_dir(key):
            return _no(f"{key!r} is a directory", IsADirectoryError)
        if self.below_a_file(key):
            return self._below(key, FileNotFoundError, NotADirectoryError)
        return ALLOWED if self.is_dir(_parent(key)) else self._no_parent(key)

    def _no_parent(self, key: str) -> Refusal:
        return _no(f"the directory {_parent(key)!r} is not there", FileNotFoundError)

    def no_creation(self, key: str) -> Refusal:
        """Why no file can be made at *key* in mode ``x``."""
        refusal = self.no_room(key)
        if self.is_file(key) or (refusal and self.is_dir(key)):
            refusal += _exists(key)
        if not self.traits.exclusive_create:
            refusal += _no("exclusive_create is not declared", io.UnsupportedOperation)
        return refusal

    def write(self, key: str, data: bytes, *, exclusive: bool = False) -> Refusal:
        """``open`` for write, with its successful ``close``."""
        refusal = self.no_creation(key) if exclusive else self.no_room(key)
        if not refusal:
            self.held[key] = Held(data)
        return refusal

    def remove(self, key: str, *, missing_ok: bool = False) -> Refusal:
        """``remove``; with *missing_ok*, a store of implied directories says nothing about them either."""
        silent = missing_ok and (self.traits.implicit_directories or not self.is_dir(key))
        refusal = ALLOWED if silent else self.no_file(key, directory=_DIRECTORY)
        if not self.can_delete:
            return refusal + _no(_REMOVES_NOTHING, io.UnsupportedOperation)
        if not refusal:
            self.held.pop(key, None)
        return refusal

    def touch(self, key: str, *, exist_ok: bool = True) -> Refusal:
        """``touch``: a new version with the same bytes. A store that cannot renew a time may also refuse."""
        if self.is_file(key) or self.is_dir(key):
            if not exist_ok:
                return _exists(key)
            if not self.is_file(key):
                return self.no_file(key) if self.traits.implicit_directories else ALLOWED
            self.held[key] = Held(self.held[key].data)
            return ALLOWED
        return self.write(key, b"")

    def copyfile(self, source: str, target: str) -> Refusal:
        """``copyfile``."""
        refusal = self.no_file(source, directory=_DIRECTORY) + self.no_room(target)
        if self.unclear(target) and self.is_dir(target):
            refusal += _no(f"{target!r} is a directory", IsADirectoryError)
        if source == target:
            refusal += _no("both are the same", shutil.SameFileError)
        if not refusal:
            self.held[target] = Held(self.held[source].data)
        return refusal

    def copied_to(self, source: str, target: str) -> str:
        """Where ``copy`` writes: into *target*, if that is a directory."""
        return f"{target}/{source.rpartition('/')[2]}" if self.is_dir(target) else target

    def rename(self, source: str, target: str) -> Refusal:
        """``rename`` and ``replace``, of a file or a directory."""
        if source == target:
            return ALLOWED if self.is_file(source) or self.is_dir(source) else self._missing(source)
        if not self.is_file(source):
            if self.is_dir(source):
                return self._rename_directory(source, target)
            return self._missing(source) + self.no_room(target)
        refusal = self.no_room(target)
        if self.is_dir(target) and not self.is_file(target):
            refusal += _no(f"{target!r} is a directory", IsADirectoryError)
        if not self.can_delete and not self.traits.atomic_rename:
            refusal += _no(f"{_REMOVES_NOTHING} and atomic_rename is not declared", io.UnsupportedOperation)
        if not refusal:
            self.held[target] = self.held.pop(source)
        return refusal

    def _rename_directory(self, source: str, target: str) -> Refusal:
        if not self.traits.atomic_rename:
            return _no(f"{source!r} is a directory and atomic_rename is not declared", OSError)  # EXDEV
        if f"{target}/".startswith(f"{source}/"):
            return _no(f"{target!r} is inside {source!r}", OSError)
        if self.is_file(target):
            return _no(f"{target!r} is a file", OSError)
        if self.below_a_file(target):
            return self._below(target, OSError)
        if any(self.names(target)):
            return _no(f"{target!r} is not empty", OSError)
        if not self.is_dir(_parent(target)) and not self.traits.implicit_directories:
            return self._no_parent(target)
        self.held.pop(f"{target}/", None)  # an empty directory is replaced
        for key in [key for key in self.held if key.startswith(f"{source}/")]:
            self.held[f"{target}/{key[len(source) + 1 :]}"] = self.held.pop(key)
        return ALLOWED

    # directories

    def mkdir(self, key: str) -> Refusal:
        """``mkdir``."""
        refusal = ALLOWED
        if self.is_dir(key) or self.is_file(key):
            refusal += _exists(key)
        if not self.is_dir(_parent(key)):
            refusal += self.no_directory(_parent(key))
        if not self.traits.empty_directories:
            refusal += _no("empty_directories is not declared", io.UnsupportedOperation)
        if not refusal:
            self.held[f"{key}/"] = Held(b"")
        return refusal

    def makedirs(self, key: str, *, exist_ok: bool = False) -> Refusal:
        """``makedirs``: every level that is not there yet is made, and stays."""
        if self.is_dir(key):
            return ALLOWED if exist_ok else _exists(key)
        if self.is_file(key):
            return _exists(key)
        levels = [level for level in (*_above(key), key) if not self.is_dir(level)]
        for level in filter(self.is_file, levels):
            return _no(f"{level!r} is a file", NotADirectoryError)
        if not self.traits.empty_directories:
            return _no("empty_directories is not declared", io.UnsupportedOperation)
        self.held.update({f"{level}/": Held(b"") for level in levels})
        return ALLOWED

    def rmdir(self, key: str) -> Refusal:
        """``rmdir``."""
        refusal = self.no_directory(key)
        if not refusal and any(self.names(key)):
            refusal = _no(f"{key!r} is not empty", OSError)  # ENOTEMPTY
        if not self.can_delete:
            refusal += _no(_REMOVES_NOTHING, io.UnsupportedOperation)
        if not refusal:
            del self.held[f"{key}/"]
        return refusal

    def rmtree(self, key: str) -> Refusal:
        """``rmtree``; a file beside the directory stays."""
        refusal = self.no_directory(key)
        if not self.can_delete:
            refusal += _no(_REMOVES_NOTHING, OSError)  # what several failures have in common is no more than this
        if not refusal:
            for other in [other for other in self.held if other.startswith(f"{key}/")]:
                del self.held[other]
        return refusal


def _exists(key: str) -> Refusal:
    return _no(f"{key!r} exists", FileExistsError)


def _prefix(key: str) -> str:
    """What every key below a directory begins with."""
    return key if key == "" or key.endswith("/") else key + "/"


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _above(key: str) -> list[str]:
    """The keys of the directories above *key*, the highest first, without the place itself."""
    return [key[:at] for at, character in enumerate(key) if character == "/" and at]
