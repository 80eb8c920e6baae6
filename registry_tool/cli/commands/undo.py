"""``undo``: list what was removed and is kept, and restore it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.codec import select, to_json
from registry_tool.base.errors import ConfirmationRequired, RegistryToolError, Unreachable, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.undo import Restored, RestorePlan, UndoEntry, UndoSource
    from registry_tool.targets.registry import Repository

_MAX_TAGS = 5


@click.command("undo")
@click.argument("id", required=False, metavar="[ID]")
@click.option("--dry-run", is_flag=True, help="Show what would be restored; write nothing.")
@click.option("--overwrite", is_flag=True, help="Move tags back that are at a newer image now.")
@click.option("--container", metavar="CONTAINER", help="What gc --container removed in this container's registry, too.")
@click.option("--keep-newer", is_flag=True, help="Leave tags that are at a newer image now, and restore the rest.")
@options.registry_access
@options.quiet("ids, or the names that were restored, one a line")
@options.as_json
@click.pass_obj
def undo(session: Session, id: str | None, dry_run: bool, overwrite: bool, container: str | None, keep_newer: bool, quiet: bool) -> int:
    """List what delete, prune and gc removed and can be restored, or restore the entry ID.

    Manifests and tags are restored with the same digests. A tag that is at a newer image now is moved back only after asking, or
    with --overwrite. Content that the registry's garbage collection freed meanwhile is named before anything is written. The
    beginning of an ID is enough.

    \b
    Examples:
      regctl undo
      regctl undo --dry-run 3f9a2c1b
      regctl undo 3f9a2c1b
    """
    if overwrite and keep_newer:
        raise UsageError("--overwrite and --keep-newer exclude each other")
    with _sources(session, container) as sources:
        if id is None:
            return _list(session, [entry for source in sources for entry in source.entries()], quiet=quiet)
        source, plan = _plan(sources, id)
        document = {
            "dry_run": dry_run,
            "entry": plan.entry,
            **select(plan, "tags manifests missing notes"),
        }
        if dry_run:
            if not session.output.json:
                session.output.lines(_names(plan, overwrite=overwrite) if quiet else list(_render(plan, overwrite=overwrite)))
            return session.output.finish(document | {"restored": []}, [])
        overwrite = _check(session, plan, overwrite=overwrite, keep_newer=keep_newer)
        if not (quiet or session.output.json):
            for note in plan.notes:
                session.output.note(note)
        done, failures = _restore(session, source, plan, overwrite=overwrite, quiet=quiet)
        if not (quiet or done or failures or session.output.json):
            session.output.line("Nothing to restore: all of it is there.")
        return session.output.finish(document | {"restored": done}, failures)


@contextmanager
def _sources(session: Session, container: str | None) -> Iterator[list[UndoSource]]:
    """The sources of what can be undone; registries that they open are closed at the end."""
    from registry_tool.content.undo import JournalSource
    from registry_tool.oci.reference import Reference

    with ExitStack() as stack:

        def open_repository(name: str) -> Repository:
            reference = Reference.parse(name, default_host="localhost")
            return stack.enter_context(session.open_registry(reference.host)).repository(reference.path)

        yield [JournalSource(session.undo_journal(), open_repository), *_collections(session, container)]


def _collections(session: Session, container: str | None) -> Iterator[UndoSource]:
    """What collections of the registries on the engine keep, and of that in ``container``; nothing where there is no engine."""
    from registry_tool.local import registry as local_registry
    from registry_tool.local.collection import CollectionSource, find_subject

    try:
        engine = session.engine
        names = [registry.name for registry in local_registry.find_all(engine)]
    except Unreachable:
        if container is not None:
            raise
        return
    subjects = [find_subject(engine, container=container)] if container is not None else []
    for name in names:
        # One that cannot be collected keeps nothing.
        with suppress(RegistryToolError):
            subject = find_subject(engine, name)
            subjects += [subject] if subject.container.id not in {each.container.id for each in subjects} else []
    yield CollectionSource(engine, subjects, state=session.dirs.state)


def _plan(sources: Sequence[UndoSource], typed: str) -> tuple[UndoSource, RestorePlan]:
    from registry_tool.content.undo import require_one

    entries = [(source, entry) for source in sources for entry in source.entries()]
    wanted = require_one((entry for _, entry in entries), typed)
    source = next(source for source, entry in entries if entry is wanted)
    return source, source.plan(wanted.id)


def _check(session: Session, plan: RestorePlan, *, overwrite: bool, keep_newer: bool) -> bool:
    """Whether tags that moved are moved back, asked for where that was not said. Raises ConfirmationRequired, NotFound, Protected."""
    from registry_tool.content.undo import missing_error

    if plan.missing:
        raise missing_error(plan)
    if plan.moved and not (overwrite or keep_newer):
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            names = ", ".join(tag.tag for tag in plan.moved[:_MAX_TAGS])
            raise ConfirmationRequired(
                f"{units.count(len(plan.moved), 'tag')} of {plan.moved[0].repository} moved to a newer image: {names}",
                hint="--keep-newer leaves them there and restores the rest, --overwrite moves them back.",
            )
        lines = [*_render(plan, overwrite=True), "No leaves tags that moved where they are, and restores the rest."]
        shown = [formatting.fitted(line, session.output.columns) for line in lines]
        overwrite = session.confirm(shown, yes=False, otherwise="Newer tags stay.")
    plan.check_allowed(overwrite=overwrite)
    return overwrite


def _restore(
    session: Session, source: UndoSource, plan: RestorePlan, *, overwrite: bool, quiet: bool
) -> tuple[list[Restored], list[RegistryToolError]]:
    out = session.output
    done: list[Restored] = []
    try:
        for step in source.restore(plan, overwrite=overwrite):
            done.append(step)
            if not out.json:
                name = _name(step.repository, step.tag, step.digest)
                out.line(name if quiet else f"Restored: {name}")
    except RegistryToolError as error:
        # What was restored before the failure is part of the document.
        if not out.json:
            raise
        return done, [error]
    return done, []


def _name(repository: str, tag: str | None, digest: object) -> str:
    return f"{repository}:{tag}" if tag is not None else f"{repository}@{digest}"


def _names(plan: RestorePlan, *, overwrite: bool) -> list[str]:
    """The names that the plan restores."""
    repository = next(iter(plan.entry.repositories), "")
    names = [_name(repository, None, digest) for digest in plan.manifests]
    tags = [tag for tag in plan.tags if tag.action == "restore" or (overwrite and tag.action == "moved")]
    return names + [_name(tag.repository, tag.tag, None) for tag in tags]


def _render(plan: RestorePlan, *, overwrite: bool) -> Iterator[str]:
    yield f"In {', '.join(plan.entry.repositories)}:"
    for tag in plan.tags:
        if tag.action == "restore":
            yield f"  restore {tag.tag} at {tag.digest}"
        elif tag.action == "unchanged":
            yield f"  {tag.tag} is there"
        else:
            yield f"  {tag.tag} is at {tag.current} now"
            yield f"    it is moved back to {tag.digest}" if overwrite else "    it stays there, unless --overwrite is given"
    tagged = {tag.digest for tag in plan.tags if tag.action != "unchanged"}
    yield from (f"  restore the manifest {digest}" for digest in plan.manifests if digest not in tagged)
    for blob in plan.missing:
        yield f"  {blob.digest} ({units.size(blob.size)}, of {blob.manifest}) is gone: nothing can be restored"
    for name, protection in plan.protected:
        yield f"  {name} is protected {protection.describe()}"
    yield from (f"  {note}" for note in plan.notes)


def _list(session: Session, entries: Sequence[UndoEntry], *, quiet: bool) -> int:
    out = session.output
    if out.json:
        out.document({"ok": True, "entries": [to_json(entry) for entry in entries]})
    elif quiet:
        out.lines([entry.id for entry in entries])
    else:
        out.table(("ID", "REMOVED", "BY", "REPOSITORY", "TAGS", "MANIFESTS", "KEPT UNTIL"), [_cells(entry) for entry in entries])
        for entry in entries:
            if entry.problem is not None:
                out.note(f"{entry.id}: {entry.problem}")
            elif entry.interrupted:
                out.note(f"{entry.id}: its removal did not end; what of it is gone can be restored")
    return 0


def _cells(entry: UndoEntry) -> tuple[str, ...]:
    tags = ",".join(entry.tags[:_MAX_TAGS]) + (f",+{len(entry.tags) - _MAX_TAGS}" if len(entry.tags) > _MAX_TAGS else "")
    repositories = ",".join(entry.repositories) or formatting.UNKNOWN
    until = f"{entry.until:%Y-%m-%d %H:%M} UTC"
    return (entry.id, formatting.age(entry.created), entry.command, repositories, tags or formatting.UNKNOWN, str(entry.manifests), until)
