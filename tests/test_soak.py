"""The soak runs, and it fails where something is not flat. How long it must run to prove anything is another matter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from storagekit_conformance.servers import missing_rclone

SCRIPT = Path(__file__).parent.parent / "scripts" / "soak.py"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "soak", module)  # where its dataclass looks for its own types
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="it asks ps")
def test_a_few_opens_of_each_kind() -> None:
    if lacking := missing_rclone():
        pytest.skip(lacking)
    ran = subprocess.run([sys.executable, str(SCRIPT), "40"], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for transport in ("wire", "boto3"):
        table = ran.stdout.partition(f"40 opens, {transport}\n")[2].splitlines()[:7]
        assert table[0].split() == ["memory,", "MiB", "descriptors", "threads", "unfinished", "uploads"]
        assert [row.split("  ")[0] for row in table[1:]] == [
            "before",
            *(f"after {number}" for number in (10, 20, 30, 40)),
            "closed",
        ]
        assert float(table[1].split()[1]) > 10


def test_the_bounds(soak: ModuleType) -> None:
    flat = soak.Held("before", 100 << 20, 5, 1, 0)
    quarters = [replace(flat, descriptors=30, threads=20, memory=150 << 20)] * 4
    assert soak.wrong(flat, quarters, flat) == []
    grown = [*quarters[:3], replace(quarters[3], memory=159 << 20)]
    assert "9.0 MiB" in soak.wrong(flat, grown, flat)[0]
    many = [quarters[0], replace(quarters[1], descriptors=46), *quarters[2:]]
    assert soak.wrong(flat, many, flat) == ["46 descriptors, 5 before"]
    assert len(soak.wrong(flat, quarters, replace(flat, descriptors=6, threads=2, uploads=1))) == 3


def test_a_count_that_has_no_quarters_is_refused() -> None:
    ran = subprocess.run([sys.executable, str(SCRIPT), "3"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "at least 4" in ran.stderr
