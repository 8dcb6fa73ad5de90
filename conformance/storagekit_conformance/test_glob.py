"""Patterns: ``glob`` and ``iglob`` find what the standard library's find in the same tree on disk."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.support import Box

KEYS = [
    "a.txt",
    "b.txt",
    "ab.txt",
    "c.TXT",
    ".hidden",
    "[1].txt",
    "1.txt",
    "data/a.txt",
    "data/.hidden",
    "data/x/b.txt",
    "data/x/y/c.txt",
    ".config/a.txt",
    "database/a.txt",
    "é/ü.txt",
]

PATTERNS = ["*", "*.txt", "?.txt", "[ab].txt", "[!a]*.txt", "[a-b]*.txt", "*/a.txt", "*/*", "data/*/b.txt", "d*"]
PATTERNS += [".*", "*/.*", "no-such", "a.txt", "data", "data/", "*/", "no*such", "[[]1].txt", "é/*", "**", "data/x/**"]
RECURSIVE = ["**", "**/*.txt", "data/**", "data/**/*.txt", "**/x", "**/", "**/.hidden", "data/**/c.txt", "**/y/**"]


@pytest.fixture
def mirrored(box: Box, tmp_path: Path) -> tuple[Box, Path]:
    """The same tree twice: in the box and on disk."""
    for key in KEYS:
        box.put(f"top/{key}", key.encode())
        path = tmp_path / "top" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    return box, tmp_path


def compare(mirrored: tuple[Box, Path], pattern: str, **options: Any) -> None:
    """Hold our answer against the standard library's, each relative to its own top."""
    box, folder = mirrored
    ours = box.storage.glob(f"{box.url('top')}/{pattern}", **options)
    theirs = glob.glob(f"{glob.escape(str(folder / 'top'))}/{pattern}", **options)
    assert sorted(name.removeprefix(box.url("top")) for name in ours) == sorted(
        name.removeprefix(str(folder / "top")) for name in theirs
    )


@clause("glob.patterns")
def test_patterns(mirrored: tuple[Box, Path]) -> None:
    for pattern in PATTERNS:
        compare(mirrored, pattern)


@clause("glob.recursive")
def test_recursive(mirrored: tuple[Box, Path]) -> None:
    for pattern in (*RECURSIVE, "*.txt", "data/*"):
        compare(mirrored, pattern, recursive=True)


@clause("glob.hidden")
def test_hidden(mirrored: tuple[Box, Path]) -> None:
    for pattern in ("*", "*/*", "**", "**/*.txt"):
        compare(mirrored, pattern, recursive=True, include_hidden=True)


@clause("glob.iterator")
def test_iglob(mirrored: tuple[Box, Path]) -> None:
    box, _ = mirrored
    pattern = box.url("top/*.txt")
    found = box.storage.iglob(pattern)
    assert iter(found) is found
    assert sorted(found) == sorted(box.storage.glob(pattern))


@clause("glob.literal")
def test_names_with_magic(box: Box) -> None:
    for name in ("[1].txt", "1.txt", "*.txt", "what?", "whats"):
        box.put(f"top/{name}")
    top = box.url("top")
    assert box.storage.glob(f"{top}/{glob.escape('[1].txt')}") == [f"{top}/[1].txt"]
    assert box.storage.glob(f"{top}/{glob.escape('*.txt')}") == [f"{top}/*.txt"]
    assert box.storage.glob(f"{top}/{glob.escape('what?')}") == [f"{top}/what?"]
    assert box.storage.glob(f"{top}/[1].txt") == [f"{top}/1.txt"]


@clause("glob.missing")
def test_nothing_found(box: Box) -> None:
    box.put("file")
    for pattern in ("absent/*", "absent", "absent/**", "file/*", "absent/*/x"):
        assert box.storage.glob(box.url(pattern), recursive=True) == []


@clause("glob.root-dir")
def test_root_dir(mirrored: tuple[Box, Path]) -> None:
    box, folder = mirrored
    ours = box.storage.glob("*/*.txt", root_dir=box.url("top"))
    assert sorted(ours) == sorted(glob.glob("*/*.txt", root_dir=folder / "top"))
