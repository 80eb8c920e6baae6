"""The matrix of engines: its table and what it makes of a report. The engines themselves are ``make matrix``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.matrix import __main__ as matrix
from tests.matrix import image, results
from tests.matrix.commands import Failed, Unavailable
from tests.matrix.rows import ROWS, SHORT
from tests.support.paths import ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="tests.engine.test_a" name="test_good[x-1]"/>
<testcase classname="tests.engine.test_a" name="test_bad"><failure message="m">text</failure></testcase>
<testcase classname="tests.engine.test_a" name="test_bad"><error message="m">text</error></testcase>
<testcase classname="tests.engine.test_a" name="test_broken"><error message="m">text</error></testcase>
<testcase classname="tests.engine.test_b" name="test_not[1]"><skipped message="no compose: not in /tmp/pytest-1/a"/></testcase>
<testcase classname="tests.engine.test_b" name="test_not[2]"><skipped message="no compose: not in /tmp/pytest-2/b"/></testcase>
</testsuite></testsuites>"""


def counts(tmp_path: Path) -> results.Counts:
    path = tmp_path / "junit.xml"
    path.write_text(REPORT, encoding="utf-8")
    return results.read_junit(path, versions="Docker 28.5.2, Python 3.14.6", commit="abc1234", date="2026-01-01")


def test_report_is_counted_by_outcome_and_reason_without_what_differs_each_time(tmp_path: Path) -> None:
    read = counts(tmp_path)
    assert read.passed == 1
    assert read.failed == ("tests/engine/test_a.py::test_bad", "tests/engine/test_a.py::test_broken")
    assert read.skipped == {"no compose: not in …": 2}


def test_table_has_a_line_for_each_row_that_was_run_and_names_what_failed(tmp_path: Path) -> None:
    table = results.tables([("sid-containerd", counts(tmp_path))])
    assert "| sid | Docker 28.5.2, Python 3.14.6 | containerd | 1 | 2 | 2 | abc1234, 2026-01-01 |" in table
    assert "- failed: `tests/engine/test_a.py::test_broken`" in table
    assert "- 2 skipped: no compose: not in …" in table


def test_page_keeps_what_a_person_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    page = tmp_path / "engines.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n", encoding="utf-8")
    results.keep("sid-podman", counts(tmp_path))
    results.write_page(page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| sid | Docker 28.5.2" in text


def test_page_in_the_documents_is_made_of_the_kept_results() -> None:
    text = results.PAGE.read_text(encoding="utf-8")
    assert f"{results.BEGIN}\n\n{results.tables(results.kept())}\n\n{results.END}" in text


def test_rows_have_names_of_their_own_and_the_short_form_is_among_them() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(SHORT) <= set(names)
    help_lines = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(name in names for name in re.findall(r"--only (\S+)", help_lines))


@pytest.mark.parametrize(("required", "status"), [(frozenset[str](), 0), (frozenset({"matrix"}), 1)])
def test_packages_that_cannot_be_had_are_a_failure_where_the_matrix_is_required(
    required: frozenset[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(suite: str) -> str:
        raise Unavailable(f"Debian {suite}'s packages cannot be had: no network")

    monkeypatch.setattr(matrix, "REQUIRED", required)
    monkeypatch.setattr(image, "ensure", ensure)
    monkeypatch.setattr(sys, "argv", ["matrix", "--short"])
    assert matrix.main() == status
    assert "packages cannot be had: no network" in capsys.readouterr().err


def test_mirror_is_the_one_of_this_machine_and_debians_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["", "http://packages.example/other/\nhttp://mirror.example/debian/\n"])
    monkeypatch.setattr(image, "run", lambda *command: next(answers))
    assert image._mirror() == "http://mirror.example/debian/"

    def fail(*command: str) -> str:
        raise Failed("no apt-get")

    monkeypatch.setattr(image, "run", fail)
    assert image._mirror() == "http://deb.debian.org/debian/"
