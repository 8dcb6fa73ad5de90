"""Hostile answers: what is no page, and what is said of buckets, of uploads and of batches of deletes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from s3_hostile_support import MiB, counted, entry, hostile, listed, one, page, peak, refused
from s3_scripted import Asked, Scripted, reply

from storagekit.location import Location
from storagekit_s3 import boto
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]


# ---------------------------------------------------------------- sizes and times


@pytest.mark.parametrize("size", ["-1", "1e9", "0x10", "NaN", " ", "9" * 19, "9" * 5000, "1.5"])
def test_a_size_that_is_none(size: str, transport: str) -> None:
    with listed(one(page(entry("a", size))), transport) as (server, found):
        refused(found, "ListObjectsV2")
    assert len(server.asked) <= 3


@pytest.mark.parametrize("size", ["", "1_0", "\u0663"])
def test_a_size_that_python_would_take_for_one(size: str, transport: str) -> None:
    """boto3 takes it for one as well."""
    with listed(one(page(entry("a", size))), transport) as (_, found):
        try:
            [stat] = found
        except OSError as error:
            assert error.errno == errno.EIO
        else:
            assert transport == "boto3"
            assert stat.size == int(size)


def test_the_largest_size_that_there_can_be(transport: str) -> None:
    with listed(one(page(entry("a", (1 << 63) - 1), entry("b", "007"))), transport) as (_, found):
        assert [stat.size for stat in found] == [(1 << 63) - 1, 7]


@pytest.mark.parametrize(
    "time",
    [
        "",
        "yesterday",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "99999-01-01T00:00:00Z",
        "2026-13-45T99:99:99Z",
        "-2026-11-27T10:11:12Z",
        "9" * 5000,
        "Thu, 99 Foo 99999 99:99:99 GMT",
    ],
)
def test_a_time_that_is_none(time: str, transport: str) -> None:
    """The time is unknown, or the page is refused."""
    with listed(one(page(entry("a", time=time))), transport) as (_, found):
        try:
            [stat] = found
        except OSError as error:
            assert error.errno == errno.EIO
            assert error.filename == "s3://box/"
        else:
            assert stat.location.path == "a"


# ---------------------------------------------------------------- documents

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    "data",
    [
        page(entry("&l9;"), head=BOMB),
        page(entry("&f;"), head=OUTSIDE),
        page(entry("a"), head='<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">') + b"<",
        page(entry("&unknown;"), entry("&#1;")),
        page(entry("\udcff\udcfe"), encoded=False),
        b"<a>" * 100_000,
        page("<a>" * 100_000),
        page(entry("a"))[:-5],
        b"",
        b"\0" * 1000,
        b"<ListBucketResult/>",
        b"<html><body>Sign in</body></html>",
        b'{"Contents": []}',
        b"<Error><Code>InternalError</Code></Error>",
        page("<Contents><Size>3</Size></Contents>"),
        page("<CommonPrefixes><Other>a/</Other></CommonPrefixes>"),
    ],
    ids=lambda data: repr(data[:20]) + str(len(data)),
)
def test_what_is_no_page(data: bytes, transport: str) -> None:
    def list_it() -> None:
        with listed(one(data), transport, recursive=False) as (server, found):
            refused(found, "ListObjectsV2")
        assert len(server.asked) <= 3

    assert peak(list_it) < 100 * MiB


def test_a_character_set_that_only_python_knows(transport: str) -> None:
    with listed(one(page(entry("a"), head='<?xml version="1.0" encoding="utf-7"?>')), transport) as (_, found):
        try:
            assert [stat.location.path for stat in found] == ["a"]
        except OSError as error:
            assert error.errno == errno.EIO


def test_what_is_nested_deeply_has_an_end(transport: str) -> None:
    data = page("<a>" * 100_000 + "</a>" * 100_000, entry("b"))
    with listed(one(data), transport) as (_, found):
        try:
            assert [stat.location.path for stat in found] == ["b"]
        except OSError as error:
            assert error.errno == errno.EIO


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_gigabyte_instead_of_a_page(framing: str, status: int, transport: str) -> None:
    piece = b"<Contents>" + b"x" * (MiB - 21) + b"</Contents>"
    head = {"length": f"Content-Length: {1024 * MiB}", "chunked": "Transfer-Encoding: chunked", "close": "X: y"}
    start = f"HTTP/1.1 {status} Said\r\n{head[framing]}\r\n\r\n".encode()
    if framing == "chunked":
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    answer = [start] + [piece] * 1024

    def list_it() -> None:
        with listed(lambda asked: answer, transport) as (server, found):
            with pytest.raises(OSError, match=r"ListObjectsV2|denied") as caught:
                list(found)
            assert caught.value.errno == (errno.EIO if status == 200 else errno.EACCES) or transport == "boto3"
            assert caught.value.filename == "s3://box/"
        assert len(server.asked) <= 3

    assert peak(list_it) < 128 * MiB


# ---------------------------------------------------------------- buckets


def buckets(*names: str, token: str | None = None) -> bytes:
    listed = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in names)
    following = "" if token is None else f"<ContinuationToken>{token}</ContinuationToken>"
    root = "ListAllMyBucketsResult"
    return f"<{root}><Owner><ID>me</ID></Owner><Buckets>{listed}</Buckets>{following}</{root}>".encode()


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: buckets(f"b{n}", token="again"),
        lambda n: buckets(f"b{n}", token="AB"[n % 2]),
        lambda n: buckets("a", "b", token=f"t{n}"),
        lambda n: buckets(token="again"),
    ],
)
def test_buckets_without_end(answer: Callable[[int], bytes], transport: str) -> None:
    with listed(counted(answer), transport, bucket="") as (server, found):
        refused(found, "does not advance", "s3://")
    assert len(server.asked) <= 16


def test_more_buckets_than_there_can_be(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto, "MOST_BUCKETS", 50)
    answer = counted(lambda n: buckets(*[f"b{n}-{m}" for m in range(10)], token=f"t{n}"))
    with listed(answer, transport, bucket="") as (server, found):
        refused(found, "more than 50 buckets", "s3://")
    assert len(server.asked) == 6


@pytest.mark.parametrize("name", ["", "a/b", "/", "../x"])
def test_a_bucket_that_is_no_name(name: str, transport: str) -> None:
    with listed(one(buckets("good", name)), transport, bucket="") as (_, found):
        refused(found, "ListBuckets", "s3://")


def test_pages_of_buckets_are_joined(transport: str) -> None:
    answer = counted(lambda n: buckets(f"b{n}", token=None if n == 4 else f"t{n}"))
    with listed(answer, transport, bucket="") as (_, found):
        assert [stat.location.container for stat in found] == ["b0", "b1", "b2", "b3", "b4"]


# ---------------------------------------------------------------- uploads


def uploads(*keys: str, marker: str | None = None, upload_id: str = "id") -> bytes:
    found = "".join(f"<Upload><Key>{key}</Key><UploadId>{upload_id}</UploadId></Upload>" for key in keys)
    more = f"<IsTruncated>{'false' if marker is None else 'true'}</IsTruncated>"
    more += (
        "" if marker is None else f"<NextKeyMarker>{marker}</NextKeyMarker><NextUploadIdMarker>x</NextUploadIdMarker>"
    )
    return f"<ListMultipartUploadsResult><Bucket>box</Bucket>{more}{found}</ListMultipartUploadsResult>".encode()


@contextmanager
def unfinished(answer: Callable[[Asked], Any], transport: str) -> Iterator[tuple[Scripted, Iterator[Any]]]:
    with hostile(answer, transport) as (server, options):
        driver = S3Driver()

        def lazily() -> Iterator[Any]:
            yield from driver.uploads(Location("s3", "box", "dir/"), options)

        try:
            yield server, lazily()
        finally:
            driver.close()


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda n: uploads(f"dir/{n}", marker="again"), "does not advance"),
        (lambda n: uploads(f"dir/{n}", marker="AB"[n % 2]), "does not advance"),
        (lambda n: uploads("dir/a", marker=f"m{n}"), "does not advance"),
        (lambda n: uploads("dir/a", "precious"), "was not asked for"),
        (lambda n: uploads("dir/a", marker=""), "no marker says where"),
        (lambda n: uploads("dir/a").replace(b"UploadId>", b"Other>"), "no key, or no id"),
        (lambda n: uploads("dir/a").replace(b"Key>", b"Other>"), "no key, or no id"),
        (lambda n: b"<html/>", "no store's answer"),
    ],
)
def test_uploads_that_lead_nowhere(answer: Callable[[int], bytes], match: str, transport: str) -> None:
    with unfinished(counted(answer), transport) as (server, found):
        refused(found, match)
    assert len(server.asked) <= 16


def test_many_uploads_of_one_key_are_no_trap(transport: str) -> None:
    count = iter(range(100))

    def pages_of_one_key(asked: Asked) -> list[bytes | str]:
        n = next(count)
        data = uploads("dir/a", marker=None if n == 9 else "dir/a", upload_id=f"id{n}").replace(b">x<", b">id%d<" % n)
        return [reply(200, data)]

    with unfinished(pages_of_one_key, transport) as (_, found):
        assert [upload.upload_id for upload in found] == [f"id{n}" for n in range(10)]


# ---------------------------------------------------------------- batches of deletes


@pytest.mark.parametrize(
    "said",
    [
        "",
        "<Deleted><Key>other</Key></Deleted>" * 2000,
        "<Deleted></Deleted>",
        "<Deleted><Key>a</Key></Deleted>",
        "<Error><Key>b</Key><Code>InternalError</Code></Error><Deleted><Key>a</Key></Deleted>",
        "<Error><Code>AccessDenied</Code></Error>",
    ],
)
def test_a_key_that_a_batch_passes_over_was_not_removed(said: str, transport: str) -> None:
    where = [Location("s3", "box", key) for key in ("a", "b")]
    with hostile(one(f"<DeleteResult>{said}</DeleteResult>".encode()), transport) as (_, options):
        driver = S3Driver()
        try:
            failed = [location for location, _ in driver.delete_many(where, options)]
        except OSError as error:
            assert error.errno == errno.EIO
        else:
            assert where[1] in failed
            assert (where[0] in failed) == ("<Key>a<" not in said)
        finally:
            driver.close()


@pytest.mark.parametrize("data", [b"<DeleteResult>" + b"<a>" * 1000, BOMB.encode() + b"<DeleteResult/>", b"\xff\xfe"])
def test_an_answer_to_a_batch_that_is_none(data: bytes, transport: str) -> None:
    with hostile(one(data), transport) as (_, options):
        driver = S3Driver()
        with pytest.raises(OSError) as caught:
            driver.delete_many([Location("s3", "box", "a")], options)
        assert caught.value.errno == errno.EIO
        driver.close()
