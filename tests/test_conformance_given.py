"""Places from the command line: what is found out about them, and that nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

import storagekit
from storagekit import discovery
from storagekit.discovery import Claim
from storagekit.driver import Option, Stat, Traits
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location
from storagekit_conformance.choosing import choose
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
    assert found == {"run": given.run, "visible": True, "shared": True, "secrets": []}
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
    assert given.probe() == {"run": given.run, "visible": False, "shared": False, "secrets": []}
    with given.root() as root, root.storage() as storage:
        assert (root.client, root.shared) == (None, False)
        storage.touch(f"{root.url}/a")
    assert given.clear() is None


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=f"there is no such directory: file://{tmp_path}/absent"):
        GivenRoot(f"file://{tmp_path}/absent").probe()


@pytest.mark.parametrize("place", ["real/../real", "..", "real/.."])
def test_a_folder_whose_name_steps_back(tmp_path: Path, place: str) -> None:
    (tmp_path / "real").mkdir()
    given = GivenRoot(f"file://{tmp_path}/{place}")
    with pytest.raises(TargetError, match=r"^--root takes a place without '\.\.': file://"):
        given.probe()
    assert given.clear() is None
    assert [path.name for path in tmp_path.rglob("*")] == ["real"], "nothing was written"


def test_a_store_that_keeps_such_names_may_have_one() -> None:
    assert GivenRoot("memory://box/a/../b").probe()["visible"] is False


def test_no_driver() -> None:
    with pytest.raises(OSError, match="no driver for nope://"):
        GivenRoot("nope://box").probe()


class _ListsElsewhere(MemoryDriver):
    """A broken driver: whatever is asked for, it lists the whole container."""

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        return super().entries(parse_location("memory://box"), True, None, "")


class _StepsBack(MemoryDriver):
    """A driver whose store folds names, and that lists a name which folds to one elsewhere."""

    @hookimpl
    def traits(self) -> Traits:
        return replace(super().traits(), literal_keys=False)

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        yield Stat(location.child("../../mine"))


class _CannotDelete(MemoryDriver):
    delete = None  # type: ignore[assignment]
    delete_many = None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (_ListsElsewhere, "the driver lists what does not lie below it"),
        (_StepsBack, "the driver lists what lies elsewhere, so nothing was removed"),
    ],
)
def test_nothing_is_removed_where_the_driver_lists_what_lies_elsewhere(kind: type[MemoryDriver], text: str) -> None:
    driver = MemoryDriver()
    with storagekit.Storage(drivers={"memory": lambda: driver}) as storage:
        storage.touch("memory://box/mine")
        storage.touch("memory://box/run/place/a")
        broken = kind()
        broken.__dict__.update(driver.__dict__)
        with (
            storagekit.Storage(drivers={"memory": lambda: broken}) as other,
            pytest.raises(OSError, match=text),
        ):
            remove_below(other, "memory://box/run/place", "memory://box/run")
        assert storage.isfile("memory://box/mine")
        assert storage.isfile("memory://box/run/place/a")
        remove_below(storage, "memory://box/run/place", "memory://box/run")
        assert storage.listdir("memory://box") == ["mine"]
        remove_below(storage, "memory://box/run/place", "memory://box/run")  # nothing there: nothing to do


def shared(monkeypatch: pytest.MonkeyPatch, driver: object) -> None:
    """Let every ``Storage`` of a given place see what is in *driver*."""
    monkeypatch.setattr(GivenRoot, "storage", lambda self: storagekit.Storage(drivers={"memory": lambda: driver}))


def test_what_cannot_be_removed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    shared(monkeypatch, _CannotDelete())
    given = GivenRoot("memory://box")
    assert given.probe()["visible"] is True
    told = given.clear()
    assert told is not None
    assert told.startswith(f"left behind: memory://box/{given.run} (")


class _LosesItsAnswer(_CannotDelete):
    """It writes, and says that it has failed."""

    @hookimpl
    def open_write(self, location: Location, options: Any, condition: Any) -> Any:
        writer: Any = super().open_write(location, options, condition)
        put = writer.put

        def lost(body: Any) -> None:
            put(body)
            raise TimeoutError(110, "no answer")

        writer.put = lost
        return writer


class _WritesNothing(_CannotDelete):
    @hookimpl
    def open_write(self, *args: object, **named: object) -> Any:
        raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(("driver", "left"), [(_LosesItsAnswer, True), (_WritesNothing, False)])
def test_a_first_object_that_fails_is_told_of_where_it_is_there(
    monkeypatch: pytest.MonkeyPatch, driver: type[MemoryDriver], left: bool
) -> None:
    shared(monkeypatch, driver())
    given = GivenRoot("memory://box")
    with pytest.raises(OSError, match=r"no answer|Permission denied"):
        given.probe()
    assert (given.clear() or "").startswith("left behind: memory://box/") == left


class _HasSecrets(MemoryDriver):
    @hookimpl
    def known_options(self) -> list[Option]:
        return [Option("account", "who"), *(Option(name, "hush", secret=True) for name in ("word", "empty", "absent"))]


def test_a_place_tells_which_of_its_options_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    # The library and the suite each find the driver by themselves.
    only = _OnlyDriver("memory", "mine:Driver", "mine")
    monkeypatch.setattr(discovery, "claims", lambda: [only])
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [SimpleNamespace(name=only.scheme, load=only.load)])
    options = {"account": "me", "word": "hush", "empty": ""}
    given = GivenRoot("memory://box", options)
    found = given.probe()
    assert found["secrets"] == ["word"]
    assert "hush" not in str(found), "the names travel, not the values"
    worker = GivenRoot("memory://box", options)
    worker.learn(found)
    with worker.root() as root:
        assert root.secrets == {"word": ""}


class _OnlyDriver(Claim):
    """What stands for an entry point where only this driver is installed."""

    def load(self) -> type[MemoryDriver]:
        return _HasSecrets


@dataclass
class Bucket:
    """A bucket with something in it that is not the suite's."""

    server: S3Server
    name: str
    client: Any

    def given(self, **options: object) -> GivenBucket:
        """The place, with these options of the driver."""
        return GivenBucket(self.name, self.server.endpoint, options)

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


