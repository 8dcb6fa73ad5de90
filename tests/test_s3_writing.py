"""Writing: whole or not at all, in parts of the right size, and no guess about a lost answer."""

from __future__ import annotations

import errno
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from s3_support import Bucket, FakeApi, MiB, Stored, lost

from storagekit.driver import Absent, Matches
from storagekit.errors import ObjectChangedError, OutcomeUnknownError
from storagekit.location import Location
from storagekit_s3 import errors as s3_errors
from storagekit_s3 import writing
from storagekit_s3.api import Attributes, Part, Written
from storagekit_s3.writing import multipart_etag

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")


def test_one_put(bucket: Bucket) -> None:
    stat = bucket.driver.open_write(bucket.at("key"), bucket.options, None).put(
        [b"he", bytearray(b"ll"), memoryview(b"o")]
    )
    assert stat.size == 5
    assert bucket.read("key") == b"hello"
    assert stat.identity == bucket.driver.stat(bucket.at("key"), bucket.options).identity
    assert bucket.driver.open_write(bucket.at("empty"), bucket.options, None).put([]).size == 0


def test_write_options(on_moto: Bucket) -> None:
    on_moto.write(
        "key",
        b"data",
        content_type="text/plain",
        cache_control="no-store",
        content_disposition="inline",
        content_encoding="identity",
        content_language="en",
        metadata={"Owner": "me"},
        storage_class="STANDARD_IA",
        server_side_encryption="AES256",
        acl="private",
    )
    stat = on_moto.driver.stat(on_moto.at("key"), on_moto.options)
    assert stat.content_type == "text/plain"
    assert stat.storage_class == "STANDARD_IA"
    assert stat.metadata == {"owner": "me"}
    assert stat.extra["cache_control"] == "no-store"
    assert stat.extra["content_language"] == "en"
    assert stat.extra["server_side_encryption"] == "AES256"


def test_parts(bucket: Bucket) -> None:
    write_parts(bucket)


def test_parts_over_tls(on_tls: Bucket) -> None:
    write_parts(on_tls)


def write_parts(bucket: Bucket) -> None:
    writer = bucket.driver.open_write(bucket.at("key"), {**bucket.options, "part_size": 5 * MiB}, None)
    assert writer.part_size(1) == writer.part_size(9000) == 5 * MiB
    data = [bytes([n]) * (5 * MiB) for n in range(3)] + [b"end"]
    with ThreadPoolExecutor(4) as pool:
        for number in (4, 3, 2, 1):
            pool.submit(writer.write_part, number, (number - 1) * 5 * MiB, [data[number - 1]])
    assert bucket.keys() == []
    stat = writer.commit()
    writer.abort()
    assert stat.size == 15 * MiB + 3
    assert stat.identity == bucket.driver.stat(bucket.at("key"), bucket.options).identity
    assert bucket.read("key") == b"".join(data)
    assert bucket.uploads() == [] or bucket.kind == "moto"


def test_abort_leaves_nothing(bucket: Bucket) -> None:
    writer = bucket.driver.open_write(bucket.at("key"), bucket.options, None)
    writer.abort()
    writer = bucket.driver.open_write(bucket.at("key"), bucket.options, None)
    writer.write_part(1, 0, [bytes(8 * MiB)])
    assert bucket.uploads() == ["key"]
    writer.abort()
    writer.abort()
    assert bucket.uploads() == []
    assert bucket.keys() == []
    with pytest.raises(OSError, match="ended"):
        writer.write_part(2, 8 * MiB, [b"late"])


def test_conditions(on_moto: Bucket) -> None:
    first = on_moto.write("key", b"one", Absent())
    with pytest.raises(FileExistsError) as exists:
        on_moto.write("key", b"two", Absent())
    assert (exists.value.errno, exists.value.filename) == (errno.EEXIST, on_moto.at("key").url)
    assert type(exists.value.__cause__).__name__ in ("ClientError", "StoreError")
    assert first.identity is not None
    second = on_moto.write("key", b"two", Matches(first.identity))
    assert second.identity != first.identity
    with pytest.raises(ObjectChangedError):
        on_moto.write("key", b"three", Matches(first.identity))
    with pytest.raises(ObjectChangedError):
        on_moto.write("other", b"three", Matches(first.identity))
    assert on_moto.read("key") == b"two"


def test_conditions_of_a_multipart_upload(on_moto: Bucket) -> None:
    writer = on_moto.driver.open_write(on_moto.at("key"), on_moto.options, Absent())
    writer.write_part(1, 0, [b"late"])
    on_moto.write("key", b"early")
    with pytest.raises(FileExistsError):
        writer.commit()
    writer.abort()
    assert on_moto.read("key") == b"early"


