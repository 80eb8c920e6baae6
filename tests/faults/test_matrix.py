"""The fault matrix: its tests exist, and its page is about it."""

from __future__ import annotations

import ast
import re

from tests.faults import run
from tests.faults.cells import CELLS, COMMANDS, FAULTS, NOT_INVOLVED, every_test
from tests.support.paths import ROOT


def test_every_test_that_a_cell_names_exists() -> None:
    functions = {
        f"{file}::{node.name}"
        for file in {test.partition("::")[0] for test in every_test()}
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert [test for test in every_test() if test not in functions] == []


def test_cells_are_in_the_matrix() -> None:
    assert [cell for cell in CELLS if cell[0] not in COMMANDS or cell[1] not in FAULTS] == []
    assert [cell for cell, value in CELLS.items() if isinstance(value, str) and value != NOT_INVOLVED] == []


def test_page_has_the_cells_of_the_matrix() -> None:
    """The states are those of the last run; all else is as it would be written today."""

    def without_states(text: str) -> str:
        return re.sub(r"\b(?:passed|not run|failed)\b(?= \|)", "run", text)

    assert without_states(run.PAGE.read_text(encoding="utf-8")) == without_states(run.page({}))
    assert "failed" not in run.PAGE.read_text(encoding="utf-8").partition("## The tests")[0].partition("| `up`")[2]


def test_state_of_a_test_is_the_worst_of_its_cases() -> None:
    report = """<testsuites><testsuite>
      <testcase classname="tests.a.test_x" name="test_one[0]"/><testcase classname="tests.a.test_x" name="test_one[1]"><failure/></testcase>
      <testcase classname="tests.a.test_x" name="test_two[a]"/><testcase classname="tests.a.test_x" name="test_two[b]"><skipped/></testcase>
      <testcase classname="tests.a.test_x" name="test_three"><skipped/></testcase>
    </testsuite></testsuites>"""
    assert run.states(report) == {
        "tests/a/test_x.py::test_one": "failed",
        "tests/a/test_x.py::test_two": "passed",
        "tests/a/test_x.py::test_three": "not run",
    }
