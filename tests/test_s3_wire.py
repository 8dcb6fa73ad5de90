"""The wire's requests as a server sees them, and what it wrote as boto3 reads it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from s3_scripted import CLOSE, Scripted, reply
from s3_support import Bucket
from test_s3_exchanges import CREDENTIALS, KEY, OBJECT, WRITTEN, Wired

from storagekit import errors
from storagekit.location import Location
from storagekit_s3 import listing, reading
from storagekit_s3.api import Attributes, Part
from storagekit_s3.exchanges import Caller, Way
from storagekit_s3.options import Connection, parse
from storagekit_s3.pools import Pool
from storagekit_s3.retrying import Retrying
from storagekit_s3.routes import Route, Trust, address_of
from storagekit_s3.signing import Credentials
from storagekit_s3.wire import WireApi

pytest_plugins = ["s3_support"]

DATA = b"some data"
NO_OPTIONS = parse({}, KEY)


def wire(server: Scripted, *, https: bool = False, checksums: bool = False, signs_payload: bool = False) -> WireApi:
    """The port over a route of a test's own: requests that only say https go to a plain server."""
    url = f"{server.endpoint}/box"
    connection = Connection(read_timeout=20.0)
    credentials = Credentials("id", "secret")
    route = Route(server.endpoint, url, "here", lambda: credentials, Trust(), checksums, signs_payload)
    pool = Pool(address_of(route, connection))
    if https:
        route = Route(
            server.endpoint,
            f"https://127.0.0.1:{server.port}/box",
            "here",
            lambda: credentials,
            Trust(),
            checksums,
            signs_payload,
        )
    way = Way(route, pool)
    return WireApi(Caller(lambda region: way, way, Retrying()), lambda: pytest.fail("boto3 was asked"))


