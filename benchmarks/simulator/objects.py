"""The objects: an index in memory over files, and uploads that are not finished.

What lay in the folder when the simulator began stays where it is. What is written is kept in files without a name
(opened and at once removed), so that it is gone with its last reference: an object that is overwritten while somebody
reads it, a copy that shares its bytes with the original, and the end of the process need no further thought.
"""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

__all__ = ["Objects", "Page", "Segment", "Stored"]


# Bytes that a copy moves at a time.
COPIED = 1024 * 1024


class Segment:
    """A run of bytes in a file: one that was there before, or one without a name that this object owns."""

    def __init__(self, size: int, path: str = "", descriptor: int = -1) -> None:
        self.size = size
        self._path = path
        self._descriptor = descriptor

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The descriptor to read it with."""
        if not self._path:
            yield self._descriptor
            return
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. Its ETag has the form of a multipart upload's, so that no client takes it for an MD5."""

    segments: tuple[Segment, ...]
    modified: int
    size: int = field(init=False)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(segment.size for segment in self.segments))
        object.__setattr__(self, "etag", f'"{uuid.uuid4().hex}-{max(1, len(self.segments))}"')

    def last_modified(self) -> str:
        """The time for a header."""
        return formatdate(self.modified, usegmt=True)

    def contents(self, key: str, encoded: bool) -> str:
        """What a listing says of it, under *key*."""
        when = datetime.fromtimestamp(self.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return (
            f"<Contents><Key>{quote(key, safe='/') if encoded else escape(key)}</Key>"
            f"<LastModified>{when}</LastModified><ETag>&quot;{self.etag[1:-1]}&quot;</ETag>"
            f"<Size>{self.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: objects and common prefixes, and where to go on (empty at the end)."""

    objects: list[tuple[str, Stored]]
    prefixes: list[str]
    after: str


class Objects:
    """All objects, by bucket and key as in ``bucket/key``. Many threads use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._index: dict[str, Stored] = {}
        self._sorted: list[str] | None = None
        self._uploads: dict[str, dict[int, Segment]] = {}
        for top, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(top, name)
                state = os.stat(path)
                key = os.path.relpath(path, folder).replace(os.sep, "/")
                self._index[key] = Stored((Segment(state.st_size, path),), int(state.st_mtime))

    def get(self, name: str) -> Stored | None:
        """The object ``bucket/key``."""
        return self._index.get(name)

    def put(self, name: str, stored: Stored) -> None:
        """Make it, or replace it."""
        with self._lock:
            if name not in self._index:
                self._sorted = None
            self._index[name] = stored

    def remove(self, names: Iterable[str]) -> None:
        """Remove these, as far as they are there."""
        with self._lock:
            for name in names:
                if self._index.pop(name, None) is not None:
                    self._sorted = None

    def new_file(self) -> int:
        """The descriptor of a file without a name, to write a segment into."""
        descriptor, path = tempfile.mkstemp(dir=self._folder)
        os.unlink(path)
        return descriptor

    def cut(self, source: Stored, start: int, stop: int) -> Segment:
        """A copy of bytes *start* to *stop* (excluded) of an object."""
        part = Segment(0, descriptor=self.new_file())
        before = 0
        with part.opened() as target:
            for segment in source.segments:
                low, high = max(start - before, 0), min(stop - before, segment.size)
                with segment.opened() as file:
                    while low < high and (data := os.pread(file, min(COPIED, high - low), low)):
                        part.size += os.write(target, data)
                        low += len(data)
                before += segment.size
        return part

    def new_upload(self) -> str:
        """The id of a new upload."""
        upload = uuid.uuid4().hex
        self._uploads[upload] = {}
        return upload

    def add_part(self, upload: str, number: int, segment: Segment) -> bool:
        """Add a part; False where there is no such upload."""
        with self._lock:
            if (parts := self._uploads.get(upload)) is None:
                return False
            parts[number] = segment
            return True

    def take_upload(self, upload: str) -> dict[int, Segment] | None:
        """The parts of an upload, which ends; None where there is no such upload."""
        with self._lock:
            return self._uploads.pop(upload, None)

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """The next page of a listing: what starts with *prefix* and sorts after *after*."""
        names, index = self._names(), self._index
        skip = len(bucket) + 1
        first = max(f"{bucket}/{prefix}", f"{bucket}/{after}\0" if after else "")
        objects: list[tuple[str, Stored]] = []
        prefixes: list[str] = []
        position = bisect_left(names, first)
        last = ""
        while position < len(names) and names[position].startswith(f"{bucket}/{prefix}"):
            if len(objects) + len(prefixes) == limit:
                return Page(objects, prefixes, last)
            key = names[position][skip:]
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                # A folder is named once, and jumped over. Nothing sorts between it and this character's place.
                prefixes.append(key[: end + len(delimiter)])
                last = prefixes[-1] + "\U0010ffff"
                position = bisect_left(names, f"{bucket}/{last}", position)
                continue
            if stored := index.get(names[position]):
                objects.append((key, stored))
                last = key
            position += 1
        return Page(objects, prefixes, "")

    def _names(self) -> list[str]:
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._index)
            return self._sorted
