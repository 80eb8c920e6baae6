"""Plans and their application, on the registry in this process."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from registry_tool import server
from registry_tool.base.errors import AuthenticationFailed, ConfirmationRequired, Conflict, NotFound, RegistryError, UsageError
from registry_tool.content import delete
from registry_tool.content.delete import DeletionPlan, Selection, advice, writes
from registry_tool.oci import manifest as manifests
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT, OCI_IMAGE, OCI_INDEX, tombstone
from registry_tool.targets.registry import Registry, Repository
from registry_tool.transport import Transport
from tests.support.content import (
    ACCEPT,
    DOCKER_IMAGE,
    DOCKER_LIST,
    PushedManifest,
    layer,
    make_artifact,
    make_blob,
    make_image,
    make_index,
    put_manifest,
)
from tests.support.fake_repository import FakeRepository
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, faulty_proxy, flipped_byte, respond_with, with_header
from tests.support.registry_over_http import ask, tags

NAME = "john/app"


@pytest.fixture
def proxy(registry: server.RunningRegistry) -> Iterator[FaultyProxy]:
    with faulty_proxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def repository(proxy: FaultyProxy) -> Iterator[Repository]:
    with Registry(Transport(proxy.host)) as opened:
        yield opened.repository(NAME)


def of(tag: str | None = None, *, digest: str | None = None, pattern: str | None = None) -> Selection:
    return Selection(repository=f"localhost/{NAME}", tag=tag, digest=Digest.parse(digest) if digest else None, pattern=pattern)


def write(proxy: FaultyProxy) -> int:
    """How many requests changed something, or tried to."""
    return proxy.count("PUT|POST|PATCH|DELETE")


def there(proxy: FaultyProxy, reference: str) -> bool:
    return ask(proxy.target, "GET", f"/v2/{NAME}/manifests/{reference}", headers={"Accept": ACCEPT})[0] == 200


def at(proxy: FaultyProxy, tag: str) -> str:
    return ask(proxy.target, "HEAD", f"/v2/{NAME}/manifests/{tag}", headers={"Accept": ACCEPT})[1]["docker-content-digest"]


def retag(proxy: FaultyProxy, made: PushedManifest, *names: str) -> None:
    for name in names:
        put_manifest(proxy.target, NAME, name, made.raw, made.media_type)


def push_tombstone(proxy: FaultyProxy, tag: str) -> str:
    """As a killed deletion leaves it."""
    replacement = tombstone(tag, unique=f"{tag}'s")
    make_blob(proxy.target, NAME, EMPTY_CONTENT)
    return put_manifest(proxy.target, NAME, tag, replacement.raw, OCI_IMAGE)


def applied(repository: Repository, plan: DeletionPlan, *, allow_empty: bool = False) -> list[tuple[str, tuple[str, ...]]]:
    return [(done.what, done.tags) for done in delete.apply(plan, repository, allow_empty=allow_empty)]


# --- what is wanted ---


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("app:v1", "here/app:v1"),
        ("app:v*", "here/app:v*"),
        ("localhost:5000/app:v[12]", "localhost:5000/app:v[12]"),
        (f"app@sha256:{'a' * 64}", f"here/app@sha256:{'a' * 64}"),
        (f"app:v1@sha256:{'a' * 64}", f"here/app:v1@sha256:{'a' * 64}"),
    ],
)
def test_selection_is_parsed(typed: str, meant: str) -> None:
    reference, selection = Selection.parse(typed, default_host="here")
    assert str(selection) == meant
    assert str(reference) == selection.repository


@pytest.mark.parametrize(
    "typed", ["app", "localhost:5000/app", "app*:v1", "john/*", "*", "app:v*@sha256:0", f"app:*@sha256:{'a' * 64}", "", "APP:v*"]
)
def test_ambiguous_selection_is_a_usage_error(typed: str) -> None:
    with pytest.raises(UsageError):
        Selection.parse(typed, default_host="here")


def test_repository_alone_is_refused_with_both_spellings() -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse("john/app", default_host="here")
    assert "john/app:latest" in str(caught.value.hint)
    assert "'john/app:*'" in str(caught.value.hint)


# --- failures ---


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


# --- what was claimed is looked at ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look once only."""
    monkeypatch.setattr(writes, "PATIENCE", 0.0)


