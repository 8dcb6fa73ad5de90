"""The hooks of the S3 driver: locations, traits, deleting, signing, forks, and boto3 only when it is needed."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_support import Bucket, FakeApi, Stored, lost

import storagekit
from storagekit.driver import Matches, Upload
from storagekit.errors import InvalidArgumentError, ObjectChangedError, OutcomeUnknownError
from storagekit.location import Location
from storagekit_s3 import errors as s3_errors
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]

KEY = Location("s3", "box", "key")


def test_importing_the_driver_imports_no_boto3() -> None:
    code = "import sys, storagekit_s3.driver; print([m for m in sys.modules if m.startswith('boto')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "url", ["s3://", "s3://box", "s3://box/", "s3://box/a//b?#%20", "s3://arn:aws:s3:r:1:ap:n/key"]
)
def test_urls(url: str) -> None:
    location = S3Driver().parse(url)
    assert url.startswith(location.url.removesuffix("/"))


@pytest.mark.parametrize(
    "url", ["s3:///key", "s3://b b/key", "s3://box/\0", "s3://box/\udc80", f"s3://{'b' * 256}/key"]
)
def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises(InvalidArgumentError) as wrong:
        S3Driver().parse(url)
    pickle.loads(pickle.dumps(wrong.value))
    str(wrong.value).encode()


def test_a_key_that_is_too_long() -> None:
    S3Driver().parse("s3://box/" + "ä" * 512)
    with pytest.raises(OSError, match="1024") as long:
        S3Driver().parse("s3://box/" + "ä" * 513)
    assert long.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize("url", ["s3://AKIA:hunter2@box/key", "s3://AKIA:hunt/er2@box/key", "s3://hunter2@box/key"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="credentials") as wrong:
        S3Driver().parse(url)
    assert "hunt" not in str(wrong.value)


def test_traits(on_moto: Bucket, on_rclone: Bucket) -> None:
    moto = on_moto.driver.traits(on_moto.at("key"), on_moto.options)
    assert moto.exclusive_create
    assert moto.conditional_replace
    assert moto.conditional_delete
    assert moto.literal_keys
    rclone = on_rclone.driver.traits(on_rclone.at("key"), on_rclone.options)
    assert not rclone.exclusive_create
    assert not rclone.conditional_delete
    assert not rclone.literal_keys
    assert not rclone.file_beside_directory
    assert rclone.pinned_reads
    trusted = on_rclone.driver.traits(on_rclone.at("key"), {**on_rclone.options, "conditional_writes": "trust"})
    assert trusted.exclusive_create


def test_traits_of_amazon_and_of_nobody() -> None:
    api = FakeApi()
    assert api.driver().traits(KEY, {}).exclusive_create
    assert not api.driver().traits(Location("s3", "box--use1-az4--x-s3", "key"), {}).sorted_listing
    assert api.calls == []
    api = FakeApi(endpoint="http://127.0.0.1:1", server=None, faults={"head_bucket": lost(KEY, "before")})
    with pytest.raises(TimeoutError) as dead:
        api.driver().traits(KEY, {})
    assert dead.value.filename == KEY.url


def test_roots_are_directories(bucket: Bucket) -> None:
    assert bucket.driver.stat(bucket.at(), bucket.options).is_directory
    assert bucket.driver.stat(Location("s3", "", ""), bucket.options).is_directory
    with pytest.raises(FileNotFoundError):
        bucket.driver.stat(Location("s3", "no-such-bucket-here", ""), bucket.options)
    calls = (
        lambda: bucket.driver.open_read(bucket.at(), bucket.options, 1),
        lambda: bucket.driver.open_write(bucket.at(), bucket.options, None),
        lambda: bucket.driver.delete(bucket.at(), bucket.options, None),
        lambda: bucket.driver.delete_many([bucket.at("key"), bucket.at()], bucket.options),
        lambda: bucket.driver.presign(bucket.at(), bucket.options, "GET", 60),
    )
    for call in calls:
        with pytest.raises(IsADirectoryError):
            call()


def test_delete(bucket: Bucket) -> None:
    bucket.write("key", b"data")
    assert bucket.driver.delete(bucket.at("key"), bucket.options, None) is True
    assert bucket.keys() == []
    assert bucket.driver.delete(bucket.at("key"), bucket.options, None) is True
    with pytest.raises(FileNotFoundError):
        bucket.driver.delete(Location("s3", "no-such-bucket-here", "key"), bucket.options, None)


def test_delete_under_a_condition(on_moto: Bucket, on_rclone: Bucket) -> None:
    stat = on_moto.write("key", b"data")
    assert stat.identity is not None
    with pytest.raises(ObjectChangedError):
        on_moto.driver.delete(on_moto.at("key"), on_moto.options, Matches("another"))
    assert on_moto.driver.delete(on_moto.at("key"), on_moto.options, Matches(stat.identity)) is True
    stat = on_rclone.write("key", b"data")
    assert stat.identity is not None
    with pytest.raises(io.UnsupportedOperation, match="conditional_writes"):
        on_rclone.driver.delete(on_rclone.at("key"), on_rclone.options, Matches(stat.identity))
    options = {**on_rclone.options, "conditional_writes": "race"}
    with pytest.raises(ObjectChangedError):
        on_rclone.driver.delete(on_rclone.at("key"), options, Matches("another"))
    on_rclone.driver.delete(on_rclone.at("key"), options, Matches(stat.identity))
    assert on_rclone.keys() == []


def test_deleting_what_a_batch_cannot_name(on_moto: Bucket) -> None:
    keys = ["plain", "bell\x07", "a&<b>", "return\rkey"]
    for key in keys:
        on_moto.write(key, b"")
    assert on_moto.driver.delete_many([on_moto.at(key) for key in keys], on_moto.options) == []
    assert on_moto.keys() == []
    assert on_moto.driver.delete_many([], on_moto.options) == []


def test_keys_with_space_at_an_end_are_deleted_alone() -> None:
    # s3rver's parser cuts it off, and deletes another key.
    keys = [Location("s3", "box", path) for path in ("key ", " key", "key\n", "k ey")]
    api = FakeApi(objects={key: Stored(b"", "e1") for key in keys})
    assert api.driver().delete_many(keys, {}) == []
    assert (api.objects, api.calls.count("delete"), api.calls.count("delete_many")) == ({}, 3, 1)


def test_a_lost_answer_to_a_delete() -> None:
    api = FakeApi(objects={KEY: Stored(b"", "e1")}, faults={"delete": lost(KEY)})
    assert api.driver().delete(KEY, {}, Matches("e1")) is True
    api.objects[KEY] = Stored(b"", "e1")
    api.faults["delete"] = lost(KEY, "before")
    with pytest.raises(OutcomeUnknownError):
        api.driver().delete(KEY, {}, None)


def test_a_batch_that_is_refused_goes_one_by_one() -> None:
    def refuse(when: str) -> None:
        raise s3_errors.reply_error("DeleteObjects", KEY, code="NotImplemented", status=501)

    api = FakeApi(objects={KEY: Stored(b"", "e1")}, faults={"delete_many": refuse})
    assert api.driver().delete_many([KEY], {}) == []
    assert api.objects == {}

    def deny(when: str) -> None:
        raise s3_errors.reply_error("DeleteObject", KEY, code="AccessDenied", status=403)

    api.faults["delete"] = deny
    [(where, error)] = api.driver().delete_many([KEY], {})
    assert where == KEY
    assert isinstance(error, PermissionError)


def test_uploads(bucket: Bucket) -> None:
    writer = bucket.driver.open_write(bucket.at("dir/key"), bucket.options, None)
    writer.write_part(1, 0, [b"data"])
    assert list(bucket.driver.uploads(bucket.at("other"), bucket.options)) == []
    [upload] = bucket.driver.uploads(bucket.at("dir/"), bucket.options)
    assert upload.location == bucket.at("dir/key")
    assert upload.started_ns is not None
    assert bucket.driver.abort_upload(upload, bucket.options) is True
    assert bucket.driver.abort_upload(upload, bucket.options) is True
    assert bucket.uploads() == []
    with pytest.raises(InvalidArgumentError):
        bucket.driver.uploads(Location("s3", "", ""), bucket.options)
    assert bucket.driver.abort_upload(Upload(bucket.at("dir/key"), upload.upload_id), bucket.options) is True


def test_uploads_that_are_old_are_aborted_on_request(on_moto: Bucket) -> None:
    for key in ("dir/one", "dir/two", "other"):
        on_moto.driver.open_write(on_moto.at(key), on_moto.options, None).write_part(1, 0, [b"data"])
    century = 100 * 366 * 24 * 3600  # moto says that every upload was begun in 2010
    with storagekit.Storage() as storage:
        assert storage.abort_uploads(on_moto.at("dir/").url, older_than=century, options=on_moto.options) == []
        assert on_moto.uploads() == ["dir/one", "dir/two", "other"]
        gone = storage.abort_uploads(on_moto.at("dir/").url, older_than=3600, options=on_moto.options)
    assert [upload.location.path for upload in gone] == ["dir/one", "dir/two"]
    assert on_moto.uploads() == ["other"]


def test_signed_urls(bucket: Bucket) -> None:
    url = bucket.driver.presign(bucket.at("a key?"), bucket.options, "PUT", 60)
    assert "X-Amz-Signature" in url
    request = urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""})
    urllib.request.urlopen(request).close()
    with urllib.request.urlopen(bucket.driver.presign(bucket.at("a key?"), bucket.options, "GET", 60)) as reply:
        assert reply.read() == b"by url"
    for expires in (0, 8 * 24 * 3600):
        with pytest.raises(InvalidArgumentError, match="seconds"):
            bucket.driver.presign(bucket.at("key"), bucket.options, "GET", expires)


def test_without_options_boto3_finds_its_way(
    on_moto: Bucket, no_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    on_moto.write("key", b"data")
    monkeypatch.setenv("AWS_ENDPOINT_URL", on_moto.server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert on_moto.driver.open_read(on_moto.at("key"), {}, 10).head == b"data"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with open(f"{tmp_path}/config", "w") as file:
        file.write(f"[profile moto]\nendpoint_url = {on_moto.server.endpoint}\naws_access_key_id = id\n")
        file.write("aws_secret_access_key = secret\n")
    assert on_moto.driver.open_read(on_moto.at("key"), {"profile": "moto"}, 10).head == b"data"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_its_own_connections(bucket: Bucket) -> None:
    bucket.write("key", b"data" * 10_000)
    reader = bucket.driver.open_read(bucket.at("key"), bucket.options, 0)
    body = reader.open_range(0, 40_000)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            bucket.driver.reset_after_fork()
            code = 0 if bucket.read("key") == b"data" * 10_000 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    buffer = bytearray(40_000)
    filled = 0
    while count := body.readinto(memoryview(buffer)[filled:]):
        filled += count
    body.close()
    assert buffer == b"data" * 10_000
    assert bucket.read("key") == b"data" * 10_000


def test_many_threads_share_one_client(bucket: Bucket) -> None:
    bucket.write("key", b"data")
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(lambda _: bucket.read("key"), range(64))) == {b"data"}


def test_close() -> None:
    api = FakeApi(objects={KEY: Stored(b"", "e1")})
    driver = api.driver()
    driver.stat(KEY, {})
    driver.close()
    driver.close()
    assert api.calls == ["head", "close"]


def test_the_first_use_may_come_after_the_main_thread_has_ended(bucket: Bucket) -> None:
    code = f"""
import threading, storagekit
main = threading.current_thread()
def work():
    main.join()  # the interpreter waits for this thread, and has begun to shut down
    with storagekit.open("s3://{bucket.name}/late", "w", options={bucket.options!r}) as file:
        file.write("all the same")
threading.Thread(target=work).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bucket.read("late") == b"all the same"
