"""Outcomes: what has become of a change during which something failed.

A change is done, or raises; what is stored is the old object or the new one, whole, and nothing beside. Where the
answer was lost nobody can promise which of the two it is, only that a success is really one. The place is the fixture
``faulty``, as in ``test_faults``.
"""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.fault_cases import ONCE, REFUSED, Outcome, attempt, faults_of, part_of
from storagekit_conformance.faults import Answer, Before, Fault, KeyRefused, Lost, Reset, Status
from storagekit_conformance.remains import no_uploads, untouched, uploads, wait_for
from storagekit_conformance.support import Box, content, needs, needs_removal, needs_renaming, refused

# Every request by which an object comes to be where it was not.
PUBLISHING = ("put", "begin", "part", "commit", "copy", "rename")

SMALL = content(1000)

LAYERS: dict[str, dict[str, Any]] = {
    "binary": {"mode": "wb"},
    "unbuffered": {"mode": "wb", "buffering": 0},
    "text": {"mode": "w", "encoding": "latin-1", "newline": ""},
    "gzip": {"mode": "wb", "compression": "gzip"},
    "gzip-text": {"mode": "w", "compression": "gzip", "encoding": "latin-1", "newline": ""},
}


def parts(box: Box) -> bytes:
    """An object of more than two parts."""
    return content(2 * part_of(box) + 1000)


def ends_unpublished(box: Box, file: Any, *urls: str) -> None:
    """A writer that failed is closed, holds no Stat, and no further call publishes anything."""
    with attempt(*urls):
        file.close()
    file.close()
    assert file.closed
    assert file.stat is None
    with pytest.raises(ValueError, match="closed"):
        file.flush()


def fails_to_write(box: Box, data: bytes, layer: str = "binary") -> None:
    """Write *data* to a new object and over an old one, where that fails: an error each time."""
    piece = data.decode("latin-1") if "text" in layer else data
    for key in ("new", "old"):
        url = box.url(key)
        file = box.open(url, **LAYERS[layer])
        with refused(url=url):
            file.write(piece)
            file.close()
        ends_unpublished(box, file, url)
        with refused(url=url), box.open(url, **LAYERS[layer]) as file:
            file.write(piece)
        assert file.closed


# -- writing ----------------------------------------------------------------------------------------------


@clause("outcomes.put")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_refused_put(faulty: Box, layer: str) -> None:
    faulty.put("old", b"old bytes")
    with faults_of(faulty).armed(REFUSED, "put", times=None):
        fails_to_write(faulty, SMALL, layer)
        fails_to_write(faulty, b"", layer)
    untouched(faulty)


@clause("outcomes.put-no-answer")
@pytest.mark.parametrize("fault", [Status(500), Reset()], ids=["broken", "reset"])
def test_a_put_without_answer(faulty: Box, fault: Fault) -> None:
    faulty.put("old", b"old bytes")
    with faults_of(faulty).armed(fault, "put", times=None):
        for key in ("new", "old"):
            with refused(url=faulty.url(key)), faulty.open(faulty.url(key), "wb") as file:
                file.write(SMALL)
    untouched(faulty)


PARTS: dict[str, tuple[str, int]] = {"begin": ("begin", 0), "first": ("part", 0), "second": ("part", 1)}


@clause("outcomes.part")
@pytest.mark.parametrize("which", PARTS)
def test_a_part_fails(faulty: Box, which: str) -> None:
    operation, after = PARTS[which]
    faulty.put("old", b"old bytes")
    for key in ("new", "old"):
        url = faulty.url(key)
        with faults_of(faulty).armed(REFUSED, operation, after=after, times=1):
            file = faulty.open(url, "wb")
            with refused(PermissionError, url=url):
                file.write(parts(faulty))
                file.close()
            ends_unpublished(faulty, file, url)
    untouched(faulty)


@clause("outcomes.part")
def test_the_last_part_fails(faulty: Box) -> None:
    faults = faults_of(faulty)
    faulty.put("old", parts(faulty))
    count = faults.count("part")
    assert count > 1
    faulty.put("old", b"old bytes")
    with faults.armed(REFUSED, "part", after=count - 1), refused(PermissionError, url=faulty.url("new")):
        faulty.put("new", parts(faulty))
    untouched(faulty)


@clause("outcomes.part")
@pytest.mark.parametrize("layer", ["text", "gzip"])
def test_a_part_fails_below_layers(faulty: Box, layer: str) -> None:
    faulty.put("old", b"old bytes")
    data = parts(faulty)
    with faults_of(faulty).armed(REFUSED, "part"):
        file = faulty.open(faulty.url("new"), **LAYERS[layer])
        with refused(url=faulty.url("new")):
            file.write(data.decode("latin-1") if layer == "text" else data)
            file.close()
        ends_unpublished(faulty, file, faulty.url("new"))
    untouched(faulty)


