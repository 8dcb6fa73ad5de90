"""The suite as a command: targets, gaps, counts, exit codes, and a defect that it catches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storagekit_conformance.target import Root, Target

TARGETS = '''
from contextlib import contextmanager
from storagekit.hookspecs import hookimpl
from storagekit_conformance.target import Root, Target
from storagekit_memory.driver import MemoryDriver


@contextmanager
def honest_root():
    driver = MemoryDriver()
    yield Root("memory://box/place", settings={"drivers": {"memory": lambda: driver}})


class Overwrites(MemoryDriver):
    """It takes a condition and ignores it."""

    @hookimpl
    def open_write(self, location, options, condition):
        return super().open_write(location, options, None)


@contextmanager
def broken_root():
    driver = Overwrites()
    yield Root("memory://box/place", settings={"drivers": {"memory": lambda: driver}})


looked_at = []


@contextmanager
def dying_root():
    """The look before the run finds a place; then the server is gone."""
    looked_at.append(1)
    if len(looked_at) > 1:
        raise ConnectionRefusedError("the server is dead")
    with honest_root() as root:
        yield root


@contextmanager
def staying_root():
    with broken_root() as root:
        yield root
    looked_at.append(1)
    if len(looked_at) > 1:
        raise ConnectionRefusedError("the server has died")


honest = Target("honest", honest_root)
dead = Target("dead", dying_root, gaps={"driver.absent": "it ignores conditions"})
dies = Target("dies", staying_root, gaps={"driver.absent": "it ignores conditions"})
broken = Target("broken", broken_root)
excused = Target("excused", broken_root, gaps={"driver.absent": "it ignores conditions"})
wrongly = Target("wrongly", honest_root, gaps={"driver.absent/put": "a gap that is none"})
unsure = Target("unsure", honest_root, unreliable={"driver.*": "sometimes"})
lacking = Target("lacking", honest_root, missing=lambda: "it needs a server: pip install it")
nothing = 42
'''


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*, where the targets are."""
    (folder / "mytargets.py").write_text(TARGETS)
    command = [sys.executable, "-m", "storagekit_conformance", "-p", "no:cacheprovider", "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "no target 'nowhere': choose from memory, file, s3-moto"),
        ("no_such_module:x", "cannot load the target 'no_such_module:x': ModuleNotFoundError"),
        ("mytargets:absent", "cannot load the target 'mytargets:absent': AttributeError"),
        ("mytargets:nothing", "'mytargets:nothing' is a int, not a storagekit_conformance Target"),
        ("mytargets:lacking", "cannot run the target 'mytargets:lacking': it needs a server: pip install it"),
    ],
)
def test_a_bad_target_is_one_line_and_code_4(tmp_path: Path, name: str, text: str) -> None:
    done = run(tmp_path, "--target", name)
    assert done.returncode == 4
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_an_honest_driver_of_a_stranger(tmp_path: Path) -> None:
    done = run(tmp_path, "--target", "mytargets:honest", "-k", "test_driver or test_names", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "honest" in done.stdout.partition("storagekit conformance")[2]


def test_a_broken_driver_is_caught(tmp_path: Path) -> None:
    done = run(tmp_path, "--target", "mytargets:broken", "-k", "test_write_under_absent or exclusive")
    assert done.returncode == 1
    assert "test_write_under_absent[broken-put]" in done.stdout
    assert "test_eight_exclusive_writers[broken-small]" in done.stdout


def test_a_gap_is_an_xfail_and_strict(tmp_path: Path) -> None:
    done = run(tmp_path, "--target", "mytargets:excused", "-k", "test_write_under_absent")
    assert done.returncode == 0, done.stdout
    assert "2 xfailed" in done.stdout
    done = run(tmp_path, "--target", "mytargets:wrongly", "-k", "test_write_under_absent")
    assert done.returncode == 1
    assert "XPASS(strict)" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    done = run(tmp_path, "--target", "mytargets:unsure", "-k", "test_write_under_absent")
    assert done.returncode == 0
    assert "2 xpassed" in done.stdout


def test_a_gap_hides_no_dead_server(tmp_path: Path) -> None:
    done = run(tmp_path, "--target", "mytargets:dead", "-k", "test_write_under_absent", "--report", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 errors" in done.stdout
    assert "2 xfailed" not in done.stdout
    cell = json.loads((tmp_path / "out.json").read_text())["cells"]["driver.absent"]["dead"]
    assert cell["result"] == "error"
    assert any("the server is dead" in reason for reason in cell["reasons"])
    done = run(tmp_path, "--target", "mytargets:dies", "-k", "test_write_under_absent")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 xfailed" in done.stdout
    assert "2 errors" in done.stdout


def test_patterns_of_gaps() -> None:
    def root() -> None: ...

    target = Target("t", root, gaps={"names.literal/unicode": "a", "writing.*": "b"}, unreliable={"stat.*": "c"})  # type: ignore[arg-type]
    assert target.gap("names.literal/unicode") == ("a", True)
    assert target.gap("names.literal/percent") is None
    assert target.gap("writing.sizes/0") == ("b", True)
    assert target.gap("stat.file") == ("c", False)


def test_a_root_tells_no_secret() -> None:
    root = Root("s3://bucket/prefix", options={"key": "hush"}, denied={"key": "hush-too"})
    assert root.scheme == "s3"
    assert "hush" not in repr(root)
