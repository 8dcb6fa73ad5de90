"""The pytest plugin: ``--target``, a run of every test per target, and the counts at the end.

Loaded with ``-p storagekit_conformance.plugin``, which ``python -m storagekit_conformance`` does; it
registers no entry point, so that installing storagekit changes nobody's pytest.

A test asks for fixtures and never for a target by name:

* ``box``: the place to work in, with the storage under test (see ``support.Box``);
* ``traits``: what the driver promises there; ``client``: the second way in; ``container``: a ``Box`` that
  is a whole container.

Known gaps of a target become ``xfail`` marks here, so no test names a server.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator

import pytest

from storagekit.driver import Traits
from storagekit_conformance.support import Box
from storagekit_conformance.target import Client, Root, Target

DEFAULT_TARGETS = ("memory", "file")
_COLUMNS = ("passed", "failed", "error", "xfailed", "xpassed", "skipped")
_PROPERTY = "storagekit target"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--target``."""
    group = parser.getgroup("storagekit conformance")
    group.addoption(
        "--target",
        action="append",
        metavar="NAME",
        help="run against this target: a built-in name or module:attribute; may be repeated "
        f"(default: {', '.join(DEFAULT_TARGETS)})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the targets, so that a bad one ends the run in one line before anything is collected."""
    config.addinivalue_line("markers", "clause(id): the clause of SEMANTICS.md that the test holds")
    # Forking from a process with threads is what the fork tests are about.
    config.addinivalue_line("filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning")
    names = dict.fromkeys(config.getoption("target") or DEFAULT_TARGETS)
    config.stash[_TARGETS] = [load_target(name) for name in names]


_TARGETS = pytest.StashKey[list[Target]]()


def load_target(name: str) -> Target:
    """The target of that name; ``pytest.UsageError`` in one line where it cannot be had."""
    from storagekit_conformance.targets import TARGETS

    module, colon, attribute = name.partition(":")
    if not colon:
        if name not in TARGETS:
            raise pytest.UsageError(f"no target {name!r}: choose from {', '.join(TARGETS)}, or name module:attribute")
        found: object = TARGETS[name]
    else:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise pytest.UsageError(f"cannot load the target {name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Target):
        raise pytest.UsageError(f"{name!r} is a {type(found).__name__}, not a storagekit_conformance Target")
    if lacking := found.missing():
        raise pytest.UsageError(f"cannot run the target {name!r}: {lacking}")
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that needs a target once per target."""
    if "target" in metafunc.fixturenames:
        targets = metafunc.config.stash[_TARGETS]
        metafunc.parametrize("target", targets, ids=[t.name for t in targets], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note each test's target for the summary, and mark the target's known gaps."""
    for item in items:
        mark = item.get_closest_marker("clause")
        if mark is None:
            continue
        callspec = getattr(item, "callspec", None)
        target = callspec.params.get("target") if callspec else None
        item.user_properties.append((_PROPERTY, target.name if target else "(no target)"))
        if target is None:
            continue
        # pytest joins the parameters' names with dashes, the session-wide target's first.
        parameter = callspec.id.removeprefix(target.name).removeprefix("-") if callspec else ""
        if gap := target.gap(f"{mark.args[0]}/{parameter}" if parameter else mark.args[0]):
            reason, strict = gap
            item.add_marker(pytest.mark.xfail(reason=reason, strict=strict))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts per target."""
    counts: dict[str, Counter[str]] = {}
    for column in _COLUMNS:
        for report in terminalreporter.stats.get(column, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == _PROPERTY:
                    counts.setdefault(str(value), Counter())[column] += 1
    if not counts:
        return
    terminalreporter.section("storagekit conformance")
    width = max(map(len, counts))
    terminalreporter.write_line(" ".join([" " * width, *(f"{column:>8}" for column in _COLUMNS)]))
    for name in sorted(counts):
        cells = (f"{counts[name][column] or '-':>8}" for column in _COLUMNS)
        terminalreporter.write_line(" ".join([f"{name:<{width}}", *cells]))


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The target of this run, its server running."""
    chosen: Target = request.param
    with chosen.running():
        yield chosen


@pytest.fixture
def root(target: Target) -> Iterator[Root]:
    """A fresh place for this test."""
    with target.root() as place:
        yield place


@pytest.fixture
def box(root: Root) -> Iterator[Box]:
    """The place with a storage of its own."""
    with Box.opened(root) as opened:
        yield opened


@pytest.fixture
def traits(box: Box) -> Traits:
    """What the driver promises at the place."""
    return box.traits


@pytest.fixture
def client(box: Box) -> Client:
    """The second way in, for tests that cannot do without."""
    if box.root.client is None:
        pytest.skip("the target has no second client")
    return box.root.client


@pytest.fixture
def container(target: Target) -> Iterator[Box]:
    """A whole container, empty, with a storage of its own."""
    if target.container is None:
        pytest.skip("the target has no containers of a test's own")
    with target.container() as place, Box.opened(place) as opened:
        yield opened