def refuse(monkeypatch: pytest.MonkeyPatch, operation: str, error: Exception) -> list[Any]:
    """Let *operation* of every client that a ``GivenBucket`` makes fail before it is sent; what it was called with."""
    seen: list[Any] = []
    make = GivenBucket._boto

    def failing(params: Any, **_: Any) -> None:
        seen.append(params)
        raise error

    def made(self: GivenBucket, **credentials: Any) -> Any:
        client = make(self, **credentials)
        client.meta.events.register(f"provide-client-params.s3.{operation}", failing)
        return client

    monkeypatch.setattr(GivenBucket, "_boto", made)
    return seen


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Asked")


@pytest.mark.parametrize("error", [answer("AccessDenied", 403), RuntimeError("a defect")], ids=["refused", "defect"])
def test_an_object_that_stays_in_a_bucket_is_told_of(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    given = bucket.given()
    given.probe()
    assert given.clear() is None
    bucket.client.put_object(Bucket=bucket.name, Key=f"{given.run}/left", Body=b"")
    refuse(monkeypatch, "DeleteObject", error)
    assert given.clear() == f"left behind: objects (1) below s3://{bucket.name}/{given.run}/ ({error})"


def test_the_first_object_is_told_of_where_it_stays(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "DeleteObject", answer("AccessDenied", 403))
    with pytest.raises(TargetError) as caught:
        choose((), (), bucket.name, bucket.server.endpoint, ()).check()
    present = bucket.keys()
    (key,) = [key for key in present if key.endswith("/probe")]
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith("cannot run the target 's3': An error occurred (AccessDenied)")
    assert f"; left behind: objects (1) below s3://{bucket.name}/{key.removesuffix('probe')} (" in text


@pytest.mark.parametrize(("status", "left"), [(403, False), (500, True)])
def test_a_first_object_that_is_refused_leaves_nothing_to_look_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, left: bool
) -> None:
    refuse(monkeypatch, "PutObject", answer("No", status))
    given = bucket.given()
    with pytest.raises(TargetError, match=r"\(No\)"):
        given.probe()
    refuse(monkeypatch, "ListObjectsV2", answer("No", status))
    assert (given.clear() is not None) == left


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("AccessDenied", 403, True),
        ("SlowDown", 503, True),
        ("InvalidRequest", 400, False),
        ("MethodNotAllowed", 405, False),
        ("NotImplemented", 501, False),
    ],
)
@pytest.mark.parametrize(
    ("operation", "lists"),
    [
        ("ListObjectVersions", "unlisted Versions (1), unlisted DeleteMarkers (1)"),
        ("ListMultipartUploads", "unlisted Uploads (1)"),
    ],
)
def test_a_listing_that_is_refused_is_told_of(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, code: str, status: int, told: bool, operation: str, lists: str
) -> None:
    given = bucket.given()
    given.probe()
    error = answer(code, status)
    assert refuse(monkeypatch, operation, error) == []
    line = f"left behind: {lists} below s3://{bucket.name}/{given.run}/ ({error})"
    assert given.clear() == (line if told else None)


