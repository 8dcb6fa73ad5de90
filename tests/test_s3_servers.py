"""Servers: told by name, by host or by header, and promised only what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from storagekit.driver import Absent, Matches
from storagekit_s3.servers import PROFILES, is_amazon, profile_of


@pytest.mark.parametrize(
    ("endpoint", "header", "name"),
    [
        ("https://s3.eu-west-1.amazonaws.com", None, "aws"),
        ("https://s3.cn-north-1.amazonaws.com.cn", None, "aws"),
        ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", None, "aws"),
        ("http://127.0.0.1:9000", "AmazonS3", "rclone"),
        ("http://amazonaws.com.example", "AmazonS3", "rclone"),
        ("http://127.0.0.1:9000", "rclone/v1.70", "rclone"),
        ("http://127.0.0.1:9000", "Werkzeug/3.1 Python/3.11", "moto"),
        ("http://127.0.0.1:9000", "Ceph Object Gateway (tentacle)", "ceph-tentacle"),
        ("http://127.0.0.1:9000", "Ceph Object Gateway (squid)", "ceph"),
        ("http://127.0.0.1:9000", "nginx", "generic"),
        ("http://127.0.0.1:9000", "", "generic"),
    ],
)
def test_recognition(endpoint: str, header: str | None, name: str) -> None:
    profile = profile_of(endpoint, header)
    assert profile is not None
    assert profile.name == name


def test_the_users_word_counts_most() -> None:
    assert profile_of("https://s3.amazonaws.com", "AmazonS3", "swift") is PROFILES["swift"]


def test_an_unknown_server_needs_a_reply_first() -> None:
    assert profile_of("http://127.0.0.1:9000", None) is None


def test_nothing_is_promised_for_an_unknown_server() -> None:
    generic = PROFILES["generic"]
    for condition in (Absent(), Matches("etag")):
        assert not generic.puts(condition)
        assert not generic.completes(condition)
    assert not generic.delete_matches
    assert not generic.copy_source_condition


def test_every_profile_is_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "s3.md").read_text(encoding="utf-8")
    assert [name for name in PROFILES if f"| `{name}`" not in text] == []


def test_amazons_hosts() -> None:
    assert is_amazon("https://s3.amazonaws.com")
    assert not is_amazon("https://amazonaws.com.evil.example")
    assert not is_amazon("http://localhost:9000")
