"""Names: a key is what stands after the container's slash, character for character."""

from __future__ import annotations

import glob
import os
import pathlib
import unicodedata
from typing import Any

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import Box, content, needs

NFC = unicodedata.normalize("NFC", "é")
NFD = unicodedata.normalize("NFD", "é")

ODD = {
    "percent": ["a%2Fb", "a%20b", "100%", "%", "%zz", "%25"],
    "query": ["a?b", "a?versionId=null", "?", "a#b", "#", "a;b", "a&b=c"],
    "spaces": ["a b", " leading", "trailing ", "a+b", "a  b"],
    "punctuation": ["a'b", 'a"b', "a\\b", "a:b", "a|b", "<a>", "~", "$HOME", "a,b", "a@b", "(a)", "{a}", "^", "`", "!"],
    "unicode": ["é", "ключ", "鍵", "مفتاح", "‮rtl", "a b"],
    "non-bmp": ["\U0001f600", "\U0001f468‍\U0001f469", "\U00020000"],
    "glob": ["*", "[a]", "a?", "**", "[!x]"],
    "dots": ["..a", "a..", "...", ".hidden", "a.b.c"],
    "long-segment": ["n" * 200],
}


def round_trip(box: Box, names: list[str]) -> None:
    """Write each name, and see that it, and only it, is found, listed, read, seen by others, and removed."""
    expected = {name: content(20, seed=i) for i, name in enumerate(names)}
    for name, data in expected.items():
        box.put(f"top/{name}", data)
    top = box.url("top")
    assert box.storage.listdir(top) == sorted(expected)
    with box.storage.scandir(top) as entries:
        assert {entry.path for entry in entries} == {f"{top}/{name}" for name in expected}
    if box.root.client:
        assert sorted(box.root.client.keys()) == sorted(f"top/{name}" for name in expected)
    for name, data in expected.items():
        assert box.get(f"top/{name}") == data, name
        assert box.storage.isfile(f"{top}/{name}")
        assert box.storage.getsize(f"{top}/{name}") == 20
        assert box.storage.glob(f"{top}/{glob.escape(name)}") == [f"{top}/{name}"]
        if box.root.client:
            assert box.root.client.get(f"top/{name}") == data
    for left, name in enumerate(names, start=1 - len(names)):
        box.storage.remove(f"{top}/{name}")
        if left:
            assert len(box.storage.listdir(top)) == -left, f"removing {name!r} takes it and nothing else"


@clause("names.literal")
@pytest.mark.parametrize("kind", ODD)
def test_odd_names(box: Box, kind: str) -> None:
    round_trip(box, ODD[kind])


@clause("names.odd-directories")
def test_odd_directories(box: Box) -> None:
    names = ["a%2Fb", "a?b", "#", " ", "é", "\U0001f600", "[a]", "a+b"]
    for name in names:
        box.put(f"top/{name}/file", name.encode())
    assert box.storage.listdir(box.url("top")) == sorted(names)
    for folder, _, files in list(box.storage.walk(box.url("top")))[1:]:
        assert files == ["file"]
        with box.open(box.storage.join(folder, "file"), "rb") as file:
            assert file.read() == folder.rstrip("/").rpartition("/")[2].encode()
    box.storage.rmtree(box.url("top/a?b"))
    assert box.storage.listdir(box.url("top")) == sorted(set(names) - {"a?b"})


@clause("names.newline")
def test_newline(box: Box) -> None:
    round_trip(box, ["a\nb"])


@clause("names.control")
def test_control_characters(box: Box) -> None:
    round_trip(box, ["a\tb", "a\x01b", "a\x7fb"])


@clause("names.case")
def test_upper_and_lower_case(box: Box) -> None:
    needs(box.traits.literal_keys, "the store may fold names")
    round_trip(box, ["readme", "README", "Readme"])


@clause("names.normal-forms")
def test_normal_forms(box: Box) -> None:
    needs(box.traits.literal_keys, "the store may fold names")
    round_trip(box, [NFC, NFD])


@clause("names.slashes")
def test_empty_segments(box: Box) -> None:
    needs(box.traits.literal_keys, "the store does not keep empty segments")
    for key in ("a/b", "a//b", "a///b", "/a"):
        with box.open(f"{box.root.url}/{key}", "wb") as file:
            file.write(key.encode())
    for key in ("a/b", "a//b", "a///b", "/a"):
        with box.open(f"{box.root.url}/{key}", "rb") as file:
            assert file.read() == key.encode()
    assert box.storage.listdir(box.url()) == ["", "a"]
    assert box.storage.listdir(box.url("a")) == ["", "b"]
    assert box.storage.listdir(box.url("a//")) == ["", "b"]
    walked = [(folder, name) for folder, _, files in box.storage.walk(box.url("a")) for name in files]
    assert len(walked) == 3
    read = set()
    for folder, name in walked:
        with box.open(folder + name if folder.endswith("/") else f"{folder}/{name}", "rb") as file:
            read.add(file.read())
    assert read == {b"a/b", b"a//b", b"a///b"}
    box.storage.remove(f"{box.root.url}/a//b")
    assert box.get("a/b") == b"a/b"


