"""Names: a key is what stands after the container's slash, character for character."""

from __future__ import annotations

import glob
import itertools
import os
import pathlib
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.errors import InvalidArgumentError
from storagekit_conformance.clauses import clause
from storagekit_conformance.exploring import explored
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
    if not box.removes:
        return
    for left, name in enumerate(names, start=1 - len(names)):
        box.storage.remove(f"{top}/{name}")
        if left:
            assert len(box.storage.listdir(top)) == -left, f"removing {name!r} takes it and nothing else"


@clause("names.literal")
@pytest.mark.parametrize("kind", ODD)
def test_odd_names(box: Box, kind: str) -> None:
    round_trip(box, ODD[kind])


def text(characters: Any) -> st.SearchStrategy[str]:
    """A segment of those characters; a file system's longest has 255 bytes."""
    return st.text(characters, min_size=1, max_size=60)


# What a segment is made of, a class of characters at a time, so that what one server cannot do stays a narrow gap.
# Surrogates are no characters, a NUL is refused (`names.nul`), and the slash is between segments.
MADE_UP = {
    "any": text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/")),
    "non-bmp": text(st.characters(min_codepoint=0x10000)),
    "punctuation": text(st.sampled_from("%?#&;+=@:!$'\"()*,[]{}|\\^`~<>-_.2Fa")),
    "escapes": st.lists(st.sampled_from(["%2F", "%25", "%", "%00", "%0A", "+", "&amp;", "a"]), min_size=1).map("".join),
    "spaces": text(st.sampled_from(" \u00a0\u2003\u2028\u3000\ufeffa")),
    "newline": text(st.sampled_from("\n\ra")),
    "control": text(st.sampled_from([chr(code) for code in (*range(1, 10), 11, 12, *range(14, 32), *range(127, 160))])),
    "long": st.text("nü鍵", min_size=40, max_size=85),
    # Where names are not kept as they are, there is nothing to see in these.
    "normal-forms": st.lists(st.sampled_from([NFC, NFD, "e", "\u0301", "\u212b", "\u00c5", "A\u030a"]), min_size=1).map(
        "".join
    ),
    "slashes": st.sampled_from(["", "a", "b"]),
    "dots": st.sampled_from([".", "..", "...", "a", ".a", "a."]),
}
LITERAL_ONLY = ("normal-forms", "slashes", "dots")


def keys_of(segments: st.SearchStrategy[str], box: Box) -> st.SearchStrategy[list[str]]:
    """A few keys of such segments that the store can hold beside each other."""
    # Amazon's longest key has 1024 bytes, and the place is a part of it.
    room = 1024 - len(box.url("1234").encode())

    def folded(key: str) -> str:
        return key if box.traits.literal_keys else unicodedata.normalize("NFC", key.casefold())

    def fits(key: str) -> bool:
        plain = box.traits.literal_keys or not {"", ".", ".."} & set(key.split("/"))
        return plain and key[-1:] not in ("", "/") and key == folded(key) and len(key.encode()) <= room

    def beside(keys: list[str]) -> bool:
        return box.traits.file_beside_directory or not any(
            one.startswith(f"{other}/") for one, other in itertools.permutations(keys, 2)
        )

    key = st.lists(segments, min_size=1, max_size=12).map("/".join).filter(fits)
    return st.lists(key, min_size=1, max_size=3, unique=True).filter(beside)


def there_and_back(box: Box, top: str, keys: list[str]) -> None:
    """Write each key, find it by walking, open what was found, and remove it; then there is nothing left."""
    expected = {f"{box.url(top)}/{key}": content(20, seed=i) for i, key in enumerate(keys)}
    for key, data in zip(keys, expected.values(), strict=True):
        box.put(f"{top}/{key}", data)
    assert found(box, top) == set(expected)
    if box.root.client:
        known = box.root.client.keys()
        assert {key for key in known if key.startswith(f"{top}/") and key[-1] != "/"} == {
            f"{top}/{key}" for key in keys
        }
    for url, data in list(expected.items()):
        with box.open(url, "rb") as file:
            assert file.read() == data
        assert box.storage.stat(url).st_size == len(data)
        if not box.removes:
            continue
        box.storage.remove(url)
        del expected[url]
        assert found(box, top) == set(expected), "what was removed, and nothing else, is gone"


def found(box: Box, top: str) -> set[str]:
    """The URLs of all files below *top*, as ``walk`` leads to them."""
    walked = box.storage.walk(box.url(top))
    return {folder + ("" if folder.endswith("/") else "/") + name for folder, _, files in walked for name in files}


@clause("names.round-trip")
@pytest.mark.parametrize("kind", MADE_UP)
def test_made_up_keys(box: Box, request: pytest.FixtureRequest, kind: str) -> None:
    needs(box.traits.literal_keys or kind not in LITERAL_ONLY, "the store does not promise to keep such names")
    numbers = itertools.count()

    @explored(request.config.getoption("--depth"), examples=8)
    @given(keys=keys_of(MADE_UP[kind], box))
    def check(keys: list[str]) -> None:
        there_and_back(box, str(next(numbers)), keys)

    check()


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
    if not box.removes:
        return
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
    needs(box.traits.literal_keys, "the store does not promise to keep empty segments")
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
    if box.removes:
        box.storage.remove(f"{box.root.url}/a//b")
    assert box.get("a/b") == b"a/b"


@clause("names.dot-segments")
def test_dot_segments(box: Box) -> None:
    needs(box.traits.literal_keys, "the store does not promise to keep . and .. as names")
    keys = ["a/../b", "a/./b", "b", "./b", "a/b/..", "a/."]
    for key in keys:
        box.put(key, key.encode())
    for key in keys:
        assert box.get(key) == key.encode()
    if box.root.client:
        assert sorted(box.root.client.keys()) == sorted(keys)
    assert box.storage.listdir(box.url()) == [".", "a", "b"]
    assert box.storage.listdir(box.url("a")) == [".", "..", "b"]
    if box.removes:
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
    assert box.get("folder/copy") == b"data"
    storage.touch(given("folder/touched"))
    assert box.get("folder/touched") == b""
    if not box.removes:
        return
    storage.rename(given("folder/copy"), given("folder/renamed"))
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
