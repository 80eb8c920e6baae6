"""``regctl``, ``registry-tool`` and ``python -m registry_tool``: the same program."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress


def run() -> int:
    """Run the command that was typed; returns its exit code.

    Loading modules makes many objects that all stay: looking through them for garbage, at the start and once more at the
    end, is a third of what a short command takes. So that is done more seldom, and not at all for what is there at the end.
    """
    gc.set_threshold(100_000, 50, 50)
    from registry_tool.cli.main import main

    code = main()
    with suppress(OSError):
        # A pipe that nobody reads: Python's own end knows what to do.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(run())
