"""Updating: ``a``, ``r+`` and the other modes that edit, held to the builtin's on a local file."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import storagekit
from storagekit import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.remains import no_uploads, uploads, wait_for
from storagekit_conformance.support import BLOCK, PART, Box, content, in_child, needs, refused, together

MODES = ["a", "r+", "w+", "x+", "a+"]
EDITING = ["a", "r+", "a+"]

# An object that a test edits in parts is a little longer than one.
LARGE = content(PART + 3 * BLOCK + 5)


def needs_edits(box: Box) -> None:
    needs(box.traits.conditional_replace, "the store does not decide replacing on a condition")


def needs_creation(box: Box) -> None:
    needs(box.traits.exclusive_create, "the store does not decide exclusive creation")


# ---------------------------------------------------------------- the builtin as the oracle

LINES = "one\ntwo\r\nthree ä\n\nfive"
PIECES = ["", "x", "new\n", "ö" * 3, "long " * 40]


def calls(text: bool) -> list[Callable[[Any, random.Random], object]]:
    """What can be done with a file; each gives something to compare."""

    def seek(file: Any, chance: random.Random) -> object:
        whence = chance.choice([os.SEEK_SET, os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
        offset = chance.randrange(-3, 60) if whence == os.SEEK_SET else chance.choice([0, 0, -4, 3])
        return file.seek(0 if text and whence != os.SEEK_SET else offset, whence)

    def write(file: Any, chance: random.Random) -> object:
        piece = chance.choice(PIECES)
        return file.write(piece if text else piece.encode())

    def truncate(file: Any, chance: random.Random) -> object:
        size = chance.choice([None, 0, 5, 40, -1])
        if text:
            file.flush()  # else its own buffer is written behind the new end later on
        return file.truncate(size)

    both: list[Callable[[Any, random.Random], object]] = [
        lambda file, chance: file.read(chance.choice([-1, 0, 1, 7])),
        lambda file, chance: file.readline(chance.choice([-1, 3])),
        lambda file, chance: file.readlines(),
        lambda file, chance: file.seek(0),
        lambda file, chance: file.tell(),
        lambda file, chance: file.flush(),
        lambda file, chance: (file.readable(), file.writable(), file.seekable(), file.closed),
        seek,
        write,
        write,
        truncate,
    ]
    return both


def outcome(call: Callable[[Any, random.Random], object], file: Any, seed: int) -> tuple[str, object]:
    """What a call gives, or the kind of its exception."""
    try:
        return "gives", call(file, random.Random(seed))
    except Exception as error:
        return "raises", error


def same(ours: tuple[str, object], builtins: tuple[str, object]) -> bool:
    """Whether the store's file did as the builtin's: an exception may be of a class below that of the builtin's."""
    if ours[0] == builtins[0] == "raises":
        return isinstance(ours[1], type(builtins[1]))
    return ours == builtins


@clause("updating.as-the-builtin")
@pytest.mark.parametrize("kind", ["b", "t"])
@pytest.mark.parametrize("mode", MODES)
def test_any_sequence_of_calls(box: Box, tmp_path: Path, mode: str, kind: str) -> None:
    needs_edits(box)
    needs_creation(box)
    chance = random.Random(f"{mode}{kind}")
    arguments: dict[str, Any] = {} if kind == "b" else {"encoding": "utf-8", "newline": ""}
    for example in range(12):
        initial = chance.choice([None, b"", LINES.encode()]) if mode not in ("r+", "x+") else LINES.encode()
        initial = None if mode == "x+" else initial
        key, local = f"object-{example}", tmp_path / str(example)
        if initial is not None:
            box.put(key, initial)
            local.write_bytes(initial)
        told = []
        with box.open(box.url(key), mode + kind, **arguments) as ours, open(local, mode + kind, **arguments) as theirs:
            assert ours.tell() == theirs.tell()
            for _ in range(25):
                call, seed = chance.choice(calls(kind == "t")), chance.random()
                expected = outcome(call, theirs, hash(seed))
                told.append((seed, expected))
                assert same(outcome(call, ours, hash(seed)), expected), f"example {example}: {told}"
        assert box.get(key) == local.read_bytes(), f"example {example}: {told}"


@clause("updating.protocol")
@pytest.mark.parametrize("mode", MODES)
def test_what_a_handle_says(box: Box, tmp_path: Path, mode: str) -> None:
    needs_edits(box)
    needs_creation(box)
    (tmp_path / "file").write_bytes(b"data")
    if mode != "x+":
        box.put("object")
    local = tmp_path / ("new" if mode == "x+" else "file")
    ours: Any = box.open(box.url("object"), mode + "b")
    with ours, open(local, mode + "b") as theirs:
        assert issubclass(type(ours), io.BufferedRandom if "+" in mode else io.BufferedWriter)
        assert (ours.mode, ours.isatty()) == (theirs.mode, theirs.isatty())
        assert ours.name == box.url("object")
        assert ours.stat is None
        with pytest.raises(io.UnsupportedOperation):
            ours.fileno()
    published: Any = ours.stat
    assert published.size == len(box.get("object"))
    with box.open(box.url("object" if mode == "r+" else "text"), mode) as text:
        assert issubclass(type(text), io.TextIOWrapper)
        assert text.mode == mode


