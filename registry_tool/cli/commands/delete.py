"""``delete``: delete tags and manifests of a registry, after showing the plan."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.codec import select, to_json
from registry_tool.base.errors import NotFound, RegistryToolError
from registry_tool.cli import completions, options
from registry_tool.cli.output import Output, columns, exit_code
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting
from registry_tool.cli.views.deletion import deleted_lines

if TYPE_CHECKING:
    from registry_tool.content.delete import Deleted, DeletionPlan, Dependent, Removal, Selection
    from registry_tool.content.undo import JournalEntry
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.registry import Repository

_MAX_UNREAD = 5
_MOST_TAGS = 200
"""Tags of a repository that a dry run reads all of."""


@click.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completions.repositories)
@click.option("--dry-run", is_flag=True, help="Show the plan; delete nothing.")
@options.yes
@click.option("--allow-empty", is_flag=True, help="Allow a glob to delete the last tag of a repository.")
@click.option("--no-referrers", is_flag=True, help="Keep the signatures, attestations and SBOMs that cosign's tags attach to an image.")
@click.option("--siblings", is_flag=True, help=f"With --dry-run: read every other tag, also of more than {_MOST_TAGS}.")
@options.undo_for
@options.no_undo
@options.missing_ok
@options.quiet("the deleted names, one a line")
@options.registry_access
@options.as_json
@click.pass_obj
def delete(
    session: Session,
    names: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    allow_empty: bool,
    no_referrers: bool,
    siblings: bool,
    undo_for: float,
    no_undo: bool,
    missing_ok: bool,
    quiet: bool,
) -> int:
    """Delete NAME:TAG, NAME@DIGEST or 'NAME:GLOB' from a registry, after showing the plan and asking.

    If other tags, an index or a referrer need the image of a tag, only the tag is deleted; otherwise the image, too, with its
    signatures, attestations and SBOMs under cosign's tags (sha256-….sig, .att, .sbom). A digest is deleted with all its tags.
    Several names are planned, asked about and deleted one after the other.
    Manifests and tags are kept for undo, which restores them until the registry's garbage collection frees the space. Before
    anything is deleted every other tag is read; --dry-run does so in small repositories only, and says what it does not know.

    \b
    Examples:
      regctl delete john/get-started:part2
      regctl delete john/get-started:part1 john/get-started:part2
      regctl delete --dry-run 'john/get-started:part*'
    """
    selected = [_select(session, name) for name in names]
    wanted = _DeleteRequest(
        dry_run=dry_run,
        yes=yes,
        allow_empty=allow_empty,
        keep_attached=no_referrers,
        most_tags=_MOST_TAGS if dry_run and not siblings else None,
        kept_for=None if no_undo else undo_for or None,
        missing_ok=missing_ok,
        quiet=quiet,
    )
    if len(selected) == 1:
        done = _delete(session, *selected[0], wanted)
        return 1 if done is None else session.output.finish(*done)
    documents: list[dict[str, object]] = []
    failures: list[RegistryToolError] = []
    for reference, selection in selected:
        # One after the other: a tag that goes may leave the next one alone on its image.
        try:
            done = _delete(session, reference, selection, wanted)
        except RegistryToolError as error:
            # What was deleted before is part of the document.
            if error.exit_code != 1 and not (session.output.json and documents):
                raise
            done = {}, [error]
            if not session.output.json:
                session.output.print_error(error)
        if done is None:
            return 1
        documents += [{member: to_json(value) for member, value in done[0].items()}] if done[0] else []
        failures += done[1]
        if exit_code(failures) > 1:
            break
    return session.output.finish({"deletions": documents}, failures)


@dataclass(frozen=True, kw_only=True)
class _DeleteRequest:
    dry_run: bool
    yes: bool
    allow_empty: bool
    keep_attached: bool
    most_tags: int | None
    kept_for: float | None
    """Seconds for which undo can restore what is deleted; None: nothing is kept."""
    missing_ok: bool
    quiet: bool


def _delete(
    session: Session, reference: Reference, selection: Selection, wanted: _DeleteRequest
) -> tuple[dict[str, object], list[RegistryToolError]] | None:
    """Plan, ask and delete; returns document and failures, or None where the answer was no."""
    from registry_tool.content import delete, undo

    out = session.output
    with session.open_registry(reference.host) as registry:
        repository = registry.repository(reference.path)
        plan = _plan(repository, selection, most_tags=wanted.most_tags, keep_attached=wanted.keep_attached, missing_ok=wanted.missing_ok)
        lines = [*render_plan(plan), *registry.notes]
        shown = [formatting.fitted(line, columns(sys.stderr)) for line in lines]
        planned = {"dry_run": wanted.dry_run, **document(plan), "notes": registry.notes}
        if wanted.dry_run:
            if not out.json:
                out.lines(list(_names(plan)) if wanted.quiet else [formatting.fitted(line, out.columns) for line in lines])
            return planned | {"undo": None, "done": []}, []
        plan.check_allowed(allow_empty=wanted.allow_empty)
        if not plan.is_empty:
            delete.check_deletable(plan, repository)
            if wanted.yes and not (wanted.quiet or out.json):
                for line in shown:
                    out.note(line)
            if not session.confirm(shown, yes=wanted.yes):
                return None
        entries: list[JournalEntry] = []
        steps = undo.apply(
            plan,
            repository,
            session.undo_journal() if wanted.kept_for is not None else None,
            command="delete",
            seconds=wanted.kept_for or 0.0,
            allow_empty=wanted.allow_empty,
            on_entry=entries.append,
        )
        done: list[Deleted] = []
        try:
            failures = _apply(out, plan.selection.repository, steps, done, quiet=wanted.quiet)
        finally:
            if entries and done and not (wanted.quiet or out.json):
                out.flush()
                out.note(f"Undo with: regctl undo {entries[0].id}")
        return planned | {"undo": entries[0].id if entries and done else None, "done": done}, failures


def _apply(out: Output, repository: str, steps: Iterable[Deleted], done: list[Deleted], *, quiet: bool) -> list[RegistryToolError]:
    """Print the steps, and add them to ``done``; returns the failures, of which text raises the first."""
    failures: list[RegistryToolError] = []
    try:
        for each in steps:
            done.append(each)
            if not out.json:
                out.lines(deleted_lines(each, repository, quiet=quiet))
    except RegistryToolError as error:
        # What was deleted before the failure is part of the document.
        if not out.json:
            raise
        failures.append(error)
    return failures


def _select(session: Session, name: str) -> tuple[Reference, Selection]:
    from registry_tool.content.delete import Selection
    from registry_tool.oci.reference import has_host

    # An invalid name is reported before the engine is asked for its registry.
    selected = Selection.parse(name, default_host="localhost")
    return selected if has_host(name) else Selection.parse(name, default_host=session.required_registry_host())


def _plan(repository: Repository, selection: Selection, *, most_tags: int | None, keep_attached: bool, missing_ok: bool) -> DeletionPlan:
    from registry_tool.content import delete

    try:
        plan = delete.plan(repository, selection, most_tags=most_tags, keep_attached=keep_attached)
    except NotFound:
        if not missing_ok:
            raise
        return delete.DeletionPlan(selection=selection, removals=(), absent=True, scope=delete.Scope(tags=0, manifests=0))
    if plan.absent and not missing_ok:
        what = f"no tag matches {selection}" if selection.pattern is not None else f"{selection} does not exist"
        raise NotFound(what, hint=f"See: regctl list-tags {selection.repository}")
    return plan


def render_plan(plan: DeletionPlan) -> Iterator[str]:
    """The plan as lines of text: what is deleted, what else is affected, and the space that is freed."""
    if plan.is_empty:
        yield f"{plan.selection} does not exist; nothing to delete"
        return
    yield f"In {plan.selection.repository}:"
    for tombstone in plan.unfinished:
        yield f"  {tombstone.tag}: an earlier deletion was not finished and will be completed"
    for removal in plan.removals:
        yield from _removal(removal) if plan.is_complete else _incomplete_removal(removal, plan.scope.others)
        if plan.unreadable and not removal.untag_only:
            yield f"    tags that could not be read are deleted, too, if they are on it: {_some(plan.unreadable)}"
    for tag in plan.unresolved:
        yield f"  untag {tag}; what it stands for could not be read"
    for name, protection in plan.protected.items():
        yield f"  {name} is protected {protection.describe()}"
    if plan.protected:
        yield "  Nothing is deleted while anything of it is protected."
    if plan.tags and not plan.tags_left:
        yield "  No tag is left in the repository."
    if plan.is_complete:
        yield f"Garbage collection can then free {units.size(plan.bytes_freed)} ({_scope(plan)})."
    else:
        yield f"How much garbage collection can then free is not known: {units.count(plan.scope.others, 'other tag')} not read."
        yield "Read them, too: --siblings"
    for why in plan.scope.unread[:_MAX_UNREAD]:
        yield f"  Could not be read: {why}"
    if len(plan.scope.unread) > _MAX_UNREAD:
        yield f"  and {len(plan.scope.unread) - _MAX_UNREAD} more could not be read"


def _removal(removal: Removal) -> Iterator[str]:
    tags = ", ".join(removal.tags)
    what = f"{removal.type} {removal.digest}" if removal.type != "unknown" else str(removal.digest)
    if removal.untag_only:
        yield f"  untag {tags}; {what} stays"
        if removal.siblings:
            yield f"    tags with the same digest: {', '.join(removal.siblings)}"
        yield from (f"    {held} contains it" for held in _describe(removal.indexes))
        yield from (f"    {held} refers to it" for held in _describe(removal.referrers))
        if not (removal.siblings or removal.indexes or removal.referrers):
            yield "    what could not be read may need it"
        return
    if removal.part_of is not None:
        yield f"  delete {what}, part of index {removal.part_of}"
    else:
        yield f"  delete {tags} with {what}" if tags else f"  delete {what}"
    if removal.attached_to is not None:
        yield f"    it is attached to {removal.attached_to}"
    yield from (f"    {held} contains it and will be incomplete" for held in _describe(removal.indexes))
    yield from (f"    {held} will be left without its subject" for held in _describe(removal.referrers))
    if removal.subject is not None:
        yield f"    it refers to {removal.subject.digest}, which stays"


def _incomplete_removal(removal: Removal, others: int) -> Iterator[str]:
    tags = ", ".join(removal.tags)
    what = f"{removal.type} {removal.digest}" if removal.type != "unknown" else str(removal.digest)
    unread = f"the {units.count(others, 'tag')} not read"
    if not removal.untag_only:
        yield f"  delete {tags} with {what}" if tags else f"  delete {what}"
        yield f"    with those of {unread} that are on it"
        yield from (f"    {held} will be left without its subject" for held in _describe(removal.referrers))
        return
    yield f"  untag {tags}"
    yield f"    {what} is deleted, too, unless something needs it"
    yield from (f"    {held} refers to it" for held in _describe(removal.referrers))
    yield f"    {unread} may be on it, or on an index that contains it"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_UNREAD} more" if len(names) > _MAX_UNREAD else ""
    return ", ".join(names[:_MAX_UNREAD]) + more


def _describe(held: Iterable[Dependent]) -> Iterator[str]:
    for each in held:
        tags = ", ".join(each.tags)
        yield f"{each.type} {each.digest} ({tags})" if tags else f"{each.type} {each.digest}"


def _scope(plan: DeletionPlan) -> str:
    scope = plan.scope
    unread = f", {len(scope.unread)} could not be read" if scope.unread else ""
    read = f"{units.count(scope.tags, 'tag')} and {units.count(scope.manifests, 'manifest')}"
    return f"computed from {read} of this repository{unread}; others may share content"


def _names(plan: DeletionPlan) -> Iterator[str]:
    """The names that the plan deletes."""
    for removal in plan.removals:
        yield from (f"{plan.selection.repository}:{tag}" for tag in removal.tags)
        if not removal.untag_only:
            yield f"{plan.selection.repository}@{removal.digest}"
    yield from (f"{plan.selection.repository}:{tag}" for tag in plan.unresolved)


def document(plan: DeletionPlan) -> dict[str, object]:
    """The plan for JSON."""
    return {
        "repository": plan.selection.repository,
        "removals": [
            {
                **select(removal.descriptor, "digest media_type"),
                **select(removal, "type tags"),
                "alone": removal.untag_only if plan.is_complete or not removal.untag_only else None,
                "siblings": list(removal.siblings) if plan.is_complete else None,
                "indexes": [str(held.digest) for held in removal.indexes] if plan.is_complete else None,
                "referrers": [str(held.digest) for held in removal.referrers],
                "subject": str(removal.subject.digest) if removal.subject else None,
                **select(removal, "part_of attached_to"),
            }
            for removal in plan.removals
        ],
        "unfinished": [tombstone.tag for tombstone in plan.unfinished],
        "protected": [{"name": name, **select(protection, "pattern tag")} for name, protection in plan.protected.items()],
        **select(plan, "unresolved absent tags_left"),
        "bytes_freed": plan.bytes_freed if plan.is_complete else None,
        **select(plan, "looked_at=scope"),
    }
