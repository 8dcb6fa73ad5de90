"""Options of the S3 driver: every value is checked, and the message names the option and never a secret."""

from __future__ import annotations

from dataclasses import fields

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit.location import Location
from storagekit_s3.api import Attributes
from storagekit_s3.options import KNOWN_OPTIONS, Connection, S3Options, parse

WHERE = Location("s3", "box", "key")


def test_nothing_given_is_left_to_boto3() -> None:
    options = parse({}, WHERE)
    assert options.connection == Connection()
    assert options.attributes == Attributes()
    assert options.part_size is None


def test_values_arrive() -> None:
    options = parse(
        {
            "endpoint_url": "https://store.example",
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
            "read_timeout": 3,
            "storage_class": "STANDARD_IA",
            "metadata": {"owner": "me"},
            "profile": None,
        },
        WHERE,
    )
    assert options.connection.endpoint_url == "https://store.example"
    assert options.connection.read_timeout == 3.0
    assert options.attributes == Attributes(storage_class="STANDARD_IA", metadata={"owner": "me"})
    assert options.attributes_given == {"storage_class", "metadata"}
    assert hash(options.connection) == hash(options.connection)


def test_every_known_option_goes_somewhere() -> None:
    places = {f.name for kind in (Connection, Attributes, S3Options) for f in fields(kind)}
    assert {option.name for option in KNOWN_OPTIONS} <= places


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint_url", "store.example"),
        ("endpoint_url", 3),
        ("profile", ""),
        ("anonymous", "yes"),
        ("verify", "/a/file"),
        ("connect_timeout", 0),
        ("read_timeout", "fast"),
        ("read_timeout", float("inf")),
        ("read_timeout", True),
        ("read_timeout", 2_147_484),
        ("connect_timeout", 10**400),
        ("addressing_style", "house"),
        ("server", "minio"),
        ("conditional_writes", "hope"),
        ("part_size", 1024),
        ("part_size", 8.0),
        ("metadata", ["a"]),
        ("metadata", {"a": 1}),
        ("metadata", {"a": "ä"}),
        ("metadata", {"a": "b\nc"}),
        ("metadata", {"a": " x "}),
        ("metadata", {"a b": "c"}),
        ("metadata", {"": "c"}),
        ("storage_class", 3),
        ("content_type", "a\nb"),
        ("content_type", "text/plain "),
        ("content_disposition", "inline; filename=ä"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=name) as wrong:
        parse({name: value}, WHERE)
    assert wrong.value.filename == WHERE.url


def test_credentials_come_in_pairs_and_are_never_shown() -> None:
    with pytest.raises(InvalidArgumentError, match="together") as lonely:
        parse({"aws_secret_access_key": "hunter2"}, WHERE)
    assert "hunter2" not in str(lonely.value)
    with pytest.raises(InvalidArgumentError, match="aws_session_token"):
        parse({"aws_session_token": "hunter2"}, WHERE)
    with pytest.raises(InvalidArgumentError, match="anonymous"):
        parse({"anonymous": True, "profile": "me"}, WHERE)
    with pytest.raises(InvalidArgumentError, match="aws_secret_access_key") as wrong:
        parse({"aws_access_key_id": "id", "aws_secret_access_key": b"hunter2"}, WHERE)
    assert "hunter2" not in str(wrong.value)
    held = parse({"aws_access_key_id": "id", "aws_secret_access_key": "hunter2"}, WHERE)
    assert "hunter2" not in repr(held)
    for token in ("hunter2\n", " hunter2", "hunter2\x00", "hunter2ä"):
        pair = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        for name in (*pair, "aws_session_token"):
            with pytest.raises(InvalidArgumentError, match=name) as wrong:
                parse({**pair, name: token}, WHERE)
            assert "hunter2" not in str(wrong.value)
    secrets = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "sse_customer_key"}
    assert {o.name for o in KNOWN_OPTIONS if o.secret} == secrets
