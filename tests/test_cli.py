"""The command line: what it prints, its exit status, and that it prints no secret."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from storagekit import cli, doctor
from storagekit.cli import main
from storagekit.doctor import Report
from storagekit.errors import os_error
from storagekit.findings import Finding

ROOT = Path(__file__).parent.parent
SECRET = "s3ntinel/+secret=value"


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "memory://box/prefix"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("storagekit doctor memory://box/prefix\n")
    assert "write and read back" in text
    assert "NO!" not in text
    assert text.endswith("Everything that the library relies on works here.\n")
    assert max(map(len, text.splitlines())) <= max(cli.WIDTH, int(os.environ.get("COLUMNS", 0)))


def test_json_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "memory://box"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert (found["ok"], found["failure"], found["left_behind"]) == (True, None, [])
    assert {finding["works"] for finding in found["findings"]} == {True}
    assert set(found["findings"][0]) == {"topic", "works", "seen", "consequence", "wrong", "advice"}


def test_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "storagekit", "doctor", f"file://{tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert str(tmp_path) in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_as_a_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"storagekit": "storagekit.cli:main"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["doctor"],
        ["doctor", "/tmp"],
        ["doctor", "memory://box", "--option", SECRET.replace("=", "")],
        ["doctor", "memory://box", "--option", f"={SECRET}"],
        ["doctor", "memory://box", f"--opton=aws_secret_access_key={SECRET}"],
        ["doctor", "memory://box", "--opton", f"aws_secret_access_key={SECRET}"],
        ["doctor", "memory://box", "--option", f"aws_secret={SECRET}"],
        ["doctor", "s3://bucket", "--option", f"aws_secret_acces_key={SECRET}"],
        ["doctor", "s3://bucket", "--option", f"verify={SECRET}"],
        ["doctor", "s3://bucket", "--option", f"aws_secret_access_key={SECRET}"],
        ["doctor", f"s3://key:{SECRET}@bucket"],
        [f"s3://key:{SECRET}@bucket"],
        [f"s3://it's:{SECRET}@bucket"],
        ["--option", f"aws_secret_access_key={SECRET}", "doctor", "s3://bucket"],
        ["doctor", f"--json={SECRET}", "s3://bucket"],
        ["doctor", "s3://bucket", "--option", "aws_secret_access_key", SECRET],
        ["doctor", "s3://"],
        ["doctor", "s3://a bucket"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]).replace(SECRET, "S"),
)
def test_a_wrong_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "storagekit" in shown.err
    assert SECRET not in shown.err


def test_a_scheme_without_a_driver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "memry://box"]) == 1
    assert "did you mean memory://?" in capsys.readouterr().err


def test_an_error_with_json_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "s4://bucket"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("5", 5),
        ("2.5", 2.5),
        ('{"a": "b"}', {"a": "b"}),
        ('"5"', "5"),
        ("{no json", "{no json"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("", ""),
    ],
)
def test_what_an_option_on_the_command_line_means(text: str, value: object) -> None:
    assert cli._typed(text) == value


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """What an examination comes to: a report, or an exception."""

    def comes_to(outcome: object) -> None:
        def examine(*_: object) -> object:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(cli, "examine", examine)

    return comes_to


def test_what_is_wrong_is_said_and_is_status_1(
    examined: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("ranges", False, "other\nbytes", "WRONG", wrong=True), Finding("b", None, "?", advice="try c")]
    examined(Report("memory://box/", ["endpoint: here", "just a line"], findings, left=["memory://box/x: why"]))
    assert main(["doctor", "memory://box"]) == 1
    text = capsys.readouterr().out
    assert "NO!" in text
    assert "ranges: other\\nbytes" in text
    assert "1 of 2 are wrong" in text
    assert "b: try c" in text
    assert "memory://box/x: why" in text
    assert "unknown" in text


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_failure_is_status_1_and_shows_no_secret(
    arguments: list[str], examined: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--option", f"aws_secret_access_key={SECRET}", "--option", "aws_access_key_id=key"]
    for outcome in (
        Report("s3://bucket/", [f"note: {SECRET}"], [Finding("a", False, SECRET)], failure=f"the store said {SECRET}"),
        os_error(5, "s3://bucket", f"the store said {SECRET}"),
    ):
        examined(outcome)
        assert main(["doctor", "s3://bucket", *given, *arguments]) == 1
        shown = capsys.readouterr()
        assert "the store said ***" in shown.out + shown.err
        assert SECRET not in shown.out + shown.err


def test_an_interruption(examined: Callable[[object], None], capsys: pytest.CaptureFixture[str]) -> None:
    examined(KeyboardInterrupt())
    assert main(["doctor", "memory://box"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_errors_in_one_line() -> None:
    error = os_error(13, "s3://bucket", "Permission\n denied")
    error.store_code, error.status = "AccessDenied", 403  # type: ignore[attr-defined]
    assert doctor.explain(error) == "Permission denied (AccessDenied) (status 403)"
    assert doctor.explain(RuntimeError("what")) == "RuntimeError: what"


# ---------------------------------------------------------------- where it is printed


def as_a_program(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the shell runs as ``storagekit``, with what follows in its own words."""
    command = f"{shlex.quote(sys.executable)} -W error -m storagekit {arguments}"
    own = {name: text for name, text in os.environ.items() if not name.startswith(("STORAGEKIT_", "PYTHONIO"))}
    return subprocess.run(
        ["sh", "-c", command], env={**own, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_characters_that_the_output_does_not_have_are_escaped() -> None:
    done = as_a_program("doctor memory://\u00e9", PYTHONIOENCODING="ascii:strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory://\\xe9/" in done.stdout
    done = as_a_program("doctor memory://\u00e9 --json", PYTHONIOENCODING="ascii:strict")
    assert json.loads(done.stdout)["url"] == "memory://\u00e9/"
    assert done.stdout.isascii()


def test_a_url_that_is_no_text_at_all(tmp_path: Path) -> None:
    url = os.fsencode(f"file://{tmp_path}/") + b"\xff"
    for extra in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "storagekit", "doctor", url, *extra], capture_output=True, timeout=120, check=False
        )
        assert b"Traceback" not in done.stderr
        assert b"\\udcff" in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", ["memory://box", "memory://box --json", "memory:// --json"])
def test_an_answer_that_cannot_be_written_is_status_2(arguments: str) -> None:
    done = as_a_program(f"doctor {arguments} >/dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("storagekit doctor: the answer could not be written: ")
    assert "Traceback" not in done.stderr


def test_nobody_who_listens() -> None:
    done = as_a_program("doctor memory://box >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("variable", ["STORAGEKIT_THREADS", "STORAGEKIT_TIMEOUT", "STORAGEKIT_DRIVERS"])
def test_a_wrong_variable_is_said_in_one_line(variable: str) -> None:
    done = as_a_program("doctor memory://box", **{variable: "x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("storagekit doctor: ")
    assert len(done.stderr.splitlines()) == 1
    assert as_a_program("--version", **{variable: "x"}).returncode == 0
