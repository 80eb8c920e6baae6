"""JUnit XML for CI systems. ``check``: a suite for each repository, a case for each tag. ``verify``: for each engine, for each check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from registry_tool.base.codec import rfc3339
from registry_tool.content.check import CheckReport, Finding, RepositoryReport
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import EnvironmentResult

# Characters that XML 1.0 cannot represent, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_junit(report: CheckReport) -> bytes:
    """The JUnit document of a check report. A finding is a failure of each affected tag; without tags it has a case of its own."""
    root = Element("testsuites", name="regctl check")
    for checked in report.repositories:
        _suite(root, checked)
    if report.error is not None:
        suite = SubElement(root, "testsuite", name="registry", tests="1", failures="0", errors="1")
        _problem(_case(suite, "registry", "check"), "error", report.error.code, report.error.message, report.error.hint)
    return _serialized(root, ("tests", "failures", "errors"))


def verify_junit(report: VerifyReport) -> bytes:
    """The JUnit document of a verify report. A check that was undecided, or had nothing to check, is skipped."""
    root = Element("testsuites", name="regctl verify")
    for result in report.results:
        _environment(root, result, report)
    if (error := report.error) is not None:
        suite = SubElement(root, "testsuite", name="verify", tests="1", failures="0", errors="1", skipped="0", time="0")
        _problem(_case(suite, "verify", "verify"), "error", error.code, error.message, _lines(error.hint, error.excerpt))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    return _serialized(root, ("tests", "failures", "errors", "skipped"))


def _environment(root: Element, result: EnvironmentResult, report: VerifyReport) -> None:
    info, seconds = result.environment, result.seconds
    suite = SubElement(root, "testsuite", name=_xml_text(info.name), timestamp=rfc3339(report.created).removesuffix("Z"))
    properties = SubElement(suite, "properties")
    values = {"image": report.image.reference, "digest": report.image.digest, "engine": info.engine, "kernel": info.kernel}
    for name, value in values.items():
        SubElement(properties, "property", name=name, value=_xml_text(str(value or "")))
    for check in result.checks:
        case = _case(suite, f"verify.{info.name}", check.name)
        case.set("time", f"{check.seconds:.3f}")
        if check.ok is None:
            SubElement(case, "skipped", message=_xml_text(check.detail))
        elif not check.ok:
            _problem(case, "failure", check.name, check.detail, _lines(check.detail, (check.hint or "", *check.excerpt)))
        if check.unchecked:
            SubElement(case, "system-out").text = _xml_text("\n".join(f"not looked at: {text}" for text in check.unchecked))
    suite.set("tests", str(len(result.checks)))
    suite.set("failures", str(sum(check.ok is False for check in result.checks)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(check.ok is None for check in result.checks)))
    suite.set("time", f"{seconds.setup + seconds.checks + seconds.teardown:.3f}")


def _lines(first: str | None, others: Sequence[str]) -> str:
    return "\n".join(filter(None, (first, *others)))


def _serialized(root: Element, counts: Sequence[str]) -> bytes:
    for count in counts:
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    content: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def _suite(root: Element, report: RepositoryReport) -> None:
    suite = SubElement(root, "testsuite", name=_xml_text(report.name))
    untagged = [finding for finding in report.findings if not finding.tags]
    for tag in report.tags:
        case = _case(suite, report.name, tag)
        for finding in report.findings:
            if tag in finding.tags:
                _add_finding(case, finding)
    for finding in untagged:
        _add_finding(_case(suite, report.name, finding.reference), finding)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(len(case) > 0 for case in suite)))
    suite.set("errors", "0")


def _case(suite: Element, where: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_xml_text(where), name=_xml_text(name))


def _add_finding(case: Element, finding: Finding) -> None:
    # Readers support one failure for each case: it has the first finding's kind, and the text of all.
    if len(case):
        case[0].text = f"{case[0].text}\n{_xml_text(_text(finding))}"
    else:
        _problem(case, "failure", finding.kind, finding.detail, _text(finding))


def _text(finding: Finding) -> str:
    return f"{finding.kind}: {finding.reference}: {finding.detail}. {finding.hint}"


def _problem(case: Element, element: str, kind: str, message: str, text: str | None) -> None:
    SubElement(case, element, type=_xml_text(kind), message=_xml_text(message)).text = _xml_text(text or "")


def _xml_text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
