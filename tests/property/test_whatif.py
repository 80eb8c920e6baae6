from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.content.usage import storage as paths
from registry_tool.content.usage.whatif import Removals, freed
from tests.support.storage_model import CollectionFailed, StorageModel, registries


@st.composite
def cases(draw: st.DrawFn) -> tuple[StorageModel, Removals]:
    model = draw(registries())
    storage, _ = model.read()
    manifests = [(name, digest) for name, each in storage.repositories.items() for digest in sorted(each.revisions)]
    uploads = [(name, upload.id) for name, each in storage.repositories.items() for upload in each.uploads]
    tags = [(name, tag) for name, each in storage.repositories.items() for tag in each.tag_folders]
    return model, Removals(
        manifests=frozenset(draw(st.sets(st.sampled_from(manifests)))) if manifests else frozenset(),
        tags=frozenset(draw(st.sets(st.sampled_from(tags), max_size=1))) if tags else frozenset(),
        uploads=frozenset(draw(st.sets(st.sampled_from(uploads)))) if uploads else frozenset(),
        stale_links=draw(st.booleans()),
        leftovers=draw(st.booleans()),
    )


def apply(model: StorageModel, removals: Removals) -> bool:
    """Do what ``removals`` says, and collect; returns whether the collection went to its end."""
    for name, digest in sorted(removals.manifests):
        model.delete_manifest(name, digest)
    for name, tag in removals.tags:
        model.remove_folder(f"{paths.repository_path(name)}/_manifests/tags/{tag}")
    for name, id in removals.uploads:
        model.remove_folder(paths.upload_path(name, id))
    try:
        model.garbage_collect()
        done = True
    except CollectionFailed:
        done = False
    storage, _ = model.read()
    for name, repository in storage.repositories.items():
        if removals.leftovers and repository.is_empty:
            model.remove_folder(f"{paths.repository_path(name)}/_layers")
        elif removals.stale_links:
            for digest in repository.layers.keys() - storage.blobs.keys():
                del model.files[paths.layer_path(name, digest)]
            for tag, folder in repository.tag_folders.items():
                for digest in folder.index.keys() - repository.revisions.keys():
                    del model.files[paths.tag_history_path(name, tag, digest)]
    return done


@given(cases())
def test_prediction_is_what_a_collection_frees(case: tuple[StorageModel, Removals]) -> None:
    model, removals = case
    before, manifests = model.read()
    prediction = freed(before, manifests, removals)
    done = apply(model, removals)
    after, _ = model.read()
    assert prediction.bytes == before.total - after.total
    assert prediction.files == before.files - after.files
    assert prediction.blobs == before.blobs.keys() - after.blobs.keys()
    assert done == (not prediction.blocked_by)
