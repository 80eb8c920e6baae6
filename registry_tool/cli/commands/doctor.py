"""``doctor``: check the set-up, and mend what is safe to mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import options, program_name
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from registry_tool.doctor import Diagnosis, DoctorReport, Surroundings
    from registry_tool.doctor.checks import DoctorCheck

_STYLES = {"ok": "green", "warning": "bold", "wrong": "red", "skipped": "dim"}


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from registry_tool.doctor import CHECKS

    return [CompletionItem(check.name) for check in CHECKS if check.name.startswith(incomplete)]


@click.command("doctor")
@click.argument("names", nargs=-1, metavar="[CHECK...]", shell_complete=_complete)
@click.option("--fix", is_flag=True, help="Mend what can be mended safely; asks for each.")
@options.yes
@options.as_json
@click.pass_obj
def doctor(session: Session, names: tuple[str, ...], fix: bool, yes: bool) -> int:
    """Check engine, registry, network, credentials and tools; say what is wrong, why it matters and what to do.

    Nothing is changed without --fix, which starts a registry that does not run, restarts one whose cache is stale, removes
    what killed runs left, and the like. With --registry that registry is checked instead of the local ones. The exit code
    is 1 if something is wrong; warnings do not count.

    \b
    Examples:
      regctl doctor
      regctl doctor --fix
      regctl doctor credentials proxy
    """
    from registry_tool.doctor import examine
    from registry_tool.doctor.run import select

    checks = select(names)
    report = examine(_surroundings(session), checks)
    if fix and report.mendable:
        report = _mend(session, checks, report, yes=yes)
    if session.output.json:
        session.output.document(report)
    else:
        _render(session, report)
    return int(not report.ok)


def _surroundings(session: Session) -> Surroundings:
    from registry_tool.doctor import Surroundings

    return Surroundings(connect=session.connect_engine, open_registry=session.open_registry, folder=Path.cwd(), host=session.registry)


def _mend(session: Session, checks: Sequence[DoctorCheck], report: DoctorReport, *, yes: bool) -> DoctorReport:
    """Ask about each thing that can be mended, mend it, and check everything again: one thing may have been behind another."""
    from registry_tool.doctor import examine

    mended = set()
    for diagnosis in report.mendable:
        mend = diagnosis.observation.mend
        plan = [f"{diagnosis.name}: {diagnosis.seen}", f"  mend it: {program_name.with_command(diagnosis.fix or '')}"]
        if mend is None or not session.confirm(plan, yes=yes, otherwise="Nothing was changed."):
            continue
        try:
            mend()
        except RegistryToolError as error:
            session.output.print_error(error)
        except OSError as error:
            session.output.print_error(RegistryToolError(f"{error.filename}: {error.strerror}"))
        else:
            mended.add(diagnosis.name)
    again = examine(_surroundings(session), checks)
    return replace(again, checks=tuple(replace(each, mended=each.name in mended) for each in again.checks))


def _render(session: Session, report: DoctorReport) -> None:
    out = session.output
    width = max(len(each.name) for each in report.checks)
    for each in report.checks:
        head = f"{each.name.ljust(width)}  {each.state.ljust(7)}  "
        first, *others = formatting.wrapped(head, formatting.one_line(each.seen), out.columns)
        out.spans((first[: width + 2], ""), (first[width + 2 : len(head)], _STYLES[each.state]), (first[len(head) :], ""))
        out.lines(others)
    amiss = [each for each in report.checks if each.state in ("wrong", "warning")]
    for each in amiss:
        out.line()
        out.spans((f"{each.name}: {each.state}", _STYLES[each.state]))
        _detail(session, each)
    out.line()
    counted = f"{units.count(len(report.checks), 'check')}, {formatting.seconds(report.seconds)}"
    wrong = sum(each.state == "wrong" for each in amiss)
    warnings = units.count(len(amiss) - wrong, "warning")
    mended = [each.name for each in report.checks if each.mended]
    if mended:
        out.line(f"mended: {', '.join(mended)}")
    if wrong:
        out.line(f"{units.count(wrong, 'thing')} wrong, {warnings} ({counted})")
    else:
        out.line(f"nothing is wrong{f', {warnings}' if amiss else ''} ({counted})")


def _detail(session: Session, diagnosis: Diagnosis) -> None:
    out = session.output
    lines = [("seen: ", diagnosis.seen), ("why:  ", diagnosis.why)]
    if diagnosis.fix:
        lines.append(("fix:  ", program_name.with_command(diagnosis.fix)))
    if diagnosis.mendable:
        lines.append(("      ", program_name.with_command(f"regctl doctor --fix {diagnosis.name} does that.")))
    for head, text in lines:
        out.lines(formatting.wrapped(f"  {head}", formatting.one_line(text), out.columns))