@pytest.mark.parametrize(("code", "told"), [("AccessDenied", True), ("NoSuchUpload", False)])
def test_an_upload_that_stays_is_told_of(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, code: str, told: bool
) -> None:
    given = bucket.given()
    given.probe()
    begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"{given.run}/begun")
    error = answer(code, 404)
    assert refuse(monkeypatch, "AbortMultipartUpload", error) == []
    line = f"left behind: uploads (1) below s3://{bucket.name}/{given.run}/ ({error})"
    assert given.clear() == (line if told else None)
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=f"{given.run}/begun", UploadId=begun["UploadId"])


def test_a_marker_without_a_number_is_removed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the keeping of versions is suspended; no server here tells of them, so the answer is made up."""
    given = bucket.given()
    given.probe()
    key = f"{given.run}/gone"
    make = GivenBucket._boto

    def made(self: GivenBucket, **credentials: Any) -> Any:
        client = make(self, **credentials)
        unnumbered = {"Key": key, "VersionId": "null"}
        page = {"Versions": [unnumbered | {"Key": f"{given.run}/object"}], "DeleteMarkers": [unnumbered]}
        reply = (SimpleNamespace(status_code=200), page)
        client.meta.events.register("before-call.s3.ListObjectVersions", lambda **_: reply)
        return client

    monkeypatch.setattr(GivenBucket, "_boto", made)
    removed = refuse(monkeypatch, "DeleteObject", answer("AccessDenied", 403))
    assert (given.clear() or "").startswith("left behind: versions (1) below ")
    assert [(request["Key"], request["VersionId"]) for request in removed] == [(key, "null")]


def test_credentials_in_the_options_are_secrets(bucket: Bucket) -> None:
    given = bucket.given(aws_access_key_id=bucket.server.access_key, aws_secret_access_key=bucket.server.secret_key)
    given.probe()
    for place, secrets in (
        (given, {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}),
        (bucket.given(), {}),
    ):
        with place.target("s3").running() as target, target.root() as root:
            assert root.secrets == secrets


def test_a_credential_that_is_a_number(bucket: Bucket) -> None:
    with pytest.raises(TargetError) as caught:
        choose((), (), bucket.name, bucket.server.endpoint, ("aws_access_key_id=12345678",)).check()
    assert str(caught.value) == (
        f"cannot run the target 's3': the option aws_access_key_id must be a text (s3://{bucket.name}); "
        "--option read aws_access_key_id as a number: 'aws_access_key_id=\"…\"' gives it as a text"
    )
