"""What a driver receives and what it returns: the data plane.

Hooks (see ``hookspecs``) are asked once per call of the user's and answer with the objects
defined here; every byte then flows through these objects and never through a hook. All are
abstract base classes with keyword arguments, so that they can grow without breaking a driver.

The helpers at the end make a driver short: ``FetchReader`` reads an object whose ranges the store's client answers
each in one piece, ``BytesReader`` one that is at hand whole; ``WholeObjectWriter`` collects the parts for a store that
can only take an object whole; ``check_condition`` is what a store says that decides conditions in a transaction;
``sorted_entries`` makes the levels of directories out of a sorted list of keys.
"""

from __future__ import annotations

import stat as _stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Literal, TypeAlias

from storagekit.checksums import Checksum
from storagekit.errors import changed, exists, unsupported
from storagekit.location import Location

__all__ = [
    "Absent",
    "Body",
    "BytesReader",
    "Condition",
    "FetchReader",
    "Matches",
    "ObjectWriter",
    "Option",
    "Options",
    "RangeBody",
    "RangeReader",
    "Stat",
    "Traits",
    "Upload",
    "WholeObjectWriter",
    "body_size",
    "check_condition",
    "sorted_entries",
]

Options: TypeAlias = Mapping[str, object]
"""What the user gave as ``options=`` together with what the settings say for this URL."""

Body: TypeAlias = Sequence[bytes | bytearray | memoryview]
"""The bytes of a write: buffers one after another, which can be sent again when a request is retried."""


def body_size(body: Body) -> int:
    """The number of bytes in *body*."""
    return sum(memoryview(buffer).nbytes for buffer in body)


@dataclass(frozen=True, slots=True)
class Option:
    """One option that a driver takes: its name, what it means in a line, and whether it is a secret.

    A handle opened with a secret among its options does not pickle.
    """

    name: str
    meaning: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """The condition that nothing exists at the target yet (``If-None-Match: *``)."""

    through_links: bool = False
    """Where there are symbolic links: one that leads nowhere counts as nothing, and what it leads to is made, as the
    builtin's mode ``a`` does; without it the link is something, as for ``x``."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The condition that the target is still the version with this identity (``If-Match``)."""

    identity: str


