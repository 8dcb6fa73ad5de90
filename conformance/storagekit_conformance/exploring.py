"""How hypothesis is used here: the same examples every time, or, in depth, new ones.

At depth 1 a test tries few examples and always the same, so that a run in CI means something. With ``--depth N``
it tries N times as many, with more steps in each, chosen at random; a failure then prints what
``@reproduce_failure`` wants, beside the steps themselves. Nothing is remembered between runs: hypothesis's own
directory is a temporary one, because the suite runs in the folder of somebody else's project.
"""

from __future__ import annotations

import argparse
import atexit
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hypothesis

__all__ = ["at_least_one", "explored"]

# More steps make a longer story to read and to shrink; what has not happened in these rarely happens later.
MOST_STEPS = 60

if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
    _home = tempfile.TemporaryDirectory(prefix="storagekit-hypothesis-")
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = _home.name
    # A forked child leaves through os._exit, so only the process that made it comes here.
    atexit.register(_home.cleanup)


def at_least_one(text: str) -> int:
    """What ``--depth`` takes; anything else becomes one line about the option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def explored(depth: int, *, examples: int, steps: int = 1) -> hypothesis.settings:
    """Settings for *examples* examples, each of up to *steps* steps, times what *depth* asks for."""
    import hypothesis  # here, so that the plugin may look at this module before pytest has loaded its own part of it

    return hypothesis.settings(
        max_examples=examples * depth,
        stateful_step_count=min(steps * depth, max(steps, MOST_STEPS)),
        derandomize=depth == 1,
        print_blob=depth > 1,
        database=None,
        # A server takes its time, and a request more or less is no property of ours.
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        # One story at a time, made short; explaining it would trace every line, which takes minutes.
        report_multiple_bugs=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
