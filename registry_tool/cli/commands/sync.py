"""``sync``: mirror repositories by the rules in a file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.content.sync import SyncedRepository, SyncRules
    from registry_tool.oci.descriptor import Platform
    from registry_tool.targets.registry import Registry

_NO_HOST = "no-host.invalid"
_JITTER = 0.1
"""Part of the pause between two rounds by which it is longer or shorter, so that many mirrors do not meet at one registry."""


def _interval(text: str) -> float:
    from registry_tool.cli.views import times

    try:
        seconds = times.span(text)
    except (ValueError, OverflowError):
        seconds = 0.0
    if not 1 <= seconds <= 31 * 86400:
        raise UsageError(f"{text[:80]!r} is not a time between two rounds", hint="It looks like 10m or 1h30m.")
    return seconds


@click.command("sync")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("destination", required=False)
@click.option("--scoped", is_flag=True, help="Keep host and whole name of each repository below DESTINATION.")
@options.platforms("mirror")
@options.referrers("mirror")
@click.option("--watch", metavar="TIME", type=_interval, help="Go on, with so much time between two rounds: 10m, 1h30m.")
@click.option("--dry-run", is_flag=True, help="Show what would be copied; write nothing.")
@options.quiet("the names of what was copied, one a line")
@options.registry_access
@options.as_json
@click.pass_obj
def sync(
    session: Session,
    file: Path,
    destination: str | None,
    scoped: bool,
    platforms: tuple[Platform, ...],
    referrers: bool,
    watch: float | None,
    dry_run: bool,
    quiet: bool,
) -> int:
    """Mirror repositories by the rules in FILE: only what is new is copied.

    FILE is TOML of this tool's if its name ends in .toml, and skopeo's YAML otherwise, which needs DESTINATION; docs/sync.md
    describes both. Of a tag that stands for the same digest at both sides nothing but that is requested. An image that fails ends
    no other; the exit code is 1 if there are any.

    \b
    Examples:
      regctl sync mirror.toml
      regctl sync --dry-run images.yaml localhost:5000/mirror
      regctl sync --watch 10m mirror.toml
    """
    from registry_tool.content.copy import CopyOptions
    from registry_tool.content.sync import load

    if watch is not None and session.output.json:
        raise UsageError("--json prints one document, and --watch does not end", hint="Leave one of them out.")
    wanted = CopyOptions(platforms=platforms, referrers=referrers, skip_unchanged=True)

    def rules() -> SyncRules:
        # The local registry is looked for where a name without a host needs it, after the file was found valid.
        rules = load(file, destination, default_host=_NO_HOST, scoped=scoped, options=wanted)
        if not rules.uses(_NO_HOST):
            return rules
        return load(file, destination, default_host=session.required_registry_host(), scoped=scoped, options=wanted)

    code = _round(session, rules(), dry_run=dry_run, quiet=quiet)
    while watch is not None:
        session.output.flush()
        _pause(watch * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - nobody is to guess it, and nobody minds
        try:
            # What was changed in the file meanwhile counts.
            code = _round(session, rules(), dry_run=dry_run, quiet=quiet)
        except RegistryToolError as error:
            session.output.print_error(error)
    return code


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _round(session: Session, rules: SyncRules, *, dry_run: bool, quiet: bool) -> int:
    from registry_tool.cli.views.copy import copy_view
    from registry_tool.content.copy.places import Places
    from registry_tool.content.sync import sync as mirror

    out = session.output
    opener = _opener(session, rules)
    with Places(opener, connect_engine=session.connect_engine, dry_run=dry_run, uploads=session.uploads_folder) as places:
        with copy_view(progress=session.progress, quiet=quiet) as view:
            done = mirror(rules, places, dry_run=dry_run, listener=view)
        failures = [failure for repository in done for failure in repository.failures]
        if not dry_run and not failures:
            places.commit()
        notes = (*rules.notes, *places.notes)
    if not out.json:
        _render(session, done, dry_run=dry_run, quiet=quiet)
        for note in notes:
            out.note(note)
        for failure in failures:
            out.print_error(failure)
    out.finish({"dry_run": dry_run, "repositories": done, "notes": notes}, failures)
    return int(bool(failures))


def _opener(session: Session, rules: SyncRules) -> Callable[[str], Registry]:
    """Opens a registry as the file and the options say."""
    from registry_tool.targets.registry import open_registry

    def open(host: str) -> Registry:
        access = rules.access.get(host)
        if access is None or (access.credential is None and access.insecure is None):
            return session.open_registry(host)
        return open_registry(
            host,
            plain_http=session.plain_http,
            insecure=session.insecure if session.insecure is not None else access.insecure,
            credential=access.credential,
            auth_file=session.auth_file,
            on_warning=session.output.note,
        )

    return open


def _render(session: Session, done: tuple[SyncedRepository, ...], *, dry_run: bool, quiet: bool) -> None:
    out = session.output
    copied = [
        name for repository in done for image in repository.images if image.status in ("copied", "planned") for name in image.destinations
    ]
    if quiet:
        out.lines(copied)
        return
    heads = ("SOURCE", "DESTINATION", "NEW" if dry_run else "COPIED", "UNCHANGED", "FAILED", "TO SEND" if dry_run else "SENT")
    out.table(heads, [_cells(repository) for repository in done])
    for repository in done:
        if repository.error is not None:
            out.line(f"Not mirrored: {repository.source}")
        out.lines([f"Not copied: {image.source}" for image in repository.images if image.status == "failed"])


def _cells(repository: SyncedRepository) -> tuple[str, ...]:
    counts = (repository.copied, repository.unchanged, repository.failed)
    return (repository.source, repository.destination, *map(str, counts), units.size(repository.blobs.bytes_sent))
