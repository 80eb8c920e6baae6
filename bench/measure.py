"""How long commands take, and what that is compared with."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGCTL = (str(Path(sys.executable).with_name("regctl")),)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured, run by run, and the ``most`` that is promised of it: of the ratio where there are others, or of the median.

    ``ours`` and ``theirs`` are in ``unit``. ``note`` is what a reader has to know of how it was measured.
    """

    name: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    most: float
    unit: str = "s"
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        """The median of ours by that of theirs: machines differ, and one machine differs from hour to hour, ratios hardly."""
        return self.median / statistics.median(self.theirs) if self.theirs else None

    @property
    def holds(self) -> bool:
        return (self.median if self.ratio is None else self.ratio) <= self.most

    def as_json(self) -> dict[str, object]:
        """Rounded to what can be known."""
        numbers = {"ours": _short(self.ours), "theirs": _short(self.theirs), "median": round(self.median, 4)}
        ratio = round(self.ratio, 4) if self.ratio is not None else None
        said = {"name": self.name, "unit": self.unit, **numbers, "ratio": ratio, "most": self.most, "holds": self.holds}
        return {**said, "note": self.note} if self.note else said


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a command: seconds, bytes of memory at its largest, and what it printed."""

    seconds: float
    memory: int
    output: str


def run(command: Sequence[str], **environment: str) -> Run:
    """A run that must succeed; the whole program ends where it does not."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**_environment(), **environment}
    ) as process:
        started = time.perf_counter()
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Run(seconds=seconds, memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), output=output)


def said(*command: str) -> str:
    """What a command prints that is not measured, and must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=_environment())
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def find_crane() -> str | None:
    """The path of crane: installed, or as setup/parts.sh takes it out of its package."""
    fetched = ROOT / ".cache" / "bench" / "crane"
    return shutil.which("crane") or (str(fetched) if fetched.is_file() else None)


def progress(text: str) -> None:
    """Say on standard error what is measured now."""
    print(f"{text} …", file=sys.stderr, flush=True)


def in_turn(runs: int, contestants: Mapping[str, Callable[[], float]], *, warm_up: bool = True) -> dict[str, list[float]]:
    """All once to warm up, then ``runs`` times in turn (A B A B …), so that all see the same weather; the results of each."""
    for contestant in contestants.values() if warm_up else ():
        contestant()
    rounds = [[contestant() for contestant in contestants.values()] for _ in range(runs)]
    return {name: list(results) for name, results in zip(contestants, zip(*rounds, strict=True), strict=True)}


def table(results: Sequence[Result]) -> str:
    """A line for each."""
    lines = []
    for result in results:
        measured = f"{result.median:9.3f} {result.unit:<3}"
        compared = "" if result.ratio is None else f"ratio {result.ratio:.3f}"
        limit = f"<= {result.most:g}" + (f" {result.unit}" if result.ratio is None else "")
        lines.append(f"{result.name:<58} {measured} {compared:<14} {limit:<10} {'holds' if result.holds else 'DOES NOT HOLD'}")
    return "\n".join(lines)


def _short(numbers: Sequence[float]) -> list[float]:
    return [round(number, 4) for number in numbers]


def _environment() -> dict[str, str]:
    # The builder that the SDK drives is the classic one; both contestants use the same.
    # An installed program's modules are compiled; so they are here after the first run.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "DOCKER_BUILDKIT": "0"}
