"""Deletions that may not be, cannot be, or meet changes."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable

import pytest

from registry_tool import server
from registry_tool.base.errors import AuthenticationFailed, ConfirmationRequired, Conflict, NotFound, RegistryError
from registry_tool.content import delete
from registry_tool.oci.manifest import tombstone
from registry_tool.targets.registry import Repository
from registry_tool.transport import Transport
from tests.support.content import (
    PushedManifest,
    layer,
    make_artifact,
    make_image,
    make_index,
    put_manifest,
)
from tests.support.deletions import NAME, applied, at, of, retag, there, write
from tests.support.fake_repository import FakeRepository
from tests.support.fake_server import Reply
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy, flipped_byte, respond_with, with_header
from tests.support.registry_over_http import ask, tags


def moved_tag(proxy: FaultyProxy, made: PushedManifest) -> None:
    make_image(proxy.target, NAME, "v1", layer(b"new"))


def new_tag(proxy: FaultyProxy, made: PushedManifest) -> None:
    retag(proxy, made, "new")


def new_index(proxy: FaultyProxy, made: PushedManifest) -> None:
    make_index(proxy.target, NAME, "many", made)


def new_referrer(proxy: FaultyProxy, made: PushedManifest) -> None:
    make_artifact(proxy.target, NAME, made)


@pytest.mark.parametrize("change", [moved_tag, new_tag, new_index, new_referrer])
@pytest.mark.parametrize("shared", [False, True])
def test_repository_changed_concurrently_is_a_conflict(
    repository: Repository, proxy: FaultyProxy, change: Callable[[FaultyProxy, PushedManifest], None], shared: bool
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    if shared:
        retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    change(proxy, made)
    proxy.reset()
    with pytest.raises(Conflict, match="nothing more was removed"):
        applied(repository, plan)
    assert write(proxy) == proxy.count("DELETE", "manifests/(no-such|sha256)"), "only whether deletion is on was tried"
    assert there(proxy, "v1")
    assert there(proxy, made.digest)


def test_sibling_moved_concurrently_is_a_conflict(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    make_image(proxy.target, NAME, "v2", layer(b"new"))
    with pytest.raises(Conflict, match="the tags on it"):
        applied(repository, plan)
    assert at(proxy, "v1") == made.digest


def test_delete_tag_deleted_concurrently_is_not_an_error(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    assert ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{made.digest}")[0] == 202
    applied(repository, plan)
    assert tags(proxy.target, NAME) == []


def test_tag_moved_during_apply_is_a_conflict(repository: Repository, proxy: FaultyProxy) -> None:
    for name in ("v1", "v2", "v3"):
        make_image(proxy.target, NAME, name)
    plan = delete.plan(repository, of(pattern="v*"))
    going = delete.apply(plan, repository, allow_empty=True)
    assert next(going).tags == ("v1",)
    newer = make_image(proxy.target, NAME, "v2", layer(b"new"))
    with pytest.raises(Conflict, match="the tag v2 moved"):
        list(going)
    assert sorted(tags(proxy.target, NAME) or ()) == ["v2", "v3"]
    assert at(proxy, "v2") == newer.digest


@pytest.mark.parametrize(
    ("application", "text"),
    [
        (lambda storage: server.Application(storage, delete=False), "REGISTRY_STORAGE_DELETE_ENABLED"),
        (lambda storage: server.Application(storage, read_only=True), "read-only"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_registry_without_deletion_is_not_written_to(
    registry: server.RunningRegistry, application: Callable[[server.Storage], server.Application], text: str, shared: bool
) -> None:
    made = make_image(registry.port, NAME, "v1")
    if shared:
        put_manifest(registry.port, NAME, "v2", made.raw, made.media_type)
    with server.run_registry(application(registry.application.storage)) as closed, faulty_proxy(closed.port) as proxy:
        repository = Repository(Transport(proxy.host), NAME)
        plan = delete.plan(repository, of("v1"))
        with pytest.raises(RegistryError) as caught:
            applied(repository, plan)
        assert text in f"{caught.value.message} {caught.value.hint}"
        assert proxy.count("PUT|POST|PATCH") == 0
        assert at(proxy, "v1") == made.digest


@pytest.mark.parametrize("status", [401, 403])
def test_forbidden_deletion_writes_nothing(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(status), method="DELETE")
    with pytest.raises(AuthenticationFailed):
        applied(repository, plan)
    assert proxy.count("PUT|POST|PATCH") == 0
    assert there(proxy, "v1")


def test_glob_needs_allow_empty_for_the_last_tag(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2")
    make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of(pattern="v*"))
    assert plan.tags_left == 0, "a list of referrers is no tag to a person"
    with pytest.raises(ConfirmationRequired, match="last tag"):
        applied(repository, plan)
    assert there(proxy, "v1")
    applied(repository, plan, allow_empty=True)
    assert {tag for tag in tags(proxy.target, NAME) or () if not tag.startswith("sha256-")} == set()


def test_typed_tag_may_be_the_last(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    assert applied(repository, delete.plan(repository, of("v1"))) == [("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == []


def test_tag_at_another_digest_than_typed_is_a_conflict(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    with pytest.raises(Conflict, match="not at"):
        delete.plan(repository, of("v1", digest=f"sha256:{'0' * 64}"))
    applied(repository, delete.plan(repository, of("v1", digest=made.digest)))
    assert not there(proxy, "v1")


def test_absent_selection_is_an_empty_plan(repository: Repository, proxy: FaultyProxy) -> None:
    with pytest.raises(NotFound):
        delete.plan(repository, of("v1"))
    make_image(proxy.target, NAME, "v1")
    for selection in (of("v2"), of(pattern="x*"), of(digest=f"sha256:{'0' * 64}")):
        plan = delete.plan(repository, selection)
        assert plan.absent
        assert plan.is_empty
        assert applied(repository, plan) == []


def test_unreadable_index_keeps_every_manifest(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    index = make_index(proxy.target, NAME, "many", made)
    proxy.inject(flipped_byte(5), method="GET", path=f"manifests/{index.digest}")
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    assert len(plan.scope.unread) == 1
    applied(repository, plan)
    assert not there(proxy, "v1")
    assert there(proxy, made.digest)


@pytest.mark.parametrize("link", ["</v2/john/app/tags/list>; rel=next", "<x:.elsewhere.example/>; rel=next"])
def test_manifest_is_only_untagged_where_the_list_of_tags_may_be_incomplete(repository: Repository, proxy: FaultyProxy, link: str) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    listed = json.dumps({"name": NAME, "tags": ["v1"]}).encode()
    proxy.inject(lambda received, forward: Reply(body=listed, headers={"Link": link}), path="/tags/list")
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    assert "the list may be incomplete" in plan.scope.unread[0]
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert at(proxy, "v2") == made.digest


def test_unreadable_image_can_be_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    proxy.inject(flipped_byte(5), method="GET", path=f"manifests/{made.digest}")
    assert applied(repository, delete.plan(repository, of("v1"))) == [("deleted", ("v1",))]
    assert not there(proxy, made.digest)


def test_unknown_referrers_keep_the_manifest(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    proxy.inject(respond_with(403), method="GET", path=f"manifests/sha256-{made.digest[7:]}")
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    assert [why for why in plan.scope.unread if why.startswith(f"the referrers of {made.digest}: ")]
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert there(proxy, made.digest)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_refused_list_of_referrers_keeps_the_manifest(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    """A registry that keeps lists of its own has none under a tag: where it refuses one, the image may be signed."""
    made = make_image(proxy.target, NAME, "v1")
    proxy.inject(respond_with(status), path="/referrers/")
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    assert [why for why in plan.scope.unread if why.startswith(f"the referrers of {made.digest}: ")]
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert there(proxy, made.digest)


@pytest.mark.parametrize("hanging", ["resolve", "manifest", "referrers"])
def test_ctrl_c_does_not_wait_for_requests_under_way(hanging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = FakeRepository(lists_referrers=True, untags=True)
    repository.push_manifest(tombstone("x", unique="x"), "v1")
    answer, answered, interrupted = threading.Event(), threading.Event(), threading.Lock()

    def hang(*arguments: object) -> None:
        if interrupted.acquire(blocking=False):  # a second interrupt would end the tests
            threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        answer.wait(60)
        answered.set()

    monkeypatch.setattr(repository, hanging, hang)
    try:
        with pytest.raises(KeyboardInterrupt):
            delete.plan(repository, of("v1"))
        assert not answered.is_set()
    finally:
        answer.set()


@pytest.mark.parametrize(("link", "is_deleted"), [("", True), ("</v2/elsewhere>", False)])
def test_image_is_kept_where_the_list_of_tags_may_be_incomplete(
    repository: Repository, proxy: FaultyProxy, link: str, is_deleted: bool
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "other", layer(b"other"))
    proxy.inject(with_header("Link", link), path="/tags/list")
    plan = delete.plan(repository, of("v1"))
    assert [removal.untag_only for removal in plan.removals] == [not is_deleted]
    assert repository.exists(repository.resolve(str(made.digest)))
