"""How a client of boto3 is made.

Everything that is not given is boto3's to find out. After that, an endpoint that is not Amazon's gets what
the servers beyond Amazon need, unless the user's own configuration says otherwise:

* path-style addressing, because ``bucket.host`` resolves almost nowhere;
* ``request_checksum_calculation="when_required"``: by default boto3 frames uploads over https in chunks with a
  checksum at the end, which older servers refuse, or even store as if the frames were data.

Responses are never checked against a checksum (``when_required``): some servers send that of the whole object
along with a range of it. TLS and the length and ETag comparisons of the driver guard the reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from storagekit.hiding import HiddenBytes, HiddenOptions
from storagekit_s3.options import NO_CREDENTIALS, Connection
from storagekit_s3.routes import TOTAL_ATTEMPTS
from storagekit_s3.servers import is_amazon

__all__ = ["make_client", "make_session"]

# What read_many has in flight (64), what transfers may run at once (32), and as many again for calls made by the user's
# threads. A connection beyond that is closed after each request, as with botocore's own default of 10 most would be;
# one that nobody needs is never opened.
POOL_CONNECTIONS = 128


def make_session(connection: Connection) -> Any:
    """A boto3 session for *connection*; it finds and renews the credentials."""
    import boto3

    session: Any = boto3.session.Session(
        profile_name=connection.profile,
        region_name=connection.region_name,
        aws_access_key_id=connection.aws_access_key_id,
        aws_secret_access_key=connection.aws_secret_access_key,
        aws_session_token=connection.aws_session_token,
    )
    session._session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


def make_client(connection: Connection, session: Any = None) -> Any:
    """A boto3 client for *connection*, of *session* if there is one already."""
    if connection.ca_bundle is not None and not os.path.exists(connection.ca_bundle):
        raise ValueError(f"the option ca_bundle names no file: {connection.ca_bundle}")
    session = session or make_session(connection)
    try:
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
        "retries": {"mode": "standard"},
    }
    if session._session.get_config_variable("max_attempts") is None:
        settings["retries"]["total_max_attempts"] = TOTAL_ATTEMPTS
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
    if connection.sse_customer_key is not None or connection.request_payer is not None:
        client.meta.events.register("provide-client-params.s3", _parameters_of_all(connection))
    if custom:
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_content_md5)
    return client


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


def _add_content_md5(request: Any, **_: Any) -> None:
    """Give a DeleteObjects request the header that S3 demanded of old, and that some servers still do."""
    import base64
    import hashlib

    body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _timestamp(text: Any) -> datetime:
    """A time in a reply. botocore's own parser is a general one, and takes most of the time of a listing."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):  # in XML, and in headers
        try:
            return read(text)
        except (TypeError, ValueError):
            continue
    from botocore.utils import parse_timestamp

    parsed: datetime = parse_timestamp(text)
    return parsed
