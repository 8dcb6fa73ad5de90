"""Reports as files: tried before the run, replaced whole after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storagekit_conformance.clauses import Clause
from storagekit_conformance.finding import TargetError
from storagekit_conformance.report import Outcome, Result, TargetNote, build, from_json
from storagekit_conformance.showing import ReportFile

MATRIX = build(
    "1.0", [Clause("a.b", "It is.")], [TargetNote("toy")], [Outcome("a.b", "toy", "test_it", Result.SKIPPED, "nö")]
)


@pytest.mark.parametrize(("name", "begins"), [("r.html", "<!DOCTYPE html>"), ("r.md", "# Conform"), ("r.json", "{\n")])
def test_the_suffix_says_what_is_written(tmp_path: Path, name: str, begins: str) -> None:
    file = ReportFile.at(tmp_path, name)
    assert list(tmp_path.iterdir()) == [], "trying leaves nothing"
    (tmp_path / name).write_text("an older one")
    file.write(MATRIX)
    text = (tmp_path / name).read_bytes().decode("utf-8")
    assert text.startswith(begins)
    assert "nö" in text
    assert "\r" not in text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_report_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    ReportFile.at(tmp_path, "r.json").write(MATRIX)
    (tmp_path / "plain").touch()
    assert os.stat(tmp_path / "r.json").st_mode == os.stat(tmp_path / "plain").st_mode
    assert from_json((tmp_path / "r.json").read_text(encoding="utf-8")) == MATRIX


def test_an_absolute_name_is_taken_as_it_is(tmp_path: Path) -> None:
    assert ReportFile.at(Path("/nowhere"), f"{tmp_path}/r.md").path == tmp_path / "r.md"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.txt", "--report r.txt: the name of a report ends in .html, .md, .json"),
        ("report", "--report report: the name of a report ends in .html, .md, .json"),
        ("folder.md", "--report folder.md: this is a directory"),
        ("absent/r.md", "--report absent/r.md: cannot write to {folder}/absent: No such file or directory"),
        ("file/r.md", "--report file/r.md: cannot write to {folder}/file: Not a directory"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_run(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(TargetError) as caught:
        ReportFile.at(tmp_path, name)
    assert str(caught.value) == text.format(folder=tmp_path)


def test_a_report_that_fails_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReportFile.at(tmp_path, "r.md")
    file.path.write_text("an older one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(MATRIX)
    assert [path.name for path in tmp_path.iterdir()] == ["r.md"]
    assert file.path.read_text() == "an older one"
