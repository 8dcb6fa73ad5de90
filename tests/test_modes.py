"""modes: what the builtin ``open`` takes is taken, what it refuses is refused, with the same class of error."""

from __future__ import annotations

import io
import itertools

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit.modes import Mode, parse_mode

LETTERS = "rwxabt+U"
COMBINATIONS = ["".join(letters) for n in range(4) for letters in itertools.product(LETTERS, repeat=n)]


def builtin_takes(mode: str) -> bool:
    """Ask the builtin, which reads the mode before it looks for the file: there is none, in a folder that is none."""
    try:
        io.open("/dev/null/none", mode).close()  # noqa: UP020
    except ValueError:
        return False
    except OSError:
        return True
    raise AssertionError(mode)


@pytest.mark.parametrize("length", range(4))
def test_the_same_modes_as_the_builtin(length: int) -> None:
    for mode in (mode for mode in COMBINATIONS if len(mode) == length):
        try:
            parse_mode(mode, "memory://c/k")
            taken = True
        except ValueError:
            taken = False
        assert taken == builtin_takes(mode), mode


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("r", Mode("r", False, False)),
        ("rt", Mode("r", False, False)),
        ("rb", Mode("r", False, True)),
        ("br", Mode("r", False, True)),
        ("w", Mode("w", False, False)),
        ("xb", Mode("x", False, True)),
        ("a+", Mode("a", True, False)),
        ("r+b", Mode("r", True, True)),
        ("b+w", Mode("w", True, True)),
    ],
)
def test_the_parts(mode: str, expected: Mode) -> None:
    assert parse_mode(mode, "f") == expected


@pytest.mark.parametrize(
    ("mode", "reading", "writing"),
    [("r", True, False), ("w", False, True), ("x", False, True), ("a", False, True)]
    + [(mode, True, True) for mode in ("r+", "w+", "x+", "a+")],
)
def test_reading_and_writing(mode: str, reading: bool, writing: bool) -> None:
    parsed = parse_mode(mode, "f")
    assert (parsed.reading, parsed.writing) == (reading, writing)


@pytest.mark.parametrize("mode", ["", "b", "rw", "rbt", "rr", "r++", "q", "U", "rU", " r"])
def test_an_error_names_the_file_and_what_is_wrong(mode: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_mode(mode, "memory://c/k")
    assert caught.value.filename == "memory://c/k"
    assert caught.value.strerror


@pytest.mark.parametrize("mode", [None, 1, b"r"])
def test_what_is_not_a_text_is_a_type_error(mode: object) -> None:
    with pytest.raises(TypeError, match="must be str"):
        parse_mode(mode, "f")  # type: ignore[arg-type]
