"""Codecs: the formats of compression by name and suffix, and the libraries that write and read them.

``gzip``, ``bz2`` and ``xz`` are the standard library's. ``zstd`` is from Python 3.14 on, and before that the same code
as a package, ``backports.zstd``; ``lz4`` is the package of that name. Each is imported when it is used. All offer a
file object over another file object, which is all that is wanted of them here. What is written has checksums in every
format, so that damage shows; other programs may leave them out of ``zstd`` and ``lz4``.
"""

from __future__ import annotations

import importlib
import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from storagekit.errors import invalid, unsupported
from storagekit.fork_guard import IMPORT_SECONDS, guarded

__all__ = ["CODECS", "Codec", "codec_for"]


@dataclass(frozen=True, slots=True)
class Codec:
    """One format."""

    name: str
    suffix: str
    modules: tuple[str, ...]
    """Where it is implemented; the first that there is."""
    file: str
    """The class of its file objects there."""
    error: str | type[Exception]
    """What its decoder raises for damaged data, beside ``EOFError`` and an ``OSError`` without an ``errno``."""
    checked: Callable[[Any], dict[str, Any]] = lambda _: {}
    """The arguments with which its file object writes checksums, where it does so only when asked."""

    def module(self) -> Any:
        """The implementation; ``ModuleNotFoundError`` where there is none."""
        with guarded(IMPORT_SECONDS):
            for name in self.modules[:-1]:
                try:
                    return importlib.import_module(name)
                except ModuleNotFoundError:
                    pass
            return importlib.import_module(self.modules[-1])

    def over(self, file: IO[bytes], mode: str) -> IO[bytes]:
        """The codec's file object over *file*, which it does not close."""
        if self.name == "gzip":  # which would write the name of *file* into its header
            return cast("IO[bytes]", self.module().GzipFile(filename="", mode=mode, fileobj=file))
        module = self.module()
        arguments = self.checked(module) if mode == "wb" else {}
        return cast("IO[bytes]", getattr(module, self.file)(file, mode=mode, **arguments))

    def damaged(self) -> tuple[type[Exception], ...]:
        """What its decoder raises for data that is not what it should be."""
        error = getattr(self.module(), self.error) if isinstance(self.error, str) else self.error
        return (EOFError, cast("type[Exception]", error))


def _zstd_checked(module: Any) -> dict[str, Any]:
    return {"options": {module.CompressionParameter.checksum_flag: True}}


def _lz4_checked(_: Any) -> dict[str, Any]:
    return {"content_checksum": True}


CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("gzip", ".gz", ("gzip",), "GzipFile", zlib.error),
        Codec("bz2", ".bz2", ("bz2",), "BZ2File", io.UnsupportedOperation),  # an OSError without errno is all it raises
        Codec("xz", ".xz", ("lzma",), "LZMAFile", "LZMAError"),
        Codec("zstd", ".zst", ("compression.zstd", "backports.zstd"), "ZstdFile", "ZstdError", _zstd_checked),
        Codec("lz4", ".lz4", ("lz4.frame",), "LZ4FrameFile", RuntimeError, _lz4_checked),
    )
}


def codec_for(compression: str | None, filename: str) -> Codec | None:
    """The codec that *compression* names, for ``"infer"`` the one that the suffix of *filename* names, or None.

    ``InvalidArgumentError`` for a name that is none; ``io.UnsupportedOperation`` where its library is missing.

    >>> from storagekit.codecs import codec_for
    >>> codec_for("infer", "s3://bucket/log.gz").name, codec_for(None, "s3://bucket/log.gz")
    ('gzip', None)
    """
    if compression == "infer":
        found = (codec for codec in CODECS.values() if filename.lower().endswith(codec.suffix))
        codec = next(found, None)
    elif compression is None:
        codec = None
    elif compression in CODECS:
        codec = CODECS[compression]
    else:
        known = ", ".join(map(repr, ("infer", *CODECS)))
        raise invalid(filename, f"unknown compression {compression!r}: expected one of {known}")
    if codec is not None:
        try:
            codec.module()
        except ModuleNotFoundError as error:
            text = f"compression {codec.name!r} needs a library: pip install 'storagekit[{codec.name}]'"
            raise unsupported(filename, text) from error
    return codec
