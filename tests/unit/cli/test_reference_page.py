"""``docs/cli.md`` is what ``--help`` prints: the page is the golden file of every help text."""

from __future__ import annotations

import re

import pytest

from docs.generate_cli import PAGE, reference
from registry_tool.cli.command_table import COMMANDS
from tests.support.cli_runner import Typed, spawn
from tests.support.paths import ROOT


def sections() -> dict[str, str]:
    """Command, ``""`` for the program itself -> its help on the page."""
    result = re.findall(r"^##+ regctl ?(\S*)\n\n```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(result)


def test_page_is_what_the_generator_writes_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "make reference"


def test_page_has_every_command_once_with_the_demo_first() -> None:
    assert list(sections()) == ["", *COMMANDS]
    assert next(iter(COMMANDS)) == "demo"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example_and_is_on_the_page(typed: Typed, name: str) -> None:
    answer = typed(name, "--help")
    assert answer.code == 0
    assert f"  regctl {name}" in answer.out or "source <(regctl completion" in answer.out
    assert answer.out == sections()[name]


def test_help_in_a_process_of_its_own_is_on_the_page() -> None:
    assert spawn("--help").out == sections()[""]


def test_make_reference_writes_the_page() -> None:
    assert "docs/generate_cli.py" in (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nreference:")[2].partition("\n\n")[0]
