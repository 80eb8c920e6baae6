"""``delete`` as it is typed: on the registry in this process, and where it matters on a real one."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from contextlib import suppress
from typing import Any

import pytest

from registry_tool import server
from registry_tool.base.errors import NotFound
from registry_tool.engine import Engine
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.digest import Digest
from tests.support.cli_runner import REGCTL, Terminal, Typed, spawn
from tests.support.content import (
    ACCEPT,
    DOCKER_IMAGE,
    DOCKER_LIST,
    OCI_IMAGE,
    OCI_INDEX,
    PushedManifest,
    layer,
    make_artifact,
    make_image,
    make_index,
    put_manifest,
)
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import FaultyProxy, Forward, faulty_proxy, respond_with
from tests.support.recording_server import RecordingServer
from tests.support.registry_over_http import ask, tags
from tests.support.requirements import missing

WAIT = 600.0


@pytest.fixture
def name(registry: server.RunningRegistry, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in the registry of this process, which names without a host mean."""
    monkeypatch.setenv("REGISTRY_TOOL_REGISTRY", registry.host)
    return "john/app"


def three_tags(port: int, repository: str) -> PushedManifest:
    made = make_image(port, repository, "v1")
    for tag in ("v2", "v3"):
        put_manifest(port, repository, tag, made.raw, made.media_type)
    return made


# --- failures ---


def test_name_without_tag_is_exit_2_with_suggestions(typed: Typed, name: str) -> None:
    answer = typed("delete", name, "--yes")
    assert answer.code == 2
    assert f"{name}:latest" in answer.err
    assert f"'{name}:*'" in answer.err
    assert typed("delete", "--json", name).json["error"]["code"] == "usage"


@pytest.mark.parametrize("wrong", ["UPPER:x", "john*:x", "x:*@sha256:0", "", "a:b:c*"])
def test_invalid_name_is_exit_2(typed: Typed, name: str, wrong: str) -> None:
    assert typed("delete", wrong, "--yes").code == 2


def test_delete_without_terminal_shows_the_plan_and_is_refused(registry: server.RunningRegistry, name: str) -> None:
    made = three_tags(registry.port, name)
    answer = spawn("delete", f"{name}:v1")
    assert answer.code == 2
    assert answer.out == ""
    assert "tags with the same digest: v2, v3" in answer.err
    assert made.digest in answer.err
    assert "--yes" in answer.err
    assert tags(registry.port, name) == ["v1", "v2", "v3"]