@clause("outcomes.commit")
@pytest.mark.parametrize("fault", [REFUSED, Status(500), Reset()], ids=["refused", "broken", "reset"])
def test_the_commit_fails(faulty: Box, fault: Fault) -> None:
    faulty.put("old", b"old bytes")
    for key in ("new", "old"):
        url = faulty.url(key)
        with faults_of(faulty).armed(fault, "commit", times=None):
            file = faulty.open(url, "wb")
            file.write(parts(faulty))
            with refused(url=url):
                file.close()
            ends_unpublished(faulty, file, url)
    untouched(faulty)


@clause("outcomes.abort")
@pytest.mark.parametrize("ending", ["failure", "discard"])
def test_an_abort_that_fails_is_made_up_for(faulty: Box, ending: str) -> None:
    faults = faults_of(faulty)
    faulty.put("old", b"old bytes")
    url = faulty.url("new")
    with faults.armed(REFUSED, "abort", times=1):
        file = faulty.open(url, "wb")
        if ending == "failure":
            with faults.armed(Status(403), "part", after=1), refused(PermissionError, url=url):
                file.write(parts(faulty))
                file.close()
        else:
            faults.forget()
            file.write(parts(faulty))
            wait_for(lambda: faults.count("part") > 0, "no part was sent")
            file.discard()
        client = faulty.root.client
        gone = "an upload whose abort failed once was not removed"
        wait_for(lambda: not uploads(faulty) and (client is None or client.keys() == ["old"]), gone)
    untouched(faulty)


@clause("outcomes.passing")
@pytest.mark.parametrize("operation", ["put", "begin", "part", "commit"])
@pytest.mark.parametrize("kind", ONCE)
def test_what_passes_is_overcome_or_raised(faulty: Box, kind: str, operation: str) -> None:
    data = SMALL if operation == "put" else parts(faulty)
    url = faulty.url("object")
    with faults_of(faulty).armed(ONCE[kind], operation), attempt(url) as outcome:
        faulty.put("object", data)
    if (operation, kind) != ("begin", "lost"):  # an upload of which nobody was told the id is found by ``uploads``
        no_uploads(faulty)
    old_or_new(faulty, "object", outcome, new=data, old=None, lost=kind == "lost")
    faulty.put("object", b"once more")
    assert faulty.get("object") == b"once more"


def old_or_new(box: Box, key: str, outcome: Outcome, *, new: bytes, old: bytes | None, lost: bool = True) -> None:
    """After a success there is the new object; after an error the old one, or where an answer was *lost* either."""
    found = box.get(key) if box.storage.exists(box.url(key)) else None
    if outcome.error is None:
        assert found == new
    else:
        assert found == old or (lost and found == new)
    if box.root.client is not None:
        assert (key in box.root.client.keys()) == (found is not None)  # noqa: SIM118


@clause("outcomes.lost-put")
@pytest.mark.parametrize("data", [SMALL, b""], ids=["some", "empty"])
def test_the_answer_to_a_put_is_lost(faulty: Box, data: bytes) -> None:
    faulty.put("old", b"old bytes")
    for key, old in (("new", None), ("old", b"old bytes")):
        with faults_of(faulty).armed(Lost(), "put", times=None), attempt(faulty.url(key)) as outcome:
            faulty.put(key, data)
        old_or_new(faulty, key, outcome, new=data, old=old)


@clause("outcomes.lost-commit")
def test_the_answer_to_a_commit_is_lost(faulty: Box) -> None:
    faulty.put("old", b"old bytes")
    for key, old in (("new", None), ("old", b"old bytes")):
        with faults_of(faulty).armed(Lost(), "commit", times=None), attempt(faulty.url(key)) as outcome:
            faulty.put(key, parts(faulty))
        old_or_new(faulty, key, outcome, new=parts(faulty), old=old)
    no_uploads(faulty)


@clause("outcomes.lost-exclusive")
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize("size", ["empty", "small", "parts"])
def test_the_answer_to_an_exclusive_write_is_lost(faulty: Box, size: str, times: int | None) -> None:
    needs(faulty.traits.exclusive_create, "the driver does not promise exclusive creation")
    data = {"empty": b"", "small": SMALL, "parts": parts(faulty)}[size]
    url = faulty.url("object")
    lost = faults_of(faulty).armed(Lost(), "put", "commit", times=times)
    with lost, attempt(url) as outcome, faulty.open(url, "xb") as file:
        file.write(data)
    assert not isinstance(outcome.error, FileExistsError), "what is there is its own"
    old_or_new(faulty, "object", outcome, new=data, old=None)


