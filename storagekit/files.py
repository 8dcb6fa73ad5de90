"""Files: ``open``, from mode to raw stream, codec, buffer and text layer.

``Streams`` is what opening needs of a ``Storage``: its threads, cache, reaper and room. It opens binary readers
and writers for whoever copies bytes, and ``open_url`` puts the layers of the builtin ``open`` on top of them
(https://docs.python.org/3/library/functions.html#open). A plain local path never comes here.
"""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

from storagekit import lookup
from storagekit.backend import Resource
from storagekit.blocks import BlockCache
from storagekit.codecs import Codec, codec_for
from storagekit.compression import CompressedSink, DecompressedStream
from storagekit.driver import Absent, Matches, ObjectWriter, RangeReader
from storagekit.errors import changed, exists, invalid, is_a_directory, not_a_directory
from storagekit.modes import Mode, parse_mode
from storagekit.native import NativeReader
from storagekit.reading import READ_BUFFER, BufferedReader, ReadStream
from storagekit.room import Room
from storagekit.sending import PartSender
from storagekit.settings import BLOCK_SIZE
from storagekit.transfers import Reaper, Transfers
from storagekit.updating import EditStream
from storagekit.writing import BinaryEditor, BinaryWriter, TextWriter, WriteSink

__all__ = [
    "EXCLUSIVE",
    "WRITE",
    "Streams",
    "check_access",
    "check_if_match",
    "check_layers",
    "check_same_version",
    "open_url",
]

# Small writes are gathered to this before they reach Python code; larger ones pass the buffer by.
WRITE_BUFFER = 256 * 1024

# What one writes and reads of a file without a seek in between depends on the buffer: it is the builtin's.
EDIT_BUFFER = io.DEFAULT_BUFFER_SIZE

# For those who write without a user's own mode.
WRITE, EXCLUSIVE = Mode("w", False, True), Mode("x", False, True)

Recipe = Callable[[], tuple[Any, ...]]


def _no_recipe() -> tuple[Any, ...]:
    raise TypeError("this handle cannot be pickled")


