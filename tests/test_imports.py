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
    assert loaded_by(code, tmp_path).isdisjoint(S3 | DRIVERS)


def test_a_file_url_loads_the_local_driver_only(tmp_path: Path) -> None:
    code = f"""
import storagekit
with storagekit.open({f"file://{tmp_path}/key"!r}, "w") as file:
    file.write("x")
"""
    loaded = loaded_by(code, tmp_path)
    assert "storagekit_local" in loaded
    assert loaded.isdisjoint(S3 | {"storagekit_memory"})
