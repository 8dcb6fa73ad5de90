"""Listing: pages, prefixes, starts and limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_support import Bucket, FakeApi

from storagekit.location import Location
from storagekit_s3.api import Entry, Page

pytest_plugins = ["s3_support"]

BOX = Location("s3", "box", "")


def test_flat_and_deep(bucket: Bucket) -> None:
    for key in ("a/b/c", "a/d", "e", "a-b", "é"):
        bucket.write(key, key.encode())
    assert bucket.keys() == ["a-b", "a/b/c", "a/d", "e", "é"]
    assert bucket.keys(recursive=False) == ["a-b", "a/", "e", "é"]
    assert bucket.keys("a", recursive=False) == ["a/b/", "a/d"]
    assert bucket.keys("a/") == ["a/b/c", "a/d"]
    assert bucket.keys("missing") == []
    stats = list(bucket.driver.entries(bucket.at("a"), bucket.options, False, None, ""))
    assert [stat.kind for stat in stats] == ["directory", "file"]
    seen = bucket.driver.stat(bucket.at("a/d"), bucket.options)
    assert (stats[1].size, stats[1].identity, stats[1].modified_ns) == (3, seen.identity, seen.modified_ns)


def test_limits_and_starts(bucket: Bucket) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        bucket.write(key, b"")
    assert bucket.keys(limit=0) == []
    assert bucket.keys(limit=1) == ["a/1"]
    assert bucket.keys(limit=3) == ["a/1", "a/2", "b/1"]
    assert bucket.keys(after="a/1") == ["a/2", "b/1", "c"]
    assert bucket.keys(recursive=False, after="a/") == ["b/", "c"]
    assert bucket.keys(recursive=False, after="a/1", limit=1) == ["b/"]
    assert bucket.keys("a", after="a/1") == ["a/2"]


def test_a_marker_is_listed(on_moto: Bucket) -> None:
    on_moto.write("dir/", b"")
    on_moto.write("dir/key", b"")
    assert on_moto.keys("dir") == ["dir/", "dir/key"]
    assert on_moto.keys("dir", recursive=False) == ["dir/", "dir/key"]
    assert on_moto.keys(recursive=False) == ["dir/"]


def test_odd_keys_are_literal(on_moto: Bucket) -> None:
    keys = sorted(["a//b", "/lead", "a/./b", "a/../b", "100%25 ?#&+", "tab\tkey", "\U0001f600", "x" * 1024])
    for key in keys:
        on_moto.write(key, key.encode())
    assert on_moto.keys() == keys
    for key in keys:
        assert on_moto.read(key) == key.encode()
    assert on_moto.keys("a/", recursive=False) == ["a/../", "a/./", "a//"]


def test_more_than_a_page(bucket: Bucket) -> None:
    keys = [f"d{n % 2}/{n:04}" for n in range(1003)]
    client = bucket.server.client()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket.name, Key=key, Body=b""), keys))
    assert bucket.keys() == sorted(keys)
    assert bucket.keys(recursive=False) == ["d0/", "d1/"]
    assert bucket.keys(limit=1002) == sorted(keys)[:1002]
    failed = bucket.driver.delete_many([bucket.at(key) for key in keys], bucket.options)
    assert failed == []
    assert bucket.keys() == []


def test_buckets(bucket: Bucket) -> None:
    root = Location("s3", "", "")
    found = [stat.location for stat in bucket.driver.entries(root, bucket.options, False, None, "")]
    assert Location("s3", bucket.name, "") in found
    assert len(list(bucket.driver.entries(root, bucket.options, False, 1, ""))) == 1
    assert bucket.at() not in [
        s.location for s in bucket.driver.entries(root, bucket.options, False, None, bucket.name)
    ]


def entry(key: str) -> Entry:
    return Entry(key, 1, "etag", 0, None)


def keys(api: FakeApi, limit: int | None = None, after: str = "") -> list[str]:
    return [stat.location.path for stat in api.driver().entries(BOX, {}, False, limit, after)]


def test_objects_and_prefixes_are_merged() -> None:
    api = FakeApi(pages=[Page([entry("a"), entry("c")], ["b/"], "1"), Page([entry("d")], [], None)])
    assert keys(api) == ["a", "b/", "c", "d"]


def test_pages_come_as_they_are_wanted() -> None:
    api = FakeApi(pages=[Page([entry("a")], [], "1"), Page([entry("b")], [], None)])
    found = api.driver().entries(BOX, {}, True, None, "")
    assert api.calls == ["list"]
    assert next(found).location.path == "a"
    assert api.calls == ["list"]
    assert len(list(found)) == 1
    assert api.calls == ["list", "list"]


def test_a_prefix_that_a_server_repeats_after_the_start_is_dropped() -> None:
    api = FakeApi(pages=[Page([], ["a/"], "1"), Page([entry("b")], ["a/"], None)])
    assert keys(api, limit=1, after="a/x") == ["b"]


def test_a_token_that_repeats_is_an_error() -> None:
    api = FakeApi(pages=[Page([entry("a")], [], "1"), Page([entry("a")], [], "1")])
    with pytest.raises(OSError, match="token"):
        keys(api)
    with pytest.raises(OSError, match="does not advance: the server repeats its token or marker"):
        list(api.driver().uploads(BOX, {}))