# ---------------------------------------------------------------- what is published, and when


@clause("updating.absent")
@pytest.mark.parametrize("mode", ["a", "a+"])
def test_appending_to_what_is_not_there(box: Box, mode: str) -> None:
    if not box.traits.exclusive_create:
        with refused(io.UnsupportedOperation, url=box.url("new")):
            box.open(box.url("new"), mode)
        assert box.absent("new")
        return
    with box.open(box.url("new"), mode) as file:
        file.write("first\n")
        assert box.absent("new")
    assert box.get("new") == b"first\n"
    with box.open(box.url("empty"), mode):
        pass
    assert box.get("empty") == b""


@clause("updating.missing")
@pytest.mark.parametrize("mode", ["r+", "r+b"])
def test_editing_what_is_not_there(box: Box, mode: str) -> None:
    url = box.url("missing")
    with refused(FileNotFoundError, url=url):
        box.open(url, mode)
    assert box.absent("missing")


@clause("updating.directory")
@pytest.mark.parametrize("mode", EDITING)
def test_a_directory(box: Box, mode: str) -> None:
    box.put("folder/object")
    with refused(IsADirectoryError, url=box.url("folder/")):
        box.open(box.url("folder/"), mode)


@clause("updating.nothing-written")
@pytest.mark.parametrize("mode", EDITING)
def test_nothing_written_nothing_published(box: Box, mode: str) -> None:
    needs_edits(box)
    url = box.put("object", b"same")
    before = box.storage.stat(url)
    with box.open(url, mode + "b") as file:
        file.seek(0)
        if "+" in mode:
            assert file.read() == b"same"
        file.truncate(4)
        file.write(b"")
    after = box.storage.stat(url)
    assert (after.etag, after.st_mtime_ns) == (before.etag, before.st_mtime_ns)
    assert file.stat.etag == before.etag


@clause("updating.unseen")
@pytest.mark.parametrize("mode", EDITING)
def test_nothing_is_seen_before_the_close(box: Box, mode: str) -> None:
    needs_edits(box)
    url = box.put("object", b"old")
    with box.open(url, mode + "b") as file:
        file.write(b"new")
        file.flush()
        assert box.get("object") == b"old"
    assert box.get("object") == (b"new" if mode == "r+" else b"oldnew")
    no_uploads(box)


@contextlib.contextmanager
def meanwhile(box: Box, mode: str, change: Callable[[], object]) -> Iterator[None]:
    """Edit ``object`` while somebody changes it: the close has to say so."""
    file = box.open(box.url("object"), mode + "b")
    file.write(b"mine")
    change()
    with refused(ObjectChangedError, url=box.url("object")):
        file.close()
    assert file.closed
    assert file.stat is None
    yield
    no_uploads(box)


@clause("updating.conflict")
@pytest.mark.parametrize("mode", EDITING)
def test_a_change_in_between_is_not_lost(box: Box, mode: str) -> None:
    needs_edits(box)
    box.put("object", b"old")
    with meanwhile(box, mode, lambda: box.put("object", b"theirs")):
        assert box.get("object") == b"theirs"
    if box.removes:
        with meanwhile(box, mode, lambda: box.storage.remove(box.url("object"))):
            assert box.absent("object")


@clause("updating.created-meanwhile")
def test_what_appears_in_between_is_not_lost(box: Box) -> None:
    needs_creation(box)
    file = box.open(box.url("object"), "ab")
    file.write(b"mine")
    box.put("object", b"theirs")
    with refused(FileExistsError, url=box.url("object")):
        file.close()
    assert box.get("object") == b"theirs"


@clause("updating.race")
def test_no_append_is_lost(box: Box) -> None:
    needs_edits(box)
    box.put("object", b"0\n")
    written: set[str] = set()

    def append(number: int) -> None:
        for attempt in range(3):
            line = f"{number}-{attempt}"
            with contextlib.suppress(ObjectChangedError):
                with box.open(box.url("object"), "a") as file:
                    file.write(f"{line}\n")
                written.add(line)

    together(8, append)
    assert set(box.get("object").decode().split()) == written | {"0"}
    assert written, "one of those that begin at a moment comes first"


@clause("updating.last-close-wins")
def test_w_plus_asks_for_no_version(box: Box) -> None:
    url = box.put("object", b"old")
    with box.open(url, "w+b") as file:
        file.write(b"mine")
        box.put("object", b"theirs")
        file.seek(0)
        assert file.read() == b"mine"
    assert box.get("object") == b"mine"
    with box.open(url, "w+b"):
        pass
    assert box.get("object") == b""


# ---------------------------------------------------------------- the seal


