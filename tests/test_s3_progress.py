"""Progress: circles of any length are noticed, and nothing else is taken for one."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.location import Location
from storagekit_s3.progress import MOST_VAIN, Progress, shortened

HERE = Location("s3", "box", "dir/")


@given(st.integers(0, 60), st.integers(1, 60), st.booleans())
def test_a_circle_is_noticed_before_it_has_gone_round_three_times(before: int, length: int, tokens: bool) -> None:
    progress = Progress(HERE, ordered=False)

    def place(n: int) -> int:
        return n if n < before else before + (n - before) % length

    with pytest.raises(OSError, match="does not advance") as caught:
        for n in range(10_000):
            progress.check(place(n) if tokens else n, n if tokens else place(n))
    assert n <= 2 * (before + length) + length
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, HERE.url)


@given(st.lists(st.text(min_size=1), unique=True, max_size=100))
def test_an_honest_listing_is_believed(names: list[str]) -> None:
    ordered, unordered = Progress(HERE, ordered=True), Progress(HERE, ordered=False)
    for n, name in enumerate(sorted(names)):
        ordered.check(n, name, name)
    for name in names:
        unordered.check(f"behind {name}", name, name)
    ordered.check(None, None)


@pytest.mark.parametrize("ordered", [True, False])
def test_empty_pages_are_borne_until_there_are_too_many_in_a_row(ordered: bool) -> None:
    progress = Progress(HERE, ordered=ordered)
    for n in range(MOST_VAIN - 1):
        progress.check(f"a{n}", None)
    progress.check("name", "b", "b")
    for n in range(MOST_VAIN - 1):
        progress.check(f"c{n}", None)
    progress.check(None, None)  # the last page is no trap
    with pytest.raises(OSError, match=f"{MOST_VAIN} pages in a row had nothing new"):
        progress.check("last", None)


def test_pages_out_of_order_count_only_where_there_is_one() -> None:
    ordered, unordered = Progress(HERE, ordered=True), Progress(HERE, ordered=False)
    for n in range(MOST_VAIN):
        name = f"{999_999 - n}"
        ordered.check(n, name, name)  # the first brings something
        unordered.check(n, name, name)
    unordered.check("next", "next", "0")
    with pytest.raises(OSError, match="nothing new"):
        ordered.check("next", "next", "0")


def test_a_long_name_is_shortened() -> None:
    assert shortened("a\n") == repr("a\n")
    assert len(shortened("a" * 10_000_000)) < 120
