"""From the words after ``--target`` to a ``Target``: built-in names, entry points, ``module:attribute``.

An author's package can name its target in its own metadata, so that ``--target toy`` is enough wherever the
package is installed::

    [project.entry-points."storagekit.conformance"]
    toy = "toy_driver.testing:target"

Whatever is wrong is a ``TargetError`` with one line for the person who typed the name.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points

from storagekit_conformance.target import Target

__all__ = ["ENTRY_POINT_GROUP", "TargetError", "find_target"]

ENTRY_POINT_GROUP = "storagekit.conformance"


class TargetError(Exception):
    """A target cannot be had or cannot be used; the text is one line and says why."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))


def find_target(name: str) -> Target:
    """The target of that name: a built-in one, an entry point's, or ``module:attribute``."""
    found = _load(name)
    if not isinstance(found, Target):
        raise TargetError(f"{name!r} is a {type(found).__name__}, not a storagekit_conformance Target")
    if lacking := found.missing():
        raise TargetError(f"cannot run the target {name!r}: {lacking}")
    return found


def _load(name: str) -> object:
    from storagekit_conformance.targets import TARGETS

    module, colon, attribute = name.partition(":")
    try:
        if colon:
            return getattr(importlib.import_module(module), attribute)
        point = _entry_point(name, built_in=name in TARGETS)
        return point.load() if point else TARGETS[name]
    except TargetError:
        raise
    # An author's module may do anything when it is imported, sys.exit() included.
    except (Exception, SystemExit) as error:
        raise TargetError(f"cannot load the target {name!r}: {type(error).__name__}: {error}") from error


def _entry_point(name: str, *, built_in: bool) -> EntryPoint | None:
    """The one entry point of that name, or None for a built-in name that nobody else claims."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    # The same distribution may be found twice, as where an installed one is also on the path.
    claims = {(_owner(point), point.value): point for point in points if point.name == name}
    owners = sorted(f"{owner} ({value})" for owner, value in claims)
    if built_in:
        if owners:
            raise TargetError(f"the target {name!r} of {' and '.join(owners)} has the name of a built-in target")
        return None
    if not claims:
        raise TargetError(f"no target {name!r}: choose from {', '.join(_known())}, or name module:attribute")
    if len(claims) > 1:
        raise TargetError(f"the target {name!r} is claimed by {' and '.join(owners)}; name module:attribute instead")
    return claims.popitem()[1]


def _known() -> list[str]:
    from storagekit_conformance.targets import TARGETS

    points = entry_points(group=ENTRY_POINT_GROUP)
    return [*TARGETS, *sorted({point.name for point in points} - set(TARGETS))]


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
