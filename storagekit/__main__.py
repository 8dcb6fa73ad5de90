"""``python -m storagekit``: the command line (``cli``)."""

from __future__ import annotations

import sys

from storagekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
