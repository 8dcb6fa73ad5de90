"""Routes: where the requests about one bucket go, and who signs them.

botocore knows the rules for that: profiles, roles, partitions, addressing styles, and a dozen of variables. So it is
asked, once per bucket (``boto_route``), and what it would have sent is taken apart. Where it would do anything that the
wire cannot do in its place, the answer is a reason, and such a bucket is served through boto3.

Asking costs a quarter of a second, because importing boto3 does. So the plainest set-up, which is that of most
containers and functions, is understood here: key, secret and region are options or variables, the endpoint too if there
is one, and there is nothing else that botocore would look at: no profile, no file, no variable of AWS's that is not
known here, no proxy. A test holds these routes equal to botocore's.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from storagekit_s3.connections import Address
from storagekit_s3.options import Connection
from storagekit_s3.servers import is_amazon
from storagekit_s3.signing import Credentials

if TYPE_CHECKING:
    import ssl

__all__ = ["TOTAL_ATTEMPTS", "Reason", "Route", "Trust", "address_of", "plain_route"]

# The first attempt counts; botocore's own default for its standard mode.
TOTAL_ATTEMPTS = 3

Reason: TypeAlias = str
"""Why a bucket cannot be served by the wire."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which certificates are trusted."""

    verify: bool = True
    bundle: str | None = None
    """A file of certificates in PEM format; None: those that botocore would use."""

    def context(self) -> ssl.SSLContext:
        """The context for connections; ``ValueError`` where the file is none."""
        return _context(self)


@lru_cache(maxsize=8)
def _context(trust: Trust) -> ssl.SSLContext:
    import ssl  # a hundredth of a second, for those who use TLS

    if not trust.verify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = trust.bundle or _usual_bundle()
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:  # SSLError for a file without certificates is one
        raise ValueError(f"no certificates could be read from {bundle} ({error})") from None


def _usual_bundle() -> str | None:
    """The certificates of certifi, or botocore's own copy of them; None for the system's."""
    from importlib.util import find_spec

    for package in ("certifi", "botocore"):
        spec = find_spec(package)
        if spec is not None and spec.origin and (file := Path(spec.origin).with_name("cacert.pem")).exists():
            return str(file)
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Route:
    """How one bucket is reached. It has no ``repr``: it leads to secrets."""

    endpoint: str
    """The URL of the service, as boto3 names it."""
    url: str
    """The URL of the bucket, without a slash at its end; with the path that requests begin with, if there is one."""
    region: str
    credentials: Callable[[], Credentials] | None
    """The credentials of this moment; None: requests are not signed."""
    trust: Trust
    checksums: bool
    """Uploads go with a checksum for the server to compare."""
    signs_payload: bool = False
    """Uploads are hashed and signed over https too."""
    attempts: int = TOTAL_ATTEMPTS
    algorithm: str | None = None
    """Which checksum the user has chosen; None: CRC-32, where any is sent."""


def address_of(route: Route, connection: Connection) -> Address:
    """Where connections for *route* go."""
    parts = urlsplit(route.url)
    secure = parts.scheme == "https"
    return Address(
        parts.hostname or "",
        parts.port or (443 if secure else 80),
        route.trust.context if secure else None,
        connect_timeout=connection.connect_timeout,
        read_timeout=connection.read_timeout,
    )


# ---------------------------------------------------------------- without botocore

# Variables with the prefix of AWS that say nothing to botocore's S3 client, or that are understood here.
_UNDERSTOOD = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    # Read by other clients, or by botocore for nothing that matters once credentials are there.
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_PAGER",
}
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_UNDERSTOOD_PREFIXES = ("AWS_LAMBDA_", "AWS_XRAY_")

# The regions of the partition "aws" whose endpoints are all built alike. Another one is botocore's to know.
_REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-(central|east|north|northeast|northwest|south|southeast|west)-\d")
# A bucket whose name can be a host's, without a dot, for which no certificate would be valid.
_HOST_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9]+(?:(?:\.|-+)[A-Za-z0-9]+)*|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?/?")


def plain_route(connection: Connection, bucket: str, environ: Mapping[str, str] = os.environ) -> Route | None:
    """The route in the plainest set-up; None where botocore has to be asked."""
    # A program that has loaded botocore pays nothing for asking; and tests that replace what botocore sends (moto's
    # mock_aws) would be passed by.
    if "botocore" in sys.modules or sys.platform in ("win32", "darwin"):  # there proxies are the system's settings
        return None
    if connection.sse_customer_key is not None or connection.request_payer is not None:  # boto3's, as boto_route says
        return None
    if connection.profile is not None or connection.addressing_style not in (None, "path"):
        return None
    if not all(name in _UNDERSTOOD or name.startswith(_UNDERSTOOD_PREFIXES) for name in environ if name[:4] == "AWS_"):
        return None
    if any(name[:5] == "BOTO_" or (name[-6:].lower() == "_proxy" and name.lower() != "no_proxy") for name in environ):
        return None
    if _has_content(environ.get("AWS_CONFIG_FILE") or "~/.aws/config") or _has_content(
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    ):
        return None
    # An empty name of a bundle is a mistake that botocore has words for.
    if bucket.startswith("arn:") or not all(environ.get(name, "-").strip() for name in _BUNDLES):
        return None
    credentials = _plain_credentials(connection, environ)
    region = connection.region_name or environ.get("AWS_DEFAULT_REGION")
    if not region or (credentials is None and not connection.anonymous):
        return None
    where = _plain_url(connection, bucket, region, environ)
    if where is None:
        return None
    endpoint, url = where
    bundle = connection.ca_bundle or next((environ[name] for name in _BUNDLES if name in environ), None)
    return Route(
        endpoint,
        url,
        region,
        None if credentials is None else lambda: credentials,
        Trust(connection.verify, bundle),
        checksums=is_amazon(endpoint) or connection.checksum_algorithm is not None,
        attempts=connection.max_attempts or TOTAL_ATTEMPTS,
        algorithm=connection.checksum_algorithm,
    )


def _plain_credentials(connection: Connection, environ: Mapping[str, str]) -> Credentials | None:
    if connection.anonymous:
        return None
    if connection.aws_access_key_id is not None and connection.aws_secret_access_key is not None:
        return Credentials(connection.aws_access_key_id, connection.aws_secret_access_key, connection.aws_session_token)
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, environ.get("AWS_SESSION_TOKEN") or None) if key and secret else None


def _plain_url(connection: Connection, bucket: str, region: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The URLs of the service and of the bucket."""
    given = connection.endpoint_url or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if given:
        if not _is_plain_endpoint(given) or is_amazon(given) or bucket.endswith("--x-s3"):
            return None
        return given, f"{given.removesuffix('/')}/{bucket}"
    if not _REGION.fullmatch(region) or not _HOST_BUCKET.fullmatch(bucket) or bucket.endswith(("--x-s3", "-s3alias")):
        return None
    # The oldest region has kept the host name of the time when there was no other.
    host = "s3.amazonaws.com" if region == "us-east-1" else f"s3.{region}.amazonaws.com"
    if connection.addressing_style == "path":
        return f"https://{host}", f"https://{host}/{bucket}"
    return f"https://{host}", f"https://{bucket}.{host}"


def _is_plain_endpoint(url: str) -> bool:
    if not _ENDPOINT.fullmatch(url):
        return False
    try:
        return urlsplit(url).port != 0
    except ValueError:  # a port, or an address in brackets, that there cannot be
        return False


def _has_content(file: str) -> bool:
    try:
        return os.stat(os.path.expanduser(file)).st_size > 0
    except OSError:
        return False
