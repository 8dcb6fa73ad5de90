"""Secrets: whatever succeeds or fails, nothing that is shown holds one.

Every value that must not be seen is a word found nowhere else. Requests are made that succeed, and that fail in every
way there is; what can be seen of each is searched for those words: results, errors with all that they are chained to,
the locals of our own frames, log records, warnings, pickles, and what threads have to say.
"""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest
from s3_scripted import CLOSE, RESET, SILENCE, Scripted, reply

import storagekit
import storagekit_s3
from storagekit import s3filestream
from storagekit.driver import Option
from storagekit.errors import InvalidArgumentError
from storagekit.hiding import (
    HiddenBytes,
    HiddenOptions,
    Secret,
    hidden,
    refuse_password,
    unsigned,
    veiled,
    without_query,
)
from storagekit.settings import Settings
from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.faults import Status
from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]

KEY_ID = "AKIAWATCHEDKEYID0001"
SECRET = "watched/secret+access=key"
TOKEN = "watched/session+token=="
PASSWORD = "watchedpassword"
SSE_BYTES = b"watched key of thirty-two bytes!"
SSE = base64.b64encode(SSE_BYTES).decode()
CREDENTIALS = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}

WATCHED = {KEY_ID, SECRET, TOKEN, PASSWORD, SSE, SSE_BYTES.decode()}
FORMS = WATCHED | {quote(word, safe="") for word in WATCHED} | {quote(word) for word in WATCHED}

OURS = tuple(str(Path(module.__file__ or "").parent) for module in (storagekit, storagekit_s3))


