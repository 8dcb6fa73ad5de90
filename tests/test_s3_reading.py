"""Reading: one request to open and read, every range pinned, nothing mixed."""

from __future__ import annotations

from typing import Any

import pytest
from s3_support import Bucket, FakeApi, FakeStream, MiB, Stored

from storagekit.driver import RangeReader
from storagekit.errors import ObjectChangedError
from storagekit.location import Location
from storagekit_s3.api import RangeReply
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")


def take(reader: RangeReader, start: int, stop: int) -> bytes:
    body = reader.open_range(start, stop)
    data, buffer = bytearray(), memoryview(bytearray(1000))
    while count := body.readinto(buffer):
        data += buffer[:count]
    body.close()
    body.close()
    return bytes(data)


def fake(data: bytes, etag: str = "e1", **settings: Any) -> tuple[FakeApi, S3Driver]:
    api = FakeApi(objects={KEY: Stored(data, etag)}, **settings)
    return api, api.driver()


def test_ranges(bucket: Bucket) -> None:
    data = bytes(range(256)) * 20
    bucket.write("key", data, content_type="text/x-test", metadata={"owner": "me"})
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 100)
    assert reader.head == data[:100]
    assert reader.stat.size == len(data)
    assert reader.stat.content_type == "text/x-test"
    assert reader.stat.metadata == {"owner": "me"}
    assert reader.cache_key == ("s3", bucket.server.endpoint, bucket.name, "key", reader.stat.identity)
    assert take(reader, 100, 5120) == data[100:]
    assert take(reader, 7, 8) == data[7:8]
    reader.close()


def test_a_short_object_comes_with_its_head(bucket: Bucket) -> None:
    bucket.write("key", b"short")
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 64 * 1024)
    assert (reader.head, reader.stat.size) == (b"short", 5)


def test_an_empty_object(bucket: Bucket) -> None:
    bucket.write("empty", b"")
    for head in (0, 10):
        reader = bucket.driver.open_read(bucket.at("empty"), bucket.options, head)
        assert (reader.head, reader.stat.size) == (b"", 0)


def test_an_object_changed_between_two_ranges(bucket: Bucket) -> None:
    bucket.write("key", b"a" * 1000)
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 10)
    bucket.write("key", b"b" * 1000)
    with pytest.raises(ObjectChangedError) as changed:
        reader.open_range(10, 20)
    assert changed.value.filename == bucket.at("key").url


def test_an_object_deleted_between_two_ranges(bucket: Bucket) -> None:
    bucket.write("key", b"a" * 1000)
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 10)
    bucket.driver.delete(bucket.at("key"), bucket.options, None)
    with pytest.raises(FileNotFoundError):
        reader.open_range(10, 20)


def test_closing_a_body_early(bucket: Bucket) -> None:
    data = bytes(4 * MiB)
    bucket.write("key", data)
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 0)
    for stop in (4 * MiB, 1000):
        body = reader.open_range(0, stop)
        assert body.readinto(memoryview(bytearray(10))) == 10
        body.close()
        assert body.readinto(memoryview(bytearray(10))) == 0
    assert take(reader, 0, len(data)) == data


def test_an_old_version(on_moto: Bucket) -> None:
    client = on_moto.server.client()
    client.put_bucket_versioning(Bucket=on_moto.name, VersioningConfiguration={"Status": "Enabled"})
    old = on_moto.write("key", b"old")
    on_moto.write("key", b"new")
    assert on_moto.read("key") == b"new"
    assert on_moto.read("key", version_id=old.version_id) == b"old"
    options = {**on_moto.options, "version_id": old.version_id}
    reader = on_moto.driver.open_read(on_moto.at("key"), options, 3)
    assert isinstance(reader.cache_key, tuple)
    assert reader.cache_key[-1] == old.version_id
    assert on_moto.driver.stat(on_moto.at("key"), options).identity == old.identity
    with pytest.raises(OSError, match="version_id"):
        on_moto.driver.open_write(on_moto.at("key"), options, None)


def test_opening_is_one_request() -> None:
    api, driver = fake(b"data")
    assert driver.open_read(KEY, {}, 100).head == b"data"
    assert api.calls == ["get"]


def test_opening_an_empty_object_is_two() -> None:
    api, driver = fake(b"")
    assert driver.open_read(KEY, {}, 100).stat.size == 0
    assert api.calls == ["get", "head"]


def test_a_server_that_ignores_the_condition_is_caught_by_its_etag() -> None:
    api, driver = fake(b"a" * 100)
    reader = driver.open_read(KEY, {}, 10)
    api.objects[KEY] = Stored(b"b" * 100, "e2")
    with pytest.raises(ObjectChangedError):
        reader.open_range(10, 20)


def test_another_size_under_the_same_etag_is_a_change() -> None:
    api, driver = fake(b"a" * 100)
    reader = driver.open_read(KEY, {}, 10)
    api.objects[KEY] = Stored(b"a" * 99, "e1")
    with pytest.raises(ObjectChangedError):
        reader.open_range(10, 20)
    api.objects[KEY] = Stored(b"a" * 5, "e1")
    with pytest.raises(ObjectChangedError, match="shorter"):
        reader.open_range(10, 20)


def test_a_server_that_knows_no_ranges() -> None:
    _, driver = fake(b"0123456789", ignores_ranges=True)
    reader = driver.open_read(KEY, {}, 4)
    assert (reader.head, reader.stat.size) == (b"0123", 10)
    assert take(reader, 0, 3) == b"012"
    with pytest.raises(OSError, match="not the range"):
        reader.open_range(4, 8)


def test_a_weak_etag_is_no_key() -> None:
    _, driver = fake(b"data", 'W/"e1"')
    assert driver.open_read(KEY, {}, 4).cache_key is None


def test_a_head_that_breaks_off_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakeStream):
        def readinto(self, view: memoryview, /) -> int:
            if len(self.data) <= 6:
                raise ConnectionResetError(104, "cut")
            return super().readinto(view[:4])

    api, driver = fake(b"0123456789")
    get, streams = api.get, []

    def broken(location: Location, start: int, stop: int, **pins: str | None) -> RangeReply:
        reply = get(location, start, stop, **pins)
        streams.append(Broken(b"0123456789"))
        return RangeReply(reply.info, reply.start, reply.stop, streams[-1])

    monkeypatch.setattr(api, "get", broken)
    reader = driver.open_read(KEY, {}, 10)
    assert (reader.head, reader.stat.size) == (b"0123", 10)
    assert streams[0].closed
