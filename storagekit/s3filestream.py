"""s3filestream: the five names of the library that started this one, for its users.

They are storagekit's own, but for one liberty that the old examples take: a file opened for writing text
accepts ``bytes`` as well as ``str``. ``storagekit.open`` itself is strict, as the builtin is.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

import storagekit
from storagekit import isdir, isfile, listdir, path_exists
from storagekit.driver import Options
from storagekit.engine import AnyPath
from storagekit.errors import invalid
from storagekit.hiding import hides_given
from storagekit.modes import parse_mode
from storagekit.writing import BinaryWriter, TextWriter

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["isdir", "isfile", "listdir", "open", "path_exists"]


class _TakesBytes(io.TextIOWrapper):
    """A text layer whose ``write`` takes bytes too, in order with the text."""

    _pending = False
    """True where text may not have reached the binary layer yet."""

    def write(self, text: str | ReadableBuffer, /) -> int:
        if isinstance(text, str):
            self._pending = True
            return super().write(text)
        if self._pending:
            self.flush()
            self._pending = False
        return cast(io.BufferedWriter, self.buffer).write(text)


class _StoreWriter(_TakesBytes, TextWriter):
    """The same over a sealed writer."""


@hides_given
def open(
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
    options: Options | None = None,
) -> IO[Any]:
    """As ``storagekit.open``; what is opened to write text takes ``bytes`` too.

    >>> from storagekit.s3filestream import open
    >>> with open("memory://s3filestream/numbers", "w") as fd:
    ...     for i in range(3):
    ...         _ = fd.write(f"{i}\\n".encode())
    >>> open("memory://s3filestream/numbers").read()
    '0\\n1\\n2\\n'
    """
    parsed = parse_mode(mode, file)
    extras: dict[str, Any] = {"closefd": closefd, "opener": opener, "compression": compression, "options": options}
    if parsed.binary or not parsed.writing:
        return storagekit.open(file, mode, buffering, encoding, errors, newline, **extras)
    if buffering == 0:
        raise invalid(file, "can't have unbuffered text I/O")
    binary = storagekit.open(file, mode.replace("t", "") + "b", -1 if buffering == 1 else buffering, **extras)
    text: dict[str, Any] = {
        "encoding": encoding,
        "errors": errors,
        "newline": newline,
        "line_buffering": buffering == 1,
    }
    layer: _TakesBytes
    try:
        if isinstance(binary, BinaryWriter):
            text |= {
                "encoding": "utf-8" if encoding is None else encoding,
                "newline": "\n" if newline is None else newline,
            }
            layer = _StoreWriter(binary, **text)
        else:
            layer = _TakesBytes(cast(Any, binary), **text)
    except BaseException:
        if isinstance(binary, BinaryWriter):
            binary.discard()
        binary.close()
        raise
    layer.mode = mode  # type: ignore[misc]
    return layer
