"""Hostile listings: whatever a server answers, it is the right answer or an error, in bounded memory and requests."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from s3_scripted import Asked, Scripted, reply
from s3_support import FakeApi

import storagekit
from storagekit.driver import Stat
from storagekit.location import Location
from storagekit_s3 import boto, progress
from storagekit_s3.api import Entry, Page
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]

MiB = 1024 * 1024
TIME = "2026-11-27T10:11:12.000Z"


# ---------------------------------------------------------------- what a server says


def entry(key: str, size: object = 3, time: str = TIME) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>&quot;e&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def prefix(text: str) -> str:
    return f"<CommonPrefixes><Prefix>{text}</Prefix></CommonPrefixes>"


def page(*inner: str, token: str | None = None, encoded: bool = True, head: str = "") -> bytes:
    """A page of a listing; with *token* there is said to be another one."""
    fields = "<Name>box</Name>" + "<EncodingType>url</EncodingType>" * encoded
    fields += f"<IsTruncated>{'false' if token is None else 'true'}</IsTruncated>"
    fields += f"<NextContinuationToken>{token}</NextContinuationToken>" * (token is not None)
    return f"{head}<ListBucketResult>{fields}{''.join(inner)}</ListBucketResult>".encode("utf-8", "surrogateescape")


def counted(answer: Callable[[int], bytes]) -> Callable[[Asked], list[bytes | str]]:
    """What is said to the first request, the second, and so on without end."""
    count = iter(range(1 << 30))
    return lambda asked: [reply(200, answer(next(count)))]


def asked_for(asked: Asked, name: str) -> str:
    return parse_qs(urlsplit(asked.target).query, keep_blank_values=True).get(name, [""])[0]


# ---------------------------------------------------------------- how it is asked


@contextmanager
def hostile(answer: Callable[[Asked], Any], transport: str) -> Iterator[tuple[Scripted, Mapping[str, object]]]:
    """A server that always answers so, and the options that lead to it."""
    with Scripted(always=answer) as server:
        yield (
            server,
            {
                "endpoint_url": server.endpoint,
                "region_name": "here",
                "aws_access_key_id": "id",
                "aws_secret_access_key": "secret",
                "transport": transport,
            },
        )


@contextmanager
def listed(
    answer: Callable[[Asked], Any], transport: str, path: str = "", *, recursive: bool = True, bucket: str = "box"
) -> Iterator[tuple[Scripted, Iterator[Stat]]]:
    """That server, and the listing of *path* through the driver."""
    with hostile(answer, transport) as (server, options):
        driver = S3Driver()
        try:
            yield server, _lazily(driver, Location("s3", bucket, path), options, recursive)
        finally:
            driver.close()


def _lazily(driver: S3Driver, location: Location, options: Mapping[str, object], recursive: bool) -> Iterator[Stat]:
    yield from driver.entries(location, options, recursive, None, "")


def one(data: bytes) -> Callable[[Asked], list[bytes | str]]:
    return counted(lambda _: data)


def refused(found: Iterator[Any], match: str, url: str = "s3://box") -> list[Any]:
    """What was listed before the error that says *match* about *url*."""
    before: list[Any] = []
    with pytest.raises(OSError, match=match) as caught:
        before += found  # one by one
    assert caught.value.errno == errno.EIO
    assert str(caught.value.filename).startswith(url)
    return before


# ---------------------------------------------------------------- pages without end

TRAPS: dict[str, Callable[[int], bytes]] = {
    "one token": lambda n: page(entry(f"dir/{n:09}"), token="again"),
    "two tokens in turn": lambda n: page(entry(f"dir/{n:09}"), token="AB"[n % 2]),
    "five tokens in turn": lambda n: page(entry(f"dir/{n:09}"), token=f"t{n % 5}"),
    "one page under new tokens": lambda n: page(entry("dir/a"), entry("dir/b"), token=f"t{n}"),
    "two pages in turn under new tokens": lambda n: page(entry(f"dir/{'ab'[n % 2]}"), token=f"t{n}"),
    "one token and nothing else": lambda n: page(token="again"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_goes_round_in_a_circle_is_noticed(trap: str, transport: str) -> None:
    with listed(counted(TRAPS[trap]), transport, "dir") as (server, found):
        refused(found, "does not advance: the server repeats")
    assert len(server.asked) <= 16


@pytest.mark.parametrize(
    "page_of",
    [
        lambda n: page(token=f"t{n}"),
        lambda n: page(entry(f"z{1_000_000 - n}"), token=f"t{n}"),
        lambda n: page(prefix("a/"), token=f"t{n}"),
    ],
    ids=["empty", "backwards", "one common prefix"],
)
def test_pages_that_bring_nothing_new_are_borne_for_a_while(
    page_of: Callable[[int], bytes], transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MOST_VAIN", 20)
    with listed(counted(page_of), transport, recursive=False) as (server, found):
        refused(found, "20 pages in a row had nothing new")
    assert len(server.asked) <= 22


def test_some_empty_pages_are_no_trap(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a thousand keys in a row were deleted, and only marked as such."""
    monkeypatch.setattr(progress, "MOST_VAIN", 20)

    def page_of(number: int) -> bytes:
        return page(*[entry(f"k{number:03}")] * (number % 20 == 0), token=None if number == 60 else f"t{number}")

    with listed(counted(page_of), transport) as (_, found):
        assert [stat.location.path for stat in found] == ["k000", "k020", "k040", "k060"]


