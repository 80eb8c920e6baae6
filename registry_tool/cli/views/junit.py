"""JUnit's XML, which CI systems show. Of a check: a suite a repository, a case a tag. Of a certificate: a suite a place, a case a point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from registry_tool.base.codec import rfc3339
from registry_tool.content.check import CheckReport, Finding, RepositoryReport
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import Check, EnvironmentResult

# What XML 1.0 has no way to write, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_junit(report: CheckReport) -> bytes:
    """The document. What hits several tags is a failure of each; what hits none is a case of its own."""
    root = Element("testsuites", name="regctl check")
    for checked in report.repositories:
        _suite(root, checked)
    if report.error is not None:
        suite = SubElement(root, "testsuite", name="registry", tests="1", failures="0", errors="1")
        _problem(_case(suite, "registry", "check"), "error", report.error.code, report.error.message, report.error.hint)
    return _serialized(root, ("tests", "failures", "errors"))


def verify_junit(certificate: VerifyReport) -> bytes:
    """The same of a proof. A point that could not be told, or was not asked, is a case that was skipped."""
    root = Element("testsuites", name="regctl verify")
    for proven in certificate.results:
        _place(root, proven, certificate)
    if certificate.error is not None:
        suite = SubElement(root, "testsuite", name="verify", tests="1", failures="0", errors="1", skipped="0", time="0")
        error = certificate.error
        _problem(_case(suite, "verify", "verify"), "error", error.code, error.message, _lines(error.hint, error.excerpt))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    return _serialized(root, ("tests", "failures", "errors", "skipped"))


def _place(root: Element, proven: EnvironmentResult, certificate: VerifyReport) -> None:
    where = proven.where
    suite = SubElement(root, "testsuite", name=_xml_text(where.name), timestamp=rfc3339(certificate.created).removesuffix("Z"))
    properties = SubElement(suite, "properties")
    told = {"image": certificate.image.reference, "digest": certificate.image.digest, "engine": where.engine, "kernel": where.kernel}
    for name, value in told.items():
        SubElement(properties, "property", name=name, value=_xml_text(str(value or "")))
    for point in proven.checks:
        case = _case(suite, f"verify.{where.name}", point.name)
        case.set("time", f"{point.seconds:.3f}")
        _outcome(case, point)
    suite.set("tests", str(len(proven.checks)))
    suite.set("failures", str(sum(point.ok is False for point in proven.checks)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(point.ok is None for point in proven.checks)))
    seconds = proven.seconds
    suite.set("time", f"{seconds.setup + seconds.checks + seconds.teardown:.3f}")


def _outcome(case: Element, point: Check) -> None:
    if point.ok is None:
        SubElement(case, "skipped", message=_xml_text(point.detail))
    elif not point.ok:
        _problem(case, "failure", point.name, point.detail, _lines(point.detail, (point.hint or "", *point.excerpt)))


def _lines(first: str | None, rest: Sequence[str]) -> str:
    return "\n".join(filter(None, (first, *rest)))


def _serialized(root: Element, counts: Sequence[str]) -> bytes:
    for count in counts:
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _suite(root: Element, report: RepositoryReport) -> None:
    suite = SubElement(root, "testsuite", name=_xml_text(report.name))
    alone = [finding for finding in report.findings if not finding.tags]
    for tag in report.tags:
        case = _case(suite, report.name, tag)
        for finding in report.findings:
            if tag in finding.tags:
                _add_finding(case, finding)
    for finding in alone:
        _add_finding(_case(suite, report.name, finding.reference), finding)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(len(case) > 0 for case in suite)))
    suite.set("errors", "0")


def _case(suite: Element, where: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_xml_text(where), name=_xml_text(name))


def _add_finding(case: Element, finding: Finding) -> None:
    # One failure for each case is all that readers agree on: the first one's kind, and the words of all.
    if len(case):
        case[0].text = f"{case[0].text}\n{_xml_text(_words(finding))}"
    else:
        _problem(case, "failure", finding.kind, finding.detail, _words(finding))


def _words(finding: Finding) -> str:
    return f"{finding.kind}: {finding.reference}: {finding.detail}. {finding.hint}"


def _problem(case: Element, element: str, kind: str, message: str, text: str | None) -> None:
    SubElement(case, element, type=_xml_text(kind), message=_xml_text(message)).text = _xml_text(text or "")


def _xml_text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
