"""The fault matrix: every way through the S3 driver, under everything that can go wrong on the wire.

A *path* is something a user does, with the operations of the store that it needs (``faults.OPERATIONS``). A *fault*
comes once, which a client should get over, or each time, which it cannot. Whatever it is, a cell of the matrix has one
of two results: what was asked for, with the right bytes; or a clear ``OSError``, with an errno, a text and the URL,
after which what is stored is old or new, and whole, and no upload is left. Anything else is an ``AssertionError`` here.

``scripts/fault-matrix`` prints the matrix into ``docs/reliability.md``; ``test_fault_matrix`` holds every cell.
"""

from __future__ import annotations

import errno
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import storagekit
from storagekit.errors import ObjectChangedError, OutcomeUnknownError
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import (
    Answer,
    Before,
    Corrupt,
    Cut,
    Elsewhere,
    Fault,
    Faults,
    Lost,
    Misplaced,
    Reset,
    Stall,
    Status,
    Trickle,
    Twice,
)
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import content

__all__ = ["ALWAYS", "FAULTS", "ONCE", "PATHS", "Path", "Place", "cell", "faults_of", "place"]

BLOCK = 64 * 1024
PART = 5 * 1024 * 1024
SMALL = content(1000)
# Several requests, and no multiple of anything.
LARGE = content(5 * BLOCK + 17)
PARTS = content(2 * PART + 1000)
LINES = b"".join(b"line %d\n" % number for number in range(40_000))
PACKED = gzip.compress(LARGE, mtime=0)

ONCE, ALWAYS = "once", "always"
UNNOTICED = "unnoticed"

# A server that has stalled for so long has stalled: the connection is given up after a third of it.
STALL = 1.2
OPTIONS = {
    "max_attempts": 2,
    "read_timeout": 0.4,
    "connect_timeout": 5.0,
    # moto ignores If-Match at the end of an upload: there it is looked at before.
    "conditional_writes": "race",
}


