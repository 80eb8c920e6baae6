from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.content.usage.account import PARTS, Account, Kind
from registry_tool.content.usage.whatif import Removals, freed
from tests.support.storage_model import StorageModel, registries

KINDS: tuple[Kind, ...] = ("repository", "tag", "image", "layer", "platform")


@given(registries())
def test_parts_add_up_to_the_sum_of_the_files(model: StorageModel) -> None:
    account = Account(*model.read())
    assert sum(part.bytes for part in account.parts) == sum(map(len, model.files.values()))
    assert sum(part.files for part in account.parts) == len(model.files)
    assert [part.name for part in account.parts] == list(PARTS)
    assert all(part.bytes >= 0 and part.files >= 0 for part in account.parts)


@given(registries())
def test_areas_of_the_picture_add_up_to_the_sum_of_the_files(model: StorageModel) -> None:
    assert sum(area.bytes for area in Account(*model.read()).areas) == sum(map(len, model.files.values()))


@given(registries(damaged=False))
def test_unique_bytes_are_what_a_collection_would_free(model: StorageModel) -> None:
    storage, manifests = model.read()
    account = Account(storage, manifests)
    anyway = freed(storage, manifests, Removals()).blob_bytes
    rows = {(kind, row.name): row for kind in KINDS for row in account.rows(kind)}
    for name, repository in storage.repositories.items():
        whole = frozenset((name, digest) for digest in repository.revisions)
        assert rows["repository", name].unique == freed(storage, manifests, Removals(manifests=whole)).blob_bytes - anyway
        for tag in repository.tags:
            removals = Removals(manifests=account.removable(name, tag))
            assert rows["tag", f"{name}:{tag}"].unique == freed(storage, manifests, removals).blob_bytes - anyway


@given(registries())
def test_no_row_frees_more_than_it_needs(model: StorageModel) -> None:
    account = Account(*model.read())
    for kind in KINDS:
        assert all(0 <= row.unique <= row.size <= account.storage.total for row in account.rows(kind))


@given(registries(damaged=False), st.data())
def test_what_goes_with_a_tag_breaks_no_other_tag(model: StorageModel, data: st.DataObject) -> None:
    storage, manifests = model.read()
    account = Account(storage, manifests)
    tags = [(name, tag) for name, repository in storage.repositories.items() for tag in repository.tags]
    if not tags:
        return
    chosen = data.draw(st.sampled_from(tags))
    for name, digest in sorted(account.removable(*chosen)):
        model.delete_manifest(name, digest)
    model.garbage_collect()
    after, left = model.read()
    for name, repository in storage.repositories.items():
        for tag, digest in repository.tags.items():
            if (name, tag) != chosen and digest != storage.repositories[chosen[0]].tags[chosen[1]]:
                assert after.repositories[name].tags[tag] == digest
                needed = [digest]
                while needed:
                    each = needed.pop()
                    assert each in after.blobs
                    needed += left.references(each)