@pytest.mark.parametrize("status", [202, 200, 204, 404])
@pytest.mark.parametrize("shared", [False, True])
def test_deletion_without_effect_is_an_error_that_names_what_is_left(
    repository: Repository, proxy: FaultyProxy, impatient: None, status: int, shared: bool
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    if shared:
        retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(404), method="DELETE", path="sha256:", times=1)  # whether deletion is on
    proxy.inject(respond_with(status), method="DELETE", path="sha256:")
    with pytest.raises(RegistryError, match=f"not deleted: .*localhost/{NAME}:v1 (is|are) still there") as caught:
        applied(repository, plan)
    assert caught.value.hint
    assert shared == ("the tag is at its image again" in caught.value.message)
    assert at(proxy, "v1") == made.digest


def test_replacement_without_effect_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(
        lambda received, forward: Reply(status=201, headers={"Docker-Content-Digest": str(Digest.of(received.body))}),
        method="PUT",
        path="v1",
    )
    with pytest.raises(RegistryError, match="not deleted"):
        applied(repository, plan)
    assert at(proxy, "v1") == at(proxy, "v2") == made.digest


def test_tag_that_stays_where_its_digest_goes_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(404), method="HEAD|GET", path="sha256:")
    proxy.inject(respond_with(404), method="DELETE")
    with pytest.raises(RegistryError, match=f"not deleted: localhost/{NAME}:v1 is still there"):
        applied(repository, plan)


def test_deletion_that_cannot_be_looked_at_is_not_claimed(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(403), method="HEAD|GET", path=made.digest)
    with pytest.raises(RegistryError, match=f"whether localhost/{NAME}@{made.digest} was deleted is not known: .*403"):
        applied(repository, plan)


def test_deletion_that_takes_effect_later_is_waited_for(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))

    def later(received: ReceivedRequest, forward: Forward) -> Reply:
        threading.Timer(0.3, forward, [received]).start()
        return Reply(status=202)

    proxy.inject(later, method="DELETE", path=made.digest)
    assert applied(repository, plan) == [("deleted", ("v1",))]
    assert not there(proxy, made.digest)


def test_unfinished_deletion_that_cannot_be_finished_is_an_error(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, of("old"))
    proxy.inject(respond_with(202), method="DELETE")
    with pytest.raises(RegistryError, match="not deleted"):
        applied(repository, plan)


def test_unfinished_deletion_that_is_refused_ends_no_other(repository: Repository, proxy: FaultyProxy) -> None:
    locked = push_tombstone(proxy, "old")
    make_image(proxy.target, NAME, "v1")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(403), method="DELETE", path=locked)
    with pytest.raises(RegistryError, match="403"):
        applied(repository, plan)
    assert tags(proxy.target, NAME) == ["old"]


def test_registry_that_deletes_all_tags_with_one_is_an_error(repository: Repository, proxy: FaultyProxy) -> None:
    """Some registries delete the manifest where a tag is to be removed."""
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2", "v3")
    plan = delete.plan(repository, of("v1"))
    whole = ReceivedRequest(method="DELETE", path=f"/v2/{NAME}/manifests/{made.digest}", headers={}, body=b"")
    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(lambda received, forward: forward(whole), method="DELETE", path="/v1$")
    with pytest.raises(RegistryError, match="and with it v2, v3"):
        applied(repository, plan)


@pytest.mark.parametrize("need", [make_index, make_artifact])
def test_registry_that_deletes_with_a_tag_what_others_need_is_an_error(
    repository: Repository, proxy: FaultyProxy, need: Callable[..., object]
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    if need is make_index:
        make_index(proxy.target, NAME, "many", made)
    else:
        make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of("v1"))
    assert plan.removals[0].untag_only
    whole = ReceivedRequest(method="DELETE", path=f"/v2/{NAME}/manifests/{made.digest}", headers={}, body=b"")
    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(lambda received, forward: forward(whole), method="DELETE", path="/v1$")
    with pytest.raises(RegistryError, match=f"has deleted localhost/{NAME}@{made.digest}, which others need"):
        applied(repository, plan)


