"""Deletions of what is protected: refused as a whole, naming the protection, whoever added it and whenever."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import ConfirmationRequired, ErrorResponse, Protected, RegistryError
from registry_tool.content import delete
from registry_tool.content.delete import DeletionPlan, Selection
from registry_tool.content.protection import add_protection, read_protections, tag_of
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Repository
from tests.support.content import layer, make_artifact, make_image, make_index
from tests.support.deletions import NAME, applied, of, retag, there, write
from tests.support.fake_repository import FakeRepository
from tests.support.faulty_proxy import FaultyProxy, respond_with


def refused(repository: Repository, proxy: FaultyProxy, selection: Selection) -> DeletionPlan:
    """The plan, which is refused without a write."""
    plan = delete.plan(repository, selection)
    before = write(proxy)
    with pytest.raises(Protected) as raised:
        applied(repository, plan, allow_empty=True)
    assert write(proxy) == before
    assert raised.value.exit_code == 1
    assert "nothing was removed" in raised.value.message
    return plan


def test_protected_tag_is_not_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    add_protection(repository, "v1")
    plan = refused(repository, proxy, of("v1"))
    assert {tag: protection.pattern for tag, protection in plan.protected.items()} == {"v1": "v1"}
    assert there(proxy, "v1")


def test_unprotected_tag_beside_a_protected_one_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "latest", layer(b"other"))
    add_protection(repository, "v*")
    plan = delete.plan(repository, of("latest"))
    assert applied(repository, plan) == [("deleted", ("latest",))]
    assert there(proxy, "v1")


def test_unprotected_tag_on_a_protected_digest_is_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "latest")
    add_protection(repository, "v1")
    assert applied(repository, delete.plan(repository, of("latest"))) == [("untagged", ("latest",))]
    assert there(proxy, "v1")


def test_glob_with_one_protected_tag_is_refused_as_a_whole(repository: Repository, proxy: FaultyProxy) -> None:
    for number in range(3):
        make_image(proxy.target, NAME, f"v{number}", layer(str(number).encode()))
    add_protection(repository, "v1")
    plan = refused(repository, proxy, of(pattern="v*"))
    assert list(plan.protected) == ["v1"]
    assert all(there(proxy, f"v{number}") for number in range(3))


def test_glob_does_not_select_protections(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    add_protection(repository, "release-*")
    plan = delete.plan(repository, of(pattern="*"))
    assert plan.tags == {"v1"}
    assert plan.tags_left == 0
    with pytest.raises(ConfirmationRequired):
        plan.check_allowed(allow_empty=False)
    applied(repository, plan, allow_empty=True)
    assert [each.pattern for each in read_protections(repository).entries] == ["release-*"]


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_protection_itself_is_not_deleted(repository: Repository, proxy: FaultyProxy, by: str) -> None:
    make_image(proxy.target, NAME, "v1")
    added, _ = add_protection(repository, "v1")
    refused(repository, proxy, of(added.tag) if by == "tag" else of(digest=str(added.digest)))
    assert there(proxy, added.tag)


def test_digest_of_a_protected_tag_is_not_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    add_protection(repository, "v?")
    refused(repository, proxy, of(digest=made.digest))


@pytest.mark.parametrize("depth", [1, 2])
def test_digest_in_a_protected_index_is_not_deleted(repository: Repository, proxy: FaultyProxy, depth: int) -> None:
    child = make_image(proxy.target, NAME)
    index = make_index(proxy.target, NAME, "v1", child)
    if depth == 2:
        make_index(proxy.target, NAME, "v2", index)
    add_protection(repository, f"v{depth}")
    plan = refused(repository, proxy, of(digest=child.digest))
    assert list(plan.protected) == [child.digest]


def test_children_of_a_protected_index_are_not_named_beside_it(repository: Repository, proxy: FaultyProxy) -> None:
    make_index(proxy.target, NAME, "v1", make_image(proxy.target, NAME))
    add_protection(repository, "v1")
    assert list(refused(repository, proxy, of("v1")).protected) == ["v1"]


def test_referrer_of_a_protected_image_is_not_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    image = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, subject=image)
    add_protection(repository, "v1")
    refused(repository, proxy, of(digest=signature.digest))


def test_signature_under_cosigns_tag_of_a_protected_image_is_not_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    image = make_image(proxy.target, NAME, "v1")
    tag = f"{image.digest.replace(':', '-')}.sig"
    make_artifact(proxy.target, NAME, tag=tag)
    add_protection(repository, "v1")
    plan = refused(repository, proxy, of(tag))
    assert plan.protected[tag].pattern == "v1"


def test_unreadable_protection_protects_every_tag(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    add_protection(repository, "other")
    proxy.inject(respond_with(403), path=f"manifests/{tag_of('other')}")
    refused(repository, proxy, of("v1"))


def test_protection_added_after_the_plan_stops_the_deletion(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    add_protection(repository, "v*")
    before = write(proxy)
    with pytest.raises(Protected, match=r"v1 is protected by 'v\*'; nothing more was removed"):
        applied(repository, plan)
    # The question whether deletion is on is a DELETE of nothing.
    assert proxy.count("PUT|POST|PATCH") + proxy.count("DELETE", f"manifests/{repository.resolve('v1').digest}") <= before
    assert there(proxy, "v1")


def test_dry_run_of_few_tags_of_many_reads_the_protections(repository: Repository, proxy: FaultyProxy) -> None:
    for number in range(4):
        make_image(proxy.target, NAME, f"v{number}", layer(str(number).encode()))
    add_protection(repository, "v1")
    plan = delete.plan(repository, of("v1"), most_tags=2)
    assert not plan.is_complete
    assert list(plan.protected) == ["v1"]


def test_deletion_without_protections_costs_no_more_requests(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    before = proxy.count("GET", "protected-")
    delete.plan(repository, of("v1"))
    assert proxy.count(".*", "protected-") == before == 0


# --- removing a protection ---


def test_unprotected_tag_can_be_deleted_again(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    added, _ = add_protection(repository, "v1")
    delete.unprotect(repository, repository.name, added)
    assert not there(proxy, added.tag)
    assert not there(proxy, str(added.digest))
    assert applied(repository, delete.plan(repository, of("v1"))) == [("deleted", ("v1",))]


def test_unprotect_of_one_that_somebody_else_removed_is_no_failure(repository: Repository) -> None:
    added, _ = add_protection(repository, "v1")
    delete.unprotect(repository, repository.name, added)
    delete.unprotect(repository, repository.name, added)


class _RefusesTagged(FakeRepository):
    """As Google's registries: a digest that has tags is not deleted."""

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        if descriptor.digest in self.digests.values():
            error = RegistryError("it has tags")
            error.response = ErrorResponse("DELETE", "", 400, "GOOGLE_MANIFEST_DANGLING_TAG", "")
            raise error
        super().delete(descriptor, subject=subject)


def test_unprotect_removes_the_tag_first_where_the_registry_wants_that() -> None:
    google = _RefusesTagged(lists_referrers=True, untags=True)
    added, _ = add_protection(google, "v1")
    delete.unprotect(google, "gcr.io/a", added)
    assert not google.digests
    assert not google.manifests


def test_unprotect_of_an_unreadable_protection_deletes_no_digest(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    tag = tag_of("v2")
    retag(proxy, made, tag)
    proxy.inject(respond_with(403), method="GET", path=f"manifests/{tag}", times=1)
    (unreadable,) = read_protections(repository).entries
    delete.unprotect(repository, repository.name, unreadable)
    assert not there(proxy, tag)
    assert there(proxy, "v1")


def test_unprotect_where_deletion_is_off_says_so(repository: Repository, proxy: FaultyProxy) -> None:
    added, _ = add_protection(repository, "v1")
    proxy.inject(respond_with(405), method="DELETE")
    with pytest.raises(RegistryError, match="deletion is turned off"):
        delete.unprotect(repository, repository.name, added)
    assert Digest.parse(str(added.digest)) == repository.resolve(added.tag).digest
