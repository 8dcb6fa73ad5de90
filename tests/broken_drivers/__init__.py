"""Drivers that are broken on purpose: each has one realistic defect, in a few lines over the memory driver.

They show that the suite bites (``test_conformance_bites.py``). Each is a defect that storage libraries had or
have: writers that publish when an exception passes or when they are collected, listings that lose the first key of the
second page, conditions that are sent and ignored, caches that serve another object's bytes. ``BROKEN`` holds them
by name, and ``python -m storagekit_conformance --target broken_drivers:NAME -x`` runs the suite against one.
"""

from __future__ import annotations

from broken_drivers import changing, listing, names, promises, reading, writing
from broken_drivers.defects import BROKEN, Defect
from storagekit_conformance.memory_target import memory_target
from storagekit_conformance.target import Target

__all__ = ["BROKEN", "Defect", "changing", "listing", "names", "promises", "reading", "writing"]


def __getattr__(name: str) -> Target:
    """The target of a broken driver."""
    if name not in BROKEN:
        raise AttributeError(f"no broken driver is called {name!r}; there are {', '.join(BROKEN)}")
    return memory_target(name, BROKEN[name].driver)