# --- registries that want it otherwise ---


def only_of_the_same_types(received: ReceivedRequest, forward: Forward) -> Reply:
    """A registry with a list of allowed types: here those of what is under the tag already."""
    document = json.loads(received.body)
    known = forward(ReceivedRequest(method="GET", path=received.path, headers={"accept": ACCEPT}, body=b""))
    before = json.loads(known.body)
    types = [
        (
            each["mediaType"],
            each.get("artifactType"),
            each.get("config", {}).get("mediaType"),
            [one["mediaType"] for one in each.get("layers", [])][:1],
        )
        for each in (document, before)
    ]
    return (
        forward(received)
        if types[0] == types[1] == (received.headers["content-type"], *types[1][1:])
        else respond_with(403)(received, forward)
    )


@pytest.mark.parametrize("kind", ["image", "docker image", "index", "docker list", "artifact"])
def test_tombstone_has_the_types_of_what_it_replaces(repository: Repository, proxy: FaultyProxy, kind: str) -> None:
    image = make_image(proxy.target, NAME, media_type=DOCKER_IMAGE if "docker" in kind else OCI_IMAGE)
    if kind in ("index", "docker list"):
        made = make_index(proxy.target, NAME, "v1", image, media_type=DOCKER_LIST if kind == "docker list" else OCI_INDEX)
    else:
        made = make_artifact(proxy.target, NAME, tag="v1") if kind == "artifact" else image
    retag(proxy, made, "v1", "v2")
    proxy.inject(only_of_the_same_types, method="PUT", path="manifests/")
    proxy.inject(respond_with(403), method="POST")
    assert applied(repository, delete.plan(repository, of("v1"))) == [("untagged", ("v1",))]
    assert tags(proxy.target, NAME) == ["v2"]
    assert at(proxy, "v2") == made.digest


@pytest.mark.parametrize("status", [400, 404, 415, 422])
def test_tombstone_of_its_own_type_where_that_of_the_image_is_refused(repository: Repository, proxy: FaultyProxy, status: int) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(status), method="PUT", path="manifests/", times=1)
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert at(proxy, "v2") == made.digest


@pytest.mark.parametrize("status", [400, 405, 409, 412])
def test_digest_that_is_refused_while_tags_are_on_it_is_untagged_first(
    repository: Repository, registry: server.RunningRegistry, proxy: FaultyProxy, status: int
) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    storage = registry.application.storage

    def delete_digest(received: ReceivedRequest, forward: Forward) -> Reply:
        return (
            respond_with(status)(received, forward)
            if Digest.parse(made.digest) in (storage.tags(NAME) or {}).values()
            else forward(received)
        )

    def delete_tag(received: ReceivedRequest, forward: Forward) -> Reply:
        storage.untag(NAME, received.path.rpartition("/")[2])
        return Reply(status=202)

    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(delete_digest, method="DELETE", path=made.digest)
    proxy.inject(delete_tag, method="DELETE", path="/v[12]$")
    plan = delete.plan(repository, of(pattern="v*"))
    assert applied(repository, plan, allow_empty=True) == [("untagged", ("v1",)), ("untagged", ("v2",)), ("deleted", ())]
    assert not there(proxy, made.digest)
    assert proxy.count("PUT|POST") == 0


@pytest.mark.parametrize("status", [403, 405, 500])
def test_manifest_that_is_locked_ends_no_other_deletion(repository: Repository, proxy: FaultyProxy, impatient: None, status: int) -> None:
    child = make_image(proxy.target, NAME)
    for tag in ("v1", "v3"):
        make_image(proxy.target, NAME, tag)
    locked = make_index(proxy.target, NAME, "v2", child)
    plan = delete.plan(repository, of(pattern="v*"))
    proxy.inject(respond_with(status), method="DELETE", path=locked.digest)
    steps = delete.apply(plan, repository, allow_empty=True)
    assert {next(steps).tags, next(steps).tags} == {("v1",), ("v3",)}
    with pytest.raises(RegistryError, match=str(status)):
        next(steps)
    assert tags(proxy.target, NAME) == ["v2"]
    assert there(proxy, child.digest), "what it needs stays"


