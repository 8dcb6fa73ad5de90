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

from storagekit.errors import ObjectChangedError
from storagekit_conformance.machines import FOLDERS, Machine, Reader, Writer
from storagekit_conformance.support import BLOCK

__all__ = ["Directories", "Everything", "Files", "Readers"]

# Around the edges of blocks, in the midst of them, at the end of the largest object and beyond.
PLACES = [0, 1, 999, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5, 20 * BLOCK, 20 * BLOCK + 8]
COUNTS = [-1, 0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK]


class Behind(Machine):
    """A second client that changes things behind our back, where there is one."""

    @precondition(lambda self: self.client is not None)
    @rule(number=st.integers(0, 20), size=st.integers(0, 20))
    def put_behind(self, number: int, size: int) -> None:
        """Somebody else writes an object."""
        key, data = self.key(number), self.data(size)
        if not self.model.unclear(key):
            self.change(key, data)

    @precondition(lambda self: self.client is not None and self.setting.can_delete)
    @rule(number=st.integers(0, 20))
    def delete_behind(self, number: int) -> None:
        """Somebody else removes an object."""
        key = self.key(number)
        if self.model.is_file(key):
            self.change(key, None)


class Files(Behind):
    """Changes of one file at a time, and writers that are kept open."""

    writing = Bundle("writers")

    @rule(number=st.integers(0, 20), onto=st.integers(0, 20), name=st.sampled_from(["rename", "replace"]))
    def rename(self, number: int, onto: int, name: str) -> None:
        """Rename a file."""
        old, new = self.key(number), self.key(onto)
        if (self.model.is_file(old) or not self.model.is_dir(old)) and not self.may_hold_both(new):
            function = getattr(self.storage, name)
            self.does(self.model.rename(old, new), lambda: function(self.box.url(old), self.box.url(new)))
            self.agree(old, new)

    @rule(number=st.integers(0, 20), onto=st.integers(0, 20), into=st.booleans())
    def copy(self, number: int, onto: int, into: bool) -> None:
        """Copy a file to a name, or into a directory."""
        old, new = self.key(number), self.key(onto)
        made = self.model.copied_to(old, new) if into else new
        if self.may_hold_both(made):
            return
        function = self.storage.copy if into else self.storage.copyfile
        self.does(self.model.copyfile(old, made), lambda: function(self.box.url(old), self.box.url(new)))
        self.agree(old, made)

    @rule(number=st.integers(0, 20), exist_ok=st.booleans())
    def touch(self, number: int, exist_ok: bool) -> None:
        """Touch a file or a directory, or make one."""
        key = self.key(number)
        if self.model.unclear(key):
            return
        may_refuse = exist_ok and (self.model.is_file(key) or self.model.is_dir(key))

        def touch() -> None:
            try:
                self.storage.touch(self.box.url(key), exist_ok=exist_ok)
            except io.UnsupportedOperation:
                if not may_refuse:
                    raise

        self.does(self.model.touch(key, exist_ok=exist_ok), touch)
        self.agree(key)

    def begin_writing(self, key: str, exclusive: bool) -> Writer | None:
        """A writer that is kept open, where there can be one."""
        refusal = self.model.no_creation(key) if exclusive else self.model.no_room(key)
        if refusal or self.model.unclear(key) or not self._keeps_writers():
            return None
        writer = Writer(key, self.box.open(self.box.url(key), "xb" if exclusive else "wb"), exclusive)
        self.writers.append(writer)
        self.agree(key)
        return writer

    def end_writing(self, writer: Writer, *, publish: bool) -> None:
        """Close it, and see what comes of it."""
        self.writers.remove(writer)
        if publish:
            refusal = self.model.write(writer.key, writer.data, exclusive=writer.exclusive)
            self.does(refusal, writer.file.close)
        else:
            writer.file.discard()
        self.agree(writer.key)

    def _keeps_writers(self) -> bool:
        # Where a file cannot stand beside a directory, what is made meanwhile decides what comes of the writer.
        traits = self.box.traits
        return traits.file_beside_directory or not traits.implicit_directories

    @rule(target=writing, number=st.integers(0, 20), exclusive=st.booleans())
    def open_writer(self, number: int, exclusive: bool) -> Any:
        """Begin to write."""
        return self.begin_writing(self.key(number), exclusive) or multiple()

    @rule(writer=writing, size=st.integers(0, 20))
    def write_on(self, writer: Writer, size: int) -> None:
        """Write some more, which nobody sees."""
        if writer in self.writers:
            piece = self.data(size)
            assert writer.file.write(piece) == len(piece)
            writer.data += piece
            assert writer.file.tell() == len(writer.data)
            self.agree(writer.key)

    @rule(number=st.integers(0, 20), exclusive=st.booleans(), size=st.integers(0, 20))
    def race(self, number: int, exclusive: bool, size: int) -> None:
        """Somebody else writes the same object between our ``open`` and our ``close``."""
        writer = self.begin_writing(self.key(number), exclusive)
        if writer is not None:
            writer.data = self.data(size)
            writer.file.write(writer.data)
            self.change(writer.key, self.data(size + 1))
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
        self.does(self.model.mkdir(key), lambda: self.storage.mkdir(self.box.url(key)))
        self.agree(key)

    @rule(key=folders, exist_ok=st.booleans())
    def makedirs(self, key: str, exist_ok: bool) -> None:
        """Make a directory with those above it."""
        refusal = self.model.makedirs(key, exist_ok=exist_ok)
        self.does(refusal, lambda: self.storage.makedirs(self.box.url(key), exist_ok=exist_ok))
        self.agree(key)

    @rule(key=folders)
    def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        self.settle_writers()
        self.does(self.model.rmdir(key), lambda: self.storage.rmdir(self.box.url(key)))
        self.agree(key)

    @rule(key=folders, dry_run=st.booleans())
    def rmtree(self, key: str, dry_run: bool) -> None:
        """Remove a directory with all that is below it, or only say what would go."""
        self.settle_writers()
        refusal = self.model.no_directory(key) if dry_run else self.model.rmtree(key)
        self.does(refusal, lambda: self.storage.rmtree(self.box.url(key), dry_run=dry_run))
        self.agree(key)

    @rule(key=folders, onto=folders)
    def rename_directory(self, key: str, onto: str) -> None:
        """Rename a directory, where the store can."""
        self.settle_writers()
        if self.model.is_dir(key) and not self.model.is_file(key):
            refusal = self.model.rename(key, onto)
            self.does(refusal, lambda: self.storage.rename(self.box.url(key), self.box.url(onto)))
            self.agree(key, onto)

    @rule(key=folders)
    def list(self, key: str) -> None:
        """One directory: its names, its entries, and what a pattern finds in it."""
        url = self.box.url(key)
        refusal = self.model.no_directory(key)
        self.does(refusal, lambda: self.storage.listdir(url))
        self.does(refusal, lambda: self.storage.scandir(url).close())
        folders, files = ([], []) if refusal else map(sorted, self.model.names(key))
        if not refusal:
            assert self.storage.listdir(url) == sorted({*folders, *files})
            with self.storage.scandir(url) as entries:
                found = [(entry.name, entry.is_dir(), entry.is_file()) for entry in entries]
            expected = [(name, True, False) for name in folders] + [(name, False, True) for name in files]
            assert sorted(found) == sorted(expected)
        shown = {name for name in (*folders, *files) if not name.startswith(".")}
        paths = [f"{url}/{name}" if name else f"{url}//" for name in shown]
        assert sorted(self.storage.glob(f"{glob.escape(url)}/*")) == sorted(paths)


