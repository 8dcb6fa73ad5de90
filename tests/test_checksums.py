"""Checksums: computing what a store keeps."""

from __future__ import annotations

import hashlib
import sys
import zlib
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.checksums import Checksum


@given(st.lists(st.binary(max_size=200), max_size=8), st.sampled_from(["md5", "sha1", "sha256", "crc32"]))
def test_piece_by_piece_is_the_same_as_at_once(pieces: list[bytes], algorithm: str) -> None:
    data = b"".join(pieces)
    whole = zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()
    digest = Checksum(algorithm, b"").begin()
    assert digest is not None
    for piece in pieces:
        digest.update(memoryview(piece))
    assert digest.value() == whole


def test_what_is_not_installed_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.checksums", cast(ModuleType, None))  # as if it could not be imported
    assert Checksum("crc64nvme", bytes(8)).begin() is None
    assert Checksum("rot13", b"").begin() is None


def test_what_is_installed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(crc32c=lambda data, before: zlib.crc32(data, before), crc64nvme=lambda data, before: 7)
    monkeypatch.setitem(sys.modules, "awscrt", ModuleType("awscrt"))
    monkeypatch.setitem(sys.modules, "awscrt.checksums", cast(ModuleType, fake))
    digest = Checksum("crc32c", b"").begin()
    assert digest is not None
    digest.update(memoryview(b"one"))
    digest.update(b" two")
    assert digest.value() == zlib.crc32(b"one two").to_bytes(4, "big")
    other = Checksum("crc64nvme", b"").begin()
    assert other is not None
    other.update(b"x")
    assert other.value() == (7).to_bytes(8, "big")
