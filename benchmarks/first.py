"""A new process that reads an object's first byte: ``python -m benchmarks.first TASK`` prints it as two digits."""

from __future__ import annotations

import sys

from benchmarks.data import TINY
from benchmarks.peers import load
from benchmarks.peers.base import NotOfferedError
from benchmarks.task import Task

__all__ = ["NOT_OFFERED"]

# The exit status for a peer that cannot open an object.
NOT_OFFERED = 3


def main() -> None:
    """Read it as the peer opens an object."""
    task = Task.from_json(sys.argv[1])
    try:
        file = load(task.peer, task.place()).open(TINY)
    except NotOfferedError:
        sys.exit(NOT_OFFERED)
    with file:
        print(bytes(file.read(1)).hex())


if __name__ == "__main__":
    main()
