"""``gc``: free the space of what no tag of a registry needs, after showing the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import UsageError
from registry_tool.cli import options, program_name
from registry_tool.cli.commands.registry import recover
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.local.collection import CollectedRegistry, CollectionPlan, CollectionResult

_MOST_NAMES = 5
_STEPS = {
    "stand-in": "Making the registry read-only",
    "undo": "Keeping what is removed",
    "manifests": "Removing untagged manifests, links and old uploads",
    "damaged-links": "Mending links",
    "garbage-collect": "Running the registry's garbage-collect",
    "links": "Removing empty folders",
    "check": "Checking that every image is whole",
}


@click.command("gc")
@click.option("--name", metavar="NAME", help="Name of the registry.  [default: default]")
@click.option("--container", metavar="CONTAINER", help="A registry in this container, which this tool did not start.")
@click.option("--apply", is_flag=True, help="Remove it; without, only the plan is shown.")
@click.option(
    "--grace",
    metavar="TIME",
    type=options.duration,
    default="1h",
    show_default=True,
    help="Uploads, and blobs without a manifest, are removed when they are older than TIME.",
)
@click.option(
    "--undo-for",
    metavar="TIME",
    type=options.duration,
    default="7d",
    show_default=True,
    help="How long it can be restored; the disk keeps it.",
)
@click.option("--no-undo", is_flag=True, help="Keep nothing: the space is free at once.")
@options.yes
@options.as_json
@click.pass_obj
def gc(
    session: Session, name: str | None, container: str | None, apply: bool, grace: float, undo_for: float, no_undo: bool, yes: bool
) -> int:
    """Collect the garbage of the local registry: manifests without a tag, blobs and uploads that nothing needs.

    Shows the plan; --apply removes it, after asking. An index keeps its children, an image its referrers. The registry is read-only
    meanwhile: pulls go on, but for a moment at the beginning and the end, and pushes are refused. Then every image is checked. A run that
    is interrupted, or killed, breaks nothing: the next gc, up or status brings the registry back.

    \b
    Examples:
      regctl gc
      regctl gc --apply
      regctl gc --apply --yes --no-undo --name team
    """
    from registry_tool.local import collection

    if name is not None and container is not None:
        raise UsageError("--name and --container exclude each other", hint="--container is for a registry that this tool did not start.")
    engine, state = session.engine, session.dirs.state
    recover(session, (name or "default") if container is None else None)
    registry = collection.find_subject(engine, name or "default", container=container)
    wanted = collection.CollectionOptions(grace=grace, undo_for=0 if no_undo else undo_for, accept_changes=yes)
    plan = collection.plan_collection(engine, registry, wanted, state=state)
    document = {"registry": registry.name, "container": registry.container.name, "volume": registry.volume, "applied": False, "plan": plan}
    lines = list(plan_lines(registry.name, registry.volume, plan, keeps=bool(wanted.undo_for)))
    if apply and plan.is_empty:
        lines += [f"Removed what could be restored by the id {id}." for id in collection.discard_expired(engine, registry, state=state)]
    if not apply or plan.is_empty:
        hint = [] if plan.is_empty else [f"Nothing was removed. To remove it: {program_name.command()} gc{_option(registry)} --apply"]
        session.output.result(document, *lines, *hint)
        return 0
    plan.check_young()
    if yes and not session.output.json:
        for line in lines:
            session.output.note(line)
    if not session.confirm(lines, yes=yes):
        return 1
    with session.observer() as observer:
        begun: list[str] = []

        def on_step(step: str) -> None:
            for last in begun[-1:]:
                observer.finish(last, _STEPS[last])
            begun.append(step)
            observer.start(step, _STEPS[step])

        result = collection.collect(engine, registry, plan, wanted, state=state, observer=observer, on_step=on_step)
        for last in begun[-1:]:
            observer.finish(last, _STEPS[last])
    session.output.result(
        {**document, "applied": True, "plan": result.plan, "result": result}, *result_lines(result, _undo_option(registry))
    )
    return 0


def plan_lines(name: str, volume: str, plan: CollectionPlan, *, keeps: bool) -> Iterator[str]:
    """The plan for the registry ``name`` as lines of text; ``keeps``: it could be restored."""
    yield f"The registry {name} (volume {volume}):"
    if plan.is_empty:
        yield f"  nothing to remove; {units.size(plan.kept - plan.waiting_bytes)} are needed"
    if plan.manifests:
        yield f"  {units.count(len(plan.manifests), 'manifest')} without a tag that nothing needs"
        yield from (f"    {each.repository}@{formatting.short_id(str(each.digest))}" for each in plan.manifests[:_MOST_NAMES])
        if len(plan.manifests) > _MOST_NAMES:
            yield f"    and {len(plan.manifests) - _MOST_NAMES} more"
    if plan.blobs:
        yield f"  {units.count(len(plan.blobs), 'blob')} that no manifest needs then: {units.size(plan.blob_bytes)}"
    if plan.uploads:
        yield f"  {units.count(len(plan.uploads), 'unfinished upload')}: {units.size(plan.upload_bytes)}"
    if plan.link_count:
        yield f"  {units.count(plan.link_count, 'link')} to them: {units.size(plan.link_bytes)}"
    if plan.empty:
        yield f"  {units.count(len(plan.empty), 'empty repository')}: {', '.join(plan.empty[:_MOST_NAMES])}"
    yield from _other_lines(plan)
    for upload in plan.young[:_MOST_NAMES]:
        yield f"  An upload to {upload.repository} may be under way (last write {upload.age} s ago): gc --apply refuses."
    if not plan.is_empty:
        yield f"This frees {units.size(plan.bytes_freed)}; {units.size(plan.kept - plan.waiting_bytes)} are needed."
        if keeps and plan.blobs:
            yield "The disk keeps it until it can no longer be restored (--undo-for);"
            yield "--no-undo frees it at once."


def _other_lines(plan: CollectionPlan) -> Iterator[str]:
    """What is mended, and what stays as a push may go on with it."""
    if plan.damaged_links:
        yield f"  {units.count(len(plan.damaged_links), 'link')} left empty or cut short by a stop: mended"
        for link in plan.damaged_links[:_MOST_NAMES]:
            yield f"    {link.repository}: {link.link} {formatting.short_id(str(link.digest))}"
    if plan.waiting:
        blobs, size = units.count(len(plan.waiting), "young blob"), units.size(plan.waiting_bytes)
        yield f"  Kept for --grace: {blobs} without a manifest yet ({size})"
    if plan.waiting_manifests:
        yield f"  Kept for --grace: {units.count(plan.waiting_manifests, 'young manifest')} that had no tag yet"


def result_lines(result: CollectionResult, undo_option: str = "") -> Iterator[str]:
    """What was done, as lines of text; ``undo_option`` is what ``undo`` needs to find the registry."""
    what = f"{units.count(result.manifests, 'manifest')} and {units.count(result.blobs, 'blob')}"
    yield f"Removed {what}: {units.size(result.bytes_removed)}"
    if result.undo is not None:
        yield f"The disk keeps {units.size(result.undo.size)} of it until {result.undo.until_at:%Y-%m-%d %H:%M} UTC."
        yield f"To restore it: {program_name.command()} undo {result.undo.id}{undo_option}"
    if result.pauses:
        yield f"The registry did not respond for {' and '.join(formatting.seconds(pause) for pause in result.pauses)}."


def _undo_option(registry: CollectedRegistry) -> str:
    from registry_tool.local.collection.subject import undo_option

    return undo_option(registry)


def _option(registry: CollectedRegistry) -> str:
    from registry_tool.local.collection.subject import gc_option

    return gc_option(registry)
