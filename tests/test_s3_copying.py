"""Copying inside the store: exactly the version that was seen, whole, with its metadata."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from s3_support import Bucket, FakeApi, MiB, Stored, lost

from storagekit import deadlines
from storagekit.driver import Absent, Matches, Stat
from storagekit.errors import ObjectChangedError, OutcomeUnknownError
from storagekit.location import Location
from storagekit_s3 import copying
from storagekit_s3.api import Attributes, Part, Source, Written
from storagekit_s3.errors import reply_error

pytest_plugins = ["s3_support"]

SOURCE, TARGET = Location("s3", "box", "source"), Location("s3", "box", "target")


def seen(bucket: Bucket, key: str = "source") -> Stat:
    return bucket.driver.stat(bucket.at(key), bucket.options)


def test_copy(bucket: Bucket) -> None:
    bucket.write("source", b"data", content_type="text/x-test", metadata={"owner": "me"})
    stat = bucket.driver.copy(seen(bucket), bucket.at("dir/target"), bucket.options, None)
    assert stat is not None
    assert stat.identity == seen(bucket, "dir/target").identity
    assert bucket.read("dir/target") == b"data"
    assert stat.content_type == "text/x-test"
    assert stat.metadata["owner"] == "me"


def test_copy_from_another_bucket(bucket: Bucket) -> None:
    bucket.write("source", b"data")
    target = Location("s3", bucket.server.new_bucket(), "target")
    bucket.driver.copy(seen(bucket), target, bucket.options, None)
    assert bucket.driver.open_read(target, bucket.options, 10).head == b"data"


def test_copy_with_options(on_moto: Bucket) -> None:
    on_moto.write("source", b"data", content_type="text/x-test", metadata={"owner": "me"})
    options = {**on_moto.options, "storage_class": "STANDARD_IA"}
    stat = on_moto.driver.copy(seen(on_moto), on_moto.at("target"), options, None)
    assert stat is not None
    assert (stat.storage_class, stat.content_type, stat.metadata) == ("STANDARD_IA", "text/x-test", {"owner": "me"})
    options = {**on_moto.options, "content_type": "text/other"}
    stat = on_moto.driver.copy(seen(on_moto), on_moto.at("target"), options, None)
    assert stat is not None
    assert (stat.content_type, stat.metadata) == ("text/other", {"owner": "me"})


def test_a_source_that_changed(bucket: Bucket) -> None:
    bucket.write("source", b"old")
    stat = seen(bucket)
    bucket.write("source", b"new")
    with pytest.raises(ObjectChangedError):
        bucket.driver.copy(stat, bucket.at("target"), bucket.options, None)


def test_a_source_that_is_gone(bucket: Bucket) -> None:
    bucket.write("source", b"old")
    stat = seen(bucket)
    bucket.driver.delete(bucket.at("source"), bucket.options, None)
    with pytest.raises(FileNotFoundError) as caught:
        bucket.driver.copy(stat, bucket.at("target"), bucket.options, None)
    assert caught.value.filename == bucket.at("source").url, "it is the source that is missing"


def test_conditions_on_the_target(on_moto: Bucket) -> None:
    for key in ("source", "empty"):
        on_moto.write(key, b"" if key == "empty" else b"data", metadata={"owner": "me"})
        target = on_moto.at(f"{key}-copy")
        first = on_moto.driver.copy(seen(on_moto, key), target, on_moto.options, Absent())
        assert first is not None
        assert first.identity == seen(on_moto, target.path).identity
        assert seen(on_moto, target.path).metadata == {"owner": "me"}
        with pytest.raises(FileExistsError):
            on_moto.driver.copy(seen(on_moto, key), target, on_moto.options, Absent())
        # moto ignores If-Match at the end of a multipart upload.
        assert on_moto.driver.copy(seen(on_moto, key), target, on_moto.options, Matches("another")) is None
        raced = {**on_moto.options, "conditional_writes": "race", "server": "generic"}
        with pytest.raises(ObjectChangedError):
            on_moto.driver.copy(seen(on_moto, key), target, raced, Matches("another"))
        assert first.identity is not None
        on_moto.driver.copy(seen(on_moto, key), target, raced, Matches(first.identity))
    assert on_moto.uploads() == []


def test_where_parts_cannot_be_copied_the_core_streams(on_rclone: Bucket) -> None:
    on_rclone.write("source", b"data")
    assert on_rclone.driver.copy(seen(on_rclone), on_rclone.at("target"), on_rclone.options, Absent()) is None


def test_a_copy_in_parts(on_moto: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "COPY_LIMIT", 6 * MiB)
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MiB)
    data = bytes(range(256)) * (11 * MiB // 256) + b"end"
    on_moto.write("source", data, content_type="text/x-test", metadata={"owner": "me"})
    stat = on_moto.driver.copy(seen(on_moto), on_moto.at("target"), on_moto.options, None)
    assert stat is not None
    assert stat.identity is not None
    assert stat.identity.endswith("-3")
    assert on_moto.read("target") == data
    assert (stat.content_type, stat.metadata) == ("text/x-test", {"owner": "me"})
    renewed = on_moto.driver.touch(stat, on_moto.options)
    assert renewed.metadata == {"owner": "me"}
    assert on_moto.read("target") == data


def test_touch(bucket: Bucket) -> None:
    bucket.write("key", b"data", content_type="text/x-test", metadata={"owner": "me"}, cache_control="no-store")
    before = seen(bucket, "key")
    time.sleep(1.1)
    after = bucket.driver.touch(before, bucket.options)
    assert after.st_mtime_ns > before.st_mtime_ns
    assert (after.identity, after.size, after.content_type) == (before.identity, 4, "text/x-test")
    assert after.metadata == before.metadata
    assert after.extra.get("cache_control") == before.extra.get("cache_control")
    bucket.write("key", b"other")
    with pytest.raises(ObjectChangedError):
        bucket.driver.touch(before, bucket.options)


def fake(data: bytes = b"data") -> tuple[FakeApi, Stat]:
    api = FakeApi(objects={SOURCE: Stored(data, "e1", Attributes(content_type="text/x-test"))})
    return api, api.driver().stat(SOURCE, {})


def test_a_part_that_was_not_copied_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    api, stat = fake()
    api.part_etags = False
    with pytest.raises(OSError, match="without an ETag"):
        api.driver().copy(stat, TARGET, {}, Absent())
    assert (api.pending, TARGET in api.objects) == ({}, False)


def test_a_change_that_the_server_overlooked_is_noticed() -> None:
    api, stat = fake()
    api.endpoint, api.server = "http://127.0.0.1:9000", "unknown"
    api.objects[SOURCE] = Stored(b"other", "e2")
    with pytest.raises(ObjectChangedError):
        api.driver().copy(stat, TARGET, {}, None)


def test_a_lost_answer_to_a_copy() -> None:
    api, stat = fake()
    api.faults["copy"] = lost(TARGET)
    copied = api.driver().copy(stat, TARGET, {}, None)
    assert copied is not None
    assert copied.identity == "e1"
    api.faults["copy"] = lost(TARGET, "before")
    del api.objects[TARGET]
    with pytest.raises(OutcomeUnknownError):
        api.driver().copy(stat, TARGET, {}, None)


def test_a_failed_clean_up_does_not_hide_the_failure() -> None:
    api, stat = fake()
    api.part_etags = False
    api.faults["abort"] = lost(TARGET, "before")
    with pytest.raises(OSError, match="without an ETag") as failed:
        api.driver().copy(stat, TARGET, {}, Absent())
    assert "could not be removed" in failed.value.__notes__[0]


def test_an_unknown_size_is_streamed() -> None:
    api, stat = fake()
    assert api.driver().copy(replace(stat, size=None), TARGET, {}, None) is None


def test_a_copy_that_cannot_be_looked_at_was_made() -> None:
    api, stat = fake()
    api.faults["head"] = lost(TARGET, "before")
    copied = api.driver().copy(stat, TARGET, {}, None)
    assert copied is not None
    assert (copied.size, copied.identity, api.objects[TARGET].data) == (4, None, b"data")


def test_an_equal_object_with_other_headers_is_no_copy() -> None:
    api, stat = fake()
    api.objects[TARGET] = Stored(b"data", "e1", Attributes(content_type="text/old"))
    api.faults["copy"] = lost(TARGET, "before")
    with pytest.raises(OutcomeUnknownError):
        api.driver().copy(stat, TARGET, {}, None)


def swift(etag: str) -> tuple[FakeApi, Stat, list[str | None]]:
    """A server that refuses every ETag of a multipart upload as a copy's condition, and what it was asked for."""
    api = FakeApi("http://127.0.0.1:9000", "", objects={SOURCE: Stored(b"data", etag)})
    copy, copy_part = api.copy, api.copy_part
    asked: list[str | None] = []

    def decide(source: Source) -> None:
        asked.append(source.etag)
        if source.etag is not None and (source.etag != api.objects[SOURCE].etag or "-" in source.etag):
            raise reply_error("CopyObject", TARGET, code="PreconditionFailed", status=412)

    def decided_copy(location: Location, source: Source, attributes: Attributes, *, replace: bool) -> Written:
        decide(source)
        return copy(location, source, attributes, replace=replace)

    def decided_part(
        location: Location, upload_id: str, number: int, source: Source, span: tuple[int, int] | None
    ) -> str | None:
        decide(source)
        return copy_part(location, upload_id, number, source, span)

    api.copy, api.copy_part = decided_copy, decided_part  # type: ignore[method-assign]
    return api, api.driver().stat(SOURCE, {}), asked


def test_a_server_that_refuses_the_etag_of_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    api, stat, asked = swift("0123-2")
    copied = api.driver().copy(stat, TARGET, {}, None)
    assert copied is not None
    assert copied.identity == "0123-2"
    api.driver().touch(stat, {})
    monkeypatch.setattr(copying, "COPY_LIMIT", 3)
    assert api.driver().copy(stat, TARGET, {}, None) is not None
    assert asked == ["0123-2", None] * 3
    assert api.objects[TARGET].data == b"data"


@pytest.mark.parametrize("etag", ["e1", "0123-2"])
def test_a_refusal_that_is_one_stays(etag: str) -> None:
    api, stat, asked = swift(etag)
    api.objects[SOURCE] = Stored(b"other", "4567-2")
    with pytest.raises(ObjectChangedError):
        api.driver().copy(stat, TARGET, {}, None)
    assert asked == [etag]
    assert TARGET not in api.objects


def test_the_threads_of_a_copy_have_their_callers_time() -> None:
    seen: list[float | None] = []

    def copy(number: int) -> Part:
        seen.append(deadlines.remaining())
        return Part(number, "e")

    with deadlines.within(60):
        assert len(copying._side_by_side(copy, 40)) == 40
    assert None not in seen
