"""Places from the command line: what is found out about them, and that nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import storagekit
from storagekit.driver import Stat
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location
from storagekit_conformance.finding import TargetError
from storagekit_conformance.given_s3 import GivenBucket
from storagekit_conformance.given_targets import PREFIX, GivenRoot, parse_options, remove_below
from storagekit_conformance.servers import S3Server, moto_server, rclone_server
from storagekit_memory.driver import MemoryDriver


def test_options() -> None:
    assert parse_options(["a=b=c", 'd={"e": 1}', "f=", 'g="5"', "h=null"]) == {
        "a": "b=c",
        "d": {"e": 1},
        "f": "",
        "g": "5",
        "h": None,
    }
    for wrong in ("secret", "=secret"):
        with pytest.raises(TargetError) as caught:
            parse_options([wrong])
        assert "secret" not in str(caught.value)


def test_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    given = GivenRoot(f"FILE://{tmp_path}/")
    found = given.probe()
    assert found == {"run": given.run, "visible": True, "shared": True}
    assert [path.name for path in tmp_path.iterdir()] == ["keep"], "the look leaves nothing"
    worker = GivenRoot(f"FILE://{tmp_path}/")
    worker.learn(found)
    with worker.target("file").root() as root:
        assert root.shared
        assert root.url.startswith(f"file://{tmp_path}/{PREFIX}")
        assert root.client is not None
        assert root.client.keys() == []
        storage = root.storage()
        storage.makedirs(f"{root.url}/a/b")
        with storage.open(f"{root.url}/a/c", "w") as file:
            file.write("x")
        assert sorted(root.client.keys()) == ["a/b/", "a/c"]
        unfinished: Any = storage.open(f"{root.url}/a/unfinished", "w")
        with worker.root() as second:
            assert second.url != root.url
    run = tmp_path / given.run
    assert list(run.iterdir()) == [], "the place is gone, with what was only begun in it"
    unfinished.discard()
    storage.close()
    assert given.clear() is None
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_a_store_that_lives_in_its_storage() -> None:
    given = GivenRoot("memory://box")
    assert given.probe() == {"run": given.run, "visible": False, "shared": False}
    with given.root() as root, root.storage() as storage:
        assert (root.client, root.shared) == (None, False)
        storage.touch(f"{root.url}/a")
    assert given.clear() is None


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=f"there is no such directory: file://{tmp_path}/absent"):
        GivenRoot(f"file://{tmp_path}/absent").probe()


def test_no_driver() -> None:
    with pytest.raises(OSError, match="no driver for nope://"):
        GivenRoot("nope://box").probe()


class _ListsElsewhere(MemoryDriver):
    """A broken driver: whatever is asked for, it lists the whole container."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        return super().entries(parse_location("memory://box"), True, None, "")


class _CannotDelete(MemoryDriver):
    delete = None  # type: ignore[assignment]
    delete_many = None


def test_nothing_is_removed_where_the_driver_lists_what_lies_elsewhere() -> None:
    driver = MemoryDriver()
    with storagekit.Storage(drivers={"memory": lambda: driver}) as storage:
        storage.touch("memory://box/mine")
        storage.touch("memory://box/run/place/a")
        broken = _ListsElsewhere()
        broken.__dict__.update(driver.__dict__)
        with (
            storagekit.Storage(drivers={"memory": lambda: broken}) as other,
            pytest.raises(OSError, match="lists what lies elsewhere, so nothing was removed"),
        ):
            remove_below(other, "memory://box/run/place", "memory://box/run")
        assert storage.isfile("memory://box/mine")
        assert storage.isfile("memory://box/run/place/a")
        remove_below(storage, "memory://box/run/place", "memory://box/run")
        assert storage.listdir("memory://box") == ["mine"]
        remove_below(storage, "memory://box/run/place", "memory://box/run")  # nothing there: nothing to do


def test_what_cannot_be_removed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = _CannotDelete()
    monkeypatch.setattr(GivenRoot, "storage", lambda self: storagekit.Storage(drivers={"memory": lambda: driver}))
    given = GivenRoot("memory://box")
    assert given.probe()["visible"] is True
    told = given.clear()
    assert told is not None
    assert told.startswith(f"left behind: memory://box/{given.run} (")


@dataclass
class Bucket:
    """A bucket with something in it that is not the suite's."""

    server: S3Server
    name: str
    client: Any

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]


OTHERS = ["keep", f"{PREFIX}0123", f"{PREFIX}0123/keep"]


@pytest.fixture(params=[moto_server, rclone_server], ids=["moto", "rclone"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with request.param() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment({}).items():
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    client = server.client()
    name = server.new_bucket()
    # A file system cannot hold both a and a/b.
    others = OTHERS if "moto" in request.node.name else OTHERS[::2]
    for key in others:
        client.put_object(Bucket=name, Key=key, Body=b"not yours")
    return Bucket(server, name, client)


def test_a_bucket(bucket: Bucket, request: pytest.FixtureRequest) -> None:
    before = bucket.keys()
    if versioned := "moto" in request.node.name:
        bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    given = GivenBucket(bucket.name, bucket.server.endpoint)
    found = given.probe()
    # moto takes any secret; both say that a bucket is not there.
    assert found == {"run": given.run, "checks_secrets": not versioned, "tells_missing": True}
    worker = GivenBucket(bucket.name, bucket.server.endpoint)
    worker.learn(found)
    with worker.target("s3").running() as target, target.root() as root, root.storage() as storage:
        assert root.url.startswith(f"s3://{bucket.name}/{given.run}/")
        assert "aws_secret_access_key" not in root.options
        assert (root.denied is None) == versioned
        with storage.open(f"{root.url}/a", "w") as file:
            file.write("x")
        assert root.client is not None
        assert root.client.get("a") == b"x"
        prefix = root.url.removeprefix(f"s3://{bucket.name}/")
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"{prefix}/begun")
    assert bucket.keys() == before
    assert bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []) == []
    bucket.client.put_object(Bucket=bucket.name, Key=f"{given.run}/left", Body=b"")
    assert given.clear() is None
    assert bucket.keys() == before
    if versioned:
        versions = bucket.client.list_object_versions(Bucket=bucket.name)
        assert sorted(entry["Key"] for entry in versions["Versions"]) == sorted(before)
        assert versions.get("DeleteMarkers", []) == []


def test_a_bucket_that_cannot_be_used(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bucket.keys()
    with pytest.raises(TargetError, match=r"NoSuchBucket.*\(s3://storagekit-none\)"):
        GivenBucket("storagekit-none", bucket.server.endpoint).probe()
    with pytest.raises(TargetError, match="Invalid endpoint: nonsense"):
        GivenBucket(bucket.name, "nonsense").probe()
    with pytest.raises(TargetError, match="Invalid bucket name"):
        GivenBucket("a bucket", bucket.server.endpoint).probe()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(TargetError):
        GivenBucket(bucket.name, bucket.server.endpoint).probe()
    assert bucket.keys() == before
