"""new_driver: what ``--new-driver`` lays down is installed, passes the suite, and is what the guide shows."""

from __future__ import annotations

import ast
import errno
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from storagekit.driver import Traits
from storagekit_conformance import new_driver
from storagekit_conformance.clauses import clauses
from storagekit_conformance.new_driver import lay_down

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "writing-a-driver.md"

# The whole suite takes a minute, most of it in waiting for a disk. These clauses are some of most families, and all
# that are about what a driver does itself.
CLAUSES = (
    "driver or errors or sealing.process-end or reading.sizes or writing.visible or writing.exclusive or text.utf or "
    "listing.listdir or listing.marker or listing.containers or container-root or names.literal or names.slashes or "
    "stat.identity or changes.fresh or changes.rename or exclusive-race or fork-reader or pickle or rmtree"
)

FILES = [
    ".github/workflows/conformance.yml",
    ".gitignore",
    "README.md",
    "pyproject.toml",
    "src/storagekit_shelf/__init__.py",
    "src/storagekit_shelf/driver.py",
    "src/storagekit_shelf/py.typed",
    "src/storagekit_shelf/testing.py",
]


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with *command* in *folder*; what came of it."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of ``shelf://``, laid down."""
    folder = tmp_path_factory.mktemp("laid") / "shelf"
    lay_down("shelf", folder)
    return folder


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, and nothing else; the rest is this environment's."""
    pytest.importorskip("hatchling", reason="building the package needs hatchling (pip install -e '.[dev]')")
    target = tmp_path_factory.mktemp("installed")
    pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--disable-pip-version-check",
    ]
    done = run(*pip, "--target", target, package, folder=target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_it_lays_down_a_whole_package(package: Path) -> None:
    found = sorted(file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file())
    assert found == FILES
    for name in found:
        text = (package / name).read_text(encoding="utf-8")
        assert not re.search(r"@[A-Z]+@", text), f"{name} holds a placeholder"
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "storagekit-shelf"
    assert project["dependencies"] == ["storagekit"]
    assert project["optional-dependencies"] == {"test": ["storagekit[conformance]"]}
    assert project["entry-points"] == {
        "storagekit.drivers": {"shelf": "storagekit_shelf.driver:Driver"},
        "storagekit.conformance": {"shelf": "storagekit_shelf.testing:target"},
    }


def test_every_template_is_used() -> None:
    folder = Path(new_driver.__file__).parent / "template"
    assert sorted(file.name for file in folder.iterdir()) == sorted(new_driver._FILES.values())


def test_the_files_are_returned_as_they_were_written(tmp_path: Path) -> None:
    files = lay_down("shelf", tmp_path)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in files) == FILES
    assert files[0] == tmp_path / "pyproject.toml"


def code_lines(text: str) -> int:
    """The number of lines of a module that are neither blank nor part of a docstring."""
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_blank_lines_and_docstrings_are_no_code() -> None:
    text = '"""A module\n\nof two\nlines."""\n\nx = """\n1"""\n# why\n\n\ndef f():\n    """One line."""\n    return 1\n'
    assert code_lines(text) == 5


def test_the_driver_is_short(package: Path) -> None:
    text = (package / "src/storagekit_shelf/driver.py").read_text(encoding="utf-8")
    assert code_lines(text) < 80
    assert max(map(len, text.splitlines())) <= 120
    assert f"a whole driver, in {code_lines(text)} lines of code" in GUIDE.read_text(encoding="utf-8")


