"""The simulator of the benchmarks: its answers byte for byte, and that it delays and limits as its profile says."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.peers.sockets import Connection, fetch
from benchmarks.simulator.objects import Objects
from benchmarks.simulator.profiles import PROFILES, Profile, parse
from benchmarks.simulator.server import SMALL, Port
from benchmarks.simulator.shaping import DRAWN, Clock, Delays

# Several segments, and more than what is sent in one piece.
LARGE = bytes(range(256)) * 5000
SIZES = [0, 1, SMALL - 1, SMALL, SMALL + 1, len(LARGE)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Port]]:
    """Starts a port over the folder ``tmp_path`` with a profile of these values."""
    ports: list[Port] = []

    def started(**values: float) -> Port:
        ports.append(Port(Objects(tmp_path), Profile(**values)))
        return ports[-1]

    (tmp_path / "box").mkdir()
    yield started
    for port in ports:
        port.close()


def client(port: Port) -> Any:
    """boto3, for the port."""
    return boto3.client(
        "s3",
        endpoint_url=port.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
    )


def stats(port: Port) -> Any:
    """What the control endpoint says."""
    with urllib.request.urlopen(f"{port.url}/_control/stats") as answer:
        return json.load(answer)


def code(error: pytest.ExceptionInfo[ClientError]) -> int:
    """The status of a refusal."""
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def test_profiles_are_read_and_wrong_ones_refused() -> None:
    assert parse("wan") == PROFILES["wan"]
    assert parse("wan,rate=40,tail_share=0").rate == 40
    assert parse("raw") == Profile()
    for text, told in (
        ("far", "no profile"),
        ("wan,speed=1", "no key"),
        ("wan,rate=-1", "at least 0"),
        ("wan,rate=x", "x"),
    ):
        with pytest.raises(ValueError, match=told):
            parse(text)


@pytest.mark.parametrize("size", SIZES)
def test_objects_come_back_byte_for_byte(start: Callable[..., Port], tmp_path: Path, size: int) -> None:
    data = LARGE[:size]
    (tmp_path / "box" / "lies here").write_bytes(data)
    s3 = client(start())
    s3.put_object(Bucket="box", Key="was put", Body=data)
    for key in "lies here", "was put":
        answer = s3.get_object(Bucket="box", Key=key)
        assert answer["Body"].read() == data
        assert s3.head_object(Bucket="box", Key=key)["ContentLength"] == size
        assert s3.head_object(Bucket="box", Key=key)["ETag"] == answer["ETag"]


@pytest.mark.parametrize("shaped", [False, True])
def test_ranges(start: Callable[..., Port], tmp_path: Path, shaped: bool) -> None:
    (tmp_path / "box" / "key").write_bytes(LARGE)
    s3 = client(start(rate=1000.0, total=1000.0) if shaped else start())
    size = len(LARGE)
    cases = {
        "bytes=0-0": LARGE[:1],
        "bytes=10-19": LARGE[10:20],
        f"bytes=100-{SMALL + 200}": LARGE[100 : SMALL + 201],
        "bytes=5-": LARGE[5:],
        "bytes=-7": LARGE[-7:],
        f"bytes=1-{10 * size}": LARGE[1:],
        f"bytes=-{10 * size}": LARGE,
    }
    for text, wanted in cases.items():
        answer = s3.get_object(Bucket="box", Key="key", Range=text)
        assert answer["Body"].read() == wanted, text
        begin = LARGE.index(wanted) if len(wanted) > 300 else int(answer["ContentRange"].split()[1].split("-")[0])
        assert answer["ContentRange"] == f"bytes {begin}-{begin + len(wanted) - 1}/{size}"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="box", Key="key", Range=f"bytes={size}-")
    assert code(error) == 416


def test_conditions_and_what_is_missing(start: Callable[..., Port]) -> None:
    s3 = client(start())
    etag = s3.put_object(Bucket="box", Key="key", Body=b"one")["ETag"]
    assert s3.get_object(Bucket="box", Key="key", IfMatch=etag)["Body"].read() == b"one"
    s3.put_object(Bucket="box", Key="key", Body=b"two")
    cases: list[tuple[Any, dict[str, object], int]] = [
        (s3.get_object, {"Key": "key", "IfMatch": etag}, 412),
        (s3.get_object, {"Key": "none"}, 404),
        (s3.head_object, {"Key": "none"}, 404),
        (s3.copy_object, {"Key": "key", "CopySource": "box/none"}, 404),
        (s3.upload_part, {"Key": "key", "UploadId": "none", "PartNumber": 1, "Body": b""}, 404),
    ]
    for call, arguments, status in cases:
        with pytest.raises(ClientError) as error:
            call(Bucket="box", **arguments)
        assert code(error) == status


def test_an_upload_in_parts_and_copies_and_deletions(start: Callable[..., Port]) -> None:
    port = start()
    s3 = client(port)
    upload = s3.create_multipart_upload(Bucket="box", Key="large")["UploadId"]
    pieces = [LARGE[:700_000], LARGE[700_000:]]
    parts: list[dict[str, object]] = []
    for number in 2, 1:
        body = pieces[number - 1]
        answer = s3.upload_part(Bucket="box", Key="large", UploadId=upload, PartNumber=number, Body=body)
        parts.insert(0, {"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(Bucket="box", Key="large", UploadId=upload, MultipartUpload={"Parts": parts})
    assert (
        s3.get_object(Bucket="box", Key="large", Range="bytes=699990-700009")["Body"].read() == LARGE[699_990:700_010]
    )
    s3.copy_object(Bucket="box", Key="a copy", CopySource={"Bucket": "box", "Key": "large"})
    s3.delete_object(Bucket="box", Key="large")
    assert s3.get_object(Bucket="box", Key="a copy")["Body"].read() == LARGE
    upload = s3.create_multipart_upload(Bucket="box", Key="none")["UploadId"]
    s3.abort_multipart_upload(Bucket="box", Key="none", UploadId=upload)
    s3.put_object(Bucket="box", Key="<&> ü", Body=b"")
    s3.delete_objects(Bucket="box", Delete={"Objects": [{"Key": "a copy"}, {"Key": "<&> ü"}, {"Key": "none"}]})
    assert "Contents" not in s3.list_objects_v2(Bucket="box")
    assert stats(port)["requests"] == {
        "create": 2,
        "part": 2,
        "complete": 1,
        "get": 2,
        "copy": 1,
        "delete": 1,
        "abort": 1,
        "put": 1,
        "delete-many": 1,
        "list": 1,
    }


@pytest.mark.parametrize(("span", "wanted"), [(None, LARGE), ((699_990, 700_010), LARGE[699_990:700_010])])
def test_a_part_that_is_copied(start: Callable[..., Port], span: tuple[int, int] | None, wanted: bytes) -> None:
    s3 = client(start())
    upload = s3.create_multipart_upload(Bucket="box", Key="source")["UploadId"]
    parts = []
    for number, body in ((1, LARGE[:700_000]), (2, LARGE[700_000:])):
        answer = s3.upload_part(Bucket="box", Key="source", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(Bucket="box", Key="source", UploadId=upload, MultipartUpload={"Parts": parts})
    upload = s3.create_multipart_upload(Bucket="box", Key="target")["UploadId"]
    given = {} if span is None else {"CopySourceRange": f"bytes={span[0]}-{span[1] - 1}"}
    source = {"Bucket": "box", "Key": "source"}
    copied = s3.upload_part_copy(Bucket="box", Key="target", UploadId=upload, PartNumber=1, CopySource=source, **given)
    end = s3.upload_part(Bucket="box", Key="target", UploadId=upload, PartNumber=2, Body=b"end")
    etags = [copied["CopyPartResult"]["ETag"], end["ETag"]]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(Bucket="box", Key="target", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="box", Key="target")["Body"].read() == wanted + b"end"


def _chunked(data: bytes, size: int, extension: bytes, trailer: bytes) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0%s\r\n%s\r\n" % (extension, trailer)


@pytest.mark.parametrize("outer", [False, True])
def test_bodies_in_chunks_are_decoded(start: Callable[..., Port], outer: bool) -> None:
    """As SDKs send them: aws-chunked with a trailer, alone or again in chunks of HTTP."""
    port = start()
    body = _chunked(LARGE, 100_000, b";chunk-signature=0123", b"x-amz-checksum-crc32:AAAAAA==\r\n")
    length = f"Content-Length: {len(body)}"
    if outer:
        body, length = _chunked(body, 33_333, b"", b""), "Transfer-Encoding: chunked"
    head = (
        f"PUT /box/key HTTP/1.1\r\nHost: x\r\n{length}\r\nContent-Encoding: aws-chunked\r\n"
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nExpect: 100-continue\r\n\r\n"
    )
    address = port.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        # The next request on the connection must be found where the body ends.
        connection.sendall(body + b"GET /box/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 404" in answers
    assert client(port).get_object(Bucket="box", Key="key")["Body"].read() == LARGE


def test_listings_agree_with_what_is_there(start: Callable[..., Port]) -> None:
    s3 = client(start())
    keys = sorted(["a", "a/b", "a/c/d", "a/c/e", "a0", "b//x", "b/é&", "c d/<", "zz/1", "zz/2", "zz/3"])
    for key in keys:
        s3.put_object(Bucket="box", Key=key, Body=key.encode())
    for prefix in "", "a", "a/", "a/c/", "zz/", "none":
        for delimiter in "", "/":
            for size in 1, 2, 1000:
                pages = s3.get_paginator("list_objects_v2").paginate(
                    Bucket="box", Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
                )
                entries, folders = [], []
                for page in pages:
                    assert (
                        page["KeyCount"] == len(page.get("Contents", [])) + len(page.get("CommonPrefixes", [])) <= size
                    )
                    entries += [entry["Key"] for entry in page.get("Contents", [])]
                    folders += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
                below = [key for key in keys if key.startswith(prefix)]
                deep = [key for key in below if delimiter and delimiter in key[len(prefix) :]]
                assert entries == [key for key in below if key not in deep]
                assert folders == sorted({prefix + key[len(prefix) :].partition("/")[0] + "/" for key in deep})
    after = s3.list_objects_v2(Bucket="box", StartAfter="a0")
    assert [entry["Key"] for entry in after["Contents"]] == keys[keys.index("a0") + 1 :]
    assert after["Contents"][0]["Size"] == len(after["Contents"][0]["Key"].encode())


def test_the_delays_are_a_sequence_that_begins_again() -> None:
    profile = parse("wan")
    delays, again = Delays(profile), Delays(profile)
    drawn = [delays.draw() for _ in range(2000)]
    assert drawn == [again.draw() for _ in range(2000)]
    delays.reset()
    assert [delays.draw() for _ in range(2000)] == drawn
    usual = sorted(delay for delay in drawn if delay != profile.tail / 1000)
    assert 0.026 < usual[len(usual) // 2] < 0.030
    assert 5 < len(drawn) - len(usual) < 50
    assert max(drawn) == profile.tail / 1000
    assert Delays(Profile()).draw() == 0
    assert DRAWN > 2000


def test_requests_are_delayed(start: Callable[..., Port], tmp_path: Path) -> None:
    (tmp_path / "box" / "key").write_bytes(b"x" * 1024)
    port = start(first_byte=40.0, connect=100.0)
    connection, view = Connection(port.url), memoryview(bytearray(1024))
    begin = time.monotonic()
    connection.get("box/key", 0, view)
    first = time.monotonic() - begin
    connection.get("box/key", 0, view)
    second = time.monotonic() - begin - first
    connection.close()
    assert first >= 0.14
    assert second >= 0.04


@pytest.mark.parametrize("kernel", [True, False])
def test_a_connection_has_its_rate(
    start: Callable[..., Port], tmp_path: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paced by the kernel, or where it cannot, by a clock."""
    if not kernel:
        monkeypatch.setattr(sys, "platform", "darwin")
    size = 4 * 1024 * 1024
    (tmp_path / "box" / "key").write_bytes(os.urandom(size))
    port = start(rate=20.0)
    begin = time.monotonic()
    fetch(port.url, "box/key", size, lambda place, view: None, connections=1)
    # 0.21 s, of which the buffers of the sockets may take a part at once.
    assert time.monotonic() - begin > 0.1


