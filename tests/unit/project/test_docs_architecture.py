"""``docs/architecture.md`` is about the program that is there: its rooms, its contract, its labels."""

from __future__ import annotations

import re
import sys

from registry_tool.base import labels
from tests.support.documents import blocks
from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = ROOT / "docs" / "architecture.md"


def contract() -> list[str]:
    """The lines of the import contract; parentheses only say that a room may be absent."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [rooms] = [contract for contract in document["tool"]["importlinter"]["contracts"] if contract["id"] == "rooms"]
    return [line.replace("(", "").replace(")", "") for line in rooms["layers"]]


def test_the_contract_is_the_one_that_is_tested() -> None:
    assert contract() == blocks(PAGE, "")[1].splitlines()


def test_every_room_that_is_there_is_told_and_no_other() -> None:
    package = [path for path in (ROOT / "registry_tool").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    there = {path.name for path in package if not path.name.startswith("__")}
    stated = {name.rstrip("/") for name in re.findall(r"^  ([a-z_]+/) ", blocks(PAGE, "")[0], re.MULTILINE)}
    allowed = {room for line in contract() for room in line.split(" | ")}
    assert there - stated == set(), "a room without its line"
    assert {name.removesuffix(".py") for name in stated} - allowed == set(), "a line without a place in the contract"


def test_every_label_is_told() -> None:
    names = {
        value for key, value in vars(labels).items() if isinstance(value, str) and value.startswith(f"{labels.PREFIX}.") and key != "PREFIX"
    }
    assert set(re.findall(r"^\| `(io\.registry-tool\.[a-z]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == names
    roles = {value for key, value in vars(labels).items() if key.startswith("ROLE_")}
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{labels.ROLE}`"))
    assert set(re.findall(r"`([a-z]+)`", row.partition("|")[2].partition("|")[2])) == roles
