"""``python -m storagekit_conformance``: what it prints, where it runs, and the matrix at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storagekit_conformance.clauses import clauses

TARGETS = '''
import os
from contextlib import contextmanager
from storagekit.hookspecs import hookimpl
from storagekit_conformance.target import Root, Target
from storagekit_memory.driver import MemoryDriver


def root_of(driver):
    @contextmanager
    def root():
        made = driver()
        yield Root("memory://box/place", settings={"drivers": {"memory": lambda: made}})
    return root


class Dies(MemoryDriver):
    """Its process ends at once where a directory is to be listed in full."""

    @hookimpl(specname="list")
    def entries(self, location, recursive, limit, start_after):
        if recursive and location.path.endswith("/top"):
            os._exit(3)
        return super().entries(location, recursive, limit, start_after)


honest = Target("honest", root_of(MemoryDriver))
excused = Target("excused", root_of(MemoryDriver), gaps={"stat.file": "<it> has no sizes"})
unsure = Target("unsure", root_of(MemoryDriver), unreliable={"stat.*": "sometimes"})
dies = Target("dies", root_of(Dies))
'''


def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*, where the targets are."""
    (folder / "mytargets.py").write_text(TARGETS)
    own = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HYPOTHESIS_STORAGE_DIRECTORY")
    }
    return subprocess.run(
        [sys.executable, "-m", "storagekit_conformance", *arguments],
        cwd=folder,
        env=own | {"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which the command could not begin."""
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line


def test_the_list_is_every_clause_in_order(tmp_path: Path) -> None:
    done = run(tmp_path, "--list")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{clause.id}: {clause.text}" for clause in clauses()]


def test_the_list_of_a_selection(tmp_path: Path) -> None:
    done = run(tmp_path, "--list", "-k", "reading.seek-past-end or stat.shape")
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["reading.seek-past-end", "stat.shape"]
    assert run(tmp_path, "--list", "-k", "nonsense").returncode == 5
    assert "Wrong expression" in refused(run(tmp_path, "--list", "-k", "reading or ("))


def test_the_help_names_every_option(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    options = ["--target", "--list", "-k", "--s3-endpoint", "--s3-bucket", "--root", "--option", "--report", "--depth"]
    assert [option for option in [*options, "--new-driver"] if option not in done.stdout] == []


def test_selection_by_clause_and_the_matrix(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "--target",
        "mytargets:honest",
        "--target",
        "mytargets:excused",
        "-k",
        "stat.file or local.url-literal",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    matrix = done.stdout.partition("= storagekit conformance =")[2].splitlines()[1:]
    assert matrix[:6] == [
        "                  excused",
        "                  │ honest",
        "                  │ │ (no target)",
        "stat.file         F .",
        "local.url-literal     .",
        "F failed   E error   x known gap   ~ unreliable   . passed   s skipped",
    ]
    assert [line.split()[0] for line in matrix[8:10]] == ["excused", "honest"]
    assert run(tmp_path, "--target", "mytargets:honest", "-k", "no.such-clause").returncode == 5


def test_the_authors_folder_has_no_say_and_nothing_is_written_there(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --no-such-option\nfilterwarnings = error\ntestpaths = tests\n"
    )
    (tmp_path / "conftest.py").write_text("raise RuntimeError('the conftest.py of the author')")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text("raise RuntimeError('the conftest.py of the tests')")
    (tmp_path / "tests" / "test_theirs.py").write_text(
        "def test_theirs():\n    raise RuntimeError('a test of the author')"
    )
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nminversion = '99'\n")
    (tmp_path / "mytargets.py").write_text(TARGETS)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    for parallel in ([], ["-n", "2"]):
        done = run(tmp_path, "--target", "mytargets:honest", "-k", "stat.file or model.files", *parallel)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 2 passed" in done.stdout
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mytargets.py").write_text(TARGETS)
    tmp_path.chmod(0o500)
    try:
        done = run(tmp_path, "--target", "memory", "-k", "stat.file")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cannot write to" in refused(run(tmp_path, "--target", "memory", "--report", "r.md"))
    finally:
        tmp_path.chmod(0o700)


def test_reports_are_the_same_each_time_and_with_workers(tmp_path: Path) -> None:
    arguments = ["--target", "mytargets:honest", "--target", "mytargets:unsure", "-k", "stat", "--report", "out.json"]
    seen = []
    for parallel in ([], ["-n", "2"]):
        done = run(tmp_path, *arguments, "--report", "out.md", "--report", "out.html", "-q", *parallel)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "│" not in done.stdout, "-q prints no matrix"
        assert done.stdout.count("report written: ") == 3
        seen.append([(tmp_path / f"out.{kind}").read_text(encoding="utf-8") for kind in ("json", "md", "html")])
    assert seen[0] == seen[1]
    data = json.loads(seen[0][0])
    assert [target["name"] for target in data["targets"]] == ["honest", "unsure"]
    assert all(target["traits"]["pinned_reads"] is True for target in data["targets"])
    assert data["targets"][1]["unreliable"] == {"stat.*": "sometimes"}
    row = data["cells"]["stat.file"]
    assert row["honest"] == {"result": "passed", "tests": row["honest"]["tests"], "reasons": []}
    assert row["unsure"] == {"result": "unreliable", "tests": row["honest"]["tests"], "reasons": ["sometimes"]}


@pytest.mark.parametrize("arguments", [["--collect-only"], ["-k", "no.such-clause"], ["-k", "no.such", "-n", "2"]])
def test_a_run_without_a_test_leaves_the_report(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "out.md").write_text("an older one")
    done = run(tmp_path, "--target", "memory", "--report", "out.md", "-q", *arguments)
    assert "no test ran: out.md is as it was" in done.stdout.splitlines(), done.stdout + done.stderr
    assert "report written" not in done.stdout
    assert (tmp_path / "out.md").read_text() == "an older one"


def test_a_test_in_which_a_worker_dies_is_in_the_matrix(tmp_path: Path) -> None:
    arguments = ["--target", "mytargets:dies", "-k", "listing.marker or stat.file or directories.rmtree", "-n", "2"]
    done = run(tmp_path, *arguments, "--report", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crashed" in done.stdout
    cells = json.loads((tmp_path / "out.json").read_text())["cells"]
    crashed = [reason for row in cells.values() for reason in row["dies"]["reasons"] if "crashed" in reason]
    assert len(crashed) == done.stdout.count("FAILED ")
    assert cells["stat.file"]["dies"]["result"] == "passed"


def test_a_target_by_entry_point(tmp_path: Path) -> None:
    information = tmp_path / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "[storagekit.conformance]\ntoy = mytargets:honest\nmemory = mytargets:honest\n"
    (information / "entry_points.txt").write_text(points)
    done = run(tmp_path, "--target", "toy", "-k", "stat.file", "-n", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert refused(run(tmp_path, "--target", "memory")) == (
        "ERROR: the target 'memory' of theirs (mytargets:honest) has the name of a built-in target"
    )
    assert "choose from memory, file, s3-moto" in refused(run(tmp_path, "--target", "tox"))
    assert ", toy, or name module:attribute" in refused(run(tmp_path, "--target", "tox", "-n", "2"))


def test_a_place_of_an_installed_scheme(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "keep").write_text("mine")
    done = run(tmp_path, "--root", f"file://{place}", "-k", "stat.file or sealing.process-end", "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left behind" not in done.stdout
    assert [path.name for path in place.iterdir()] == ["keep"]
    assert refused(run(tmp_path, "--root", f"file://{place}/../place")) == (
        f"ERROR: cannot run the target 'file': --root takes a place without '..': file://{place}/../place"
    )
    assert refused(run(tmp_path, "--root", "nope://box")).startswith(
        "ERROR: cannot run the target 'nope': no driver for nope:// is installed; installed are "
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--new-driver", "toy"], "ERROR: argument --new-driver: expected 2 arguments"),
        (["--report", "out.txt"], "ERROR: --report out.txt: the name of a report ends in .html, .md, .json"),
        (["--s3-endpoint", "http://x"], "ERROR: --s3-endpoint needs --s3-bucket, the bucket to work in"),
        (["--option", "a=1"], "ERROR: --option is for a place given by --root or --s3-bucket"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_4(tmp_path: Path, arguments: list[str], line: str) -> None:
    assert refused(run(tmp_path, *arguments)) == line


def test_without_pytest_it_says_what_to_install(tmp_path: Path) -> None:
    # Without site-packages there is no pytest; the path leads to the suite alone.
    suite = Path(__file__).parent.parent / "conformance"
    done = subprocess.run(
        [sys.executable, "-S", "-m", "storagekit_conformance", "--target", "memory"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(suite)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = "ERROR: the suite needs pytest, xdist, hypothesis: pip install 'storagekit[conformance]'"
    assert refused(done) == said


def test_a_new_driver_is_laid_down(tmp_path: Path) -> None:
    done = run(tmp_path, "--new-driver", "shelf", "a folder")
    assert done.returncode == 0, done.stderr
    files = [line for line in done.stdout.partition("\n\n")[0].splitlines() if line]
    assert "a folder/pyproject.toml" in [line.removeprefix(f"{tmp_path}/") for line in files]
    assert all((tmp_path / line).is_file() for line in files)
    assert "cd 'a folder'" in done.stdout
    assert "python -m storagekit_conformance --target shelf -n auto" in done.stdout
    again = refused(run(tmp_path, "--new-driver", "shelf", "a folder"))
    assert again == "ERROR: the folder is not empty: name a new one or an empty one: a folder"
