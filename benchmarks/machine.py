"""What a figure was measured on, without which it means nothing; and where this machine keeps files in memory."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

__all__ = ["describe", "ram_disk"]


def ram_disk() -> Path:
    """A folder in memory where there is one (Linux), else the temporary one."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def describe() -> dict[str, object]:
    """The machine, in words that a report shows."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "data": "a RAM disk" if ram_disk() == Path("/dev/shm") else "the temporary folder",
    }


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine()


def _cores() -> int:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
