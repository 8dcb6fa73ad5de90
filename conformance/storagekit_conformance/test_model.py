"""The model test: made-up programs, done to the store and to a model of it (see ``machines`` and ``model``)."""

from __future__ import annotations

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.machine_rules import Directories, Everything, Files, Readers
from storagekit_conformance.machines import play
from storagekit_conformance.support import Box


@pytest.fixture
def depth(request: pytest.FixtureRequest) -> int:
    """How far to look."""
    return int(request.config.getoption("--depth"))


@clause("model.files")
def test_files(box: Box, depth: int) -> None:
    play(box, Files, depth)


@clause("model.directories")
def test_directories(box: Box, depth: int) -> None:
    play(box, Directories, depth)


@clause("model.readers")
def test_readers(box: Box, depth: int) -> None:
    play(box, Readers, depth)


@clause("model.everything")
def test_everything(box: Box, depth: int) -> None:
    play(box, Everything, depth)
