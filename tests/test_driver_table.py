"""README's table of drivers is that of docs/conformance.json, and that is of this SEMANTICS.md and these targets."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from storagekit_conformance.clauses import clauses
from storagekit_conformance.report import NO_TARGET, Matrix, Outcome, Result, TargetNote, build, from_json
from storagekit_conformance.targets import TARGETS

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, at work on copies."""
    spec = importlib.util.spec_from_file_location("driver_table", ROOT / "scripts" / "driver_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "README.md", tmp_path / "README.md")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    monkeypatch.setattr(module, "JSON", tmp_path / "conformance.json")
    return module


def committed() -> Matrix:
    return from_json((ROOT / "docs" / "conformance.json").read_text(encoding="utf-8"))


def whole(result: Result = Result.PASSED, target: str = "toy") -> Matrix:
    """A report on *target* in which every clause ran."""
    outcomes = [Outcome(clause.id, target, "test_it", result, "why") for clause in clauses()]
    return build("1.0", clauses(), [TargetNote(target, {"pinned_reads": True, "atomic_rename": False})], outcomes)


def test_the_readme_has_the_table_of_the_json(script: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == script.with_table(readme, committed()), "run scripts/driver_table.py"


def test_the_json_is_as_the_suite_writes_it() -> None:
    assert committed().to_json() == (ROOT / "docs" / "conformance.json").read_text(encoding="utf-8")


def test_the_json_knows_every_clause_and_no_other() -> None:
    assert [clause.id for clause in committed().clauses] == [clause.id for clause in clauses()]


@pytest.mark.parametrize("name", [note.name for note in committed().targets])
def test_every_clause_has_run_on_each_target(name: str) -> None:
    missing = committed().not_run(name)
    assert missing == [], f"run the whole suite on {name} and scripts/driver_table.py with its report"


def test_the_json_has_the_built_in_targets_with_their_gaps() -> None:
    notes = {note.name: note for note in committed().targets if note.name != NO_TARGET}
    shown = {name: target for name, target in TARGETS.items() if not name.endswith("-boto3")}
    assert sorted(notes) == sorted(shown)
    assert {f"{name}-boto3" for name in shown if name.startswith("s3-")} == TARGETS.keys() - shown.keys()
    for name, target in shown.items():
        assert dict(notes[name].gaps) == dict(target.gaps), name
        assert dict(notes[name].unreliable) == dict(target.unreliable), name


def test_the_json_holds_nothing_of_one_run() -> None:
    text = (ROOT / "docs" / "conformance.json").read_text(encoding="utf-8")
    reasons = "\n".join(reason for cell in from_json(text).cells.values() for reason in cell.reasons)
    assert not re.search(r"/tmp/|/home/|127\.0\.0\.1|0x[0-9a-f]{4}", reasons)


def test_a_report_is_merged_and_the_table_made(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text(whole().to_json())
    assert script.main([str(tmp_path / "new.json")]) == 0
    assert script.main([]) == 0
    readme = script.README.read_text(encoding="utf-8")
    table = readme.partition(script.BEGIN)[2].partition(script.END)[0]
    assert f"| clauses kept | {len(clauses())} |" in table
    assert "| an open reader never mixes two versions | yes |" in table
    assert "| renames in one step | – |" in table
    assert from_json(script.JSON.read_text(encoding="utf-8")).to_json() == whole().to_json()


def test_a_failure_has_a_row(script: ModuleType) -> None:
    assert "**failed**" in script.table(whole(Result.FAILED))
    assert "**failed**" not in script.table(whole())


def test_what_may_not_be_merged(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = clauses()[0]
    partial = build("1", clauses(), [TargetNote("toy")], [Outcome(first.id, "toy", "test_it", Result.PASSED)])
    other = build("1", clauses()[1:], [], [])
    cases = [
        ("{}", "this is no report"),
        (partial.to_json(), "did not run on toy"),
        (other.to_json(), "not those of SEM"),
    ]
    for text, told in cases:
        (tmp_path / "bad.json").write_text(text)
        assert script.main([str(tmp_path / "bad.json")]) == 1
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1
    assert not script.JSON.exists()
    assert script.main([]) == 1
    assert "name a report" in capsys.readouterr().err


def test_a_readme_without_a_place_is_an_error(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        script.with_table("# README\n", whole())
