"""Transports: which implementation of the port serves a bucket, and what a program that needs no boto3 loads."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from s3_support import Bucket

from storagekit.errors import InvalidArgumentError
from storagekit.location import Location
from storagekit_conformance.servers import S3Server
from storagekit_s3.boto import BotoApi
from storagekit_s3.driver import S3Driver
from storagekit_s3.options import Connection, parse
from storagekit_s3.transports import Transports
from storagekit_s3.wire import WireApi

pytest_plugins = ["s3_support"]

BOX = Location("s3", "box", "")
KEY = Location("s3", "box", "key")
ARN = Location("s3", "arn:aws:s3:us-east-1:123456789012:accesspoint:mine", "key")

# There, proxies are settings of the system, which only botocore looks at.
plain_here = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="on this system no set-up is plain")


@pytest.fixture(autouse=True)
def nothing_of_anybodys(monkeypatch: pytest.MonkeyPatch, no_aws: None) -> None:
    """No account, no proxy, and no certificates."""
    for name in list(os.environ):
        if name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def connection(server: S3Server, **options: object) -> Connection:
    return parse({**server.options(), **options}, BOX).connection


@pytest.fixture
def of_moto(moto: S3Server) -> Iterator[Transports]:
    transports = Transports(connection(moto))
    yield transports
    transports.close()


def test_an_ordinary_bucket_is_served_by_the_wire(of_moto: Transports, moto: S3Server) -> None:
    api = of_moto.api(KEY)
    assert isinstance(api, WireApi)
    assert of_moto.api(BOX) is api
    assert api.endpoint == moto.endpoint


def test_each_bucket_has_a_port_of_its_own_and_all_share_a_pool(of_moto: Transports) -> None:
    first, second = of_moto.api(BOX), of_moto.api(Location("s3", "another", ""))
    assert isinstance(first, WireApi)
    assert isinstance(second, WireApi)
    assert first is not second
    assert first._caller.way.pool is second._caller.way.pool


def test_the_option_excludes_the_wire(moto: S3Server) -> None:
    transports = Transports(connection(moto, transport="boto3"))
    api = transports.api(KEY)
    assert isinstance(api, BotoApi)
    assert transports.api(Location("s3", "another", "")) is api
    transports.close()


def test_no_bucket_is_served_by_boto3(moto: S3Server) -> None:
    for wanted in ("wire", None):
        transports = Transports(connection(moto, transport=wanted))
        assert isinstance(transports.api(Location("s3", "", "")), BotoApi)
        transports.close()


def test_what_only_boto3_can_is_boto3s(of_moto: Transports) -> None:
    assert isinstance(of_moto.api(ARN), BotoApi)
    assert isinstance(of_moto.api(KEY), WireApi)


def test_what_only_boto3_can_is_refused_where_the_option_excludes_it(moto: S3Server) -> None:
    transports = Transports(connection(moto, transport="wire"))
    with pytest.raises(io.UnsupportedOperation, match="option transport excludes boto3, and access points") as wrong:
        transports.api(ARN)
    assert isinstance(wrong.value, OSError)
    assert ARN.url in str(wrong.value)
    assert isinstance(transports.api(KEY), WireApi)
    transports.close()


def test_a_proxy_is_refused_where_the_option_excludes_boto3(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    driver = S3Driver()
    with pytest.raises(
        io.UnsupportedOperation, match="the option transport excludes boto3, and the way leads through a proxy"
    ):
        driver.open_read(KEY, {**moto.options(), "transport": "wire"}, 64)
    driver.close()


def test_an_unknown_transport_is_named() -> None:
    for value in ("carrier-pigeon", "", "WIRE", 3, True):
        with pytest.raises(InvalidArgumentError, match="transport") as wrong:
            parse({"transport": value}, KEY)
        assert wrong.value.filename == KEY.url
    assert parse({"transport": None}, KEY).connection.transport is None


@pytest.mark.parametrize("wanted", ["wire", "boto3", None])
def test_no_credentials_is_said_in_words_by_every_transport(wanted: str | None) -> None:
    driver = S3Driver()
    with pytest.raises(PermissionError, match="credentials") as wrong:
        options = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1", "transport": wanted}
        driver.open_read(KEY, options, 64)
    assert wrong.value.errno == errno.EACCES
    assert KEY.url in str(wrong.value)
    driver.close()


@pytest.mark.parametrize("wanted", ["wire", "boto3", None])
def test_a_profile_that_there_is_not_is_said_in_words_by_every_transport(wanted: str | None) -> None:
    driver = S3Driver()
    with pytest.raises(OSError, match="nobody"):
        driver.open_read(KEY, {"profile": "nobody", "transport": wanted}, 64)
    driver.close()


def test_threads_that_come_at_once_get_one_port(of_moto: Transports) -> None:
    start = threading.Barrier(8)
    found: list[object] = []

    def ask() -> None:
        start.wait()
        found.append(of_moto.api(KEY))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_closing_what_was_never_used_does_nothing(moto: S3Server) -> None:
    Transports(connection(moto)).close()


def test_what_is_left_to_boto3_works_beside_the_wire(on_moto: Bucket) -> None:
    """Presigned URLs, the buckets' names and unfinished uploads: over both transports."""
    on_moto.write("key", b"data")
    url = on_moto.driver.presign(on_moto.at("key"), on_moto.options, "GET", 60)
    with urllib.request.urlopen(url, timeout=30) as reply:
        assert reply.read() == b"data"
    buckets = on_moto.driver.entries(Location("s3", "", ""), on_moto.options, False, None, "")
    assert on_moto.name in [stat.location.container for stat in buckets]
    assert on_moto.uploads() == []
    upload = on_moto.server.client().create_multipart_upload(Bucket=on_moto.name, Key="unfinished")
    assert on_moto.uploads() == ["unfinished"]
    found = next(iter(on_moto.driver.uploads(on_moto.at(), on_moto.options)))
    assert found.upload_id == upload["UploadId"]