@dataclass(frozen=True, slots=True)
class Streams:
    """Opens binary streams with one Storage's threads, cache, reaper and room for writing."""

    transfers: Transfers
    cache: BlockCache
    reaper: Reaper
    room: Room

    def open_object(self, resource: Resource, *, head: int = BLOCK_SIZE, explain: bool = True) -> RangeReader:
        """One version of an object, with its first *head* bytes where the store sends them along; the errors of
        ``open`` where there is none, or with *explain* False the store's own."""
        self.reaper.poke()
        location = resource.location
        if location.is_root:
            raise is_a_directory(location)
        try:
            reader = resource.backend.open_read(location, resource.options, head=head)
        except FileNotFoundError as missing:
            if explain:
                _explain(resource, missing)
            raise
        if location.path.endswith("/") and not reader.stat.size:
            reader.close()  # a marker holds nothing; a key with a slash that holds bytes is data
            raise is_a_directory(location)
        return reader

    def open_raw(self, resource: Resource, *, buffered: bool = True, access: str | None = None) -> ReadStream:
        """The raw stream over an object; the errors of ``open`` where there is none."""
        reader = self.open_object(resource)
        timeout = resource.timeout
        return ReadStream(reader, self.cache, self.reaper, buffered=buffered, access=access, timeout=timeout)

    def open_reader(
        self,
        resource: Resource,
        *,
        buffer_size: int = READ_BUFFER,
        access: str | None = None,
        recipe: Recipe = _no_recipe,
    ) -> io.BufferedReader:
        """A binary reader over an object, or the store's own file object where it has real files.

        With *buffer_size* 0 it is the raw stream.
        """
        file = resource.backend.open_file(resource.location, resource.options, buffer_size)
        if file is not None:
            return cast(io.BufferedReader, file)
        raw = self.open_raw(resource, buffered=buffer_size > 0, access=access)
        return BufferedReader(raw, buffer_size, recipe) if buffer_size else cast(io.BufferedReader, raw)

    def open_sink(self, resource: Resource, mode: Mode = WRITE, *, if_match: str | None = None) -> WriteSink:
        """The sealed raw sink for a new object, or for a draft of one that is there.

        With *if_match* only where that version is there, at the opening for an edit and in any case at the end.
        """
        lookup.refuse_directory(resource)
        if mode.action == "x":
            # Early, so that nobody writes for an hour in vain; what decides is the condition at the commit.
            _refuse_existing(resource)
        location, options = resource.location, resource.options
        try:
            base = self._open_base(resource, mode) if mode.action in "ra" else None
        except (PermissionError, io.UnsupportedOperation) as refused:
            if if_match or (mode.reading and isinstance(refused, PermissionError)):
                raise
            return self._open_in_place(resource, mode, refused)
        try:
            if base is not None:
                writer = resource.backend.open_edit(location, options, base.stat)
            else:
                absent = Absent(through_links=mode.action == "a") if mode.action in "xa" else None
                writer = resource.backend.open_write(location, options, Matches(if_match) if if_match else absent)
            if base is not None and if_match not in (None, base.stat.identity):
                writer.abort()
                raise changed(location, "The object is not the version that if_match names")
            sender = self._sender(writer, location.url)
        except BaseException:
            if base is not None:
                base.close()
            raise
        if mode.update or mode.action == "a":
            return EditStream(sender, mode, base, resource.timeout)
        return WriteSink(sender, f"{mode.action}b", resource.timeout)

    def _open_in_place(self, resource: Resource, mode: Mode, refused: OSError) -> WriteSink:
        """The sink for what has no versions that could be edited; *refused* where the store knows nothing like it."""
        location, appending = resource.location, mode.action == "a"
        try:
            writer = resource.backend.open_in_place(location, resource.options, appending=appending)
        except io.UnsupportedOperation:
            raise refused from None
        sender = self._sender(writer, location.url)
        if mode.update:
            return EditStream(sender, mode, None, resource.timeout)
        return WriteSink(sender, f"{mode.action}b", resource.timeout)

    def _sender(self, writer: ObjectWriter, url: str) -> PartSender:
        """What sends the parts of *writer*, which is given up where there can be none."""
        try:
            return PartSender(writer, url, self.transfers, self.reaper, self.room)
        except BaseException:
            writer.abort()
            raise

    def _open_base(self, resource: Resource, mode: Mode) -> ReadStream | None:
        """The version that is edited; None where there is none and none is needed."""
        try:
            # Who only appends needs to know what is there, and none of it; one byte, because an answer with bytes says
            # more than one without, as how many tags there are.
            reader = self.open_object(resource, head=BLOCK_SIZE if mode.reading else 1, explain=mode.action == "r")
        except FileNotFoundError:
            if mode.action == "r":
                raise
            return None
        return ReadStream(reader, self.cache, self.reaper, buffered=True, timeout=resource.timeout)

    def open_writer(
        self,
        resource: Resource,
        mode: Mode = WRITE,
        *,
        codec: Codec | None = None,
        buffer_size: int = WRITE_BUFFER,
        if_match: str | None = None,
    ) -> BinaryWriter | BinaryEditor:
        """A buffered binary file object that publishes at its successful ``close`` and never otherwise."""
        sink = self.open_sink(resource, mode, if_match=if_match)
        raw: io.RawIOBase = sink
        try:
            if codec is not None:
                raw = CompressedSink(codec, sink, sink.name, appending=mode.action == "a")
                sink.finishing.append(raw)
            return (BinaryEditor if mode.update else BinaryWriter)(raw, sink, buffer_size)
        except BaseException:  # no memory for a buffer of that size
            sink.mute()
            sink.close()
            raise


def _refuse_existing(resource: Resource) -> None:
    try:
        resource.stat()
    except (FileNotFoundError, PermissionError):  # who may write need not be allowed to look; the commit decides
        return
    raise exists(resource.location)


def _explain(resource: Resource, missing: FileNotFoundError) -> None:
    """Raise a better error for a missing object, where it is a directory or a path through a file. Asked only
    after the store said that it is missing, and a failure of the asking never takes the place of that answer."""
    location = resource.location
    try:
        directory = lookup.isdir(resource)
        through_file = location.path.endswith("/") and lookup.isfile(resource.at(location.bare))
    except OSError:
        return
    if directory:
        raise is_a_directory(location) from missing
    if through_file:
        raise not_a_directory(location) from missing


