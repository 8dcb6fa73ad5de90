"""Verifying: a read of the whole object is held against the checksum that the store keeps, on real servers, too."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import io
import zlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from s3_support import FakeApi

import storagekit
from storagekit.checksums import Checksum
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.verifying import MOST_HASHED, Verifier, verifier
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Corrupt, Cut, Faults
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import content
from storagekit_s3.api import Attributes, Info
from storagekit_s3.options import parse
from storagekit_s3.reading import ObjectReader
from storagekit_s3.replies import whole_checksum

pytest_plugins = ["s3_support"]

DATA = content(300_000)
URL = "s3://box/key"


def md5(data: bytes) -> Checksum:
    return Checksum("md5", hashlib.md5(data).digest())


def checks(data: bytes = DATA) -> Verifier:
    made = verifier(md5(data), len(data))
    assert made is not None
    return made


def test_from_start_to_end() -> None:
    ours = checks()
    for start in range(0, len(DATA), 1000):
        ours.take(start, DATA[start : start + 1000], URL)
    ours = checks()
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    ours.take(0, wrong[:-1], URL)
    with pytest.raises(OSError, match="not those that were stored") as caught:
        ours.take(len(DATA) - 1, wrong[-1:], URL)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, URL)
    assert hashlib.md5(DATA).hexdigest() in str(caught.value)


def test_here_and_there_verifies_nothing() -> None:
    ours = checks(b"other" * 60_000)
    ours.take(0, DATA[:1000], URL)
    ours.take(5000, DATA[5000:], URL)


def test_from_the_start_again() -> None:
    ours = checks()
    ours.take(0, DATA[:10], URL)
    ours.take(0, DATA[:10], URL)
    ours.take(10, DATA[10:], URL)
    with pytest.raises(OSError, match="md5"):
        ours.take(0, DATA[::-1], URL)
    with pytest.raises(OSError, match="md5"):
        ours.take(0, DATA[::-1], URL)


def test_hashes_of_long_objects_cost_too_much_and_crcs_never() -> None:
    assert verifier(md5(b""), MOST_HASHED) is not None
    assert verifier(md5(b""), MOST_HASHED + 1) is None
    assert verifier(Checksum("crc32", bytes(4)), MOST_HASHED + 1) is not None
    assert verifier(None, 1) is None


@pytest.mark.parametrize(
    ("headers", "whole", "found"),
    [
        ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "FULL_OBJECT"}, False, "crc32"),
        ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "COMPOSITE"}, True, None),
        ({"x-amz-checksum-crc32": "AAAAAQ=="}, True, "crc32"),
        ({"x-amz-checksum-crc32": "AAAAAQ=="}, False, None),
        ({"x-amz-checksum-crc32": "AAAAAQ==", "etag": '"abc-2"'}, True, None),
        ({"x-amz-checksum-crc32": "AAAAAQ==-2"}, True, None),
        ({"x-amz-checksum-crc32": "AAAA"}, True, None),
        ({"x-amz-checksum-crc32": "ä"}, True, None),
        ({"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()}, True, "sha256"),
        ({}, True, None),
    ],
)
def test_which_headers_are_believed(headers: dict[str, str], whole: bool, found: str | None) -> None:
    checksum = whole_checksum(headers, whole=whole)
    assert (checksum and checksum.algorithm) == found


class Place:
    """A bucket on a real server behind a proxy that flips bytes."""

    def __init__(self, server: S3Server, faults: Faults, transport: str, bucket: str) -> None:
        self.faults = faults
        self.storage = storagekit.Storage(options={"s3": server.options() | {"transport": transport}})
        self.url = f"s3://{bucket}/{transport}/object"
        self.put(DATA)

    def put(self, data: bytes) -> None:
        with self.storage.open(self.url, "wb") as file:
            file.write(data)


@pytest.fixture(params=["moto", "moto_tls", "rclone"])
def place(request: pytest.FixtureRequest, transport: str) -> Iterator[Place]:
    server: S3Server = request.getfixturevalue(request.param)
    with fault_proxy(server) as (seen, faults):
        made = Place(seen, faults, transport, server.new_bucket())
        yield made
        made.storage.close()
        faults.check()


def by_lines(file: Any) -> bytes:
    return b"".join(file)


def by_pieces(file: Any) -> bytes:
    return b"".join(iter(lambda: file.read(7001), b""))


@pytest.mark.parametrize("read", [io.BufferedReader.read, by_pieces, by_lines], ids=["read", "pieces", "lines"])
def test_a_flipped_byte_is_caught(place: Place, read: Any) -> None:
    for seed in range(3):
        place.storage._cache.clear()  # else what is cached takes the place of what comes along with opening
        with place.faults.armed(Corrupt(1, seed), "read"):
            with pytest.raises(OSError) as caught, place.storage.open(place.url, "rb") as file:
                read(file)
            assert (caught.value.errno, caught.value.filename) == (errno.EIO, place.url)
        with place.storage.open(place.url, "rb") as file:  # what was wrong is not kept
            assert read(file) == DATA


def test_the_same_handle_reads_again(place: Place) -> None:
    with place.faults.armed(Corrupt(1, 3), "read"):
        file = place.storage.open(place.url, "rb")
    with file:
        with pytest.raises(OSError, match="not those"):
            file.read()
        file.seek(0)
        assert file.read() == DATA


def test_read_many_and_text(place: Place) -> None:
    with place.faults.armed(Corrupt(1, 5), "read"):
        ((_, outcome),) = place.storage.read_many([place.url])
    assert isinstance(outcome, OSError)
    assert outcome.errno == errno.EIO
    place.put(b"text\n" * 50_000)
    with (
        place.faults.armed(Corrupt(1, 1), "read", times=None),
        pytest.raises((OSError, UnicodeDecodeError)),
        place.storage.open(place.url) as lines,
    ):
        list(lines)
    place.put(gzip.compress(DATA, mtime=0))
    with (
        place.faults.armed(Corrupt(1, 2), "read", times=None),
        pytest.raises((OSError, EOFError)),
        place.storage.open(place.url, "rb", compression="gzip") as packed,
    ):
        packed.read()


def test_right_bytes_that_came_in_pieces_are_right(place: Place) -> None:
    with place.faults.armed(Cut(90_000), "read", times=None), place.storage.open(place.url, "rb") as file:
        assert file.read() == DATA
    with place.storage.open(place.url, "rb") as file:
        file.seek(100_000)
        assert file.read() == DATA[100_000:]
        file.seek(0)
        assert file.read() == DATA


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 9 * 1024 * 1024])
def test_every_size(place: Place, size: int) -> None:
    data = content(size)
    place.put(data)
    with place.storage.open(place.url, "rb") as file:
        assert file.read() == data


def test_a_driver_of_any_kind() -> None:
    """What counts is what the reader says."""

    class Store:
        """Hooks around the memory driver that give every reader a CRC, of *kept*."""

        kept = DATA

        @hookimpl(wrapper=True)
        def open_read(self) -> Generator[None, Any, Any]:
            reader = yield
            reader.checksum = Checksum("crc32", zlib.crc32(self.kept).to_bytes(4, "big"))
            return reader

    with storagekit.Storage(wrappers=[Store()]) as storage:
        with storage.open("memory://box/key", "wb") as file:
            file.write(DATA)
        with storage.open("memory://box/key", "rb") as reader:
            assert reader.read() == DATA
        Store.kept = DATA[1:]
        with pytest.raises(OSError, match="crc32"), storage.open("memory://box/key", "rb") as reader:
            reader.read()


@pytest.mark.parametrize(
    ("bucket", "etag", "encryption", "known"),
    [
        ("box", "5d41402abc4b2a76b9719d911017c592", None, True),
        ("box", "5d41402abc4b2a76b9719d911017c592", "AES256", True),
        ("box", "5d41402abc4b2a76b9719d911017c592", "aws:kms", False),
        ("box", "5d41402abc4b2a76b9719d911017c592-2", None, False),
        ("box--use1-az4--x-s3", "5d41402abc4b2a76b9719d911017c592", None, False),
        ("arn:aws:s3:us-east-1:1:accesspoint/box", "5d41402abc4b2a76b9719d911017c592", None, False),
    ],
)
def test_which_etags_are_an_md5(bucket: str, etag: str, encryption: str | None, known: bool) -> None:
    location = Location("s3", bucket, "key")
    info = Info(5, etag, 0, None, Attributes(server_side_encryption=encryption))
    for server, there in (("aws", known), ("generic", False)):
        reader = ObjectReader(FakeApi(), location, parse({"server": server}, location), info, b"")
        assert (reader.checksum is not None) == there


class Interrupted:
    """A digest that takes the bytes in, and is interrupted then."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self.value = digest.value

    def update(self, data: Any) -> None:
        self._digest.update(data)
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", [0, 1000])
def test_an_interrupt_ends_the_verifying_and_falsifies_nothing(before: int) -> None:
    ours = checks()
    if before:
        ours.take(0, DATA[:before], URL)
    ours._digest = Interrupted(ours._digest)
    with pytest.raises(KeyboardInterrupt):
        ours.take(before, DATA[before:2000], URL)
    ours.take(before, DATA[before:], URL)  # who goes on, reads right bytes
    with pytest.raises(OSError, match="md5"):
        ours.take(0, DATA[::-1], URL)  # who begins again, is held to it again


def test_one_for_a_forked_child_begins_anew() -> None:
    ours = checks()
    ours.take(0, DATA[:1000], URL)
    theirs = ours.anew()
    theirs.take(1000, DATA[:0:-1][1000:], URL)  # it has not seen what came before
    theirs.take(0, DATA, URL)
    with pytest.raises(OSError, match="md5"):
        theirs.take(0, DATA[::-1], URL)
