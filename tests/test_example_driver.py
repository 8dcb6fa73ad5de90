"""A stranger's driver in a package of its own: installed by pip, found by its entry point, nothing changed in ours."""

from __future__ import annotations

import importlib.util
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