def test_a_condition_that_only_a_put_decides(on_moto: Bucket) -> None:
    stat = on_moto.write("key", b"one")
    assert stat.identity is not None
    writer = on_moto.driver.open_write(on_moto.at("key"), on_moto.options, Matches(stat.identity))
    with pytest.raises(io.UnsupportedOperation, match="same version"):
        writer.write_part(1, 0, [b"two"])
    writer.abort()
    assert on_moto.uploads() == []


def test_one_of_many_racing_writers_wins(on_moto: Bucket) -> None:
    def attempt(number: int) -> bool:
        try:
            on_moto.write("key", b"%d" % number, Absent())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_where_conditions_are_ignored_they_are_refused(on_rclone: Bucket) -> None:
    for condition in (Absent(), Matches("etag")):
        with pytest.raises(io.UnsupportedOperation, match="conditional_writes='race'") as refused:
            on_rclone.driver.open_write(on_rclone.at("key"), on_rclone.options, condition)
        assert refused.value.errno == errno.ENOTSUP
        assert refused.value.filename == on_rclone.at("key").url


def test_the_race_can_be_accepted(on_rclone: Bucket) -> None:
    stat = on_rclone.write("key", b"one", Absent(), conditional_writes="race")
    with pytest.raises(FileExistsError):
        on_rclone.write("key", b"two", Absent(), conditional_writes="race")
    assert stat.identity is not None
    on_rclone.write("key", b"two", Matches(stat.identity), conditional_writes="race")
    with pytest.raises(ObjectChangedError):
        on_rclone.write("key", b"three", Matches(stat.identity), conditional_writes="race")
    with pytest.raises(ObjectChangedError):
        on_rclone.write("missing", b"three", Matches(stat.identity), conditional_writes="race")
    assert on_rclone.read("key") == b"two"


def test_part_sizes_reach_the_largest_object() -> None:
    writer = FakeApi().driver().open_write(KEY, {}, None)
    sizes = [writer.part_size(number) for number in range(1, 10_001)]
    assert sizes[0] == sizes[999] == 8 * MiB
    assert sizes == sorted(sizes)
    assert max(sizes) <= 5 * 1024 * MiB
    assert sum(sizes) >= 5 * 1024 * 1024 * MiB
    with pytest.raises(OSError, match="10000 parts") as full:
        writer.part_size(10_001)
    assert full.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="part_size"):
        writer.write_part(10_001, 0, [b"x"])


def test_an_upload_is_begun_once_and_only_for_parts() -> None:
    api = FakeApi()
    api.driver().open_write(KEY, {}, None).put([b"data"])
    assert api.calls == ["put"]
    writer = api.driver().open_write(KEY, {}, None)
    with ThreadPoolExecutor(8) as pool:
        for number in range(1, 9):
            pool.submit(writer.write_part, number, number, [b"x"])
    assert api.calls.count("create") == 1


class Hollow(FakeApi):
    """Answers every write as a gateway does that knows nothing of S3: with success, and without an ETag."""

    def put(self, *arguments: object, **named: object) -> Written:
        return Written(None, by_store=False)

    def complete_upload(self, *arguments: object, **named: object) -> Written:
        return Written(None, by_store=False)


def test_a_stores_answer_without_an_etag_is_believed_whatever_is_there_now() -> None:
    class Ceph(FakeApi):
        """It gives no ETag, and another writer comes before the look at the object."""

        def complete_upload(self, *arguments: object, **named: object) -> Written:
            FakeApi.put(self, KEY, b"by another, later", Attributes())
            return Written(None)

    writer = Ceph().driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"data"])
    assert writer.commit().size == 4


def test_an_answer_of_no_store_is_borne_out_by_the_object() -> None:
    api = Hollow()
    with pytest.raises(OSError, match="is no store's") as failed:
        api.driver().open_write(KEY, {}, None).put([b"data"])
    assert (failed.value.errno, failed.value.filename) == (errno.EIO, KEY.url)
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"data"])
    with pytest.raises(OSError, match="is no store's"):
        writer.commit()
    writer.abort()
    assert api.pending == {}
    FakeApi.put(api, KEY, b"data", Attributes())
    assert api.driver().open_write(KEY, {}, None).put([b"data"]).size == 4


def test_a_missing_part_is_not_published() -> None:
    api = FakeApi()
    writer = api.driver().open_write(KEY, {}, None)
    with pytest.raises(OSError, match="missing"):
        writer.commit()
    writer.write_part(1, 0, [b"x"])
    writer.write_part(3, 2, [b"x"])
    with pytest.raises(OSError, match="missing"):
        writer.commit()
    writer.abort()
    assert (api.objects, api.pending) == ({}, {})