Condition: TypeAlias = Absent | Matches | None
"""What must hold for a change to be made, decided by the store in the same step as the change."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a store promises, each observable from outside and held to by the conformance suite.

    A trait is False unless the driver says otherwise. They are asked per location and options,
    because two servers that speak one protocol differ.

    >>> import storagekit
    >>> storagekit.Storage().traits("memory://box").implicit_directories
    True
    """

    implicit_directories: bool = False
    """A directory exists because a key lies below it, and vanishes with the last one."""
    empty_directories: bool = False
    """A directory can exist with nothing in it (by itself, or through a marker)."""
    exclusive_create: bool = False
    """A write under ``Absent()`` is decided atomically: of racing writers exactly one wins."""
    conditional_replace: bool = False
    """A write under ``Matches(identity)`` is decided atomically."""
    conditional_delete: bool = False
    """A delete under ``Matches(identity)`` is decided atomically."""
    pinned_reads: bool = False
    """An open reader sees the version that it opened or ``ObjectChangedError``, never a mixture."""
    ranged_reads: bool = False
    """Opening at an offset costs no more than the bytes asked for."""
    sorted_listing: bool = False
    """``list`` yields paths in the order of their UTF-8 bytes."""
    server_copy: bool = False
    """``copy`` moves no byte through the client."""
    atomic_rename: bool = False
    """``rename`` is one step, for files and directories."""
    literal_keys: bool = False
    """``//``, ``.``, ``..`` and every other segment are kept as written."""
    file_beside_directory: bool = False
    """``a`` and ``a/b`` can both be objects at the same time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of one object or directory; also what ``storagekit.stat`` returns.

    Beside what drivers fill in, it answers to the names of ``os.stat_result``
    (https://docs.python.org/3/library/os.html#os.stat_result), so code written for files can use it.

    >>> import storagekit
    >>> with storagekit.open("memory://stat-example/key", "wb", options={"content_type": "text/csv"}) as f:
    ...     _ = f.write(b"a,b")
    >>> found = storagekit.stat("memory://stat-example/key")
    >>> found.st_size, found.content_type, found.kind
    (3, 'text/csv', 'file')
    """

    location: Location
    kind: Literal["file", "directory"] = "file"
    size: int | None = None
    """Bytes; None if the store cannot tell."""
    modified_ns: int | None = None
    """Nanoseconds since the epoch, UTC; None if the store cannot tell."""
    identity: str | None = None
    """What changes with every version: an ETag without its quotes, a version number. None: no pin."""
    extra: Mapping[str, object] = field(default_factory=dict, compare=False)
    """``content_type``, ``metadata``, ``storage_class``, ``version_id``, ``mode`` … where the store has them."""

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return self.kind == "directory"

    @property
    def st_size(self) -> int:
        """Bytes; 0 for a directory and where the store cannot tell."""
        return self.size or 0

    @property
    def st_mode(self) -> int:
        """File type and permission bits; a store without permissions answers ``rw-r--r--`` or ``rwxr-xr-x``."""
        mode = self.extra.get("mode")
        if isinstance(mode, int):
            return mode
        return _stat.S_IFDIR | 0o755 if self.is_directory else _stat.S_IFREG | 0o644

    @property
    def st_mtime_ns(self) -> int:
        """Time of the last change in nanoseconds since the epoch; 0 where the store cannot tell."""
        return self.modified_ns or 0

    @property
    def st_mtime(self) -> float:
        """Time of the last change in seconds since the epoch; 0.0 where the store cannot tell."""
        return self.st_mtime_ns / 1e9

    @property
    def etag(self) -> str | None:
        """The identity: on S3 the ETag without its quotes."""
        return self.identity

    @property
    def version_id(self) -> str | None:
        """The version id, where the store keeps versions."""
        return _text(self.extra.get("version_id"))

    @property
    def storage_class(self) -> str | None:
        """The storage class, where the store has classes."""
        return _text(self.extra.get("storage_class"))

    @property
    def content_type(self) -> str | None:
        """The media type, where the store keeps one."""
        return _text(self.extra.get("content_type"))

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user's own metadata, names in lower case; empty where there is none."""
        value = self.extra.get("metadata")
        return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun and neither committed nor aborted; it is invisible, but it costs storage.

    >>> import storagekit
    >>> for upload in storagekit.uploads("s3://my-bucket/logs"):  # doctest: +SKIP
    ...     print(upload.location, upload.upload_id, upload.started_ns)
    >>> from storagekit.driver import Upload
    >>> from storagekit.location import Location
    >>> Upload(Location("s3", "my-bucket", "logs/1"), "id", started_ns=0).age > 1e9
    True
    """

    location: Location
    upload_id: str
    started_ns: int | None = None
    """Nanoseconds since the epoch, UTC."""

    @property
    def age(self) -> float | None:
        """Seconds since it was begun, by this computer's clock at this moment; None where the store does not say when.

        Below zero where the store's clock is ahead.

        >>> import time
        >>> from storagekit import Upload
        >>> from storagekit.location import parse_location
        >>> round(Upload(parse_location("s3://bucket/key"), "id", time.time_ns() - 60 * 10**9).age)
        60
        """
        return None if self.started_ns is None else (time.time_ns() - self.started_ns) / 1e9


class RangeBody(ABC):
    """The bytes of one range on their way in. Used by one thread at a time."""

    @abstractmethod
    def readinto(self, view: memoryview, /) -> int:
        """Fill the start of *view* and return how many bytes, at least one, or 0 at the end of the range.

        An ``OSError`` or an early 0 means that the body was cut: the engine asks again, from where
        it stopped, through ``open_range``. Nothing needs to be retried here.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the body, read to its end or not; may be called twice. Does not raise."""


class RangeReader(ABC):
    """One version of one object, opened for reading. ``open_range`` may be called by many threads."""

    stat: Stat
    """What was opened. ``size`` may be None where the store cannot tell it beforehand."""

    head: bytes = b""
    """The object's first bytes, where opening brought them along; the whole object if it is short. The engine takes
    them into its cache and sets this to nothing."""

    cache_key: Hashable | None = None
    """Equal for two readers only if they read the same bytes: endpoint, container, key and a strong
    identity. None: blocks are not shared beyond this reader (for stores that the kernel caches)."""

    checksum: Checksum | None = None
    """What the store keeps of the bytes of the whole object, where opening brought that along. A handle that reads all
    of it compares."""

    @abstractmethod
    def open_range(self, start: int, stop: int, /) -> RangeBody:
        """Begin to read bytes *start* (included) to *stop* (excluded) of this version.

        The engine keeps ``0 <= start < stop <= size``. Return only when the store has answered and
        the answer was found to be this range of this version; raise ``ObjectChangedError`` where it is
        another version, ``FileNotFoundError`` where it is gone. Retrying up to here is the driver's work.
        """

    def close(self) -> None:
        """Let go of what the reader holds; may be called twice. Does not raise."""
        return


class ObjectWriter(ABC):
    """One object on its way out. Nothing is visible before ``put`` or ``commit`` has succeeded.

    The engine calls ``put`` once, for an object that fits in its first part (an empty one has an
    empty body); or ``write_part`` for parts 1 to n and then ``commit``; or ``abort``.
    """

    ordered: bool = False
    """True where parts must arrive one after another; else several threads send them at once."""

    copies: tuple[int, int] | None = None
    """The least and the most bytes that ``copy_part`` takes, where the store has it for this object."""

    @abstractmethod
    def part_size(self, number: int, /) -> int:
        """The size in bytes of part *number* (from 1); only the last part may be shorter."""

    @abstractmethod
    def put(self, body: Body, /) -> Stat:
        """Publish the whole object in one step and return what it is now.

        Raise ``FileExistsError`` where ``Absent()`` did not hold, ``ObjectChangedError`` where
        ``Matches`` did not.
        """

    @abstractmethod
    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        """Send part *number*, which begins at byte *offset* of the object."""

    def copy_part(self, number: int, offset: int, start: int, stop: int, /) -> None:
        """Make part *number* of bytes *start* to *stop* (excluded) of the version that is edited, in the store.

        Asked only where ``copies`` says how long it may be. ``io.UnsupportedOperation`` where the store turns out
        not to do it: the engine then sends the bytes as that part.
        """
        raise unsupported(type(self).__name__, "this writer says what it copies, and has no copy_part")

    @abstractmethod
    def commit(self) -> Stat:
        """Publish what the parts hold, in one step, and return what it is now; errors as for ``put``."""

    @abstractmethod
    def abort(self) -> None:
        """Give the object up and remove what was sent; may be called twice, and after a failed ``put`` or
        ``commit``. After a successful one it does nothing. Does not raise for what is already gone."""


class _BytesBody(RangeBody):
    """The bytes of one range, which are at hand."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._view = memoryview(data)

    def readinto(self, view: memoryview, /) -> int:
        n = min(len(view), len(self._view))
        view[:n] = self._view[:n]
        self._view = self._view[n:]
        return n

    def close(self) -> None:
        self._view = memoryview(b"")