def check_same_version(file: Any, identity: str | None, offset: int) -> Any:
    """Finish un-pickling a reader: it must be the version that was pickled; then go to its offset."""
    if file.stat.identity != identity:
        file.close()
        raise changed(file.name, "The object changed between pickling the file and opening it again")
    file.seek(offset)
    return file


def open_url(
    streams: Streams,
    resource: Resource,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    compression: str | None,
    access: str | None,
    if_match: str | None,
    recipe: Recipe,
) -> IO[Any]:
    """Open an object as the builtin ``open`` opens a file; the object types are ours, the layers the same."""
    url = resource.location.url
    parsed = parse_mode(mode, url)
    check_layers(parsed, buffering, encoding, errors, newline, url)
    codec = codec_for(compression, url)
    if codec is not None and parsed.update:
        raise invalid(url, f"mode {mode!r} does not go with compression: compressed data is read or written")
    text = {
        "encoding": "utf-8" if encoding is None else encoding,
        "errors": errors,
        "newline": newline,
        "line_buffering": buffering == 1,
    }
    size = buffering if buffering > 1 else None
    if parsed.writing:
        # buffering=0 is the same here: nothing is visible before close, so nobody can see a buffer.
        default = EDIT_BUFFER if parsed.update or parsed.action == "a" else WRITE_BUFFER
        writer = streams.open_writer(resource, parsed, codec=codec, buffer_size=size or default, if_match=if_match)
        return writer if parsed.binary else _text_writer(writer, mode, text)
    unbuffered = buffering == 0 and codec is None
    buffer_size = 0 if unbuffered else size or READ_BUFFER
    reader = streams.open_reader(resource, buffer_size=buffer_size, access=access, recipe=recipe)
    if codec is not None:
        reader = io.BufferedReader(DecompressedStream(codec, reader, url), size or READ_BUFFER)
    if parsed.binary:
        # A store's own file object, exactly the builtin's, gets here what the others have beyond it.
        native = type(reader) is io.BufferedReader and codec is None
        return NativeReader(reader.detach(), buffer_size) if native else reader
    try:
        layer = io.TextIOWrapper(reader, **text)  # type: ignore[arg-type]
    except BaseException:
        reader.close()
        raise
    layer.mode = mode  # type: ignore[misc]
    return layer


def _text_writer(writer: BinaryWriter | BinaryEditor, mode: str, text: dict[str, Any]) -> TextWriter:
    """The text layer over *writer*, which is given up where it cannot be."""
    try:
        # Never the platform's line ends: an object is read on every platform. What can be read too is read with
        # universal line ends, as the builtin does, where that says nothing else for writing.
        plain = None if isinstance(writer, BinaryEditor) and os.linesep == "\n" else "\n"
        layer = TextWriter(writer, **{**text, "newline": plain if text["newline"] is None else text["newline"]})
    except BaseException:
        writer.discard()
        raise
    layer.mode = mode  # type: ignore[misc]
    return layer


def check_if_match(if_match: str | None, mode: str, file: object) -> None:
    """*if_match* is the version that a write is to replace."""
    if if_match is None:
        return
    if not isinstance(if_match, str) or not if_match:
        raise invalid(file, f"if_match must be the etag of a version, as stat tells it, not {if_match!r}")
    parsed = parse_mode(mode, file)
    if not parsed.writing or parsed.action == "x":
        raise invalid(file, f"if_match says which version is replaced; mode {mode!r} replaces none")


def check_access(access: str | None, mode: str, file: object) -> None:
    """*access* is a hint for reading, of two words."""
    if access is None:
        return
    if access not in ("sequential", "random"):
        raise invalid(file, f"access must be 'sequential' or 'random', not {access!r}")
    if parse_mode(mode, file).writing:
        raise invalid(file, f"access says how a file will be read; mode {mode!r} writes it")


def check_layers(
    mode: Mode, buffering: int, encoding: str | None, errors: str | None, newline: str | None, url: str
) -> None:
    """The builtin's own rules about which arguments go with which mode."""
    operator.index(buffering)  # TypeError for what is no whole number
    if mode.binary:
        for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
            if value is not None:
                raise invalid(url, f"binary mode doesn't take {'an' if name != 'newline' else 'a'} {name} argument")
    elif buffering == 0:
        raise invalid(url, "can't have unbuffered text I/O")