def test_refused_digest_is_an_error_with_what_was_untagged_before(
    repository: Repository, registry: server.RunningRegistry, proxy: FaultyProxy
) -> None:
    made = make_image(proxy.target, NAME, "v1")

    def delete_tag(received: ReceivedRequest, forward: Forward) -> Reply:
        registry.application.storage.untag(NAME, "v1")
        return Reply(status=202)

    proxy.inject(respond_with(404), method="DELETE", path="no-such-tag")
    proxy.inject(respond_with(400), method="DELETE", path=made.digest)
    proxy.inject(delete_tag, method="DELETE", path="/v1$")
    steps = delete.apply(delete.plan(repository, of("v1")), repository)
    assert next(steps).what == "untagged"
    with pytest.raises(RegistryError, match="400"):
        next(steps)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ghcr.io/john/app", "gh api"),
        ("docker.io/john/app", "https://hub.docker.com/r/john/app/tags"),
        ("some.azurecr.io/app", "az acr repository delete --name REGISTRY --image app:TAG"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/app", "aws ecr batch-delete-image --repository-name app"),
        ("eu.gcr.io/project/app", "eu.gcr.io/project/app@DIGEST"),
        ("europe-docker.pkg.dev/project/repo/app", "gcloud artifacts"),
        ("registry.gitlab.com/group/app", "GitLab"),
        ("quay.io/john/app", "https://quay.io/repository/john/app"),
    ],
)
def test_advice_is_that_registrys_own_way(name: str, word: str) -> None:
    for hint in (advice.turned_off(name), advice.ineffective(name)):
        assert word in hint
        assert "REGISTRY_STORAGE" not in hint
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in advice.turned_off("registry.example.com/app")
    assert "REGISTRY_STORAGE" not in advice.ineffective("registry.example.com/app")


