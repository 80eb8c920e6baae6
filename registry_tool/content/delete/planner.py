"""From what a repository holds to what goes. Pure: nothing is asked and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from registry_tool.base.errors import Conflict
from registry_tool.content.delete.plan import DeletionPlan, Dependent, Looked, Removal, Tombstone
from registry_tool.content.delete.selection import Selection
from registry_tool.content.delete.snapshot import RepositorySnapshot, listed_subject
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest


def decide(selection: Selection, holdings: RepositorySnapshot) -> DeletionPlan:
    """What deleting ``selection`` takes and hits.

    A digest that is named goes. The digest of a tag that is named goes if no other tag, index or referrer needs it;
    otherwise the tag goes alone. With an index go its children, where nothing else needs them.
    Raises Conflict where a tag is not at the digest it was named with.
    """
    tags, dead = _selected(selection, holdings)
    named = frozenset({holdings.named.digest} if holdings.named is not None and selection.tag is None and not dead else ())
    chosen = dict.fromkeys([*(holdings.tags[tag].digest for tag in sorted(tags)), *named])
    going = _going(holdings, tags, chosen, named)
    removals = [_removal(holdings, digest, tags, going) for digest in _in_order(holdings, [*chosen, *sorted(going)])]
    plan = DeletionPlan(
        selection=selection,
        removals=tuple(removals),
        unfinished=tuple(Tombstone(tag=tag, descriptor=found) for tag, found in sorted(holdings.tombstones.items())),
        absent=not (chosen or dead),
        tags_left=sum(listed_subject(tag) is None for tag in holdings.live if tag not in tags),
        looked=Looked(tags=len(holdings.tags), manifests=len(holdings.graph.edges), unread=tuple(sorted(holdings.unread.values()))),
        manifests=tuple(holdings.manifests.values()),
    )
    return replace(plan, bytes_freed=_freed(holdings, {*going, *(found.digest for found in holdings.tombstones.values())}))


def hits(holdings: RepositorySnapshot, removal: Removal, *, tags: frozenset[str], going: frozenset[Digest]) -> Removal:
    """``removal`` with what it hits now, where ``tags`` and ``going`` are about to go, or are gone."""
    digest = removal.digest
    indexes = holdings.indexes(digest) - going
    if removal.subject is not None and not removal.alone:
        # The list of its subject's referrers is written anew, without it.
        indexes -= {found.digest for tag, found in holdings.tags.items() if listed_subject(tag) == removal.subject.digest}
    return replace(
        removal,
        siblings=tuple(tag for tag in holdings.tags_on(digest) if tag not in tags),
        indexes=_held(holdings, indexes),
        referrers=_held(holdings, holdings.referrers(digest) - going),
    )


def _selected(selection: Selection, holdings: RepositorySnapshot) -> tuple[frozenset[str], bool]:
    """(the tags that are selected, whether the selection is of something whose deletion was begun)."""
    if selection.tag is None and selection.digest is not None:
        is_dead = any(found.digest == selection.digest for found in holdings.tombstones.values())
        return frozenset(() if is_dead else holdings.tags_on(selection.digest)), is_dead
    tags = selection.matching(holdings.live)
    for tag in tags:
        found = holdings.tags[tag].digest
        if selection.digest not in (None, found):
            raise Conflict(
                f"{selection.repository}:{tag} is at {found}, not at {selection.digest}: nothing was removed",
                hint="It was pushed anew; look at it before it goes.",
            )
    return frozenset(tags), bool(selection.matching(holdings.tombstones))


def _going(holdings: RepositorySnapshot, tags: frozenset[str], chosen: Iterable[Digest], named: frozenset[Digest]) -> frozenset[Digest]:
    candidates = holdings.reached(chosen, by_subject=False)
    if holdings.doubtful - candidates.keys():
        # What could not be read may need any of them.
        return named
    staying = [found.digest for tag, found in holdings.tags.items() if tag not in tags]
    # Referrers that no tag leads to: they are held by nobody but their subject, and are not ours to take.
    loose = [referrer for digest in candidates for referrer in holdings.referrers(digest) if referrer not in candidates]
    held = holdings.reached([*staying, *loose], by_subject=True, without=named)
    return frozenset(digest for digest in candidates if digest not in held and digest not in holdings.unread.keys() - set(chosen))


def _removal(holdings: RepositorySnapshot, digest: Digest, tags: frozenset[str], going: frozenset[Digest]) -> Removal:
    own = tuple(tag for tag in holdings.tags_on(digest) if tag in tags)
    is_named = own or (holdings.named is not None and holdings.named.digest == digest)
    parts = holdings.indexes(digest) & going
    bare = Removal(
        descriptor=_descriptor(holdings, digest),
        type=_type(holdings, digest),
        tags=own,
        alone=digest not in going,
        subject=holdings.subject(digest),
        part_of=min(parts) if parts and not is_named else None,
    )
    return hits(holdings, bare, tags=tags, going=going)


def _in_order(holdings: RepositorySnapshot, digests: Iterable[Digest]) -> list[Digest]:
    """Whatever needs something before what it needs, so that a plan that is applied by half leaves nothing broken."""
    wanted = dict.fromkeys(digests)
    found: dict[Digest, None] = {}
    # Depth first, without recursion; a circle, which only lies can make, ends where it began.
    waiting = [(digest, False) for digest in reversed(wanted)]
    entered: set[Digest] = set()
    while waiting:
        digest, is_done = waiting.pop()
        if is_done:
            found[digest] = None
        elif digest in wanted and digest not in entered:
            entered.add(digest)
            waiting.append((digest, True))
            waiting += [(above, False) for above in sorted(holdings.indexes(digest) | holdings.referrers(digest))]
    return list(found)


def _freed(holdings: RepositorySnapshot, going: set[Digest]) -> int:
    kept: set[Digest] = set()
    sizes: dict[Digest, int] = {}
    for digest in holdings.graph.edges:
        blobs = list(holdings.blobs(digest))
        if digest in going:
            sizes |= {blob.digest: blob.size for blob in blobs} | {digest: _descriptor(holdings, digest).size}
        else:
            kept.add(digest)
            kept.update(blob.digest for blob in blobs)
    return sum(size for digest, size in sizes.items() if digest not in kept)


def _held(holdings: RepositorySnapshot, digests: Iterable[Digest]) -> tuple[Dependent, ...]:
    return tuple(Dependent(digest=digest, type=_type(holdings, digest), tags=holdings.tags_on(digest)) for digest in sorted(digests))


def _type(holdings: RepositorySnapshot, digest: Digest) -> str:
    manifest = holdings.manifests.get(digest)
    return manifest.type if manifest is not None else "unknown"


def _descriptor(holdings: RepositorySnapshot, digest: Digest) -> Descriptor:
    """Of a manifest that goes: as it was read; as its tag or its name led to it, where it could not be."""
    if digest in holdings.manifests:
        return holdings.manifests[digest].descriptor
    return next(found for found in (holdings.named, *holdings.tags.values()) if found is not None and found.digest == digest)
