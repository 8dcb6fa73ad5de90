"""Discovery: which installed distributions claim a scheme, through the entry-point group ``storagekit.drivers``.

The answer is that of ``importlib.metadata.entry_points(group=…)``, which takes longer than all the rest of a first
``open``: it loads the parsers of e-mail and of zip files. What it then does is simple. A folder of ``sys.path`` has one
folder ``name-version.dist-info`` (or ``.egg-info``) for each distribution installed there, perhaps with a file
``entry_points.txt``; of two distributions of one name the first counts. So that is done here, for folders. Where
the path holds something else, or another finder knows of distributions, ``importlib.metadata`` is asked.

https://packaging.python.org/en/latest/specifications/entry-points/ has the format.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from storagekit.hookspecs import ENTRY_POINT_GROUP

__all__ = ["Claim", "claims"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry point: the scheme that is its name, where the driver is, and the distribution that says so."""

    scheme: str
    value: str
    owner: str

    def load(self) -> Any:
        """Import the driver's factory."""
        module, _, path = self.value.partition("[")[0].partition(":")  # extras have no meaning any more
        found: Any = import_module(module.strip())
        for name in path.split(".") if path else ():
            found = getattr(found, name.strip())
        return found


def claims() -> list[Claim]:
    """Every claim on any scheme, in the order of ``sys.path``. Imports no driver."""
    others = [finder for finder in sys.meta_path if finder is not PathFinder and hasattr(finder, "find_distributions")]
    if not others:
        try:
            return list(_in_folders())
        except NotADirectoryError:  # a zip file
            pass
    return _in_anything()


def _in_anything() -> list[Claim]:
    from importlib.metadata import entry_points  # very slow; see above

    return [
        Claim(point.name, point.value, point.dist.name if point.dist is not None else point.value)
        for point in entry_points(group=ENTRY_POINT_GROUP)
    ]


def _in_folders() -> Iterator[Claim]:
    seen = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except NotADirectoryError:
            raise
        except OSError:
            continue
        for name in names:
            info = os.path.join(folder, name)
            if name.lower().endswith((".dist-info", ".egg-info")):
                distribution = re.sub(r"[-_.]+", "_", os.path.splitext(name)[0].partition("-")[0]).lower()
                if distribution not in seen:
                    seen.add(distribution)
                    yield from _of_distribution(info)
            elif name.lower() == "egg-info" and folder.lower().endswith(".egg"):
                yield from _of_distribution(info)


def _of_distribution(info: str) -> Iterator[Claim]:
    text = _read(info, "entry_points.txt")
    if ENTRY_POINT_GROUP not in text:  # of most distributions, so it is to be fast
        return
    group = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1]
        elif group == ENTRY_POINT_GROUP and line and not line.startswith("#"):
            scheme, _, value = line.partition("=")
            yield Claim(scheme.strip(), value.strip(), _name(info) or value.strip())


def _name(info: str) -> str | None:
    """The distribution's name as it writes it itself."""
    for line in (_read(info, "METADATA") or _read(info, "PKG-INFO")).splitlines():
        header, _, value = line.partition(":")
        if header.lower() == "name":
            return value.strip()
    return None


def _read(info: str, name: str) -> str:
    try:
        with open(os.path.join(info, name), "rb", buffering=0) as file:
            return file.read().decode("utf-8", "replace")
    except OSError:  # most have none, and an old .egg-info may be a file
        return ""
