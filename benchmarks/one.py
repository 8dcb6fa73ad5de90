"""One workload with one peer in this process: ``python -m benchmarks.one TASK`` prints one line of JSON.

The line says ``status``: ``ok`` with what was measured, ``not offered``, or ``failed`` with the reason.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.data import TINY
from benchmarks.measuring import Run
from benchmarks.peers import load
from benchmarks.peers.base import NotOfferedError
from benchmarks.task import Task
from benchmarks.workloads import WORKLOADS

# Of a reason, in a report.
LONGEST_REASON = 300


def run(task: Task) -> dict[str, Any]:
    """What came of it."""
    try:
        peer = load(task.peer, task.place())
        # A first small read makes what is made once, as models of services, and opens a connection.
        peer.read_small(TINY)
        control = Run(Path(task.folder), task.sizes, task.control, task.thorough)
        figures = WORKLOADS[task.workload].run(peer, control)
    except NotOfferedError:
        return {"status": "not offered"}
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        traceback.print_exc()
        return {"status": "failed", "reason": reason[:LONGEST_REASON]}
    return {"status": "ok", "figures": figures, **control.measured}


def main() -> None:
    """Run the task of the command line."""
    result = run(Task.from_json(sys.argv[1]))
    print(json.dumps(result), flush=True)
    # Some libraries hang in their threads when the interpreter ends; everything is said and measured.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
