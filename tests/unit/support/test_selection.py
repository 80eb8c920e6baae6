"""Modules that are not read: only where all their tests are deselected."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from tests.support.selection import is_deselected

ENGINE = "import pytest\n\npytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]\n"


@pytest.mark.parametrize("expression", ["not engine", "not soak and not engine", "not engine and not slow"])
def test_module_with_an_excluded_mark_is_deselected(expression: str) -> None:
    assert is_deselected(ENGINE, expression)


@pytest.mark.parametrize(
    "expression",
    ["", "engine", "not soak", "not engine_or_not", "not engine or slow", "not (engine and slow)", "slow and not engine or podman"],
)
def test_module_that_may_have_selected_tests_is_not(expression: str) -> None:
    assert not is_deselected(ENGINE, expression)


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\n",
        "@pytest.mark.engine\ndef test_one() -> None: ...\n",
        "class TestOne:\n    pytestmark = pytest.mark.engine\n",
        "pytestmark = [\n    pytest.mark.engine,\n]\n",
        "pytestmark = pytest.mark.slow\n",
    ],
    ids=["none", "of a test", "of a class", "of several lines", "another"],
)
def test_mark_that_is_not_every_tests_deselects_nothing(source: str) -> None:
    assert not is_deselected(source, "not engine")


def test_fast_tests_do_not_read_modules_of_the_engine() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [fast] = [line.partition(" = ")[2].strip("'") for line in makefile.splitlines() if line.startswith("fast = ")]
    assert is_deselected((ROOT / "tests/engine/demo/test_demo.py").read_text(encoding="utf-8"), fast)