@dataclass
class Place:
    """A fresh prefix on a real server, which is reached through a proxy, and without one by a client that is not
    disturbed."""

    url: str
    options: dict[str, object] = field(repr=False)
    direct: storagekit.Storage = field(repr=False)
    faults: Faults = field(repr=False)
    disturbed: storagekit.Storage = field(repr=False)
    """What is tried. It goes on from cell to cell, as a program does, with the connections that a fault has left it."""

    def storage(self) -> storagekit.Storage:
        """What is tried, with nothing in its cache."""
        self.disturbed._cache.clear()
        return self.disturbed

    def put(self, name: str, data: bytes) -> str:
        """Write past the proxy."""
        with self.direct.open(f"{self.url}/{name}", "wb") as file:
            file.write(data)
        return f"{self.url}/{name}"

    def get(self, name: str) -> bytes | None:
        """What is stored; None for nothing."""
        try:
            with self.direct.open(f"{self.url}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


@contextmanager
def place(server: S3Server, transport: str) -> Iterator[Place]:
    """A place behind a proxy of its own."""
    bucket = server.new_bucket()
    with fault_proxy(server) as (seen, faults):
        direct = storagekit.Storage(options={"s3": server.options()})
        try:
            options = seen.options() | OPTIONS | {"transport": transport}
            with storagekit.Storage(options={"s3": options}) as disturbed:
                yield Place(f"s3://{bucket}/matrix", options, direct, faults, disturbed)
        finally:
            faults.clear()
            direct.close()
            faults.check()


# -- what can go wrong ------------------------------------------------------------------------------------

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
FAILED_LATE = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We failed</Message></Error>"
PAGE = b"<html><head><title>Welcome</title></head><body>Please sign in to this network.</body></html>"


def _changed(at: Place, path: Path) -> Fault:
    """The object becomes another one of the same size just before the request."""
    return Before(lambda: at.put("object", LARGE[::-1]))


FAULTS: dict[str, Callable[[Place, Path], Fault]] = {
    "503": lambda _at, _path: Status(503),
    "500": lambda _at, _path: Status(500),
    "429": lambda _at, _path: Status(429),
    "403": lambda _at, _path: Status(403),
    "reset before the answer": lambda _at, _path: Reset(),
    "answer lost": lambda _at, _path: Lost(),
    "reset in the body": lambda _, path: Cut(path.cut),
    "body ends early": lambda _, path: Cut(path.cut, quiet=True),
    "silence": lambda _at, _path: Stall(STALL),
    "stall in the body": lambda _, path: Stall(STALL, after=path.cut),
    "trickle": lambda _at, _path: Trickle(20_000, 0.001),
    "flipped byte": lambda _at, _path: Corrupt(1, seed=7),
    "range ignored": lambda _at, _path: Misplaced(None),
    "range shifted": lambda _at, _path: Misplaced(13),
    "object changed": _changed,
    "token expired": lambda _at, _path: Answer(EXPIRED, 400),
    "redirect": lambda _at, _path: Elsewhere(307),
    "garbage": lambda _at, _path: Answer(PAGE),
    "a gateway's 404": lambda _at, _path: Answer(PAGE, 404),
    "200 with an error": lambda _at, _path: Answer(FAILED_LATE),
    "answered twice": lambda _at, _path: Twice(),
}


# What happens to the bytes of objects only. (A byte that is flipped in a listing is another name; nothing tells.)
OF_READING = {"flipped byte", "range ignored", "range shifted", "object changed"}


def faults_of(path: Path) -> Iterator[str]:
    """The names of the faults that can come on that path."""
    for title in FAULTS:
        if title not in OF_READING or path.operations == ("read",):
            yield title


# -- what a user does -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """Something that a user does."""

    operations: tuple[str, ...]
    """What the fault comes at."""
    run: Callable[[storagekit.Storage, Place], None]
    """Do it, and hold the result against what is right."""
    before: Callable[[Place], object] = lambda _: None
    """What is there first."""
    results: Callable[[Place], bool] = lambda _: True
    """Whether what is stored afterwards is old or new."""
    after: int = 0
    """How many such operations pass before the fault."""
    partly: bool = False
    """Whether it reads here and there: no store keeps checksums of ranges, so there a flipped byte is not noticed."""
    loses_uploads: bool = False
    """Whether an upload may be left: that whose answer is lost, with its id, before anything was written to it."""
    cut: int = 100
    """After how many bytes of an answer its body breaks off or stalls."""


def _object(at: Place) -> None:
    at.put("object", LARGE)


def _read(read: Callable[[Any], bytes], expected: bytes = LARGE, **how: Any) -> Callable[..., None]:
    def run(storage: storagekit.Storage, at: Place) -> None:
        with storage.open(f"{at.url}/object", "rb", **how) as file:
            # The object may have been changed before it was opened: then all of it is the new one.
            assert read(file) in (expected, expected[::-1])

    return run


def _read_later(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/object", "rb") as file:
        begin = file.read(10)
        assert begin + file.read() == LARGE


def _ranges(file: Any) -> bytes:
    return b"".join(file.read_ranges([(0, 100), (100, BLOCK + 5), (BLOCK + 5, len(LARGE))]))


def _backwards(file: Any) -> bytes:
    found = b""
    for start in range(len(LARGE) - 1, -1, -40_000):
        begin = max(0, start - 39_999)
        file.seek(begin)
        found = file.read(start + 1 - begin) + found
    return found


def _read_many(storage: storagekit.Storage, at: Place) -> None:
    for _, outcome in storage.read_many([f"{at.url}/object"]):
        if isinstance(outcome, OSError):
            raise outcome
        assert outcome in (LARGE, LARGE[::-1])


def _read_small(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/small", "rb") as file:
        assert file.read() == SMALL


def _read_lines(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/lines", "r") as file:
        found = "".join(file)
    assert found.encode() == LINES


def _read_packed(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/packed", "rb", compression="gzip") as file:
        assert file.read() == LARGE


def _ask(storage: storagekit.Storage, at: Place) -> None:
    url = f"{at.url}/object"
    assert storage.getsize(url) == len(LARGE)
    assert storage.isfile(url)
    assert storage.exists(url)
    assert not storage.exists(f"{at.url}/absent")


def _tree(at: Place) -> None:
    for name in ("tree/a", "tree/b/c", "tree/b/d", "tree/e"):
        at.put(name, b"x")


def _list(storage: storagekit.Storage, at: Place) -> None:
    tree = f"{at.url}/tree"
    assert storage.listdir(tree) == ["a", "b", "e"]
    assert [entry.name for entry in storage.scandir(tree)] == ["a", "b", "e"]
    assert [names for _, _, names in storage.walk(tree)] == [["a", "e"], ["c", "d"]]
    assert storage.glob(f"{tree}/**/c", recursive=True) == [f"{tree}/b/c"]
    assert storage.isdir(tree)


def _write(data: bytes, mode: str = "wb", name: str = "new") -> Callable[..., None]:
    def run(storage: storagekit.Storage, at: Place) -> None:
        url = f"{at.url}/{name}"
        with storage.open(url, mode) as file:
            file.write(data)
        assert at.get(name) == data

    return run


def _one_of(name: str, *contents: bytes | None) -> Callable[[Place], bool]:
    return lambda at: at.get(name) in contents


def _append(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/parts", "ab") as file:
        file.write(SMALL)
    assert at.get("parts") == PARTS + SMALL


def _update(storage: storagekit.Storage, at: Place) -> None:
    with storage.open(f"{at.url}/object", "r+b") as file:
        file.seek(100_000)
        file.write(SMALL)
    assert at.get("object") in UPDATED


# The object may have been changed before it was opened: then it is that one which is updated.
UPDATED = [data[:100_000] + SMALL + data[101_000:] for data in (LARGE, LARGE[::-1])]


def _write_many(storage: storagekit.Storage, at: Place) -> None:
    storage.write_many({f"{at.url}/new": SMALL})
    assert at.get("new") == SMALL


def _copy(storage: storagekit.Storage, at: Place) -> None:
    storage.copyfile(f"{at.url}/object", f"{at.url}/new")
    assert at.get("new") in (LARGE, LARGE[::-1])


def _rename(storage: storagekit.Storage, at: Place) -> None:
    storage.rename(f"{at.url}/object", f"{at.url}/new")
    assert (at.get("new"), at.get("object")) == (LARGE, None)


def _renamed(at: Place) -> bool:
    kept, made = at.get("object"), at.get("new")
    whole = (None, LARGE, LARGE[::-1])
    return kept in whole and made in whole and (kept or made) is not None


def _remove(storage: storagekit.Storage, at: Place) -> None:
    storage.remove(f"{at.url}/object")
    assert at.get("object") is None


def _rmtree(storage: storagekit.Storage, at: Place) -> None:
    storage.rmtree(f"{at.url}/tree")
    assert not at.direct.exists(f"{at.url}/tree")


def _touch(storage: storagekit.Storage, at: Place) -> None:
    storage.touch(f"{at.url}/new")
    assert at.get("new") == b""


def _uploads(storage: storagekit.Storage, at: Place) -> None:
    assert list(storage.uploads(at.url)) == []


_NEW = _one_of("new", None, SMALL)
_NEW_PARTS = _one_of("new", None, PARTS)

PATHS: dict[str, Path] = {
    "read all": Path(("read",), _read(lambda file: file.read()), _object, cut=70_000),
    "read on, after opening": Path(("read",), _read_later, _object, after=1, cut=70_000),
    "read in pieces": Path(
        ("read",), _read(lambda file: b"".join(iter(lambda: file.read(7001), b""))), _object, cut=70_000
    ),
    "read unbuffered": Path(("read",), _read(lambda file: file.read(), buffering=0), _object, cut=70_000),
    "read backwards": Path(("read",), _read(_backwards), _object, cut=70_000, partly=True),
    "read ranges": Path(("read",), _read(_ranges), _object, cut=70_000, partly=True),
    "read a small object": Path(("read",), _read_small, lambda at: at.put("small", SMALL), cut=500),
    "read lines": Path(("read",), _read_lines, lambda at: at.put("lines", LINES), cut=70_000),
    "read gzip": Path(("read",), _read_packed, lambda at: at.put("packed", PACKED), cut=70_000),
    "read_many": Path(("read",), _read_many, _object, cut=70_000),
    "stat, exists, getsize": Path(("stat", "list"), _ask, _object),
    "listdir, walk, glob": Path(("list",), _list, _tree),
    "uploads": Path(("uploads",), _uploads),
    "write small: PutObject": Path(("put",), _write(SMALL), results=_NEW),
    "write_many": Path(("put",), _write_many, results=_NEW),
    "exclusive: PutObject": Path(("put",), _write(SMALL, "xb"), results=_NEW),
    "write parts: Create…": Path(("begin",), _write(PARTS), results=_NEW_PARTS, loses_uploads=True),
    "write parts: UploadPart": Path(("part",), _write(PARTS), results=_NEW_PARTS),
    "write parts: UploadPart 2": Path(("part",), _write(PARTS), results=_NEW_PARTS, after=1),
    "write parts: Complete…": Path(("commit",), _write(PARTS), results=_NEW_PARTS),
    "append: UploadPartCopy": Path(
        ("copy",), _append, lambda at: at.put("parts", PARTS), _one_of("parts", PARTS, PARTS + SMALL)
    ),
    "append: Complete…": Path(
        ("commit",), _append, lambda at: at.put("parts", PARTS), _one_of("parts", PARTS, PARTS + SMALL)
    ),
    "update: read": Path(
        ("read",), _update, _object, _one_of("object", LARGE, *UPDATED, LARGE[::-1]), cut=70_000, partly=True
    ),
    "update: PutObject": Path(("put",), _update, _object, _one_of("object", LARGE, *UPDATED, LARGE[::-1])),
    "copy: CopyObject": Path(("copy",), _copy, _object, _one_of("new", None, LARGE, LARGE[::-1])),
    "rename: CopyObject": Path(("copy",), _rename, _object, _renamed),
    "rename: DeleteObject": Path(("delete",), _rename, _object, _renamed),
    "remove": Path(("delete",), _remove, _object, _one_of("object", None, LARGE, LARGE[::-1])),
    "rmtree": Path(("delete",), _rmtree, _tree),
    "touch": Path(("put",), _touch, results=_one_of("new", None, b"")),
}


def cell(at: Place, path: Path, fault: Fault, how: str) -> str:
    """One cell of the matrix: ``ok``, the error, or ``-`` where the fault did not come; AssertionError if wrong.

    ``unnoticed`` is what is known to be so: a byte that is flipped in a range.
    """
    if path.partly and isinstance(fault, Corrupt):
        return UNNOTICED
    path.before(at)
    times = 1 if how == ONCE else None
    error: OSError | None = None
    storage = at.storage()
    with at.faults.armed(fault, *path.operations, after=path.after, times=times, certain=False) as rule:
        try:
            path.run(storage, at)
        except UnicodeDecodeError:
            assert isinstance(fault, Corrupt)  # of a text: what is no UTF-8 is told before the end is reached
            error = OSError(5, "no text", at.url)
        except EOFError:
            assert isinstance(fault, Corrupt)  # of a codec, for what has no end
            error = OSError(5, "no end", at.url)
        except OSError as failure:
            error = failure
    assert path.results(at), "what is stored is neither old nor new"
    left = at.direct.abort_uploads(at.url, older_than=0)
    assert not left or path.loses_uploads, "an upload is left"
    at.direct.rmtree(at.url, ignore_errors=True)
    if error is None:
        return "ok" if rule.hits else "-"
    assert rule.hits, f"it failed by itself: {error!r}"
    assert not isinstance(error, FileNotFoundError), "everything was there: a failure is no absence"
    assert error.errno, f"no errno: {error!r}"
    assert error.strerror, f"no text: {error!r}"
    assert str(error.filename).startswith(at.url), f"not about a URL: {error!r}"
    return _name(error)


def _name(error: OSError) -> str:
    kinds = (OutcomeUnknownError, ObjectChangedError)
    if isinstance(error, kinds):
        return type(error).__name__
    return errno.errorcode.get(error.errno or 0, str(error.errno))


@contextmanager
def no_pauses() -> Iterator[None]:
    """Without the pauses between attempts, which prove nothing and take most of the time."""
    from storagekit_s3 import retrying

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "LONGEST_PAUSE", 0.01)
        yield
