"""The suite bites: it fails against every driver that is broken on purpose, at a clause that is about the defect.

The clauses that are about the defect run against each, up to the first failure, in a process of its own; which one it
was stands in the summary of the test run (``conftest.py``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_drivers import BROKEN

from storagekit_conformance.clauses import clauses

# A clause takes a second or two against memory; one that a defect sends into an endless loop takes for ever.
LIMIT_SECONDS = 300


def test_there_are_enough() -> None:
    assert len(BROKEN) >= 24
    assert len({defect.story for defect in BROKEN.values()}) == len(BROKEN)
    known = {clause.id for clause in clauses()}
    assert {clause for defect in BROKEN.values() for clause in defect.caught_by} - known == set()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_driver_is_caught(name: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    report = tmp_path / "report.json"
    about = " or ".join(BROKEN[name].caught_by)
    command = [sys.executable, "-m", "storagekit_conformance", "--target", f"broken_drivers:{name}"]
    done = subprocess.run(
        [*command, "-k", about, "-x", "-v", "--tb=short", "--report", str(report)],
        cwd=tmp_path,
        # With CI set, as with -v, pytest would show whole differences, and of megabytes compute them for hours.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "CI": "true"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1, f"not caught: {BROKEN[name].story}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    cells = json.loads(report.read_text())["cells"]
    caught = [clause for clause, row in cells.items() if row.get(name, {}).get("result") in ("failed", "error")]
    assert len(caught) == 1, f"{caught}\n{done.stdout[-3000:]}"
    record_property("caught by", f"{name}: {caught[0]}")
    assert caught[0] in BROKEN[name].caught_by, f"caught for another reason:\n{done.stdout[-3000:]}"
