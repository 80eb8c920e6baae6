"""A proof for a terminal: each place with its points, as they come or as a report tells them, and a line that says it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.base.codec import rfc3339
from registry_tool.cli.output import Output
from registry_tool.cli.views import formatting
from registry_tool.cli.views.demo import DemoView

if TYPE_CHECKING:
    from registry_tool.verify.report.parts import Comparison
    from registry_tool.verify.report.report import VerifyReport
    from registry_tool.verify.result import Check, EnvironmentInfo, EnvironmentResult

_MARKS = {True: ("ok  ", "green"), False: ("FAIL", "red"), None: ("-   ", "dim")}


class VerifyView(DemoView):
    """The proof as it happens: its observer, as the demo's, and its watcher. With ``--json`` it is told on standard error."""

    def __enter__(self) -> VerifyView:
        return self

    def environment_opening(self, name: str) -> None:
        self.begin(name, "preparing the engine")

    def environment_ready(self, where: EnvironmentInfo, setup: float) -> None:
        self._clear()
        render_environment(self._output, where, setup)

    def check_finished(self, found: Check) -> None:
        self._clear()
        render_check(self._output, found)

    def environment_finished(self, proven: EnvironmentResult) -> None:
        self._clear()


def render_environment(output: Output, where: EnvironmentInfo, setup: float) -> None:
    """The head of a place."""
    clean = "a clean engine" if where.clean else "not a clean engine"
    about = f"{where.engine}, {where.platform}, {clean}, ready in {formatting.seconds(setup)}"
    output.spans((formatting.one_line(where.name), "head"), (f": {formatting.one_line(about)}", ""))


def render_check(output: Output, check: Check) -> None:
    """One point, and what there is to say of one that is red."""
    head = (
        (f"  {formatting.one_line(check.name):<10} ", "bold"),
        _MARKS[check.ok],
        (f" {formatting.seconds(check.seconds):>7}  ", ""),
    )
    output.spans(*head, (formatting.one_line(check.detail), ""))
    if check.ok:
        return
    for line in check.excerpt:
        output.spans((f"    | {formatting.one_line(line)}", "dim"))
    if check.hint:
        output.spans((f"    hint: {formatting.one_line(check.hint)}", ""))


def render_environments(output: Output, report: VerifyReport) -> None:
    """All places of a report."""
    for proven in report.results:
        render_environment(output, proven.where, proven.seconds.setup)
        for each in proven.checks:
            render_check(output, each)


def render_changes(output: Output, against: Comparison) -> None:
    """What changed since an earlier report."""
    output.line()
    if not against.changes:
        output.line(f"nothing changed since {rfc3339(against.created)}")
        return
    output.line(f"changed since {rfc3339(against.created)}:")
    for each in against.changes:
        # A line each: what changed may be a whole command.
        output.line("  " + formatting.one_line(f"{each.where}: {each.what}: {each.before or 'none'} → {each.now or 'none'}"))


def render_summary(output: Output, report: VerifyReport) -> None:
    """What was chosen, and the last line."""
    output.line()
    for note in report.notes[:-1]:
        output.line(formatting.one_line(note))
    output.spans((formatting.one_line(_conclusion(report)), "green" if report.ok else "red"))


def _conclusion(report: VerifyReport) -> str:
    subject = report.image
    name = subject.reference if subject.digest is None or "@" in subject.reference else f"{subject.reference}@{subject.digest}"
    red = [f"{each.name} on {proven.where.name}" for proven in report.results for each in proven.checks if each.ok is False]
    if report.ok:
        words = f"verified: {name} ({_check_counts(report.results)})"
    elif red:
        words = f"not verified: {name}: {', '.join(red)} failed"
    else:
        words = f"not verified: {name}"
    return "; ".join((words, *report.notes[-1:]))


def _check_counts(proven: tuple[EnvironmentResult, ...]) -> str:
    return ", ".join(f"{each.where.name}: {units.count(sum(p.ok is True for p in each.checks), 'check')}" for each in proven)
