"""Text: what ``io.TextIOWrapper`` does, with UTF-8 wherever nothing else is said."""

from __future__ import annotations

import io
import locale
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.support import BLOCK, PART, Box

MIXED = "one\ntwo\r\nthree\rfour\n\nno end"
SNOWMAN = "snow ☃ и снег \U0001f328\n"


@clause("text.utf-8")
def test_default_encoding(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda *_: "latin-1")
    monkeypatch.setattr(locale, "getencoding", lambda: "latin-1")
    with box.open(box.url("object"), "w") as file:
        file.write(SNOWMAN)
    assert box.get("object") == SNOWMAN.encode("utf-8")
    with box.open(box.url("object")) as file:
        assert file.encoding.lower().replace("-", "") == "utf8"
        assert file.read() == SNOWMAN


@clause("text.newlines-read")
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"], ids=["none", "empty", "lf", "cr", "crlf"])
def test_newlines_read(box: Box, newline: str | None) -> None:
    url = box.put("object", MIXED.encode())

    def model() -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(MIXED.encode()), encoding="utf-8", newline=newline)

    with box.open(url, newline=newline) as file:
        assert list(file) == list(model())
    with box.open(url, newline=newline) as file:
        assert file.read() == model().read()
        assert file.newlines == _newlines(model())


def _newlines(file: io.TextIOWrapper) -> Any:
    file.read()
    return file.newlines


@clause("text.newlines-write")
@pytest.mark.parametrize(
    ("newline", "written"),
    [(None, b"a\nb\r\nc\n"), ("", b"a\nb\r\nc\n"), ("\n", b"a\nb\r\nc\n"), ("\r\n", b"a\r\nb\r\r\nc\r\n")],
    ids=["none", "empty", "lf", "crlf"],
)
def test_newlines_written(box: Box, newline: str | None, written: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.linesep", "\r\n")
    with box.open(box.url("object"), "w", newline=newline) as file:
        file.write("a\nb\r\nc\n")
    assert box.get("object") == written


@clause("text.encodings")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32-le", "koi8-r", "cp1252"])
def test_encodings(box: Box, encoding: str) -> None:
    text = "привет\n" * 20_000 if encoding == "koi8-r" else "héllo\n" * 30_000
    with box.open(box.url("object"), "w", encoding=encoding) as file:
        file.write(text)
    assert box.get("object") == text.encode(encoding)
    with box.open(box.url("object"), encoding=encoding) as file:
        assert file.encoding == encoding
        assert file.readline() == text[: text.index("\n") + 1]
        assert file.read() == text[text.index("\n") + 1 :]


@clause("text.error-handlers")
def test_error_handlers(box: Box) -> None:
    url = box.put("object", b"caf\xe9 \xff\n")
    with box.open(url) as file, pytest.raises(UnicodeDecodeError):
        file.read()
    for handler in ("replace", "ignore", "surrogateescape", "backslashreplace"):
        with box.open(url, errors=handler) as file:
            assert file.read() == b"caf\xe9 \xff\n".decode("utf-8", handler)
    with box.open(box.url("ascii"), "w", encoding="ascii", errors="xmlcharrefreplace") as file:
        file.write("☃")
    assert box.get("ascii") == b"&#9731;"


@clause("text.characters-at-block-edges")
def test_characters_across_blocks(box: Box) -> None:
    text = "x" * (BLOCK - 1) + "\U0001f600" * BLOCK + "é\r\n" * 1000
    url = box.put("object", text.encode())
    with box.open(url, newline="") as file:
        assert file.read() == text
    with box.open(url, newline="") as file:
        collected = ""
        while chunk := file.read(1000):
            collected += chunk
        assert collected == text


@clause("text.lines")
def test_lines(box: Box) -> None:
    lines = [f"{i} {'é' * (i % 200)}\n" for i in range(5000)]
    with box.open(box.url("object"), "w") as file:
        file.writelines(lines)
    with box.open(box.url("object")) as file:
        assert list(file) == lines
    with box.open(box.url("object")) as file:
        model = io.StringIO("".join(lines))
        assert file.readline() == model.readline()
        assert file.readline(3) == model.readline(3)
        assert file.readlines(100) == model.readlines(100)
        assert next(file) == next(model)


@clause("text.seek")
def test_tell_and_seek(box: Box) -> None:
    lines = [f"line {i} ☃\n" for i in range(3000)]
    url = box.put("object", "".join(lines).encode())
    with box.open(url) as file:
        cookies = []
        while True:
            cookies.append(file.tell())
            if not file.readline():
                break
        for number in (2999, 0, 1500, 17):
            file.seek(cookies[number])
            assert file.readline() == lines[number]
        file.seek(0, io.SEEK_END)
        assert file.read() == ""
        file.seek(0)
        assert file.read() == "".join(lines)


@clause("text.str-only")
def test_text_takes_str(box: Box) -> None:
    data: Any = b"bytes"
    with box.open(box.url("object"), "w") as file:
        with pytest.raises(TypeError):
            file.write(data)
        assert file.write("five!") == 5
    assert box.get("object") == b"five!"


@clause("text.line-buffering")
def test_line_buffering_publishes_nothing(box: Box) -> None:
    with box.open(box.url("object"), "w", buffering=1) as file:
        file.write("a line\n")
        file.flush()
        assert box.absent("object")
    assert box.get("object") == b"a line\n"


@clause("text.newlines-at-block-edges")
@pytest.mark.parametrize("newline", [None, "", "\r\n"], ids=["none", "empty", "crlf"])
def test_line_ends_across_blocks(box: Box, newline: str | None) -> None:
    lines = ["x" * (BLOCK - 1) + "\r\n", "y" * (BLOCK - 2) + "\r", "z" * BLOCK + "\r\n", "\r", "\n", "end\r"]
    for shift in range(3):
        data = ("s" * shift + "".join(lines)).encode()
        model = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=newline)
        with box.open(box.put("object", data), newline=newline) as file:
            assert file.readlines() == model.readlines(), f"shifted by {shift}"
            assert file.newlines == model.newlines


