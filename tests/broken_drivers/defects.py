"""The register of broken drivers, which each of them enters by a decorator."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from storagekit_memory.driver import MemoryDriver

__all__ = ["BROKEN", "Defect", "defect"]


@dataclass(frozen=True)
class Defect:
    """One broken driver, what is wrong with it, and the clauses of which at least one must catch it."""

    driver: type[MemoryDriver]
    story: str
    caught_by: tuple[str, ...]


BROKEN: dict[str, Defect] = {}


def defect(*caught_by: str) -> Callable[[type[MemoryDriver]], type[MemoryDriver]]:
    """Register a broken driver under its class's name, in-dashes; its docstring tells the defect."""

    def register(driver: type[MemoryDriver]) -> type[MemoryDriver]:
        name = re.sub("(?<=.)(?=[A-Z])", "-", driver.__name__).lower()
        BROKEN[name] = Defect(driver, (driver.__doc__ or "").strip(), caught_by)
        return driver

    return register
