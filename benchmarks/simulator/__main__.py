"""Run the simulator: see the package's text."""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
from pathlib import Path

from benchmarks.simulator.objects import Objects
from benchmarks.simulator.profiles import parse
from benchmarks.simulator.server import Port

# A thread that wakes up to answer waits at most this long for another one that runs. The default, 5 ms, would be seen.
SWITCH_SECONDS = 0.0005


def main() -> None:
    """Listen, say where, and serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description="Simulate S3 on loopback.")
    parser.add_argument("folder", type=Path, help="its folders are buckets, the files in them objects")
    parser.add_argument("--listen", action="append", metavar="PROFILE", help="as raw, wan or wan,rate=40 (raw)")
    parser.add_argument("--port", type=int, default=0, help="the first profile's port, the next one's is one higher")
    given = parser.parse_args()
    try:
        profiles = {text: parse(text) for text in given.listen or ["raw"]}
    except ValueError as error:
        parser.error(str(error))
    # What is written is kept in open files; and every connection is one.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setswitchinterval(SWITCH_SECONDS)
    # Ctrl-C is meant for the program that started this one, which then closes our standard input.
    if not sys.stdin.isatty():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    objects = Objects(given.folder)
    ports = {
        text: Port(objects, profile, given.port and given.port + number)
        for number, (text, profile) in enumerate(profiles.items())
    }
    print(json.dumps({text: port.url for text, port in ports.items()}), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
