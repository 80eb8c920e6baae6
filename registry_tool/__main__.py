"""``regctl``, ``registry-tool`` and ``python -m registry_tool``: the same program."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress


def run() -> int:
    """Run the command that was typed and end the process with its exit code; returns it where standard output is gone.

    Loading modules makes many objects that all stay. To look through them for garbage at the start, and to take them apart
    one by one at the end, is a third of what a short command takes: the first is done more seldom, the second not at all.
    """
    gc.set_threshold(100_000, 50, 50)
    from registry_tool.cli.app import main

    code = main()
    with suppress(OSError):
        # A pipe that nobody reads: Python's own end knows what to do.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(run())