@pytest.mark.parametrize(("name", "hint"), [("docker.io/john/app", "hub.docker.com"), ("registry.example.com/app", "Log in")])
def test_forbidden_deletion_gives_that_registrys_own_way(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = FakeRepository(lists_referrers=True, untags=True)
    repository.push_manifest(tombstone("x", unique="x"), "v1")

    def refuse() -> bool:
        raise AuthenticationFailed("403 DENIED", hint="Log in with a user that may do this.")

    monkeypatch.setattr(repository, "can_delete", refuse)
    plan = delete.plan(repository, Selection(repository=name, tag="v1"))
    with pytest.raises(AuthenticationFailed, match="403 DENIED") as caught:
        delete.check_deletable(plan, repository)
    assert hint in str(caught.value.hint)


# --- what cosign's tags attach ---


def attach(proxy: FaultyProxy, made: PushedManifest, *ends: str) -> list[str]:
    """Push images under cosign's tags of ``made``; the tags."""
    names = [f"{made.digest.replace(':', '-')}.{end}" for end in ends]
    for name in names:
        make_image(proxy.target, NAME, name)
    return names


def test_what_is_attached_to_an_image_is_deleted_with_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    other = make_image(proxy.target, NAME, "v2")
    names = sorted(attach(proxy, made, "sig", "att", "sbom"))
    of_other = attach(proxy, other, "sig")
    plan = delete.plan(repository, of("v1"))
    assert [removal.tags for removal in plan.removals] == [(name,) for name in names] + [("v1",)]
    assert {str(removal.attached_to) for removal in plan.removals[:-1]} == {made.digest}
    assert plan.tags_left == 1, "a signature is no tag to a person"
    applied(repository, plan)
    assert sorted(tags(proxy.target, NAME) or ()) == [*of_other, "v2"]


def test_image_whose_signature_cannot_be_deleted_is_kept(repository: Repository, proxy: FaultyProxy, impatient: None) -> None:
    made = make_image(proxy.target, NAME, "v1")
    (name,) = attach(proxy, made, "sig")
    plan = delete.plan(repository, of("v1"))
    proxy.inject(respond_with(405), method="DELETE", path=at(proxy, name))
    with pytest.raises(RegistryError, match="405"):
        applied(repository, plan)
    assert sorted(tags(proxy.target, NAME) or ()) == [name, "v1"]


def test_what_is_attached_is_kept_on_request(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    names = attach(proxy, made, "sig")
    plan = delete.plan(repository, of("v1"), keep_attached=True)
    assert applied(repository, plan) == [("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == names


def test_what_is_attached_to_an_image_that_stays_is_kept(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    names = attach(proxy, made, "sig", "att")
    applied(repository, delete.plan(repository, of("v1")))
    assert sorted(tags(proxy.target, NAME) or ()) == [*sorted(names), "v2"]


def test_what_is_attached_to_a_deleted_child_and_to_signatures_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    child = make_image(proxy.target, NAME)
    make_index(proxy.target, NAME, "many", child)
    (name,) = attach(proxy, child, "sig")
    signature = at(proxy, name)
    make_image(proxy.target, NAME, f"{signature.replace(':', '-')}.att")
    applied(repository, delete.plan(repository, of("many")))
    assert tags(proxy.target, NAME) == []


def test_attached_image_with_another_tag_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    (name,) = attach(proxy, made, "sbom")
    retag_of = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/{name}", headers={"Accept": ACCEPT})
    put_manifest(proxy.target, NAME, "kept", retag_of[2], OCI_IMAGE)
    assert applied(repository, delete.plan(repository, of("v1"))) == [("untagged", (name,)), ("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == ["kept"]


def test_image_is_kept_with_its_signature_where_something_unknown_may_need_that(repository: Repository, proxy: FaultyProxy) -> None:
    make_image(proxy.target, NAME, "v1")
    made = at(proxy, "v1")
    make_image(proxy.target, NAME, name := f"{made.replace(':', '-')}.sig")
    odd = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.example+json", "of": at(proxy, name)}).encode()
    make_image(proxy.target, NAME, "odd")
    headers = {"Content-Type": "application/vnd.example+json"}
    proxy.inject(lambda received, forward: Reply(body=odd, headers=headers), path=f"/manifests/(odd|{Digest.of(odd)})$")
    plan = delete.plan(repository, of("v1"))
    assert [(removal.tags, removal.untag_only) for removal in plan.removals] == [(("v1",), True)]
    assert applied(repository, plan) == [("untagged", ("v1",))]
    assert set(tags(proxy.target, NAME) or ()) == {name, "odd"}
    assert there(proxy, made)


def test_image_whose_signature_has_a_referrer_is_deleted() -> None:
    repository = FakeRepository(lists_referrers=True, untags=True)
    image, signature = (manifests.image(EMPTY, [EMPTY], artifact_type="application/x", annotations={"a": name}) for name in "is")
    repository.push_manifest(image, "v1")
    repository.push_manifest(signature, f"sha256-{image.digest.hex}.sig")
    repository.push_manifest(manifests.image(EMPTY, [EMPTY], artifact_type="application/x", subject=signature.descriptor), None)
    plan = delete.plan(repository, of("v1"))
    assert [(removal.untag_only, len(removal.referrers)) for removal in plan.removals] == [(True, 1), (False, 0)]
    list(delete.apply(plan, repository))
    assert image.digest not in repository.manifests
    assert signature.digest in repository.manifests


# --- what goes, and what stays ---


def test_a_plan_writes_nothing(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    delete.plan(repository, of(pattern="*"))
    assert write(proxy) == 0


def test_one_of_three_tags_on_a_digest_is_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2", "v3")
    plan = delete.plan(repository, of("v2"))
    (removal,) = plan.removals
    assert (removal.untag_only, removal.siblings, plan.bytes_freed) == (True, ("v1", "v3"), 0)
    assert applied(repository, plan) == [("untagged", ("v2",))]
    assert sorted(tags(proxy.target, NAME) or ()) == ["v1", "v3"]
    assert at(proxy, "v1") == at(proxy, "v3") == made.digest


def test_all_tags_of_a_digest_delete_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    make_image(proxy.target, NAME, "other")
    plan = delete.plan(repository, of(pattern="v?"))
    assert plan.bytes_freed == made.size + len(made.raw)
    assert applied(repository, plan) == [("deleted", ("v1", "v2"))]
    assert not there(proxy, made.digest)


def test_layers_of_another_image_are_not_freed(repository: Repository, proxy: FaultyProxy) -> None:
    shared, unshared = layer(b"shared"), layer(b"unshared")
    made = make_image(proxy.target, NAME, "v1", shared, unshared)
    make_image(proxy.target, NAME, "v2", shared)
    assert delete.plan(repository, of("v1")).bytes_freed == made.size + len(made.raw) - len(shared)


def test_child_of_an_index_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    index = make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of("v1"))
    (removal,) = plan.removals
    assert removal.untag_only
    assert [(str(held.digest), held.tags) for held in removal.indexes] == [(index.digest, ("many",))]
    applied(repository, plan)
    assert not there(proxy, "v1")
    assert there(proxy, made.digest)


def test_child_of_a_type_that_is_not_read_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    entry = {**made.descriptor, "mediaType": "application/vnd.oci.artifact.manifest.v1+json"}
    make_index(proxy.target, NAME, "many", extra={"manifests": [entry]})
    applied(repository, delete.plan(repository, of("v1")))
    assert not there(proxy, "v1")
    assert there(proxy, made.digest)


def test_index_is_deleted_with_children_that_nothing_else_needs(repository: Repository, proxy: FaultyProxy) -> None:
    amd, arm, note = (make_image(proxy.target, NAME, platform=each) for each in ("linux/amd64", "linux/arm64", "linux/386"))
    index = make_index(proxy.target, NAME, "many", amd, arm, attestations=[note])
    retag(proxy, arm, "arm")
    plan = delete.plan(repository, of("many"))
    assert [str(removal.digest) for removal in plan.removals] == [index.digest, *sorted([amd.digest, note.digest])]
    assert {str(removal.part_of) for removal in plan.removals[1:]} == {index.digest}
    applied(repository, plan)
    assert not there(proxy, amd.digest)
    assert at(proxy, "arm") == arm.digest


def test_subject_of_a_referrer_is_only_untagged(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of("v1"))
    (removal,) = plan.removals
    assert removal.untag_only
    assert [str(held.digest) for held in removal.referrers] == [signature.digest]
    applied(repository, plan)
    assert there(proxy, made.digest)


def test_selected_digest_is_deleted_whatever_needs_it(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    retag(proxy, made, "v2")
    signature = make_artifact(proxy.target, NAME, made)
    index = make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of(digest=made.digest))
    (removal,) = plan.removals
    assert (removal.tags, removal.untag_only) == (("v1", "v2"), False)
    assert [str(held.digest) for held in removal.indexes] == [index.digest]
    assert [str(held.digest) for held in removal.referrers] == [signature.digest]
    assert applied(repository, plan) == [("deleted", ("v1", "v2"))]
    assert not there(proxy, made.digest)
    assert there(proxy, signature.digest)


def test_digest_without_a_tag_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME)
    assert applied(repository, delete.plan(repository, of(digest=made.digest))) == [("deleted", ())]
    assert not there(proxy, made.digest)


def test_deleted_referrer_is_removed_from_its_subjects_list(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    first, second = (make_artifact(proxy.target, NAME, made, content=content) for content in (b"first", b"second"))
    plan = delete.plan(repository, of(digest=first.digest))
    (removal,) = plan.removals
    assert removal.subject is not None
    assert str(removal.subject.digest) == made.digest
    assert removal.indexes == ()
    applied(repository, plan)
    body = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/sha256-{made.digest[7:]}", headers={"Accept": OCI_INDEX})[2]
    assert [each["digest"] for each in json.loads(body)["manifests"]] == [second.digest]
    assert at(proxy, "v1") == made.digest


def test_glob_over_all_tags_deletes_everything(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    make_index(proxy.target, NAME, "many", made)
    plan = delete.plan(repository, of(pattern="*"))
    applied(repository, plan, allow_empty=True)
    assert tags(proxy.target, NAME) == []
    assert not there(proxy, made.digest)
    assert not there(proxy, signature.digest)


# --- deletions that were not finished ---


def test_next_deletion_finishes_an_unfinished_one(repository: Repository, proxy: FaultyProxy) -> None:
    replacement = push_tombstone(proxy, "old")
    make_image(proxy.target, NAME, "v1")
    make_image(proxy.target, NAME, "v2")
    plan = delete.plan(repository, of("v1"))
    assert [dead.tag for dead in plan.unfinished] == ["old"]
    assert applied(repository, plan) == [("finished", ("old",)), ("deleted", ("v1",))]
    assert tags(proxy.target, NAME) == ["v2"]
    assert not there(proxy, replacement)


@pytest.mark.parametrize("selection", [of("old"), of(pattern="o*")])
def test_tag_of_an_unfinished_deletion_is_deleted(repository: Repository, proxy: FaultyProxy, selection: Selection) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, selection)
    assert not plan.absent
    assert plan.tags_left == 0
    assert applied(repository, plan) == [("finished", ("old",))]
    assert tags(proxy.target, NAME) == []


def test_tag_pushed_over_its_tombstone_stays(repository: Repository, proxy: FaultyProxy) -> None:
    push_tombstone(proxy, "old")
    plan = delete.plan(repository, of("old"))
    made = make_image(proxy.target, NAME, "old")
    applied(repository, plan)
    assert at(proxy, "old") == made.digest


def test_plan_needs_two_requests_for_each_tag(repository: Repository, proxy: FaultyProxy) -> None:
    for number in range(40):
        make_image(proxy.target, NAME, f"v{number}")
    proxy.reset()
    delete.plan(repository, of("v7"))
    # A tag list, a HEAD for each tag, a GET for each manifest, and one for the list of referrers, requested from the interface first.
    assert proxy.count() <= 1 + 40 + 40 + 2


def test_interrupted_deletion_leaves_no_dead_entry_in_a_list_of_referrers(repository: Repository, proxy: FaultyProxy) -> None:
    made = make_image(proxy.target, NAME, "v1")
    signature = make_artifact(proxy.target, NAME, made)
    plan = delete.plan(repository, of(digest=signature.digest))
    proxy.inject(respond_with(500), method="DELETE", path=signature.digest)
    with pytest.raises(RegistryError):
        applied(repository, plan)
    proxy.reset()
    body = ask(proxy.target, "GET", f"/v2/{NAME}/manifests/sha256-{made.digest[7:]}", headers={"Accept": OCI_INDEX})[2]
    assert json.loads(body)["manifests"] == []
    applied(repository, delete.plan(repository, of(digest=signature.digest)))
    assert not there(proxy, signature.digest)


def test_index_with_a_missing_child_is_deleted(repository: Repository, proxy: FaultyProxy) -> None:
    here, gone = make_image(proxy.target, NAME, platform="linux/arm64"), make_image(proxy.target, NAME)
    index = make_index(proxy.target, NAME, "many", here, gone)
    assert ask(proxy.target, "DELETE", f"/v2/{NAME}/manifests/{gone.digest}")[0] == 202
    plan = delete.plan(repository, of("many"))
    assert [str(removal.digest) for removal in plan.removals] == [index.digest, here.digest]
    applied(repository, plan)
    assert not there(proxy, here.digest)


def test_index_pushed_during_apply_is_a_conflict(repository: Repository, proxy: FaultyProxy) -> None:
    second = [make_image(proxy.target, NAME, name) for name in ("v1", "v2", "v3")][1]
    began = time.monotonic()
    plan = delete.plan(repository, of(pattern="v[12]"))
    took = time.monotonic() - began
    going = delete.apply(plan, repository)
    assert next(going).tags == ("v1",)
    make_index(proxy.target, NAME, "many", second)
    time.sleep(3 * took + 0.5)  # a snapshot is used for as long as it took
    with pytest.raises(Conflict, match="the indexes that contain it"):
        list(going)
    assert there(proxy, "v2")