class Pages(FakeApi):
    """The port, with a listing in which each page is made by number."""

    def __init__(self, made: Callable[[int], Page]) -> None:
        super().__init__()
        self.made = made

    def list_page(self, *_: object, **__: object) -> Page:
        self.calls.append("list")
        return self.made(len(self.calls) - 1)


def unordered(made: Callable[[int], Page]) -> tuple[Pages, Iterator[Stat]]:
    """A directory bucket, which lists in no order, and its listing."""
    api = Pages(made)
    return api, api.driver().entries(Location("s3", "box--zone--x-s3", ""), {}, True, None, "")


def test_a_directory_bucket_lists_in_no_order() -> None:
    keys = ["m", "z", "a", "k", "b"]
    _, found = unordered(lambda n: Page([Entry(keys[n], 1, "e", 0, None)], [], None if n == 4 else f"t{n}"))
    assert [stat.location.path for stat in found] == keys


@pytest.mark.parametrize(
    "made",
    [
        lambda n: Page([Entry(f"k{n % 7}", 1, "e", 0, None)], [], f"t{n}"),
        lambda n: Page([Entry(f"k{n}", 1, "e", 0, None)], [], f"t{n % 7}"),
        lambda n: Page([Entry("a", 1, "e", 0, None)], [], f"t{n}"),
        lambda n: Page([], [], f"t{n}"),
    ],
)
def test_nor_does_a_directory_bucket_go_round_in_circles(
    made: Callable[[int], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MOST_VAIN", 20)
    api, found = unordered(made)
    refused(found, "does not advance", "s3://box--zone--x-s3")
    assert len(api.calls) <= 24


def test_more_is_said_to_follow_and_not_where(transport: str) -> None:
    with listed(one(page(entry("a")).replace(b">false<", b">true<")), transport) as (server, found):
        refused(found, "more entries follow, and no token says where")
    assert len(server.asked) == 1


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("name", ["other/a", "di", "dir", "dirx", "", "/dir/a", "../dir/a", "s3://box/dir/a"])
def test_a_key_that_was_not_asked_for(name: str, recursive: bool, transport: str) -> None:
    with listed(one(page(entry("dir/a"), entry(name))), transport, "dir", recursive=recursive) as (_, found):
        assert refused(found, "no key|was not asked for") == []


@pytest.mark.parametrize("name", ["", "dir/", "dir", "other/", "dir/a", "dir/a/b/", "dir/a/b", "/"])
def test_a_common_prefix_that_was_not_asked_for(name: str, transport: str) -> None:
    with listed(one(page(prefix(name))), transport, "dir", recursive=False) as (_, found):
        refused(found, "was not asked for|no key")


def test_a_common_prefix_where_none_was_asked_for(transport: str) -> None:
    with listed(one(page(prefix("dir/a/"))), transport, "dir") as (_, found):
        refused(found, "was not asked for")


def test_what_lies_deeper_than_was_asked_for(transport: str) -> None:
    with listed(one(page(entry("dir/a/b"))), transport, "dir", recursive=False) as (_, found):
        refused(found, "was not asked for")


def test_odd_keys_are_what_they_are(transport: str) -> None:
    """A store may hold any of them: the prefix itself, dots, slashes, control characters, bytes that are no text."""
    encoded = ["", ".", "..", "%2F", "%2F%2F", "..%2F..%2Fetc", "a%0Ab", "a%0D", "%00", "%1B%5B2J", "+", "%2B"]
    meant = ["", ".", "..", "/", "//", "../../etc", "a\nb", "a\r", "\0", "\x1b[2J", " ", "+"]
    with listed(one(page(*[entry(f"dir/{key}") for key in encoded])), transport, "dir") as (_, found):
        assert [stat.location.path for stat in found] == [f"dir/{key}" for key in meant]


def test_bytes_that_are_no_text_name_no_other_key(transport: str) -> None:
    with listed(one(page(entry("a%FFb"), entry("a%EF%BF%BDb"))), transport) as (_, found):
        assert [stat.location.path for stat in found] == ["a\udcffb", "a\ufffdb"]


@pytest.mark.parametrize(
    "raw", ["a\x01b", "a\x00b", "a\x1bb", "\udcff", "\udced\udca0\udc80", "&#1;", "&#0;", "&#xD800;"]
)
def test_what_no_document_can_have_in_a_key(raw: str, transport: str) -> None:
    """Refused, or taken for the character that it stands for."""
    with listed(one(page(entry(raw), encoded=False)), transport) as (_, found):
        try:
            keys = [stat.location.path for stat in found]
        except OSError as error:
            assert error.errno == errno.EIO
            assert error.filename == "s3://box/"
        else:
            assert keys == [raw]


def test_a_name_that_comes_twice_is_given_once(transport: str) -> None:
    def page_of(number: int) -> bytes:
        return (
            page(entry("a"), entry("a"), prefix("b/"), token="next") if number == 0 else page(prefix("b/"), entry("c"))
        )

    with listed(counted(page_of), transport, recursive=False) as (_, found):
        assert [stat.location.path for stat in found] == ["a", "b/", "c"]


def test_a_key_of_ten_megabytes(transport: str) -> None:
    def list_it() -> None:
        with listed(one(page(entry("k" * 10 * MiB))), transport) as (_, found):
            [stat] = found
            assert len(stat.location.path) == 10 * MiB

    assert _peak(list_it) < 400 * MiB
    with listed(one(page(entry("k" * 10 * MiB))), transport, "dir") as (_, found):
        with pytest.raises(OSError, match="was not asked for") as caught:
            list(found)
        assert len(str(caught.value)) < 1000


def test_what_is_counted_wrongly(transport: str) -> None:
    lies = "<KeyCount>99999999999999999999</KeyCount><MaxKeys>-1</MaxKeys>"
    with listed(one(page(lies, entry("a"), entry("b"))), transport) as (_, found):
        assert len(list(found)) == 2
    many = page(*[entry(f"{n:05}") for n in range(5000)])
    with hostile(one(many), transport) as (_, options):
        driver = S3Driver()
        assert len(list(driver.entries(Location("s3", "box", ""), options, True, 3, ""))) == 3
        driver.close()


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

    assert _peak(list_it) < 100 * MiB


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

    assert _peak(list_it) < 128 * MiB


def _peak(work: Callable[[], None]) -> int:
    """The most memory that *work* had at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- the functions that stand on it

FUNCTIONS: dict[str, Callable[[storagekit.Storage, Mapping[str, object]], object]] = {
    "listdir": lambda storage, options: storage.listdir("s3://box/dir", options=options),
    "scandir": lambda storage, options: list(storage.scandir("s3://box/dir", options=options)),
    "walk": lambda storage, options: list(storage.walk("s3://box/dir", options=options)),
    "glob": lambda storage, options: storage.glob("s3://box/dir/**/*", recursive=True, options=options),
    "rmtree": lambda storage, options: storage.rmtree("s3://box/dir", options=options),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("trap", TRAPS)
def test_no_function_goes_round_in_circles(function: str, trap: str, transport: str) -> None:
    count = iter(range(1 << 30))

    def answer(asked: Asked) -> list[bytes | str]:
        if asked.method == "HEAD":
            return [reply(404)]
        if asked.method == "POST":
            return [reply(200, b"<DeleteResult><Deleted><Key>dir/a</Key></Deleted></DeleteResult>")]
        return [reply(200, TRAPS[trap](next(count)))]

    with hostile(answer, transport) as (server, options), storagekit.Storage() as storage:
        with pytest.raises(OSError, match="does not advance") as caught:
            FUNCTIONS[function](storage, options)
        assert caught.value.errno == errno.EIO
    assert len(server.asked) <= 40


def test_a_tree_without_end_is_as_deep_as_a_key_is_long(transport: str) -> None:
    """Every directory has one in it: names have an end, and so has the walk."""

    def answer(asked: Asked) -> list[bytes | str]:
        return [reply(200, page(prefix(asked_for(asked, "prefix") + "d" * 50 + "/")))]

    with hostile(answer, transport) as (server, options), storagekit.Storage() as storage:
        with pytest.raises(OSError, match="1024 bytes") as caught:
            list(storage.walk("s3://box/dir", options=options))
        assert caught.value.errno == errno.ENAMETOOLONG
    assert len(server.asked) < 40


def test_nothing_is_removed_that_was_not_asked_for(transport: str) -> None:
    def answer(asked: Asked) -> list[bytes | str]:
        if asked.method == "POST":
            return [reply(200, b"<DeleteResult><Deleted><Key>dir/a</Key></Deleted></DeleteResult>")]
        return [reply(404)] if asked.method == "HEAD" else [reply(200, page(entry("dir/a"), entry("precious")))]

    with (
        hostile(answer, transport) as (server, options),
        storagekit.Storage() as storage,
        pytest.raises(OSError, match="was not asked for"),
    ):
        storage.rmtree("s3://box/dir", options=options)
    assert not [asked for asked in server.asked if b"precious" in asked.body or asked.method == "DELETE"]


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
