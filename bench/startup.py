"""How fast a command that asks one thing starts, beside Python with the libraries that it needs at least."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench.measure import REGCTL, Result, in_turn, progress, run

RUNS = 15


def starts(one_tag: str) -> Iterator[Result]:
    """``one_tag`` is a repository of one tag. Whole processes, byte code cached."""
    progress("start-up")
    for name, command, libraries, most in (
        ("list-tags of one tag", ("list-tags", one_tag), "click, urllib3", 1.2),
        ("status", ("status",), "click, docker", 1.1),
    ):
        seconds = in_turn(
            RUNS,
            ours=lambda command=command: run([*REGCTL, *command]).seconds,  # type: ignore[misc]
            theirs=lambda libraries=libraries: run([sys.executable, "-c", f"import {libraries}"]).seconds,  # type: ignore[misc]
        )
        yield Result(name=f"{name} / python -c 'import {libraries}'", ours=seconds["ours"], theirs=seconds["theirs"], most=most)
