"""What an import loads, and when: a program pays for a store only when it uses one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# boto3 alone takes longer to import than most scripts run.
S3 = {"boto3", "botocore", "s3transfer", "urllib3", "storagekit_s3"}
DRIVERS = {"storagekit_local", "storagekit_memory", "storagekit_s3"}
NETWORK = {"http.client", "ssl", "asyncio"}

# What takes milliseconds to load and is not needed by everyone: it is imported where it is used. The first set until
# then, the second by the first driver, which pluggy comes with.
SLOW = {
    "difflib",
    "email",
    "glob",
    "hashlib",
    "importlib.metadata",
    "pathlib",
    "shutil",
    "socket",
    "tempfile",
    "urllib.parse",
    "zipfile",
}
WITH_A_DRIVER = {"pluggy"}


def loaded_by(code: str, folder: Path) -> set[str]:
    """The modules that a fresh interpreter has loaded once it has run *code*."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_storagekit_loads_no_driver_and_no_network(tmp_path: Path) -> None:
    # Some environments load a module of these in every interpreter, before the first line of a program.
    before = loaded_by("", tmp_path)
    assert (loaded_by("import storagekit", tmp_path) - before).isdisjoint(S3 | DRIVERS | NETWORK)


def test_importing_storagekit_loads_nothing_slow_that_it_does_not_need(tmp_path: Path) -> None:
    before = loaded_by("", tmp_path)
    assert (loaded_by("import storagekit", tmp_path) - before).isdisjoint(SLOW | WITH_A_DRIVER)


def test_importing_storagekit_loads_nothing_of_the_command_line(tmp_path: Path) -> None:
    code = "import storagekit; storagekit.touch('memory://box/key')"
    loaded = loaded_by(code, tmp_path)
    assert loaded.isdisjoint({"storagekit.cli", "storagekit.doctor"})
    # Some environments load argparse in every interpreter.
    assert "argparse" not in loaded - loaded_by("", tmp_path)


def test_importing_storagekit_loads_what_no_thread_could_load_after_the_main_one(tmp_path: Path) -> None:
    assert "concurrent.futures.thread" in loaded_by("import storagekit", tmp_path)


def test_the_first_s3_url_loads_nothing_slow_on_its_way_to_the_client(tmp_path: Path) -> None:
    before = loaded_by("", tmp_path)
    code = """
import storagekit
from storagekit import backend

class Reached(BaseException):
    pass

def connect(self, connection, location):
    raise Reached

def open_file(self, location, options, buffering):
    import storagekit_s3.driver
    storagekit_s3.driver.Clients.get = connect
    return None

# The driver is loaded by now, and has not been asked for a client.
backend.Backend.open_file = open_file
try:
    storagekit.open("s3://bucket/key", "rb")
except Reached:
    pass
else:
    raise AssertionError("the driver was not asked")
"""
    loaded = loaded_by(code, tmp_path) - before
    assert {"storagekit_s3.driver", *WITH_A_DRIVER} <= loaded | before
    # What the requests need, they load: the driver's own modules may need some of it too.
    assert loaded.isdisjoint((SLOW - {"urllib.parse", "hashlib"}) | NETWORK | {"boto3", "botocore", "urllib3"})


def test_the_seeds_module_loads_no_driver_either(tmp_path: Path) -> None:
    before = loaded_by("", tmp_path)
    assert (loaded_by("import storagekit.s3filestream", tmp_path) - before).isdisjoint(S3 | DRIVERS | NETWORK)


def test_another_scheme_does_not_load_boto3(tmp_path: Path) -> None:
    code = """
import storagekit
with storagekit.open("memory://bucket/key", "w") as file:
    file.write("x")
assert storagekit.listdir("memory://bucket") == ["key"]
"""
    loaded = loaded_by(code, tmp_path)
    assert "storagekit_memory" in loaded
    assert loaded.isdisjoint(S3 | {"storagekit_local"})


@pytest.mark.parametrize("path", ["plain.txt", "{cwd}/plain.txt"])
def test_a_plain_path_loads_no_driver(tmp_path: Path, path: str) -> None:
    path = path.format(cwd=tmp_path)
    code = f"""
import storagekit
with storagekit.open({path!r}, "w") as file:
    file.write("x")
assert storagekit.isfile({path!r})
assert storagekit.listdir(".") == ["plain.txt"]
assert list(storagekit.walk("."))
storagekit.remove({path!r})
"""
    before = loaded_by("", tmp_path)
    assert (loaded_by(code, tmp_path) - before).isdisjoint(S3 | DRIVERS | SLOW | WITH_A_DRIVER)


def test_a_file_url_loads_the_local_driver_only(tmp_path: Path) -> None:
    code = f"""
import storagekit
with storagekit.open({f"file://{tmp_path}/key"!r}, "w") as file:
    file.write("x")
"""
    loaded = loaded_by(code, tmp_path)
    assert "storagekit_local" in loaded
    assert loaded.isdisjoint(S3 | {"storagekit_memory"})
