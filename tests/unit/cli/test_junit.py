from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given

from registry_tool.base.errors import EngineNotFound
from registry_tool.cli.views.junit import verify_junit
from registry_tool.verify.report.report import Failure, VerifyReport
from tests.support.reports import DOCKER, EVIL, GREEN, NAME, any_report, check, digest, failing, result

COUNTS = ("tests", "failures", "errors", "skipped")


def parsed(report: VerifyReport) -> ET.Element:
    return ET.fromstring(verify_junit(report))  # noqa: S314 - our own


def counts(element: ET.Element) -> list[str | None]:
    return [element.get(count) for count in COUNTS]


def test_suites_are_environments_and_cases_are_checks() -> None:
    root = parsed(GREEN)
    assert (root.tag, root.get("name"), counts(root)) == ("testsuites", "regctl verify", ["6", "0", "0", "2"])
    assert [(suite.get("name"), counts(suite), suite.get("time")) for suite in root] == [
        ("docker", ["3", "0", "0", "1"], "4.000"),
        ("podman", ["3", "0", "0", "1"], "4.000"),
    ]
    suite = root[0]
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
        "image": NAME,
        "digest": str(digest("manifest")),
        "engine": "Docker 28.2.2",
        "kernel": "6.1.0",
    }
    cases = suite.findall("testcase")
    assert [(case.get("classname"), case.get("name"), case.get("time")) for case in cases] == [
        ("verify.docker", name, "0.250") for name in ("resolves", "starts", "probes")
    ]
    [skipped] = cases[2]
    assert (skipped.tag, skipped.get("message")) == ("skipped", "probes was looked at")


def test_failed_check_is_a_failure_with_excerpt_and_hint() -> None:
    root = parsed(failing())
    assert counts(root) == ["5", "1", "0", "1"]
    [failure] = root.iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("probes", "no answer")
    assert failure.text == "no answer\nLook at its log.\nstarting\nbroken"


def test_error_of_a_report_has_its_own_suite() -> None:
    root = parsed(replace(GREEN, error=Failure.of(EngineNotFound("no podman", hint="Install it.", excerpt=("a", "b")))))
    assert counts(root) == ["7", "0", "1", "2"]
    [error] = root.iter("error")
    assert (error.get("type"), error.get("message"), error.text) == ("engine-not-found", "no podman", "Install it.\na\nb")


def test_junit_replaces_characters_that_xml_cannot_represent() -> None:
    where = replace(DOCKER, name=EVIL, engine=EVIL)
    points = (check(EVIL, False, detail=EVIL, hint=EVIL, excerpt=(EVIL,)), check(EVIL, None, detail=EVIL))
    root = parsed(
        replace(
            GREEN,
            image=replace(GREEN.image, reference=EVIL),
            results=(result(where, *points),),
            error=Failure(code=EVIL, message=EVIL, hint=EVIL, excerpt=(EVIL,)),
        )
    )
    assert counts(root) == ["3", "1", "1", "1"]
    assert "]]>&\"'" in str(root[0].get("name"))
    assert not any(letter in ET.tostring(root, encoding="unicode") for letter in "\x00\x1b\ufffe\ud800")


@given(any_report)
def test_junit_of_every_report_has_consistent_counts(report: VerifyReport) -> None:
    root = parsed(report)
    points = [each for place in report.results for each in place.checks]
    wanted = [len(points), sum(each.ok is False for each in points), 0, sum(each.ok is None for each in points)]
    if report.error is not None:
        wanted[0] += 1
        wanted[2] += 1
    assert counts(root) == [str(count) for count in wanted]