def test_it_passes_the_suite(installed: Path, tmp_path: Path) -> None:
    done = run(
        *("-m", "storagekit_conformance", "--target", "shelf", "-n", "2", "-k", CLAUSES),
        folder=tmp_path,
        PYTHONPATH=str(installed),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^shelf +(\d+) +- +- +- +- +(\d+)$", done.stdout, re.MULTILINE)
    assert counted, done.stdout
    assert int(counted[1]) > 100
    skipped = re.findall(r"^([a-z]+\.[a-z0-9-]+) +s$", done.stdout, re.MULTILINE)
    assert "driver.copy" in skipped
    guide = GUIDE.read_text(encoding="utf-8")
    assert [clause for clause in skipped if f"`{clause}`" not in guide] == [], "the guide tells what is skipped"
    assert list(tmp_path.iterdir()) == []


def test_what_is_laid_down_is_clean(package: Path) -> None:
    for module in ("ruff", "mypy"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    config = ROOT / "pyproject.toml"
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        done = run("-m", "ruff", *command, "--config", config, "src", folder=package)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run("-m", "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "src", folder=package)
    assert done.returncode == 0, done.stdout + done.stderr


def blocks(text: str, comment: str) -> str:
    """The python blocks of a page that follow *comment*, without their empty lines."""
    found = re.findall(rf"^<!-- {comment} -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, comment
    return filled("".join(found))


def filled(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line)


def test_the_blocks_of_the_guide_are_the_template(package: Path) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    source = package / "src/storagekit_shelf"
    assert blocks(guide, r"driver\.py") == filled((source / "driver.py").read_text(encoding="utf-8"))
    assert blocks(guide, r"no test: this is testing\.py[^>]*") == filled((source / "testing.py").read_text("utf-8"))
    (points,) = re.findall(r"^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert points in (package / "pyproject.toml").read_text(encoding="utf-8")


def test_the_guide_names_every_trait_and_only_clauses_that_there_are() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| .* \| (.*) \|$", guide.partition("## Traits")[2].partition("\n## ")[0], re.M)
    assert [name for name, _ in rows] == [field.name for field in fields(Traits)]
    ids = {clause.id for clause in clauses()}
    families = {clause.family for clause in clauses()}
    named = set(re.findall(r"`([a-z]+\.[a-z0-9-]+)`", guide))
    assert {name for name in named if name.partition(".")[0] in families} <= ids
    assert all(set(re.findall(r"`([^`]+)`", held)) & ids for _, held in rows)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("a+b", "storagekit_a_b"),
        ("git-lfs", "storagekit_git_lfs"),
        ("x.y2", "storagekit_x_y2"),
        ("zz-", "storagekit_zz"),
        ("class", "storagekit_class"),
        ("json", "storagekit_json"),
    ],
)
def test_any_scheme_gives_a_package_of_a_fitting_name(name: str, package: str, tmp_path: Path) -> None:
    lay_down(name, tmp_path)
    assert package.isidentifier()
    assert (tmp_path / "src" / package / "driver.py").exists()
    metadata = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["name"] == package.replace("_", "-")
    assert metadata["project"]["entry-points"]["storagekit.drivers"] == {name: f"{package}.driver:Driver"}
    assert f"``{name}://``" in (tmp_path / "src" / package / "driver.py").read_text(encoding="utf-8")


NO_SCHEME = "{!r} is no URL scheme in lower case: a letter, and then one or more letters, digits, '+', '-' or '.'"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, NO_SCHEME.format(name))
            for name in ("", "x", "1st", "a b", "a/b", "s3://", "Shelf", "naïve", "a_b", "a\n")
        ),
        ("s3", "the scheme s3 is taken, by storagekit, which is installed: choose another name"),
        ("file", "the scheme file is taken, by storagekit, which is installed: choose another name"),
        ("memory", "the scheme memory is taken, by storagekit, which is installed: choose another name"),
        ("s3-moto", "the conformance target s3-moto is taken, by the suite itself: choose another name"),
        ("local", "the package storagekit_local is taken, by one that is installed: choose another name"),
        ("conformance", "the package storagekit_conformance is taken, by one that is installed: choose another name"),
    ],
)
def test_a_bad_name_is_one_clear_error(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        lay_down(name, tmp_path / "new")
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_scheme_of_an_installed_package_is_taken(installed: Path, tmp_path: Path) -> None:
    code = "import pathlib, storagekit_conformance.new_driver as new; new.lay_down('shelf', pathlib.Path('new'))"
    done = run("-c", code, folder=tmp_path, PYTHONPATH=str(installed))
    last = done.stderr.splitlines()[-1]
    assert last == "ValueError: the scheme shelf is taken, by storagekit-shelf, which is installed: choose another name"
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    lay_down("shelf", tmp_path)
    assert (tmp_path / "pyproject.toml").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine")
    with pytest.raises(OSError) as caught:
        lay_down("shelf", tmp_path)
    assert caught.value.errno == errno.ENOTEMPTY
    assert caught.value.strerror == "the folder is not empty: name a new one or an empty one"
    assert caught.value.filename == str(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".hidden"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "below"):
        with pytest.raises(NotADirectoryError):
            lay_down("shelf", folder)
    assert file.read_text() == "mine"


def test_the_folder_above_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        lay_down("shelf", tmp_path / "absent" / "new")
    assert str(caught.value.filename) == str(tmp_path / "absent" / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_a_failure_half_way_leaves_nothing(
    folder_is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    if folder_is_there:
        folder.mkdir()
    opened = Path.open

    def full(path: Path, *arguments: str, **more: str) -> object:
        if path.name == "testing.py":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        lay_down("shelf", folder)
    assert folder.exists() == folder_is_there
    assert list(tmp_path.rglob("*")) == [folder] * folder_is_there