@clause("outcomes.exclusive-late")
def test_an_object_that_comes_just_before_the_commit(faulty: Box) -> None:
    needs(faulty.traits.exclusive_create, "the driver does not promise exclusive creation")
    client = faulty.root.client
    needs(client, "the target has no second client")
    assert client is not None
    url = faulty.url("object")
    change = Before(lambda: client.put("object", b"theirs"))
    with faults_of(faulty).armed(change, "put"), refused(FileExistsError, url=url), faulty.open(url, "xb") as file:
        file.write(SMALL)
    assert faulty.get("object") == b"theirs"


# -- other changes ----------------------------------------------------------------------------------------


@clause("outcomes.copy")
@pytest.mark.parametrize("fault", [REFUSED, Reset()], ids=["refused", "reset"])
def test_a_copy_fails(faulty: Box, fault: Fault) -> None:
    source = faulty.put("source", SMALL)
    faulty.put("old", b"old bytes")
    for key in ("new", "old"):
        with faults_of(faulty).armed(fault, *PUBLISHING, times=None), refused(url=faulty.url(key)):
            faulty.storage.copyfile(source, faulty.url(key))
    assert faulty.absent("new")
    assert faulty.get("old") == b"old bytes"
    assert faulty.get("source") == SMALL


@clause("outcomes.copy-read")
def test_the_source_of_a_copy_cannot_be_read(faulty: Box, tmp_path: Any) -> None:
    url = faulty.put("source", SMALL)
    target = tmp_path / "target"
    with faults_of(faulty).armed(REFUSED, "read", times=None), refused(PermissionError, url=url):
        faulty.storage.copyfile(url, target)
    faulty.storage.copyfile(url, target)
    assert target.read_bytes() == SMALL


@clause("outcomes.lost-copy")
def test_the_answer_to_a_copy_is_lost(faulty: Box) -> None:
    source, target = faulty.put("source", SMALL), faulty.url("target")
    with faults_of(faulty).armed(Lost(), *PUBLISHING, times=None), attempt(source, target) as outcome:
        faulty.storage.copyfile(source, target)
    old_or_new(faulty, "target", outcome, new=SMALL, old=None)
    assert faulty.get("source") == SMALL


@clause("outcomes.rename-copy")
@pytest.mark.parametrize("fault", [REFUSED, Status(500)], ids=["refused", "broken"])
def test_a_rename_whose_copy_fails(faulty: Box, fault: Fault) -> None:
    needs_renaming(faulty)
    source = faulty.put("source", SMALL)
    for key, old in (("new", None), ("old", b"old bytes")):
        if old is not None:
            faulty.put(key, old)
        with faults_of(faulty).armed(fault, *PUBLISHING, times=None), refused():
            faulty.storage.rename(source, faulty.url(key))
        assert faulty.get("source") == SMALL
        assert faulty.absent(key) if old is None else faulty.get(key) == old


@clause("outcomes.rename-removal")
@pytest.mark.parametrize("fault", [REFUSED, Reset()], ids=["refused", "reset"])
def test_a_rename_whose_removal_fails(faulty: Box, fault: Fault) -> None:
    needs_removal(faulty)
    needs(not faulty.traits.atomic_rename, "a rename in one step removes nothing")
    source = faulty.put("source", SMALL)
    with faults_of(faulty).armed(fault, "delete", times=None), refused(url=source):
        faulty.storage.rename(source, faulty.url("target"))
    assert faulty.get("source") == SMALL
    assert faulty.get("target") == SMALL


@clause("outcomes.lost-rename")
@pytest.mark.parametrize("which", ["target", "removal"])
def test_the_answer_to_a_rename_is_lost(faulty: Box, which: str) -> None:
    needs_renaming(faulty)
    source, target = faulty.put("source", SMALL), faulty.url("target")
    operations = PUBLISHING if which == "target" else ("delete", "rename")
    with faults_of(faulty).armed(Lost(), *operations, times=None), attempt(source, target) as outcome:
        faulty.storage.rename(source, target)
    kept, made = (faulty.storage.exists(url) for url in (source, target))
    assert kept or made
    assert outcome.error is not None or (made and not kept)
    for key, there in (("source", kept), ("target", made)):
        assert not there or faulty.get(key) == SMALL


@clause("outcomes.remove")
@pytest.mark.parametrize("fault", [REFUSED, Status(500)], ids=["refused", "broken"])
def test_a_removal_fails(faulty: Box, fault: Fault) -> None:
    needs_removal(faulty)
    url = faulty.put("object", SMALL)
    with faults_of(faulty).armed(fault, "delete", times=None), refused(url=url):
        faulty.storage.remove(url)
    assert faulty.get("object") == SMALL
    with faults_of(faulty).armed(fault, "delete", times=None), refused(url=url):
        faulty.storage.remove(url, missing_ok=True)
    assert faulty.get("object") == SMALL