@clause("updating.sealed")
@pytest.mark.parametrize("kind", ["b", "t"])
@pytest.mark.parametrize("mode", ["a", "r+", "w+"])
def test_a_draft_that_is_given_up(box: Box, mode: str, kind: str) -> None:
    needs_edits(box)
    url = box.put("object", b"old")
    piece: Any = b"new" if kind == "b" else "new"
    with pytest.raises(KeyError), box.open(url, mode + kind) as file:
        file.write(piece)
        raise KeyError
    file = box.open(url, mode + kind)
    file.write(piece)
    file.discard()
    assert file.closed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = box.open(url, mode + kind)
        file.write(piece)
        del file
        gc.collect()
    assert [w for w in caught if w.category is ResourceWarning]
    assert box.get("object") == b"old"
    wait_for(lambda: not uploads(box), "a draft that was given up left an upload")


@clause("updating.fork")
def test_a_draft_belongs_to_its_process(box: Box) -> None:
    needs_edits(box)
    url = box.put("object", b"old")
    with box.open(url, "r+b") as file:
        file.write(b"new")
        file.flush()

        def child() -> None:
            with pytest.raises(OSError, match="inherited"):
                file.read()
            with pytest.raises(OSError, match="inherited"):
                file.write(b"child")
                file.flush()

        in_child(child)
        file.seek(0)
        assert file.read() == b"new"
    assert box.get("object") == b"new"


# ---------------------------------------------------------------- what stays


@clause("updating.kept")
@pytest.mark.parametrize("mode", EDITING)
def test_what_stands_beside_the_bytes_stays(box: Box, mode: str) -> None:
    needs_edits(box)
    url = box.url("object")
    options = {"content_type": "text/x-test", "metadata": {"name": "value"}}
    try:
        with box.open(url, "wb", options=options) as file:
            file.write(b"old")
    except storagekit.InvalidArgumentError:
        pytest.skip("the driver keeps nothing beside the bytes")
    with box.open(url, mode) as text:
        text.write("new")
    found = box.storage.stat(url)
    assert (found.content_type, found.metadata) == ("text/x-test", {"name": "value"})
    with box.open(url, mode, options={"content_type": "text/x-other"}) as text:
        text.write("newer")
    found = box.storage.stat(url)
    assert (found.content_type, found.metadata) == ("text/x-other", {"name": "value"})


def edited(box: Box, edit: Callable[[Any], object], mode: str) -> bytes:
    """The large object after an edit, or unchanged where the store refuses to edit it."""
    url = box.put("object", LARGE)
    try:
        with box.open(url, mode) as file:
            edit(file)
    except io.UnsupportedOperation:
        assert box.get("object") == LARGE
        pytest.skip("the store does not decide replacing an object of several parts on a condition")
    no_uploads(box)
    return box.get("object")


@clause("updating.large")
def test_an_object_of_several_parts(box: Box) -> None:
    needs_edits(box)
    assert edited(box, lambda file: file.write(b"end"), "ab") == LARGE + b"end"

    def overwrite(file: Any) -> None:
        for at in (10, BLOCK - 1, PART - 1, len(LARGE) - 2):
            file.seek(at)
            file.write(b"####")

    expected = bytearray(LARGE)
    for at in (10, BLOCK - 1, PART - 1, len(LARGE) - 2):
        expected[at : at + 4] = b"####"
    assert edited(box, overwrite, "r+b") == expected
    assert edited(box, lambda file: file.truncate(PART - 5), "r+b") == LARGE[: PART - 5]
    assert edited(box, lambda file: file.truncate(len(LARGE) + BLOCK), "r+b") == LARGE + bytes(BLOCK)

    def rewrite(file: Any) -> None:
        file.truncate(BLOCK)
        file.seek(PART)
        file.write(b"far")

    assert edited(box, rewrite, "r+b") == LARGE[:BLOCK] + bytes(PART - BLOCK) + b"far"


@clause("updating.compressed")
@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz"])
def test_appending_to_what_is_compressed(box: Box, codec: str) -> None:
    needs_edits(box)
    needs_creation(box)
    url = box.url("object")
    for line in ("one\n", "two\n"):
        with box.open(url, "a", compression=codec) as file:
            file.write(line)
    before = box.storage.stat(url).etag
    with box.open(url, "a", compression=codec):
        pass
    assert box.storage.stat(url).etag == before
    with box.open(url, compression=codec) as file:
        assert file.read() == "one\ntwo\n"
    for mode in ("r+", "w+", "a+"):
        with refused(ValueError, url=url):
            box.open(url, mode, compression=codec)


@clause("updating.refused")
@pytest.mark.parametrize("mode", EDITING)
def test_a_store_without_conditions_refuses(box: Box, mode: str) -> None:
    needs(not box.traits.conditional_replace, "the store decides replacing on a condition")
    url = box.put("object", b"old")
    with refused(io.UnsupportedOperation, url=url):
        box.open(url, mode)
    assert box.get("object") == b"old"
