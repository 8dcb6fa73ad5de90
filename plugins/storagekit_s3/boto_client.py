"""How a client of boto3 is made.

Everything that is not given is boto3's to find out. After that, an endpoint that is not Amazon's gets what
the servers beyond Amazon need, unless the user's own configuration says otherwise:

* path-style addressing, because ``bucket.host`` resolves almost nowhere;
* ``request_checksum_calculation="when_required"``: by default boto3 frames uploads over https in chunks with a
  checksum at the end, which older servers refuse, or even store as if the frames were data;
* where the configuration wants checksums all the same, they go along in a header (``header_checksum``), as the wire
  sends them, and never in frames.

Responses are never checked against a checksum by botocore (``when_required``): some servers send that of the whole
object along with a range of it. What is read from start to end is held against it by the core.

It makes one attempt of each request. ``max_attempts``, wherever it was given, is in the client's configuration for
those who try again (``boto_calls``). That botocore follows a bucket to another region is no attempt of its count.

How its requests and answers travel is in ``boto_http``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.hiding import HiddenBytes, HiddenOptions
from storagekit_s3.boto_http import BoundedSession
from storagekit_s3.guarding import checksum_parameters, declaration
from storagekit_s3.options import NO_CREDENTIALS, Connection
from storagekit_s3.routes import TOTAL_ATTEMPTS
from storagekit_s3.servers import is_amazon

__all__ = ["header_checksum", "make_client", "make_session", "upload_checksum"]

# What read_many has in flight (64), what transfers may run at once (32), and as many again for calls made by the user's
# threads. A connection beyond that is closed after each request, as with botocore's own default of 10 most would be;
# one that nobody needs is never opened.
POOL_CONNECTIONS = 128


def make_session(connection: Connection) -> Any:
    """A boto3 session for *connection*; it finds and renews the credentials."""
    with guarded(IMPORT_SECONDS):
        import boto3

    session: Any = boto3.session.Session(
        profile_name=connection.profile,
        region_name=connection.region_name,
        aws_access_key_id=connection.aws_access_key_id,
        aws_secret_access_key=connection.aws_secret_access_key,
        aws_session_token=connection.aws_session_token,
    )
    session._session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    session._session.register_component("data_loader", _loader(session._session.get_config_variable("data_path")))
    return session


@lru_cache(maxsize=8)  # there is hardly more than one
def _loader(data_path: str | None) -> Any:
    """What reads the descriptions of services, once per process.

    A session of botocore's reads and parses them for itself, which is nine tenths of the time that a client takes: of
    each ``Storage``, and of each child of a fork, before its first request.
    """
    from botocore.loaders import create_loader

    return create_loader(data_path)


def make_client(connection: Connection, session: Any = None) -> Any:
    """A boto3 client for *connection*, of *session* if there is one already."""
    if connection.ca_bundle is not None and not os.path.exists(connection.ca_bundle):
        raise ValueError(f"the option ca_bundle names no file: {connection.ca_bundle}")
    session = session or make_session(connection)
    try:
        with guarded(IMPORT_SECONDS):  # it has a context for TLS, and imports what it needs
            client = _made(session, connection)
        if "@" not in client.meta.endpoint_url.partition("://")[2].partition("/")[0]:
            return client
        client.close()
    except ValueError as error:
        if "@" not in str(error):
            raise
    # Whatever came here from the environment or a file, and quotes it, is out of the way.
    raise ValueError(f"the URL of the endpoint {NO_CREDENTIALS}")


def _made(session: Any, connection: Connection) -> Any:
    if connection.endpoint_url is not None:
        return _create(session, connection, custom=not is_amazon(connection.endpoint_url))
    client = _create(session, connection, custom=False)
    if is_amazon(client.meta.endpoint_url):
        return client
    # The endpoint came from the environment or a profile: only botocore knows all the rules for that, so it is asked
    # first. The second client is cheap, the session keeps what it has parsed.
    client.close()
    return _create(session, connection, custom=True)


def _create(session: Any, connection: Connection, *, custom: bool) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    # With the secrets of a profile, if there is one.
    own = HiddenOptions(session._session.get_scoped_config())
    settings: dict[str, Any] = {
        "signature_version": UNSIGNED if connection.anonymous else "s3v4",
        "connect_timeout": connection.connect_timeout,
        "read_timeout": connection.read_timeout,
        "max_pool_connections": POOL_CONNECTIONS,
        "response_checksum_validation": "when_required",
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
    if custom and not os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION") and "request_checksum_calculation" not in own:
        settings["request_checksum_calculation"] = "when_required"
    own_s3 = own.get("s3")
    style = connection.addressing_style
    if style is None and custom and not (isinstance(own_s3, dict) and "addressing_style" in own_s3):
        style = "path"
    if style is not None:
        settings["s3"] = {"addressing_style": style}
    verify: bool | str | None = connection.ca_bundle if connection.verify else False
    client = session.client("s3", endpoint_url=connection.endpoint_url, verify=verify, config=Config(**settings))
    # For those who read it: botocore is done with it, and has taken the 1 above.
    client.meta.config.retries = {**client.meta.config.retries, "total_max_attempts": _attempts(session, connection)}
    endpoint: Any = getattr(client, "_endpoint", None)
    if hasattr(endpoint, "http_session"):  # botocore does not promise that it is there
        endpoint.http_session = BoundedSession(endpoint.http_session)
    if connection.sse_customer_key is not None or connection.request_payer is not None:
        client.meta.events.register("provide-client-params.s3", _parameters_of_all(connection))
    client.meta.events.register("before-sign.s3.GetObject", _ask_for_checksum)
    if custom:
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_content_md5)
    return client


def _attempts(session: Any, connection: Connection) -> int:
    """How often a request is tried at most, by the option, the environment or a profile."""
    return int(connection.max_attempts or session._session.get_config_variable("max_attempts") or TOTAL_ATTEMPTS)


def upload_checksum(client: Any, algorithm: str | None) -> dict[str, str]:
    """The parameters with which an upload begins whose parts come with a checksum."""
    if algorithm is None and not (_asked(client) and is_amazon(str(client.meta.endpoint_url))):
        return {}
    name, kind = declaration(algorithm)
    return {"ChecksumAlgorithm": name, "ChecksumType": kind}


def header_checksum(client: Any, body: bytes | bytearray, algorithm: str | None) -> dict[str, str]:
    """The parameters of an upload of *body* that keep botocore from framing it, where it would, or that were chosen.

    s3rver stores the frames as data, without a word. Amazon's own endpoints understand them.
    """
    endpoint = str(client.meta.endpoint_url)
    if algorithm is None and (not _asked(client) or is_amazon(endpoint) or not endpoint.startswith("https://")):
        return {}
    return checksum_parameters(body, algorithm)


def _asked(client: Any) -> bool:
    return bool(client.meta.config.request_checksum_calculation == "when_supported")


def _parameters_of_all(connection: Connection) -> Callable[..., dict[str, Any]]:
    """Gives every operation the parameters that belong to the connection rather than to a call, where it has them."""
    given = HiddenOptions()
    if connection.request_payer is not None:
        given["RequestPayer"] = connection.request_payer
    if connection.sse_customer_key is not None:
        import base64

        key = HiddenBytes(base64.b64decode(connection.sse_customer_key))
        for prefix in ("", "CopySource"):
            given |= {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}

    def add(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
        members = model.input_shape.members if model.input_shape is not None else ()
        return {**{name: value for name, value in given.items() if name in members}, **params}

    return add


def _ask_for_checksum(request: Any, signature_version: Any, **_: Any) -> None:
    """Have the server tell the object's checksum, where the object is being opened.

    As a parameter it would have botocore compare what it reads, too, and refuse ranges of what some servers answer.
    """
    presigned = "query" in str(signature_version)  # whose bearer would have to send the header, too
    if not presigned and "If-Match" not in request.headers:
        request.headers["x-amz-checksum-mode"] = "ENABLED"


def _add_content_md5(request: Any, **_: Any) -> None:
    """Give a DeleteObjects request the header that S3 demanded of old, and that some servers still do."""
    import base64
    import hashlib

    body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _timestamp(text: Any) -> datetime | None:
    """A time in a reply; None for what is none, which is no reason to have nothing of the reply.

    botocore's own parser is a general one, and takes most of the time of a listing.
    """
    for read in (datetime.fromisoformat, parsedate_to_datetime):  # in XML, and in headers
        try:
            return read(text)
        except (TypeError, ValueError):
            continue
    from botocore.utils import parse_timestamp

    try:
        parsed: datetime = parse_timestamp(text)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        return None
    return parsed
