"""A new driver's package, laid down whole: ``python -m storagekit_conformance --new-driver NAME DIR``.

What is laid down is a driver of a real store (an SQLite file) that passes the whole suite as it is. So its author
starts from green, puts a store of their own in the place of the SQL, and sees at each step which clause noticed.

The files stand in ``template/`` with ``.txt`` behind their names, because they hold placeholders: no linter, type
checker or test runner takes them for modules of ours. Three words are filled in, ``@NAME@``, ``@PACKAGE@`` and
``@DISTRIBUTION@``. Everything is read and filled in before anything is written; when writing fails half-way, what was
written is taken away again, so that a folder holds the whole package or nothing.
"""

from __future__ import annotations

import errno
import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

from storagekit.errors import os_error
from storagekit.hookspecs import ENTRY_POINT_GROUP as DRIVERS
from storagekit.location import scheme_of

__all__ = ["lay_down"]

# The group of targets. Written out, because its own module needs pytest, and laying down does not.
TARGETS = "storagekit.conformance"

# Each file of the package, and the template that it is made of.
_FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    ".github/workflows/conformance.yml": "conformance.yml.txt",
    "src/@PACKAGE@/__init__.py": "__init__.py.txt",
    "src/@PACKAGE@/driver.py": "driver.py.txt",
    "src/@PACKAGE@/testing.py": "testing.py.txt",
    "src/@PACKAGE@/py.typed": "py.typed.txt",
}


def lay_down(name: str, folder: Path) -> list[Path]:
    """Write the package of a driver for the scheme *name* into *folder*; return the files, in a useful order.

    *folder* must be empty or not exist yet, in a folder that does. Raises ``ValueError`` where *name* is no scheme, or
    where it or its package's name is taken in this environment; ``FileExistsError``, ``NotADirectoryError``,
    ``FileNotFoundError`` or another ``OSError`` where *folder* does not do. In both cases nothing was written.
    """
    words = _words(name)
    contents = {Path(folder, _filled(path, words)): _filled(_template(file), words) for path, file in _FILES.items()}
    _check_folder(folder)
    _write(folder, contents)
    return list(contents)


def _words(name: str) -> dict[str, str]:
    """What the placeholders stand for; ``ValueError`` where *name* does not do.

    ``+``, ``-`` and ``.`` may be in a scheme and not in the name of a package: there they are underscores. The prefix
    keeps the package apart from keywords and from other people's modules.
    """
    if scheme_of(f"{name}://") != name:
        raise ValueError(
            f"{name!r} is no URL scheme in lower case: a letter, and then one or more letters, digits, '+', '-' or '.'"
        )
    for group, what in ((DRIVERS, "scheme"), (TARGETS, "conformance target")):
        for point in metadata.entry_points(group=group, name=name):
            owner = point.dist.name if point.dist else point.value
            raise ValueError(f"the {what} {name} is taken, by {owner}, which is installed: choose another name")
    if importlib.util.find_spec("pytest"):  # without it there are no targets yet
        from storagekit_conformance import targets

        if name in targets.TARGETS:
            raise ValueError(f"the conformance target {name} is taken, by the suite itself: choose another name")
    parts = [part for part in re.split(r"[+.-]", name) if part]
    package = "_".join(["storagekit", *parts])
    if importlib.util.find_spec(package) is not None:
        raise ValueError(f"the package {package} is taken, by one that is installed: choose another name")
    return {"@NAME@": name, "@PACKAGE@": package, "@DISTRIBUTION@": "-".join(["storagekit", *parts])}


def _template(file: str) -> str:
    return resources.files(__package__).joinpath("template", file).read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _check_folder(folder: Path) -> None:
    """Raise where *folder* is something else than an empty folder or nothing."""
    try:
        empty = not any(folder.iterdir())
    except FileNotFoundError:
        return
    if not empty:
        raise os_error(errno.ENOTEMPTY, folder, "the folder is not empty: name a new one or an empty one")


def _write(folder: Path, contents: Mapping[Path, str]) -> None:
    """Write the files and the folders that they need; after an error nothing of them is left."""
    made: list[Path] = []
    try:
        for path, text in contents.items():
            for above in reversed(path.parents):
                if above.is_relative_to(folder) and not above.is_dir():
                    above.mkdir()
                    made.append(above)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                made.append(path)
                file.write(text)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise
