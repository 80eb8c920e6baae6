"""A verify report as Markdown, for the summary page of a CI run. Untrusted names are escaped: no mark-up, link or picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from registry_tool.base import units
from registry_tool.base.codec import rfc3339
from registry_tool.cli.views import formatting
from registry_tool.verify.report.report import Comparison, VerifyReport
from registry_tool.verify.result import CHECKS, Check, EnvironmentResult

_MARKS = {True: "✅", False: "❌", None: "➖"}
_MARK_UP = re.compile(r"([\\`*_\[\]~#!|$@]|:(?=//)|(?<=www)\.)")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown(report: VerifyReport) -> str:
    """The page: a conclusion, a table of checks and environments, failed checks, and facts about the image."""
    name = _code(report.image.reference)
    blocks = [f"## {_MARKS[report.ok]} {name} is {'' if report.ok else 'not '}verified"]
    if report.error is not None:
        hint = f" {_text(report.error.hint)}" if report.error.hint else ""
        blocks += [f"**{_text(report.error.message)}.**{hint}", *_log(report.error.excerpt)]
    if report.results:
        blocks.append("\n".join(_checks(report.results)))
    for result in report.results:
        for check in result.checks:
            if check.ok is False:
                blocks += _failed_check(result, check)
    if unchecked := list(_unchecked(report.results)):
        blocks.append("\n".join(("Undecided, or not looked at:", "", *unchecked)))
    blocks += [f"> {_text(note)}" for note in report.notes]
    if report.comparison is not None:
        blocks.append("\n".join(_changes(report.comparison)))
    blocks.append("\n".join(_facts(report)))
    return "\n\n".join(blocks) + "\n"


def _checks(results: Sequence[EnvironmentResult]) -> Iterator[str]:
    yield _row(["", *(_text(result.environment.name) for result in results)])
    yield _row(["---"] * (len(results) + 1))
    yield _row(
        ["engine", *(f"{_text(each.environment.engine)}, {'clean' if each.environment.clean else 'not a clean one'}" for each in results)]
    )
    for name in dict.fromkeys(check.name for result in results for check in result.checks):
        checks = [next((check for check in result.checks if check.name == name), None) for result in results]
        meaning = f": {CHECKS[name]}" if name in CHECKS else ""
        yield _row([f"**{_text(name)}**{meaning}", *(_MARKS[check.ok] if check else "" for check in checks)])
    yield _row(
        ["seconds", *(f"{each.setup:.1f} + {each.checks:.1f} + {each.teardown:.1f}" for each in (result.seconds for result in results))]
    )


def _failed_check(result: EnvironmentResult, check: Check) -> Iterator[str]:
    hint = f" {_text(check.hint)}" if check.hint else ""
    yield f"❌ **{_text(check.name)}** on {_text(result.environment.name)}: {_text(check.detail)}.{hint}"
    yield from _log(check.excerpt)


def _unchecked(results: Sequence[EnvironmentResult]) -> Iterator[str]:
    for result in results:
        for check in result.checks:
            for text in (*check.unchecked, *((check.detail,) if check.ok is None else ())):
                yield f"- **{_text(check.name)}** on {_text(result.environment.name)}: {_text(text)}"


def _changes(comparison: Comparison) -> Iterator[str]:
    head = f"Since the report of {_text(rfc3339(comparison.created))}"
    if not comparison.changes:
        yield f"{head} nothing changed."
        return
    yield f"{head}:"
    yield ""
    yield _row(["where", "what", "before", "now"])
    yield _row(["---"] * 4)
    for change in comparison.changes:
        yield _row([_text(change.where), _text(change.what), *(_text(value) if value else "" for value in (change.before, change.now))])


def _facts(report: VerifyReport) -> Iterator[str]:
    image = report.image
    yield "| image | |"
    yield "|---|---|"
    for name, value in (
        ("digest", str(image.digest or "")),
        ("platform", image.platform or ""),
        ("size", "" if image.size is None else f"{units.size(image.size)} in {units.count(len(image.layers), 'layer')}"),
        ("command", report.command),
        ("made", f"{rfc3339(report.created)} by {report.tool}"),
        ("report", str(report.digest)),
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
    """``text`` on one line, with mark-up escaped."""
    return _MARK_UP.sub(r"\\\1", formatting.one_line(text)).translate(_ENTITIES)


def _code(text: str) -> str:
    """``text`` as code, between enough backticks; a pipe is escaped, as it would end the cell."""
    content = formatting.one_line(text)
    fence = _fence(content, 1)
    blank = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{blank}{content}{blank}{fence}".replace("|", "\\|")


def _fence(content: str, least: int) -> str:
    return "`" * max(least, 1 + max(map(len, re.findall("`+", content)), default=0))