# ---------------------------------------------------------------- what a program loads

PROGRAM = """
import json, sys
import storagekit

url = sys.argv[1]
with storagekit.open(url + "/folder/key", "wb") as file:
    file.write(b"data" * 1000)
with storagekit.open(url + "/folder/key", "rb") as file:
    data = file.read()
print(json.dumps([len(data), storagekit.listdir(url + "/folder"), sorted({"boto3", "botocore"} & set(sys.modules))]))
"""


def program(environment: Mapping[str, str], folder: Path, url: str) -> list[Any]:
    own = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    own |= {"HOME": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, url],
        env=own,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: list[Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@plain_here
def test_a_program_with_its_settings_in_variables_loads_no_boto3(moto: S3Server, tmp_path: Path) -> None:
    url = f"s3://{moto.new_bucket()}"
    assert program(moto.environment(), tmp_path, url) == [4000, ["key"], []]


@plain_here
def test_over_tls_it_loads_no_boto3_either(moto_tls: S3Server, tmp_path: Path) -> None:
    url = f"s3://{moto_tls.new_bucket()}"
    assert program(moto_tls.environment(), tmp_path, url) == [4000, ["key"], []]


def test_where_there_is_a_file_of_settings_botocore_reads_it(moto: S3Server, tmp_path: Path) -> None:
    url = f"s3://{moto.new_bucket()}"
    config = tmp_path / "config"
    config.write_text(f"[default]\nendpoint_url = {moto.endpoint}\nregion = {moto.region}\n")
    environment = moto.environment() | {"AWS_CONFIG_FILE": str(config)}
    del environment["AWS_ENDPOINT_URL"], environment["AWS_DEFAULT_REGION"]
    assert program(environment, tmp_path, url) == [4000, ["key"], ["boto3", "botocore"]]
