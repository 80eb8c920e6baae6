"""Whatever a registry stores: a collection breaks no tag, frees what its plan says, and leaves nothing for the next one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import Conflict
from registry_tool.content.usage.storage import blob_path, layer_path, revision_path
from registry_tool.content.usage.whatif import Removals, freed
from registry_tool.local.collection.plan import CollectionPlan, after, contents, make_plan
from registry_tool.oci.digest import Digest
from tests.support.stored_registry import NOW, StoredRegistry

_REPOSITORIES = ("app", "app/nested", "other")


def _random_registry(seed: int, *, damaged: bool) -> StoredRegistry:
    """Images with shared layers, nested indexes, referrers, moved tags, uploads, and where it may be ``damaged``, files that are gone."""
    chance, stored = random.Random(seed), StoredRegistry()
    made: dict[str, list[Digest]] = {name: [] for name in _REPOSITORIES}
    for number in range(chance.randint(0, 14)):
        name = chance.choice(_REPOSITORIES)
        known = made[name]
        layers = tuple(f"layer {chance.randint(0, 6)}".encode() for _ in range(chance.randint(1, 3)))
        tags = chance.sample(("1", "2", "latest"), chance.choice((0, 0, 1, 2)))
        kind = chance.choice(("image", "image", "index", "referrer")) if known else "image"
        if kind == "index":
            digest = stored.index(name, *tags, children=tuple(chance.sample(known, min(len(known), 2))), annotations={"n": str(number)})
        elif kind == "referrer":
            digest = stored.image(name, *tags, layers=layers, annotations={"n": str(number)}, **stored.subject(chance.choice(known)))
        else:
            digest = stored.image(name, *tags, layers=layers, annotations={"n": str(number)})
        known.append(digest)
    for number in range(chance.randint(0, 2)):
        stored.upload(chance.choice(_REPOSITORIES), f"upload-{number}", age=chance.choice((0, 9999)))
    if damaged:
        for path in chance.sample(sorted(stored.files), min(len(stored.files), chance.randint(0, 3))):
            stored.remove(path)
    return stored


def _closure(stored: StoredRegistry, name: str, digest: Digest) -> Iterator[str]:
    """The files by which a tag's manifest can be pulled, as far as they are there."""
    content = stored.files.get(blob_path(digest))
    if content is None or revision_path(name, digest) not in stored.files:
        return
    yield from (blob_path(digest), revision_path(name, digest))
    document = json.loads(content)
    for member in document.get("manifests", ()):
        yield from _closure(stored, name, Digest.parse(member["digest"]))
    for member in (*([document["config"]] if "config" in document else ()), *document.get("layers", ())):
        blob = Digest.parse(member["digest"])
        # A link to content that is lost is of no use.
        yield from (path for path in (blob_path(blob), layer_path(name, blob)) if blob_path(blob) in stored.files and path in stored.files)


def _apply(stored: StoredRegistry, plan: CollectionPlan) -> None:
    stored.remove(*map(blob_path, plan.blobs), *plan.link_paths(), *plan.upload_paths())


def _predicted(stored: StoredRegistry, plan: CollectionPlan) -> tuple[object, int, int, int]:
    """What the model of distribution's collection says."""
    removals = Removals(
        manifests=frozenset((each.repository, each.digest) for each in plan.manifests),
        uploads=frozenset((upload.repository, upload.id) for upload in plan.uploads),
        stale_links=True,
        leftovers=True,
    )
    result = freed(stored.storage(), stored.manifests(), removals)
    return result.blobs, result.blob_bytes, result.link_bytes, result.upload_bytes


@given(seed=st.integers(0, 2**32), damaged=st.booleans(), grace=st.sampled_from((0, 3600)))
def test_no_tag_is_broken_and_freed_is_what_was_planned(seed: int, damaged: bool, grace: int) -> None:
    stored = _random_registry(seed, damaged=damaged)
    storage = stored.storage()
    try:
        plan = make_plan(storage, stored.manifests(), now=NOW, grace=grace)
    except Conflict:
        assert damaged, "a whole registry can be collected"
        return
    tags = [(name, digest) for name, repository in storage.repositories.items() for digest in repository.tags.values()]
    needed = {path for name, digest in tags for path in _closure(stored, name, digest)}
    if not (damaged or plan.young):  # these have no leftovers in that model
        assert _predicted(stored, plan) == (plan.blobs.keys(), plan.blob_bytes, plan.link_bytes, plan.upload_bytes)
    before = stored.size
    _apply(stored, plan)
    assert needed <= stored.files.keys()
    assert before - stored.size == plan.bytes_freed
    assert after(storage, plan) == contents(stored.storage())
    again = make_plan(stored.storage(), stored.manifests(), now=NOW, grace=grace)
    assert again.is_empty
    assert again.kept == plan.kept
