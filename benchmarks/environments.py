"""The environments that the peers live in: one per group of pins that go together.

They are made beside the checkout's others, by ``make_environment`` of ``scripts/environment.sh``, once, and made again
when a pin or ``pyproject.toml`` changes. The pins are exact, because a figure is one of a version.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers import PEERS

__all__ = ["ROOT", "make", "versions"]

ROOT = Path(__file__).resolve().parent.parent

# What is beside the peers in every environment: the Parquet workload is pyarrow's, over each peer's file.
PYARROW = "pyarrow==26.0.1"

REQUIREMENTS = {
    "main": [
        "-e",
        ".",
        "boto3==1.44.5",
        "smart_open==9.0.2",
        "obstore==0.12.1",
        "opendal==0.47.12",
        PYARROW,
        "cloudpathlib==0.26.0",
        "multi-storage-client==1.3.1",
        "megfile==5.0.18",
        "numpy",  # makes the table
        "matplotlib==3.11.2",  # draws the plot
    ],
    # aiobotocore wants one version of botocore, and it is never boto3's newest.
    "s3fs": ["s3fs==2026.9.0", PYARROW],
}


def make(names: Iterable[str]) -> dict[str, Path]:
    """The Pythons of these environments, which are made where they are missing or out of date."""
    pythons = {}
    for name in names:
        folder = f".venv-bench-{name}"
        command = 'source scripts/environment.sh && make_environment "$@"'
        subprocess.run(["bash", "-c", command, "bash", folder, *REQUIREMENTS[name]], cwd=ROOT, check=True)
        pythons[name] = ROOT / folder / "bin" / "python"
    return pythons


def versions(pythons: dict[str, Path], peers: Iterable[str]) -> dict[str, str]:
    """The version of each peer's library, where it is installed."""
    wanted: dict[str, list[str]] = {}
    for peer in peers:
        if distribution := PEERS[peer].distribution:
            wanted.setdefault(PEERS[peer].environment, []).append(distribution)
    found: dict[str, str] = {}
    for environment, distributions in wanted.items():
        program = (
            "import importlib.metadata as m, json, sys\n"
            "def version(name):\n"
            "    try: return m.version(name)\n"
            "    except m.PackageNotFoundError: return None\n"
            "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        )
        command = [str(pythons[environment]), "-c", program, *sorted(set(distributions))]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        found |= {name: version for name, version in answer.items() if version}
    return found
