"""Looking: ``stat`` and the questions that are asked of one path."""

from __future__ import annotations

import os
import pickle
import stat
import time
from collections.abc import Mapping

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.hooks import Driver
from storagekit_conformance.support import Box, needs, refused
from storagekit_conformance.target import Client

# Clocks of two machines differ; a server on loopback has ours.
CLOCK_SECONDS = 120


@clause("stat.file")
def test_file(box: Box) -> None:
    before = time.time()
    url = box.put("object", b"12345")
    found = box.storage.stat(url)
    assert found.st_size == 5
    assert stat.S_ISREG(found.st_mode)
    assert found.st_mode & 0o400, "it can be read"
    if found.modified_ns is None:
        assert found.st_mtime == 0, "a store that cannot tell the time does not make one up"
    else:
        assert before - CLOCK_SECONDS < found.st_mtime < time.time() + CLOCK_SECONDS


@clause("stat.shape")
def test_shape(box: Box) -> None:
    found = box.storage.stat(box.put("object"))
    assert isinstance(found.st_size, int)
    assert isinstance(found.st_mode, int)
    assert isinstance(found.st_mtime, float)
    assert isinstance(found.st_mtime_ns, int)
    assert abs(found.st_mtime - found.st_mtime_ns / 1e9) < 1e-3
    for name in ("etag", "version_id", "storage_class", "content_type"):
        assert isinstance(getattr(found, name), str | None), name
    assert isinstance(found.metadata, Mapping)


@clause("stat.directory")
def test_directory(box: Box) -> None:
    box.put("folder/object")
    for url in (box.url("folder"), box.url("folder/")):
        found = box.storage.stat(url)
        assert stat.S_ISDIR(found.st_mode)
        assert isinstance(found.st_mtime, float)


@clause("stat.missing")
def test_missing(box: Box) -> None:
    box.put("objects")
    url = box.url("object")
    for function in (box.storage.stat, box.storage.getsize, box.storage.getmtime):
        with refused(FileNotFoundError, url=url):
            function(url)


@clause("stat.questions")
def test_questions(box: Box) -> None:
    box.put("folder/object")
    storage = box.storage
    for key, exists, isfile, isdir in (
        ("folder", True, False, True),
        ("folder/object", True, True, False),
        ("fold", False, False, False),
        ("folder/obj", False, False, False),
        ("folder/object/x", False, False, False),
        ("absent/object", False, False, False),
    ):
        url = box.url(key)
        found = (storage.exists(url), storage.path_exists(url), storage.isfile(url), storage.isdir(url))
        assert found == (exists, exists, isfile, isdir), key


@clause("stat.prefix-is-no-directory")
def test_beginning_of_a_name(box: Box) -> None:
    for key in ("a-b/x", "a.b", "ab"):
        box.put(f"top/{key}")
    assert not box.storage.isdir(box.url("top/a"))
    assert not box.storage.exists(box.url("top/a"))
    with refused(FileNotFoundError):
        box.storage.listdir(box.url("top/a"))


@clause("stat.trailing-slash")
def test_trailing_slash(box: Box) -> None:
    box.put("folder/object")
    storage = box.storage
    assert not storage.isfile(box.url("folder/object/"))
    assert not storage.isdir(box.url("folder/object/"))
    assert not storage.exists(box.url("folder/object/"))
    with refused(NotADirectoryError, FileNotFoundError, url=box.url("folder/object/")):
        storage.stat(box.url("folder/object/"))
    assert storage.isdir(box.url("folder/"))
    assert storage.exists(box.url("folder/"))
    assert not storage.isfile(box.url("folder/"))
    assert not storage.exists(box.url("absent/"))


@clause("stat.size-and-time")
def test_getsize_and_getmtime(box: Box) -> None:
    url = box.put("object", b"1234567")
    found = box.storage.stat(url)
    assert box.storage.getsize(url) == 7
    assert box.storage.getmtime(url) == found.st_mtime


@clause("stat.identity")
def test_identity(box: Box, client: Client) -> None:
    needs(box.traits.pinned_reads, "the store does not promise to tell versions apart")
    url = box.put("object", b"one")
    first = box.storage.stat(url).etag
    assert first
    assert first == first.strip('"'), "without quotes"
    assert box.storage.stat(url).etag == first
    client.put("object", b"two")
    assert box.storage.stat(url).etag not in (first, None)


@clause("stat.entry")
def test_entry_and_stat_agree(box: Box) -> None:
    url = box.put("folder/object", b"12345")
    with box.storage.scandir(box.url("folder")) as entries:
        (entry,) = entries
    told, asked = entry.stat(), box.storage.stat(url)
    assert told.st_size == asked.st_size
    assert stat.S_IFMT(told.st_mode) == stat.S_IFMT(asked.st_mode)
    assert abs(told.st_mtime - asked.st_mtime) < 2, "HTTP dates have whole seconds"


@clause("stat.container")
def test_container(container: Box) -> None:
    assert stat.S_ISDIR(container.storage.stat(container.url()).st_mode)
    assert container.storage.isdir(container.url())


@clause("stat.missing-container")
def test_missing_container(box: Box) -> None:
    url = box.root.missing_container
    if url is None:
        pytest.skip("containers need not be created here")
    for place in (url, url + "/", url + "/object", url + "/folder/"):
        assert not box.storage.exists(place)
        assert not box.storage.isdir(place)
        assert not box.storage.isfile(place)


@clause("stat.permissions")
def test_permission_bits(box: Box) -> None:
    url = box.put("folder/object")
    assert os.path.basename(url) == "object"
    assert stat.S_IMODE(box.storage.stat(url).st_mode) & 0o111 == 0, "data is not executable"
    assert stat.S_IMODE(box.storage.stat(box.url("folder")).st_mode) & 0o111, "a directory can be entered"


@clause("stat.after-change")
def test_stat_after_a_change(box: Box) -> None:
    url = box.put("object", b"one")
    before = box.storage.stat(url)
    for data in (b"longer than that", b"", b"one"):
        box.put("object", data)
        found = box.storage.stat(url)
        assert found.st_size == box.storage.getsize(url) == len(data)
        assert found.st_mtime_ns >= before.st_mtime_ns - 1_000_000_000, "time does not run backwards"
        with box.storage.scandir(box.url()) as entries:
            assert [entry.stat().st_size for entry in entries] == [len(data)]


@clause("stat.pickle")
def test_stat_pickles(box: Box) -> None:
    found = box.storage.stat(box.put("folder/object", b"12345"))
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert (again.st_size, again.st_mode, again.st_mtime_ns, again.etag) == (
        found.st_size,
        found.st_mode,
        found.st_mtime_ns,
        found.etag,
    )


@clause("stat.metadata")
def test_metadata_is_kept(box: Box) -> None:
    metadata = {"who": "me", "what": "a test"}
    options = {"content_type": "text/x-kit", "metadata": metadata}
    source, copied, renamed = box.url("source"), box.url("copied"), box.url("renamed")
    with Driver.of(box) as driver:
        known = {option.name for option in driver.call("known_options") or ()}
    needs(options.keys() <= known, "the driver keeps no content type and metadata")
    with box.open(source, "wb", options=options) as file:
        file.write(b"data")
    box.storage.copyfile(source, copied)
    if box.renames:
        box.storage.rename(copied, renamed)
    for url in (source, renamed if box.renames else copied):
        found = box.storage.stat(url)
        assert found.content_type == "text/x-kit"
        assert metadata.items() <= found.metadata.items(), "a store may add its own"