class Watch:
    """Everything that could be seen, and whether one of the words is in it."""

    def __init__(self, folders: tuple[str, ...] = OURS) -> None:
        self.folders = folders
        self.seen: list[tuple[str, str]] = []
        self.failures: list[BaseException] = []

    def text(self, where: str, text: str) -> None:
        self.seen.append((where, text))

    def value(self, where: str, value: object) -> None:
        self.text(where, f"{value!r}")

    def error(self, error: BaseException) -> None:
        """An error, what it is chained to, and the locals of our frames."""
        self.failures.append(error)
        self.text("error", "".join(traceback.format_exception(error)))
        waiting: list[BaseException | None] = [error]
        while waiting:
            found = waiting.pop()
            if found is not None:
                self._frames(found)
                self.text(f"error {type(found).__name__}", f"{found!r} {found} {found.args!r} {vars(found)!r}")
                waiting += [found.__cause__, found.__context__]
        if isinstance(error, OSError):
            self.text("pickled error", pickle.dumps(error, 0).decode("latin-1"))

    def _frames(self, error: BaseException) -> None:
        """As ``traceback.TracebackException(capture_locals=True)``, which ends where a ``repr`` of others' fails."""
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(self.folders):
                for name, value in frame.f_locals.items():
                    where = f"local {name} of {frame.f_code.co_name}, {frame.f_code.co_filename}:{line}"
                    try:
                        self.value(where, value)
                    except Exception as failed:
                        self.text(where, f"no repr: {failed!r}")

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a call gives, or None where it raises; both are seen."""
        try:
            result = function(*arguments, **named)
            if isinstance(result, Iterator) and not isinstance(result, io.IOBase):
                result = list(result)
        except Exception as error:
            self.error(error)
            return None
        self.value("result", result)
        return result

    def leaks(self) -> list[str]:
        return sorted({f"{where}: {text[:300]}" for where, text in self.seen for word in FORMS if word in text})


class _Records(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self.watch.text("log", f"{record.msg} {record.args!r} {record.getMessage()} {record.exc_text}")
        if record.exc_info and record.exc_info[1] is not None:
            self.watch.error(record.exc_info[1])


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, no_aws: None) -> Iterator[Watch]:
    """Sees logs, warnings and the ends of threads; at the end of the test nothing of what was seen holds a secret."""
    watch = Watch()
    handler = _Records(watch)
    loggers = [logging.getLogger(name) for name in ("storagekit", "storagekit_s3")]
    monkeypatch.setattr(threading, "excepthook", lambda ended: watch.error(ended.exc_value))
    monkeypatch.setattr("random.random", lambda: 0.001)  # the pauses between attempts
    for logger in loggers:
        logger.addHandler(handler)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield watch
        for warning in warned:
            watch.text("warning", f"{warning.message!r} {warning.message} {warning.source!r}")
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert watch.seen
    assert watch.leaks() == []


def storage_on(endpoint: str, transport: str, **options: object) -> storagekit.Storage:
    own = {"endpoint_url": endpoint, "region_name": "us-east-1", "transport": transport, **CREDENTIALS, **options}
    return storagekit.Storage(options={"s3": own}, threads=4)


def use(watch: Watch, storage: storagekit.Storage, url: str, **extra: Any) -> None:
    """Functions of every kind, with the handles that they give."""
    folder = url.rpartition("/")[0]
    watch.value("storage", storage)
    watch.value("settings", storage.settings)
    watch.call(_write, storage, url, b"x" * 10, **extra)
    reader = watch.call(storage.open, url, "rb", **extra)
    if reader is not None:
        watch.call(reader.read)
        watch.call(pickle.dumps, reader, 0)
        watch.value("resource", reader.stat)
        reader.close()
    for function in (storage.stat, storage.listdir, storage.exists, storage.traits, storage.uploads, storage.touch):
        watch.call(function, url, **extra)
    watch.call(storage.copyfile, url, url + "-copy", **extra)
    watch.call(storage.rename, url + "-copy", url + "-renamed", **extra)
    watch.call(storage.walk, folder, **extra)
    watch.call(storage.glob, folder + "/*", **extra)
    watch.call(storage.read_many, [url], **extra)
    watch.call(storage.write_many, {url + "-many": b"x"}, on_error="return", **extra)
    watch.call(storage.remove, url, **extra)
    watch.call(pickle.dumps, storage, 0)
    watch.call(pickle.dumps, storage.settings, 0)


def _write(storage: storagekit.Storage, url: str, data: bytes, **extra: Any) -> None:
    with storage.open(url, "wb", **extra) as file:
        watch_me = repr(file)
        file.write(data)
    assert watch_me


# ---------------------------------------------------------------- the watch itself


def test_the_watch_sees_what_a_frame_holds() -> None:
    watch = Watch((str(Path(__file__).parent),))

    def careless(key: str) -> None:
        raise OSError("no word of it here")

    watch.call(careless, SECRET)
    assert [leak for leak in watch.leaks() if "local key of careless" in leak]


@pytest.mark.parametrize("chain", ["cause", "context"])
def test_the_watch_sees_what_an_error_is_chained_to(chain: str) -> None:
    watch = Watch()
    error = OSError("fine")
    setattr(error, f"__{chain}__", ValueError(f"not fine: {TOKEN}"))
    error.__suppress_context__ = True
    watch.error(error)
    assert watch.leaks()


# ---------------------------------------------------------------- the types that hide


def test_a_secret_is_a_text_that_does_not_show() -> None:
    secret = Secret(SECRET)
    assert (secret, len(secret), f"{secret}", hash(secret)) == (SECRET, len(SECRET), SECRET, hash(SECRET))
    assert isinstance(secret, str)
    for shown in (repr(secret), f"{secret!r}", repr([secret]), repr({"a": secret}), f"{secret!a}"):
        assert SECRET not in shown
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(secret)
    assert copy.deepcopy({"a": secret})["a"] is copy.copy(secret)
    assert veiled(secret) is secret


def test_bytes_and_options_that_do_not_show() -> None:
    head = HiddenBytes(SECRET.encode())
    assert (head, len(head)) == (SECRET.encode(), len(SECRET))
    options = HiddenOptions(profile="me", key=SECRET)
    for shown in (repr(head), str(head), repr(options), str(options), repr(veiled(SECRET.encode()))):
        assert SECRET not in shown
    assert "profile" in repr(options)
    with pytest.raises(TypeError):
        pickle.dumps(head)
    again = pickle.loads(pickle.dumps(options))
    assert (type(again), again) == (dict, options)
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(HiddenOptions(key=Secret(SECRET)))


def test_what_is_no_text_and_no_mapping_stays_as_it_is() -> None:
    assert veiled(3) == 3
    assert hidden(None) is None
    assert hidden([1]) == [1]
    options = HiddenOptions()
    assert hidden(options) is options


def test_a_driver_gets_its_secrets_hidden() -> None:
    seen: list[Mapping[str, object]] = []

    class Driver(storagekit_memory_driver()):  # type: ignore[misc]
        @storagekit.hookspecs.hookimpl
        def known_options(self) -> list[Option]:
            return [Option("token", "a secret", secret=True), Option("name", "none"), Option("place", "an endpoint")]

        @storagekit.hookspecs.hookimpl
        def stat(self, location: Any, options: Mapping[str, object]) -> Any:
            seen.append(options)
            raise storagekit.errors.not_found(location)

    given = {"token": TOKEN, "name": "n", "place": f"http://me:{PASSWORD}@host"}
    with storagekit.Storage(drivers={"memory": Driver}) as storage:
        assert not storage.isfile("memory://box/key", options=given)
    assert seen[0] == given
    shown = repr(seen[0]) + "".join(map(repr, seen[0].values()))
    assert TOKEN not in shown
    assert PASSWORD not in shown
    assert "'n'" in shown, "what is no secret may be seen"


def storagekit_memory_driver() -> type:
    from storagekit_memory.driver import MemoryDriver

    return MemoryDriver


# ---------------------------------------------------------------- servers that answer


def test_what_succeeds(watch: Watch, moto: S3Server, transport: str) -> None:
    bucket = moto.new_bucket()
    url = f"s3://{bucket}/folder/key"
    with storage_on(moto.endpoint, transport) as storage:
        use(watch, storage, url)
        watch.call(_write, storage, url, b"x" * (9 << 20))
        assert storage.presign(url).startswith(moto.endpoint), "which has the key id in it, and is the caller's"
    refused = (TypeError, FileNotFoundError, NotADirectoryError)  # of pickling, of what is gone, of listing an object
    assert [failure for failure in watch.failures if not isinstance(failure, refused)] == []
    with storagekit.Storage() as storage:
        use(watch, storage, url, options={"endpoint_url": moto.endpoint, "transport": transport, **CREDENTIALS})


def test_what_is_encrypted_with_a_key_of_ones_own(watch: Watch, moto_tls: S3Server) -> None:
    url = f"s3://{moto_tls.new_bucket()}/folder/key"
    with storage_on(moto_tls.endpoint, "boto3", ca_bundle=moto_tls.ca_bundle, sse_customer_key=SSE) as storage:
        use(watch, storage, url)
    with storage_on(moto_tls.endpoint, "wire", ca_bundle=moto_tls.ca_bundle, sse_customer_key=SSE) as storage:
        use(watch, storage, url)
    with storage_on(moto_tls.endpoint, "boto3", sse_customer_key=SSE) as storage:  # nobody trusts the certificate
        use(watch, storage, url)


def test_a_wrong_secret(watch: Watch, rclone: S3Server, transport: str) -> None:
    url = f"s3://{rclone.new_bucket()}/folder/key"
    with storage_on(rclone.endpoint, transport, aws_access_key_id=rclone.access_key) as storage:
        use(watch, storage, url)
    with storage_on(rclone.endpoint, transport) as storage:
        use(watch, storage, url)
    assert any(getattr(failure, "store_code", "") == "SignatureDoesNotMatch" for failure in watch.failures)


REFUSALS = {
    "ExpiredToken": f"<Message>The token {TOKEN} is old</Message><Token-0>{TOKEN}</Token-0>",
    "InvalidAccessKeyId": f"<Message>Nobody has {KEY_ID}</Message><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId>",
    "SignatureDoesNotMatch": f"<Message>No</Message><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId>"
    f"<CanonicalRequest>x-amz-security-token:{TOKEN}</CanonicalRequest>",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_that_repeats_what_it_was_sent(watch: Watch, transport: str, code: str) -> None:
    answer = reply(403, f"<Error><Code>{code}</Code>{REFUSALS[code]}</Error>".encode(), content_type="application/xml")
    with Scripted(*[answer] * 8) as server, storage_on(server.endpoint, transport) as storage:
        watch.call(storage.open, "s3://bucket/key", "rb")
        watch.call(storage.listdir, "s3://bucket/folder")
        watch.call(_write, storage, "s3://bucket/key", b"x")
    assert [getattr(failure, "store_code", "") for failure in watch.failures] == [code] * 3
    assert code in str(watch.failures[0].__cause__), "what the store said is the cause all the same"


@pytest.mark.parametrize(
    "answer",
    [
        [CLOSE],
        [RESET],
        [b"what is that?\r\n\r\n", CLOSE],
        [SILENCE],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: x\r\n\r\nten bytes.", RESET],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: x\r\n\r\nten bytes.", SILENCE],
        reply(200, b"<html>a page</html>"),
        reply(200, b"<ListBucketResult><Contents>", content_type="application/xml"),
        reply(400, b""),
        reply(500, b"<Error><Code>InternalError</Code></Error>"),
        reply(307, b"", location="http://127.0.0.1:1/"),
    ],
    ids=["close", "reset", "garbage", "silence", "cut", "stalled", "page", "half", "400", "500", "redirect"],
)
def test_an_answer_that_is_none(watch: Watch, transport: str, answer: Any) -> None:
    with Scripted(*[answer] * 60) as server, storage_on(server.endpoint, transport, read_timeout=0.2) as storage:
        watch.call(storage.listdir, "s3://bucket/folder")
        watch.call(_write, storage, "s3://bucket/key", b"x")
        reader = watch.call(storage.open, "s3://bucket/key", "rb")
        if reader is not None:
            watch.call(reader.read)
            reader.close()
    assert watch.failures


def test_nobody_answers(watch: Watch, transport: str) -> None:
    with storage_on("http://127.0.0.1:1", transport) as storage:
        watch.call(storage.open, "s3://bucket/key")
        watch.call(storage.listdir, "s3://bucket")
        watch.call(storage.stat, "s3://bucket/key", options={"endpoint_url": "http://no-such-host.invalid"})
        watch.call(storage.stat, "s3://bucket/key", options={"endpoint_url": "https://127.0.0.1:1"})
    assert len(watch.failures) == 4


def test_what_a_thread_cannot_clean_up(watch: Watch, moto: S3Server, transport: str) -> None:
    url = f"s3://{moto.new_bucket()}/key"
    with fault_proxy(moto) as (server, faults):
        storage = storage_on(server.endpoint, transport)
        faults.arm(Status(403), "abort", times=None)
        file = storage.open(url, "wb")
        file.write(b"x" * (20 << 20))
        del file
        gc.collect()
        storage.close()
        watch.value("uploads", faults)
    assert any(where == "log" for where, _ in watch.seen)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    "wrong",
    [
        {"aws_secret_access_key": SECRET + "\n"},
        {"aws_session_token": TOKEN + "\udcff"},
        {"aws_access_key_id": KEY_ID + " "},
        {"aws_secret_access_key": SECRET.encode()},
        {"aws_session_token": TOKEN.encode()},
        {"aws_secret_access_key": None},
        {"aws_access_key_id": None, "aws_secret_access_key": None},
        {"sse_customer_key": SSE[:-3]},
        {"sse_customer_key": SSE_BYTES},
        {"anonymous": True},
        {"anonymous": "yes"},
        {"metadata": {"line": "end\n"}},
        {"read_timeout": 0},
        {"aws_secret_acces_key": SECRET},
        {"aws_token": TOKEN},
        {"endpoint_url": f"http://me:{PASSWORD}@127.0.0.1:1"},
        {"endpoint_url": f"ftp://me:{PASSWORD}@127.0.0.1:1"},
        {"ca_bundle": "/no/such/file"},
        {"profile": "nobody"},
        {"server": "unheard of"},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_a_wrong_option(watch: Watch, transport: str, wrong: Mapping[str, object]) -> None:
    options = {"endpoint_url": "http://127.0.0.1:1", "transport": transport, **CREDENTIALS, **wrong}
    with storagekit.Storage(options={"s3": options}) as storage:
        watch.call(storage.open, "s3://bucket/key")
        watch.call(pickle.dumps, storage, 0)
    with storagekit.Storage() as storage:
        watch.call(storage.listdir, "s3://bucket/key", options=options)
        watch.call(storage.rename, "s3://bucket/key", "s3://bucket/other", options=options)
        watch.call(storage.copyfile, "s3://bucket/key", "memory://bucket/other", options=options)
        watch.call(storage.read_many, ["s3://bucket/key"], on_error="raise", options=options)
        watch.call(storage.write_many, {"s3://bucket/key": b"x"}, options=options)
        watch.call(storage.walk, "s3://bucket/key", onerror=watch.error, options=options)
    watch.call(s3filestream.open, "s3://bucket/key", "w", options=options)
    assert len(watch.failures) >= 7


def test_options_in_the_wrong_place(watch: Watch) -> None:
    wrong: Any = [*CREDENTIALS.items()]
    for call in (storagekit.open, storagekit.listdir, s3filestream.open):
        watch.call(call, "s3://bucket/key", options=wrong)
        watch.call(call, "/nowhere/plain", options=CREDENTIALS)
    watch.call(storagekit.Storage, options={"s3": CREDENTIALS}, cache_bytes=-1)
    watch.call(storagekit.Storage, options={"S3:": CREDENTIALS})
    watch.call(storagekit.Storage, options={"s3": CREDENTIALS}, no_such_setting=1)
    watch.call(Settings, options={"s3": CREDENTIALS}, threads=0)
    watch.call(storagekit.Storage(options={"s3": CREDENTIALS}).open, "s3://bucket/key", "rz")
    watch.call(storagekit.Storage(options={"s3": CREDENTIALS}).open, "s3://bucket/key", "no mode")
    assert len(watch.failures) == 12


# ---------------------------------------------------------------- the environment, and files


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}


@pytest.mark.parametrize(
    "more",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_ENDPOINT_URL": f"http://me:{PASSWORD}@127.0.0.1:1"},
        {"AWS_ENDPOINT_URL_S3": f"http://me:{PASSWORD}@127.0.0.1:1/path"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SECRET_ACCESS_KEY": f"{SECRET}\udcff"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": f"{TOKEN}\n"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": f"{TOKEN}\udcff"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": f"{KEY_ID}\n"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_PROFILE": "nobody"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_CA_BUNDLE": "/no/such/file"},
        {"AWS_ENDPOINT_URL": f"me:{PASSWORD}@127.0.0.1"},
        {"HTTP_PROXY": f"http://me:{PASSWORD}@127.0.0.1:1", "AWS_ENDPOINT_URL": "http://192.0.2.1"},
    ],
    ids=lambda more: "-".join(more),
)
def test_credentials_in_the_environment(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, transport: str, more: Mapping[str, str]
) -> None:
    for name, value in {**ENVIRONMENT, "AWS_DEFAULT_REGION": "us-east-1", **more}.items():
        monkeypatch.setenv(name, value)
    _unaware(watch, {} if transport == "wire" else {"transport": transport})


def _unaware(watch: Watch, options: Mapping[str, object]) -> None:
    with storagekit.Storage() as storage:
        for call in (storage.open, storage.listdir, storage.remove):
            watch.call(call, "s3://bucket/key", options=options)
        watch.call(_write, storage, "s3://bucket/key", b"x", options=options)
    assert len(watch.failures) == 4


@pytest.mark.parametrize(
    "lines",
    [
        "endpoint_url = http://127.0.0.1:1",
        f"endpoint_url = http://me:{PASSWORD}@127.0.0.1:1",
        "endpoint_url = not a url",
        "endpoint_url = http://127.0.0.1:1\ns3 =\n  addressing_style = sideways",
        "endpoint_url = http://127.0.0.1:1\nretry_mode = never",
        "endpoint_url = http://127.0.0.1:1\nregion = no region at all",
    ],
)
def test_credentials_in_a_file(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str, lines: str
) -> None:
    secrets = "\n".join(f"{name} = {value}" for name, value in CREDENTIALS.items())
    region = "" if "region =" in lines else "region = us-east-1\n"
    (tmp_path / "config").write_text(f"[default]\n{region}{secrets}\n{lines}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    _unaware(watch, {} if transport == "wire" else {"transport": transport})


PLAIN = """
import json, logging, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
for name in ("botocore", "urllib3"):  # which tell everything at this level, and are not ours
    logging.getLogger(name).setLevel(logging.WARNING)
