"""``check``: check that the images of a registry are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.check import CheckReport, Finding

_MAX_TAGS = 3


@click.command("check")
@click.argument("names", nargs=-1, metavar="[NAME...|HOST:PORT]", shell_complete=completions.repositories)
@click.option("--deep", is_flag=True, help="Read all content; compare digests, of unpacked layers, too.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write a JUnit report.")
@options.registry_access
@options.as_json
@click.pass_obj
def check(session: Session, names: tuple[str, ...], deep: bool, junit: Path | None) -> int:
    """Check that every image in the repositories NAME is complete; by default in all repositories of the local registry.

    HOST:PORT is another registry. Follows every tag to its manifest, config and layers, an index to its children, and an
    image to its referrers. Each must exist, be complete, and have the declared size and media type. Foreign layers may be
    elsewhere. The exit code is 1 if there are findings.

    \b
    Examples:
      regctl check
      regctl check --deep --junit report.xml john/get-started
      regctl check localhost:5001
    """
    from registry_tool.content.check import check as look

    host, repositories = _repositories(session, names)
    with session.open_registry(host) as registry, session.observer(counting=not deep) as observer:
        report = look(registry, repositories, deep=deep, observer=observer)
    if junit is not None:
        report = _write_junit(report, junit)
    if session.output.json:
        session.output.document(report)
    else:
        _render(session, report)
    return report.error.exit_code if report.error is not None else int(not report.ok)


def _repositories(session: Session, names: Sequence[str]) -> tuple[str, list[str] | None]:
    """The registry, and the paths in it; None for all. Raises UsageError, InvalidReference, RegistryUnreachable."""
    if not names:
        return session.required_registry_host(), None
    if len(names) == 1 and options.REGISTRY_ADDRESS.fullmatch(names[0]):
        return options.registry_host(names[0]), None
    references = [session.repository(name, "check") for name in names]
    hosts = list(dict.fromkeys(reference.host for reference in references))
    if len(hosts) > 1:
        raise UsageError(f"{' and '.join(hosts)} are different registries", hint="Check one after the other.")
    return hosts[0], [reference.path for reference in references]


def _write_junit(report: CheckReport, path: Path) -> CheckReport:
    """Write the file; return ``report``, with an error if that failed."""
    from registry_tool.base import files
    from registry_tool.cli.views.junit import check_junit

    try:
        files.atomic_write(path, check_junit(report))
    except OSError as error:
        failure = RegistryToolError(f"{path} cannot be written: {error.strerror or error}", hint="Name another file with --junit.")
        return replace(report, error=report.error or failure)
    return report


def _render(session: Session, report: CheckReport) -> None:
    from registry_tool.content.check import RULES

    out = session.output
    findings = report.findings
    if findings:
        out.table(("KIND", "WHERE", "TAGS", "WHAT"), [_cells(finding) for finding in findings])
        out.line()
    what = f"{units.count(report.images, 'image')} in {units.count(len(report.repositories), 'repository')}"
    read = f"{units.count(report.blobs, 'blob')}, {units.size(report.bytes_read)} read"
    if report.ok:
        out.line(f"{what}: all complete ({read})")
    elif findings:
        out.line(f"{what}: {units.count(len(findings), 'finding')} ({read})")
    for kind in dict.fromkeys(finding.kind for finding in findings):
        out.line(f"{kind}: {RULES[kind].meaning}. {RULES[kind].hint}")
    for note in report.notes:
        out.note(note)
    if report.error is not None:
        if report.repositories:
            out.note("the check is incomplete")
        out.print_error(report.error)


def _cells(finding: Finding) -> tuple[str, ...]:
    name, at, digest = finding.reference.partition("@")
    location = f"{name}{at}{formatting.short_id(digest)}"
    tags = ", ".join(finding.tags[:_MAX_TAGS])
    if len(finding.tags) > _MAX_TAGS:
        tags += f", {len(finding.tags) - _MAX_TAGS} more"
    return finding.kind, location, tags or formatting.UNKNOWN, finding.detail
