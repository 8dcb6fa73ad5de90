"""The driver's ``list``, called as the core calls it (see ``hooks``)."""

from __future__ import annotations

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.hooks import Driver, driver_of
from storagekit_conformance.support import Box, needs

driver = pytest.fixture(driver_of)


@clause("driver.list")
def test_list(driver: Driver, box: Box) -> None:
    keys = ["top/a", "top/b/c", "top/b/d/e", "top/z"]
    for key in [*keys, "topmost"]:
        box.put(key, b"12345")
    below = driver.entries("top")
    assert sorted(s.location.path for s in below if s.kind == "file") == [driver.at(key).path for key in keys]
    assert {s.size for s in below if s.kind == "file"} == {5}
    shallow = {(s.location.path, s.kind) for s in driver.entries("top", recursive=False)}
    prefix = driver.at("top").prefix
    expected = {(prefix + "a", "file"), (prefix + "b/", "directory"), (prefix + "z", "file")}
    assert shallow - {(prefix, "directory")} == expected


@clause("driver.list-limit")
def test_list_limit_and_start(driver: Driver, box: Box) -> None:
    for number in range(7):
        box.put(f"top/{number}")
    assert len(driver.entries("top", limit=3)) == 3
    assert len(driver.entries("top", limit=100)) == 7
    after = driver.entries("top", after=driver.at("top/3").path)
    assert sorted(s.location.name for s in after) == ["4", "5", "6"]
    both = driver.entries("top", after=driver.at("top/3").path, limit=2)
    assert len(both) == 2
    assert {s.location.name for s in both} < {"4", "5", "6"}


@clause("driver.list-missing")
def test_list_missing(driver: Driver, box: Box) -> None:
    box.put("object")
    try:
        found = driver.call("list", location=driver.at("absent"), recursive=True, limit=None, start_after="")
    except FileNotFoundError:
        return
    assert list(found) == []


@clause("driver.list-order")
def test_order_of_lists(driver: Driver, box: Box) -> None:
    needs(box.traits.sorted_listing, "the store does not promise an order")
    for key in ("a/x", "a-b", "a.b", "a0", "B", "é", "\U0001f600", "\ufffd", "a/deep/y"):
        box.put(f"top/{key}")
    for recursive in (True, False):
        paths = [stat.location.path for stat in driver.entries("top", recursive=recursive)]
        assert paths == sorted(paths, key=str.encode)
        assert len(paths) == len(set(paths))
        for after in paths:
            rest = [stat.location.path for stat in driver.entries("top", recursive=recursive, after=after)]
            assert rest == [path for path in paths if path > after], f"after {after}"


@clause("driver.list-marker")
def test_marker_is_listed(driver: Driver, box: Box) -> None:
    needs(box.traits.empty_directories and box.traits.implicit_directories, "the store has no markers")
    box.put("beside")
    box.storage.mkdir(box.url("made"))
    for recursive in (True, False):
        (marker,) = driver.entries("made", recursive=recursive)
        assert (marker.location, marker.size or 0) == (driver.at("made").directory, 0)


@clause("driver.list-abandoned")
def test_list_that_is_not_read_to_its_end(driver: Driver, box: Box) -> None:
    for number in range(5):
        box.put(f"top/{number}")
    arguments = {"recursive": True, "limit": None, "start_after": ""}
    for _ in range(3):
        begun = driver.call("list", location=driver.at("top"), **arguments)
        next(begun)
        del begun
        files = [stat for stat in driver.entries("top") if stat.kind == "file"]
        assert len(files) == 5
    box.put("top/5")
    assert len([stat for stat in driver.entries("top") if stat.kind == "file"]) == 6
