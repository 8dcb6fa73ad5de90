"""Media types: what a key's suffix says of the bytes, for objects whose writer does not say it.

The table is that of Python's ``mimetypes`` alone. What the machine has installed beside it (``/etc/mime.types``) would
make one program write different objects on two machines.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from storagekit.fork_guard import IMPORT_SECONDS, guarded

if TYPE_CHECKING:
    from mimetypes import MimeTypes

__all__ = ["media_type"]

# What is packed is of the type of its packing: a browser that is told the inner one would show garbage.
_PACKED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
# Later releases of Python know these too.
_MORE = {".zst": "application/zstd", ".lz4": "application/x-lz4", ".parquet": "application/vnd.apache.parquet"}


@functools.cache
def _table() -> MimeTypes:
    with guarded(IMPORT_SECONDS):
        from mimetypes import MimeTypes  # slow, and for writing only

    return MimeTypes(filenames=())


def media_type(key: str) -> str | None:
    """The media type that the suffix of *key* names; None where it names none, and for a directory's marker.

    >>> from storagekit_s3.media import media_type
    >>> media_type("a/report.pdf"), media_type("log.csv.gz"), media_type("a/b")
    ('application/pdf', 'application/gzip', None)
    """
    name = key.rpartition("/")[2].lower()
    stem, dot, suffix = name.rpartition(".")
    if not stem or not dot:
        return None
    if (known := _MORE.get("." + suffix)) is not None:
        return known
    # Only the suffixes: the whole of a key may look like a URL of another kind.
    before = stem.rpartition(".")[2]
    found, packing = _table().guess_type(f"file.{before}.{suffix}" if "." in stem else f"file.{suffix}")
    return _PACKED.get(packing) if packing else found
