"""What the tests of hostile answers share: a server that always answers so, and how it is asked."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from s3_scripted import Asked, Scripted, reply

from storagekit.driver import Stat
from storagekit.location import Location
from storagekit_s3.driver import S3Driver

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


def peak(work: Callable[[], None]) -> int:
    """The most memory that *work* had at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
