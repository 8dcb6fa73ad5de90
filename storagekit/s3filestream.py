"""s3filestream: the five names of the library that started this one, for its users.

They are storagekit's own, but for one liberty that the old examples take: a file opened for writing text
accepts ``bytes`` as well as ``str``. ``storagekit.open`` itself is strict, as the builtin is.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any, cast

import storagekit
from storagekit import isdir, isfile, listdir, path_exists
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


def open(file: Any, mode: str = "r", **arguments: Any) -> IO[Any]:
    """As ``storagekit.open``; what is opened to write text takes ``bytes`` too.

    >>> from storagekit.s3filestream import open
    >>> with open("memory://s3filestream/numbers", "w") as fd:
    ...     for i in range(3):
    ...         _ = fd.write(f"{i}\\n".encode())
    >>> open("memory://s3filestream/numbers").read()
    '0\\n1\\n2\\n'
    """
    parsed = parse_mode(mode, file)
    if parsed.binary or not parsed.writing:
        return storagekit.open(file, mode, **arguments)
    text = {name: arguments.pop(name, None) for name in ("encoding", "errors", "newline")}
    binary = storagekit.open(file, mode.replace("t", "") + "b", **arguments)
    try:
        if isinstance(binary, BinaryWriter):
            newline = "\n" if text["newline"] is None else text["newline"]
            return _StoreWriter(binary, **{**text, "encoding": text["encoding"] or "utf-8", "newline": newline})
        return _TakesBytes(binary, **text)
    except BaseException:
        if isinstance(binary, BinaryWriter):
            binary.discard()
        binary.close()
        raise
