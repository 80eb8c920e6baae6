"""Progress and result of ``verify`` on a terminal: each environment with its checks, and a conclusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.cli.output import Output
from registry_tool.cli.views import formatting
from registry_tool.cli.views.demo import DemoView

if TYPE_CHECKING:
    from registry_tool.verify.report.report import Comparison, VerifyReport
    from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentResult

_MARKS = {True: ("ok  ", "green"), False: ("FAIL", "red"), None: ("-   ", "dim")}


class VerifyView(DemoView):
    """Observer and listener of ``verify``. With ``--json`` the lines go to standard error."""

    def environment_opening(self, name: str) -> None:
        self.begin(name, "preparing the engine")

    def environment_ready(self, info: EnvironmentInfo, setup: float) -> None:
        self._view.stop()
        render_environment(self._output, info, setup)

    def check_finished(self, check: Check) -> None:
        self._view.stop()
        render_check(self._output, check)

    def environment_finished(self, result: EnvironmentResult) -> None:
        self._view.stop()


def render_environment(output: Output, info: EnvironmentInfo, setup: float) -> None:
    """Print the heading of an environment; ``setup`` is in seconds."""
    clean = "a clean engine" if info.clean else "not a clean engine"
    about = f"{info.engine}, {info.platform}, {clean}, ready in {formatting.seconds(setup)}"
    output.spans((formatting.one_line(info.name), "head"), (f": {formatting.one_line(about)}", ""))


def render_check(output: Output, check: Check) -> None:
    """Print a check; of a failed one also the excerpt and the hint."""
    name, seconds = f"  {formatting.one_line(check.name):<10} ", f" {formatting.seconds_column(check.seconds)}  "
    mark = _MARKS[check.ok]
    width = output.columns
    detail = formatting.fitted(formatting.one_line(check.detail), width and width - len(name) - len(mark[0]) - len(seconds))
    output.spans((name, "bold"), mark, (seconds, ""), (detail, ""))
    for text in check.unchecked:
        output.spans((f"    not looked at: {formatting.one_line(text)}", "dim"))
    if check.ok:
        return
    for line in check.excerpt:
        output.spans((f"    | {formatting.one_line(line)}", "dim"))
    if check.hint:
        output.spans((f"    hint: {formatting.one_line(check.hint)}", ""))


def render_environments(output: Output, report: VerifyReport) -> None:
    """Print all environments of a report."""
    for result in report.results:
        render_environment(output, result.environment, result.seconds.setup)
        for check in result.checks:
            render_check(output, check)


def render_changes(output: Output, comparison: Comparison) -> None:
    """Print what changed since an earlier report, one line for each change."""
    output.line()
    from registry_tool.base.codec import rfc3339

    created = rfc3339(comparison.created)
    output.line(f"changed since {created}:" if comparison.changes else f"nothing changed since {created}")
    for change in comparison.changes:
        before, now = change.before or "none", change.now or "none"
        output.line("  " + formatting.one_line(f"{change.where}: {change.what}: {before} → {now}"))


def render_summary(output: Output, report: VerifyReport) -> None:
    """Print the notes and the conclusion."""
    output.line()
    for note in report.notes[:-1]:
        output.line(formatting.one_line(note))
    output.spans((formatting.one_line(_conclusion(report)), "green" if report.ok else "red"))


def _conclusion(report: VerifyReport) -> str:
    image = report.image
    name = image.reference if image.digest is None or "@" in image.reference else f"{image.reference}@{image.digest}"
    failed = [f"{check.name} on {result.environment.name}" for result in report.results for check in result.checks if check.ok is False]
    if report.ok:
        passed = ((result.environment.name, sum(check.ok is True for check in result.checks)) for result in report.results)
        counts = ", ".join(f"{where}: {units.count(number, 'check')}" for where, number in passed)
        text = f"verified: {name} ({counts})"
    else:
        text = f"not verified: {name}" + (f": {', '.join(failed)} failed" if failed else "")
    return "; ".join((text, *report.notes[-1:]))
