"""Guarding: the checksum that goes along with an upload, for the server to compare and to keep.

A part is at hand whole before it is sent, so its checksum goes in a header, and there is no need for a trailer behind
it. An upload whose parts come with checksums has to say so when it begins, or Amazon refuses the parts; and of the
whole object, or it wants those of all parts again at the end, and keeps one that no reader can compare.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64

from storagekit.checksums import Checksum

__all__ = ["ALGORITHMS", "checksum_headers", "checksum_parameters", "declaration"]

ALGORITHMS = ("crc32", "crc32c", "crc64nvme")
"""Those whose value of the whole object the server can make out of those of its parts."""


def checksum_headers(body: bytes | bytearray, algorithm: str | None) -> dict[str, str]:
    """The headers that go along with *body*; CRC-32 where no *algorithm* was chosen."""
    name = algorithm or "crc32"
    return {"x-amz-sdk-checksum-algorithm": name.upper(), f"x-amz-checksum-{name}": _value(body, name)}


def checksum_parameters(body: bytes | bytearray, algorithm: str | None) -> dict[str, str]:
    """The same, as boto3 has it: with the value at hand it sends a header, and no trailer.

    Without the name of the algorithm some servers pass the value over.
    """
    name = algorithm or "crc32"
    return {"ChecksumAlgorithm": name.upper(), f"Checksum{name.upper()}": _value(body, name)}


def declaration(algorithm: str | None) -> tuple[str, str]:
    """What an upload says when it begins: the algorithm, and that it is of the whole object."""
    return (algorithm or "crc32").upper(), "FULL_OBJECT"


def _value(body: bytes | bytearray, name: str) -> str:
    digest = Checksum(name, b"").begin()
    assert digest is not None, "options are refused where it cannot be computed"
    digest.update(memoryview(body))
    return base64.b64encode(digest.value()).decode()