class Readers(Behind):
    """Readers that are kept open while the objects change: old bytes or ``ObjectChangedError``, never a mixture."""

    reading = Bundle("readers")
    few = True
    places = st.sampled_from(PLACES)
    counts = st.sampled_from(COUNTS)

    @rule(target=reading, number=st.integers(0, 20), unbuffered=st.booleans())
    def open_reader(self, number: int, unbuffered: bool) -> Any:
        """Open an object and keep the handle."""
        key = self.key(number)
        if not self.model.is_file(key):
            return multiple()
        file = self.box.open(self.box.url(key), "rb", buffering=0 if unbuffered else -1)
        reader = Reader(key, file, self.model.held[key])
        self.readers.append(reader)
        return reader

    @rule(reader=reading, same_size=st.booleans())
    def replace(self, reader: Reader, same_size: bool) -> None:
        """The object gets other bytes under its reader."""
        data = self.data(-1)
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
        with self._of_one_version(reader) as old:
            seen = reader.file.read(count)
            stop = None if count < 0 else reader.position + count
            expected = old[reader.position : stop]
            if isinstance(reader.file, io.RawIOBase) and count > 0 and expected:
                assert seen, "nothing before the end"
                expected = expected[: len(seen)]
            assert seen == expected, f"{count} bytes at {reader.position}"
            reader.position += len(seen)

    @rule(reader=reading)
    def read_line(self, reader: Reader) -> None:
        """Read a line where the handle stands."""
        with self._of_one_version(reader) as old:
            line, end, _ = old[reader.position :].partition(b"\n")
            assert reader.file.readline() == line + end
            reader.position += len(line + end)

    @rule(reader=reading, whence=st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]), place=places)
    def seek(self, reader: Reader, whence: int, place: int) -> None:
        """Go somewhere, in each of the three ways."""
        size = len(reader.held.data)
        offset = place - {io.SEEK_SET: 0, io.SEEK_CUR: reader.file.tell(), io.SEEK_END: size}[whence]
        with self._of_one_version(reader):
            assert reader.file.seek(offset, whence) == place == reader.file.tell()
        reader.position = reader.file.tell()

    @rule(reader=consumes(reading))
    def close_reader(self, reader: Reader) -> None:
        """Close it; the others go on."""
        self.readers.remove(reader)
        reader.file.close()

    @contextmanager
    def _of_one_version(self, reader: Reader) -> Iterator[bytes]:
        """Compare with the bytes of the version that was opened. Once that has changed, there may be an error
        instead; and where readers are not pinned to a version, anything may come."""
        changed = self.model.held.get(reader.key) is not reader.held
        try:
            yield reader.held.data
        except ObjectChangedError as error:
            assert changed, "nobody changed it"
            assert error.filename == self.box.url(reader.key)
        except (AssertionError, OSError):
            if not changed or self.box.traits.pinned_reads:
                raise
        else:
            return
        reader.position = reader.file.seek(0)


class Everything(Files, Directories, Readers):
    """All the rules at once."""

    few = False
