"""Documents: the XML that a store answers with, read without trusting it.

Whatever S3 answers is shallow: a root, in it plain fields and records, and in those plain fields again. ``read`` gives
just that, and passes over what lies deeper. The parser is expat itself, because every other one of the standard library
stands upon it and costs twice as much for a page of a thousand keys.

A server, or somebody on the way, may send anything. So a document type is refused, and with it every entity that could
be declared; the length was bounded before (``connections.read_all``); names and texts are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

__all__ = ["Document", "DocumentError", "read"]

# Deeper than any answer of S3; what goes on nesting is no answer.
MOST_LEVELS = 64

_ROOT, _FIELD, _INNER = 1, 2, 3

# Those of expat itself. For any other it would ask Python, whose codecs are many, and some of them warn.
_CHARACTER_SETS = {"utf-8", "utf-16", "utf-16be", "utf-16le", "iso-8859-1", "us-ascii"}


class DocumentError(Exception):
    """What was answered is not well-formed XML, or has in it what no answer of S3 has."""


@dataclass(slots=True)
class Document:
    """One answer: the name of its root, its fields, and its records in their order, each with its name."""

    root: str
    # Some stores repeat in a refusal what they were sent, credentials among it: so they show in no ``repr``.
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    records: list[tuple[str, dict[str, str]]] = field(default_factory=list, repr=False)

    def of(self, name: str) -> list[dict[str, str]]:
        """The records of that name."""
        return [fields for found, fields in self.records if found == name]


def read(data: bytes | bytearray) -> Document:
    """Read a document; ``DocumentError`` where it is none."""
    document = Document("")
    fields, records = document.fields, document.records
    depth = 0
    text: list[str] = []
    record: dict[str, str] = {}

    def start(name: str, _: object) -> None:
        nonlocal depth, record
        depth += 1
        text.clear()
        if depth == _FIELD:
            record = {}
        elif depth == _ROOT:
            document.root = name.rpartition(":")[2]
        elif depth > MOST_LEVELS:
            raise DocumentError("it is nested too deeply")

    def end(name: str) -> None:
        nonlocal depth
        if depth == _INNER:
            record[name.rpartition(":")[2] if ":" in name else name] = "".join(text)
        elif depth == _FIELD:
            name = name.rpartition(":")[2] if ":" in name else name
            if record:
                records.append((name, record))
            else:
                fields[name] = "".join(text)
        depth -= 1
        text.clear()

    def declare(_: str, character_set: str | None, __: int) -> None:
        if character_set is not None and character_set.lower() not in _CHARACTER_SETS:
            raise DocumentError("it is in an unknown character set")

    def refuse(*_: object) -> None:
        raise DocumentError("it declares a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.XmlDeclHandler = declare
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise DocumentError(f"it is not well-formed ({error})") from None
    return document
