"""``python -m storagekit_conformance --target memory …``: the suite against the targets named.

Everything that is not ``--target`` goes to pytest as it is (``-n auto``, ``-k``, ``-x``). The exit code is
pytest's: 0 where all held, 1 where a clause failed, 4 for a target that cannot be had.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run pytest over the suite and return its exit code."""
    try:
        import pytest
    except ImportError:
        print("the suite needs pytest: pip install 'storagekit[conformance]'", file=sys.stderr)
        return 4
    return int(pytest.main(["--pyargs", "storagekit_conformance", "-p", "storagekit_conformance.plugin", *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