def test_missing_tag_is_exit_1_unless_missing_ok(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    for selection in (f"{name}:v9", f"{name}:v9*", f"{name}@sha256:{'0' * 64}"):
        assert typed("delete", "--yes", selection).code == 1
        assert typed("delete", "--yes", "--missing-ok", selection).code == 0
    make_image(registry.port, name, "v1")
    for selection in (f"{name}:v9", f"{name}:x*", f"{name}@sha256:{'0' * 64}"):
        answer = typed("delete", "--yes", selection)
        assert answer.code == 1
        assert f"regctl list-tags {registry.host}/{name}" in answer.err
        again = typed("delete", "--yes", "--missing-ok", "--json", selection)
        assert (again.code, again.json["ok"], again.json["absent"], again.json["done"]) == (0, True, True, [])
    assert tags(registry.port, name) == ["v1"]


def test_second_delete_with_missing_ok_deletes_nothing(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    three_tags(registry.port, name)
    assert typed("delete", "--yes", "--missing-ok", f"{name}:v1").code == 0
    assert typed("delete", "--yes", "--missing-ok", f"{name}:v1").code == 0
    assert sorted(tags(registry.port, name) or ()) == ["v2", "v3"]


def test_glob_for_the_last_tag_needs_allow_empty(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    three_tags(registry.port, name)
    answer = typed("delete", "--yes", f"{name}:v*")
    assert answer.code == 2
    assert "--allow-empty" in answer.err
    assert "No tag is left in the repository." in typed("delete", "--dry-run", f"{name}:v*").out
    assert tags(registry.port, name) == ["v1", "v2", "v3"]
    assert typed("delete", "--yes", "--allow-empty", f"{name}:v*").code == 0
    assert tags(registry.port, name) == []


@pytest.mark.parametrize(
    ("options", "word"), [({"delete": False}, "REGISTRY_STORAGE_DELETE_ENABLED"), ({"read_only": True}, "the registry is read-only")]
)
def test_registry_without_deletion_is_an_error(
    typed: Typed, registry: server.RunningRegistry, name: str, options: dict[str, bool], word: str
) -> None:
    three_tags(registry.port, name)
    with server.run_registry(server.Application(registry.application.storage, **options)) as closed:  # type: ignore[arg-type]
        answer = typed("delete", "--yes", f"{closed.host}/{name}:v1")
        assert answer.code == 1
        assert word in answer.err
        assert typed("delete", "--dry-run", f"{closed.host}/{name}:v1").code == 0
        assert typed("delete", "--yes", "--json", f"{closed.host}/{name}:v1").json["error"]["code"] == "registry-error"
    assert tags(registry.port, name) == ["v1", "v2", "v3"]


def test_unreachable_registry_is_exit_3_for_delete(typed: Typed) -> None:
    assert typed("delete", "--yes", "localhost:1/john/app:v1").code == 3


def test_tag_moved_while_deleting_is_an_error_with_what_was_deleted(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    for tag in ("v1", "v2", "v3"):
        make_image(registry.port, name, tag)

    def push_then_pass(received: ReceivedRequest, ask_registry: Forward) -> Reply:
        answer = ask_registry(received)
        make_image(registry.port, name, "v2", layer(b"new"))
        return answer

    first = ask(registry.port, "HEAD", f"/v2/{name}/manifests/v1", headers={"Accept": ACCEPT})[1]["docker-content-digest"]
    with faulty_proxy(registry.port) as proxy:
        proxy.inject(push_then_pass, method="DELETE", path=first, times=1)
        answer = typed("delete", "--yes", "--json", f"{proxy.host}/{name}:v[12]")
    assert answer.code == 1
    assert answer.json["ok"] is False
    assert answer.json["error"]["code"] == "conflict"
    assert [done["tags"] for done in answer.json["done"]] == [["v1"]]
    assert sorted(tags(registry.port, name) or ()) == ["v2", "v3"]


@pytest.mark.parametrize("status", [404, 202])
def test_deletion_without_effect_is_exit_1_and_not_done(
    typed: Typed, registry: server.RunningRegistry, name: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("registry_tool.content.delete.writes.PATIENCE", 0.0)
    make_image(registry.port, name, "v1")
    with faulty_proxy(registry.port) as proxy:
        proxy.inject(respond_with(status), method="DELETE")
        answer = typed("delete", "--yes", f"{proxy.host}/{name}:v1")
        assert (answer.code, answer.out) == (1, "")
        assert f"{proxy.host}/{name}:v1" in answer.err
        assert "still there" in answer.err
        document = typed("delete", "--yes", "--json", f"{proxy.host}/{name}:v1").json
    assert (document["ok"], document["done"], document["error"]["code"]) == (False, [], "registry-error")
    assert tags(registry.port, name) == ["v1"]


# --- what it shows and does ---


def test_dry_run_shows_the_plan_and_deletes_nothing(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    made = make_image(registry.port, name, "v1")
    signature = make_artifact(registry.port, name, made)
    index = make_index(registry.port, name, "many", made)
    answer = typed("delete", "--dry-run", f"{name}@{made.digest}")
    assert answer.code == 0
    assert f"delete v1 with image {made.digest}" in answer.out
    assert f"index {index.digest} (many) contains it and will be incomplete" in answer.out
    assert f"artifact {signature.digest} will be left without its subject" in answer.out
    assert "Garbage collection can then free" in answer.out
    assert "computed from 3 tags and 4 manifests of this repository" in answer.out
    (removal,) = typed("delete", "--dry-run", "--json", f"{name}@{made.digest}").json["removals"]
    assert removal["tags"] == ["v1"]
    assert removal["indexes"] == [index.digest]
    assert typed("delete", "--dry-run", "-q", f"{name}:many").out == f"{registry.host}/{name}:many\n{registry.host}/{name}@{index.digest}\n"
    assert len(tags(registry.port, name) or ()) == 3


def test_delete_asks_on_a_terminal(registry: server.RunningRegistry, name: str) -> None:
    made = three_tags(registry.port, name)
    with Terminal(["delete", f"{name}:v1"]) as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert "untag v1; image " in terminal.text
    assert tags(registry.port, name) == ["v1", "v2", "v3"]
    with Terminal(["delete", f"{name}:v1"]) as terminal:
        terminal.wait_for("Go ahead?")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert f"Untagged: {registry.host}/{name}:v1" in terminal.text
    assert made.digest in terminal.text
    assert sorted(tags(registry.port, name) or ()) == ["v2", "v3"]


def test_several_names_are_deleted_one_after_the_other(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    """The second tag of an image is alone on it when the first is gone, so that nothing is left."""
    made = three_tags(registry.port, name)
    answer = typed("delete", "--yes", f"{name}:v1", f"{name}:none", f"{name}:v2", f"{name}:v3")
    assert answer.code == 1
    full = f"{registry.host}/{name}"
    untagged = [f"Untagged: {full}:{tag}" for tag in ("v1", "v2", "v3")]
    assert answer.out.splitlines() == [*untagged, f"Deleted: {full}@{made.digest}"]
    assert "does not exist" in answer.err
    assert tags(registry.port, name) in ([], None)


def test_several_names_have_a_list_of_documents(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    three_tags(registry.port, name)
    document = typed("delete", "--dry-run", "--json", f"{name}:v1", f"{name}:v2").json
    assert document["ok"] is True
    assert [each["removals"][0]["tags"] for each in document["deletions"]] == [["v1"], ["v2"]]
    document = typed("delete", "--yes", "--json", f"{name}:v1", f"{name}:none").json
    assert (document["ok"], document["error"]["code"]) == (False, "not-found")
    assert [len(each["done"]) for each in document["deletions"]] == [1]


def test_what_was_deleted_before_a_registry_that_does_not_answer_is_in_the_document(
    typed: Typed, registry: server.RunningRegistry, name: str
) -> None:
    three_tags(registry.port, name)
    answer = typed("delete", "--json", "--yes", f"{name}:v1", "127.0.0.1:1/john/app:v1", f"{name}:v2")
    assert answer.code == 3
    assert [len(each["done"]) for each in answer.json["deletions"]] == [1]
    assert answer.json["error"]["code"] == "registry-unreachable"
    assert sorted(tags(registry.port, name) or ()) == ["v2", "v3"]


def test_a_wrong_name_among_several_deletes_nothing(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    three_tags(registry.port, name)
    assert typed("delete", "--yes", f"{name}:v1", "UPPER:1").code == 2
    assert sorted(tags(registry.port, name) or []) == ["v1", "v2", "v3"]


def test_output_is_what_was_deleted(typed: Typed, registry: server.RunningRegistry, name: str) -> None:
    made = three_tags(registry.port, name)
    assert typed("delete", "--yes", "-q", f"{name}:v1").out == f"{registry.host}/{name}:v1\n"
    full = f"{registry.host}/{name}"
    answer = typed("delete", "--yes", f"{name}@{made.digest}")
    assert answer.out == f"Untagged: {full}:v2\nUntagged: {full}:v3\nDeleted: {full}@{made.digest}\n"


def many_tags(port: int, storage: server.Storage, repository: str, count: int) -> PushedManifest:
    """``v1`` and ``v2`` on one image, and ``count`` tags on another."""
    made = make_image(port, repository, "v1")
    put_manifest(port, repository, "v2", made.raw, made.media_type)
    other = make_image(port, repository, "other")
    for number in range(count):
        storage.tag(repository, f"t{number}", Digest.parse(other.digest))
    return made


def test_dry_run_in_a_large_repository_looks_at_selected_tags_only(typed: Typed, watching: RecordingServer) -> None:
    made = many_tags(watching.port, watching.registry.storage, "john/app", 3000)
    signature = make_artifact(watching.port, "john/app", made)
    watching.forget()
    answer = typed("delete", "--dry-run", "john/app:v1")
    assert answer.code == 0
    assert len(watching.requests) <= 10
    assert "untag v1" in answer.out
    assert f"image {made.digest} is deleted, too, unless something needs it" in answer.out
    assert f"artifact {signature.digest} refers to it" in answer.out
    assert "3003 other tags not read" in answer.out
    assert "--siblings" in answer.out
    document = typed("delete", "--dry-run", "--json", "john/app:v1").json
    (removal,) = document["removals"]
    assert (removal["tags"], removal["alone"], removal["siblings"], removal["indexes"]) == (["v1"], None, None, None)
    assert (document["bytes_freed"], document["tags_left"], document["looked_at"]["others"]) == (None, 3003, 3003)
    by_digest = typed("delete", "--dry-run", f"john/app@{made.digest}")
    assert f"delete image {made.digest}" in by_digest.out
    assert "with those of the 3004 tags not read that are on it" in by_digest.out
    (removal,) = typed("delete", "--dry-run", "--json", "--siblings", "john/app:v1").json["removals"]
    assert (removal["alone"], removal["siblings"]) == (True, ["v2"])


def test_deletion_in_a_large_repository_looks_at_every_tag(typed: Typed, watching: RecordingServer) -> None:
    made = many_tags(watching.port, watching.registry.storage, "john/app", 300)
    assert typed("delete", "--yes", "john/app:v1").out == f"Untagged: {watching.host}/john/app:v1\n"
    assert typed("delete", "--yes", "john/app:v2").out.endswith(f"@{made.digest}\n")


def test_small_repository_is_read_whole_by_a_dry_run(typed: Typed, watching: RecordingServer) -> None:
    many_tags(watching.port, watching.registry.storage, "john/app", 190)
    assert "tags with the same digest: v2" in typed("delete", "--dry-run", "john/app:v1").out


# --- on a real registry, and on ours ---


def killed_between_tombstone_and_deletion(proxy: FaultyProxy, name: str) -> None:
    """``regctl delete``, killed when it asks for the tombstone to be deleted and before the registry hears of it."""
    received, let_go = threading.Event(), threading.Event()

    def hold(request: ReceivedRequest, ask_registry: Forward) -> Reply:
        status, _, body = ask(proxy.target, "GET", request.path, headers={"Accept": ACCEPT})
        if status != 200 or b"tombstone" not in body:
            return ask_registry(request)
        received.set()
        let_go.wait(WAIT)
        return Reply(hang_up=True)

    proxy.inject(hold, method="DELETE")
    process = subprocess.Popen([*REGCTL, "delete", "--yes", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert received.wait(WAIT), "no tombstone was to be deleted"
    finally:
        process.kill()
        process.wait(WAIT)
        let_go.set()
        proxy.reset()


def manifest(port: int, repository: str, reference: str) -> Any:
    status, _, body = ask(port, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
    return json.loads(body) if status == 200 else None


@pytest.mark.parametrize("following", ["v1", "v3"])
def test_delete_killed_after_the_tombstone_is_completed_by_the_next(typed: Typed, proxy: FaultyProxy, unique: str, following: str) -> None:
    made = three_tags(proxy.target, unique)
    killed_between_tombstone_and_deletion(proxy, f"{proxy.host}/{unique}:v1")
    assert "io.registry-tool.tombstone.tag" in manifest(proxy.target, unique, "v1")["annotations"]
    for tag in ("v2", "v3", made.digest):
        assert manifest(proxy.target, unique, tag) == json.loads(made.raw)
    answer = typed("delete", "--yes", f"{proxy.host}/{unique}:{following}")
    assert answer.code == 0
    assert f"Finished an earlier deletion: {proxy.host}/{unique}:v1" in answer.out
    assert "an earlier deletion was not finished" in answer.err
    assert sorted(tags(proxy.target, unique) or ()) == sorted({"v2", "v3"} - {following})
    assert manifest(proxy.target, unique, "v2") == json.loads(made.raw)


@pytest.mark.parametrize("kind", ["image", "docker image", "index", "docker list", "artifact"])
def test_tombstones_of_every_type_are_accepted(typed: Typed, proxy: FaultyProxy, unique: str, kind: str) -> None:
    port = proxy.target
    image = make_image(port, unique, media_type=DOCKER_IMAGE if "docker" in kind else OCI_IMAGE)
    made = image
    if kind in ("index", "docker list"):
        made = make_index(port, unique, None, image, media_type=DOCKER_LIST if kind == "docker list" else OCI_INDEX)
    elif kind == "artifact":
        made = make_artifact(port, unique)
    for tag in ("v1", "v2"):
        put_manifest(port, unique, tag, made.raw, made.media_type)
    answer = typed("delete", "--yes", f"{proxy.host}/{unique}:v1")
    assert (answer.code, answer.out) == (0, f"Untagged: {proxy.host}/{unique}:v1\n")
    assert proxy.count("PUT") == 1, "the first tombstone is taken, and needs no blob"
    assert tags(port, unique) == ["v2"]
    assert manifest(port, unique, "v2") == json.loads(made.raw)


@pytest.mark.engine
def test_deleted_tag_leaves_its_siblings_readable_by_skopeo_and_engine(
    typed: Typed, local: LocalRegistry, engine: Engine, unique: str
) -> None:
    if shutil.which("skopeo") is None:
        missing("skopeo", "not on PATH")
    made = three_tags(local.port, unique)
    full = f"localhost:{local.port}/{unique}"
    answer = typed("delete", "--yes", f"{full}:v2")
    assert answer.code == 0
    assert answer.out == f"Untagged: {full}:v2\n"

    def skopeo(*arguments: str) -> Any:
        done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=True, timeout=600)
        return json.loads(done.stdout)

    assert skopeo("list-tags", "--tls-verify=false", f"docker://{full}")["Tags"] == ["v1", "v3"]
    try:
        for tag in ("v1", "v3"):
            assert skopeo("inspect", "--tls-verify=false", f"docker://{full}:{tag}")["Digest"] == made.digest
            assert str(engine.pull(f"{full}:{tag}").digest) == made.digest
    finally:
        for tag in ("v1", "v3"):
            with suppress(NotFound):
                engine.remove_image(f"{full}:{tag}", force=True)


@pytest.mark.engine
def test_garbage_collection_frees_what_was_deleted(typed: Typed, local: LocalRegistry, unique: str) -> None:
    made = three_tags(local.port, unique)
    many = make_index(local.port, unique, "many", make_image(local.port, unique, platform="linux/arm64"), made)
    answer = typed("delete", "--yes", "--json", f"localhost:{local.port}/{unique}:many")
    assert answer.code == 0
    assert [done["digest"] for done in answer.json["done"]] == [many.digest, many.children[0].digest]
    assert manifest(local.port, unique, many.children[0].digest) is None
    typed("delete", "--yes", f"localhost:{local.port}/{unique}@{made.digest}")
    assert tags(local.port, unique) == []
    assert manifest(local.port, unique, made.digest) is None
