"""What the tests of the S3 driver share: real servers, one of each kind per worker, and a store in memory for faults.

Used as a pytest plugin (``pytest_plugins``), so that its fixtures are known to every ``test_s3_*`` module. It asserts
nothing itself (PYTEST_DONT_REWRITE: the modules that name it as a plugin import from it first).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from storagekit.driver import Absent, Condition, Matches, Stat
from storagekit.location import Location
from storagekit_conformance.servers import S3Server, missing_moto, missing_rclone, moto_server, rclone_server
from storagekit_s3 import errors as s3_errors
from storagekit_s3.api import (
    Attributes,
    Info,
    Page,
    PartList,
    RangeReply,
    Source,
    UploadPage,
    Written,
)
from storagekit_s3.driver import S3Driver

MiB = 1024 * 1024


@dataclass
class Bucket:
    """A fresh bucket on a real server, with the driver to test and a plain boto3 client beside it."""

    name: str
    server: S3Server
    kind: str
    driver: S3Driver
    options: Mapping[str, object]

    def at(self, key: str = "") -> Location:
        return Location("s3", self.name, key)

    def write(self, key: str, data: bytes, condition: Condition = None, **options: object) -> Stat:
        return self.driver.open_write(self.at(key), {**self.options, **options}, condition).put([data])

    def read(self, key: str, **options: object) -> bytes:
        reader = self.driver.open_read(self.at(key), {**self.options, **options}, 64)
        data = bytearray(reader.head)
        if reader.stat.size is not None and reader.stat.size > len(data):
            body = reader.open_range(len(data), reader.stat.size)
            view = memoryview(bytearray(MiB))
            while count := body.readinto(view):
                data += view[:count]
            body.close()
        return bytes(data)

    def keys(self, prefix: str = "", *, recursive: bool = True, limit: int | None = None, after: str = "") -> list[str]:
        found = self.driver.entries(self.at(prefix), self.options, recursive, limit, after)
        return [stat.location.path for stat in found]

    def uploads(self) -> list[str]:
        return [upload.location.path for upload in self.driver.uploads(self.at(), self.options)]


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    if lacking := missing_moto():
        pytest.skip(lacking)
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3Server]:
    if lacking := missing_rclone():
        pytest.skip(lacking)
    with rclone_server() as server:
        yield server


@pytest.fixture(scope="session")
def moto_tls() -> Iterator[S3Server]:
    if lacking := missing_moto(tls=True):
        pytest.skip(lacking)
    with moto_server(tls=True) as server:
        yield server


def _bucket(server: S3Server, kind: str, transport: str) -> Iterator[Bucket]:
    driver = S3Driver()
    try:
        yield Bucket(server.new_bucket(), server, kind, driver, server.options() | {"transport": transport})
    finally:
        driver.close()


@pytest.fixture(params=["wire", "boto3"])
def transport(request: pytest.FixtureRequest) -> str:
    """The same test over both transports."""
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def on_moto(moto: S3Server, transport: str) -> Iterator[Bucket]:
    yield from _bucket(moto, "moto", transport)


@pytest.fixture
def on_rclone(rclone: S3Server, transport: str) -> Iterator[Bucket]:
    yield from _bucket(rclone, "rclone", transport)


@pytest.fixture
def on_tls(moto_tls: S3Server, transport: str) -> Iterator[Bucket]:
    yield from _bucket(moto_tls, "moto", transport)


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest, transport: str) -> Iterator[Bucket]:
    """The same test on both servers."""
    yield from _bucket(request.getfixturevalue(request.param), request.param, transport)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """An environment in which boto3 finds nothing: no variable, no file, no instance role."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass
class Stored:
    """One object of ``FakeApi``."""

    data: bytes
    etag: str
    attributes: Attributes = field(default_factory=Attributes)


