"""Documents: what S3 answers with is read, and whatever else comes is refused, never crashed on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storagekit_s3.documents import MOST_LEVELS, Document, DocumentError, read

LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>box</Name>
  <Prefix></Prefix>
  <KeyCount>3</KeyCount>
  <IsTruncated>false</IsTruncated>
  <Contents><Key>a.txt</Key><Size>1</Size><ETag>&quot;e1&quot;</ETag><Owner><ID>me</ID></Owner></Contents>
  <Contents>
    <Key>b &amp; c</Key>
    <Size>22</Size>
  </Contents>
  <CommonPrefixes><Prefix>folder/</Prefix></CommonPrefixes>
</ListBucketResult>
"""
PREFIXED = (
    b'<s3:ListBucketResult xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"><s3:Name>box</s3:Name>'
    b"<s3:Contents><s3:Key>a</s3:Key><s3:Size>1</s3:Size></s3:Contents></s3:ListBucketResult>"
)
ERROR = b"<Error><Code>NoSuchKey</Code><Message>It is not there.</Message><Resource/></Error>"
VALID = [LISTING, PREFIXED, ERROR, "<?xml version='1.0' encoding='UTF-16'?><a><b>ä</b></a>".encode("utf-16")]


def refused(data: bytes) -> str:
    """Why *data* is refused."""
    with pytest.raises(DocumentError) as wrong:
        read(data)
    return str(wrong.value)


def test_a_listing_has_fields_and_records_in_their_order() -> None:
    document = read(LISTING)
    assert document.root == "ListBucketResult"
    assert document.fields == {"Name": "box", "Prefix": "", "KeyCount": "3", "IsTruncated": "false"}
    assert [name for name, _ in document.records] == ["Contents", "Contents", "CommonPrefixes"]
    assert [record["Key"] for record in document.of("Contents")] == ["a.txt", "b & c"]
    assert document.of("Contents")[0]["ETag"] == '"e1"'
    assert document.of("Contents")[1] == {"Key": "b & c", "Size": "22"}
    assert document.of("CommonPrefixes") == [{"Prefix": "folder/"}]
    assert document.of("Versions") == []


def test_a_prefix_of_a_name_does_not_matter() -> None:
    assert read(PREFIXED) == read(PREFIXED.replace(b"s3:", b"").replace(b"xmlns:s3", b"xmlns"))
    assert read(PREFIXED).fields == {"Name": "box"}
    assert read(PREFIXED).of("Contents") == [{"Key": "a", "Size": "1"}]


def test_a_buffer_is_read_as_bytes_are() -> None:
    assert read(bytearray(LISTING)) == read(LISTING)


def test_an_error_is_fields() -> None:
    expected = {"Code": "NoSuchKey", "Message": "It is not there.", "Resource": ""}
    assert read(ERROR) == Document("Error", expected, [])


def test_what_lies_deeper_than_a_records_fields_is_passed_over() -> None:
    record = b"<Contents><Owner><ID>me</ID><Name><First>I</First></Name></Owner><Key>a</Key></Contents>"
    document = read(b"<List>" + record + b"<Name>box</Name></List>")
    assert document.of("Contents")[0]["Key"] == "a"
    assert set(document.of("Contents")[0]) == {"Owner", "Key"}
    assert "me" not in document.of("Contents")[0]["Owner"]
    assert document.fields == {"Name": "box"}


def test_a_records_texts_do_not_leak_into_its_neighbours() -> None:
    document = read(b"<L>lost<C>lost<K>a</K>lost<K2/>lost</C>lost<F>field</F>lost</L>")
    assert document == Document("L", {"F": "field"}, [("C", {"K": "a", "K2": ""})])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"a &amp; b &lt;c&gt; &quot;d&quot; &apos;e&apos;", "a & b <c> \"d\" 'e'"),
        (b"&#65;&#x42;&#xe9;&#128512;", "ABé😀"),
        (b"&#13;&#10;&#9;", "\r\n\t"),
        (b"&amp;lt;", "&lt;"),
        (b"<![CDATA[<b> & ]] >]]>", "<b> & ]] >"),
        (b"be<!-- not this -->fore<?nor this?>", "before"),
        (b"  spaces stay  ", "  spaces stay  "),
        ("ä€😀".encode(), "ä€😀"),
    ],
)
def test_a_text_is_what_its_writing_means(written: bytes, meant: str) -> None:
    assert read(b"<r><f>" + written + b"</f></r>").fields == {"f": meant}
    assert read(b"<r><c><f>" + written + b"</f></c></r>").of("c") == [{"f": meant}]


def test_a_long_text_in_many_pieces_is_whole() -> None:
    text = "&amp;ä" * 100_000
    assert read(f"<r><f>{text}</f></r>".encode()).fields == {"f": "&ä" * 100_000}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"no xml",
        b"{}",
        b"<r>",
        b"<r></s>",
        b"<r/><r/>",
        b"<r/>rest",
        b"<r a=1/>",
        b"<r>&unknown;</r>",
        b"<r>&#0;</r>",
        b"<r>&#xD800;</r>",
        b"<r>a < b</r>",
        b"<html><body>Please sign in.<br></body></html>",
        b"\x00",
        b"\xff\xfe",
        b"<r>" + LISTING + b"</r>",
    ],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    assert "well-formed" in refused(data)


