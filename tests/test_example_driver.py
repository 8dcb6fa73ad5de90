"""A stranger's driver in a package of its own: installed by pip, found by its entry point, nothing changed in ours."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "example_driver"

PROGRAM = """
import io
import storagekit

with storagekit.open("toy://box/dir/hello.txt", "w") as file:
    file.write("hello\\nworld\\n")
with storagekit.open("toy://box/dir/hello.txt") as file:
    print(file.readlines())
with storagekit.open("toy://box/dir/hello.txt", "rb") as file:
    file.seek(6)
    print(file.read())
print(storagekit.listdir("toy://box"), storagekit.listdir("toy://box/dir"))
print(storagekit.stat("toy://box/dir/hello.txt").st_size)
print([storagekit.exists(f"toy://box/{path}") for path in ("dir", "dir/hello.txt", "none")])
print(storagekit.isdir("toy://box/dir"), storagekit.isfile("toy://box/dir"), storagekit.isfile("toy://box/dir/hello.txt"))

try:
    storagekit.open("toy://box/none")
except FileNotFoundError as error:
    print("missing:", error.filename)
try:
    with storagekit.open("toy://box/dir/broken", "w") as file:
        file.write("half")
        raise RuntimeError
except RuntimeError:
    print("unfinished:", storagekit.exists("toy://box/dir/broken"))
for refused in (
    lambda: storagekit.remove("toy://box/dir/hello.txt"),
    lambda: storagekit.open("toy://box/new", "x").close(),
):
    try:
        refused()
    except io.UnsupportedOperation as error:
        print("refused:", error.filename)
print(storagekit.listdir("toy://box/dir"))
"""

OUTPUT = """\
['hello\\n', 'world\\n']
b'world\\n'
['dir'] ['hello.txt']
12
[True, True, False]
True False True
missing: toy://box/none
unfinished: False
refused: toy://box/dir/hello.txt
refused: toy://box/new
['hello.txt']
"""

TARGET = '''
"""What the author of such a driver gives to the conformance suite: there is no second way into a dictionary."""

from contextlib import contextmanager

from storagekit_conformance.target import Root, Target
from toy_driver import ToyDriver


@contextmanager
def root():
    driver = ToyDriver()
    yield Root("toy://box/place", settings={"drivers": {"toy": lambda: driver}})


target = Target("toy", root)
'''

# Why a clause, or a part of it, need not be held by this driver at this target. A new reason wants to be looked at.
EXCUSES = {
    # what the hooks that it leaves out would do
    "the driver removes nothing: it has no delete hook",
    "the driver does not copy",
    "the driver does not rename in one step",
    "the driver does not touch",
    "the driver takes no options",
    "the driver keeps no content type and metadata",
    "the driver cannot tell of unfinished uploads",
    "the driver takes parts one after another",
    # what it does not promise: it has no traits
    "the driver does not promise cheap reads at an offset",
    "the driver does not promise exclusive creation",
    "the driver does not promise that a reader keeps to one version",
    "the driver does not promise to copy within the store",
    "the store does not decide exclusive creation",
    "the store does not decide replacing on a condition",
    "the store does not promise an order",
    "the store does not promise to hold a and a/b at the same time",
    "the store does not promise to keep . and .. as names",
    "the store does not promise to keep a reader to its version",
    "the store does not promise to keep empty segments",
    "the store does not promise to keep such names",
    "the store has no empty directories",
    "the store has no markers",
    "the store may fold names",
    # what there is not around a dictionary in this process, and what its target does not give
    "a driver's hooks cannot answer with bytes that are no answer",
    "a driver's hooks cannot answer with bytes that are no listing",
    "another process does not see this target's objects",
    "another storage does not see this target's objects",
    "containers need not be created here",
    "the target has no containers of a test's own",
    "the target has no second client",
    "the target is reached without a network",
    "the target refuses nobody",
    "the target's driver has no entry point",
    "the target's options hold no secrets",
    "what a page costs is seen only between a driver and a server",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed in it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    if importlib.util.find_spec("hatchling"):
        command.append("--no-build-isolation")  # what it is built with is here already
    done = subprocess.run(
        [*command, "--target", str(target), str(EXAMPLE)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_a_driver_of_four_hooks_in_its_own_package(installed: Path) -> None:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == OUTPUT


def test_a_driver_of_four_hooks_is_held_to_every_clause(tmp_path: Path) -> None:
    (tmp_path / "toy_testing.py").write_text(TARGET, encoding="utf-8")
    report = tmp_path / "report.json"
    path = os.pathsep.join(filter(None, [str(EXAMPLE), os.environ.get("PYTHONPATH")]))
    command = ["storagekit_conformance", "--target", "toy_testing:target", "-n", "0", "-q", "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    rows = json.loads(report.read_text(encoding="utf-8"))["cells"]
    cells = {clause: row["toy"] for clause, row in rows.items() if "toy" in row}
    assert {cell["result"] for cell in cells.values()} == {"passed", "skipped"}
    assert cells["changes.remove-refused"]["result"] == "passed"
    # Where a clause has several tests, and only some were skipped, the reason says so.
    reasons = {reason.removeprefix("skipped: ") for cell in cells.values() for reason in cell["reasons"]}
    assert reasons - EXCUSES == set()


def test_without_the_package_its_scheme_is_unknown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import storagekit; storagekit.open('toy://box/key')"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "no driver for toy://" in done.stderr


def test_the_example_is_short() -> None:
    assert len((EXAMPLE / "toy_driver.py").read_text(encoding="utf-8").splitlines()) < 60
