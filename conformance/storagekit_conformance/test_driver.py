"""The driver itself: its hooks called as the core calls them, without the core in between (see ``hooks``).

Objects and their bytes are in ``test_driver_data``, lists in ``test_driver_listing``.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from storagekit.driver import Option, Stat, Traits
from storagekit.hookspecs import ENTRY_POINT_GROUP
from storagekit_conformance.clauses import clause
from storagekit_conformance.hooks import Driver, driver_of
from storagekit_conformance.support import Box, needs, refused

REQUIRED = ("open_read", "open_write", "stat", "list")

driver = pytest.fixture(driver_of)


@clause("driver.hooks")
def test_required_hooks(driver: Driver) -> None:
    assert set(REQUIRED) <= driver.implemented


@clause("driver.options")
def test_known_options(driver: Driver) -> None:
    options = driver.call("known_options") or ()
    assert all(isinstance(option, Option) and option.name and option.meaning for option in options)
    names = [option.name for option in options]
    assert len(names) == len(set(names))
    assert set(driver.root.options) <= set(names)
    secret = {option.name for option in options if option.secret}
    assert secret <= {n for n in names if not n.startswith("endpoint")}


@clause("driver.traits")
def test_traits(driver: Driver) -> None:
    promised = driver.call("traits", location=driver.at("x"))
    assert promised is None or isinstance(promised, Traits)
    assert driver.call("traits", location=driver.at("y/z")) == promised
    if promised and promised.atomic_rename:
        assert "rename" in driver.implemented
    if promised and promised.server_copy:
        assert "copy" in driver.implemented


@clause("driver.no-none")
def test_no_hook_answers_none(driver: Driver, box: Box) -> None:
    box.put("folder/object", b"12345")
    seen = driver.call("stat", location=driver.at("folder/object"))
    reader = driver.call("open_read", location=driver.at("folder/object"), head=0)
    assert seen is not None
    assert reader is not None
    reader.close()
    assert driver.call("list", location=driver.at("folder"), recursive=False, limit=None, start_after="") is not None
    writer = driver.call("open_write", location=driver.at("folder/new"), condition=None)
    assert isinstance(writer.put([b"new"]), Stat)
    for name in ("folder/one", "folder/two"):
        box.put(name)
    calls: dict[str, dict[str, Any]] = {
        "delete": {"location": driver.at("folder/one"), "condition": None},
        "delete_many": {"locations": [driver.at("folder/two")]},
        "copy": {"source": seen, "target": driver.at("folder/copy"), "condition": None},
        "touch": {"stat": seen},
        "uploads": {"location": driver.at("")},
        "diagnose": {"location": driver.at("folder")},
        "known_options": {},
        "traits": {"location": driver.at("folder")},
        "parse": {"url": f"{driver.root.url}/folder"},
    }
    if box.traits.empty_directories:
        calls["make_directory"] = {"location": driver.at("made").directory, "mode": 0o777}
    for hook, arguments in calls.items():
        assert hook not in driver.implemented or driver.call(hook, **arguments) is not None, hook


@clause("driver.stat")
def test_stat_speaks_of_one_key(driver: Driver, box: Box) -> None:
    box.put("folder/object", b"12345")
    found = driver.call("stat", location=driver.at("folder/object"))
    assert (found.location, found.kind, found.size) == (driver.at("folder/object"), "file", 5)
    with refused(FileNotFoundError, url=driver.at("folder/obj").url):
        driver.call("stat", location=driver.at("folder/obj"))
    if box.traits.implicit_directories:
        with refused(FileNotFoundError):
            driver.call("stat", location=driver.at("folder"))
    else:
        assert driver.call("stat", location=driver.at("folder")).kind == "directory"


@clause("driver.quiet-import")
def test_import_is_quiet(box: Box) -> None:
    chosen = dict(box.root.settings.get("drivers") or {}).get(box.root.scheme)  # type: ignore[call-overload]
    needs(not callable(chosen), "the target's driver has no entry point")
    code = f"""
import sys
from importlib import metadata
import storagekit
assert not [m for m in sys.modules if m.partition(".")[0] in ("boto3", "botocore")], "storagekit loads no driver"
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.conn") else None)
for point in metadata.entry_points(group={ENTRY_POINT_GROUP!r}):
    if point.name == {box.root.scheme!r}:
        point.load()()
storagekit.Storage().close()
assert not seen, seen
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@clause("driver.close")
def test_close_twice(box: Box) -> None:
    storage = box.root.storage()
    storage.exists(box.url("object"))
    storage.close()
    storage.close()
    unused = box.root.storage()
    unused.close()


@clause("driver.option-values")
def test_values_of_options(driver: Driver, box: Box) -> None:
    names = [option.name for option in driver.call("known_options") or ()]
    needs(names, "the driver takes no options")
    box.put("object")
    for name in names:
        refusals = []
        for mode, key in (("wb", "new"), ("rb", "object")):
            try:
                with box.open(box.url(key), mode, options={name: object()}) as file:
                    file.write(b"data") if mode == "wb" else file.read()
            except OSError as error:
                refusals.append(str(error))
        assert refusals, f"nobody minds an option {name} that is no sense at all"
        assert all(name in text for text in refusals), f"{refusals} name the option"
    assert box.get("object") == b"data"
