"""Signing: AWS Signature Version 4, as S3 wants it.

The rules are those of "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html). S3 differs from other
services in two of them: a path is encoded once and never normalised, and the payload's hash goes along as a header.

The key that signs is derived from the secret by four rounds of HMAC, and is the same for a day, so the last one is
kept: then a signature costs two hashes and one HMAC, some ten microseconds. Whether signatures are right is held by
tests against the published examples and, for requests drawn at random, against botocore.

``hmac.digest`` is not used: it lets other threads run while it is within OpenSSL, whose locks a child that one of them
forks then inherits as they are. (Of 150 children forked beside its first use 24 never came back from theirs.) The
objects of ``hmac`` and ``hashlib`` do no such thing for what is as short as this.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote

from storagekit.hiding import Secret

__all__ = ["EMPTY_PAYLOAD", "UNSIGNED_PAYLOAD", "Credentials", "Signer", "encode_path", "encode_query", "payload_hash"]

EMPTY_PAYLOAD = hashlib.sha256(b"").hexdigest()
# What stands for the hash where TLS and a checksum guard the payload instead.
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials:
    """Who signs. Neither it nor what it holds shows in a ``repr``."""

    __slots__ = ("access_key", "secret_key", "token")

    def __init__(self, access_key: str, secret_key: str, token: str | None = None) -> None:
        self.access_key = Secret(access_key)
        self.secret_key = Secret(secret_key)
        self.token = None if token is None else Secret(token)

    def __repr__(self) -> str:
        return "<Credentials>"


class Signer:
    """Signs requests for one region and service; threads may share it."""

    def __init__(self, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        # Replaced as a whole, so that threads see either the old day's key or the new one's.
        self._day = "", "", _keyed(b"")
        self._second: tuple[int | None, str] = (None, "")

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        payload: str,
        credentials: Credentials,
        now: float,
    ) -> None:
        """Add to *headers* what makes the request a signed one at the time *now* (seconds since the epoch).

        *path* and *query* are encoded already (``encode_path``, ``encode_query``); the names of *headers* are in lower
        case, ``host`` among them, and all are signed; *payload* is the hash of the body, or ``UNSIGNED_PAYLOAD``.
        """
        stamp = self._stamp(int(now))
        headers["x-amz-date"] = stamp
        headers["x-amz-content-sha256"] = payload
        if credentials.token is not None:
            headers["x-amz-security-token"] = credentials.token
        signed = ";".join(sorted(headers))
        digest = _digest(method, path, query, headers, signed, payload)
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        keyed = self._keyed(credentials.secret_key, stamp[:8]).copy()
        keyed.update(text.encode())
        signature = keyed.hexdigest()
        headers["authorization"] = Secret(
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )

    def _stamp(self, second: int) -> str:
        known, stamp = self._second
        if known != second:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._second = second, stamp
        return stamp

    def _keyed(self, secret: str, day: str) -> hmac.HMAC:
        """The HMAC with the key of *day*, to be copied."""
        of_secret, of_day, keyed = self._day
        if of_day != day or of_secret != secret:
            key = f"AWS4{secret}".encode()
            for step in (day, self._region, self._service, "aws4_request"):
                key = _keyed(key, step.encode()).digest()
            keyed = _keyed(key)
            self._day = secret, day, keyed
        return keyed


def _keyed(key: bytes, message: bytes | None = None) -> hmac.HMAC:
    return hmac.new(key, message, "sha256")


def _digest(method: str, path: str, query: str, headers: Mapping[str, str], signed: str, payload: str) -> str:
    """The hash of the request in its canonical form."""
    lines = "\n".join([f"{name}:{_folded(headers[name])}" for name in signed.split(";")])
    request = f"{method}\n{path}\n{query}\n{lines}\n\n{signed}\n{payload}"
    return hashlib.sha256(request.encode()).hexdigest()


def _folded(value: str) -> str:
    """A header's value as it is signed: without space at its ends, and one space where there are several, or a tab."""
    return " ".join(value.split()) if "  " in value or "\t" in value else value.strip()


def encode_path(path: str) -> str:
    """A path as it is sent and signed: every byte but the unreserved ones and the slash is encoded, once."""
    return quote(path, safe="/~")


def encode_query(parameters: Mapping[str, str]) -> str:
    """A query as it is sent and signed: encoded, and in the order of its names. An empty value keeps its ``=``."""
    pairs = sorted([(quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items()])
    return "&".join([f"{name}={value}" for name, value in pairs])


def payload_hash(body: bytes | bytearray | memoryview) -> str:
    """The hash of a payload that is signed."""
    return hashlib.sha256(body).hexdigest() if body else EMPTY_PAYLOAD