def test_an_empty_root_is_a_document() -> None:
    assert read(b"<r/>") == Document("r")


# ---------------------------------------------------------------- what nobody should send


@pytest.mark.parametrize(
    "declared",
    [
        b"<!DOCTYPE r>",
        b"<!DOCTYPE html PUBLIC '-//W3C//DTD HTML 4.01//EN' 'http://127.0.0.1:9/strict.dtd'>",
        b"<!DOCTYPE r [<!ENTITY x 'y'>]>",
        b"<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
        b"<!DOCTYPE r SYSTEM 'file:///etc/passwd'>",
        b"<!DOCTYPE r [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/'> %x;]>",
        b"<!DOCTYPE r [<!ENTITY x 'x'><!ENTITY y '&x;&x;'>]>",
    ],
)
def test_a_document_type_is_refused_with_every_entity(declared: bytes) -> None:
    assert "document type" in refused(declared + b"<r><f>&x;</f></r>")


def test_an_entity_bomb_is_refused_before_it_grows() -> None:
    laughs = b"".join(b"<!ENTITY l%d '%s'>" % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 30))
    assert "document type" in refused(b"<!DOCTYPE r [<!ENTITY l0 'lol'>" + laughs + b"]><r><f>&l29;</f></r>")
    quadratic = b"<!DOCTYPE r [<!ENTITY a '" + b"a" * 100_000 + b"'>]><r>" + b"&a;" * 100_000 + b"</r>"
    assert "document type" in refused(quadratic)


def test_a_document_that_nests_on_and_on_is_refused() -> None:
    assert read(b"<a>" * MOST_LEVELS + b"</a>" * MOST_LEVELS).root == "a"
    deeper = MOST_LEVELS + 1
    assert "deeply" in refused(b"<a>" * deeper + b"</a>" * deeper)
    assert "deeply" in refused(b"<a>" * 1_000_000)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "us-ascii"])
def test_the_character_sets_of_the_parser_are_read(encoding: str) -> None:
    text = "plain" if encoding == "us-ascii" else "ä"
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    name = "utf-16" if encoding.startswith("utf-16") else encoding
    data = f"<?xml version='1.0' encoding='{name}'?><r><f>{text}</f></r>".encode(encoding)
    assert read(mark + data).fields == {"f": text}


@pytest.mark.parametrize(
    "encoding",
    [
        "nonsense",
        "unicode_escape",
        "undefined",
        "windows-1252",
        "utf-7",
        "utf-32",
        "shift_jis",
        "gb18030",
        "base64",
        "rot13",
        "hex",
        "idna",
        "zlib",
        "x" * 99,
    ],
)
def test_another_character_set_is_refused(encoding: str) -> None:
    assert "character set" in refused(f"<?xml version='1.0' encoding='{encoding}'?><r><f>\\]</f></r>".encode())


@pytest.mark.parametrize("text", [b"\x00", b"\x01", b"\x1b", b"\x08", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_a_text_that_xml_does_not_allow_is_refused(text: bytes) -> None:
    assert "well-formed" in refused(b"<r><f>a" + text + b"b</f></r>")


def outcome(data: bytes) -> Document | None:
    """The document; None for a ``DocumentError``. Anything else is raised."""
    try:
        return read(data)
    except DocumentError:
        return None


def check(data: bytes) -> None:
    document = outcome(data)
    if document is not None:
        assert document.root
        assert all(isinstance(text, str) for text in document.fields.values())
        assert all(record for _, record in document.records)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_error(data: bytes) -> None:
    check(data)


PIECES = (
    *(b"<a>", b"</a>", b"<b/>", b"<c:d xmlns:c='e'>", b"</c:d>", b"<:>", b"</:>", b"<a b='&x;'>", b"text", b" "),
    *(b"&lt;", b"&x;", b"&#0;", b"%x;", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?xml version='1.0'?>"),
    *(b"<!DOCTYPE a [", b"]>", b"<!ENTITY x 'y'>", b"<!ELEMENT a (b)>", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\xff"),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
def test_any_pieces_of_xml_are_a_document_or_an_error(data: bytes) -> None:
    check(data)


@settings(deadline=None)
@given(
    base=st.sampled_from(VALID),
    edits=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 12), st.binary(max_size=8)), min_size=1, max_size=4),
)
def test_a_damaged_document_is_a_document_or_an_error(base: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(base)
    for place, removed, added in edits:
        start = place % (len(data) + 1)
        data[start : start + removed] = added
    check(bytes(data))


@settings(deadline=None)
@given(name=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20))
def test_a_document_of_any_named_character_set_is_a_document_or_an_error(name: str) -> None:
    check(f"<?xml version='1.0' encoding='{name}'?><r><f>text</f></r>".encode())


@settings(deadline=None)
@given(
    fields=st.dictionaries(
        st.from_regex(r"[A-Z][A-Za-z0-9]{0,9}", fullmatch=True),
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), max_size=20
        ),
        max_size=4,
    ),
    keys=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff")), max_size=4
    ),
)
def test_what_was_written_is_read(fields: dict[str, str], keys: list[str]) -> None:
    from html import escape

    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
    records = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
    document = read(f"<List>{inner}{records}</List>".encode())
    assert document.fields == fields
    assert [record["Key"] for record in document.of("Contents")] == keys
