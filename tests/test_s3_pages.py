"""Pages of listings: what one expression takes out is what the parser finds."""

from __future__ import annotations

from html import escape
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit_s3 import pages
from storagekit_s3.api import Entry
from storagekit_s3.documents import Document, DocumentError
from storagekit_s3.pages import decoded, listed_size, listed_time, read_page

TIME = "2026-11-27T10:11:12.000Z"
SECOND = 1795774272 * 10**9


def accept(document: Document) -> None:
    """Whatever it is."""


def entry(key: str, size: object = 3, etag: str = '"e"', kind: str = "STANDARD", extra: str = "") -> str:
    return (
        f"<Contents><Key>{escape(key, quote=False)}</Key><LastModified>{TIME}</LastModified>"
        f"<ETag>{escape(etag)}</ETag>{extra}<Size>{size}</Size><StorageClass>{kind}</StorageClass></Contents>"
    )


def page(*inner: str, encoding: str = "", truncated: str = "false", token: str = "") -> bytes:
    fields = f"<Name>box</Name>{encoding}<IsTruncated>{truncated}</IsTruncated>{token}"
    xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f'<?xml version="1.0"?>\n<ListBucketResult {xmlns}>{fields}{"".join(inner)}</ListBucketResult>'.encode()


def prefix(text: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(text, quote=False)}</Prefix></CommonPrefixes>"


def test_entries_prefixes_and_the_next_token() -> None:
    data = page(
        entry("a", 1),
        entry("b", 2, kind="GLACIER"),
        prefix("dir/"),
        truncated="true",
        token="<NextContinuationToken>next</NextContinuationToken>",
    )
    found = read_page(data, accept)
    assert found.entries == [Entry("a", 1, "e", SECOND, "STANDARD"), Entry("b", 2, "e", SECOND, "GLACIER")]
    assert (found.prefixes, found.token) == (["dir/"], "next")


def test_a_token_counts_only_where_more_follows() -> None:
    data = page(entry("a"), token="<NextContinuationToken>next</NextContinuationToken>")
    assert read_page(data, accept).token is None


def test_an_encoded_key_is_decoded_and_a_literal_one_is_not() -> None:
    encoding = "<EncodingType>url</EncodingType>"
    encoded = page(entry("a+b%2Fc%26%C3%A4%0A"), prefix("x+y/"), encoding=encoding)
    found = read_page(encoded, accept)
    assert ([e.key for e in found.entries], found.prefixes) == (["a b/c&ä\n"], ["x y/"])
    assert [e.key for e in read_page(page(entry("a+b%2F")), accept).entries] == ["a+b%2F"]


def test_prefixes_between_entries_are_not_lost() -> None:
    found = read_page(page(entry("a"), prefix("b/"), entry("c")), accept)
    assert ([e.key for e in found.entries], found.prefixes) == (["a", "c"], ["b/"])


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
        "<Owner><ID>me</ID></Owner>",
        "<!-- a remark -->",
        "<Unheard>of</Unheard>",
    ],
)
def test_what_else_stands_in_an_entry_changes_nothing(extra: str) -> None:
    assert read_page(page(entry("a", 5, extra=extra)), accept).entries == [Entry("a", 5, "e", SECOND, "STANDARD")]


def test_an_entry_without_size_or_time_or_etag() -> None:
    found = read_page(page("<Contents><Key>a</Key></Contents>"), accept)
    assert found.entries == [Entry("a", None, None, None, None)]


@pytest.mark.parametrize(
    "inner",
    [
        "<Contents><Size>1</Size></Contents>",
        entry("a", "many"),
        entry("a") + "<Contents>",
        "<CommonPrefixes><Other>a</Other></CommonPrefixes>",
    ],
    ids=["no key", "no number", "not closed", "no prefix"],
)
def test_what_is_no_entry_is_an_error(inner: str) -> None:
    with pytest.raises(DocumentError):
        read_page(page(inner), accept)


def test_a_page_that_does_not_say_where_the_next_begins_is_an_error() -> None:
    with pytest.raises(DocumentError, match="no token"):
        read_page(page(entry("a"), truncated="true"), accept)


def test_a_document_type_is_refused_with_entries_too() -> None:
    data = page(entry("a")).replace(b"\n", b'<!DOCTYPE x [<!ENTITY e "entity">]>', 1)
    with pytest.raises(DocumentError, match="document type"):
        read_page(data, accept)


def test_what_is_no_listing_is_for_the_caller_to_refuse() -> None:
    def refuse(document: Document) -> None:
        raise PermissionError(document.root)

    with pytest.raises(PermissionError, match="html"):
        read_page(b"<html><body>busy</body></html>", refuse)


# XML has no other control characters, and reads a carriage return as a line feed.
characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
entries = st.tuples(
    st.text(characters, min_size=1), st.integers(0, 5 * 2**40), st.text("abcdef0123456789-", min_size=1)
)


@given(st.lists(entries, max_size=5), st.lists(st.text(characters, min_size=1), max_size=2), st.booleans())
def test_both_ways_find_the_same(found: list[tuple[str, int, str]], below: list[str], encoded: bool) -> None:
    write = quote_plus if encoded else str
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    inner = [entry(write(key), size, f'"{etag}"') for key, size, etag in found]
    inner += [prefix(write(text)) for text in below]
    quick = read_page(page(*inner, encoding=encoding), accept)
    assert [(e.key, e.size, e.etag) for e in quick.entries] == found
    assert quick.prefixes == below
    # A remark in front of it sends the whole page through the parser.
    assert read_page(page("<!-- -->", *inner, encoding=encoding), accept) == quick


def test_the_expression_is_what_reads_the_usual_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_of_record", None)
    assert [e.key for e in read_page(page(entry("a"), entry("b & c"), prefix("d/")), accept).entries] == ["a", "b & c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TIME, SECOND),
        ("2026-11-27T10:11:12", SECOND),
        ("2026-11-27T11:11:12+01:00", SECOND),
        ("Fri, 27 Nov 2026 10:11:12 GMT", SECOND),
        ("2026-11-27T10:11:12.999Z", SECOND),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: str | None, expected: int | None) -> None:
    assert listed_time(text) == expected


def test_sizes_are_digits_and_no_more_than_a_file_can_have() -> None:
    assert [listed_size(text) for text in ("0", "007", str((1 << 63) - 1), 5, None)] == [0, 7, (1 << 63) - 1, 5, None]
    for wrong in ("-1", "", "1_0", "1.5", "\u0663", str(1 << 63), "9" * 5000, -1):
        with pytest.raises(ValueError):
            listed_size(wrong)


def test_what_is_decoded_to_no_text_keeps_its_bytes() -> None:
    assert decoded("a%2Fb+c%2B") == "a/b c+"
    assert decoded("a%FFb").encode("utf-8", "surrogateescape") == b"a\xffb"
    assert decoded("%EF%BF%BD") == "\ufffd"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-45T00:00:00Z"])
def test_a_time_beyond_the_calendar_is_unknown_or_right(text: str) -> None:
    assert isinstance(listed_time(text), int | None)
