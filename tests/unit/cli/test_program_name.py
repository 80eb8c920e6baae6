from __future__ import annotations

import sys
from pathlib import Path

import pytest

from registry_tool.cli import program_name


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``.venv/bin/regctl`` below the folder one is in, which PATH does not have."""
    path = tmp_path / ".venv" / "bin" / "regctl"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", [str(path)])
    return path


def test_program_not_on_path_is_a_relative_path(program: Path) -> None:
    assert program_name.command() == ".venv/bin/regctl"


def test_program_in_another_folder_is_a_quoted_absolute_path(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "a b é"
    spaced.mkdir()
    moved = program.rename(spaced / "regctl")
    monkeypatch.setattr(sys, "argv", [str(moved)])
    monkeypatch.chdir(program.parent)
    assert program_name.command() == f"'{moved}'"


def test_program_in_the_current_folder_begins_with_a_dot(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program.parent)
    assert program_name.command() == "./regctl"


def test_program_on_path_is_its_name(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    assert program_name.command() == "regctl"


def test_another_program_of_that_name_on_path_is_not_used(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other" / "regctl"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert program_name.command() == ".venv/bin/regctl"


def test_module_is_called_as_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/registry_tool/__main__.py"])
    monkeypatch.chdir(tmp_path)
    assert program_name.command().endswith(" -m registry_tool")
    assert program_name.name() == "regctl"


def test_both_names_are_the_same_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["registry-tool"])
    assert program_name.name() == "registry-tool"
    assert program_name.with_command("Start it: regctl up") == "Start it: registry-tool up"


def test_only_commands_are_replaced(program: Path) -> None:
    respelled = program_name.with_command("regctl up, or regctl --help; see regctl.")
    assert respelled == ".venv/bin/regctl up, or .venv/bin/regctl --help; see regctl."