@pytest.mark.parametrize(
    ("endpoint", "checksums", "declared"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True, ("CRC32", "FULL_OBJECT")),
        ("https://s3.eu-west-1.amazonaws.com", False, (None, None)),
        ("https://minio.example", True, (None, None)),
    ],
)
def test_an_upload_declares_the_checksums_of_its_parts_to_amazon(
    endpoint: str, checksums: bool, declared: tuple[str | None, str | None]
) -> None:
    begun = reply(200, b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
    with Scripted(begun) as server:
        url = f"{server.endpoint}/box"
        route = Route(endpoint, url, "here", lambda: Credentials("id", "secret"), Trust(), checksums)
        way = Way(route, Pool(address_of(route, Connection(read_timeout=20.0))))
        api = WireApi(Caller(lambda region: way, way), lambda: pytest.fail("boto3 was asked"))
        assert api.create_upload(KEY, Attributes()) == "id"
        way.pool.close()
    headers = server.asked[0].headers
    assert (headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-type")) == declared


@pytest.mark.parametrize(
    ("https", "signs_payload", "payload"),
    [
        (False, False, hashlib.sha256(DATA).hexdigest()),
        (True, False, "UNSIGNED-PAYLOAD"),
        (True, True, hashlib.sha256(DATA).hexdigest()),
    ],
)
@pytest.mark.parametrize("checksums", [False, True])
def test_how_an_upload_is_guarded(https: bool, signs_payload: bool, payload: str, checksums: bool) -> None:
    with Scripted(WRITTEN, WRITTEN) as server:
        api = wire(server, https=https, checksums=checksums, signs_payload=signs_payload)
        assert api.put(KEY, DATA, Attributes()).etag == api.put_part(KEY, "id", 3, DATA) == "abc"
        api._caller.way.pool.close()
    for asked in server.asked:
        assert (asked.body, asked.headers["x-amz-content-sha256"]) == (DATA, payload)
        crc = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
        assert asked.headers.get("x-amz-checksum-crc32") == (crc if checksums else None)
        assert "expect" not in asked.headers
    assert server.asked[1].target == "/box/key?partNumber=3&uploadId=id"


def test_a_range_in_an_answer_of_200() -> None:
    with Scripted(reply(200, b"data", ETag='"abc"', Content_Range="bytes 2-5/9")) as server, Wired(server) as api:
        got = api.get(KEY, 2, 6, etag="abc")
        got.body.close()
    assert (got.start, got.stop, got.info.size) == (2, 6, 9)
    assert (server.asked[0].headers["range"], server.asked[0].headers["if-match"]) == ("bytes=2-5", '"abc"')


def test_the_whole_object_in_place_of_a_range() -> None:
    with Scripted(reply(200, b"whole object", ETag='"abc"')) as server, Wired(server) as api:
        got = api.get(KEY, 2, 6)
        got.body.close()
    assert (got.start, got.stop, got.info.size) == (0, 12, 12)


def test_an_empty_object_is_asked_for_twice() -> None:
    refused = reply(416, b"<Error><Code>InvalidRange</Code></Error>")
    with Scripted(refused, reply(200, b"", ETag='"e"', content_length="0")) as server, Wired(server) as api:
        reader = reading.open_reader(api, KEY, NO_OPTIONS, 100)
    assert (reader.stat.size, reader.head, [asked.method for asked in server.asked]) == (0, b"", ["GET", "HEAD"])


@pytest.mark.parametrize("etag", ['"other"', 'W/"abc"', ""])
def test_another_version_is_never_given_out(etag: str) -> None:
    changed = reply(206, b"DATA", ETag=etag, Content_Range="bytes 4-7/8", x_amz_request_id="R1")
    first = reply(206, b"data", ETag='"abc"', Content_Range="bytes 0-3/8")
    with Scripted(first, changed) as server, Wired(server) as api:
        reader = reading.open_reader(api, KEY, NO_OPTIONS, 4)
        with pytest.raises(errors.ObjectChangedError):
            reader.open_range(4, 8)


def test_another_range_than_was_asked_for_is_an_error() -> None:
    shifted = reply(206, b"DATA", ETag='"abc"', Content_Range="bytes 3-6/8")
    first = reply(206, b"data", ETag='"abc"', Content_Range="bytes 0-3/8")
    with Scripted(first, shifted) as server, Wired(server) as api:
        reader = reading.open_reader(api, KEY, NO_OPTIONS, 4)
        with pytest.raises(OSError, match="bytes 3 to 7"):
            reader.open_range(4, 8)


def test_a_listing_that_repeats_its_token_ends_in_an_error() -> None:
    page = reply(
        200,
        b"<L><Name>box</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"<Contents><Key>a</Key></Contents></L>",
    )
    with Scripted(*[page] * 5) as server, Wired(server) as api:
        found = listing.list_objects(api, KEY.parent, recursive=True, limit=None, start_after="")
        with pytest.raises(OSError, match="repeats its token"):
            list(found)
    assert len(server.asked) == 2


def test_what_a_batch_of_deletes_says() -> None:
    denied = b"<Error><Key>&lt;&amp;</Key><Code>AccessDenied</Code></Error>"
    gone = b'<Deleted><Key>a</Key></Deleted><Deleted><Key>quote"</Key></Deleted>'
    body = b"<DeleteResult>" + gone + denied + b"</DeleteResult>"
    where = [Location("s3", "box", key) for key in ("a", "<&", 'quote"')]
    with Scripted(reply(200, body)) as server, Wired(server) as api:
        failed = api.delete_many(where)
    assert [(location.path, type(error)) for location, error in failed] == [("<&", PermissionError)]
    asked = server.asked[0]
    assert asked.target == "/box?delete="
    assert b"<Key>&lt;&amp;</Key>" in asked.body
    assert asked.headers["content-md5"] == base64.b64encode(hashlib.md5(asked.body).digest()).decode()


def test_the_parts_of_an_upload_in_their_order() -> None:
    done = reply(200, b'<CompleteMultipartUploadResult><ETag>"abc-2"</ETag></CompleteMultipartUploadResult>')
    with Scripted(done) as server, Wired(server) as api:
        assert api.complete_upload(KEY, "id", [Part(1, "a"), Part(2, "b")]).etag == "abc-2"
    assert server.asked[0].body.count(b"<Part>") == 2
    assert b'<PartNumber>1</PartNumber><ETag>"a"</ETag>' in server.asked[0].body


@pytest.mark.parametrize("body", [b"", b"<html/>", b"garbage"])
def test_an_answer_that_is_no_stores_proves_nothing(body: bytes) -> None:
    with Scripted(reply(200, body)) as server, Wired(server) as api:
        assert not api.complete_upload(KEY, "id", [Part(1, "a")]).by_store


@pytest.mark.parametrize(
    ("headers", "by_store"), [({}, False), ({"x_amz_request_id": "7"}, True), ({"etag": "a"}, True)]
)
def test_who_answered_a_put(headers: dict[str, str], by_store: bool) -> None:
    with Scripted(reply(202, b"", **headers)) as server, Wired(server) as api:
        assert api.put(KEY, b"data", Attributes()).by_store == by_store


GIVEN: dict[str, Any] = {
    "content_type": "text/plain",
    "cache_control": "no-store",
    "content_disposition": "inline",
    "content_encoding": "identity",
    "content_language": "de",
    "metadata": {"Name": "a  b", "other-name": "x"},
    "storage_class": "STANDARD_IA",
}


def test_what_was_given_along_is_what_boto3_reads(on_moto: Bucket) -> None:
    """Over both transports: so both write the same."""
    on_moto.write("small", b"data", **GIVEN)
    writer = on_moto.driver.open_write(on_moto.at("large"), {**on_moto.options, **GIVEN}, None)
    writer.write_part(1, 0, [bytes(5 * 1024 * 1024)])
    writer.write_part(2, 5 * 1024 * 1024, [b"end"])
    writer.commit()
    client = on_moto.server.client()
    for key in ("small", "large"):
        found = client.head_object(Bucket=on_moto.name, Key=key)
        assert (found["ContentType"], found["CacheControl"], found["StorageClass"]) == (
            "text/plain",
            "no-store",
            "STANDARD_IA",
        )
        assert (found["ContentDisposition"], found["ContentLanguage"]) == ("inline", "de")
        assert {name.lower() for name in found["Metadata"]} == {"name", "other-name"}
    client.close()


def test_what_boto3_wrote_is_what_stat_shows(on_moto: Bucket) -> None:
    client = on_moto.server.client()
    client.put_object(
        Bucket=on_moto.name,
        Key="k",
        Body=b"data",
        ContentType="text/csv",
        Metadata={"Kind": "x"},
        CacheControl="no-cache",
    )
    client.close()
    stat = on_moto.driver.stat(on_moto.at("k"), on_moto.options)
    assert (stat.size, stat.content_type, stat.metadata) == (4, "text/csv", {"kind": "x"})
    assert stat.extra["cache_control"] == "no-cache"


def test_credentials_are_asked_for_with_every_request() -> None:
    given = iter(["one", "two"])
    with Scripted(OBJECT, OBJECT) as server:
        api = wire(server)
        route = api._caller.way.route
        renewing = Route(
            route.endpoint, route.url, "here", lambda: Credentials(next(given), "s", "token"), Trust(), False
        )
        way = Way(renewing, api._caller.way.pool)
        api = WireApi(Caller(lambda region: way, way, Retrying()), lambda: pytest.fail("boto3 was asked"))
        for _ in range(2):
            body = api.get(KEY, 0, 4).body
            body.readinto(memoryview(bytearray(4)))
            body.close()
        way.pool.close()
    assert [asked.headers["authorization"].split("=")[1].split("/")[0] for asked in server.asked] == ["one", "two"]
    assert CREDENTIALS["aws_secret_access_key"] not in str(server.asked)


def test_the_body_of_an_answer_that_was_asked_for_breaks_off() -> None:
    with Scripted([reply(200, b"da", content_length="4"), CLOSE]) as server, Wired(server) as api:
        assert isinstance(api, WireApi)
        with pytest.raises(ConnectionResetError) as cut:
            api.ask("GetObject", "GET", KEY, {})
        assert (cut.value.filename, api._caller.ledger.counts()["errors"]) == (KEY.url, 1)
