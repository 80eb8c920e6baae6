"""The plan of ``prune`` as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.cli.views import formatting
from registry_tool.oci import versions

if TYPE_CHECKING:
    from registry_tool.content.retention.plan import PlannedManifest, PlannedTag, PrunePlan, RepositoryPlan

_MAX_UNREAD = 5
_MAX_NAMES = 3


def render_plan(plan: PrunePlan) -> Iterator[str]:
    """The plan as lines: each repository's tags, what else is deleted with them, and the space that is freed."""
    for number, repository in enumerate(plan.repositories):
        if number:
            yield ""
        yield from _repository(repository)
    if len(plan.repositories) > 1:
        going = sum(len(each.going) for each in plan.repositories)
        tags = sum(len(each.tags) for each in plan.repositories)
        yield ""
        yield f"In {units.count(len(plan.repositories), 'repository')}, to delete: {going} of {units.count(tags, 'tag')}."


def names(plan: PrunePlan) -> Iterator[str]:
    """The names that the plan deletes."""
    for repository in plan.repositories:
        for manifest in repository.manifests:
            yield from (f"{repository.repository}:{tag}" for tag in manifest.tags)
            if not manifest.alone:
                yield f"{repository.repository}@{manifest.digest}"


def _repository(plan: RepositoryPlan) -> Iterator[str]:
    yield f"{plan.repository}:"
    if plan.tags:
        in_order = sorted(plan.tags, key=lambda tag: (tag.action != "go", versions.order(tag.tag)))
        heads = ("ACTION", "TAG", "DIGEST", "CREATED", "SAME DIGEST AS", "REASON")
        # Where no rule asks for dates, none was read.
        shown = [column for column, head in enumerate(heads) if head != "CREATED" or any(tag.created for tag in plan.tags)]
        rows = [[cells[column] for column in shown] for cells in map(_cells, in_order)]
        yield from (f"  {line}" for line in formatting.columns([heads[column] for column in shown], rows))
    decided = {tag.tag for tag in plan.tags}
    for manifest in plan.manifests:
        if decided.isdisjoint(manifest.tags):
            yield f"  {_with_others(manifest)}"
    for tag in plan.unfinished:
        yield f"  {tag}: an earlier deletion was not finished and will be completed"
    yield _sum(plan)
    if plan.going and not plan.tags_left:
        yield "  No tag is left in the repository: --apply needs --allow-empty."
    for why in plan.unread[:_MAX_UNREAD]:
        yield f"  Could not be read: {why}"
    if len(plan.unread) > _MAX_UNREAD:
        yield f"  and {len(plan.unread) - _MAX_UNREAD} more could not be read"
    if plan.unread and any(manifest.alone for manifest in plan.manifests):
        yield "  What could not be read may need any image: tags go, and no image."


def _cells(tag: PlannedTag) -> tuple[str, ...]:
    digest = formatting.UNKNOWN if tag.digest is None else tag.digest.short
    reason = f"{tag.rule}: {tag.reason}" if tag.rule not in (None, "protected") else tag.reason
    if tag.needed_by:
        reason += f"; the image stays, {_join(tag.needed_by)} {'needs' if len(tag.needed_by) == 1 else 'need'} it"
    return (tag.action, tag.tag, digest, formatting.age(tag.created), _join(tag.siblings) or formatting.UNKNOWN, reason)


def _with_others(manifest: PlannedManifest) -> str:
    what = f"{manifest.type} {manifest.digest}" if manifest.type != "unknown" else str(manifest.digest)
    tags = f"{', '.join(manifest.tags)} with " if manifest.tags else ""
    if manifest.alone:
        return f"untag {', '.join(manifest.tags)}; {what} stays"
    if manifest.attached_to is not None:
        return f"delete {tags}{what}, attached to {manifest.attached_to}"
    if manifest.subject is not None:
        return f"delete {tags}{what}, refers to {manifest.subject}"
    if manifest.part_of is not None:
        return f"delete {what}, part of index {manifest.part_of}"
    return f"delete {tags}{what}, untagged"


def _sum(plan: RepositoryPlan) -> str:
    if plan.is_empty:
        return f"  To delete: nothing; {units.count(len(plan.tags), 'tag')} kept."
    manifests = units.count(len(plan.deleted), "manifest")
    freed = units.size(plan.bytes_freed)
    tags = f"{len(plan.going)} of {units.count(len(plan.tags), 'tag')}"
    return f"  To delete: {tags}, {manifests}; garbage collection can then free {freed}."


def _join(names: tuple[str, ...]) -> str:
    more = f",+{len(names) - _MAX_NAMES}" if len(names) > _MAX_NAMES + 1 else ""
    return ",".join(names[:_MAX_NAMES] if more else names) + more
