"""Documents: what a store answers, and what nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit_s3.documents import MOST_LEVELS, Document, DocumentError, read

LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>box</Name>
  <IsTruncated>false</IsTruncated>
  <Contents><Key>a &amp; b &#228;</Key><Owner><ID>me</ID></Owner><Size>1</Size></Contents>
  <Contents><Key><![CDATA[<c>]]></Key></Contents>
  <CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>
  <Prefix/>
</ListBucketResult>"""


def test_fields_and_records() -> None:
    document = read(LISTING)
    assert document.root == "ListBucketResult"
    assert document.fields == {"Name": "box", "IsTruncated": "false", "Prefix": ""}
    first, second = document.of("Contents")
    assert (first["Key"], first["Size"], second) == ("a & b ä", "1", {"Key": "<c>"})
    assert document.of("CommonPrefixes") == [{"Prefix": "d/"}]


def test_names_with_a_prefix() -> None:
    document = read(b'<s3:Error xmlns:s3="x"><s3:Code>NoSuchKey</s3:Code><s3:A><s3:B>c</s3:B></s3:A></s3:Error>')
    assert (document.root, document.fields, document.of("A")) == ("Error", {"Code": "NoSuchKey"}, [{"B": "c"}])


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no XML",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a>&unknown;</a>",
        BOMB + b"]><x>&j;</x>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        b"<a>" * (MOST_LEVELS + 1) + b"</a>" * (MOST_LEVELS + 1),
        b"<a>" * 100_000,
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"<a>\xff</a>",
        b"<a>\x00</a>",
        b"<a>\x01</a>",
    ],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        read(data)


def test_other_character_sets_are_read() -> None:
    assert read('<?xml version="1.0" encoding="UTF-16"?><a><b>ä</b></a>'.encode("utf-16")).fields == {"b": "ä"}
    assert read('<?xml version="1.0" encoding="latin-1"?><a><b>ä</b></a>'.encode("latin-1")).fields == {"b": "ä"}


@given(st.binary(max_size=200), st.integers(0, len(LISTING)), st.integers(0, 40))
def test_anything_is_a_document_or_none(piece: bytes, start: int, length: int) -> None:
    for data in (piece, LISTING[:start] + piece + LISTING[start + length :]):
        try:
            assert isinstance(read(data), Document)
        except DocumentError:
            pass
