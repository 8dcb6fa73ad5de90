"""The rules of the machines: what hypothesis may do, a step at a time (see ``machines`` for what a step is).

The machines differ in what they are about: files and their writers, directories, readers that stay open while
their objects change. The last one does all of it.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, multiple, precondition, rule

from storagekit import Storage
from storagekit.errors import ObjectChangedError
from storagekit_conformance.machines import A_KEY, A_SIZE, FOLDERS, Machine, Reader, Writer
from storagekit_conformance.model import ALLOWED
from storagekit_conformance.support import BLOCK

__all__ = ["Directories", "Everything", "Files", "Readers"]

# Around the edges of blocks, in the midst of them, at the end of the largest object and beyond.
PLACES = [0, 1, 999, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5, 20 * BLOCK, 20 * BLOCK + 8]
COUNTS = [-1, 0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK]


class Behind(Machine):
    """A second client that changes things behind our back, where there is one."""

    @precondition(lambda self: self.client is not None)
    @rule(key=A_KEY, size=A_SIZE)
    def put_behind(self, key: str, size: int) -> None:
        """Somebody else writes an object."""
        data = self.data(size)
        if not self.model.unclear(key):
            self.change(key, data)

    @precondition(lambda self: self.client is not None and self.setting.can_delete)
    @rule(key=A_KEY)
    def delete_behind(self, key: str) -> None:
        """Somebody else removes an object."""
        if self.model.is_file(key):
            self.change(key, None)


class Files(Behind):
    """Changes of one file at a time, and writers that are kept open."""

    writing = Bundle("writers")

    @rule(old=A_KEY, new=A_KEY, name=st.sampled_from(["rename", "replace"]))
    def rename(self, old: str, new: str, name: str) -> None:
        """Rename a file."""
        if (self.model.is_file(old) or not self.model.is_dir(old)) and not self.may_hold_both(new):
            function = getattr(self.storage, name)
            refusal = self.model.rename(old, new)
            self.does(f"{name} {old!r} to {new!r}", refusal, lambda: function(self.box.url(old), self.box.url(new)))
            self.agree(old, new)

    @rule(old=A_KEY, new=A_KEY, into=st.booleans())
    def copy(self, old: str, new: str, into: bool) -> None:
        """Copy a file to a name, or into a directory."""
        made = self.model.copied_to(old, new) if into else new
        if self.may_hold_both(made):
            return
        function = self.storage.copy if into else self.storage.copyfile
        step = f"{'copy' if into else 'copyfile'} {old!r} to {new!r}"
        refusal = self.model.copyfile(old, made)
        self.does(step, refusal, lambda: function(self.box.url(old), self.box.url(new)))
        self.agree(old, made)

    @rule(key=A_KEY, exist_ok=st.booleans())
    def touch(self, key: str, exist_ok: bool) -> None:
        """Touch a file or a directory, or make one."""
        if self.model.unclear(key):
            return
        may_refuse = exist_ok and (self.model.is_file(key) or self.model.is_dir(key))

        def touch() -> None:
            try:
                self.storage.touch(self.box.url(key), exist_ok=exist_ok)
            except io.UnsupportedOperation:
                if not may_refuse:
                    raise

        self.does(f"touch {key!r}, exist_ok={exist_ok}", self.model.touch(key, exist_ok=exist_ok), touch)
        self.agree(key)

    def begin_writing(self, key: str, exclusive: bool) -> Writer | None:
        """A writer that is kept open, where there can be one."""
        refusal = self.model.no_creation(key) if exclusive else self.model.no_room(key)
        if refusal or self.model.unclear(key) or not self._keeps_writers():
            return None
        mode = "xb" if exclusive else "wb"
        file = self.does(f"open {key!r} in mode {mode!r}", ALLOWED, lambda: self.box.open(self.box.url(key), mode))
        writer = Writer(key, file, exclusive)
        self.writers.append(writer)
        self.agree(key)
        return writer

    def end_writing(self, writer: Writer, *, publish: bool) -> None:
        """Close it, and see what comes of it."""
        self.writers.remove(writer)
        if publish:
            refusal = self.model.write(writer.key, writer.data, exclusive=writer.exclusive)
            self.does(f"close the writer of {writer.key!r}", refusal, writer.file.close)
        else:
            self.does(f"discard the writer of {writer.key!r}", ALLOWED, writer.file.discard)
        self.agree(writer.key)

    def _keeps_writers(self) -> bool:
        # Where a file cannot stand beside a directory, what is made meanwhile decides what comes of the writer.
        traits = self.box.traits
        return traits.file_beside_directory or not traits.implicit_directories

    @rule(target=writing, key=A_KEY, exclusive=st.booleans())
    def open_writer(self, key: str, exclusive: bool) -> Any:
        """Begin to write."""
        return self.begin_writing(key, exclusive) or multiple()

    @rule(writer=writing, size=A_SIZE)
    def write_on(self, writer: Writer, size: int) -> None:
        """Write some more, which nobody sees."""
        if writer in self.writers:
            piece = self.data(size)
            step = f"write {size} bytes more to the writer of {writer.key!r}"
            self.same("the answer", self.does(step, ALLOWED, lambda: writer.file.write(piece)), len(piece))
            writer.data += piece
            self.same("tell()", writer.file.tell(), len(writer.data))
            self.agree(writer.key)

    @rule(key=A_KEY, exclusive=st.booleans(), size=A_SIZE, other_size=A_SIZE)
    def race(self, key: str, exclusive: bool, size: int, other_size: int) -> None:
        """Somebody else writes the same object between our ``open`` and our ``close``."""
        writer = self.begin_writing(key, exclusive)
        if writer is not None:
            data = writer.data = self.data(size)
            self.does(f"write {size} bytes to the writer of {key!r}", ALLOWED, lambda: writer.file.write(data))
            self.change(writer.key, self.data(other_size))
            self.agree(writer.key)
            self.end_writing(writer, publish=True)

    @rule(writer=consumes(writing), publish=st.booleans())
    def close_writer(self, writer: Writer, publish: bool) -> None:
        """Publish, or give up."""
        if writer in self.writers:
            self.end_writing(writer, publish=publish)


class Directories(Behind):
    """Making, listing, moving and removing directories."""

    folders = st.sampled_from(FOLDERS)

    @rule(key=folders)
    def mkdir(self, key: str) -> None:
        """Make one directory."""
        self.does(f"mkdir {key!r}", self.model.mkdir(key), lambda: self.storage.mkdir(self.box.url(key)))
        self.agree(key)

    @rule(key=folders, exist_ok=st.booleans())
    def makedirs(self, key: str, exist_ok: bool) -> None:
        """Make a directory with those above it."""
        refusal = self.model.makedirs(key, exist_ok=exist_ok)
        step = f"makedirs {key!r}, exist_ok={exist_ok}"
        self.does(step, refusal, lambda: self.storage.makedirs(self.box.url(key), exist_ok=exist_ok))
        self.agree(key)

    @rule(key=folders)
    def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        self.settle_writers()
        self.does(f"rmdir {key!r}", self.model.rmdir(key), lambda: self.storage.rmdir(self.box.url(key)))
        self.agree(key)

    @rule(key=folders, dry_run=st.booleans())
    def rmtree(self, key: str, dry_run: bool) -> None:
        """Remove a directory with all that is below it, or only say what would go."""
        self.settle_writers()
        refusal = self.model.no_directory(key) if dry_run else self.model.rmtree(key)
        step = f"rmtree {key!r}, dry_run={dry_run}"
        self.does(step, refusal, lambda: self.storage.rmtree(self.box.url(key), dry_run=dry_run))
        self.agree(key)

    @rule(key=folders, onto=folders)
    def rename_directory(self, key: str, onto: str) -> None:
        """Rename a directory, where the store can."""
        self.settle_writers()
        if self.model.is_dir(key) and not self.model.is_file(key):
            refusal = self.model.rename(key, onto)
            step = f"rename {key!r} to {onto!r}"
            self.does(step, refusal, lambda: self.storage.rename(self.box.url(key), self.box.url(onto)))
            self.agree(key, onto)

    @rule(key=folders)
    def list(self, key: str) -> None:
        """One directory: its names, its entries, and what a pattern finds in it."""
        url = self.box.url(key)
        refusal = self.model.no_directory(key)
        names = self.does(f"listdir {key!r}", refusal, lambda: self.storage.listdir(url))
        folders, files = ([], []) if refusal else map(sorted, self.model.names(key))
        if not refusal:
            expected = sorted({*folders, *files})
            self.same_names("the answer", map(repr, names), map(repr, expected))
            self.same("the order", names, expected)
        entries = self.does(f"scandir {key!r}", refusal, lambda: _entries(self.storage, url))
        if not refusal:
            self.same_names(
                "the answer",
                (f"{name!r} with is_dir={is_dir}, is_file={is_file}" for name, is_dir, is_file in entries),
                (
                    f"{name!r} with is_dir={is_dir}, is_file={not is_dir}"
                    for is_dir, names in ((True, folders), (False, files))
                    for name in names
                ),
            )
        shown = {name for name in (*folders, *files) if not name.startswith(".")}
        paths = [f"{url}/{name}" if name else f"{url}//" for name in shown]
        found = self.does(f"glob of '*' in {key!r}", ALLOWED, lambda: self.storage.glob(f"{glob.escape(url)}/*"))
        self.same_names("the answer", found, paths)


class Readers(Behind):
    """Readers that are kept open while the objects change: old bytes or ``ObjectChangedError``, never a mixture."""

    reading = Bundle("readers")
    few = True
    places = st.sampled_from(PLACES)
    counts = st.sampled_from(COUNTS)

    @rule(target=reading, key=A_KEY, unbuffered=st.booleans())
    def open_reader(self, key: str, unbuffered: bool) -> Any:
        """Open an object and keep the handle."""
        if not self.model.is_file(key):
            return multiple()
        buffering = 0 if unbuffered else -1
        url = self.box.url(key)
        step = f"open {key!r} with buffering={buffering}"
        file = self.does(step, ALLOWED, lambda: self.box.open(url, "rb", buffering=buffering))
        reader = Reader(key, file, self.model.held[key])
        self.readers.append(reader)
        return reader

    @rule(reader=reading, same_size=st.booleans())
    def replace(self, reader: Reader, same_size: bool) -> None:
        """The object gets other bytes under its reader."""
        data = self.data(self.sizes[-1])
        self.change(reader.key, data[: len(reader.held.data)] if same_size else data)

    @rule(reader=reading)
    def vanish(self, reader: Reader) -> None:
        """The object is removed under its reader."""
        if self.model.is_file(reader.key):
            self.change(reader.key, None)

    @rule(reader=reading, place=places, count=counts)
    def read_at(self, reader: Reader, place: int, count: int) -> None:
        """Read somewhere."""
        reader.file.seek(place)
        reader.position = place
        self.read_on(reader, count)

    @rule(reader=reading, count=counts)
    def read_on(self, reader: Reader, count: int) -> None:
        """Read where the handle stands; a raw handle may give less, but not nothing."""
        with self._of_one_version(reader, f"read {count} bytes") as old:
            seen = reader.file.read(count)
            stop = None if count < 0 else reader.position + count
            expected = old[reader.position : stop]
            if isinstance(reader.file, io.RawIOBase) and count > 0 and expected:
                self.told(seen, f"nothing, before the end at {len(old)}")
                expected = expected[: len(seen)]
            self.same("what was read", seen, expected)
            reader.position += len(seen)

    @rule(reader=reading)
    def read_line(self, reader: Reader) -> None:
        """Read a line where the handle stands."""
        with self._of_one_version(reader, "read a line") as old:
            line, end, _ = old[reader.position :].partition(b"\n")
            self.same("the line", reader.file.readline(), line + end)
            reader.position += len(line + end)

    @rule(reader=reading, whence=st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]), place=places)
    def seek(self, reader: Reader, whence: int, place: int) -> None:
        """Go somewhere, in each of the three ways."""
        size = len(reader.held.data)
        offset = place - {io.SEEK_SET: 0, io.SEEK_CUR: reader.file.tell(), io.SEEK_END: size}[whence]
        with self._of_one_version(reader, f"seek({offset}, {whence})"):
            self.same("the answer", reader.file.seek(offset, whence), place)
            self.same("tell()", reader.file.tell(), place)
        reader.position = reader.file.tell()

    @rule(reader=consumes(reading))
    def close_reader(self, reader: Reader) -> None:
        """Close it; the others go on."""
        self.readers.remove(reader)
        reader.file.close()

    @contextmanager
    def _of_one_version(self, reader: Reader, action: str) -> Iterator[bytes]:
        """Compare with the bytes of the version that was opened. Once that has changed, there may be an error
        instead; and where readers are not pinned to a version, anything may come."""
        __tracebackhide__ = True
        changed = self.model.held.get(reader.key) is not reader.held
        since = ", of an object that was changed since it was opened" if changed else ""
        self.step = f"{action} at {reader.position} in the reader of {reader.key!r}{since}"
        try:
            yield reader.held.data
        except ObjectChangedError as error:
            self.told(changed, f"nobody changed it; the store raised {error!r}")
            self.same("the error's filename", error.filename, self.box.url(reader.key))
        except (AssertionError, OSError) as error:
            if not changed or self.box.traits.pinned_reads:
                if isinstance(error, AssertionError):
                    raise
                expected = "the old bytes or ObjectChangedError" if changed else "no error"
                raise AssertionError(f"{self.step}: expected {expected}; the store raised {error!r}") from error
        else:
            return
        reader.position = reader.file.seek(0)


def _entries(storage: Storage, url: str) -> list[tuple[str, bool, bool]]:
    with storage.scandir(url) as entries:
        return [(entry.name, entry.is_dir(), entry.is_file()) for entry in entries]


class Everything(Files, Directories, Readers):
    """All the rules at once."""

    few = False
