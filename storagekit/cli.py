"""The command line: ``storagekit doctor URL``.

It examines a place (``doctor``) and shows what was found, as a table for people or as one JSON document. The exit
status is 0 where everything that the library relies on works, 1 where something is wrong or nobody answers, 2
for a command that makes no sense, or whose answer cannot be written, 130 when it was interrupted; what was written into
the store is removed in each case.

*Secrets.* No credential is shown, whatever happens: a wrong word of the command is not repeated, a wrong option is
named without its value, and the values of options that are secrets are blotted out of everything that is printed,
should an error of a store repeat them.

*Output.* A character that the output's encoding does not have is shown as its escape; the JSON is ASCII.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import NoReturn

from storagekit.doctor import Report, examine, explain
from storagekit.errors import InvalidArgumentError
from storagekit.findings import Finding
from storagekit.location import scheme_of
from storagekit.settings import Settings
from storagekit.storage import Storage
from storagekit.version import __version__

__all__ = ["main"]

# What is printed where the width is not known, and the least that four columns need.
WIDTH, NARROWEST = 140, 80

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_WORKS = {True: "yes", False: "no", None: "unknown"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = _parser()
    # What the library logs of writes that are given up on purpose would only disturb. Who wants it, has handlers.
    quiet = logging.NullHandler()
    logging.getLogger().addHandler(quiet)
    try:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            # It may be an option with a typing error in its name, and a secret behind it.
            parser.error(f"unrecognized arguments: {' '.join(_harmless(word) for word in unknown)}")
        pairs = [_pair(parser, text) for text in arguments.option]
        return _doctor(parser, arguments.url, dict(pairs), as_json=arguments.json)
    except SystemExit as ended:  # argparse's way to say that it has said everything
        return ended.code if isinstance(ended.code, int) else 2
    finally:
        logging.getLogger().removeHandler(quiet)


class _Parser(argparse.ArgumentParser):
    """One that does not repeat what it refuses, which may be a secret in the wrong place."""

    def error(self, message: str) -> NoReturn:
        # argparse puts the words of the command in quotes, at the end of what it has to say.
        said = re.split("['\"]", message, maxsplit=1)
        super().error(said[0] if len(said) == 1 else f"{said[0].rstrip()} …")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="storagekit", description="Files in s3:// and every other store.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"storagekit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    doctor = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="try what a store does, and say what the library makes of it",
        description="Try what a store does, below the URL in a directory with a random name that is removed again, "
        "and say what works, what was seen and what the library does because of it.",
        epilog="Exit status: 0 if everything that the library relies on works, 1 if something is wrong or nobody "
        "answers, 2 for a wrong command, or where standard output cannot be written.",
    )
    doctor.add_argument("url", metavar="URL", help="as in s3://bucket/prefix")
    doctor.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="name=value",
        help="an option of the driver, as in endpoint_url=http://localhost:9000; may be repeated. true, false and "
        'numbers are meant as such, {"a": "b"} is a mapping, and "5" in double quotes the text 5',
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


def _harmless(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else "…"


def _pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        parser.error("argument --option: expected name=value")
    return name, value


def _doctor(parser: argparse.ArgumentParser, url: str, given: Mapping[str, str], *, as_json: bool) -> int:
    blot = _blotter(given.values() if scheme_of(url) is None else ())
    if scheme_of(url) is None:
        parser.error("the URL must have a scheme, as in s3://bucket/prefix or file:///tmp")
    try:
        settings = Settings.from_environment()
        with Storage(settings) as storage:
            backend = storage._registry.backend(scheme_of(url) or "", url)
            secrets = {name for name, option in backend.known_options.items() if option.secret}
            blot = _blotter(value for name, value in given.items() if name in secrets)
            options = {name: value if name in secrets else _typed(value) for name, value in given.items()}
            report = examine(storage, url, options)
    except InvalidArgumentError as error:
        return _complain(blot(f"{error.strerror}"), 2, as_json)
    except OSError as error:
        return _complain(blot(explain(error)), 1, as_json)
    except KeyboardInterrupt:
        return _complain("interrupted; what was written has been removed, as far as that was possible", 130, as_json)
    return _show(blot(_document(report) if as_json else _page(report)), 0 if report.ok else 1)


def _complain(text: str, status: int, as_json: bool) -> int:
    print(f"storagekit doctor: {text}", file=sys.stderr)
    return _show(json.dumps({"ok": False, "failure": text}, indent=2), status) if as_json else status


def _show(text: str, status: int) -> int:
    """Print the answer; returns *status*, or 2 where it cannot be printed."""
    if sys.stdout is None:  # it was closed before the program began
        return status
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
        return status
    except OSError as error:
        # What is still in the buffer would fail once more when the interpreter ends.
        with contextlib.suppress(OSError, ValueError):  # where it is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # as with ``| head``: who reads it has enough
            return status
        print(f"storagekit doctor: the answer could not be written: {explain(error)}", file=sys.stderr)
        return 2


def _typed(text: str) -> object:
    """The value that a text on the command line means."""
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if text.startswith(("{", '"')):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _blotter(secrets: Iterable[str]) -> Callable[[str], str]:
    """Takes every secret out of a text."""
    hidden = sorted({form for secret in secrets if secret for form in (secret, json.dumps(secret)[1:-1])}, key=len)

    def blot(text: str) -> str:
        for secret in reversed(hidden):
            text = text.replace(secret, "***")
        return text

    return blot


# ---------------------------------------------------------------- showing


def _document(report: Report) -> str:
    reached: dict[str, str] = {}
    for name, value in map(_halves, report.how):
        reached[name] = f"{reached[name]}; {value}" if name in reached else value
    return json.dumps(
        {
            "url": report.url,
            "ok": report.ok,
            "reached": reached,
            "failure": report.failure,
            "findings": [asdict(finding) for finding in report.findings],
            "left_behind": report.left,
        },
        indent=2,
    )


def _halves(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return (name, value) if value else ("note", line)


def _page(report: Report) -> str:
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, NARROWEST)
    lines = [f"storagekit doctor {report.url}", ""]
    halves = [_halves(line) for line in report.how]
    broad = max((len(name) for name, _ in halves), default=0)
    lines += [f"  {name:<{broad}}  {value}" for name, value in halves]
    if report.findings:
        lines += ["", *_table(report.findings, width)]
    notes = [finding for finding in report.findings if finding.advice]
    wrong = [finding for finding in report.findings if finding.wrong]
    lines += _list("To make more of it", [f"{finding.topic}: {finding.advice}" for finding in notes], width)
    lines += _list("Wrong", [f"{finding.topic}: {finding.seen}" for finding in wrong], width)
    lines += _list("Left behind", report.left, width)
    lines += ["", _conclusion(report, len(wrong))]
    return "\n".join(line.rstrip() for line in lines)


def _conclusion(report: Report, wrong: int) -> str:
    if report.failure is not None:
        return f"The examination ended: {report.failure}"
    if wrong:
        return f"{wrong} of {len(report.findings)} are wrong: the library relies on them here."
    if report.left:
        return "Everything that the library relies on works here, but something was left behind."
    return "Everything that the library relies on works here."


def _table(findings: Sequence[Finding], width: int) -> list[str]:
    head = ("topic", "works", "what was seen", "what the library does because of it")
    rows = [(f.topic, "NO!" if f.wrong else _WORKS[f.works], f.seen, f.consequence) for f in findings]
    first = min(max(len(row[0]) for row in (head, *rows)), 38)
    left = width - first - 7 - 6
    widths = (first, 7, left * 11 // 20, left - left * 11 // 20)
    lines = [_row(head, widths), "  ".join("-" * column for column in widths)]
    for row in rows:
        lines += _cells(row, widths)
    return lines


def _cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    wrapped = [textwrap.wrap(_printable(text), column) or [""] for text, column in zip(row, widths, strict=True)]
    height = max(map(len, wrapped))
    return [_row([cell[n] if n < len(cell) else "" for cell in wrapped], widths) for n in range(height)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{column}}" for cell, column in zip(cells, widths, strict=True))


def _list(title: str, items: Sequence[str], width: int) -> list[str]:
    if not items:
        return []
    lines = ["", f"{title}:"]
    for item in items:
        lines += textwrap.wrap(_printable(item), width, initial_indent="  * ", subsequent_indent="    ")
    return lines


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
