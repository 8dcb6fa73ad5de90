"""The S3 driver's examination and diagnosis, on real servers: what they are is seen, lies are found, nothing stays."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest
from s3_support import Bucket, FakeApi

from storagekit import Storage
from storagekit.cli import main
from storagekit.doctor import Report, examine
from storagekit.findings import Finding
from storagekit.location import Location
from storagekit_conformance.servers import S3Server, make_certificate
from storagekit_s3 import examining
from storagekit_s3.api import RangeReply
from storagekit_s3.examining import Bench
from storagekit_s3.options import parse
from storagekit_s3.servers import PROFILES, Profile
from storagekit_s3.wire import WireApi

pytest_plugins = ["s3_support"]

SECRET = "s3ntinel-secret"


def report_of(bucket: Bucket, prefix: str = "prefix", **options: object) -> Report:
    with Storage() as storage:
        return examine(storage, f"s3://{bucket.name}/{prefix}", {**bucket.options, **options})


def works(report: Report) -> dict[str, bool | None]:
    return {finding.topic: finding.works for finding in report.findings}


def wrong(report: Report) -> set[str]:
    return {finding.topic for finding in report.findings if finding.wrong}


def test_what_the_two_servers_are(bucket: Bucket) -> None:
    bucket.write("prefix/mine", b"untouched")
    report = report_of(bucket)
    assert (report.failure, report.left, wrong(report)) == (None, [], set())
    # Nothing stays, and the user's key is what it was.
    assert (bucket.keys(), bucket.uploads(), bucket.read("prefix/mine")) == (["prefix/mine"], [], b"untouched")
    found = works(report)
    assert len(found) == len(report.findings) > 45
    moto = bucket.kind == "moto"
    assert found["PUT if absent (If-None-Match: *)"] is moto
    assert found["PUT if unchanged (If-Match)"] is moto
    assert found["Complete if absent (If-None-Match: *)"] is moto
    assert found["Complete if unchanged (If-Match)"] is False
    assert found["DELETE if unchanged (If-Match)"] is moto
    assert found["If-Match on GET"] is moto
    assert found["UploadPartCopy"] is moto
    assert found["keys with odd segments"] is moto
    assert found["'a' beside 'a/b'"] is moto
    assert found["a repeated Complete"] is moto
    assert found["multipart upload"] is True
    assert found["presigned GET"] is True
    on_the_wire = bucket.options["transport"] == "wire"
    assert found["a wrong Content-MD5"] is (not moto if on_the_wire else None)


def test_a_whole_bucket(on_moto: Bucket) -> None:
    on_moto.write("mine", b"untouched")
    report = report_of(on_moto, "")
    assert (report.failure, report.left, wrong(report)) == (None, [], set())
    [finding] = [found for found in report.findings if found.topic == "keys with odd segments"]
    assert "'/' as the first character" in finding.seen
    assert on_moto.keys() == ["mine"]


def test_a_server_that_does_less_than_was_promised(on_rclone: Bucket) -> None:
    report = report_of(on_rclone, server="aws")
    assert not report.ok
    assert wrong(report) >= {
        "PUT if absent (If-None-Match: *)",
        "PUT if unchanged (If-Match)",
        "Complete if absent (If-None-Match: *)",
        "DELETE if unchanged (If-Match)",
        "UploadPartCopy",
        "ETag from Complete",
        "keys with odd segments",
        "create only (open 'x')",
    }
    [verdict] = [finding for finding in report.findings if finding.topic == "profile"]
    assert "put_absent" in verdict.seen
    assert verdict.advice == "the option server='rclone' promises only what was seen"
    assert report.left == []


def test_trust_is_a_promise_too(on_rclone: Bucket) -> None:
    report = report_of(on_rclone, conditional_writes="trust")
    [finding] = [f for f in report.findings if f.topic == "PUT if absent (If-None-Match: *)"]
    assert finding.wrong
    assert "trust" in finding.consequence


def test_a_race_that_is_accepted_is_not_wrong(on_rclone: Bucket) -> None:
    report = report_of(on_rclone, conditional_writes="race")
    assert wrong(report) == set()
    [finding] = [f for f in report.findings if f.topic == "create only (open 'x')"]
    assert "may win" in finding.consequence


def test_a_server_that_does_more_than_was_promised(on_moto: Bucket) -> None:
    report = report_of(on_moto, server="generic")
    assert wrong(report) == {"keys with control characters", "profile"}
    [verdict] = [finding for finding in report.findings if finding.topic == "profile"]
    assert verdict.advice == "the option server='moto' promises only what was seen"
    report = report_of(on_moto, server="swift")
    assert "profile" in wrong(report)


@pytest.mark.parametrize("lie", ["other bytes", "all bytes"])
def test_a_server_that_answers_ranges_wrongly(moto: S3Server, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = WireApi.get

    def get(api: WireApi, location: Location, start: int, stop: int, **pins: str | None) -> RangeReply:
        if start == 0:
            return honest(api, location, start, stop, **pins)
        if lie == "all bytes":
            return honest(api, location, 0, 1 << 40, **pins)
        return replace(honest(api, location, start - 1, stop - 1, **pins), start=start, stop=stop)

    monkeypatch.setattr(WireApi, "get", get)
    options = {**moto.options(), "transport": "wire"}
    with Storage() as storage:
        report = examine(storage, f"s3://{moto.new_bucket()}", options)
    assert {"ranges", "reading ranges"} <= wrong(report)
    [finding] = [found for found in report.findings if found.topic == "ranges"]
    assert ("CORRUPTED" in finding.consequence) == (lie == "other bytes")
    assert report.left == []


def test_over_https(on_tls: Bucket) -> None:
    report = report_of(on_tls)
    assert (report.failure, report.left, wrong(report)) == (None, [], set())
    assert works(report)["presigned GET"] is True


# ---------------------------------------------------------------- the verdict, without a server


def bench(profile: Profile, **observed: bool) -> Bench:
    made = Bench(FakeApi(), Location("s3", "box", "scratch/"), parse({}, Location("s3", "box", "")), profile)
    made.observed.update({f.name: False for f in fields(Profile) if f.name != "name"} | observed)
    return made


def test_a_better_profile_is_named() -> None:
    usual = ("copy_part", "etag_md5", "markers", "literal_keys", "control_keys", "file_beside_directory")
    quirks = dict.fromkeys(usual, True)
    found = examining._verdict(bench(PROFILES["generic"], **quirks, put_absent=True))
    assert (found.wrong, found.advice) == (False, "the option server='ceph' would use more of it")
    every = {f.name: True for f in fields(Profile) if f.name != "name"}
    found = examining._verdict(bench(PROFILES["generic"], **every))
    assert found.advice == (
        "the option server='aws' would use more of it; conditional_writes='trust' would use all conditions"
    )
    found = examining._verdict(bench(PROFILES["aws"], **every))
    assert (found.works, found.advice) == (True, "")


def test_every_promise_of_a_profile_is_tried_and_has_its_words(on_moto: Bucket) -> None:
    names = {f.name for f in fields(Profile)} - {"name"}
    assert set(examining._USES) == names
    location = on_moto.at("scratch/")
    api, options = on_moto.driver._open(location, on_moto.options)
    seen: set[str] = set()

    class Noting(Bench):
        def judge(self, name: str, topic: str, works: bool | None, text: str) -> Finding:
            seen.add(name)
            return super().judge(name, topic, works, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examining, "Bench", Noting)
        list(examining.examine(api, location, options, PROFILES["moto"]))
    assert seen == names


# ---------------------------------------------------------------- endings


def test_nothing_stays_after_an_interruption(on_moto: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from storagekit_s3 import trials_changes, trials_names

    def interrupted(made: Bench) -> Iterator[Finding]:
        made.put("left", b"behind")
        upload_id = made.begin(made.at("an upload"))
        made.api.put_part(made.at("an upload"), upload_id, 1, b"part")
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(trials_changes, "TRIALS", ())
    monkeypatch.setattr(trials_names, "TRIALS", (interrupted,))
    on_moto.write("mine", b"untouched")
    with pytest.raises(KeyboardInterrupt):
        report_of(on_moto)
    assert on_moto.keys() == ["mine"]
    assert on_moto.uploads() == []


def command(bucket: str, options: object, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """The exit status and all that was printed."""
    assert isinstance(options, dict)
    given = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    status = main(["doctor", f"s3://{bucket}/prefix", *given, *more])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return status, shown.out + shown.err


def test_the_command(on_rclone: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = command(on_rclone.name, on_rclone.options, capsys)
    assert status == 0
    assert "rclone, by its Server header" in text
    assert "credentials" in text
    assert on_rclone.server.secret_key not in text
    assert on_rclone.server.access_key not in text
    status, text = command(on_rclone.name, on_rclone.options, capsys, "--option", "server=aws", "--json")
    found = json.loads(text)
    assert (status, found["ok"]) == (1, False)
    assert found["reached"]["profile"] == "aws, by the option server"


def test_a_bucket_that_is_not_there(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = command("no-such-bucket", bucket.options, capsys)
    assert status == 1
    assert "the bucket no-such-bucket does not exist" in text


def test_a_wrong_secret(on_rclone: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = command(on_rclone.name, {**on_rclone.options, "aws_secret_access_key": SECRET}, capsys)
    assert status == 1
    assert "the secret access key is wrong" in text
    assert SECRET not in text


def test_a_dead_endpoint(transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "aws_access_key_id": "key",
        "aws_secret_access_key": SECRET,
        "region_name": "us-east-1",
        "transport": transport,
    }
    began = time.monotonic()
    status, text = command("box", options, capsys)
    assert (status, time.monotonic() - began < 60) == (1, True)
    assert "is endpoint_url right" in text
    assert "there was no answer" in text
    assert SECRET not in text


def test_the_secret_of_the_environment_is_not_shown(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_aws: None
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "s3ntinel-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "s3ntinel-token")
    options = {"endpoint_url": rclone.endpoint, "region_name": "us-east-1"}
    status, text = command("box", options, capsys)
    assert status == 1
    assert "environment variables" in text
    assert "s3ntinel" not in text


def lines(api: object, **options: object) -> dict[str, str]:
    driver = FakeApi(endpoint="https://user:s3ntinel@minio.example/?token=s3ntinel", server="MinIO").driver()
    return dict(line.split(": ", 1) for line in driver.diagnose(Location("s3", "box", "key"), options))


def test_how_a_bucket_is_reached(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines(None, transport="boto3", anonymous=True)
    assert found["endpoint"] == "https://minio.example/"
    assert found["server header"] == "MinIO"
    assert found["profile"] == "generic, because neither host nor Server header tells"
    assert found["transport"] == "boto3, by the option"
    assert found["credentials"].startswith("none")
    assert "s3ntinel" not in str(found)
    found = lines(None, transport="boto3", aws_access_key_id="key", aws_secret_access_key=SECRET, server="ceph")
    assert (found["credentials"], found["profile"]) == ("the options", "ceph, by the option server")
    assert lines(None, transport="boto3")["credentials"] == "none were found"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "s3ntinel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3ntinel")
    assert lines(None, transport="boto3")["credentials"] == "environment variables"


def test_why_boto3_is_used(on_moto: Bucket, monkeypatch: pytest.MonkeyPatch, no_aws: None) -> None:
    if on_moto.options["transport"] == "wire":
        pytest.skip("it is not")
    options = {name: value for name, value in on_moto.options.items() if name != "transport"}
    options["request_payer"] = "requester"
    found = dict(line.split(": ", 1) for line in on_moto.driver.diagnose(on_moto.at("key"), options))
    assert found["transport"] == "boto3, because botocore adds the header x-amz-request-payer"


# ---------------------------------------------------------------- a server that corrupts


@contextmanager
def s3rver(program: str, folder: Path, *, tls: bool) -> Iterator[S3Server]:
    """s3rver, which takes frames for data. Its listings of more than a page need an old cipher."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [program, "-d", str(folder / "data"), "-a", "127.0.0.1", "-p", str(port), "--configure-bucket", "box"]
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if tls:
        make_certificate(certificate, key)
        arguments += ["--cert", str(certificate), "--key", str(key)]
    environment = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except OSError:
                assert process.poll() is None, "s3rver did not start"
                assert time.monotonic() < deadline, "s3rver does not listen"
                time.sleep(0.1)
        endpoint = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        yield S3Server(endpoint, "S3RVER", "S3RVER", ca_bundle=str(certificate) if tls else None)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("calculation", ["when_required", "when_supported"])
