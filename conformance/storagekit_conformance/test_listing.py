"""Listing: what ``listdir``, ``scandir`` and ``walk`` tell of a directory."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storagekit.driver import Stat
from storagekit.hookspecs import hookimpl
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import Box, needs, needs_removal, refused
from storagekit_conformance.target import Client, Target

# Amazon's pages hold 1000 keys at most; this makes a second one and a bit.
MANY = 1100
# And this a third one: who asks for a page more than is needed has not yet asked for all.
PAGES = 2100


def tree(box: Box) -> str:
    """A small tree; returns its URL. ``top/dry.txt`` and ``top/dry-run/`` sort between ``top/dry`` and ``top/dry/``."""
    for key in ("b.txt", "a/1", "a/2", "a/deep/er/3", "dry/x", "dry-run/x", "dry.txt", "Z"):
        box.put(f"top/{key}", key.encode())
    box.put("topmost", b"not below top")
    box.put("top-secret/x", b"not below top")
    return box.url("top")


def put_many(box: Box, keys: list[str]) -> None:
    """Write many objects, many at a time, past the driver where there is a way."""
    client = box.root.client
    # The first of each directory alone, before all: a server that keeps keys as file names makes the directory with
    # it, and of two that come to do so at once rclone may spoil one: it can be neither read nor removed any more.
    for folder, key in {key.rpartition("/")[0]: key for key in keys}.items():
        if client is None:
            box.parents(f"{folder}/object")
        else:
            client.put(key, b"x")
    put = box.put if client is None else client.put
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: put(key, b"x"), keys))


@clause("listing.listdir")
def test_names_sorted(box: Box) -> None:
    url = tree(box)
    assert box.storage.listdir(url) == ["Z", "a", "b.txt", "dry", "dry-run", "dry.txt"]
    assert box.storage.listdir(f"{url}/a") == ["1", "2", "deep"]
    assert box.storage.listdir(f"{url}/a/deep") == ["er"]


@clause("listing.trailing-slash")
def test_directory_with_its_slash(box: Box) -> None:
    url = tree(box)
    assert box.storage.listdir(url + "/") == box.storage.listdir(url)
    with box.storage.scandir(url + "/") as entries:
        paths = {entry.name: entry.path for entry in entries}
    assert paths["a"].rstrip("/") == f"{url}/a", "the path has one slash before the name"
    assert [names for _, *names in box.storage.walk(url + "/")] == [names for _, *names in box.storage.walk(url)]


@clause("listing.missing")
def test_missing_directory(box: Box) -> None:
    box.put("place")
    url = box.url("absent")
    with refused(FileNotFoundError, url=url):
        box.storage.listdir(url)
    with refused(FileNotFoundError, url=url):
        list(box.storage.scandir(url))
    assert list(box.storage.walk(url)) == [], "as os.walk, without onerror"


@clause("listing.file")
def test_listing_a_file(box: Box) -> None:
    url = box.put("folder/object")
    with refused(NotADirectoryError, url=url):
        box.storage.listdir(url)
    with refused(NotADirectoryError, url=url):
        list(box.storage.scandir(url))
    with refused(NotADirectoryError, url=url):
        list(box.storage.walk(url))


@clause("listing.walk-onerror")
def test_walk_tells_of_errors(box: Box) -> None:
    seen: list[OSError] = []
    assert list(box.storage.walk(box.url("absent"), onerror=seen.append)) == []
    assert [type(error) for error in seen] == [FileNotFoundError]
    assert seen[0].filename == box.url("absent")

    def stop(error: OSError) -> None:
        raise error

    with pytest.raises(FileNotFoundError):
        list(box.storage.walk(box.url("absent"), onerror=stop))


@clause("listing.many")
def test_more_than_a_page(box: Box) -> None:
    names = [f"{i:05d}" for i in range(MANY)]
    put_many(box, [*(f"many/{name}" for name in names), "many/sub/x"])
    assert box.storage.listdir(box.url("many")) == [*names, "sub"]
    with box.storage.scandir(box.url("many")) as entries:
        assert sum(1 for entry in entries if entry.is_file()) == MANY
    (_, folders, files), below = box.storage.walk(box.url("many"))
    assert (folders, sorted(files), below[2]) == (["sub"], names, ["x"])
    assert len(box.storage.glob(box.url("many/000*"))) == 100
    if not box.removes:
        return
    box.storage.rmtree(box.url("many"))
    assert not box.storage.exists(box.url("many"))
    if box.root.client is not None:
        assert box.root.client.keys() == []


@clause("listing.file-and-directory")
def test_file_and_directory_of_one_name(box: Box) -> None:
    needs(box.traits.file_beside_directory, "the store does not promise to hold a and a/b at the same time")
    box.put("top/a", b"file")
    box.put("top/a/b", b"below")
    url = box.url("top/a")
    assert box.storage.isfile(url)
    assert box.storage.isdir(url)
    assert not box.storage.stat(url).is_directory
    assert box.storage.listdir(box.url("top")) == ["a"]
    assert box.storage.listdir(url) == ["b"]
    with box.storage.scandir(box.url("top")) as entries:
        found = [(entry.name, entry.is_dir(), entry.is_file()) for entry in entries]
    assert sorted(found) == [("a", False, True), ("a", True, False)], "two entries, each of one kind"
    walked = {folder.rstrip("/"): (folders, files) for folder, folders, files in box.storage.walk(box.url("top"))}
    assert walked == {box.url("top"): (["a"], ["a"]), url: ([], ["b"])}
    assert box.get("top/a") == b"file"


def _held(box: Box, key: str, data: bytes) -> bool:
    """Write what need not find room beside what is there: True where it did, False where it was refused."""
    try:
        with box.open(box.url(key), "wb") as file:
            file.write(data)
    except OSError as error:
        assert error.errno is not None
        return False
    return True


@clause("listing.file-and-directory-refused")
def test_no_file_beside_a_directory(box: Box) -> None:
    needs(not box.traits.file_beside_directory, "the store promises to hold a and a/b at the same time")
    box.put("a", b"file")
    if _held(box, "a/b", b"below"):
        assert box.get("a/b") == b"below"
        assert box.storage.listdir(box.url("a")) == ["b"]
    else:
        assert not box.storage.isdir(box.url("a"))
    assert box.get("a") == b"file"


@clause("listing.directory-then-file")
def test_no_file_over_a_directory(box: Box) -> None:
    needs(not box.traits.file_beside_directory, "the store promises to hold a and a/b at the same time")
    box.put("a/b", b"below")
    if _held(box, "a", b"file"):
        assert box.get("a") == b"file"
    assert box.get("a/b") == b"below"
    assert box.storage.listdir(box.url("a")) == ["b"]


@clause("listing.marker")
def test_marker_is_not_its_own_child(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    box.put("beside")
    url = box.url("empty")
    box.storage.mkdir(url)
    assert box.storage.isdir(url)
    for place in (url, url + "/"):
        assert box.storage.listdir(place) == []
        with box.storage.scandir(place) as entries:
            assert list(entries) == []
        assert [names for _, *names in box.storage.walk(place)] == [[[], []]]
    assert box.storage.glob(url + "/*") == []
    assert box.storage.listdir(box.url()) == ["beside", "empty"]
    box.put("empty/full")
    assert box.storage.listdir(url) == ["full"]


@clause("listing.no-empty-directories")
def test_mkdir_without_empty_directories(box: Box) -> None:
    needs(not box.traits.empty_directories, "the store has empty directories")
    for make in (box.storage.mkdir, box.storage.makedirs):
        with pytest.raises(OSError) as caught:
            make(box.url("empty"))
        assert caught.value.errno is not None
        assert not box.storage.exists(box.url("empty"))


@clause("listing.nonempty-marker")
def test_object_that_ends_in_a_slash(box: Box, client: Client) -> None:
    needs(box.traits.literal_keys, "the store has no keys that end in a slash")
    client.put("p/", b"bytes")
    url = box.url("p")
    assert box.storage.isdir(url)
    assert box.storage.listdir(url) == [""], "an object with bytes is never lost from sight"
    with box.open(url + "/", "rb") as file:
        assert file.read() == b"bytes"
    client.put("p/q", b"more")
    assert box.storage.listdir(url) == ["", "q"]


@clause("listing.vanishing")
def test_directory_of_the_last_key(box: Box) -> None:
    needs_removal(box)
    keys = ("p/a", "p/sub/b")
    for key in keys:
        box.put(key)
    for key in keys:
        box.storage.remove(box.url(key))
    for folder in ("p", "p/sub"):
        assert box.storage.isdir(box.url(folder)) is not box.traits.implicit_directories
        assert box.storage.exists(box.url(folder)) is not box.traits.implicit_directories


@clause("listing.marked-stays")
def test_marked_directory_stays(box: Box) -> None:
    needs(box.traits.empty_directories, "the store has no empty directories")
    needs_removal(box)
    box.storage.makedirs(box.url("p"))
    box.put("p/a")
    box.storage.remove(box.url("p/a"))
    assert box.storage.isdir(box.url("p"))
    assert box.storage.listdir(box.url("p")) == []


@clause("listing.fresh")
def test_changes_behind_our_back_are_seen(box: Box, client: Client) -> None:
    box.put("p/a")
    assert box.storage.listdir(box.url("p")) == ["a"]
    client.put("p/b", b"x")
    assert box.storage.listdir(box.url("p")) == ["a", "b"]
    assert box.storage.isfile(box.url("p/b"))
    client.delete("p/b")
    assert box.storage.listdir(box.url("p")) == ["a"]
    assert not box.storage.exists(box.url("p/b"))


@clause("listing.entries")
def test_entries(box: Box) -> None:
    url = tree(box)
    with box.storage.scandir(url) as entries:
        found = {entry.name: entry for entry in entries}
    assert sorted(found) == box.storage.listdir(url)
    file, folder = found["b.txt"], found["a"]
    assert (file.is_file(), file.is_dir(), file.is_symlink()) == (True, False, False)
    assert (folder.is_file(), folder.is_dir(), folder.is_symlink()) == (False, True, False)
    assert file.path == os.fspath(file) == f"{url}/b.txt"
    assert file.stat().st_size == len("b.txt")
    assert folder.path.rstrip("/") == f"{url}/a"
    assert box.storage.listdir(folder.path) == ["1", "2", "deep"]
    assert "b.txt" in repr(file)
    with box.open(file, "rb") as opened:
        assert opened.read() == b"b.txt", "an entry is a path"


@clause("listing.scandir-iterator")
def test_scandir_is_an_iterator(box: Box) -> None:
    url = tree(box)
    entries: Any = box.storage.scandir(url)
    assert iter(entries) is entries
    next(entries)
    entries.close()
    entries.close()
    assert list(entries) == [], "as os.scandir, after close"
    with box.storage.scandir(url) as entries:
        next(entries)


@clause("listing.order")
def test_store_order(box: Box) -> None:
    needs(box.traits.sorted_listing, "the store does not promise an order")
    # U+FFFD comes before U+1F600 in UTF-8 and after it in UTF-16.
    names = ["a", "B", "é", "�x", "\U0001f600", "Z", "~", "0", "_"]
    for name in names:
        box.put(f"p/{name}")
    expected = sorted(names, key=str.encode)
    with box.storage.scandir(box.url("p")) as entries:
        assert [entry.name for entry in entries] == expected
    assert box.storage.listdir(box.url("p")) == expected
    assert next(iter(box.storage.walk(box.url("p"))))[2] == expected


@clause("listing.walk")
def test_walk_down(box: Box) -> None:
    url = tree(box)
    walked = [(folder.rstrip("/"), sorted(d), sorted(f)) for folder, d, f in box.storage.walk(url)]
    assert walked[0] == (url, ["a", "dry", "dry-run"], ["Z", "b.txt", "dry.txt"])
    assert {folder: (d, f) for folder, d, f in walked} == {
        url: (["a", "dry", "dry-run"], ["Z", "b.txt", "dry.txt"]),
        f"{url}/a": (["deep"], ["1", "2"]),
        f"{url}/a/deep": (["er"], []),
        f"{url}/a/deep/er": ([], ["3"]),
        f"{url}/dry": ([], ["x"]),
        f"{url}/dry-run": ([], ["x"]),
    }
    order = [folder for folder, *_ in walked]
    assert order.index(f"{url}/a") < order.index(f"{url}/a/deep") < order.index(f"{url}/a/deep/er")


@clause("listing.walk-up")
def test_walk_up(box: Box) -> None:
    url = tree(box)
    order = [folder.rstrip("/") for folder, *_ in box.storage.walk(url, topdown=False)]
    assert order[-1] == url
    assert order.index(f"{url}/a/deep/er") < order.index(f"{url}/a/deep") < order.index(f"{url}/a")
    assert len(order) == 6


@clause("listing.walk-pruning")
def test_walk_pruned(box: Box) -> None:
    url = tree(box)
    visited = []
    for folder, folders, _ in box.storage.walk(url):
        visited.append(folder.rstrip("/"))
        folders[:] = sorted((name for name in folders if name != "dry"), reverse=True)
    assert visited == [url, f"{url}/dry-run", f"{url}/a", f"{url}/a/deep", f"{url}/a/deep/er"]


@clause("listing.walk-lazy")
def test_walk_sees_what_its_caller_does(box: Box) -> None:
    url = tree(box)
    walking = iter(box.storage.walk(url))
    next(walking)
    box.put("top/dry/new")
    rest = {folder.rstrip("/"): files for folder, _, files in walking}
    assert sorted(rest[f"{url}/dry"]) == ["new", "x"], "a folder is listed when its turn comes"


@clause("listing.container-root")
def test_root_of_a_container(container: Box) -> None:
    storage, url = container.storage, container.url()
    for root in (url, url + "/"):
        assert storage.isdir(root)
        assert storage.exists(root)
        assert not storage.isfile(root)
        assert storage.listdir(root) == []
    assert list(storage.walk(url)) == [(url, [], [])] or list(storage.walk(url)) == [(url + "/", [], [])]
    container.put("object")
    container.put("folder/object")
    assert storage.listdir(url) == ["folder", "object"]
    assert sorted(storage.glob(url + "/*")) == [f"{url}/folder", f"{url}/object"]
    if not container.removes:
        return
    storage.remove(container.url("object"))
    storage.remove(container.url("folder/object"))
    assert storage.listdir(url) == []
    assert storage.isdir(url)


@clause("listing.other-containers")
def test_what_is_in_another_container(container: Box, target: Target) -> None:
    storage, url = container.storage, container.url()
    assert target.container is not None
    with target.container() as second:
        # Where two places have one URL each is a store of its own, and a neighbour made there disturbs nobody.
        other = second.url if second.url != url else f"{url}-other"
        for key in ("object", "elsewhere/deep/object"):
            with storage.open(f"{other}/{key}", "wb") as file:
                file.write(b"other")
        for root in (url, url + "/"):
            assert storage.listdir(root) == []
        container.put("here/object", b"here")
        for root in (url, url + "/"):
            assert storage.listdir(root) == ["here"]
            with storage.scandir(root) as entries:
                assert [entry.name for entry in entries] == ["here"]
            assert [files for _, _, files in storage.walk(root)] == [[], ["object"]]
        assert storage.glob(f"{url}/**/object", recursive=True) == [f"{url}/here/object"]
        assert storage.listdir(other) == ["elsewhere", "object"]
        assert not storage.exists(f"{url}/object")
        with storage.open(f"{other}/object", "rb") as file:
            assert file.read() == b"other"


@clause("listing.containers")
def test_list_of_containers(container: Box) -> None:
    container.put("object")
    top = f"{container.root.scheme}://"
    assert container.url().removeprefix(top) in container.storage.listdir(top)
    assert container.storage.isdir(top)
    with container.storage.scandir(top) as entries:
        assert all(entry.is_dir() for entry in entries)


@clause("listing.bytes")
def test_bytes_paths(box: Box) -> None:
    url = tree(box).encode()
    names = box.storage.listdir(url)
    assert names == [b"Z", b"a", b"b.txt", b"dry", b"dry-run", b"dry.txt"]
    with box.storage.scandir(url) as entries:
        entry = next(iter(entries))
    assert isinstance(entry.name, bytes)
    assert isinstance(entry.path, bytes)
    folder, folders, files = next(iter(box.storage.walk(url)))
    assert isinstance(folder, bytes)
    assert all(isinstance(name, bytes) for name in (*folders, *files))
    assert all(isinstance(name, bytes) for name in box.storage.glob(url + b"/*"))


class Drawn:
    """A wrapper that counts what is drawn out of the driver's listings."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl(wrapper=True, specname="list")
    def entries(self) -> Generator[None, Iterator[Stat], Iterator[Stat]]:
        found = yield
        return self._counted(found)

    def _counted(self, found: Iterator[Stat]) -> Iterator[Stat]:
        for stat in found:
            self.count += 1
            yield stat


