"""The options of ``s3://`` URLs: one table for people, one frozen object for the driver.

Options that boto3 has too carry boto3's names (``endpoint_url``, ``region_name``, ``aws_access_key_id`` …).
What is not given is left to boto3's own chain: environment, profiles, instance roles.

``parse`` checks every value, because a wrong one must fail at the call that brought it, naming the
option, and not deep inside a request. No message repeats a value that could be a secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, cast

from storagekit import errors
from storagekit.checksums import Checksum
from storagekit.deadlines import LONGEST, is_time
from storagekit.driver import Option, Options
from storagekit.hiding import HiddenOptions
from storagekit.location import Location
from storagekit_s3.api import Attributes
from storagekit_s3.guarding import ALGORITHMS
from storagekit_s3.servers import PROFILES

__all__ = ["KNOWN_OPTIONS", "NO_CREDENTIALS", "ConditionalWrites", "Connection", "S3Options", "parse"]

MiB = 1024 * 1024

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: parts of 5 MiB to 5 GiB.
MIN_PART_SIZE = 5 * MiB
MAX_PART_SIZE = 5 * 1024 * MiB

# With pauses of up to 20 seconds that is half an hour.
MOST_ATTEMPTS = 100

ConditionalWrites: TypeAlias = Literal["trust", "race"] | None
"""What to do where the server is not known to decide conditional writes atomically. None: refuse them."""

KNOWN_OPTIONS = (
    Option("endpoint_url", "the server to use instead of Amazon's, as in https://minio.example:9000"),
    Option("profile", "the profile in the AWS configuration files"),
    Option("region_name", "the region of the bucket"),
    Option("aws_access_key_id", "the access key id; with aws_secret_access_key", secret=True),
    Option("aws_secret_access_key", "the secret access key", secret=True),
    Option("aws_session_token", "the session token of temporary credentials", secret=True),
    Option("anonymous", "True: send requests unsigned, for public buckets"),
    Option("addressing_style", "'path', 'virtual' or 'auto': where the bucket's name goes in a request"),
    Option("verify", "False: do not check the server's TLS certificate"),
    Option("ca_bundle", "the file of certificates to trust, in PEM format"),
    Option("connect_timeout", "seconds to wait for a connection (5)"),
    Option("read_timeout", "seconds to wait for the next bytes of an answer (60)"),
    Option("max_attempts", "how often a request is tried before its failure is raised, the first time included (3)"),
    Option(
        "transport", "'wire': speak to the server without boto3, or fail; 'boto3': through boto3. The best if not given"
    ),
    Option("server", f"what kind of server this is, where it cannot be told: {', '.join(sorted(PROFILES))}"),
    Option("conditional_writes", "'trust' the server to decide them, or accept the 'race' between check and write"),
    Option("version_id", "the version of the object to read or to copy from"),
    Option("part_size", f"bytes per part of a multipart upload, the same for every part, at least {MIN_PART_SIZE}"),
    Option("content_type", "the media type of what is written; told by the suffix of the key if not given"),
    Option("cache_control", "the Cache-Control header of what is written"),
    Option("content_disposition", "the Content-Disposition header of what is written"),
    Option("content_encoding", "the Content-Encoding header of what is written"),
    Option("content_language", "the Content-Language header of what is written"),
    Option("metadata", "a mapping of names to texts, kept beside what is written"),
    Option("tags", "a mapping of names to texts, kept as the tags of what is written"),
    Option("storage_class", "the storage class of what is written, as in STANDARD_IA"),
    Option("server_side_encryption", "'AES256', 'aws:kms' or 'aws:kms:dsse'"),
    Option("sse_kms_key_id", "the key for server_side_encryption 'aws:kms'"),
    Option(
        "sse_customer_key",
        "SSE-C: the key that reads and writes are encrypted with, 32 bytes in base64; over https",
        secret=True,
    ),
    Option(
        "checksum_algorithm",
        "'crc32', 'crc32c' or 'crc64nvme': sent with what is written, for the server to compare and to keep. To Amazon "
        "crc32 is, if not given; the other two need awscrt (boto3[crt])",
    ),
    Option("request_payer", "'requester': pay for requests to a bucket whose owner does not"),
    Option("acl", "the canned ACL of what is written, as in bucket-owner-full-control"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """What decides which client serves a request. It has no ``repr``, because it holds secrets."""

    endpoint_url: str | None = None
    profile: str | None = None
    region_name: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    anonymous: bool = False
    addressing_style: str | None = None
    verify: bool = True
    ca_bundle: str | None = None
    # A dead endpoint is to fail in seconds; a reply may be slow where the server works hard (a long Complete).
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    max_attempts: int | None = None
    transport: str | None = None
    sse_customer_key: str | None = None
    request_payer: str | None = None
    checksum_algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class S3Options:
    """The options of one call, checked."""

    connection: Connection
    server: str | None
    conditional_writes: ConditionalWrites
    version_id: str | None
    part_size: int | None
    attributes: Attributes
    attributes_given: frozenset[str]
    """The names in *attributes* that the user gave."""


_CONNECTION = frozenset(f.name for f in fields(Connection))
_ATTRIBUTES = frozenset(f.name for f in fields(Attributes)) & frozenset(o.name for o in KNOWN_OPTIONS)
_CREDENTIALS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
# What the name of a header can be: a token, as RFC 9110 calls it.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER = "is sent as a header: it must be printable ASCII without spaces at its ends"
NO_CREDENTIALS = "must hold no credentials: give them as aws_access_key_id and aws_secret_access_key, or as a profile"
_CHOICES = {
    "addressing_style": ("path", "virtual", "auto"),
    "conditional_writes": ("trust", "race"),
    "transport": ("wire", "boto3"),
    "request_payer": ("requester",),
    "checksum_algorithm": ALGORITHMS,
    "server": tuple(sorted(PROFILES)),
}


def parse(options: Options, location: Location) -> S3Options:
    """Check *options* and sort them; ``InvalidArgumentError`` names the one that is wrong."""
    if not options:
        return _NO_OPTIONS
    given = HiddenOptions(
        {name: _checked(name, value, location) for name, value in options.items() if value is not None}
    )
    connection = Connection(**{n: v for n, v in given.items() if n in _CONNECTION})
    if (connection.aws_access_key_id is None) != (connection.aws_secret_access_key is None):
        raise errors.invalid(location, "aws_access_key_id and aws_secret_access_key must be given together")
    if connection.aws_session_token is not None and connection.aws_access_key_id is None:
        raise errors.invalid(location, "aws_session_token is of no use without aws_access_key_id")
    if connection.anonymous and (connection.aws_access_key_id or connection.profile):
        raise errors.invalid(location, "anonymous excludes aws_access_key_id and profile")
    attributes = {n: v for n, v in given.items() if n in _ATTRIBUTES}
    return S3Options(
        connection=connection,
        server=cast("str | None", given.get("server")),
        conditional_writes=cast(ConditionalWrites, given.get("conditional_writes")),
        version_id=cast("str | None", given.get("version_id")),
        part_size=cast("int | None", given.get("part_size")),
        attributes=Attributes(**attributes),
        attributes_given=frozenset(attributes),
    )


# What nearly every call has whose settings are in the environment.
_NO_OPTIONS = S3Options(Connection(), None, None, None, None, Attributes(), frozenset())


def _checked(name: str, value: object, location: Location) -> object:
    if name in ("anonymous", "verify"):
        return _of_type(name, value, bool, "True or False", location)
    if name in ("connect_timeout", "read_timeout"):
        if not is_time(value):
            text = f"the option {name} must be a number of seconds above 0, and up to {LONGEST}"
            raise errors.invalid(location, text)
        return float(value)
    if name == "max_attempts":
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ATTEMPTS:
            raise errors.invalid(location, f"the option max_attempts must be from 1 to {MOST_ATTEMPTS}")
        return value
    if name == "part_size":
        if isinstance(value, bool) or not isinstance(value, int) or not MIN_PART_SIZE <= value <= MAX_PART_SIZE:
            raise errors.invalid(
                location, f"the option part_size must be from {MIN_PART_SIZE} to {MAX_PART_SIZE} bytes"
            )
        return value
    if name == "metadata":
        return _metadata(value, location)
    if name == "tags":
        return _tags(value, location)
    if name == "ca_bundle" and hasattr(value, "__fspath__"):
        value = str(value)
    text = cast(str, _of_type(name, value, str, "a text", location))
    if not text:
        raise errors.invalid(location, f"the option {name} must not be empty")
    if name in _CREDENTIALS and not _is_header(text):
        raise errors.invalid(
            location,
            f"the option {name} must be printable ASCII without spaces at its ends (a line end is a frequent guest "
            "where it was read from a file)",
        )
    if name == "sse_customer_key" and not _is_key(text):
        raise errors.invalid(location, "the option sse_customer_key must be 32 bytes in base64")
    if name in _ATTRIBUTES and not _is_header(text):
        raise errors.invalid(location, f"the option {name} {_HEADER}")
    if name in _CHOICES and text not in _CHOICES[name]:
        raise errors.invalid(location, f"the option {name} must be one of {', '.join(_CHOICES[name])}")
    if name == "checksum_algorithm" and Checksum(text, b"").begin() is None:
        raise errors.invalid(location, f"{text} needs the package awscrt: install boto3[crt]")
    if name == "endpoint_url" and not text.startswith(("http://", "https://")):
        raise errors.invalid(location, "the option endpoint_url must begin with http:// or https://")
    if name == "endpoint_url" and "@" in text:
        raise errors.invalid(location, f"the option endpoint_url {NO_CREDENTIALS}")
    return text


def _metadata(value: object, location: Location) -> dict[str, str]:
    metadata = _texts("metadata", value, location)
    if not all(_TOKEN.fullmatch(name) for name in metadata):
        raise errors.invalid(location, "the option metadata must have names of ASCII letters, digits, '-', '_' and '.'")
    if not all(_is_header(text) for text in metadata.values()):
        raise errors.invalid(location, f"each value of the option metadata {_HEADER}")
    return metadata


def _tags(value: object, location: Location) -> dict[str, str]:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
    tags = _texts("tags", value, location)
    if len(tags) > 10 or not all(0 < len(k) <= 128 and len(v) <= 256 for k, v in tags.items()):
        raise errors.invalid(location, "the option tags takes 10 tags, with names of 1 to 128 characters, texts of 256")
    return tags


def _texts(name: str, value: object, location: Location) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise errors.invalid(location, f"the option {name} must map texts to texts")
    return dict(value)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def _is_header(text: str) -> bool:
    """Whether *text* can be a header's value, and comes back as it is."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _of_type(name: str, value: object, kind: type, wanted: str, location: Location) -> object:
    if not isinstance(value, kind):
        # The builtin that it is, where it comes hidden.
        given = next(base.__name__ for base in type(value).__mro__ if base.__module__ != "storagekit.hiding")
        raise errors.invalid(location, f"the option {name} must be {wanted}, not {given}")
    return value
