"""The pytest plugin: the command line's options, a run of every test per target, the matrix at the end.

Loaded with ``-p storagekit_conformance.plugin``, which ``python -m storagekit_conformance`` does; it
registers no entry point, so that installing storagekit changes nobody's pytest.

A test asks for fixtures and never for a target by name:

* ``box``: the place to work in, with the storage under test (see ``support.Box``);
* ``traits``: what the driver promises there; ``client``: the second way in; ``container``: a ``Box`` that
  is a whole container.

Known gaps of a target become ``xfail`` marks here, so no test names a server. The work is done elsewhere: which
targets (``choosing``), what came of them (``recording``, ``report``), and what is shown of it (``showing``).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any
from unittest import mock

import pytest

import storagekit
from storagekit.driver import Traits
from storagekit_conformance.choosing import Chosen, choose
from storagekit_conformance.clauses import clauses
from storagekit_conformance.command_line import add_options
from storagekit_conformance.fault_wrapper import disturbed
from storagekit_conformance.finding import TargetError
from storagekit_conformance.recording import Notes, Recorder, mark_gap, own_failure
from storagekit_conformance.showing import ReportFile, show
from storagekit_conformance.support import Box
from storagekit_conformance.target import Client, Root, Target

_CHOSEN = pytest.StashKey[Chosen]()
_FOUND = pytest.StashKey[dict[str, dict[str, object]]]()
_NOTES = pytest.StashKey[Notes]()
_RECORDER = pytest.StashKey[Recorder]()
_FILES = pytest.StashKey[list[ReportFile]]()
_LINES = pytest.StashKey[list[str]]()

_WORKER_INPUT = "storagekit"
_FAMILIES = {family: turn for turn, family in enumerate(dict.fromkeys(clause.family for clause in clauses()))}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's own options."""
    add_options(parser.getgroup("storagekit conformance").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the targets and look at them, so that what is wrong ends the run in one line before it begins."""
    config.addinivalue_line("markers", "clause(id): the clause of SEMANTICS.md that the test holds")
    # Forking from a process with threads is what the fork tests are about.
    config.addinivalue_line("filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning")
    given = config.getoption
    notes = config.stash[_NOTES] = Notes()
    try:
        chosen = config.stash[_CHOSEN] = choose(
            given("target") or (),
            given("root") or (),
            given("s3_bucket"),
            given("s3_endpoint"),
            given("option") or (),
        )
        worker = getattr(config, "workerinput", None)
        if worker is not None:
            chosen.learn(worker[_WORKER_INPUT])
            return
        folder = config.invocation_params.dir
        config.stash[_FILES] = [ReportFile.at(folder, name) for name in dict.fromkeys(given("report") or ())]
        config.stash[_FOUND] = {} if given("collectonly") else chosen.check()
    except TargetError as error:
        raise pytest.UsageError(str(error)) from error
    recorder = config.stash[_RECORDER] = Recorder(config, notes)
    config.pluginmanager.register(recorder, "storagekit-recorder")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what the look at the targets has found."""
    node.workerinput[_WORKER_INPUT] = node.config.stash[_FOUND]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that needs a target once per target."""
    if "target" in metafunc.fixturenames:
        targets = metafunc.config.stash[_CHOSEN].targets
        metafunc.parametrize("target", targets, ids=[t.name for t in targets], indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, let ``-k`` find one by its clause, note whose each is, and mark the target's known gaps."""
    items.sort(key=_turn)
    for item in items:
        mark = item.get_closest_marker("clause")
        if mark is None:
            continue
        clause = mark.args[0]
        item.extra_keyword_matches.add(clause)
        callspec = getattr(item, "callspec", None)
        target = callspec.params.get("target") if callspec else None
        config.stash[_NOTES].test(item, clause, target.name if target else None)
        if target is None or callspec is None:
            continue
        # pytest joins the parameters' names with dashes, the session-wide target's first.
        parameter = callspec.id.removeprefix(target.name).removeprefix("-")
        if gap := target.gap(f"{clause}/{parameter}" if parameter else clause):
            mark_gap(item, gap[0], strict=gap[1])


def _turn(item: pytest.Item) -> int:
    """The driver's own clauses come first: where a hook is wrong, much else is, and ``-x`` shall stop at the cause.

    The others come in the order of SEMANTICS.md.
    """
    mark = item.get_closest_marker("clause")
    family = str(mark.args[0]).partition(".")[0] if mark else ""
    return -1 if family == "driver" else _FAMILIES.get(family, len(_FAMILIES))


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare() -> Generator[None, object, object]:
    """Tell the first difference also where pytest sees that it runs on a CI: see ``suite.ini``."""
    with mock.patch.dict(os.environ):
        for name in ("CI", "BUILD_NUMBER"):
            os.environ.pop(name, None)
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Around pytest's own, which makes an expected failure of any in a test with a gap."""
    report = yield
    own_failure(report, call)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over the notes in a worker; at the end of a run clean up and write the reports."""
    config = session.config
    if _RECORDER not in config.stash:
        config.stash[_NOTES].send(config)
        return
    lines = config.stash[_LINES] = config.stash[_CHOSEN].clear() if config.stash[_FOUND] else []
    recorder, files = config.stash[_RECORDER], config.stash[_FILES]
    if not recorder.counts():
        lines += [f"no test ran: {file.name} is as it was" for file in files]
        return
    matrix = recorder.matrix(storagekit.__version__, config.stash[_CHOSEN].targets)
    for file in files:
        try:
            file.write(matrix)
            partly = ", of what ran before the interruption" * (session.exitstatus == pytest.ExitCode.INTERRUPTED)
            lines.append(f"report written{partly}: {file.name}")
        except OSError as error:
            lines.append(f"cannot write the report {file.name}: {error.strerror}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the matrix, the counts per target, and what there is to say of reports and of what is left."""
    recorder, chosen = config.stash[_RECORDER], config.stash[_CHOSEN]
    if recorder.counts():
        matrix = recorder.matrix(storagekit.__version__, chosen.targets)
        show(terminalreporter, matrix, recorder.counts(), whole=config.get_verbosity() >= 0)
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)


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
def box(root: Root, target: Target, request: pytest.FixtureRequest) -> Iterator[Box]:
    """The place with a storage of its own."""
    with Box.opened(root) as opened:
        request.config.stash[_NOTES].declared(target.name, opened.traits)
        yield opened


@pytest.fixture
def faulty(target: Target) -> Iterator[Box]:
    """A fresh place whose ``box.root.faults`` can make its store fail, with a storage of its own."""
    with disturbed(target) as place, Box.opened(place) as opened:
        yield opened
        assert place.faults is not None
        place.faults.clear()


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
