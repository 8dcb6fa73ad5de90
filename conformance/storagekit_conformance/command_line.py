"""The suite's own options, described once: for pytest, for ``--help``, and for the look at them before pytest's.

Not in the plugin, because who imports a plugin before pytest does takes its assertions from pytest's sight.
"""

from __future__ import annotations

from collections.abc import Callable

from storagekit_conformance.choosing import DEFAULT_TARGETS
from storagekit_conformance.exploring import at_least_one

__all__ = ["add_options"]


def add_options(add: Callable[..., object]) -> None:
    """Add the options by *add*, which is ``add_argument`` of argparse or what pytest has in its place."""
    add(
        "--target",
        action="append",
        metavar="NAME",
        help="run against this target: a built-in name, an entry point's name, or module:attribute; may be repeated "
        f"(without any place: {', '.join(DEFAULT_TARGETS)})",
    )
    add("--s3-bucket", metavar="BUCKET", help="run in a fresh prefix of this bucket, with boto3's own credentials")
    add("--s3-endpoint", metavar="URL", help="where that bucket is, if not at Amazon")
    add("--root", action="append", metavar="URL", help="run in a fresh folder below this URL; may be repeated")
    add("--option", action="append", metavar="NAME=VALUE", help="an option of the driver at --root or --s3-bucket")
    add(
        "--report",
        action="append",
        metavar="FILE",
        help="write the matrix to FILE, as its suffix says: .html, .md or .json; may be repeated",
    )
    add(
        "--depth",
        type=at_least_one,
        default=1,
        metavar="N",
        help="how far the tests with made-up input look: 1 (the default) tries few examples, the same every time; "
        "N tries N times as many, at random",
    )
