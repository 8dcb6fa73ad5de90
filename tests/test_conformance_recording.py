"""From pytest's reports to outcomes: whose test it is, what it came to, and why."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from storagekit.driver import Traits
from storagekit_conformance.recording import Notes, outcome, own_failure
from storagekit_conformance.report import Outcome, Result


def report(
    longrepr: Any = None,
    *,
    nodeid: str = "test_stat.py::test_file[toy-x]",
    outcome: Literal["passed", "failed", "skipped"] = "passed",
    properties: list[tuple[str, str]] | None = None,
    **more: object,
) -> pytest.TestReport:
    place = ("test_stat.py", 1, "test_file")
    return pytest.TestReport(
        nodeid,
        place,
        {},
        outcome,
        longrepr,
        "call",
        user_properties=properties or [],
        **more,  # type: ignore[arg-type]
    )


def of(word: str, found: pytest.TestReport) -> Outcome:
    return outcome(word, found, "stat.file", "toy")


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("test_stat.py::test_file", "test_file"),
        ("test_stat.py::test_file[toy]", "test_file"),
        ("test_stat.py::test_file[toy-a-b]", "test_file[a-b]"),
        ("test_stat.py::test_file[a::b]", "test_file[a::b]"),
        ("test_stat.py::test_file[toy-x[1]]", "test_file[x[1]]"),
    ],
)
def test_a_tests_name_is_without_its_target(nodeid: str, name: str) -> None:
    assert of("passed", report(nodeid=nodeid)) == Outcome("stat.file", "toy", name, Result.PASSED)


def test_a_skip_tells_its_reason() -> None:
    found = of("skipped", report(("/a/test.py", 3, "Skipped: no links here"), outcome="skipped"))
    assert (found.result, found.reason) == (Result.SKIPPED, "no links here")


def test_a_gap_tells_its_reason() -> None:
    found = of("xfailed", report(outcome="skipped", wasxfail="it has no sizes"))
    assert (found.result, found.reason) == (Result.GAP, "it has no sizes")


@pytest.mark.parametrize("word", ["xfailed", "xpassed"])
def test_what_is_unreliable_says_the_same_whatever_came_out(word: str) -> None:
    unreliable = [("storagekit unreliable", "yes")]
    found = of(word, report(outcome="skipped", wasxfail="sometimes", properties=unreliable))
    assert (found.result, found.reason) == (Result.UNRELIABLE, "sometimes")


def test_a_gap_that_is_none_any_more_failed() -> None:
    found = of("failed", report("[XPASS(strict)] it has no sizes", outcome="failed"))
    assert found.result is Result.FAILED
    assert found.reason == "test_file[x]: it passes, so it is no known gap any more: it has no sizes"


def test_a_failure_tells_its_first_line_without_what_varies() -> None:
    class Crash:
        message = "OSError: [Errno 5] broken: 's3://bucket/4711/key'\nand more"

    class Representation:
        reprcrash = Crash()

    found = of("failed", report(Representation(), outcome="failed"))
    assert found.reason == "test_file[x]: OSError: [Errno 5] broken: 's3://…'"
    found = of("error", report("a fixture\nE  is missing", outcome="failed"))
    assert (found.result, found.reason) == (Result.ERROR, "test_file[x]: E  is missing")


def call_that(error: BaseException | None, when: Literal["setup", "call", "teardown"]) -> pytest.CallInfo[None]:
    def does() -> None:
        if error is not None:
            raise error

    return pytest.CallInfo.from_call(does, when)


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_failure_around_a_test_is_no_gap(when: Literal["setup", "teardown"]) -> None:
    expected = report("OSError: no server", outcome="skipped", wasxfail="it has no sizes")
    expected.when = when
    own_failure(expected, call_that(OSError("no server"), when))
    assert expected.outcome == "failed"
    assert not hasattr(expected, "wasxfail")


@pytest.mark.parametrize(
    ("error", "when"),
    [(AssertionError("1 == 2"), "call"), (pytest.skip.Exception("no links here"), "setup"), (None, "teardown")],
)
def test_other_reports_stay_as_they_are(
    error: BaseException | None, when: Literal["setup", "call", "teardown"]
) -> None:
    other = report(outcome="skipped", wasxfail="it has no sizes")
    other.when = when
    own_failure(other, call_that(error, when))
    assert (other.outcome, getattr(other, "wasxfail", None)) == ("skipped", "it has no sizes")


def test_notes_travel_from_a_worker() -> None:
    class Config:
        workeroutput: dict[str, Any]

    config: Any = Config()
    config.workeroutput = {}
    worker, controller = Notes(), Notes()
    worker.declared("toy", Traits(pinned_reads=True))
    worker.declared("toy", Traits())  # the same for every place; the first answer stays
    worker.tests["test_stat.py::test_file[toy]"] = ("stat.file", "toy")
    worker.send(config)
    controller.receive(config.workeroutput)
    controller.receive({})  # a worker that died has left nothing
    assert controller.tests == worker.tests
    assert controller.traits["toy"]["pinned_reads"] is True
    assert controller.traits["toy"]["atomic_rename"] is False
