"""drafts: a draft is what the same writes make of a file, and fetches of its base no more than is read."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagekit.drafts import Draft, Piece, Spans

URL = "toy://box/key"


class Base(io.BytesIO):
    """A base that remembers what was read of it, and gives at most *most* bytes at a time."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        super().__init__(data)
        self.seen: list[tuple[int, int]] = []
        self._most = most

    def readinto(self, view: memoryview, /) -> int:  # type: ignore[override]
        start = self.tell()
        count = super().readinto(view[: self._most])
        self.seen.append((start, start + count))
        return count


@contextmanager
def draft_of(data: bytes | None, most: int = 1 << 30) -> Iterator[Draft]:
    draft = Draft(None if data is None else Base(data, most), len(data or b""), URL)
    try:
        yield draft
    finally:
        draft.close()


def whole(draft: Draft, start: int = 0) -> bytes:
    """Everything from *start* on, read in pieces of odd sizes."""
    data, buffer = b"", memoryview(bytearray(11))
    while count := draft.readinto(start + len(data), buffer):
        data += bytes(buffer[:count])
    return data


positions = st.integers(0, 60)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), positions, st.binary(max_size=20)),
        st.tuples(st.just("truncate"), positions, st.just(b"")),
    ),
    max_size=12,
)


@given(st.binary(max_size=50), steps, st.integers(1, 9))
def test_a_draft_is_what_a_file_would_be(data: bytes, steps: list[tuple[str, int, bytes]], most: int) -> None:
    model = io.BytesIO(data)
    with draft_of(data, most) as draft:
        for what, position, piece in steps:
            if what == "write" and piece:
                model.seek(position)
                model.write(piece)
                draft.write(position, memoryview(piece))
            elif what == "truncate":
                size = len(model.getvalue())
                model.truncate(position)
                if position > size:  # BytesIO does not grow
                    model.seek(size)
                    model.write(bytes(position - size))
                draft.truncate(position)
            assert draft.size == len(model.getvalue())
            assert whole(draft) == model.getvalue()
            assert whole(draft, 7) == model.getvalue()[7:]
        pieces = list(draft.pieces())
        assert [start for _, start, _ in pieces] == [0, *(stop for *_, stop in pieces)][: len(pieces)]
        assert (pieces[-1].stop if pieces else 0) == draft.size
        for of_base, start, stop in pieces:
            assert start < stop
            if of_base:
                assert model.getvalue()[start:stop] == data[start:stop]


@given(st.lists(st.tuples(positions, positions, st.booleans()), max_size=15))
def test_spans_are_a_set_of_numbers(steps: list[tuple[int, int, bool]]) -> None:
    spans = Spans()
    model: set[int] = set()
    for start, stop, cut in steps:
        if cut:
            spans.cut(start)
            model = {number for number in model if number < start}
        else:
            spans.add(start, stop)
            model |= set(range(start, stop))
        intervals = list(spans)
        assert {number for low, high in intervals for number in range(low, high)} == model
        assert all(low < high for low, high in intervals)
        assert all(high < low for (_, high), (low, _) in pairwise(intervals)), "none touch"
        for number in range(62):
            inside, border = spans.next(number)
            assert inside == (number in model)
            following = [other for other in range(number, 130) if (other in model) != inside]
            assert border == (following[0] if inside or (following and following[0] < 120) else None)


def test_only_what_is_read_is_fetched() -> None:
    base = Base(bytes(1000))
    draft = Draft(base, 1000, URL)
    draft.write(100, memoryview(b"new"))
    assert base.seen == []
    assert list(draft.pieces()) == [Piece(True, 0, 100), Piece(False, 100, 103), Piece(True, 103, 1000)]
    buffer = memoryview(bytearray(10))
    assert draft.readinto(98, buffer) == 10
    assert bytes(buffer) == b"\0\0new\0\0\0\0\0"
    assert base.seen == [(98, 100), (103, 108)]
    draft.close()
    assert base.closed


def test_a_draft_that_is_only_read_makes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: pytest.fail("made a file"))
    with draft_of(b"data") as draft:
        draft.write(2, memoryview(b""))
        draft.truncate(4)
        assert not draft.changed
        assert whole(draft) == b"data"
        draft.truncate(6)
        assert draft.changed
        assert whole(draft) == b"data\0\0"


def test_what_was_cut_off_does_not_come_back() -> None:
    with draft_of(b"base") as draft:
        draft.write(4, memoryview(b"secret"))
        draft.truncate(2)
        draft.truncate(10)
        assert whole(draft) == b"ba" + bytes(8)
        draft.write(9, memoryview(b"!"))
        assert whole(draft) == b"ba" + bytes(7) + b"!"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOENT])
def test_an_error_of_the_local_file_is_about_the_object(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(**_: object) -> None:
        raise OSError(code, os.strerror(code), "/somewhere")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    with draft_of(b"base") as draft:
        with pytest.raises(OSError, match="TMPDIR") as caught:
            draft.write(0, memoryview(b"new"))
        assert caught.value.errno == (errno.ENOSPC if code == errno.ENOSPC else errno.EIO)
        assert caught.value.filename == URL
        assert not isinstance(caught.value, FileNotFoundError)