def test_no_bytes_are_corrupted_on_a_server_that_takes_frames_for_data(
    transport: str, tls: bool, calculation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("s3rver")
    if program is None:
        pytest.skip("s3rver is not on the PATH: npm install -g s3rver@3.7.1")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", calculation)
    with s3rver(program, tmp_path, tls=tls) as server, Storage() as storage:
        options = {**server.options(), "server": "s3rver", "transport": transport}
        report = examine(storage, "s3://box/prefix", options)
        # Its listings of more than a page miss keys, whoever asks.
        assert wrong(report) <= {"listing, page by page", "order of a listing", "delimiter", "StartAfter"}
        found = works(report)
        assert found["listing, page by page"] is False
        assert found["uploads in chunks (aws-chunked)"] is (False if transport == "wire" else None)
        data = os.urandom(9 * 1024 * 1024)
        for name, size in (("empty", 0), ("small", 70_000), ("parts", len(data))):
            with storage.open(f"s3://box/{name}", "wb", options=options) as file:
                file.write(data[:size])
            with storage.open(f"s3://box/{name}", "rb", options=options) as kept:
                assert kept.read() == data[:size]
        # Its batches take "key " for "key".
        for name in ("tree/key", "other/key", "other/key "):
            storage.touch(f"s3://box/{name}", options=options)
        storage.remove("s3://box/other/key", options=options)
        storage.rmtree("s3://box/other", options=options)
        assert not storage.exists("s3://box/other", options=options)
