"""The import line: a module imports only from modules to its left.

Four words: vocabulary → dispatch → streams → functions; then ``Storage``, then the faces. It keeps
the flow one-way: whoever reads a module needs to know only what stands before it, and a change reaches
only what stands behind it. An import counts wherever it stands: in a function, and for types only, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import storagekit

ROOT = Path(__file__).parent.parent

# Order matters within a group too. A module that does not exist yet may stand here; one that exists must.
LINE = {
    "vocabulary": "version errors fork_guard deadlines tracing checksums modes location hiding driver calls findings"
    " hookspecs settings",
    "dispatch": "fallbacks backend discovery registry",
    "streams": "ranges pace patterns readahead sharing once exits transfers buffers segments flights blocks streaming"
    " filling access codecs compression verifying forking reading native room sending writing drafts updating metering",
    "functions": "lookup chunks directories walking globbing files changes bulk bulk_writing trees",
    "storage": "stats engine opening storage",
    "faces": "paths patching fsspec_adapter __init__ s3filestream doctor cli __main__",
}
ORDER = " ".join(LINE.values()).split()
VOCABULARY = set(LINE["vocabulary"].split())

CORE = sorted((ROOT / "storagekit").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
CONFORMANCE = sorted((ROOT / "conformance").rglob("*.py"))


def dotted(file: Path, top: Path) -> str:
    """The module's dotted name; a package's own file keeps its ``__init__``."""
    return ".".join(file.relative_to(top).with_suffix("").parts)


def imports(file: Path, top: Path) -> Iterator[tuple[int, str, str | None]]:
    """Every import in *file*: its line, the module, and the name taken from it (None for ``import module``)."""
    package = dotted(file, top).rpartition(".")[0].split(".")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            before = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*before, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, alias.name


def core_module(module: str, name: str | None) -> str | None:
    """Which module of storagekit an import reaches: its name in the line, or None for one of another package."""
    parts = module.split(".")
    if parts[0] != "storagekit":
        return None
    if len(parts) > 1:
        return parts[1]
    if name is not None and (name in ORDER or (ROOT / "storagekit" / f"{name}.py").exists()):
        return name
    return "__init__"


def used(file: Path, top: Path) -> Iterator[tuple[str, str, str | None]]:
    """Where (for a message), and what, of every import of storagekit in *file*: the module in the line and the name."""
    for line, module, name in imports(file, top):
        reached = core_module(module, name)
        if reached is not None:
            yield f"{file.relative_to(ROOT)}:{line}", reached, name


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.stem)
def test_a_module_imports_only_from_its_left(file: Path) -> None:
    here = dotted(file, ROOT).split(".")[1]
    assert here in ORDER, f"storagekit/{here} has no place in the import line: give it one in {Path(__file__).name}"
    wrong = []
    for where, reached, _ in used(file, ROOT):
        assert reached in ORDER, f"{where} imports storagekit.{reached}, which has no place in the import line"
        if ORDER.index(reached) >= ORDER.index(here):
            wrong.append(f"{where} imports {reached}, which does not stand left of {here}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.stem)
def test_the_core_names_no_driver(file: Path) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for line, module, _ in imports(file, ROOT)
        if module.split(".")[0].startswith("storagekit_") or module.split(".")[0] in {"boto3", "botocore", "s3transfer"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: dotted(file, ROOT / "plugins"))
def test_a_driver_imports_only_the_vocabulary(file: Path) -> None:
    top = ROOT / "plugins"
    own = dotted(file, top).split(".")[0]
    wrong = [
        f"{where} imports storagekit.{reached}" for where, reached, _ in used(file, top) if reached not in VOCABULARY
    ]
    wrong += [
        f"{file.relative_to(ROOT)}:{line} imports {module}, another package of ours"
        for line, module, _ in imports(file, top)
        if module.split(".")[0].startswith("storagekit_") and module.split(".")[0] != own
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", CONFORMANCE, ids=lambda file: dotted(file, ROOT / "conformance"))
def test_the_conformance_suite_knows_only_what_users_and_drivers_know(file: Path) -> None:
    """It judges drivers from outside: through the public names, and through the vocabulary that drivers share.

    Only the targets that set up the drivers which come with the library may import one.
    """
    public = set(storagekit.__all__)
    wrong = []
    for where, reached, name in used(file, ROOT / "conformance"):
        if reached == "__init__" and (name is None or name in public):
            continue
        if reached not in VOCABULARY:
            wrong.append(f"{where} imports {name or 'storagekit'} from storagekit.{reached}")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        # `import storagekit` and then `storagekit.x`: x is public too.
        match node:
            case ast.Attribute(value=ast.Name(id="storagekit"), attr=name) if name not in public | VOCABULARY:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} uses storagekit.{name}, which is not public")
    wrong += [
        f"{file.relative_to(ROOT)}:{line} imports {module}, a driver"
        for line, module, _ in imports(file, ROOT / "conformance")
        if module.split(".")[0] in {"storagekit_local", "storagekit_memory", "storagekit_s3"}
        and not file.stem.endswith(("target", "targets"))
    ]
    assert not wrong, "\n".join(wrong)


def test_relative_imports_are_seen(tmp_path: Path) -> None:
    """The test's own eyes: every way to write an import is understood."""
    file = tmp_path / "pkg" / "sub" / "mod.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b as c\nfrom a import b\ndef f():\n    from . import x\nfrom ..y import z\nfrom .. import w\n"
    )
    assert sorted(imports(file, tmp_path)) == [
        (1, "a.b", None),
        (2, "a", "b"),
        (4, "pkg.sub", "x"),
        (5, "pkg.y", "z"),
        (6, "pkg", "w"),
    ]
    assert core_module("storagekit.driver", "Stat") == "driver"
    assert core_module("storagekit", "driver") == "driver"
    assert core_module("storagekit", "listdir") == "__init__"
    assert core_module("storagekit", None) == "__init__"
    assert core_module("storagekit_s3.driver", None) is None


def test_the_guide_for_contributors_shows_the_same_line() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.partition("## The import line")[2].partition("In words")[0]
    shown = [word for line in block.splitlines() if line.startswith("    ") for word in line.split() if word != "│"]
    assert shown == [module for module in ORDER if (ROOT / "storagekit" / f"{module}.py").exists()]
