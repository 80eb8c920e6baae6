"""Whatever a registry stores: a collection breaks no tag, frees what its plan says, and leaves nothing for the next one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import Conflict
from registry_tool.content.usage.storage import blob_path
from registry_tool.content.usage.whatif import Removals, freed
from registry_tool.local.collection.plan import CollectionPlan, after, contents, make_plan
from tests.support.stored_registry import NOW, StoredRegistry, random_registry


def _apply(stored: StoredRegistry, plan: CollectionPlan) -> None:
    stored.remove(*map(blob_path, plan.blobs), *plan.link_paths(), *plan.upload_paths())
    stored.files |= {link.path: link.content for link in plan.damaged_links}


def _predicted(stored: StoredRegistry, plan: CollectionPlan) -> tuple[object, int, int, int]:
    """What the model of distribution's collection says."""
    removals = Removals(
        manifests=frozenset((each.repository, each.digest) for each in plan.manifests),
        uploads=frozenset((upload.repository, upload.id) for upload in plan.uploads),
        stale_links=True,
        waiting=frozenset(plan.waiting_links),
        leftovers=True,
    )
    result = freed(stored.storage(), stored.manifests(), removals)
    return result.blobs, result.blob_bytes, result.link_bytes, result.upload_bytes


@given(seed=st.integers(0, 2**32), damaged=st.booleans(), grace=st.sampled_from((0, 3600)))
def test_no_tag_is_broken_and_freed_is_what_was_planned(seed: int, damaged: bool, grace: int) -> None:
    stored = random_registry(seed, damaged=damaged)
    storage = stored.storage()
    try:
        plan = make_plan(storage, stored.manifests(), now=NOW, grace=grace, deleted=stored.deleted())
    except Conflict:
        assert damaged, "a whole registry can be collected"
        return
    tags = [(name, digest) for name, repository in storage.repositories.items() for digest in repository.tags.values()]
    needed = {path for name, digest in tags for path in stored.closure(name, digest)}
    if not (damaged or plan.young):  # these have no leftovers in that model
        assert _predicted(stored, plan) == (plan.blobs.keys(), plan.blob_bytes, plan.link_bytes, plan.upload_bytes)
    before = stored.size
    _apply(stored, plan)
    assert needed <= stored.files.keys()
    assert before - stored.size == plan.bytes_freed - plan.bytes_written
    assert after(storage, plan) == contents(stored.storage())
    again = make_plan(stored.storage(), stored.manifests(), now=NOW, grace=grace, deleted=stored.deleted())
    assert again.is_empty
    assert again.kept == plan.kept