def test_a_part_without_an_etag_was_not_stored() -> None:
    writer = FakeApi(part_etags=False).driver().open_write(KEY, {}, None)
    with pytest.raises(OSError, match="without giving its ETag"):
        writer.write_part(1, 0, [b"x"])


def test_a_lost_answer_to_a_put_that_was_made() -> None:
    api = FakeApi(faults={"put": lost(KEY)})
    stat = api.driver().open_write(KEY, {}, None).put([b"data"])
    assert (stat.size, stat.identity) == (4, api.objects[KEY].etag)
    assert api.calls == ["put", "head"]


def test_a_lost_answer_to_a_put_that_is_not_there() -> None:
    api = FakeApi(faults={"put": lost(KEY, "before")})
    with pytest.raises(OutcomeUnknownError) as unknown:
        api.driver().open_write(KEY, {}, None).put([b"data"])
    assert unknown.value.filename == KEY.url
    assert unknown.value.errno == errno.EIO


def test_a_lost_answer_where_nothing_can_be_seen() -> None:
    api = FakeApi(faults={"put": lost(KEY), "head": lost(KEY, "before")})
    with pytest.raises(OutcomeUnknownError):
        api.driver().open_write(KEY, {}, None).put([b"data"])


def test_a_server_error_without_a_result_is_that_error() -> None:
    def fail(when: str) -> None:
        raise s3_errors.reply_error("PutObject", KEY, code="InternalError", status=500, doubt="failed")

    api = FakeApi(faults={"put": fail})
    with pytest.raises(OSError, match="InternalError") as failed:
        api.driver().open_write(KEY, {}, None).put([b"data"])
    assert not isinstance(failed.value, OutcomeUnknownError)


def test_a_precondition_that_met_our_own_first_attempt() -> None:
    api = FakeApi()
    writer = api.driver().open_write(KEY, {}, Absent())
    api.objects[KEY] = Stored(b"data", "8d777f385d3dfec8815d20f7496026dc")
    api.calls.append("retried")
    assert writer.put([b"data"]).identity == "8d777f385d3dfec8815d20f7496026dc"
    with pytest.raises(FileExistsError):
        api.driver().open_write(KEY, {}, Absent()).put([b"other"])


def test_equal_emptiness_proves_nothing() -> None:
    api = FakeApi(objects={KEY: Stored(b"", "d41d8cd98f00b204e9800998ecf8427e")}, calls=["retried"])
    with pytest.raises(OutcomeUnknownError):
        api.driver().open_write(KEY, {}, Absent()).put([])


def test_a_conflict_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CONFLICT_PAUSE", 0)
    api = FakeApi()

    def conflict(when: str) -> None:
        if api.calls.count("put") < 3:
            raise s3_errors.reply_error("PutObject", KEY, code="ConditionalRequestConflict", status=409)

    api.faults["put"] = conflict
    api.driver().open_write(KEY, {}, Absent()).put([b"data"])
    assert api.objects[KEY].data == b"data"


def test_a_lost_answer_to_a_complete_that_was_made() -> None:
    api = FakeApi(faults={"complete": lost(KEY)})
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"da"])
    writer.write_part(2, 2, [b"ta"])
    stat = writer.commit()
    assert (stat.size, stat.identity) == (4, api.objects[KEY].etag)
    writer.abort()
    assert "abort" not in api.calls


def test_a_lost_answer_to_a_complete_that_is_not_there() -> None:
    api = FakeApi(faults={"complete": lost(KEY, "before")})
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"data"])
    with pytest.raises(OutcomeUnknownError):
        writer.commit()
    writer.abort()
    assert api.pending == {}


def test_an_upload_that_is_gone_at_its_completion() -> None:
    api = FakeApi()
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"data"])
    api.pending.clear()
    with pytest.raises(OSError, match="upload") as gone:
        writer.commit()
    assert gone.value.store_code == "NoSuchUpload"  # type: ignore[attr-defined]
    etag = multipart_etag([Part(1, "8d777f385d3dfec8815d20f7496026dc")])
    assert etag is not None
    api.objects[KEY] = Stored(b"data", etag)
    assert writer.commit().identity == etag


def test_abort_goes_on_until_the_upload_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ABORT_PAUSE", 0)
    api = FakeApi()
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [b"data"])
    api.faults["part"] = lost(KEY)
    with pytest.raises(TimeoutError):
        writer.write_part(2, 4, [b"data"])
    writer.abort()
    assert api.calls.count("abort") == 2


