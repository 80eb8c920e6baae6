"""From a repository and its rules to a plan. Only GET and HEAD are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.regexes import search_all
from registry_tool.content.delete import Group, Removal, Selection
from registry_tool.content.delete.planner import make_plan
from registry_tool.content.delete.snapshot import Deletable, RepositorySnapshot, attached_subject, listed_subject, take_snapshot
from registry_tool.content.graph import attempt, closure
from registry_tool.content.listing import Contents, Details
from registry_tool.content.protection import refusal
from registry_tool.content.retention.decide import Decision, Evidence, TagFacts, decide
from registry_tool.content.retention.plan import PlannedManifest, PlannedTag, RepositoryPlan
from registry_tool.content.retention.pulls import PullLog
from registry_tool.content.retention.rules import RepositoryRules
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.cache import Cache, NoCache

REGEX_SECONDS = 5
"""Processor time that the regular expressions of a repository's rules may take."""
UNTAGGED_GRACE = timedelta(hours=1)
"""Manifests without a tag that were pushed later than that stay: they may be part of a push that goes on."""
_STEP = "prune"


@dataclass(frozen=True, kw_only=True)
class PlanContext:
    """What is known beside the registry's answers.

    ``pulls`` is the registry's log, or why there is none; ``untagged`` gives manifests of a repository (``PATH``)
    that may have no tag, and how long ago each was pushed, by the clock that wrote the time, as far as something lists them.
    """

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    pulls: PullLog | str = "this registry's log cannot be read"
    untagged: Callable[[str], Mapping[Digest, timedelta]] = lambda path: {}
    cache: Cache = field(default_factory=NoCache)
    observer: Observer = SILENT


def plan_repository(repository: Deletable, name: str, rules: RepositoryRules, context: PlanContext) -> RepositoryPlan:
    """Plan what goes of the repository ``name`` (``HOST/PATH``) by ``rules``.

    Raises NotFound where there is none, UsageError where a regular expression takes too long, and what requests raise.
    """
    ages = context.untagged(name.partition("/")[2]) if rules.untagged else {}
    # An image that is being pushed has its tag last.
    untagged = tuple(digest for digest, age in ages.items() if age >= UNTAGGED_GRACE)

    def decided(snapshot: RepositorySnapshot) -> _Decided:
        facts = _facts(repository, name, snapshot, rules, context)
        names = [tag.name for tag in facts]
        log = context.pulls
        evidence = Evidence(
            now=context.now,
            matches=search_all([*rules.patterns], names, seconds=REGEX_SECONDS),
            pulls_since=log.since if isinstance(log, PullLog) else None,
            no_pulls=log if isinstance(log, str) else "",
            protected={tag: each.describe() for tag, each in snapshot.protections.protected(names).items()},
        )
        decisions = decide(facts, rules.rules, evidence)
        return {fact.name: (fact, decisions[fact.name]) for fact in facts}

    return _plan(repository, name, untagged, decided, context)


def replan_repository(repository: Deletable, plan: RepositoryPlan, context: PlanContext) -> RepositoryPlan:
    """Make a plan that was read from a file anew. Raises Conflict where the repository changed, Protected where what goes is protected."""
    untagged = tuple(each.digest for each in plan.manifests if not each.tags)
    planned = {tag.tag: tag for tag in plan.tags}

    def decided(snapshot: RepositorySnapshot) -> _Decided:
        names = _persons_tags(snapshot)
        protected = snapshot.protections.protected(tag.tag for tag in plan.going)
        if protected:
            raise refusal(plan.repository, protected)
        decisions: _Decided = {}
        for name in names:
            tag = planned.get(name)
            goes = tag is not None and tag.action == "go" and name in snapshot.tags
            fact = TagFacts(
                name=name, digest=_digest(snapshot, name), created=tag.created if tag else None, pulled=tag.pulled if tag else None
            )
            decisions[name] = fact, Decision(keep=not goes, rule=tag.rule if tag else None, reason=tag.reason if tag else "it is new")
        return decisions

    now = _plan(repository, plan.repository, untagged, decided, context)
    plan.check_unchanged(now)
    return now


_Decided = dict[str, tuple[TagFacts, Decision]]
"""Tag -> what is known of it, and its decision."""