class BytesReader(RangeReader):
    """A ``RangeReader`` over an object that is at hand whole, as bytes.

    >>> from storagekit.driver import BytesReader, Stat
    >>> from storagekit.location import parse_location
    >>> reader = BytesReader(Stat(parse_location("toy://box/key"), size=5), b"bytes")
    >>> buffer = bytearray(3)
    >>> reader.open_range(1, 4).readinto(memoryview(buffer)), buffer
    (3, bytearray(b'yte'))
    """

    def __init__(self, stat: Stat, data: bytes, *, head: int = 0, cache_key: Hashable | None = None) -> None:
        self.stat = stat
        self.head = data[:head]
        self.cache_key = cache_key
        self._data = memoryview(data)

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        return _BytesBody(self._data[start:stop])


class FetchReader(RangeReader):
    """A ``RangeReader`` for a store whose client answers a range in one piece.

    ``fetch(start, stop)`` gives bytes *start* (included) to *stop* (excluded) of the version that *stat* names, as
    ``open_range`` does: it raises ``ObjectChangedError`` where that is gone or replaced. Many threads call it at once.

    >>> from storagekit.driver import FetchReader, Stat
    >>> from storagekit.location import parse_location
    >>> def fetch(start, stop):
    ...     return f"bytes {start} to {stop}".encode()
    >>> reader = FetchReader(Stat(parse_location("toy://box/key"), size=1000), fetch)
    >>> buffer = bytearray(20)
    >>> reader.open_range(100, 200).readinto(memoryview(buffer)), buffer.rstrip(bytes(1))
    (16, bytearray(b'bytes 100 to 200'))
    """

    def __init__(self, stat: Stat, fetch: Callable[[int, int], bytes], *, cache_key: Hashable | None = None) -> None:
        self.stat = stat
        self.cache_key = cache_key
        self._fetch = fetch

    def open_range(self, start: int, stop: int, /) -> RangeBody:
        return _BytesBody(self._fetch(start, stop))


