from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given

from registry_tool.base.errors import EngineNotFound
from registry_tool.cli.views.markdown import markdown
from registry_tool.verify.report.compare import compare
from registry_tool.verify.report.report import Failure, VerifyReport
from tests.support.reports import DOCKER, EVIL, GREEN, NAME, any_report, check, digest, failing, result

CELL = re.compile(r"(?<!\\)\|")


def tables(page: str) -> list[list[list[str]]]:
    """Every table: rows of cells, cut at the pipes that a reader of Markdown cuts at."""
    page = re.sub(r"^(`{3,})text\n.*?^\1$", "", page, flags=re.MULTILINE | re.DOTALL)
    actual: list[list[list[str]]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            actual[-1].append([cell.strip() for cell in CELL.split(line)[1:-1]])
        elif actual[-1]:
            actual.append([])
    return [table for table in actual if table]


def test_markdown_of_a_passed_report() -> None:
    page = markdown(GREEN)
    assert page.startswith(f"## ✅ `{NAME}` is verified\n")
    points, facts = tables(page)
    assert points[0] == ["", "docker", "podman"]
    assert points[2] == ["engine", "Docker 28.2.2, clean", "Podman 4.3.1, clean"]
    assert points[3] == ["**resolves**: the name resolves to the expected digest", "✅", "✅"]
    assert points[5][1:] == ["➖", "➖"]
    assert points[-1] == ["seconds", "1.5 + 2.0 + 0.5", "1.5 + 2.0 + 0.5"]
    assert dict(facts[2:])["digest"] == f"`{digest('manifest')}`"
    assert dict(facts[2:])["size"] == "`1kB in 1 layer`"
    assert dict(facts[2:])["report"] == f"`{GREEN.digest}`"
    assert dict(facts[2:])["command"] == f"`{GREEN.command}`"


def test_markdown_of_a_failed_report_has_reason_and_log() -> None:
    page = markdown(failing())
    assert page.startswith(f"## ❌ `{NAME}` is not verified\n")
    assert "❌ **probes** on docker: no answer. Look at its log.\n\n```text\nstarting\nbroken\n```\n" in page
    assert tables(page)[0][4][1:] == ["❌", "➖"]


def test_check_missing_in_an_environment_has_an_empty_cell() -> None:
    page = markdown(replace(GREEN, results=(result(DOCKER, check("resolves")), GREEN.results[1])))
    assert tables(page)[0][4][1:] == ["", "✅"]


def test_markdown_has_error_notes_and_changes() -> None:
    failed = replace(GREEN, error=Failure.of(EngineNotFound("no podman", hint="Install it.")), notes=("the present engine was taken",))
    page = markdown(replace(failed, comparison=compare(GREEN, failed)))
    assert "**no podman.** Install it.\n" in page
    assert "> the present engine was taken\n" in page
    assert "Since the report of 2026-01-31T12:00:00Z:\n" in page
    assert ["certificate", "error", "", "engine-not-found"] in tables(page)[1]
    assert "nothing changed." in markdown(replace(GREEN, comparison=compare(GREEN, GREEN)))


EVERYWHERE = replace(
    GREEN,
    image=replace(GREEN.image, reference=EVIL, platform=EVIL),
    command=EVIL,
    notes=(EVIL,),
    results=(result(replace(DOCKER, name=EVIL, engine=EVIL), check(EVIL, False, detail=EVIL, hint=EVIL, excerpt=(EVIL, "```", "````"))),),
    error=Failure(code=EVIL, message=EVIL, hint=EVIL),
)


def test_markdown_escapes_names() -> None:
    page = markdown(EVERYWHERE)
    assert all(len(row) == len(table[0]) for table in tables(page) for row in table)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"^(`{3,})text\n.*?^\1$", "", page, flags=re.MULTILINE | re.DOTALL))
    assert "<b>" not in outside
    assert "\\!\\[i\\]" in outside
    assert not re.search(r"(?<!\\)!\[", outside)
    assert "`````text\n" in page
    assert not re.search(r"(?<!\\)://|www\.", outside), "an address is a link by itself"


@pytest.mark.parametrize("steers", ["\x00", "\x1b", "\u202e"])
def test_markdown_has_no_control_characters(steers: str) -> None:
    assert steers not in markdown(EVERYWHERE)


@given(any_report)
def test_markdown_tables_of_every_report_are_regular(report: VerifyReport) -> None:
    page = markdown(report)
    assert all(len(row) == len(table[0]) for table in tables(page) for row in table)
    page.encode()
