from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from registry_tool.base.errors import RegistryUnreachable
from registry_tool.cli.views.junit import check_junit
from registry_tool.content.check import CheckReport, Finding, RepositoryReport
from registry_tool.oci.digest import Digest
from registry_tool.server import MemoryStorage, RunningRegistry
from tests.e2e.test_docs_json import SECTIONS, as_told
from tests.support.cli_runner import Terminal, Typed
from tests.support.content import layer, make_image


@pytest.fixture
def typed(registry: RunningRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    return Typed(capsys)


@pytest.fixture
def damaged(registry: RunningRegistry) -> str:
    """A layer that two tags have, and the registry has not any more; its digest."""
    lost = layer(b"lost")
    for tag in ("1", "2"):
        make_image(registry.port, "john/app", tag, lost, layer(tag.encode()))
    make_image(registry.port, "whole", "1")
    assert isinstance(registry.application.storage, MemoryStorage)
    del registry.application.storage.blobs[Digest.of(lost)]
    return str(Digest.of(lost))


def test_complete_registry_is_one_line(typed: Typed, registry: RunningRegistry) -> None:
    make_image(registry.port, "a", "1")
    make_image(registry.port, "b", "1")
    answer = typed("check")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r"2 images in 2 repositories: all complete \(4 blobs, [\d.]+kB read\)\n", answer.out)


def test_registry_of_another_address_is_checked_as_a_whole(
    typed: Typed, registry: RunningRegistry, damaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "localhost:1")
    answer = typed("check", registry.host)
    assert answer.code == 1
    assert "3 images in 2 repositories" in answer.out
    assert typed("check", registry.host, "whole").code == 2, "one of them is no repository"
    assert typed("check", "localhost:99999").code == 2


def test_empty_registry_is_complete(typed: Typed) -> None:
    answer = typed("check")
    assert (answer.code, answer.out) == (0, "0 images in 0 repositories: all complete (0 blobs, 0B read)\n")


def test_findings_are_a_table_with_hints(typed: Typed, registry: RunningRegistry, damaged: str) -> None:
    answer = typed("check")
    assert answer.code == 1
    head, row, blank, sum_, hint = answer.out.splitlines()
    assert re.split(" {3,}", head) == ["KIND", "WHERE", "TAGS", "WHAT"]
    kind, where, tags, what = re.split(" {3,}", row)
    assert re.fullmatch(rf"{re.escape(registry.host)}/john/app@[0-9a-f]{{12}}", where)
    assert (kind, tags, what) == ("missing-layer", "1, 2", "layers[0]: is missing; 1 more manifest names it, too")
    assert blank == ""
    assert sum_.startswith("3 images in 2 repositories: 1 finding (")
    assert hint.startswith("missing-layer: a layer is missing. Push the image again.")


def test_a_repository_by_name(typed: Typed, registry: RunningRegistry, damaged: str) -> None:
    assert typed("check", "whole").code == 0
    assert typed("check", f"{registry.host}/whole", "john/app").code == 1
    assert typed("check", "john/app").out.count("missing-layer") == 2


def test_document_is_that_of_docs_json(typed: Typed, damaged: str) -> None:
    answer = typed("check", "--json", "--deep")
    assert answer.code == 1
    assert as_told(answer.json, SECTIONS["check"][1]) == []
    [finding] = answer.json["findings"]
    assert (finding["kind"], finding["digest"], finding["tags"]) == ("missing-layer", damaged, ["1", "2"])


def test_missing_repository_is_reported_with_the_findings(typed: Typed, damaged: str) -> None:
    answer = typed("check", "--json", "john/app", "nope")
    assert answer.code == 1
    assert answer.json["error"]["code"] == "not-found"
    assert [finding["kind"] for finding in answer.json["findings"]] == ["missing-layer"]
    answer = typed("check", "whole", "nope")
    assert answer.code == 1
    assert "the check is incomplete" in answer.err
    assert "nope" in answer.err


def test_unreachable_registry_is_exit_3(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", "127.0.0.1:1")
    answer = typed("check", "--json")
    assert answer.code == 3
    assert answer.json["ok"] is False
    assert answer.json["error"]["code"] == "registry-unreachable"
    answer = typed("check")
    assert (answer.code, answer.out) == (3, "")
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]


@pytest.mark.parametrize("names", [["a:1"], [f"a@sha256:{'0' * 64}"], ["localhost:1/a", "localhost:2/a"], ["UPPER"]])
def test_names_that_are_no_repositories_of_one_registry_are_exit_2(typed: Typed, names: list[str]) -> None:
    answer = typed("check", *names)
    assert answer.code == 2
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["regctl", "hint"]


def test_progress_bar_on_a_terminal(registry: RunningRegistry, damaged: str) -> None:
    with Terminal(["check", "--deep"], {"REGISTRY_TOOL_REGISTRY": registry.host}) as terminal:
        assert terminal.end() == 1
    assert "Checked 3 images in 2 repositories" in terminal.text
    assert "missing-layer" in terminal.text


def test_junit(typed: Typed, registry: RunningRegistry, damaged: str, tmp_path: Path) -> None:
    file = tmp_path / "reports" / "check.xml"
    assert typed("check", "--junit", str(file)).code == 1
    root = ET.fromstring(file.read_bytes())  # noqa: S314
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "2", "0")
    assert {suite.get("name"): suite.get("failures") for suite in root} == {
        f"{registry.host}/john/app": "2",
        f"{registry.host}/whole": "0",
    }
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    failure = cases[f"{registry.host}/john/app", "1"].find("failure")
    assert failure is not None
    assert failure.get("type") == "missing-layer"
    assert "Push the image again." in (failure.text or "")
    assert cases[f"{registry.host}/whole", "1"].find("failure") is None


def test_unwritable_junit_file_is_an_error_with_the_report(typed: Typed, damaged: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = typed("check", "--json", "--junit", str(tmp_path / "file" / "check.xml"))
    assert answer.code == 1
    assert "cannot be written" in answer.json["error"]["message"]
    assert len(answer.json["findings"]) == 1


def test_junit_escapes_what_a_server_sends() -> None:
    evil = "a\x00\x1b[31m\ud800]]><&\"'\ufffe"
    findings = (
        Finding(kind="wrong-size", reference=evil, digest=None, tags=(), detail=evil),
        Finding(kind="wrong-size", reference=evil, digest=None, tags=(evil,), detail="first"),
        Finding(kind="wrong-size", reference=evil, digest=None, tags=(evil,), detail="second"),
    )
    checked = RepositoryReport(name=evil, tags=(evil,), images=1, findings=findings, notes=())
    report = CheckReport(repositories=(checked,), blobs=0, bytes_read=0, error=RegistryUnreachable(evil, hint=evil))
    root = ET.fromstring(check_junit(report))  # noqa: S314
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "2", "1")
    [one, alone] = root[0]
    failure = one.find("failure")
    assert failure is not None
    assert failure.get("message") == "first"
    assert "second" in (failure.text or "")
    assert "\N{REPLACEMENT CHARACTER}]]><&\"'" in (alone.get("name") or "")
