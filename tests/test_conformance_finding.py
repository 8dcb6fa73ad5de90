"""Targets by name: built in, by entry point, by module; and one line for each way in which a name can be wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from storagekit_conformance import finding
from storagekit_conformance.finding import ENTRY_POINT_GROUP, TargetError, find_target
from storagekit_conformance.target import Target
from storagekit_conformance.targets import TARGETS

MODULE = """
from storagekit_conformance.target import Target
def root(): ...
target = Target("theirs", root)
other = Target("other", root)
lacking = Target("lacking", root, missing=lambda: "it needs a server")
nothing = 42
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_targets.py").write_text(MODULE)
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit('gone\\nfishing')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_targets", raising=False)


def claim(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Have these entry points installed, and no others."""

    def installed(group: str) -> EntryPoints:
        return EntryPoints(EntryPoint(name, value, group) for name, value in points)

    monkeypatch.setattr(finding, "entry_points", installed)


def test_the_group_is_the_documented_one() -> None:
    assert ENTRY_POINT_GROUP == "storagekit.conformance"


def test_built_in_names_modules_and_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, ("toy", "their_targets:target"))
    assert find_target("memory") is TARGETS["memory"]
    assert find_target("their_targets:other").name == "other"
    found = find_target("toy")
    assert isinstance(found, Target)
    assert found.name == "theirs"


def test_the_same_entry_point_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, ("toy", "their_targets:target"), ("toy", "their_targets:target"))
    assert find_target("toy").name == "theirs"


def error(name: str) -> str:
    with pytest.raises(TargetError) as caught:
        find_target(name)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_name_that_nobody_has_lists_all_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, ("zoo", "x:y"), ("toy", "x:y"))
    known = ", ".join([*TARGETS, "toy", "zoo"])
    assert error("nowhere") == f"no target 'nowhere': choose from {known}, or name module:attribute"


def test_a_name_that_two_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, ("toy", "b:target"), ("toy", "a:target"))
    said = "the target 'toy' is claimed by a:target (a:target) and b:target (b:target); name module:attribute instead"
    assert error("toy") == said


def test_a_name_that_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, ("memory", "a:target"))
    assert error("memory") == "the target 'memory' of a:target (a:target) has the name of a built-in target"
    assert find_target("file") is TARGETS["file"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_such_module:x", "cannot load the target 'no_such_module:x': ModuleNotFoundError: No module named"),
        ("their_targets:absent", "cannot load the target 'their_targets:absent': AttributeError: module"),
        ("their_targets:", "cannot load the target 'their_targets:': AttributeError: "),
        (":x", "cannot load the target ':x': ValueError: Empty module name"),
        ("leaves:x", "cannot load the target 'leaves:x': SystemExit: gone fishing"),
        ("their_targets:nothing", "'their_targets:nothing' is a int, not a storagekit_conformance Target"),
        ("their_targets:lacking", "cannot run the target 'their_targets:lacking': it needs a server"),
    ],
)
def test_a_module_that_is_wrong(name: str, text: str) -> None:
    assert error(name).startswith(text)
