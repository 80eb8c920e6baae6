"""Commands of the matrix: docker on this machine's engine, with what it prints where it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

_EXCERPT_LINES = 15
_BEGUN = time.monotonic()


class Failed(Exception):
    """A step of the matrix could not be done; the message is for a person."""


class Unavailable(Failed):
    """Something that the matrix stands on is not to be had on this machine: an engine, mmdebstrap, a suite's packages."""


def say(text: str) -> None:
    """Print a line of progress, with the time since the start."""
    passed = int(time.monotonic() - _BEGUN)
    print(f"[{passed // 60:02d}:{passed % 60:02d}] {text}", file=sys.stderr, flush=True)


def run(*command: str, stdin: IO[bytes] | None = None, timeout: float = 600) -> str:
    """Run ``command``; returns what it printed. Raises Failed."""
    try:
        done = subprocess.run(command, check=False, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"timed out after {timeout:g} s: {_short(command)}") from None
    if done.returncode:
        raise Failed(f"exit code {done.returncode} of {_short(command)}\n{_excerpt(done.stderr or done.stdout)}")
    return done.stdout.decode(errors="replace")


def succeeds(*command: str) -> bool:
    """Whether ``command`` succeeds."""
    try:
        run(*command, timeout=60)
    except Failed:
        return False
    return True


def _short(command: Sequence[str]) -> str:
    return " ".join(command)[:160]


def _excerpt(output: bytes) -> str:
    return "\n".join(f"  {line}" for line in output.decode(errors="replace").splitlines()[-_EXCERPT_LINES:])