def test_all_connections_have_a_rate_together(start: Callable[..., Port], tmp_path: Path) -> None:
    size = 6 * 1024 * 1024
    (tmp_path / "box" / "key").write_bytes(os.urandom(size))
    port = start(total=20.0)
    begin = time.monotonic()
    fetch(port.url, "box/key", size, lambda place, view: None, connections=6, block=1024 * 1024)
    assert time.monotonic() - begin > 0.2  # 0.31 s


def test_what_comes_in_has_a_rate(start: Callable[..., Port]) -> None:
    s3 = client(start(rate=20.0))
    begin = time.monotonic()
    s3.put_object(Bucket="box", Key="key", Body=bytes(4 * 1024 * 1024))
    assert time.monotonic() - begin > 0.1  # 0.21 s


def test_a_clock_without_a_rate_never_waits() -> None:
    begin = time.monotonic()
    Clock(0.0).take(10**15)
    assert time.monotonic() - begin < 1


def test_what_is_counted(start: Callable[..., Port], tmp_path: Path) -> None:
    (tmp_path / "box" / "key").write_bytes(LARGE)
    port = start(first_byte=100.0)
    threads = [
        threading.Thread(target=fetch, args=(port.url, "box/key", len(LARGE), lambda place, view: None, 1))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client(port).put_object(Bucket="box", Key="new", Body=b"12345")
    counts = stats(port)
    assert counts["requests"] == {"get": 4, "put": 1}
    assert counts["sent"] == 4 * len(LARGE)
    assert counts["received"] == 5
    assert counts["connections"] == 5
    assert 2 <= counts["most_in_flight"] <= 4
    assert counts["cpu_seconds"] >= 0
    with urllib.request.urlopen(f"{port.url}/_control/reset"):
        pass
    counts = stats(port)
    assert (counts["requests"], counts["sent"], counts["received"], counts["connections"]) == ({}, 0, 0, 0)
