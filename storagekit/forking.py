"""Forking: the locks of handles, in a forked child.

The buffers of ``io`` lock themselves while a thread is in one of their methods, and a read or a write may be there for
as long as a store needs for an answer. A child that is forked meanwhile inherits the lock as it is, with no thread left
to release it: whatever it does with the handle would wait for ever, and so would the interpreter at its exit. ``io``
gives a buffer a new lock only where it is made anew. So that is done here, for every handle there is, before the child
does anything else: a reader begins again where it stood, and what a writer held is the parent's to send.
"""

from __future__ import annotations

import weakref
from typing import Protocol

__all__ = ["Inherited", "inherits", "renew"]


class Inherited(Protocol):
    """What has a lock, as the buffer of a handle has."""

    def renew(self) -> None:
        """In a forked child: make the lock anew. Raises ``ValueError`` where the handle is closed or detached."""


_handles: weakref.WeakSet[Inherited] = weakref.WeakSet()


def inherits(handle: Inherited) -> None:
    """Renew *handle* in each forked child, for as long as there is anybody who has it."""
    _handles.add(handle)


def renew() -> None:
    """In a forked child: renew every handle."""
    for handle in list(_handles):
        try:
            handle.renew()
        except ValueError:
            pass  # it is closed, so nobody waits for it
