"""s3 media: what a suffix says, the same on every machine, and that it reaches the object."""

from __future__ import annotations

import pytest
from s3_support import Bucket

from storagekit_s3.media import media_type

pytest_plugins = ["s3_support"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.txt", "text/plain"),
        ("a/b.c/d.JSON", "application/json"),
        ("data.csv.gz", "application/gzip"),
        ("data.tar.gz", "application/gzip"),
        ("data.tgz", "application/gzip"),
        ("data.tar.xz", "application/x-xz"),
        ("data.bz2", "application/x-bzip2"),
        ("data.zst", "application/zstd"),
        ("data.csv.zst", "application/zstd"),
        ("data.lz4", "application/x-lz4"),
        ("part-0.parquet", "application/vnd.apache.parquet"),
        ("key", None),
        ("a.txt/", None),
        ("a.txt/b", None),
        (".txt", None),
        ("a.", None),
        ("", None),
        ("a.unknown-suffix", None),
        ("data:text/html,a.png", "image/png"),
    ],
)
def test_what_a_suffix_says(key: str, expected: str | None) -> None:
    assert media_type(key) == expected


def test_an_object_has_the_type_of_its_name(on_moto: Bucket) -> None:
    on_moto.write("a.json", b"{}")
    on_moto.write("b.json", b"{}", content_type="text/x-other")
    found = [on_moto.driver.stat(on_moto.at(key), on_moto.options).content_type for key in ("a.json", "b.json")]
    assert found == ["application/json", "text/x-other"]
