"""Modes: ``"rb"``, ``"xt"`` and their like, parsed once, as the builtin ``open`` reads them.

The rules and the messages are those of https://docs.python.org/3/library/functions.html#open:
exactly one of ``r w x a``, at most one ``+``, and ``b`` or ``t`` but not both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storagekit.errors import invalid

__all__ = ["Mode", "parse_mode"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode in its parts: what is done, whether both ways, and whether bytes or text."""

    action: Literal["r", "w", "x", "a"]
    update: bool
    binary: bool

    @property
    def reading(self) -> bool:
        """True where the file can be read."""
        return self.action == "r" or self.update

    @property
    def writing(self) -> bool:
        """True where the file can be written."""
        return self.action != "r" or self.update


def parse_mode(mode: str, filename: object) -> Mode:
    """Parse *mode*; raise ``TypeError`` or ``InvalidArgumentError`` (a ``ValueError``) as the builtin would.

    >>> from storagekit.modes import parse_mode
    >>> parse_mode("xb", "s3://bucket/key")
    Mode(action='x', update=False, binary=True)
    """
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    letters = set(mode)
    if letters - set("rwxabt+") or len(letters) != len(mode):
        raise invalid(filename, f"invalid mode: {mode!r}")
    if {"b", "t"} <= letters:
        raise invalid(filename, "can't have text and binary mode at once")
    actions = letters & set("rwxa")
    if len(actions) != 1:
        raise invalid(filename, f"mode {mode!r} must have exactly one of r, w, x and a, and may have a +")
    action: Literal["r", "w", "x", "a"] = actions.pop()  # type: ignore[assignment]
    return Mode(action, "+" in letters, "b" in letters)