import storagekit
for call in (storagekit.open, storagekit.listdir):
    try:
        call("s3://bucket/key")
    except OSError as error:
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        while found is not None:
            print([frame.locals for frame in found.stack if frame.name != "<module>"])
            print("".join(found.format(chain=False)))
            found = found.__cause__ or found.__context__
assert "botocore" not in sys.modules, "which is another test"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="without botocore on Linux only")
@pytest.mark.parametrize(
    "more",
    [{}, {"AWS_SECRET_ACCESS_KEY": SECRET + "\n"}, {"AWS_SESSION_TOKEN": TOKEN + "\n"}],
    ids=lambda more: "-".join(more),
)
def test_a_program_that_loads_no_botocore(tmp_path: Path, more: Mapping[str, str]) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("AWS_") and not n.lower().endswith("_proxy")}
    environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **ENVIRONMENT}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", **more}
    ran = subprocess.run([sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "s3://bucket/key" in ran.stdout
    assert not [word for word in FORMS if word in ran.stdout + ran.stderr]


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize("scheme", ["s3", "memory", "file", "S3"])
def test_a_url_with_a_password_is_refused_and_not_repeated(watch: Watch, tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://{KEY_ID}:{PASSWORD}@bucket/key"
    with storagekit.Storage() as storage:
        (tmp_path / "plain").write_bytes(b"x")
        for name in (
            "open",
            "stat",
            "listdir",
            "exists",
            "walk",
            "iglob",
            "remove",
            "mkdir",
            "touch",
            "presign",
            "uploads",
        ):
            watch.call(getattr(storage, name), url)
        watch.call(storage.open, file=url)
        watch.call(storage.rename, "memory://box/key", url)
        watch.call(storage.copyfile, src=tmp_path / "plain", dst=url)
        watch.call(storage.copyfile, url, "memory://box/key")
        watch.call(s3filestream.open, url)
        # A secret of Amazon's may hold slashes.
        watch.call(storage.open, f"{scheme}://AKIAIOSFODNN7EXAMPLE:{PASSWORD}/{PASSWORD}@bucket/key")
    assert len(watch.failures) == 17
    for failure in watch.failures:
        assert isinstance(failure, InvalidArgumentError)
        assert "options" in str(failure), "and how it is done right"
        assert str(failure.filename).startswith(scheme.lower())


@pytest.mark.parametrize("kind", [os.fsencode, lambda url: type("P", (), {"__fspath__": lambda self: url})()])
def test_so_is_one_of_another_type(watch: Watch, kind: Callable[[str], Any]) -> None:
    url = kind(f"memory://me:{PASSWORD}@box/key")
    for name in ("open", "stat", "listdir", "walk", "glob", "iglob", "remove", "mkdir", "presign", "uploads"):
        watch.call(getattr(storagekit, name), url)
    watch.call(storagekit.open, file=url)
    watch.call(storagekit.copyfile, "memory://box/key", url)
    watch.call(s3filestream.open, url)
    assert len(watch.failures) == 13
    for failure in watch.failures:
        assert isinstance(failure, InvalidArgumentError)
        assert "credentials" in str(failure)


class Shown:
    """A path of nobody's library that shows what it is."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __fspath__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return self.url


@pytest.mark.parametrize("kind", [str, os.fsencode, Shown])
def test_so_are_those_of_many(watch: Watch, kind: Callable[[str], Any]) -> None:
    url = kind(f"memory://me:{PASSWORD}@box/key")
    with storagekit.Storage() as storage:
        watch.call(storage.read_many, iter([url]), on_error="raise")
        watch.call(storage.write_many, iter([(url, b"x")]))
        watch.call(storage.write_many, iter([(url, b"x")]), on_error="return")
        ((given, error),) = storage.read_many([url])
    assert given is url
    assert isinstance(error, OSError)
    watch.error(error)
    assert [type(failure) for failure in watch.failures] == [InvalidArgumentError] * 4


def test_so_is_what_pathlib_made_of_one(watch: Watch) -> None:
    for scheme in ("s3", "memory", "S3"):
        url = PurePosixPath(f"{scheme}://me:{PASSWORD}@box/key")
        for name in ("open", "stat", "listdir", "glob", "remove"):
            watch.call(getattr(storagekit, name), url)
        watch.call(storagekit.copyfile, "memory://box/key", url)
        with pytest.raises(InvalidArgumentError) as many:
            list(storagekit.read_many([url], on_error="raise"))
        watch.text("many", f"{many.value!r} {many.value}")
    assert len(watch.failures) == 18
    for failure in watch.failures:
        assert "credentials" in str(failure)


def test_a_local_path_that_looks_like_it_is_a_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("backup:/me:word@host")
    storagekit.makedirs(place)
    assert storagekit.isdir(place)
    assert storagekit.isdir("s3:/me:word@host") is False


def test_a_path_that_cannot_be_asked_is_left_to_the_call() -> None:
    class Broken:
        def __fspath__(self) -> str:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        storagekit.open(Broken())


def test_the_environment_is_no_local_of_ours(watch: Watch) -> None:
    watch.call(Settings.from_environment, {"STORAGEKIT_THREADS": "x", "AWS_SECRET_ACCESS_KEY": SECRET})
    assert [type(failure) for failure in watch.failures] == [InvalidArgumentError]


def test_an_at_sign_elsewhere_is_a_character_like_others() -> None:
    for url in (
        "memory://box/me:word@host",
        "memory://box/a@b",
        "me:word@host",
        "/nowhere/me:word@host",
        "memory://me@box/key",
        "memory://box:1/a@b",
        "memory://ABCDEFGHIJKLMNOP/a:b@c",
    ):
        refuse_password(url)
    with storagekit.Storage() as storage:
        storage.touch("memory://box/me:word@host")
        assert storage.listdir("memory://box") == ["me:word@host"]


@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_a_presigned_url_is_not_seen_in_our_frames(watch: Watch, kind: Callable[[str], Any]) -> None:
    signed = kind(f"https://bucket.example/key?X-Amz-Security-Token={quote(TOKEN)}")
    watch.call(storagekit.open, signed)
    watch.call(storagekit.open, file=signed)
    watch.call(storagekit.copyfile, signed, "memory://box/key")
    assert ["no driver for https" in str(failure) for failure in watch.failures] == [True] * 3
    assert unsigned("https://host/key") == "https://host/key"
    assert unsigned(signed) == signed
    assert type(unsigned("s3://bucket/key?part")) is str


def test_a_presigned_url_is_no_url_of_ours_and_is_not_repeated() -> None:
    signed = f"https://bucket.example/key?X-Amz-Credential={KEY_ID}%2F20260101&X-Amz-Security-Token={quote(TOKEN)}"
    with pytest.raises(OSError, match="no driver") as caught:
        storagekit.open(signed)
    shown = f"{caught.value!r} {caught.value} {caught.value.filename}"
    assert "https://bucket.example/key" in shown
    assert not [word for word in FORMS if word in shown]
    assert without_query("s3://bucket/key?part") == "s3://bucket/key?part", "of ours, every character is the key's"


def test_settings_and_storages_with_secrets_do_not_pickle(watch: Watch) -> None:
    settings = Settings(options={"s3": CREDENTIALS})
    for made in (settings, storagekit.Storage(settings), storagekit.Storage(options={"s3://bucket/": CREDENTIALS})):
        watch.call(pickle.dumps, made, 0)
        watch.value("made", made)
    assert [type(failure) for failure in watch.failures] == [TypeError] * 3
    with pytest.raises(TypeError):
        json.dumps(settings)
