"""codecs: which one a name or a suffix means, and what is said where its library is missing."""

from __future__ import annotations

import errno
import importlib
import io

import pytest

import storagekit
from storagekit.codecs import CODECS, codec_for
from storagekit.errors import InvalidArgumentError

URL = "toy://box/key"


@pytest.mark.parametrize(
    ("compression", "filename", "codec"),
    [
        (None, "s3://b/a.gz", None),
        ("infer", "s3://b/a.gz", "gzip"),
        ("infer", "s3://b/a.tar.GZ", "gzip"),
        ("infer", "s3://b/a.bz2", "bz2"),
        ("infer", "s3://b/a.xz", "xz"),
        ("infer", "s3://b/a.gz/b", None),
        ("infer", "s3://b/gz", None),
        ("infer", "s3://b/a.gz?x", None),
        ("infer", "s3://b/a.zst", "zstd"),
        ("infer", "s3://b/a.lz4", "lz4"),
        ("gzip", "s3://b/a.xz", "gzip"),
        ("xz", "s3://b/a", "xz"),
    ],
)
def test_the_codec_is_what_was_named_or_what_the_suffix_names(
    compression: str | None, filename: str, codec: str | None
) -> None:
    found = codec_for(compression, filename)
    assert (found and found.name) == codec


@pytest.mark.parametrize("name", ["zip", "GZIP", "", ".gz"])
def test_an_unknown_codec_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'infer', 'gzip', 'bz2', 'xz', 'zstd', 'lz4'") as caught:
        codec_for(name, URL)
    assert caught.value.filename == URL


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def missing(module: str) -> object:
        if module in CODECS[name].modules:
            raise ModuleNotFoundError(module)
        return found(module)

    monkeypatch.setattr(importlib, "import_module", missing)
    url = f"memory://codecs/file{CODECS[name].suffix}"
    for mode in ("w", "r"):
        with pytest.raises(io.UnsupportedOperation, match=rf"storagekit\[{name}\]") as caught:
            storagekit.open(url, mode, compression="infer")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOTSUP, url)
    assert not storagekit.exists(url)
