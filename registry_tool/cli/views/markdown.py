"""A certificate as Markdown, for the summary page of a CI run. What strangers named is text there: no mark-up, no link, no picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from registry_tool.base import units
from registry_tool.base.codec import rfc3339
from registry_tool.cli.views import formatting
from registry_tool.verify.report.parts import Comparison
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import CHECKS, Check, EnvironmentResult

_MARKS = {True: "✅", False: "❌", None: "➖"}
_MARK_UP = re.compile(r"([\\`*_\[\]~#!|$@]|:(?=//)|(?<=www)\.)")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown(certificate: VerifyReport) -> str:
    """The page: a line that says it all, a table of points and places, what is red, and what the certificate is of."""
    name = _code(certificate.image.reference)
    blocks = [f"## {_MARKS[certificate.ok]} {name} is {'' if certificate.ok else 'not '}verified"]
    if certificate.error is not None:
        hint = f" {_text(certificate.error.hint)}" if certificate.error.hint else ""
        blocks += [f"**{_text(certificate.error.message)}.**{hint}", *_log(certificate.error.excerpt)]
    if certificate.results:
        blocks.append("\n".join(_points(certificate.results)))
    for proven in certificate.results:
        for point in proven.checks:
            if point.ok is False:
                blocks += _red(proven, point)
    blocks += [f"> {_text(note)}" for note in certificate.notes]
    if certificate.comparison is not None:
        blocks.append("\n".join(_changes(certificate.comparison)))
    blocks.append("\n".join(_facts(certificate)))
    return "\n\n".join(blocks) + "\n"


def _points(proven: Sequence[EnvironmentResult]) -> Iterator[str]:
    yield _row(["", *(_text(each.where.name) for each in proven)])
    yield _row(["---"] * (len(proven) + 1))
    yield _row(["engine", *(f"{_text(each.where.engine)}, {'clean' if each.where.clean else 'not a clean one'}" for each in proven)])
    for name in dict.fromkeys(point.name for each in proven for point in each.checks):
        found = [next((point for point in each.checks if point.name == name), None) for each in proven]
        meaning = f": {CHECKS[name]}" if name in CHECKS else ""
        yield _row([f"**{_text(name)}**{meaning}", *(_MARKS[point.ok] if point else "" for point in found)])
    yield _row(
        ["seconds", *(f"{each.setup:.1f} + {each.checks:.1f} + {each.teardown:.1f}" for each in (result.seconds for result in proven))]
    )


def _red(proven: EnvironmentResult, point: Check) -> Iterator[str]:
    hint = f" {_text(point.hint)}" if point.hint else ""
    yield f"❌ **{_text(point.name)}** on {_text(proven.where.name)}: {_text(point.detail)}.{hint}"
    yield from _log(point.excerpt)


def _changes(against: Comparison) -> Iterator[str]:
    head = f"Since the report of {_text(rfc3339(against.created))}"
    if not against.changes:
        yield f"{head} nothing changed."
        return
    yield f"{head}:"
    yield ""
    yield _row(["where", "what", "before", "now"])
    yield _row(["---"] * 4)
    for change in against.changes:
        yield _row([_text(change.where), _text(change.what), *(_text(value) if value else "" for value in (change.before, change.now))])


def _facts(certificate: VerifyReport) -> Iterator[str]:
    subject = certificate.image
    yield "| image | |"
    yield "|---|---|"
    for name, value in (
        ("digest", str(subject.digest or "")),
        ("platform", subject.platform or ""),
        ("size", "" if subject.size is None else f"{units.size(subject.size)} in {units.count(len(subject.layers), 'layer')}"),
        ("command", certificate.command),
        ("made", f"{rfc3339(certificate.created)} by {certificate.tool}"),
        ("report", str(certificate.digest)),
    ):
        if value:
            yield _row([name, _code(value)])


def _log(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        content = "\n".join(formatting.printable(line.replace("\n", " ")) for line in lines)
        fence = _fence(content, 3)
        yield f"{fence}text\n{content}\n{fence}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """``text`` on one line, that means nothing but itself."""
    return _MARK_UP.sub(r"\\\1", formatting.one_line(text)).translate(_ENTITIES)


def _code(text: str) -> str:
    """``text`` as it is, between as many backticks as it takes; a pipe would end a table's cell even there."""
    content = formatting.one_line(text)
    fence = _fence(content, 1)
    blank = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{blank}{content}{blank}{fence}".replace("|", "\\|")


def _fence(content: str, least: int) -> str:
    return "`" * max(least, 1 + max(map(len, re.findall("`+", content)), default=0))
