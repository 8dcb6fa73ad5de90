"""Replies: the words in S3's answers, and what is made of them when they are not as they should be."""

from __future__ import annotations

import errno

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storagekit.location import Location
from storagekit_s3.replies import bare_etag, batch_failures, content_range, quoted_etag, refuse_foreign

BOX = Location("s3", "box", "")
KEY = Location("s3", "box", "key")


@pytest.mark.parametrize(
    ("sent", "bare"),
    [
        ('"e1"', "e1"),
        ("e1", "e1"),
        ('"e1-3"', "e1-3"),
        ('W/"e1"', 'W/"e1"'),
        ('""', None),
        ("", None),
        (None, None),
        (3, None),
        (b'"e1"', None),
    ],
)
def test_an_etag_comes_without_its_quotes(sent: object, bare: str | None) -> None:
    assert bare_etag(sent) == bare


@pytest.mark.parametrize(("bare", "sent"), [("e1", '"e1"'), ('W/"e1"', 'W/"e1"'), (None, None)])
def test_an_etag_goes_out_in_its_quotes(bare: str | None, sent: str | None) -> None:
    assert quoted_etag(bare) == sent
    assert bare_etag(sent) == bare


@pytest.mark.parametrize(
    ("header", "meaning"),
    [
        ("bytes 0-9/100", (0, 9, 100)),
        ("bytes 0-0/1", (0, 0, 1)),
        ("bytes 5-9/*", (5, 9, None)),
        ("bytes 5-9", (5, 9, None)),
        ("bytes 5-9/", (5, 9, None)),
        ("bytes 5-9/²", (5, 9, None)),
        ("bytes 5-9/100x", (5, 9, None)),
        ("bytes 99999999999999-99999999999999/100000000000000", (99999999999999, 99999999999999, 10**14)),
    ],
)
def test_a_range_has_a_first_a_last_and_perhaps_a_size(header: str, meaning: tuple[int, int, int | None]) -> None:
    assert content_range(header) == meaning


@pytest.mark.parametrize(
    "header",
    [
        *(
            None,
            3,
            b"bytes 0-9/100",
            "",
            "bytes",
            "bytes ",
            "bytes */100",
            "bytes 0/100",
            "bytes -9/100",
            "bytes 0-/100",
        ),
        *("bytes=0-9/100", "items 0-9/100", "bytes a-b/c", "bytes 0x1-9/10", "bytes 1.0-2/3", "bytes --/-"),
        *("bytes ²-3/4", "bytes 5-9x", "bytes 5-9 ", " bytes 5-9/100"),
    ],
)
def test_what_is_no_range_is_none(header: object) -> None:
    assert content_range(header) is None


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.text("bytes 0123456789-/*²٣x", max_size=20).map("bytes {}".format),
        st.none() | st.integers() | st.binary(max_size=5),
    )
)
@example("bytes ²-³/4")
@example("bytes 0-9/²")
@example("bytes 0-9/" + "9" * 5000)
@example("bytes " + "9" * 5000 + "-9/10")
def test_any_header_is_a_range_or_none(header: object) -> None:
    found = content_range(header)
    if found is not None:
        assert found[0] >= 0
        assert found[1] >= 0


def test_an_answer_with_none_of_the_fields_is_no_stores() -> None:
    refuse_foreign({"Name": "box"}, "ListObjectsV2", BOX, "Name", "KeyCount")
    refuse_foreign(["KeyCount"], "ListObjectsV2", BOX, "Name", "KeyCount")
    with pytest.raises(OSError, match="ListObjectsV2 was answered with something that is no store's") as wrong:
        refuse_foreign({"body": ""}, "ListObjectsV2", BOX, "Name", "KeyCount")
    assert wrong.value.errno == errno.EIO
    assert wrong.value.filename == BOX.url


def test_the_failures_of_a_batch_are_about_their_keys() -> None:
    entries = [
        {"Key": "key", "Code": "AccessDenied", "Message": "no"},
        {"Key": "other", "Code": "InternalError", "Message": "later"},
        {},
    ]
    found = batch_failures(entries, [], {"key": KEY}, BOX)
    assert [location for location, _ in found] == [KEY, Location("s3", "box", "other"), BOX]
    assert isinstance(found[0][1], PermissionError)
    assert [error.filename for _, error in found] == [KEY.url, "s3://box/other", BOX.url]
    assert "InternalError" in str(found[1][1])
    assert "unknown" in str(found[2][1])
    assert batch_failures([], [{"Key": "key"}], {"key": KEY}, BOX) == []
    [(location, error)] = batch_failures([], [{"Key": "other"}, {}], {"key": KEY}, BOX)
    assert (location, error.errno, error.filename) == (KEY, errno.EIO, KEY.url)
