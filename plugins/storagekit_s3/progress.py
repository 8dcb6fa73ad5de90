"""Progress: whether a listing leads anywhere.

A listing goes on for as long as the server says that more follows, and a server may say so for ever: out of a mistake,
or to keep us. An honest listing never names one place twice, neither by its token nor by what is on its page. So one
page is remembered, and replaced by the current one after 1, 2, 4, 8, … pages (R. P. Brent, "An improved Monte Carlo
factorization algorithm", 1980): whatever goes round in a circle meets the remembered page before it has gone round
three times, however long the circle is, and nothing else needs to be kept.

What goes round in no circle and still brings nothing new (empty pages under ever new tokens, names that lie before what
was listed already) is borne for a while, because honest servers do it: a page is empty where everything that was looked
through for it had been deleted, and some servers are not strict about the order.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable

from storagekit import errors
from storagekit.location import Location

__all__ = ["MOST_VAIN", "Progress", "shortened"]

# Pages in a row that bring nothing new. A server looks through about a thousand names for a page, so this is a million
# deleted ones in a row; more than that a bucket's own rules for its old versions should have removed.
MOST_VAIN = 1000


class Progress:
    """Follows one listing, page by page."""

    def __init__(self, location: Location, *, ordered: bool) -> None:
        """*location* is what an error is about; *ordered* where names come in their order."""
        self._location = location
        self.ordered = ordered
        self._pages = 0
        self._vain = 0
        self._highest = ""
        self._token: Hashable = None
        self._page: Hashable = None

    def check(self, token: Hashable, page: Hashable, highest: str = "") -> None:
        """A page has come, behind which *token* names the next one (None: there is none); raise where it is a trap.

        *page* tells it from every other, and is None for an empty one; *highest* is the last of its names in order.
        """
        if token is None:
            return
        self._pages += 1
        if token == self._token:
            raise self._stuck("the server repeats its token or marker")
        if page is not None and page == self._page:
            raise self._stuck("the server repeats a page under another token")
        if self._pages & (self._pages - 1) == 0:
            self._token, self._page = token, page
        if page is None or (self.ordered and highest <= self._highest):
            self._vain += 1
            if self._vain >= MOST_VAIN:
                raise self._stuck(f"{self._vain} pages in a row had nothing new on them")
        else:
            self._vain, self._highest = 0, highest

    def _stuck(self, why: str) -> OSError:
        return errors.os_error(errno.EIO, self._location, f"The listing does not advance: {why}")


def shortened(name: str) -> str:
    """A name out of an answer, for an error: the whole of it may be as long as the answer."""
    return repr(name) if len(name) <= 100 else f"{name[:100]!r}…"
