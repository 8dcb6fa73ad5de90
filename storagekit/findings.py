"""Findings: what an examination of a store has shown, in words for a person.

``storagekit doctor`` makes them by using the store as everybody does, and a driver adds what only it knows to
ask (the hook ``examine``). A finding says what works, what was seen, and what the library does because of it.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

__all__ = ["UNREACHABLE", "Finding"]


UNREACHABLE = frozenset({errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})
"""The errors that say that nobody answers, so that every further trial would wait for nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried on a store.

    >>> from storagekit.findings import Finding
    >>> Finding("ranges", True, "206, the right bytes", "only what is read is fetched").wrong
    False
    """

    topic: str
    """What was tried, in a few words."""
    works: bool | None
    """None: it could not be found out."""
    seen: str
    """What the store did."""
    consequence: str = ""
    """What the library does because of it."""
    wrong: bool = False
    """The library relies on it here, and it does not hold: bytes may be lost, or a promise is not kept."""
    advice: str = ""
    """What the user could set to make more of this store."""