@clause("names.dot-segments")
def test_dot_segments(box: Box) -> None:
    needs(box.traits.literal_keys, "the store resolves . and ..")
    keys = ["a/../b", "a/./b", "b", "./b", "a/b/..", "a/."]
    for key in keys:
        box.put(key, key.encode())
    for key in keys:
        assert box.get(key) == key.encode()
    if box.root.client:
        assert sorted(box.root.client.keys()) == sorted(keys)
    assert box.storage.listdir(box.url()) == [".", "a", "b"]
    assert box.storage.listdir(box.url("a")) == [".", "..", "b"]
    box.storage.remove(box.url("a/../b"))
    assert box.get("b") == b"b"


@clause("names.long")
def test_long_keys(box: Box) -> None:
    room = 1024 - len(box.root.url.partition("://")[2].partition("/")[2]) - 1
    key = "/".join(["s" * 99] * 11)[:room].rstrip("/")
    box.put(key, b"deep")
    assert box.get(key) == b"deep"
    assert box.storage.getsize(box.url(key)) == 4
    found = [files for _, _, files in box.storage.walk(box.url()) if files]
    assert found == [[key.rpartition("/")[2]]]


@clause("names.nul")
def test_embedded_nul(box: Box) -> None:
    url = box.url("a\0b")
    storage = box.storage
    functions: list[Any] = [storage.open, storage.stat, storage.listdir, storage.remove, storage.mkdir, storage.rmtree]
    for function in functions:
        with pytest.raises(ValueError, match="null"):
            function(url)
    with pytest.raises(ValueError, match="null"):
        storage.open(url, "w")


class PathLike:
    """Something with ``__fspath__`` and nothing else."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        return self._path


@clause("names.path-types")
@pytest.mark.parametrize("kind", ["bytes", "pathlike", "pathlike-bytes"])
def test_kinds_of_paths(box: Box, kind: str) -> None:
    def given(key: str) -> Any:
        url: Any = box.url(key)
        if "bytes" in kind:
            url = os.fsencode(url)
        return PathLike(url) if "like" in kind else url

    storage = box.storage
    box.put("folder/é", b"data")
    with storage.open(given("folder/é"), "rb") as file:
        assert file.read() == b"data"
    assert storage.isfile(given("folder/é"))
    assert storage.isdir(given("folder"))
    assert storage.stat(given("folder/é")).st_size == storage.getsize(given("folder/é")) == 4
    assert len(storage.listdir(given("folder"))) == 1
    assert sum(len(files) for _, _, files in storage.walk(given("folder"))) == 1
    storage.copyfile(given("folder/é"), given("folder/copy"))
    storage.rename(given("folder/copy"), given("folder/renamed"))
    storage.touch(given("folder/touched"))
    storage.remove(given("folder/renamed"))
    assert storage.listdir(box.url("folder")) == ["touched", "é"]
    storage.rmtree(given("folder"))
    assert not storage.exists(given("folder/é"))


@clause("names.not-a-path")
def test_what_is_no_path(box: Box) -> None:
    storage = box.storage
    functions: list[Any] = [storage.stat, storage.remove, storage.mkdir, storage.isfile]
    for function in functions:
        for path in (None, 1.5, object(), ["x"]):
            if path is None and function is storage.isfile:
                continue
            with pytest.raises(TypeError):
                function(path)


@clause("names.pathlib-refused")
def test_collapsed_url(box: Box) -> None:
    path = pathlib.PurePosixPath(box.put("object"))
    assert "://" not in str(path)
    for function in (box.storage.open, box.storage.stat, box.storage.listdir, box.storage.remove):
        with pytest.raises(InvalidArgumentError):
            function(path)
    assert box.get("object") == b"data"


@clause("names.scheme-case")
def test_case_of_the_scheme(box: Box) -> None:
    url = box.put("object")
    scheme, separator, rest = url.partition("://")
    with box.open(scheme.upper() + separator + rest, "rb") as file:
        assert file.read() == b"data"


@clause("names.join")
def test_join(box: Box) -> None:
    join = box.storage.join
    url = box.url()
    assert join(url, "a", "b") == f"{url}/a/b"
    assert join(url + "/", "a/", "b") == f"{url}/a/b"
    assert join(url, "a b?#%", "..") == f"{url}/a b?#%/..", "nothing is normalised"
    assert join("/tmp", url) == url
    assert join("a", "b") == os.path.join("a", "b")