@clause("outcomes.lost-remove")
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_the_answer_to_a_removal_is_lost(faulty: Box, times: int | None) -> None:
    needs_removal(faulty)
    url = faulty.put("object", SMALL)
    with faults_of(faulty).armed(Lost(), "delete", times=times), attempt(url) as outcome:
        faulty.storage.remove(url)
    assert not isinstance(outcome.error, FileNotFoundError), "it was there"
    assert outcome.error is not None or faulty.absent("object")


@clause("outcomes.rmtree")
def test_one_key_cannot_be_removed(faulty: Box) -> None:
    needs_removal(faulty)
    for key in ("folder/a", "folder/b", "folder/c", "folder-2/b"):
        faulty.put(key)
    with faults_of(faulty).armed(KeyRefused("folder/b"), "delete"), refused() as caught:
        faulty.storage.rmtree(faulty.url("folder"))
    told = getattr(caught.value, "errors", (caught.value,))
    assert faulty.url("folder/b") in [error.filename for error in told]
    assert faulty.absent("folder/a")
    assert faulty.absent("folder/c")
    assert faulty.get("folder-2/b") == b"data"


@clause("outcomes.rmtree-refused")
@pytest.mark.parametrize("fault", [REFUSED, Reset()], ids=["refused", "reset"])
def test_nothing_can_be_removed(faulty: Box, fault: Fault) -> None:
    needs_removal(faulty)
    faulty.put("folder/a")
    faulty.put("folder/b")
    with faults_of(faulty).armed(fault, "delete", times=None), refused():
        faulty.storage.rmtree(faulty.url("folder"))
    assert faulty.storage.listdir(faulty.url("folder")) == ["a", "b"]
    seen: list[object] = []
    with faults_of(faulty).armed(REFUSED, "delete", times=None):
        faulty.storage.rmtree(faulty.url("folder"), onexc=lambda *told: seen.append(told))
    assert seen
    assert faulty.storage.listdir(faulty.url("folder")) == ["a", "b"]


@clause("outcomes.make")
def test_nothing_can_be_made(faulty: Box) -> None:
    empty = faulty.storage.listdir(faulty.url()) if faulty.storage.exists(faulty.url()) else []
    with faults_of(faulty).armed(REFUSED, "put", times=None):
        with refused(PermissionError):
            faulty.storage.touch(faulty.url("touched"))
        if faulty.traits.empty_directories:
            with refused(PermissionError):
                faulty.storage.makedirs(faulty.url("made/below"))
    assert faulty.absent("touched")
    assert faulty.absent("made")
    faulty.put("object")
    assert faulty.storage.listdir(faulty.url()) == [*empty, "object"]


# -- answers that are none --------------------------------------------------------------------------------

PAGE = Answer(b"<html><head><title>Welcome</title></head><body>Please sign in to this network.</body></html>")


@clause("outcomes.garbage")
@pytest.mark.parametrize("operation", ["put", "begin", "part", "commit", "copy"])
def test_something_else_than_an_answer_to_a_change(faulty: Box, operation: str) -> None:
    needs(faults_of(faulty).can(Answer), "a driver's hooks cannot answer with bytes that are no answer")
    source, target = faulty.put("old", b"old bytes"), faulty.url("new")
    with faults_of(faulty).armed(PAGE, operation, times=None), refused(url=target):
        if operation == "copy":
            faulty.storage.copyfile(source, target)
        else:
            faulty.put("new", SMALL if operation == "put" else parts(faulty))
    untouched(faulty)


@clause("outcomes.garbage-removal")
@pytest.mark.parametrize("how", ["remove", "rmtree", "rename"])
@pytest.mark.parametrize("body", [PAGE.body, b""], ids=["page", "empty"])
def test_something_else_than_an_answer_to_a_removal(faulty: Box, how: str, body: bytes) -> None:
    needs(faults_of(faulty).can(Answer), "a driver's hooks cannot answer with bytes that are no answer")
    needs_removal(faulty)
    url = faulty.put("folder/object")
    with faults_of(faulty).armed(Answer(body), "delete", times=None), refused():
        if how == "remove":
            faulty.storage.remove(url)
        elif how == "rmtree":
            faulty.storage.rmtree(faulty.url("folder"))
        else:
            faulty.storage.rename(url, faulty.url("folder/renamed"))
    assert faulty.get("folder/object") == b"data"


@clause("outcomes.goes-on")
def test_the_same_storage_writes_on(faulty: Box) -> None:
    data = parts(faulty)
    for operation in ("put", "begin", "part", "commit"):
        with faults_of(faulty).armed(REFUSED, operation), refused(PermissionError):
            faulty.put("object", SMALL if operation == "put" else data)
    packed = faulty.url("object.gz")
    with faulty.open(packed, "wb", compression="gzip") as file:
        file.write(data)
    assert gzip.decompress(faulty.get("object.gz")) == data
    faulty.put("object", data)
    assert faulty.get("object") == data
    no_uploads(faulty)
