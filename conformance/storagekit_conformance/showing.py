"""Where the matrix goes: to the terminal, and to the files of ``--report``.

A report's file is tried before the run, because a run may take an hour and nobody wants to learn at its end that
the folder is not there. The file that exists is replaced whole, when there is something to put in its place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from storagekit_conformance.finding import TargetError
from storagekit_conformance.report import Matrix
from storagekit_conformance.report_page import to_html
from storagekit_conformance.report_text import count_lines, matrix_lines, to_markdown

__all__ = ["FORMATS", "ReportFile", "show"]

FORMATS: Mapping[str, Callable[[Matrix], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".json": Matrix.to_json,
}


@dataclass(frozen=True)
class ReportFile:
    """One file to be written."""

    path: Path
    name: str
    """As it was given, which is how it is spoken of."""

    @classmethod
    def at(cls, folder: Path, name: str) -> ReportFile:
        """The file *name*, seen from *folder*; ``TargetError`` in one line if it could not be written."""
        path = folder / name
        if path.suffix not in FORMATS:
            raise TargetError(f"--report {name}: the name of a report ends in {', '.join(FORMATS)}")
        if path.is_dir():
            raise TargetError(f"--report {name}: this is a directory")
        try:
            # Asking the system for permission says yes to root on a read-only disk; trying does not.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise TargetError(f"--report {name}: cannot write to {path.parent}: {error.strerror}") from error
        return cls(path, name)

    def write(self, matrix: Matrix) -> None:
        """Write the report, whole or not at all; ``OSError``."""
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".storagekit-report-")
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(FORMATS[self.path.suffix](matrix))
            # mkstemp keeps its file to itself; a report is as readable as any new file.
            os.umask(mask := os.umask(0))
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise


def show(
    reporter: pytest.TerminalReporter, matrix: Matrix, counts: Mapping[str, Mapping[str, int]], *, whole: bool
) -> None:
    """Print the counts per target, and before them, if *whole*, the matrix."""
    reporter.section("storagekit conformance")
    if whole:
        for line in matrix_lines(matrix):
            reporter.write_line(line)
        reporter.write_line("")
    for line in count_lines(counts):
        reporter.write_line(line)