class WholeObjectWriter(ObjectWriter):
    """An ``ObjectWriter`` for a store that takes an object whole.

    ``put(body)`` publishes the object in one step and returns what it is now; its errors are those of
    ``ObjectWriter.put``. The parts are kept in memory until the commit, so it suits objects that fit there.

    >>> from storagekit.driver import Stat, WholeObjectWriter, body_size
    >>> from storagekit.location import parse_location
    >>> objects = {}
    >>> def put(body):
    ...     objects["key"] = b"".join(body)
    ...     return Stat(parse_location("toy://box/key"), size=body_size(body))
    >>> writer = WholeObjectWriter(put)
    >>> writer.write_part(1, 0, [b"all ", b"or "])
    >>> writer.write_part(2, 7, [b"nothing"])
    >>> objects
    {}
    >>> writer.commit().size, objects
    (14, {'key': b'all or nothing'})
    """

    ordered = True

    def __init__(self, put: Callable[[Body], Stat]) -> None:
        self._put = put
        self._parts: list[bytes] = []

    def part_size(self, number: int, /) -> int:
        # Each part is copied once more at the commit, so its size matters little.
        return 8 * 1024 * 1024

    def put(self, body: Body, /) -> Stat:
        return self._put(body)

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        self._parts.append(b"".join(body))

    def commit(self) -> Stat:
        return self.put(self._parts)

    def abort(self) -> None:
        self._parts.clear()


def check_condition(condition: Condition, location: Location, found: Stat | None) -> None:
    """Raise where *condition* does not hold for *found*, which is what is at *location* now (None: nothing).

    For a store that can look and change in one step, under its lock or in its transaction. Raises
    ``FileExistsError`` for ``Absent()`` and ``ObjectChangedError`` for ``Matches``, as a writer's ``put`` has to.

    >>> from storagekit.driver import Absent, Stat, check_condition
    >>> from storagekit.location import parse_location
    >>> here = parse_location("toy://box/key")
    >>> check_condition(Absent(), here, None)
    >>> check_condition(Absent(), here, Stat(here, size=5))
    Traceback (most recent call last):
    FileExistsError: [Errno 17] File exists: 'toy://box/key'
    """
    if isinstance(condition, Absent) and found is not None:
        raise exists(location)
    if isinstance(condition, Matches) and (found is None or found.identity != condition.identity):
        raise changed(location)


def sorted_entries(
    location: Location, recursive: bool, limit: int | None, start_after: str, page: Callable[[str], Sequence[Stat]]
) -> Iterator[Stat]:
    """The answer of the hook ``list``, for a store that has no directories but lists its keys in order.

    ``page(after)`` gives the next objects whose path starts with ``location.prefix`` and sorts after *after*, as
    many as it likes, in the order of their paths; none at the end. It may go on behind them: the first object that
    is not below *location* ends the listing, and one out of order is a ``RuntimeError``. The first page is asked for
    at the call, so that its errors are raised there; the others when they are needed. A directory that has been
    named is jumped over.

    >>> from storagekit.driver import Stat, sorted_entries
    >>> from storagekit.location import parse_location
    >>> top = parse_location("toy://box/top")
    >>> keys = ["top/a", "top/b/c", "top/b/d", "top/e", "topmost"]
    >>> def page(after):
    ...     return [Stat(parse_location(f"toy://box/{key}")) for key in keys if key > after][:2]
    >>> [stat.location.path for stat in sorted_entries(top, False, None, "", page)]
    ['top/a', 'top/b/', 'top/e']
    """
    found = islice(_levels(location, recursive, start_after, page), limit)
    return chain([first], found) if (first := next(found, None)) else iter(())


# It sorts behind every character that a key can have, in Python's order and in that of UTF-8 bytes.
_LAST_CHARACTER = "\U0010ffff"


def _levels(
    location: Location, recursive: bool, start_after: str, page: Callable[[str], Sequence[Stat]]
) -> Iterator[Stat]:
    """The entries of ``sorted_entries``, without its limit."""
    prefix, after = location.prefix, start_after
    named = ""  # the directory that was seen last
    while stats := page(after):
        for stat in stats:
            path = stat.location.path
            if not path.startswith(prefix) or stat.location.container != location.container:
                return
            if path <= after:
                raise RuntimeError(f"a page after {after!r} holds {path!r}, which does not sort after it")
            after = path
            segment, slash, _ = after[len(prefix) :].partition("/")
            directory = prefix + segment + slash
            if recursive or not slash:
                yield stat
            elif directory != named:
                named = directory
                if directory > start_after:
                    yield Stat(location.child(segment + slash), "directory")
        if named and after.startswith(named):
            after = max(after, named + _LAST_CHARACTER)
