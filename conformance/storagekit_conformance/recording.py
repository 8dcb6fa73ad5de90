"""From pytest's reports to the outcomes of the matrix, also when the tests ran in the workers of pytest-xdist.

A test says its clause and its target in its ``user_properties``, which travel with its reports. What the driver
declares, and which test is whose, goes to the controlling process when a worker ends: a test
in which a whole worker dies leaves a report without properties, and it must not be missing from the matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from storagekit.driver import Traits
from storagekit_conformance.clauses import clauses
from storagekit_conformance.report import NO_TARGET, Matrix, Outcome, Result, TargetNote, build, plain
from storagekit_conformance.report_text import COUNTED
from storagekit_conformance.target import Target

__all__ = ["Notes", "Recorder", "mark_gap", "outcome", "own_failure"]

_CLAUSE = "storagekit clause"
_TARGET = "storagekit target"
_UNRELIABLE = "storagekit unreliable"
_KEY = "storagekit"

_RESULTS = {
    "passed": Result.PASSED,
    "failed": Result.FAILED,
    "error": Result.ERROR,
    "xfailed": Result.GAP,
    "xpassed": Result.UNRELIABLE,  # of a strict gap pytest itself says that it failed
    "skipped": Result.SKIPPED,
}


class Notes:
    """What a process that runs tests notes beside their reports."""

    def __init__(self) -> None:
        self.traits: dict[str, dict[str, bool]] = {}
        self.tests: dict[str, tuple[str, str]] = {}

    def test(self, item: pytest.Item, clause: str, target: str | None) -> None:
        """Note whose test *item* is."""
        item.user_properties += [(_CLAUSE, clause), (_TARGET, target or NO_TARGET)]
        self.tests[item.nodeid] = (clause, target or NO_TARGET)

    def declared(self, target: str, traits: Traits) -> None:
        """Note what the driver declares at a place of *target*."""
        self.traits.setdefault(target, asdict(traits))

    def send(self, config: pytest.Config) -> None:
        """In a worker: leave the notes where pytest-xdist takes them to the controlling process."""
        config.workeroutput[_KEY] = {  # type: ignore[attr-defined]
            "traits": self.traits,
            "tests": {test: list(whose) for test, whose in self.tests.items()},
        }

    def receive(self, output: Mapping[str, Any]) -> None:
        """In the controlling process: the notes of a worker that has ended."""
        sent = output.get(_KEY, {})
        for target, traits in sent.get("traits", {}).items():
            self.traits.setdefault(target, traits)
        self.tests.update({test: (clause, target) for test, (clause, target) in sent.get("tests", {}).items()})


def mark_gap(item: pytest.Item, reason: str, *, strict: bool) -> None:
    """Expect *item* to fail: always, or where not *strict* sometimes."""
    if not strict:
        item.user_properties.append((_UNRELIABLE, "yes"))
    item.add_marker(pytest.mark.xfail(reason=reason, strict=strict))


def own_failure(report: pytest.TestReport, call: pytest.CallInfo[Any]) -> None:
    """Let a *report* of a set-up or tear-down that failed say so, whatever gap its test has.

    A gap is about what a test finds. pytest takes any failure around it for the expected one too, so a server
    that is dead would look like one that has only its known gaps.
    """
    if report.when == "call" or call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
        return
    report.outcome = "failed"
    if hasattr(report, "wasxfail"):
        del report.wasxfail


class Recorder:
    """A plugin of the controlling process: it keeps what every test came to."""

    def __init__(self, config: pytest.Config, notes: Notes) -> None:
        self._config = config
        self._notes = notes
        self._reports: list[tuple[str, pytest.TestReport]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a report that says something, under pytest's word for it."""
        word = self._config.hook.pytest_report_teststatus(report=report, config=self._config)[0]
        if word in COUNTED:
            self._reports.append((word, report))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended."""
        self._notes.receive(getattr(node, "workeroutput", {}))

    def counts(self) -> dict[str, Counter[str]]:
        """How many tests came to what: pytest's words by target."""
        counts: dict[str, Counter[str]] = {}
        for word, report in self._reports:
            if whose := self._whose(report):
                counts.setdefault(whose[1], Counter())[word] += 1
        return counts

    def matrix(self, version: str, targets: Iterable[Target]) -> Matrix:
        """What everything came to."""
        notes = [
            TargetNote(target.name, self._notes.traits.get(target.name), dict(target.gaps), dict(target.unreliable))
            for target in targets
        ]
        outcomes = [outcome(word, report, *whose) for word, report in self._reports if (whose := self._whose(report))]
        return build(version, clauses(), notes, outcomes)

    def _whose(self, report: pytest.TestReport) -> tuple[str, str] | None:
        """The clause and the target of a report; None for a test that is not the suite's."""
        properties = dict(getattr(report, "user_properties", ()))
        if _CLAUSE in properties:
            return str(properties[_CLAUSE]), str(properties[_TARGET])
        return self._notes.tests.get(report.nodeid)


def outcome(word: str, report: pytest.TestReport, clause: str, target: str) -> Outcome:
    """What a report says, *word* being pytest's word for it."""
    result = _RESULTS[word]
    if result is Result.GAP and dict(report.user_properties).get(_UNRELIABLE):
        result = Result.UNRELIABLE
    test = _test_name(report.nodeid, target)
    return Outcome(clause, target, test, result, _reason(result, report, test))


def _test_name(nodeid: str, target: str) -> str:
    """The test's own name, with its parameters but for the target, which pytest puts first."""
    name, bracket, parameters = nodeid.partition("::")[2].partition("[")
    others = parameters.removesuffix("]").removeprefix(target).removeprefix("-")
    return f"{name}[{others}]" if bracket and others else name


def _reason(result: Result, report: pytest.TestReport, test: str) -> str:
    if result is Result.PASSED:
        return ""
    if result in (Result.GAP, Result.UNRELIABLE):
        return str(getattr(report, "wasxfail", "")).removeprefix("reason: ")
    if result is Result.SKIPPED:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return text.removeprefix("Skipped: ")
    text = str(report.longrepr)
    if text.startswith("[XPASS(strict)]"):
        return f"{test}: it passes, so it is no known gap any more: {text.removeprefix('[XPASS(strict)] ')}"
    crash = getattr(report.longrepr, "reprcrash", None)
    # Of an error without a place of its own, as in a fixture that was not found, the last line says it.
    message = crash.message if crash is not None else text.strip().rpartition("\n")[2]
    return f"{test}: {plain(message)}"
