"""How fast a command that asks one thing starts, beside Python with the libraries that it needs at least."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial

from bench.measure import REGCTL, Result, in_turn, progress, run

RUNS = 15


def starts(one_tag: str) -> Iterator[Result]:
    """``one_tag`` is a repository of one tag. Whole processes, byte code cached."""
    progress("start-up")
    for name, command, libraries, most in (
        ("list-tags of one tag", ("list-tags", one_tag), "click, urllib3", 1.2),
        ("status", ("status",), "click, docker", 1.1),
    ):
        lines = {"ours": [*REGCTL, *command], "theirs": [sys.executable, "-c", f"import {libraries}"]}
        seconds = in_turn(RUNS, {whose: partial(_seconds, line) for whose, line in lines.items()})
        yield Result(name=f"{name} / python -c 'import {libraries}'", ours=seconds["ours"], theirs=seconds["theirs"], most=most)


def _seconds(line: Sequence[str]) -> float:
    return run(line).seconds
