"""``scripts/bench``: measure storagekit beside its peers. See README.md in this folder."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import environments
from benchmarks.data import FULL, QUICK, Sizes, needed
from benchmarks.environments import ROOT
from benchmarks.machine import describe
from benchmarks.peers import PEERS
from benchmarks.places import BUCKET, Ground, data_folder, own_bucket, simulated
from benchmarks.report import markdown
from benchmarks.results import Results, number
from benchmarks.running import run_all
from benchmarks.simulator.profiles import parse
from benchmarks.workloads import WORKLOADS

RESULTS = ROOT / "benchmarks" / "results"
# What uploads and the caches of some peers take beside the objects.
ROOM = 3
TIMEOUT_SECONDS = 120.0


def arguments_of(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure storagekit beside its peers, on a simulator of S3 or on a bucket of your own.",
        epilog=f"Workloads: {', '.join(WORKLOADS)}. Peers: {', '.join(PEERS)}.",
    )
    parser.add_argument("--work", default=",".join(WORKLOADS), help="workloads, separated by commas (all)")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers, separated by commas (all)")
    parser.add_argument("--profile", action="append", help="of the simulator: raw, wan or wan,rate=40 … (wan and raw)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each (3)")
    parser.add_argument("--quick", action="store_true", help="small data: shows that everything works, not how fast")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds for one run (120)")
    parser.add_argument("--name", default="", help="of the results (the date; quick)")
    parser.add_argument("--add", action="store_true", help="keep what the results have of other workloads and profiles")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for them (benchmarks/results)")
    parser.add_argument("--data", type=Path, help="where the objects lie (the RAM disk, else the temporary folder)")
    parser.add_argument("--endpoint", help="any S3 endpoint instead of the simulator; with --bucket")
    parser.add_argument("--bucket", help="for --endpoint: everything is made below a new prefix, and removed again")
    parser.add_argument("--region", default="us-east-1", help="for --endpoint")
    parser.add_argument("--python", type=Path, help="run every peer with this Python; make no environments")
    given = parser.parse_args(arguments)
    for option, known in (("work", WORKLOADS), ("peers", PEERS)):
        names = [name for name in getattr(given, option).split(",") if name]
        if unknown := [name for name in names if name not in known]:
            parser.error(f"--{option}: {unknown[0]!r} is none of {', '.join(known)}")
        setattr(given, option, names)
    if bool(given.endpoint) != bool(given.bucket):
        parser.error("--endpoint and --bucket go together")
    given.profile = given.profile or ["wan", "raw"]
    try:
        given.profiles = {} if given.endpoint else {text: asdict(parse(text)) for text in given.profile}
    except ValueError as error:
        parser.error(str(error))
    given.name = given.name or ("quick" if given.quick else datetime.now(UTC).strftime("%Y-%m-%d"))
    return given


def pythons_of(given: argparse.Namespace) -> dict[str, Path]:
    """The Python of each environment that the chosen peers live in; ``main`` is always there."""
    names = dict.fromkeys(["main", *(PEERS[peer].environment for peer in given.peers)])
    if given.python:
        return dict.fromkeys(names, given.python)
    return environments.make(names)


def make_data(python: Path, folder: Path, given: argparse.Namespace, sizes: Sizes) -> None:
    """The objects that the chosen workloads read, as files below *folder*."""
    names = list(dict.fromkeys(["tiny", *(name for work in given.work for name in WORKLOADS[work].needs)]))
    wanted, free = needed(sizes, names) + ROOM * sizes.big, shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(f"{folder.parent} has {free / 1e9:.1f} GB free; this takes {wanted / 1e9:.1f} (--data, --work)")
    print(f"Making {', '.join(names)} in {folder.parent} ...", flush=True)
    size = "quick" if given.quick else "full"
    command = [str(python), "-m", "benchmarks.data", str(folder / BUCKET), "--sizes", size, "--only", ",".join(names)]
    subprocess.run(command, check=True, cwd=ROOT)


@contextmanager
def ground_of(given: argparse.Namespace, python: Path, folder: Path, sizes: Sizes) -> Iterator[Ground]:
    """The store that the command line chooses."""
    if given.endpoint:
        with own_bucket(python, folder, given.endpoint, given.bucket, given.region, sizes) as ground:
            yield ground
    else:
        with simulated(folder, given.profile) as ground:
            yield ground


def told(run: dict[str, Any]) -> str:
    """A line about one run, while it goes."""
    begin = f"{run['workload']:16} {run['profile']:9} {run['round']}  {run['peer']:24}"
    if run["status"] == "not offered":
        return f"{begin} –"
    if run["status"] == "failed":
        return f"{begin} failed: {run['reason']}"
    if run["round"] == 0:
        return f"{begin} every byte compared"
    figures = WORKLOADS[run["workload"]].figures
    shown = ", ".join(f"{number(run['figures'][figure.name])} {figure.unit}" for figure in figures)
    return f"{begin} {shown}, {run['cpu_seconds']:.2f} CPU s"


def write_results(results: Results, folder: Path, add: bool, python: Path) -> None:
    """The JSON, the tables and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results.name}.json"
    if add and path.exists():
        results.add(Results.load(path))
    results.save(path)
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    print(f"Wrote {path} and {path.with_suffix('.md')}")
    drawn = subprocess.run(
        [str(python), "-m", "benchmarks.plot", str(path), str(path.with_suffix(".svg"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if drawn.returncode:
        print(f"No plot: {drawn.stderr.strip().rpartition(chr(10))[2]}")


def commit() -> str:
    """What was measured: the commit, with a plus sign where something is changed."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "no commit"


def measure(given: argparse.Namespace) -> None:
    """Everything, from the environments to the picture."""
    sizes = QUICK if given.quick else FULL
    pythons = pythons_of(given)
    results = Results(
        name=given.name,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=describe(),
        profiles=given.profiles or {"endpoint": {}},
        sizes=asdict(sizes),
        repeats=given.repeats,
        versions=environments.versions(pythons, given.peers),
        commit=commit(),
    )
    begin = time.monotonic()
    try:
        with data_folder(given.data) as folder:
            make_data(pythons["main"], folder, given, sizes)
            with ground_of(given, pythons["main"], folder, sizes) as ground:
                for run in run_all(ground, pythons, sizes, given.work, given.peers, given.repeats, given.timeout):
                    results.runs.append(run)
                    print(told(run), flush=True)
    finally:
        # What was measured until Ctrl-C is worth keeping.
        if results.runs:
            write_results(results, given.results, given.add, pythons["main"])
    print(f"{len(results.runs)} runs in {(time.monotonic() - begin) / 60:.1f} minutes")


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run what the command line says; the exit status."""
    given = arguments_of(sys.argv[1:])
    # A program that is asked to end cleans up as it does on Ctrl-C, also where a shell started it in the background.
    for wish in signal.SIGTERM, signal.SIGINT:
        signal.signal(wish, _end)
    try:
        measure(given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
