"""Compression: streams that pack what is written and unpack what is read, by one of the ``codecs``.

Both directions are raw streams, so that the same C buffer and text layer stand on top as everywhere. Reading maps what
damaged data raises to ``OSError`` with the filename. Writing is a raw stream *under* the buffer and *over* the
sealed sink: it ends its format in ``finish``, which the sink's owner calls before it publishes. So the seal reaches
through it.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, cast

from storagekit.codecs import Codec
from storagekit.errors import invalid, os_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

T = TypeVar("T")

__all__ = ["CompressedSink", "DecompressedStream", "open_local"]


class DecompressedStream(io.RawIOBase):
    """A raw stream of what *file* holds compressed; closing it closes *file*."""

    mode = "rb"

    def __init__(self, codec: Codec, file: IO[bytes], name: str) -> None:
        self.name = name
        self._codec = codec
        self._file = file
        self._decoder = codec.over(file, "rb")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._codec.name} {self.name!r}>"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._guarded(lambda: self._decoder.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        # The decoders take a target before the start for the start.
        if whence == os.SEEK_CUR:
            offset += self.tell()
        elif whence == os.SEEK_END:
            offset += self._guarded(lambda: self._decoder.seek(0, os.SEEK_END))
        elif whence != os.SEEK_SET:
            raise invalid(self.name, f"invalid whence: {whence!r}")
        if offset < 0:
            raise invalid(self.name, f"cannot seek to {offset}, before the start")
        return self._guarded(lambda: self._decoder.seek(offset))

    def tell(self) -> int:
        return self._decoder.tell()

    def _guarded(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except self._codec.damaged() as error:
            raise os_error(errno.EIO, self.name, f"not whole and undamaged {self._codec.name} data: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise  # the store's own error, complete
            raise os_error(errno.EIO, self.name, f"not whole and undamaged {self._codec.name} data: {error}") from error

    def _dealloc_warn(self, source: object) -> None:
        # io says so when a finalizer closes: what is below must know that it is one.
        if warn := getattr(self._file, "_dealloc_warn", None):
            warn(source)

    def __del__(self) -> None:
        if hasattr(self, "_decoder") and not self.closed:
            self._dealloc_warn(self)
            self.close()

    def close(self) -> None:
        if not self.closed:
            super().close()
            try:
                self._decoder.close()
            finally:
                self._file.close()


class Mutable(Protocol):
    """What a codec writes into: a sink that can be told that nothing of it will be published."""

    def write(self, data: bytes, /) -> int | None: ...
    def mute(self) -> None: ...
    def poison(self, error: BaseException) -> None: ...
    def abandon(self) -> None: ...
    def close(self) -> None: ...


class CompressedSink(io.RawIOBase):
    """A raw stream that compresses what is written into *sink*; ``finish`` writes the end of the format."""

    mode = "wb"

    def __init__(self, codec: Codec, sink: Mutable, name: str, *, appending: bool = False) -> None:
        self.name = name
        self._codec = codec
        self._sink = sink
        self._plain = 0
        self._appending = appending
        self._encoder: IO[bytes] | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        """The plain bytes taken in."""
        return self._plain

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            if self._encoder is None:
                self._encoder = self._codec.over(cast("IO[bytes]", self._sink), "wb")
            taken = self._encoder.write(data)
            self._plain += taken
            return taken
        except BaseException as error:  # how much the codec took in is unknown
            self._sink.poison(error)
            raise

    def finish(self) -> None:
        """Write what the codec still holds, and the end of its format.

        Archives may stand one after another, so an append is one more. Of nothing it is none, else an empty one,
        which not every codec's file object would write.
        """
        if self._encoder is not None:
            self._encoder.close()
        elif not self._appending:
            self._sink.write(self._codec.module().compress(b""))

    def close(self) -> None:
        """Close the sink, which publishes nothing by that. A codec that was not finished ends into the void."""
        if not self.closed:
            super().close()
            self._sink.mute()
            try:
                if self._encoder is not None:
                    self._encoder.close()
            finally:
                self._sink.close()

    def __del__(self) -> None:
        # Before the codec's own finalizer, which writes the end of its format.
        if hasattr(self, "_encoder") and not self.closed:
            self._sink.abandon()


def open_local(path: Any, codec: Codec, mode: str, **text: Any) -> IO[Any]:
    """A plain local path through the library's own ``open``: ``gzip.open``, ``lzma.open`` and so on."""
    binary = "b" in mode
    return cast(
        "IO[Any]",
        codec.module().open(path, mode if binary else f"{mode.replace('t', '')}t", **({} if binary else text)),
    )
