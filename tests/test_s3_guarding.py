"""The checksum that goes along with an upload, over both transports."""

from __future__ import annotations

import base64
import sys
import zlib
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from s3_support import Bucket

from storagekit.errors import InvalidArgumentError
from storagekit.location import Location
from storagekit_conformance.support import content
from storagekit_s3.guarding import checksum_headers, checksum_parameters, declaration
from storagekit_s3.options import parse

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
HERE = Location("s3", "box", "key")
# The check value of CRC-32, as every catalogue of CRCs has it.
CHECK, VALUE = b"123456789", base64.b64encode((0xCBF43926).to_bytes(4, "big")).decode()


def test_headers_and_parameters() -> None:
    assert checksum_headers(CHECK, None) == {
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-checksum-crc32": VALUE,
    }
    assert checksum_parameters(bytearray(CHECK), "crc32") == {
        "ChecksumAlgorithm": "CRC32",
        "ChecksumCRC32": VALUE,
    }
    assert declaration(None) == declaration("crc32") == ("CRC32", "FULL_OBJECT")


def test_another_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(crc64nvme=lambda data, before: zlib.crc32(data, before))
    monkeypatch.setitem(sys.modules, "awscrt", ModuleType("awscrt"))
    monkeypatch.setitem(sys.modules, "awscrt.checksums", cast(ModuleType, fake))
    headers = checksum_headers(CHECK, "crc64nvme")
    assert headers["x-amz-sdk-checksum-algorithm"] == "CRC64NVME"
    assert base64.b64decode(headers["x-amz-checksum-crc64nvme"]) == (0xCBF43926).to_bytes(8, "big")
    assert parse({"checksum_algorithm": "crc64nvme"}, HERE).connection.checksum_algorithm == "crc64nvme"


def test_what_cannot_be_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.checksums", cast(ModuleType, None))
    with pytest.raises(InvalidArgumentError, match=r"install boto3\[crt\]"):
        parse({"checksum_algorithm": "crc32c"}, HERE)
    with pytest.raises(InvalidArgumentError, match="crc32, crc32c, crc64nvme"):
        parse({"checksum_algorithm": "md5"}, HERE)


def _round_trip(bucket: Bucket) -> None:
    """Write with a chosen checksum, whole and in parts."""
    options = {**bucket.options, "checksum_algorithm": "crc32"}
    for data in (b"", content(1000), content(6 * MiB)):
        writer = bucket.driver.open_write(bucket.at("key"), options, None)
        if len(data) > MiB:
            writer.write_part(1, 0, [data[: 5 * MiB]])
            writer.write_part(2, 5 * MiB, [data[5 * MiB :]])
            writer.commit()
        else:
            writer.put([data] if data else [])
        assert bucket.read("key") == data


def test_written_to_moto(on_moto: Bucket) -> None:
    _round_trip(on_moto)
    data = content(1000)
    on_moto.driver.open_write(on_moto.at("small"), {**on_moto.options, "checksum_algorithm": "crc32"}, None).put([data])
    reader = on_moto.driver.open_read(on_moto.at("small"), on_moto.options, 64 * 1024)
    assert reader.checksum is not None
    assert (reader.checksum.algorithm, reader.checksum.value) == ("crc32", zlib.crc32(data).to_bytes(4, "big"))


def test_written_over_tls(on_tls: Bucket) -> None:
    _round_trip(on_tls)


def test_written_to_rclone(on_rclone: Bucket) -> None:
    _round_trip(on_rclone)
