"""Interrupts at every place where one may come: a signal's handler that raises, as Ctrl-C does.

CPython looks for signals after a call, at the beginning of a function and where a loop turns; nowhere between. These
places of some files are counted while a step runs, and at the nth an exception is raised.
"""

from __future__ import annotations

import dis
import functools
import gc
import itertools
import sys
from collections.abc import Callable, Collection
from types import CodeType, FrameType
from typing import Any

__all__ = ["interrupted_at"]


@functools.cache
def _places(code: CodeType) -> frozenset[int]:
    """The instructions right after one at which signals are looked for."""
    instructions = [each for each in dis.get_instructions(code) if each.opname != "CACHE"]
    looks = ("CALL", "RESUME", "JUMP_BACKWARD")
    return frozenset(
        later.offset
        for each, later in itertools.pairwise(instructions)
        if each.opname.startswith(looks) and not each.opname.endswith("_NO_INTERRUPT")
    )


def interrupted_at(nth: int, files: Collection[str | None], step: Callable[[], object]) -> bool:
    """Run *step*, interrupted at the nth place of these *files*; False when it has come to its end before."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in _places(frame.f_code):
            count += 1
            if count == nth:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # finalizers are not what is to be interrupted
    sys.settrace(trace)
    try:
        step()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False