def _plan(
    repository: Deletable,
    name: str,
    untagged: tuple[Digest, ...],
    decide_tags: Callable[[RepositorySnapshot], _Decided],
    context: PlanContext,
) -> RepositoryPlan:
    decided: _Decided = {}

    def choose(snapshot: RepositorySnapshot) -> list[str]:
        decided.update(decide_tags(snapshot))
        return _going(decided)

    snapshot = take_snapshot(
        repository, Selection(repository=name, group=Group(tags=frozenset(), untagged=untagged)), cache=context.cache, choose=choose
    )
    group = Group(tags=frozenset(_going(decided)), untagged=untagged)
    deletion = make_plan(Selection(repository=name, group=group), snapshot)
    removals = {removal.digest: removal for removal in deletion.removals}
    return RepositoryPlan(
        repository=name,
        tags=tuple(_tag_plan(snapshot, fact, decision, removals) for _, (fact, decision) in sorted(decided.items())),
        manifests=tuple(map(PlannedManifest.of, deletion.removals)),
        unfinished=tuple(each.tag for each in deletion.unfinished),
        tags_left=deletion.tags_left,
        bytes_freed=deletion.bytes_freed,
        unread=deletion.scope.unread,
        deletion=deletion,
    )


def _going(decided: _Decided) -> list[str]:
    return [tag for tag, (_, decision) in decided.items() if not decision.keep]


def _tag_plan(snapshot: RepositorySnapshot, fact: TagFacts, decision: Decision, removals: Mapping[Digest, Removal]) -> PlannedTag:
    removal = removals.get(fact.digest) if fact.digest is not None and not decision.keep else None
    needed_by: tuple[str, ...] = ()
    if removal is not None and removal.untag_only:
        needed_by = (*removal.siblings, *(str(each.digest) for each in (*removal.indexes, *removal.referrers)))
    siblings = tuple(tag for tag in snapshot.tags_on(fact.digest) if tag != fact.name) if fact.digest is not None else ()
    return PlannedTag(
        tag=fact.name,
        digest=fact.digest,
        created=fact.created,
        pulled=fact.pulled,
        action="keep" if decision.keep else "go",
        rule=decision.rule,
        reason=decision.reason,
        siblings=siblings,
        needed_by=needed_by,
    )


# --- what is known of the tags ---


def _persons_tags(snapshot: RepositorySnapshot) -> list[str]:
    """Tags that somebody gave: no lists of referrers, no signatures, no protections, no unfinished deletions."""
    names = sorted({*snapshot.live, *snapshot.unresolved, *snapshot.dangling} - snapshot.protection_tags)
    return [tag for tag in names if listed_subject(tag) is None and attached_subject(tag) is None]


def _digest(snapshot: RepositorySnapshot, tag: str) -> Digest | None:
    descriptor = snapshot.tags.get(tag)
    return descriptor.digest if descriptor is not None else None


def _facts(repository: Deletable, name: str, snapshot: RepositorySnapshot, rules: RepositoryRules, context: PlanContext) -> list[TagFacts]:
    tags = _persons_tags(snapshot)
    dates = _dates(repository, snapshot, tags, context) if rules.needs_dates else {}
    pulls = context.pulls if rules.needs_pulls and isinstance(context.pulls, PullLog) else None
    facts = []
    for tag in tags:
        digest = _digest(snapshot, tag)
        if digest is None:
            why = snapshot.unresolved.get(tag) or snapshot.dangling.get(tag) or "it is gone"
            facts.append(TagFacts(name=tag, unread=why))
            continue
        pulled = None
        if pulls is not None:
            # An engine asks for an index by its tag, and then for an image of it by digest.
            digests = closure([digest], snapshot.children)
            pulled = pulls.last(name.partition("/")[2], [tag, *map(str, digests)])
        facts.append(TagFacts(name=tag, digest=digest, created=dates.get(digest), pulled=pulled))
    return facts


def _dates(repository: Deletable, snapshot: RepositorySnapshot, tags: Iterable[str], context: PlanContext) -> dict[Digest, datetime | None]:
    """When the images of ``tags`` were made; where that cannot be read, None."""
    contents = Contents(repository, context.cache)
    for manifest in snapshot.manifests.values():
        contents.keep(manifest)
    descriptors = {snapshot.tags[tag].digest: snapshot.tags[tag] for tag in tags if tag in snapshot.tags}

    def read(descriptor: Descriptor) -> Details | RegistryToolError:
        return attempt(lambda: contents.details(descriptor))

    observer = context.observer
    observer.start(_STEP, "reading the images' dates", len(descriptors))
    dates: dict[Digest, datetime | None] = {}
    for descriptor, details in map_unordered(read, descriptors.values(), threads=repository.limiter.helpful_requests):
        dates[descriptor.digest] = details.created if isinstance(details, Details) else None
        observer.advance(_STEP, len(dates))
    observer.finish(_STEP, "read the images' dates")
    return dates
