"""Signing: Amazon's published examples, and botocore's signatures for requests drawn at random."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit_s3 import signing
from storagekit_s3.signing import (
    EMPTY_PAYLOAD,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    encode_path,
    encode_query,
    payload_hash,
)

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"
EXAMPLE_TIME = calendar.timegm((2013, 5, 24, 0, 0, 0))
DAY = 24 * 3600


def signed(
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    payload: str = EMPTY_PAYLOAD,
    *,
    signer: Signer | None = None,
    credentials: Credentials = EXAMPLE,
    now: float = EXAMPLE_TIME,
) -> dict[str, str]:
    """The headers of a request to the examples' bucket, signed."""
    sent = {"host": EXAMPLE_HOST, **(headers or {})}
    signer = signer or Signer("us-east-1")
    signer.sign(method, encode_path(path), encode_query(query or {}), sent, payload, credentials, now)
    return sent


def signature_of(headers: Mapping[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("headers", "signature"),
    [
        (
            signed("GET", "/test.txt", headers={"range": "bytes=0-9"}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            signed(
                "PUT",
                "/test$file.text",
                headers={"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
                payload=payload_hash(b"Welcome to Amazon S3."),
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            signed("GET", "/", {"lifecycle": ""}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            signed("GET", "/", {"max-keys": "2", "prefix": "J"}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get-object", "put-object", "get-lifecycle", "list-objects"],
)
def test_a_published_example_has_its_signature(headers: Mapping[str, str], signature: str) -> None:
    assert signature_of(headers) == signature


def test_what_is_sent_names_the_scope_and_every_header() -> None:
    headers = signed("GET", "/test.txt", headers={"range": "bytes=0-9"})
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["x-amz-content-sha256"] == EMPTY_PAYLOAD
    assert "x-amz-security-token" not in headers


def test_a_clock_that_was_never_set_is_signed_by_too() -> None:
    # The server then answers that the time is wrong, and says which it is.
    headers = signed("GET", "/", now=0.0)
    assert headers["x-amz-date"] == "19700101T000000Z"
    assert "/19700101/us-east-1/" in headers["authorization"]


@pytest.mark.parametrize("value", ["a  b", "a\tb", "a \t b", " a b", "a b\t"])
def test_spaces_and_tabs_in_a_header_are_signed_as_one_space(value: str) -> None:
    headers = signed("PUT", "/", headers={"x-amz-meta-a": value})
    assert headers["x-amz-meta-a"] == value
    assert headers["authorization"] == signed("PUT", "/", headers={"x-amz-meta-a": "a b"})["authorization"]


def test_a_token_is_sent_and_signed() -> None:
    headers = signed("GET", "/", credentials=Credentials("id", "secret", "the-token"))
    assert headers["x-amz-security-token"] == "the-token"
    assert ";x-amz-security-token," in headers["authorization"]


# ---------------------------------------------------------------- botocore's signatures

_keys = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(st.sampled_from("a/.. +%~*'()!$&=:;,@?#\\\"<>[]äé€😀e\u0301\x01\x7f"), max_size=20),
    st.sampled_from(["", "//", "/", "../..", "a/../b", "./a", "a//b", "%2F", "%25", "a b", "a+b", "~", "*"]),
)
_queries = st.dictionaries(
    st.one_of(
        st.sampled_from(["prefix", "list-type", "uploads", "partNumber", "uploadId", "delimiter"]),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=10),
    ),
    st.text(st.characters(codec="utf-8"), max_size=20),
    max_size=5,
)
# What the options let through as a header's value is printable ASCII without spaces at its ends; what a copy takes over
# from its source may have tabs.
_values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip),
    st.lists(st.sampled_from(["a", "b;c", " ", "  ", "   ", "\t", '"', ",", "=", ":"]), max_size=6)
    .map("".join)
    .map(str.strip),
)
_headers = st.dictionaries(
    st.one_of(
        st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=10).map("x-amz-meta-{}".format),
        st.sampled_from(["range", "if-match", "if-none-match", "content-type", "x-amz-storage-class", "content-md5"]),
    ),
    _values,
    max_size=6,
)
_regions = st.sampled_from(["us-east-1", "eu-west-1", "ap-southeast-2", "us-gov-west-1", "garage", "", "a b"])
_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
_credentials = st.builds(Credentials, _words, _words, st.none() | _words)
# From the epoch's first second to the year 9999.
_times = st.one_of(
    st.floats(0, 253_402_300_799),
    st.integers(0, 253_402_300_799 // DAY - 1).map(lambda day: float(day * DAY)),
)


def of_botocore(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    signs_payload: bool,
    credentials: Credentials,
    region: str,
    now: float,
) -> dict[str, str]:
    """The headers of the request when botocore has signed it."""
    from botocore import auth
    from botocore.awsrequest import AWSRequest
    from botocore.config import Config
    from botocore.credentials import Credentials as BotoCredentials

    request: Any = AWSRequest(method, url, dict(headers), body)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": signs_payload})
    moment = datetime.fromtimestamp(int(now), UTC).replace(tzinfo=None)
    held = BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token)
    with mock.patch.object(auth, "get_current_datetime", return_value=moment):
        auth.S3SigV4Auth(held, "s3", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


# Kept for all the requests, as the driver keeps one: so its memory of the day's key is part of what is compared.
_SIGNERS: dict[str, Signer] = {}


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    host=st.sampled_from(["https://box.s3.amazonaws.com", "http://127.0.0.1:9000/box", "http://[::1]:80/box"]),
    key=_keys,
    query=_queries,
    headers=_headers,
    body=st.binary(max_size=50),
    signs_payload=st.booleans(),
    credentials=_credentials,
    region=_regions,
    now=_times,
)
def test_a_signature_is_the_one_of_botocore(
    method: str,
    host: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    signs_payload: bool,
    credentials: Credentials,
    region: str,
    now: float,
) -> None:
    scheme, _, rest = host.partition("://")
    netloc, _, base = rest.partition("/")
    path = encode_path(f"/{base}/{key}" if base else f"/{key}")
    asked = encode_query(query)
    sent = {"host": netloc.removesuffix(":80"), **headers}
    payload = payload_hash(body) if signs_payload else UNSIGNED_PAYLOAD
    url = f"{scheme}://{netloc}{path}" + (f"?{asked}" if asked else "")
    theirs = of_botocore(method, url, headers, body, signs_payload, credentials, region, now)
    signer = _SIGNERS.setdefault(region, Signer(region))
    signer.sign(method, path, asked, sent, payload, credentials, now)
    assert sent["authorization"] == theirs["authorization"]
    assert {name: value for name, value in sent.items() if name != "host"} == theirs


@settings(deadline=None)
@given(query=_queries)
def test_a_query_is_in_the_order_of_its_encoded_names(query: dict[str, str]) -> None:
    from urllib.parse import parse_qsl

    encoded = encode_query(query)
    assert dict(parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded))) == query
    pairs = [tuple(pair.split("=")) for pair in encoded.split("&")]
    assert pairs == sorted(pairs)


@settings(deadline=None)
@given(key=_keys)
def test_a_path_is_encoded_once_and_never_normalised(key: str) -> None:
    from urllib.parse import unquote

    encoded = encode_path(f"/{key}")
    assert unquote(encoded, errors="strict") == f"/{key}"
    assert encoded.count("/") == key.count("/") + 1
    assert all(char.isalnum() or char in "/-_.~%" for char in encoded)
    assert encoded.isascii()


def test_a_payload_is_hashed_whatever_holds_it() -> None:
    expected = hashlib.sha256(b"data").hexdigest()
    assert {payload_hash(b"data"), payload_hash(bytearray(b"data")), payload_hash(memoryview(b"data"))} == {expected}
    assert payload_hash(b"") == payload_hash(bytearray()) == EMPTY_PAYLOAD == hashlib.sha256().hexdigest()


# ---------------------------------------------------------------- the day's key


class Counted:
    """``hmac``, counting the keys that are given to it."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, key: bytes, text: bytes | None, name: str) -> hmac.HMAC:
        self.count += 1
        return hmac.new(key, text, name)


# None yet, and then four rounds and their result.
NONE, DERIVED = 1, 4 + 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(signing, "hmac", counted)
    return counted


def test_the_key_of_a_day_is_derived_once(counted: Counted) -> None:
    signer = Signer("us-east-1")
    signatures = {signature_of(signed("GET", "/", signer=signer, now=EXAMPLE_TIME + second)) for second in range(10)}
    assert len(signatures) == 10
    assert counted.count == NONE + DERIVED


def test_another_day_has_another_key(counted: Counted) -> None:
    signer = Signer("us-east-1")
    for now in (EXAMPLE_TIME - 1, EXAMPLE_TIME, EXAMPLE_TIME + DAY - 1, EXAMPLE_TIME + DAY, EXAMPLE_TIME):
        assert signed("GET", "/", signer=signer, now=now) == signed("GET", "/", now=now)
    # Four days in a row, and as many fresh signers.
    assert counted.count == NONE + 4 * DERIVED + 5 * (NONE + DERIVED)


def test_another_secret_has_another_key() -> None:
    signer = Signer("us-east-1")
    renewed = Credentials(EXAMPLE.access_key, "another-secret", "token")
    for credentials in (EXAMPLE, renewed, EXAMPLE, Credentials("another-id", EXAMPLE.secret_key)):
        ours = signed("GET", "/", signer=signer, credentials=credentials)
        assert ours == signed("GET", "/", credentials=credentials)


def test_threads_share_a_signer() -> None:
    signer = Signer("us-east-1")
    people = [Credentials(f"id-{number}", f"secret-{number}") for number in range(4)]
    wanted = {
        (who.access_key, day): signature_of(signed("GET", "/", credentials=who, now=EXAMPLE_TIME + day * DAY))
        for who in people
        for day in range(3)
    }
    start = threading.Barrier(len(people))
    wrong: list[str] = []

    def work(who: Credentials) -> None:
        start.wait()
        for step in range(300):
            day = step % 3
            found = signature_of(signed("GET", "/", signer=signer, credentials=who, now=EXAMPLE_TIME + day * DAY))
            if found != wanted[who.access_key, day]:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_secret_is_shown() -> None:
    held = Credentials("the-id", "hunter2", "hunter3")
    signer = Signer("us-east-1")
    signed("GET", "/", signer=signer, credentials=held)
    for shown in (repr(held), str(held), f"{[held]}", repr(signer)):
        assert "hunter" not in shown
        assert "the-id" not in shown


def test_a_secret_that_is_no_text_cannot_sign() -> None:
    """A variable of bytes that are no text comes as such; ``exchanges`` refuses it without showing it."""
    with pytest.raises(UnicodeEncodeError):
        Signer("us-east-1").sign("GET", "/", "", {"host": "h"}, EMPTY_PAYLOAD, Credentials("id", "\udcff"), 0.0)
