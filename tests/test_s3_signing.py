"""Signing: equal to the examples that Amazon has published, and to botocore for whatever can be sent."""

from __future__ import annotations

import datetime
import threading
from urllib.parse import parse_qsl

import botocore.auth
import botocore.credentials
import pytest
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

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
MOMENT = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC).timestamp()
WELCOME = b"Welcome to Amazon S3."


@pytest.mark.parametrize(
    ("method", "key", "query", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {},
            {"range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            {},
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            WELCOME,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/", {"lifecycle": ""}, {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "lifecycle", "list"],
)
def test_the_published_examples(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes, signature: str
) -> None:
    sent = {"host": "examplebucket.s3.amazonaws.com", **headers}
    path, text = encode_path(key), encode_query(query)
    Signer("us-east-1").sign(method, path, text, sent, payload_hash(body), EXAMPLE, MOMENT)
    assert sent["authorization"].endswith(f"Signature={signature}")
    assert sent["x-amz-date"] == "20130524T000000Z"


# ---------------------------------------------------------------- beside botocore

names = st.from_regex(r"x-amz-meta-[a-z0-9-]{1,12}", fullmatch=True)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
parameters = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), values)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


class _At(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer at one moment, with the payload's hash as it is given."""

    def __init__(self, credentials: object, region: str, payload: str) -> None:
        super().__init__(credentials, "s3", region)
        self._payload = payload

    def payload(self, request: object) -> str:
        return self._payload


@given(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    keys,
    parameters,
    st.dictionaries(names, values, max_size=3),
    st.sampled_from([None, "token/with+signs="]),
    st.sampled_from([EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, payload_hash(WELCOME)]),
    st.sampled_from(["us-east-1", "eu-central-1", "garage"]),
    st.integers(0, 4 * 10**9),
)
def test_as_botocore_signs(
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    token: str | None,
    payload: str,
    region: str,
    second: int,
) -> None:
    now = datetime.datetime.fromtimestamp(second, datetime.UTC)
    path, text = "/box/" + encode_path(key), encode_query(query)
    url = f"https://host.example:9000{path}" + (f"?{text}" if text else "")
    theirs = AWSRequest(method=method, url=url, headers=dict(headers))
    auth = _At(botocore.credentials.Credentials("id", "secret", token), region, payload)
    theirs.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
    auth._modify_request_before_signing(theirs)
    signature = auth.signature(auth.string_to_sign(theirs, auth.canonical_request(theirs)), theirs)
    auth._inject_signature_to_request(theirs, signature)
    ours = {"host": "host.example:9000", **headers}
    Signer(region).sign(method, path, text, ours, payload, Credentials("id", "secret", token), float(second))
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-content-sha256"] == theirs.headers["X-Amz-Content-SHA256"]


@given(parameters)
def test_a_query_says_what_was_put_into_it(query: dict[str, str]) -> None:
    assert dict(parse_qsl(encode_query(query), keep_blank_values=True)) == query


def test_the_key_is_derived_anew_for_another_day_and_another_secret() -> None:
    def sign(signer: Signer, secret: str, now: float) -> str:
        headers = {"host": "h"}
        signer.sign("GET", "/", "", headers, EMPTY_PAYLOAD, Credentials("id", secret), now)
        return headers["authorization"]

    one = Signer("us-east-1")
    for secret, now in (("a", 0.0), ("b", 0.0), ("a", 86_400.0), ("a", 0.0), ("b", 86_400.0)):
        assert sign(one, secret, now) == sign(Signer("us-east-1"), secret, now)


def test_threads_share_a_signer() -> None:
    signer, wrong = Signer("us-east-1"), []

    def work(number: int) -> None:
        for day in range(200):
            ours, theirs = {"host": "h"}, {"host": "h"}
            now = float(86_400 * ((day + number) % 3))
            credentials = Credentials("id", str(number % 2))
            signer.sign("GET", "/", "", ours, EMPTY_PAYLOAD, credentials, now)
            Signer("us-east-1").sign("GET", "/", "", theirs, EMPTY_PAYLOAD, credentials, now)
            if ours != theirs:
                wrong.append(ours)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_credentials_are_not_shown() -> None:
    assert "hunter2" not in repr(Credentials("id", "hunter2", "hunter2"))
