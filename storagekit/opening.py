"""Opening: ``open`` for whatever path it is given.

A plain local path or a file descriptor goes to the builtin, or to the standard library's opener of a codec; a URL gets
its layers from ``files``. The types are those of the builtin. Writing to a URL gives subclasses of them,
``BinaryWriter``, ``BinaryEditor`` and ``TextWriter``, which also have ``discard()`` and ``stat``.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Literal, cast, overload

from storagekit import files
from storagekit.codecs import codec_for
from storagekit.compression import open_local
from storagekit.driver import Options
from storagekit.engine import TIMEOUT, AnyPath, Engine
from storagekit.errors import invalid
from storagekit.hiding import hides_options
from storagekit.modes import parse_mode

if TYPE_CHECKING:
    from _typeshed import OpenBinaryModeReading, OpenBinaryModeUpdating, OpenBinaryModeWriting, OpenTextMode

__all__ = ["Opener"]

Access = Literal["sequential", "random"]


@hides_options
class Opener(Engine):
    """An engine that opens."""

    @overload
    def open(
        self,
        file: AnyPath | int,
        mode: OpenTextMode = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> io.TextIOWrapper: ...

    @overload
    def open(
        self,
        file: AnyPath | int,
        mode: OpenBinaryModeReading,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> io.BufferedReader: ...

    @overload
    def open(
        self,
        file: AnyPath | int,
        mode: OpenBinaryModeWriting,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> io.BufferedWriter: ...

    @overload
    def open(
        self,
        file: AnyPath | int,
        mode: OpenBinaryModeUpdating,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> io.BufferedRandom: ...

    @overload
    def open(
        self,
        file: AnyPath | int,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> IO[Any]: ...

    def open(
        self,
        file: AnyPath | int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
        *,
        compression: str | None = None,
        access: Access | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> IO[Any]:
        """Open a file or an object, as the builtin ``open`` does, in each of its modes, binary and text.

        Nothing is visible before a successful ``close()``; leaving ``with`` by an exception, ``discard()``, garbage
        collection and the interpreter's exit publish nothing. ``x`` is decided atomically at ``close()``. ``a``, ``r+``
        and ``a+`` edit the version that is there: published at ``close()`` only if it still is that one, with what the
        store keeps beside its bytes. Text is UTF-8 unless *encoding* says otherwise, and is written with ``\\n`` on
        every platform. *compression* is ``"gzip"``, ``"bz2"``, ``"xz"``, ``"zstd"``, ``"lz4"`` or ``"infer"`` (by
        suffix). *access* may say how a URL will be read: ``"sequential"`` reads ahead from the first read on,
        ``"random"`` never; without it the reads themselves tell. *if_match*, an ``etag`` as ``stat`` gives it,
        publishes only where the object still is that version.
        *options* go to the URL's driver; *closefd* and *opener* are for local paths.

        Raises ``FileNotFoundError``, ``IsADirectoryError``, ``FileExistsError`` (``x``), ``PermissionError``;
        ``io.UnsupportedOperation`` where the store cannot decide the condition that a mode needs. While reading, and at
        the ``close()`` of an edit: ``ObjectChangedError`` when the object is no longer the version that was opened.

        >>> import storagekit
        >>> with storagekit.open("memory://open/notes.txt", "w") as f:
        ...     _ = f.write("first\\nsecond\\n")
        >>> with storagekit.open("memory://open/notes.txt") as f:
        ...     [line.strip() for line in f]
        ['first', 'second']
        >>> etag = storagekit.stat("memory://open/notes.txt").etag
        >>> with storagekit.open("memory://open/notes.txt", "a", if_match=etag) as f:
        ...     _ = f.write("third\\n")
        """
        resource = self._resource(file, options)
        files.check_access(access, mode, file)
        files.check_if_match(if_match, mode, file)
        if resource is None:
            if if_match is not None:
                raise invalid(file, "if_match is for URLs: a plain local path is written in place")
            if compression is not None and (isinstance(file, int) or not closefd or opener is not None):
                raise invalid(file, "compression takes a path, not a file descriptor or an opener")
            codec = None if compression is None else codec_for(compression, os.fsdecode(cast(AnyPath, file)))
            if codec is not None:
                files.check_layers(parse_mode(mode, file), buffering, encoding, errors, newline, str(file))
                return open_local(file, codec, mode, encoding=encoding, errors=errors, newline=newline)
            return builtins.open(
                cast(Any, file), mode, buffering, encoding, errors, newline, closefd=closefd, opener=opener
            )
        url, given = resource.location.url, resource.options
        if not closefd:
            raise invalid(url, "Cannot use closefd=False with file name")  # the builtin's words

        def recipe() -> tuple[Any, ...]:
            if resource.backend.has_secret(given):
                raise TypeError(f"cannot pickle a reader of {url!r}: its options hold a secret")
            return _reopen, self, url, {**given, TIMEOUT: resource.timeout}, buffering, access

        return files.open_url(
            self._streams, resource, mode, buffering, encoding, errors, newline, compression, access, if_match, recipe
        )


def _reopen(
    storage: Opener,
    url: str,
    options: Options,
    buffering: int,
    access: Access | None,
    identity: str | None,
    offset: int,
) -> Any:
    """Un-pickle a reader: open the URL again, as the version that it was, at the offset where it stood."""
    file = storage.open(url, "rb", buffering, access=access, options=options)
    return files.check_same_version(file, identity, offset)
