"""Restoring what a journal keeps: the same digests, the same tags. First a plan, which writes nothing, then its application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress

from registry_tool.base.concurrency import map_ordered
from registry_tool.base.errors import Conflict, InvalidManifest, NotFound, RegistryToolError
from registry_tool.content.copy.planner import has_content
from registry_tool.content.delete import Deletable
from registry_tool.content.graph import Edge, edges
from registry_tool.content.protection import read_protections
from registry_tool.content.undo.journal import Journal, summary
from registry_tool.content.undo.values import JournalEntry, MissingBlob, Restored, RestorePlan, TagAction, TagPlan, UndoEntry
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest, is_foreign, may_be_tombstone

_LIST_TAG = re.compile(r"sha(?:256|512)-[0-9a-f]+")
"""The tag of a list of referrers (distribution-spec 1.1, Referrers Tag Schema)."""


class JournalSource:
    """The removals in a journal, each restored through the repository that ``open_repository`` opens by its name (``HOST/PATH``)."""

    def __init__(self, journal: Journal, open_repository: Callable[[str], Deletable]) -> None:
        self._journal = journal
        self._open = open_repository

    def entries(self) -> Sequence[UndoEntry]:
        """What can be undone now."""
        self._journal.expire()
        return self._journal.entries()

    def plan(self, id: str) -> RestorePlan:
        """What undoing ``id`` would write. Raises NotFound, InvalidManifest where the journal is damaged, and what requests raise."""
        entry, is_started = self._journal.read(id)
        return make_plan(entry, self._open(entry.repository), interrupted=is_started)

    def restore(self, plan: RestorePlan, *, overwrite: bool) -> Iterator[Restored]:
        """Restore; then the entry is gone."""
        entry, _ = self._journal.read(plan.entry.id)
        others = self._journal.of_repository(entry.repository)
        yield from restore(entry, plan, self._open(entry.repository), overwrite=overwrite, others=others)
        self._journal.remove(entry.id)


def make_plan(entry: JournalEntry, repository: Deletable, *, interrupted: bool = False) -> RestorePlan:
    """Compare ``entry`` with what is there. Raises InvalidManifest where the journal is damaged, and what requests raise."""
    manifests = {kept.digest: kept.manifest for kept in entry.manifests}
    threads = repository.limiter.helpful_requests
    references = [*(tag.tag for tag in entry.tags), *(str(kept.digest) for kept in entry.manifests if kept.is_deleted)]
    current = dict(
        zip(references, map_ordered(lambda reference: _resolve(repository, reference), references, threads=threads), strict=True)
    )
    tags = []
    for tag in entry.tags:
        digest = current[tag.tag]
        action: TagAction = "restore" if digest is None else "unchanged" if digest == tag.digest else "moved"
        tags.append(TagPlan(repository=entry.repository, tag=tag.tag, digest=tag.digest, action=action, current=digest))
    gone = [kept.digest for kept in entry.manifests if kept.is_deleted and current[str(kept.digest)] is None]
    needed = dict.fromkeys([*gone, *(tag.digest for tag in tags if tag.action != "unchanged")])
    moved = [tag.tag for tag in tags if tag.action == "moved"]
    protections = read_protections(repository).protected(moved) if moved else {}
    return RestorePlan(
        entry=summary(entry, interrupted=interrupted),
        tags=tuple(tags),
        manifests=tuple(gone),
        missing=tuple(_missing(entry.repository, repository, [manifests[digest] for digest in needed], set(gone))),
        protected=tuple(protections.items()),
        notes=tuple(f"{name} could not be read before it was removed, and is not restored" for name in entry.lost),
    )


def restore(
    entry: JournalEntry, plan: RestorePlan, repository: Deletable, *, overwrite: bool, others: Iterable[JournalEntry] = ()
) -> Iterator[Restored]:
    """Push the manifests that are gone, children first, and let the tags stand for them again; tags that moved only to ``overwrite``.

    ``others`` are the removals from the same repository that the journal keeps; they are read only where a referrer is restored.
    Raises Protected; NotFound where content is missing, and Conflict where a tag moved since the plan: nothing more is written then.
    """
    plan.check_allowed(overwrite=overwrite)
    if plan.missing:
        raise missing_error(plan)
    manifests = {kept.digest: kept.manifest for kept in entry.manifests}
    tags = [tag for tag in plan.tags if tag.action == "restore" or (overwrite and tag.action == "moved")]
    pushed = {*plan.manifests, *(tag.digest for tag in tags)}
    referrers = _listed_referrers({digest for digest in pushed if manifests[digest].subject is not None}, entry, others, repository)
    # In the journal a manifest comes before what it needs.
    for digest in reversed(plan.manifests):
        repository.push_manifest(manifests[digest], None, add_referrer=digest in referrers)
        yield Restored(what="manifest", repository=entry.repository, digest=digest)
    for tag in tags:
        before = manifests[tag.digest]
        replaced = _check_unmoved(tag, before, repository)
        repository.push_manifest(before, tag.tag, add_referrer=tag.digest in referrers)
        if replaced is not None:
            # No tag is on it any more.
            with suppress(RegistryToolError):
                repository.delete(replaced)
        yield Restored(what="tag", repository=entry.repository, tag=tag.tag, digest=tag.digest)
    there = {kept.digest: manifests[kept.digest] for kept in entry.manifests if kept.is_deleted and kept.digest not in pushed}
    for kept in entry.lists:
        _restore_list(kept.tag, manifests[kept.digest], repository, there)


def missing_error(plan: RestorePlan) -> NotFound:
    """The error of a restoration whose content is gone."""
    names = ", ".join(f"{each.digest} ({each.size} bytes, of {each.manifest})" for each in plan.missing[:5])
    more = f" and {len(plan.missing) - 5} more" if len(plan.missing) > 5 else ""
    return NotFound(
        f"{plan.entry.id} cannot be restored: the registry does not have {names}{more} any more; nothing was written",
        hint="Garbage collection freed it. If gc kept it, undo that first: regctl undo. Else push the image again.",
    )


def _resolve(repository: Deletable, reference: str) -> Digest | None:
    """What a reference stands for; None where it is not there, or a deletion of it was not finished."""
    try:
        with repository.limiter:
            descriptor = repository.resolve(reference)
            is_tombstone = may_be_tombstone(descriptor) and repository.manifest(descriptor.digest).is_tombstone
    except NotFound:
        return None
    return None if is_tombstone else descriptor.digest


def _check_unmoved(tag: TagPlan, before: Manifest, repository: Deletable) -> Descriptor | None:
    """What is under the tag instead of ``before``, and goes: the tombstone of a deletion that was interrupted, or a list of referrers.

    Such a list begins anew when its referrers are pushed again, where the registry keeps none itself.
    Raises Conflict where the tag moved since the plan.
    """
    try:
        descriptor = repository.resolve(tag.tag)
    except NotFound:
        return None
    if descriptor.digest in (tag.digest, tag.current):
        return None
    is_list = _LIST_TAG.fullmatch(tag.tag) is not None
    if is_list or may_be_tombstone(descriptor):
        current = repository.manifest(descriptor.digest)
        if current.is_tombstone or (is_list and set(_entries(current)) <= set(_entries(before))):
            return descriptor
    raise Conflict(
        f"{tag.repository}:{tag.tag} moved: it is at {descriptor.digest} now; nothing more was restored",
        hint="Run it again to see what it would do now.",
    )


def _missing(name: str, repository: Deletable, needed: Sequence[Manifest], gone: set[Digest]) -> Iterator[MissingBlob]:
    """Content that the ``needed`` manifests name, and that is neither there nor among those that are restored."""
    wanted: dict[Digest, tuple[Manifest, Edge]] = {}
    for manifest in needed:
        for edge in edges(manifest):
            if edge.role != "subject" and not is_foreign(edge.descriptor) and edge.descriptor.digest not in gone:
                wanted.setdefault(edge.descriptor.digest, (manifest, edge))

    def is_there(pair: tuple[Manifest, Edge]) -> bool:
        edge = pair[1]
        with repository.limiter:
            return repository.exists(edge.descriptor) if edge.is_manifest else has_content(repository, edge.descriptor)

    results = map_ordered(is_there, wanted.values(), threads=repository.limiter.helpful_requests)
    for (manifest, edge), is_present in zip(wanted.values(), results, strict=True):
        if not is_present:
            yield MissingBlob(repository=name, manifest=manifest.digest, digest=edge.descriptor.digest, size=edge.descriptor.size)


def _restore_list(tag: str, before: Manifest, repository: Deletable, there: Mapping[Digest, Manifest]) -> None:
    """Give a list of referrers its former bytes, where it has the same entries again, or is gone.

    Those of its referrers that are ``there``, because the deletion was interrupted before them, are added again first.
    """
    try:
        current = repository.manifest(tag)
    except NotFound:
        current = None
    except RegistryToolError:
        return
    listed = set(_entries(current if current is not None else before))
    lost = [there[digest] for digest in _entries(before) if digest in there and digest not in listed]
    for referrer in lost:
        repository.push_manifest(referrer, None)
    if lost:
        current = repository.manifest(tag)
    if current is not None and current.digest == before.digest:
        return
    if current is None or set(_entries(current)) == set(_entries(before)):
        repository.push_manifest(before, tag)


def _listed_referrers(referrers: Set[Digest], entry: JournalEntry, others: Iterable[JournalEntry], repository: Deletable) -> set[Digest]:
    """Those of ``referrers`` that belong in the lists that are kept under tags: no list begins with one that was in none.

    A list is kept with the removal that deleted the manifest: that may be another than ``entry``, where this removed only a tag, or
    where a deletion was killed after it had rewritten the list, and was repeated.
    """
    if not referrers:
        return set()
    deleted: set[Digest] = set()
    listed: set[Digest] = set()
    for each in (entry, *others):
        digests = referrers & {kept.digest for kept in each.manifests if kept.is_deleted}
        with suppress(InvalidManifest):  # another entry may be damaged
            listed |= digests & (_in_lists(each) if digests else set())
            deleted |= digests
    # Of what was deleted in a way of which nothing is kept, it is not known: a list too many is better than a signature lost.
    return listed | {digest for digest in referrers - deleted if _resolve(repository, str(digest)) is None}


def _in_lists(entry: JournalEntry) -> set[Digest]:
    """What the lists of referrers in ``entry`` name; all of its manifests where a list could not be read. Raises InvalidManifest."""
    kept = {each.digest: each for each in entry.manifests}
    if entry.lost:
        return set(kept)
    lists = [kept[each.digest] for each in (*entry.lists, *entry.tags) if _LIST_TAG.fullmatch(each.tag)]
    return {digest for each in lists for digest in _entries(each.manifest)}


def _entries(index: Manifest) -> Iterator[Digest]:
    return (child.digest for child in index.children)
