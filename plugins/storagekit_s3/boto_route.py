"""Asking botocore for a route: what would it send, and where to?

A client of its own is made, told to send nothing, and asked for one HEAD. What it was about to send shows the
endpoint that it has resolved for the bucket, the region and the service that it signs for, and every header that
somebody has it add. Where any of that is beyond the wire, the answer is the reason. That is more robust than a list
of settings would be: a setting that is not known here shows in what it does.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from storagekit.hiding import HiddenOptions
from storagekit_s3.boto_client import make_client, make_session
from storagekit_s3.options import Connection
from storagekit_s3.routes import TOTAL_ATTEMPTS, Reason, Route, Trust
from storagekit_s3.signing import Credentials

__all__ = ["boto_route"]

_SAMPLE = "storagekit"

# What botocore sends along with every HEAD, signed or not.
_USUAL_HEADERS = {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
}
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/(?P<region>[^/,]+)/s3/aws4_request,.*")


class _Nothing:
    """The body of an answer that nobody has given."""

    def stream(self, *_: object, **__: object) -> Any:
        return iter(())


def boto_route(connection: Connection, bucket: str) -> Route | Reason:
    """The route to *bucket* as botocore would go; a reason where the wire cannot. Raises what botocore raises."""
    if bucket.startswith("arn:") or bucket.endswith("--x-s3"):
        return "access points and directory buckets have signatures of their own"
    session = make_session(connection)
    client = make_client(connection, session)
    try:
        sample = _sample(client, bucket)
        if isinstance(sample, str):
            return sample
        return _taken_apart(connection, session, client, sample)
    finally:
        client.close()


def _sample(client: Any, bucket: str) -> Any:
    """The request for a HEAD of an object in *bucket*, which is not sent; or a reason."""
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ClientError

    seen: list[Any] = []

    def answer(request: Any, **_: object) -> Any:
        seen.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())

    # The handlers of "before-send.s3" come before those of "before-send", where mocks are: so the very last is there.
    client.meta.events.register_last("before-send", answer)
    elsewhere = "something else answers in place of the network (a mock, as it seems)"
    try:
        reply = client.head_object(Bucket=bucket, Key=_SAMPLE)
    except ClientError:
        return elsewhere
    # Our own answer has no headers. Whoever answers before has some.
    if len(seen) != 1 or reply["ResponseMetadata"].get("HTTPHeaders"):
        return elsewhere
    return seen[0]


def _taken_apart(connection: Connection, session: Any, client: Any, sample: Any) -> Route | Reason:
    headers = HiddenOptions({name.lower(): _text(value) for name, value in sample.headers.items()})
    if odd := sorted(set(headers) - _USUAL_HEADERS):
        return f"botocore adds the header {odd[0]}"
    if (
        not sample.url.startswith(("http://", "https://"))
        or not sample.url.endswith("/" + _SAMPLE)
        or "@" in sample.url
    ):
        return "the endpoint is built in a way of its own"
    settings = client.meta.config
    from botocore.utils import get_environ_proxies

    # Those of all schemes, and the value of NO_PROXY too. botocore takes the one of the URL's scheme.
    if get_environ_proxies(sample.url).get(urlsplit(sample.url).scheme):
        return "the way leads through a proxy"
    region = client.meta.region_name or ""
    signs = "authorization" in headers
    if signs:
        found = _AUTHORIZATION.fullmatch(headers["authorization"])
        if found is None:
            return "requests are signed in another way"
        region = found["region"]
    return Route(
        str(client.meta.endpoint_url),
        sample.url.removesuffix("/" + _SAMPLE),
        region,
        _credentials(session) if signs else None,
        Trust(connection.verify, _bundle(connection, session)),
        checksums=settings.request_checksum_calculation == "when_supported"
        or connection.checksum_algorithm is not None,
        algorithm=connection.checksum_algorithm,
        signs_payload=bool((settings.s3 or {}).get("payload_signing_enabled")),
        attempts=int((settings.retries or {}).get("total_max_attempts") or TOTAL_ATTEMPTS),
    )


def _credentials(session: Any) -> Any:
    """Gives the credentials of the moment; botocore renews them when it is time."""
    found = session.get_credentials()

    def current() -> Credentials:
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return current


def _bundle(connection: Connection, session: Any) -> str | None:
    configured = session._session.get_config_variable("ca_bundle")
    return connection.ca_bundle or configured or os.environ.get("REQUESTS_CA_BUNDLE") or None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