@clause("text.protocol")
def test_flags_of_text(box: Box) -> None:
    url = box.put("object", b"text\n")
    with box.open(url, errors="replace") as file:
        assert (file.readable(), file.writable(), file.seekable(), file.isatty()) == (True, False, True, False)
        assert (file.errors, file.newlines, file.line_buffering, file.mode) == ("replace", None, False, "r")
        assert isinstance(file.buffer, io.BufferedIOBase)
        file.reconfigure(encoding="latin-1")
        assert file.encoding == "latin-1"
        calls: list[Any] = [lambda: file.write("x"), lambda: file.truncate(0), lambda: file.writelines(["x"])]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()
    assert box.get("object") == b"text\n"


@clause("text.seek-refused")
def test_seeks_that_text_has_not(box: Box) -> None:
    with box.open(box.put("object", "☃ one\ntwo\n".encode())) as file:
        assert file.readline() == "☃ one\n"
        for offset, whence in ((1, io.SEEK_CUR), (-1, io.SEEK_END)):
            with pytest.raises(io.UnsupportedOperation):
                file.seek(offset, whence)
        with pytest.raises(ValueError):
            file.seek(-1)
        next(file)
        with pytest.raises(OSError):
            file.tell()
        file.seek(0)
        assert file.read() == "☃ one\ntwo\n"


@clause("text.end")
@pytest.mark.parametrize("text", ["", "no line end", "☃" * BLOCK])
def test_end_of_text(box: Box, text: str) -> None:
    with box.open(box.put("object", text.encode())) as file:
        assert file.read() == text
        for _ in range(2):
            assert (file.read(), file.read(1), file.readline(), file.readlines(), list(file)) == ("", "", "", [], [])
        assert file.seek(0, io.SEEK_END) == len(text.encode())


@clause("text.cut-character")
def test_a_character_that_is_cut_off(box: Box) -> None:
    whole = ("x" * BLOCK + "☃").encode()
    with box.open(box.put("object", whole[:-1])) as file, pytest.raises(UnicodeDecodeError):
        file.read()
    with box.open(box.url("object"), errors="replace") as file:
        assert file.read() == "x" * BLOCK + "�"


@clause("text.write-refused")
def test_what_a_text_writer_has_not(box: Box) -> None:
    with box.open(box.url("object"), "w") as file:
        file.write("0123")
        calls: list[Any] = [
            file.read,
            file.readline,
            lambda: next(file),
            lambda: file.seek(0),
            lambda: file.truncate(0),
        ]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
        file.write("4567")
    assert box.get("object") == b"01234567", "and it does no harm"


@clause("text.detach")
def test_detached_text(box: Box) -> None:
    with box.open(box.put("object", b"one\ntwo\n")).detach() as binary:
        assert binary.read() == b"one\ntwo\n"
    text = box.open(box.url("new"), "w")
    text.write("text, ")
    with text.detach() as binary:
        binary.write(b"bytes")
        assert box.absent("new")
    assert box.get("new") == b"text, bytes", "what is outermost then publishes"


@clause("text.sizes")
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, PART - 1, PART, PART + 1])
def test_text_of_those_sizes(box: Box, size: int) -> None:
    text = ("é" * (size // 2)) + "x" * (size % 2)
    with box.open(box.url("object"), "w") as file:
        assert file.write(text) == len(text)
    assert box.storage.getsize(box.url("object")) == size
    with box.open(box.url("object")) as file:
        assert file.read() == text