@clause("listing.lazy")
def test_listings_are_drawn_as_they_are_read(box: Box) -> None:
    for number in range(60):
        box.put(f"top/{number // 30}/{number:02}")
    drawn = Drawn()
    storage = box.root.storage(wrappers=[drawn])
    folder = box.url("top/0")
    try:
        begun: list[Any] = [
            (storage.scandir(folder), 5),
            (storage.iglob(f"{folder}/*"), 5),
            (storage.walk(box.url("top")), 5),  # the top has two entries; those below have thirty each
        ]
        for listing, most in begun:
            drawn.count = 0
            next(listing)
            assert drawn.count <= most, "what nobody has asked for is not fetched"
            listing.close()
    finally:
        storage.close()


@clause("listing.pages")
def test_pages_are_fetched_as_they_are_read(faulty: Box) -> None:
    faults = faulty.root.faults
    needs(faults is not None and faults.counts_bytes, "what a page costs is seen only between a driver and a server")
    assert faults is not None
    put_many(faulty, [f"many/{number:05}" for number in range(PAGES)])
    url = faulty.url("many")

    faults.forget()
    faulty.storage.listdir(url)
    whole = faults.count("list")
    needs(whole >= 3, f"the store lists {PAGES} objects in {whole} requests")
    for function, path in ((faulty.storage.scandir, url), (faulty.storage.iglob, f"{url}/*")):
        faults.forget()
        listing: Any = function(path)
        next(listing)
        assert faults.count("list") < whole, "the first entry asks for the first page, and not for all of them"
        listing.close()


@clause("listing.at-the-call")
def test_errors_come_at_the_call(box: Box) -> None:
    url = box.put("object")
    with refused(FileNotFoundError, url=box.url("absent")):
        box.storage.scandir(box.url("absent"))
    with refused(NotADirectoryError, url=url):
        box.storage.scandir(url)


@clause("listing.many-directories")
def test_more_than_a_page_over_several_directories(box: Box) -> None:
    put_many(box, [f"many/{folder:02}/{name:02}" for folder in range(26) for name in range(41)])
    walked = {folder.rpartition("/")[2]: sorted(files) for folder, _, files in box.storage.walk(box.url("many"))}
    assert walked.pop("many") == []
    assert walked == {f"{folder:02}": [f"{name:02}" for name in range(41)] for folder in range(26)}
    assert len(box.storage.glob(box.url("many/**/*0"), recursive=True)) == 26 * 5 + 3
    if not box.removes:
        return
    box.storage.rmtree(box.url("many"))
    assert not box.storage.exists(box.url("many"))
    if box.root.client is not None:
        assert box.root.client.keys() == []
