"""Compression: only where it is asked for, by suffix or by name."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import sys
from collections.abc import Callable

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, Box, content

CODECS: dict[str, tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (".gz", gzip.compress, gzip.decompress),
    "bz2": (".bz2", bz2.compress, bz2.decompress),
    "xz": (".xz", lzma.compress, lzma.decompress),
}
try:  # the library's own extras, which may be there or not
    from lz4 import frame

    CODECS["lz4"] = (".lz4", frame.compress, frame.decompress)
except ImportError:
    pass
try:
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    CODECS["zstd"] = (".zst", zstd.compress, zstd.decompress)
except ImportError:
    pass
PLAIN = content(BLOCK) + b"a line that repeats\n" * 20_000


@clause("compression.off")
def test_off_unless_asked(box: Box) -> None:
    packed = gzip.compress(b"plain")
    url = box.put("object.gz", packed)
    assert box.get("object.gz") == packed
    with box.open(url, "rb") as file:
        assert file.read() == packed


@clause("compression.infer")
@pytest.mark.parametrize("codec", CODECS)
def test_inferred_from_the_suffix(box: Box, codec: str) -> None:
    suffix, compress, decompress = CODECS[codec]
    url = box.url("object" + suffix)
    with box.open(url, "wb", compression="infer") as file:
        file.write(PLAIN)
    stored = box.get("object" + suffix)
    assert len(stored) < len(PLAIN)
    assert decompress(stored) == PLAIN
    with box.open(url, "rb", compression="infer") as file:
        assert file.read() == PLAIN
    box.put("foreign" + suffix, compress(PLAIN))
    with box.open(box.url("foreign" + suffix), "rb", compression="infer") as file:
        assert file.read(100) == PLAIN[:100]
        file.seek(-10, 2)
        assert file.read() == PLAIN[-10:]
        file.seek(0)
        assert file.read() == PLAIN


@clause("compression.infer-none")
def test_no_known_suffix(box: Box) -> None:
    with box.open(box.url("object.txt"), "wb", compression="infer") as file:
        file.write(b"plain")
    assert box.get("object.txt") == b"plain"
    with box.open(box.url("object.txt"), "rb", compression="infer") as file:
        assert file.read() == b"plain"


@clause("compression.named")
@pytest.mark.parametrize("codec", CODECS)
def test_named(box: Box, codec: str) -> None:
    _, _, decompress = CODECS[codec]
    with box.open(box.url("object"), "w", compression=codec) as file:
        file.write("é\n" * 1000)
    assert decompress(box.get("object")) == ("é\n" * 1000).encode()
    with box.open(box.url("object"), compression=codec) as file:
        assert sum(1 for line in file if line == "é\n") == 1000


@clause("compression.unknown")
def test_unknown_codec(box: Box) -> None:
    url = box.put("object")
    for mode in ("rb", "wb"):
        with pytest.raises(ValueError, match="lz-unknown"):
            box.open(url, mode, compression="lz-unknown")
    assert box.get("object") == b"data"


@clause("compression.empty")
@pytest.mark.parametrize("codec", CODECS)
def test_empty(box: Box, codec: str) -> None:
    _, _, decompress = CODECS[codec]
    box.open(box.url("object"), "wb", compression=codec).close()
    assert decompress(box.get("object")) == b""
    with box.open(box.url("object"), "rb", compression=codec) as file:
        assert file.read() == b""


@clause("compression.members")
def test_several_members(box: Box) -> None:
    box.put("object.gz", gzip.compress(b"one ") + gzip.compress(b"two"))
    with box.open(box.url("object.gz"), "rb", compression="infer") as file:
        assert file.read() == b"one two"


@clause("compression.damaged")
@pytest.mark.parametrize("codec", CODECS)
def test_cut_and_foreign_data(box: Box, codec: str) -> None:
    _, compress, _ = CODECS[codec]
    box.put("cut", compress(PLAIN)[:-20])
    box.put("foreign", b"this was never compressed" * 100)
    for key in ("cut", "foreign"):
        with box.open(box.url(key), "rb", compression=codec) as file, pytest.raises((EOFError, OSError)):
            file.read()


@clause("compression.tell")
@pytest.mark.parametrize("codec", CODECS)
def test_tell_counts_plain_bytes(box: Box, codec: str) -> None:
    with box.open(box.url("object"), "wb", compression=codec) as file:
        assert file.tell() == 0
        file.write(b"x" * 10)
        assert file.tell() == 10
        file.write(content(BLOCK * 6))
        assert file.tell() == 10 + BLOCK * 6
    with box.open(box.url("object"), "rb", compression=codec) as file:
        file.read(100)
        assert file.tell() == 100
