"""From a snapshot of a repository to a deletion plan. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from registry_tool.base.errors import Conflict
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Group, Removal, Scope, Selection, Tombstone
from registry_tool.content.delete.snapshot import RepositorySnapshot, attached_subject, listed_subject
from registry_tool.content.graph import closure
from registry_tool.content.protection import Protection
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry.referrers import tag_of


def make_plan(selection: Selection, snapshot: RepositorySnapshot, *, keep_attached: bool = False) -> DeletionPlan:
    """Plan the deletion of ``selection``.

    A selected digest is deleted. The digest of a selected tag is deleted if no other tag, index or referrer needs it;
    otherwise the tag is removed alone. With an index its children are deleted, if nothing else needs them, and with any
    image what cosign's tags attach to it, unless ``keep_attached``. Raises Conflict where a tag is not at the digest it
    was named with, or that is not known.
    """
    if selection.group is not None:
        return _plan_group(selection, snapshot, selection.group)
    tags, is_tombstone = _selected(selection, snapshot)
    unresolved = _unresolved(selection, snapshot)
    named = frozenset({snapshot.named.digest} if snapshot.named is not None and selection.tag is None and not is_tombstone else ())
    attached: dict[str, Digest] = {}
    while True:
        all_tags = tags | attached.keys()
        # What is attached goes first, so that a plan that is applied by half leaves no orphan.
        in_order = [*attached, *sorted(tags)]
        chosen = dict.fromkeys([*(snapshot.tags[tag].digest for tag in in_order), *named])
        deleted = _deleted(snapshot, all_tags | {*unresolved}, chosen, named)
        subjects = {tag: attached_subject(tag) for tag in snapshot.live if tag not in all_tags}
        more = {tag: subject for tag, subject in subjects.items() if subject is not None and subject in deleted}
        if keep_attached or not more:
            break
        attached = {**dict(sorted(more.items())), **attached}
    # What may be needed by something that is not read keeps the image that it is attached to, too: then both stay.
    kept = {snapshot.tags[tag].digest for tag, subject in attached.items() if subject not in deleted}
    attached = {tag: subject for tag, subject in attached.items() if subject in deleted}
    deleted -= closure(kept, snapshot.children).keys() - named
    tags |= attached.keys()
    chosen = {digest: None for digest in chosen if digest in named or not tags.isdisjoint(snapshot.tags_on(digest))}
    is_absent = not (chosen or is_tombstone or unresolved)
    return _assemble(selection, snapshot, tags=tags, chosen=chosen, deleted=deleted, attached=attached, absent=is_absent)


def _plan_group(selection: Selection, snapshot: RepositorySnapshot, group: Group) -> DeletionPlan:
    """Plan the deletion of many tags and untagged manifests, whose referrers go and stay with them.

    At first everything that is attached to something, or lists its referrers, goes; then what belongs to something that
    stays is taken out, until nothing changes.
    """
    selected = frozenset(selection.matching(snapshot.live)) - snapshot.protection_tags
    subjects = {tag: attached_subject(tag) or listed_subject(tag) for tag in snapshot.live if tag not in selected}
    attached = {tag: subject for tag, subject in sorted(subjects.items()) if subject is not None}
    unresolved = selection.matching(snapshot.unresolved)
    untagged = dict.fromkeys(snapshot.untagged)
    while True:
        tags = selected | attached.keys()
        chosen = dict.fromkeys([*(snapshot.tags[tag].digest for tag in [*attached, *sorted(selected)]), *untagged])
        deleted = _unneeded(snapshot, tags | {*unresolved}, chosen)
        going = {tag: subject for tag, subject in attached.items() if subject in deleted}
        if len(going) == len(attached):
            break
        attached = going
    chosen = {digest: None for digest in chosen if digest in deleted or not tags.isdisjoint(snapshot.tags_on(digest))}
    return _assemble(selection, snapshot, tags=tags, chosen=chosen, deleted=deleted, attached=attached, absent=not (chosen or group.tags))


def _unneeded(snapshot: RepositorySnapshot, tags: frozenset[str], chosen: Iterable[Digest]) -> frozenset[Digest]:
    """The ``chosen`` manifests, what they contain and what refers to them, as far as nothing that stays needs it."""
    candidates = closure(chosen, lambda digest: [*snapshot.children(digest), *snapshot.referrers(digest)])
    if _is_doubtful(snapshot, tags, candidates.keys()):
        return frozenset()
    staying = [descriptor.digest for tag, descriptor in snapshot.tags.items() if tag not in tags]
    needed = closure(staying, snapshot.linked)
    return frozenset(digest for digest in candidates if digest not in needed and digest not in snapshot.unread.keys() - set(chosen))


def _assemble(
    selection: Selection,
    snapshot: RepositorySnapshot,
    *,
    tags: frozenset[str],
    chosen: Iterable[Digest],
    deleted: frozenset[Digest],
    attached: Mapping[str, Digest],
    absent: bool,
) -> DeletionPlan:
    unresolved = _unresolved(selection, snapshot)
    removals = [_removal(snapshot, digest, tags, deleted, attached) for digest in _in_order(snapshot, [*chosen, *sorted(deleted)])]
    going = tags.union(unresolved)
    plan = DeletionPlan(
        selection=selection,
        removals=tuple(removals),
        unfinished=tuple(Tombstone(tag=tag, descriptor=descriptor) for tag, descriptor in sorted(snapshot.tombstones.items())),
        unresolved=unresolved,
        unreadable=tuple(sorted(snapshot.unresolved.keys() - unresolved)),
        protected=protected(snapshot, removals, unresolved),
        absent=absent,
        tags_left=sum(_is_persons(tag, snapshot) for tag in (*snapshot.live, *snapshot.unresolved) if tag not in going) + snapshot.others,
        scope=Scope(tags=len(snapshot.tags), manifests=len(snapshot.graph.edges), unread=_unread(snapshot), others=snapshot.others),
        referrer_lists=_referrer_lists(snapshot, removals),
        manifests=tuple(snapshot.manifests.values()),
    )
    return replace(plan, bytes_freed=_freed(snapshot, {*deleted, *(descriptor.digest for descriptor in snapshot.tombstones.values())}))


def _is_persons(tag: str, snapshot: RepositorySnapshot) -> bool:
    """Whether a tag is a name that somebody gave, and no list of referrers, signature or protection."""
    return listed_subject(tag) is None and attached_subject(tag) is None and tag not in snapshot.protection_tags


def protected(snapshot: RepositorySnapshot, removals: Iterable[Removal], unresolved: Iterable[str] = ()) -> dict[str, Protection]:
    """Tags and digests of ``removals``, and ``unresolved`` tags, that are protected or needed by what is, with the protection.

    What refers to a protected image, and what cosign's tags attach to it, is protected with it.
    """
    if not snapshot.protections.entries:
        return {}
    removals = tuple(removals)
    named = snapshot.protections.protected([*(tag for removal in removals for tag in removal.tags), *unresolved])
    needed = snapshot.protected_digests
    for removal in removals:
        for tag in removal.tags:
            subject = attached_subject(tag) or listed_subject(tag)
            if subject in needed:
                named.setdefault(tag, needed[subject])
        is_part = removal.part_of in needed or named.keys() & {*removal.tags}
        if not removal.untag_only and removal.digest in needed and not is_part:
            named[str(removal.digest)] = needed[removal.digest]
    return named


def _referrer_lists(snapshot: RepositorySnapshot, removals: Iterable[Removal]) -> dict[str, Digest]:
    subjects = {removal.subject.digest for removal in removals if removal.subject is not None and not removal.untag_only}
    return {tag: descriptor.digest for tag, descriptor in snapshot.live.items() if listed_subject(tag) in subjects}


def with_dependents(snapshot: RepositorySnapshot, removal: Removal, *, tags: frozenset[str], deleted: frozenset[Digest]) -> Removal:
    """``removal`` with what depends on it in ``snapshot``, apart from the ``tags`` and ``deleted`` manifests of the plan."""
    digest = removal.digest
    indexes = snapshot.indexes(digest) - deleted
    if removal.subject is not None and not removal.untag_only:
        # The list of its subject's referrers is rewritten without it.
        list_of_subject = snapshot.tags.get(tag_of(removal.subject.digest))
        indexes -= {list_of_subject.digest} if list_of_subject is not None else set()
    return replace(
        removal,
        siblings=tuple(tag for tag in snapshot.tags_on(digest) if tag not in tags),
        indexes=_dependents(snapshot, indexes),
        referrers=_dependents(snapshot, snapshot.referrers(digest) - deleted),
    )


def _selected(selection: Selection, snapshot: RepositorySnapshot) -> tuple[frozenset[str], bool]:
    """(selected tags, whether an unfinished deletion is selected)."""
    if selection.tag is None and selection.digest is not None:
        is_tombstone = any(descriptor.digest == selection.digest for descriptor in snapshot.tombstones.values())
        return frozenset(() if is_tombstone else snapshot.tags_on(selection.digest)), is_tombstone
    tags = selection.matching(snapshot.live)
    if selection.pattern is not None:
        # A glob is about images; protections are removed by their names.
        tags = tuple(tag for tag in tags if tag not in snapshot.protection_tags)
    for tag in tags:
        digest = snapshot.tags[tag].digest
        if selection.digest not in (None, digest):
            raise Conflict(
                f"{selection.repository}:{tag} is at {digest}, not at {selection.digest}: nothing was removed",
                hint="It was pushed again: inspect it first.",
            )
    return frozenset(tags), bool(selection.matching(snapshot.tombstones))


def _unresolved(selection: Selection, snapshot: RepositorySnapshot) -> tuple[str, ...]:
    """Selected tags of which it is not known what they stand for."""
    if selection.tag is None and selection.digest is not None:
        return ()
    tags = selection.matching(snapshot.unresolved)
    if selection.pattern is not None:
        tags = tuple(tag for tag in tags if tag not in snapshot.protection_tags)
    if tags and selection.digest is not None:
        raise Conflict(
            f"whether {selection.repository}:{tags[0]} is at {selection.digest} is not known: nothing was removed: "
            f"{snapshot.unresolved[tags[0]]}",
            hint="Name the tag alone, or the digest alone.",
        )
    return tags


def _unread(snapshot: RepositorySnapshot) -> tuple[str, ...]:
    tags = (f"{tag}: {why}" for tag, why in (*snapshot.unresolved.items(), *snapshot.dangling.items()))
    rest = ["tags that are not known: the list may be incomplete, or has other names"] if snapshot.has_unlisted_tags else []
    return (*rest, *sorted([*tags, *snapshot.unread.values(), *snapshot.unlisted.values()]))


def _deleted(snapshot: RepositorySnapshot, tags: frozenset[str], chosen: Iterable[Digest], named: frozenset[Digest]) -> frozenset[Digest]:
    candidates = closure(chosen, snapshot.children)
    if _is_doubtful(snapshot, tags, candidates.keys()):
        return named
    staying = [descriptor.digest for tag, descriptor in snapshot.tags.items() if tag not in tags]
    # Referrers that no tag leads to: only their subject keeps them, and they were not selected.
    loose = [referrer for digest in candidates for referrer in snapshot.referrers(digest) if referrer not in candidates]
    needed = closure({*staying, *loose} - named, lambda digest: [each for each in snapshot.linked(digest) if each not in named])
    return frozenset(digest for digest in candidates if digest not in needed and digest not in snapshot.unread.keys() - set(chosen))


def _is_doubtful(snapshot: RepositorySnapshot, tags: frozenset[str], candidates: Collection[Digest]) -> bool:
    """Whether something that is not known may need one of the ``candidates``, beside the selected ``tags``."""
    return bool(
        snapshot.others
        or snapshot.has_unlisted_tags
        or any(tag not in tags for tag in snapshot.unresolved)
        or snapshot.doubtful.difference(candidates)
        or snapshot.unlisted.keys() & candidates
        or any(not mentioned.isdisjoint(candidates) for digest, mentioned in snapshot.mentions.items() if digest not in candidates)
    )


def _removal(
    snapshot: RepositorySnapshot, digest: Digest, tags: frozenset[str], deleted: frozenset[Digest], attached: Mapping[str, Digest]
) -> Removal:
    removed_tags = tuple(tag for tag in snapshot.tags_on(digest) if tag in tags)
    is_selected = removed_tags or digest in snapshot.untagged or (snapshot.named is not None and snapshot.named.digest == digest)
    indexes = snapshot.indexes(digest) & deleted
    removal = Removal(
        descriptor=_descriptor(snapshot, digest),
        type=_type(snapshot, digest),
        tags=removed_tags,
        untag_only=digest not in deleted,
        subject=snapshot.subject(digest),
        part_of=min(indexes) if indexes and not is_selected else None,
        attached_to=next((attached[tag] for tag in removed_tags if tag in attached), None),
    )
    return with_dependents(snapshot, removal, tags=tags, deleted=deleted)


def _in_order(snapshot: RepositorySnapshot, digests: Iterable[Digest]) -> list[Digest]:
    """Each manifest before what it needs, so that a plan that is applied by half leaves nothing broken."""
    wanted = dict.fromkeys(digests)
    ordered: dict[Digest, None] = {}
    # Depth first, without recursion; a cycle, which only false lists can make, ends where it began.
    waiting = [(digest, False) for digest in reversed(wanted)]
    entered: set[Digest] = set()
    while waiting:
        digest, is_done = waiting.pop()
        if is_done:
            ordered[digest] = None
        elif digest in wanted and digest not in entered:
            entered.add(digest)
            waiting.append((digest, True))
            waiting += [(holder, False) for holder in sorted(snapshot.indexes(digest) | snapshot.referrers(digest))]
    return list(ordered)


def _freed(snapshot: RepositorySnapshot, deleted: set[Digest]) -> int:
    kept: set[Digest] = set()
    sizes: dict[Digest, int] = {}
    for digest in snapshot.graph.edges:
        blobs = list(snapshot.blobs(digest))
        if digest in deleted:
            sizes |= {blob.digest: blob.size for blob in blobs} | {digest: _descriptor(snapshot, digest).size}
        else:
            kept.add(digest)
            kept.update(blob.digest for blob in blobs)
    return sum(size for digest, size in sizes.items() if digest not in kept)


def _dependents(snapshot: RepositorySnapshot, digests: Iterable[Digest]) -> tuple[Dependent, ...]:
    return tuple(Dependent(digest=digest, type=_type(snapshot, digest), tags=snapshot.tags_on(digest)) for digest in sorted(digests))


def _type(snapshot: RepositorySnapshot, digest: Digest) -> str:
    manifest = snapshot.manifests.get(digest)
    return manifest.type if manifest is not None else "unknown"


def _descriptor(snapshot: RepositorySnapshot, digest: Digest) -> Descriptor:
    """Of a manifest that is removed: as it was read, else as its tag or its digest resolved."""
    if digest in snapshot.manifests:
        return snapshot.manifests[digest].descriptor
    return next(each for each in (snapshot.named, *snapshot.tags.values()) if each is not None and each.digest == digest)
