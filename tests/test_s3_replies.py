"""Replies: ETags, ranges and times as servers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.location import Location
from storagekit_s3.replies import (
    bare_etag,
    batch_failures,
    content_range,
    header_time,
    quoted_etag,
    refuse_foreign,
)

BUCKET = Location("s3", "box", "")
SECOND = 1795774272 * 10**9


@pytest.mark.parametrize(
    ("etag", "expected"),
    [('"a"', "a"), ("a", "a"), ('""', None), ("", None), (None, None), ('W/"a"', 'W/"a"')],
)
def test_etags_lose_their_quotes_and_get_them_back(etag: object, expected: str | None) -> None:
    assert bare_etag(etag) == expected
    if expected is not None:
        assert bare_etag(quoted_etag(expected)) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-9/100", (0, 9, 100)),
        ("bytes 5-5/*", (5, 5, None)),
        ("bytes */100", None),
        ("bytes 0-/100", None),
        ("bytes -5/100", None),
        ("items 0-9/100", None),
        ("", None),
        (None, None),
    ],
)
def test_content_ranges(header: object, expected: object) -> None:
    assert content_range(header) == expected


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_none_and_a_time_or_none(text: str) -> None:
    content_range("bytes " + text)
    header_time(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fri, 27 Nov 2026 10:11:12 GMT", SECOND),
        ("Friday, 27-Nov-26 10:11:12 GMT", SECOND),
        ("Fri Nov 27 10:11:12 2026", SECOND),
        ("Fri, 31 Nov 2026 10:11:12 GMT", None),
        ("soon", None),
        (None, None),
    ],
)
def test_the_three_forms_of_a_time(text: str | None, expected: int | None) -> None:
    assert header_time(text) == expected


def test_the_failures_of_a_batch() -> None:
    wanted = {"a": Location("s3", "box", "a")}
    entries = [{"Key": "a", "Code": "AccessDenied", "Message": "no"}, {"Key": "other", "Code": "InternalError"}]
    failed = batch_failures(entries, wanted, BUCKET)
    assert [(where.path, type(error)) for where, error in failed] == [("a", PermissionError), ("other", OSError)]


def test_what_has_none_of_the_fields_is_refused() -> None:
    refuse_foreign({"Name": ""}, "ListObjectsV2", BUCKET, "Name", "KeyCount")
    with pytest.raises(OSError, match="no store's answer"):
        refuse_foreign({"html": ""}, "ListObjectsV2", BUCKET, "Name", "KeyCount")
