"""``regctl``, ``registry-tool`` and ``python -m registry_tool``: the same program."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def run() -> NoReturn:
    """Run the command that was typed, and end the process with its exit code.

    Loading modules makes many objects that all stay. To look through them for garbage at the start, and to take them apart
    one by one at the end, is a third of what a short command takes: the first is done more seldom, the second not at all.
    """
    gc.set_threshold(100_000, 50, 50)
    sys.unraisablehook = report_unraisable
    from registry_tool.cli.app import main

    code = main()
    for stream in (sys.stdout, sys.stderr):
        # A pipe that nobody reads, a full disk: it was reported where that was possible.
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def report_unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Print an error of a finalizer, but for the attributes that an object lacks whose constructor Ctrl-C interrupted."""
    if not isinstance(failure.exc_value, AttributeError):
        sys.__unraisablehook__(failure)


if __name__ == "__main__":
    run()