@dataclass
class FakeApi:
    """The port over a dictionary, with a fault for every request that a test names.

    ``faults[operation]`` is called before (with "before") and after (with "after") the operation, and may raise.
    """

    endpoint: str = "https://s3.us-east-1.amazonaws.com"
    server: str | None = "AmazonS3"
    objects: dict[Location, Stored] = field(default_factory=dict)
    pending: dict[str, dict[int, bytes]] = field(default_factory=dict)
    promised: dict[str, Attributes] = field(default_factory=dict)
    faults: dict[str, Callable[[str], None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    ignores_ranges: bool = False
    part_etags: bool = True
    pages: list[Page] = field(default_factory=list)

    def api(self, location: Location) -> FakeApi:
        """It serves every bucket."""
        return self

    def get(
        self, location: Location, start: int, stop: int, *, etag: str | None = None, version_id: str | None = None
    ) -> RangeReply:
        self._enter("get")
        stored = self._find("GetObject", location)
        size = len(stored.data)
        if self.ignores_ranges:
            start, stop = 0, size
        if start >= size:
            raise s3_errors.reply_error("GetObject", location, code="InvalidRange", status=416)
        stop = min(stop, size)
        return RangeReply(self._info(stored), start, stop, FakeStream(stored.data[start:stop]))

    def head(self, location: Location, *, version_id: str | None = None) -> Info:
        self._enter("head")
        return self._info(self._find("HeadObject", location))

    def tags(self, location: Location, *, version_id: str | None = None) -> Mapping[str, str]:
        self._enter("tags")
        return self._find("GetObjectTagging", location).attributes.tags

    def head_bucket(self, location: Location) -> None:
        self._enter("head_bucket")

    def put(
        self, location: Location, body: bytes | bytearray, attributes: Attributes, condition: Condition = None
    ) -> Written:
        self._enter("put")
        self._require("PutObject", location, condition)
        written = self._store(location, bytes(body), hashlib.md5(body).hexdigest(), attributes)
        self._leave("put")
        return written

    def create_upload(self, location: Location, attributes: Attributes) -> str:
        self._enter("create")
        upload_id = f"upload-{len(self.calls)}"
        self.pending[upload_id] = {}
        self.promised[upload_id] = attributes
        return upload_id

    def put_part(self, location: Location, upload_id: str, number: int, body: bytes | bytearray) -> str | None:
        self._enter("part")
        self.pending[upload_id][number] = bytes(body)
        self._leave("part")
        return hashlib.md5(body).hexdigest() if self.part_etags else None

    def copy_part(
        self, location: Location, upload_id: str, number: int, source: Source, span: tuple[int, int] | None
    ) -> str | None:
        self._enter("copy_part")
        data = self._find("UploadPartCopy", source.location).data
        return self.put_part(location, upload_id, number, data[slice(*span)] if span else data)

    def complete_upload(
        self, location: Location, upload_id: str, parts: PartList, condition: Condition = None
    ) -> Written:
        self._enter("complete")
        if upload_id not in self.pending:
            raise s3_errors.reply_error("CompleteMultipartUpload", location, code="NoSuchUpload", status=404)
        self._require("CompleteMultipartUpload", location, condition)
        held = self.pending.pop(upload_id)
        digests = b"".join(hashlib.md5(held[part.number]).digest() for part in parts)
        etag = f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"
        written = self._store(location, b"".join(held[part.number] for part in parts), etag, self.promised[upload_id])
        self._leave("complete")
        return written

    def abort_upload(self, location: Location, upload_id: str) -> None:
        self._enter("abort")
        if self.pending.pop(upload_id, None) is None:
            raise s3_errors.reply_error("AbortMultipartUpload", location, code="NoSuchUpload", status=404)

    def copy(self, location: Location, source: Source, attributes: Attributes, *, replace: bool) -> Written:
        self._enter("copy")
        found = self._find("CopyObject", source.location)
        written = self._store(location, found.data, found.etag, attributes if replace else found.attributes)
        self._leave("copy")
        return written

    def delete(self, location: Location, condition: Condition = None) -> None:
        self._enter("delete")
        self._require("DeleteObject", location, condition)
        self.objects.pop(location, None)
        self._leave("delete")

    def delete_many(self, locations: Sequence[Location]) -> Sequence[tuple[Location, OSError]]:
        self._enter("delete_many")
        for location in locations:
            self.objects.pop(location, None)
        return []

    def list_page(
        self, location: Location, prefix: str, *, delimited: bool, limit: int, start_after: str, token: str | None
    ) -> Page:
        self._enter("list")
        return self.pages[int(token or 0)]

    def buckets(self) -> Sequence[str]:
        return ["b", "a"]

    def uploads_page(self, location: Location, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        return UploadPage([], ("again", "again"))

    def presign(
        self, location: Location, method: Literal["GET", "PUT"], expires: int, *, version_id: str | None = None
    ) -> str:
        return f"{self.endpoint}/{location.path}"

    def close(self) -> None:
        self.calls.append("close")

    def driver(self) -> S3Driver:
        return S3Driver(lambda connection, ledger: self)

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.faults:
            self.faults[operation]("before")

    def _leave(self, operation: str) -> None:
        if operation in self.faults:
            self.faults[operation]("after")

    def _find(self, operation: str, location: Location) -> Stored:
        if location not in self.objects:
            raise s3_errors.reply_error(operation, location, code="NoSuchKey", status=404)
        return self.objects[location]

    def _require(self, operation: str, location: Location, condition: Condition) -> None:
        stored = self.objects.get(location)
        failed = isinstance(condition, Absent) and stored is not None
        failed = failed or (isinstance(condition, Matches) and (stored is None or stored.etag != condition.identity))
        if failed:
            doubt: s3_errors.Doubt = "lost" if "retried" in self.calls else None
            raise s3_errors.reply_error(operation, location, code="PreconditionFailed", status=412, doubt=doubt)

    def _store(self, location: Location, data: bytes, etag: str, attributes: Attributes) -> Written:
        self.objects[location] = Stored(data, etag, attributes)
        return Written(etag)

    def _info(self, stored: Stored) -> Info:
        return Info(len(stored.data), stored.etag, 0, None, replace(stored.attributes))


class FakeStream:
    """The body of a reply of ``FakeApi``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.closed = False

    def readinto(self, view: memoryview, /) -> int:
        count = min(len(view), len(self.data))
        view[:count] = self.data[:count]
        self.data = self.data[count:]
        return count

    def close(self) -> None:
        self.closed = True


def lost(location: Location, when: str = "after") -> Callable[[str], None]:
    """A fault: the answer to the request never comes, before or after it was carried out."""

    def fault(now: str) -> None:
        if now == when:
            raise s3_errors.client_error(TimeoutError("no answer"), "test", location, "lost")

    return fault
