"""Where the objects are while it is measured: in the simulator on a RAM disk, or in somebody's own bucket.

Both are context managers that leave nothing behind: no process, no files, no objects below the prefix.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import Sizes
from benchmarks.environments import ROOT
from benchmarks.machine import ram_disk
from benchmarks.task import Task

__all__ = ["Ground", "data_folder", "own_bucket", "simulated", "simulator"]

# S3 wants three letters and no more than these characters.
BUCKET = "bench"
# The profile without delays, which is always there: to compare and to clean up.
PLAIN = "raw"
# What a report calls an endpoint of somebody's own.
OWN = "endpoint"


@dataclass(frozen=True)
class Ground:
    """A store that is ready: what a task has to know of it."""

    endpoints: dict[str, str]
    """By the profile's name."""

    plain: str
    simulated: bool
    bucket: str
    prefix: str
    folder: Path
    environment: dict[str, str]
    """What processes get as theirs, but for the endpoint."""

    def task(self, peer: str, workload: str, profile: str, sizes: Sizes, scratch: Path, thorough: bool) -> Task:
        """One workload with one peer here."""
        endpoint = self.endpoints[profile]
        return Task(
            peer=peer,
            workload=workload,
            endpoint=endpoint,
            plain_endpoint=self.plain,
            control=endpoint if self.simulated else None,
            bucket=self.bucket,
            prefix=self.prefix,
            folder=str(self.folder),
            scratch=str(scratch),
            sizes=sizes,
            thorough=thorough,
        )


@contextmanager
def data_folder(memory: Path | None = None) -> Iterator[Path]:
    """A new folder on the RAM disk, or in *memory*; removed at the end, and so are those of runs that were killed."""
    parent = memory or ram_disk()
    for left in parent.glob("storagekit-bench-*-*"):
        owner = re.fullmatch(r"storagekit-bench-(\d+)-.*", left.name)
        if owner and not _alive(int(owner.group(1))):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"storagekit-bench-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


@contextmanager
def simulator(folder: Path, profiles: Sequence[str]) -> Iterator[dict[str, str]]:
    """The simulator over *folder*; yields the endpoint of each profile. It ends with the block or with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.simulator", str(folder), *(f"--listen={text}" for text in profiles)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        # Ctrl-C goes to the whole group in the foreground, and the simulator is to outlive what is measured.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start: exit status {process.wait()}")
        yield json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _clean_environment() -> dict[str, str]:
    """This process's environment, without anything of anybody's own account and without proxies to the outside."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "STORAGEKIT_", "MEGFILE_", "OSS_", "PYTHON"))
        and not name.lower().endswith("_proxy")
    }


@contextmanager
def simulated(folder: Path, profiles: Sequence[str]) -> Iterator[Ground]:
    """The objects of *folder*/``BUCKET`` in the simulator."""
    (folder / BUCKET).mkdir(exist_ok=True)
    environment = _clean_environment() | {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with simulator(folder, list(dict.fromkeys([PLAIN, *profiles]))) as endpoints:
        chosen = {profile: endpoints[profile] for profile in profiles}
        yield Ground(chosen, endpoints[PLAIN], True, BUCKET, "", folder / BUCKET, environment)


@contextmanager
def own_bucket(python: Path, folder: Path, endpoint: str, bucket: str, region: str, sizes: Sizes) -> Iterator[Ground]:
    """The objects of *folder*/``BUCKET`` in a bucket of somebody's own, below a prefix that is removed at the end.

    Credentials are what boto's chain finds in *python*'s environment; they are handed on as variables.
    """
    store = [str(python), "-m", "benchmarks.store"]
    answer = subprocess.run([*store, "credentials"], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    environment = {**os.environ, "AWS_DEFAULT_REGION": region, "AWS_REGION": region, **json.loads(answer)}
    environment.pop("AWS_PROFILE", None)
    prefix = f"storagekit-bench-{uuid.uuid4().hex[:12]}/"
    ground = Ground({OWN: endpoint}, endpoint, False, bucket, prefix, folder / BUCKET, environment)
    task = ground.task("", "", OWN, sizes, folder, False).to_json()
    try:
        subprocess.run([*store, "upload", task], check=True, cwd=ROOT, env=environment)
        yield ground
    finally:
        subprocess.run([*store, "remove", task], check=True, cwd=ROOT, env=environment)
