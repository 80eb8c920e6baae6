"""A check's report as JUnit's XML, which CI systems show: a suite for each repository, a case for each tag."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, tostring

from registry_tool.check import Checked, Finding, Report

# What XML 1.0 has no way to write, not even escaped.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> bytes:
    """The document. What hits several tags is a failure of each; what hits none is a case of its own."""
    root = Element("testsuites", name="regctl check")
    for checked in report.repositories:
        _suite(root, checked)
    if report.error is not None:
        suite = SubElement(root, "testsuite", name="registry", tests="1", failures="0", errors="1")
        _complain(_case(suite, "registry", "check"), "error", report.error.code, report.error.message, report.error.hint)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _suite(root: Element, checked: Checked) -> None:
    suite = SubElement(root, "testsuite", name=_fit(checked.name))
    alone = [finding for finding in checked.findings if not finding.tags]
    for tag in checked.tags:
        case = _case(suite, checked.name, tag)
        for finding in checked.findings:
            if tag in finding.tags:
                _fail(case, finding)
    for finding in alone:
        _fail(_case(suite, checked.name, finding.reference), finding)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(len(case) > 0 for case in suite)))
    suite.set("errors", "0")


def _case(suite: Element, where: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_fit(where), name=_fit(name))


def _fail(case: Element, finding: Finding) -> None:
    # One failure for each case is all that readers agree on: the first one's kind, and the words of all.
    if len(case):
        case[0].text = f"{case[0].text}\n{_fit(_words(finding))}"
    else:
        _complain(case, "failure", finding.kind, finding.detail, _words(finding))


def _words(finding: Finding) -> str:
    return f"{finding.kind}: {finding.reference}: {finding.detail}. {finding.hint}"


def _complain(case: Element, element: str, kind: str, message: str, text: str | None) -> None:
    SubElement(case, element, type=kind, message=_fit(message)).text = _fit(text or "")


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