def test_the_etag_of_a_multipart_upload() -> None:
    assert multipart_etag([Part(1, "not an md5")]) is None
    assert multipart_etag([Part(1, "abcd")]) is None
    assert multipart_etag([Part(1, "0" * 32)]) == "4ae71336e44bf9bf79d2752e234818a5-1"


def test_attributes_are_kept_apart_from_the_answer() -> None:
    api = FakeApi()
    api.driver().open_write(KEY, {"storage_class": "GLACIER"}, None).put([b"x"])
    assert api.objects[KEY].attributes == Attributes(storage_class="GLACIER")


MD5_OF_DATA = "8d777f385d3dfec8815d20f7496026dc"


@pytest.mark.parametrize("options", [{"content_type": "text/new"}, {"metadata": {"a": "b"}}, {"acl": "private"}])
def test_equal_bytes_with_other_headers_prove_nothing(options: dict[str, object]) -> None:
    api = FakeApi(objects={KEY: Stored(b"data", MD5_OF_DATA)}, faults={"put": lost(KEY, "before")})
    with pytest.raises(OutcomeUnknownError):
        api.driver().open_write(KEY, options, None).put([b"data"])
    if "acl" not in options:
        api.faults["put"] = lost(KEY)
        assert api.driver().open_write(KEY, options, None).put([b"data"]).identity == MD5_OF_DATA


def test_headers_of_a_multipart_upload_are_looked_at_too() -> None:
    api = FakeApi(faults={"complete": lost(KEY)})
    writer = api.driver().open_write(KEY, {"content_type": "text/new"}, None)
    writer.write_part(1, 0, [b"data"])
    assert writer.commit().size == 4


def test_a_conflict_with_our_own_lost_attempt_is_settled() -> None:
    api = FakeApi()

    def conflict(when: str) -> None:
        if when == "after":
            raise s3_errors.reply_error("PutObject", KEY, code="ConditionalRequestConflict", status=409, doubt="lost")

    api.faults["put"] = conflict
    assert api.driver().open_write(KEY, {}, Absent()).put([b"data"]).identity == MD5_OF_DATA
    assert api.calls == ["put", "head"]


@pytest.mark.parametrize(("etag", "encryption"), [("no-md5", None), ("0" * 32, "aws:kms"), ("0" * 32, None)])
def test_an_etag_that_is_no_md5_settles_nothing(etag: str, encryption: str | None) -> None:
    stored = Stored(b"mine", etag, Attributes(server_side_encryption=encryption))
    api = FakeApi(objects={KEY: stored}, calls=["retried"])
    comparable = etag != "no-md5" and encryption is None
    with pytest.raises(FileExistsError if comparable else OutcomeUnknownError):
        api.driver().open_write(KEY, {}, Absent()).put([b"data"])
    with pytest.raises(FileExistsError):
        api.driver().open_write(KEY, {}, Absent()).put([b"another size"])


def test_an_upload_whose_beginning_was_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi(faults={"create": lost(KEY, "before")})
    with pytest.raises(TimeoutError):
        api.driver().open_write(KEY, {}, None).write_part(1, 0, [b"data"])
    assert [record.getMessage() for record in caplog.records] == [f"an unfinished upload may remain at {KEY.url}"]


class Short(FakeApi):
    """It loses the end of what is written, and says so in nothing but the size."""

    def _store(self, location: Location, data: bytes, etag: str, attributes: Attributes) -> Written:
        return super()._store(location, data[:-1], etag, attributes)


def test_an_object_that_was_stored_by_half_is_an_error() -> None:
    api = Short(endpoint="http://elsewhere", server="Unknown")
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [bytes(8 * MiB)])
    writer.write_part(2, 8 * MiB, [b"end"])
    with pytest.raises(OSError, match="stored 8388610 bytes of the 8388611") as failed:
        writer.commit()
    assert (failed.value.errno, failed.value.filename) == (errno.EIO, KEY.url)
    writer.abort()


def test_an_object_of_fewer_parts_than_were_sent_is_an_error() -> None:
    api = FakeApi()
    complete = api.complete_upload

    def forget(location: Location, upload_id: str, parts: Any, condition: Any = None) -> Written:
        return complete(location, upload_id, parts[:1], condition)

    api.complete_upload = forget  # type: ignore[method-assign]
    writer = api.driver().open_write(KEY, {}, None)
    writer.write_part(1, 0, [bytes(8 * MiB)])
    writer.write_part(2, 8 * MiB, [b"end"])
    with pytest.raises(OSError, match="of 1 parts where 2 were sent") as failed:
        writer.commit()
    assert (failed.value.errno, failed.value.filename) == (errno.EIO, KEY.url)
