"""Run the fault matrix and write ``docs/faults.md``: ``make faults``; ARGS are pytest's, ``-m "not engine and not netns"`` for example."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.faults.cells import CELLS, COMMANDS, FAULTS, NOT_INVOLVED, every_test

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"

INTRODUCTION = """# Faults

What commands do when something breaks in the middle: the engine, the registry or the command itself is killed, a disk is full, a permission
is withdrawn, the network is cut, the clock jumps. A cell says `passed` where tests show that nothing is lost (what was in the registry is
whole, and no tag stands for an incomplete image), that the command says what happened, and that the next run succeeds. `open` has no test
yet. `not run` has one that was skipped where this page was written: some need root, or an engine of their own. — cannot happen: `copy`
between registries has no engine.

`make faults` runs the tests and writes this page. Nothing of the machine's own is touched: engines that are killed are the tests' own.
"""

State = str
"""``passed``, ``failed`` or ``not run``."""


def run(arguments: list[str]) -> tuple[int, dict[str, State]]:
    """Run the tests of the matrix; pytest's exit code, and test -> state, the worst of its cases."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        code = subprocess.run([*command, *arguments, *every_test()], cwd=ROOT, check=False).returncode
        return code, states(report.read_text(encoding="utf-8")) if report.is_file() else {}


def states(report: str) -> dict[str, State]:
    """Test -> state, of a JUnit report."""
    cases: dict[str, set[State]] = defaultdict(set)
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
        kinds = {child.tag for child in case}
        cases[test].add("failed" if kinds & {"failure", "error"} else "not run" if "skipped" in kinds else "passed")
    order = ("failed", "passed", "not run")
    return {test: min(found, key=order.index) for test, found in cases.items()}


def page(observed: Mapping[str, State]) -> str:
    """The page's text."""
    rows = ["| | " + " | ".join(FAULTS) + " |", "|---|" + "---|" * len(FAULTS)]
    rows += [f"| `{command}` | " + " | ".join(_cell(command, fault, observed) for fault in FAULTS) + " |" for command in COMMANDS]
    listed = ["## The tests", ""]
    for (command, fault), cell in CELLS.items():
        if not isinstance(cell, str):
            names = ", ".join(f"`{test.partition('::')[2]}` ({test.partition('::')[0]})" for test in cell)
            listed.append(f"- `{command}`, {fault}: {names}")
    return "\n".join([INTRODUCTION, *rows, "", *listed]) + "\n"


def _cell(command: str, fault: str, observed: Mapping[str, State]) -> str:
    cell = CELLS.get((command, fault))
    if cell is None:
        return "open"
    if cell == NOT_INVOLVED:
        return "—"
    found = [observed.get(test, "not run") for test in cell]
    return next((state for state in ("failed", "not run") if state in found), "passed")


if __name__ == "__main__":
    exit_code, results = run(sys.argv[1:])
    PAGE.write_text(page(results), encoding="utf-8")
    sys.exit(0 if exit_code in (0, 5) else exit_code)
