"""Running everything: each workload with each peer in a process of its own, in turns, several times.

In every round each peer has one turn, and every other round goes backwards: what changes on the machine meanwhile meets
all alike. A peer that fails or hangs is shown with its reason and left out of the later rounds of that workload. One
that takes very long has one run: how slow it is, is plain enough.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.data import Sizes
from benchmarks.environments import ROOT
from benchmarks.peers import PEERS
from benchmarks.places import Ground
from benchmarks.task import Task
from benchmarks.workloads import WORKLOADS

__all__ = ["run_all", "run_one"]

# The best peers need a second or two for most workloads. Without this bound the slowest would be most of the hours.
SLOW_SECONDS = 20.0


def run_one(python: Path, task: Task, environment: dict[str, str], timeout: float) -> dict[str, Any]:
    """One workload with one peer in a new process: what ``benchmarks.one`` prints, or why it printed nothing."""
    environment = environment | {"AWS_ENDPOINT_URL": task.endpoint, "TMPDIR": task.scratch}
    with subprocess.Popen(
        [str(python), "-W", "ignore", "-m", "benchmarks.one", task.to_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        # A group of its own, so that it can be ended together with what it started.
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"status": "failed", "reason": f"not done after {timeout:.0f} s"}
        finally:
            # Also where it ended by itself: what it started may be left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    try:
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return {"status": "failed", "reason": last or f"exit status {process.returncode}"}
    return result


def run_all(
    ground: Ground,
    pythons: dict[str, Path],
    sizes: Sizes,
    workloads: Sequence[str],
    peers: Sequence[str],
    repeats: int,
    timeout: float,
) -> Iterator[dict[str, Any]]:
    """Every run's result, with its ``workload``, ``profile``, ``peer`` and ``round``."""
    present = [peer for peer in peers if ground.simulated or not PEERS[peer].simulated]
    for workload in workloads:
        out: set[str] = set()
        for profile in ground.endpoints:
            # Round 0 compares every byte of those workloads whose timed runs compare samples; once is enough.
            first = 0 if WORKLOADS[workload].sampled and profile == next(iter(ground.endpoints)) else 1
            out_here: set[str] = set()
            for number in range(first, repeats + 1):
                for peer in present if number % 2 else reversed(present):
                    if peer in out | out_here:
                        continue
                    result = _in_scratch(ground, pythons, sizes, workload, profile, peer, number, timeout)
                    if result["status"] == "not offered" or (number == 0 and result["status"] == "failed"):
                        out.add(peer)  # nowhere else, either
                    elif result["status"] == "failed" or (number and result["seconds"] > SLOW_SECONDS):
                        out_here.add(peer)
                    yield {"workload": workload, "profile": profile, "peer": peer, "round": number, **result}


def _in_scratch(
    ground: Ground,
    pythons: dict[str, Path],
    sizes: Sizes,
    workload: str,
    profile: str,
    peer: str,
    number: int,
    timeout: float,
) -> dict[str, Any]:
    """One run, with an empty folder for its files beside the data."""
    scratch = Path(tempfile.mkdtemp(dir=ground.folder.parent))
    try:
        task = ground.task(peer, workload, profile, sizes, scratch, thorough=number == 0)
        if number == 0 and ground.simulated:
            # It is not timed, so it need not be slow.
            task = replace(task, endpoint=ground.plain, control=ground.plain)
        python = pythons[PEERS[peer].environment]
        return run_one(python, task, ground.environment, timeout)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
