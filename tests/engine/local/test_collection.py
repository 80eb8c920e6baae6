"""Garbage collection of a real registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base import labels
from registry_tool.base.errors import Conflict, EngineError, NotFound, UsageError
from registry_tool.content.check import check
from registry_tool.content.usage.storage import blob_path, layer_path, revision_path
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local import registry as local_registry
from registry_tool.local.collection import (
    CollectionOptions,
    CollectionPlan,
    CollectionResult,
    CollectionSource,
    collect,
    discard_expired,
    find_subject,
    list_undo,
    plan_collection,
    stand_in,
    subject,
    worker,
)
from registry_tool.local.collection.session import session
from registry_tool.local.registry import Auth, LocalRegistry, recovery, up
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry
from tests.support import canary
from tests.support.content import layer, make_artifact, make_image, make_index, sha256
from tests.support.registry_over_http import ask, push_blob, tags
from tests.support.requirements import free_port, wait_for_registry

pytestmark = pytest.mark.engine


class Collected:
    """A registry of a test's own."""

    def __init__(self, engine: Engine, registry: LocalRegistry, state: Path) -> None:
        self.engine, self.registry, self.state = engine, registry, state
        self.port, self.name = registry.port, registry.name

    def plan(self, **options: Any) -> CollectionPlan:
        return plan_collection(self.engine, find_subject(self.engine, self.name), CollectionOptions(**options), state=self.state)

    def collect(self, on_step: Callable[[str], None] = lambda step: None, **options: Any) -> CollectionResult:
        wanted = CollectionOptions(**options)
        planned = self.plan(**options)
        return collect(self.engine, find_subject(self.engine, self.name), planned, wanted, state=self.state, on_step=on_step)

    def files(self) -> dict[str, int]:
        """The registry's files: path -> bytes."""
        script = "cd /var/lib/registry/docker && find . -type f -exec stat -c '%s %n' {} +"
        code, output = self.engine.execute(self.registry.container_id, ["sh", "-c", script])
        assert code == 0, output
        return {path: int(size) for size, _, path in (line.partition(" ") for line in output.decode().splitlines())}

    def delete(self, repository: str, digest: str) -> None:
        assert ask(self.port, "DELETE", f"/v2/{repository}/manifests/{digest}")[0] == 202

    def check_whole(self) -> None:
        """Every image is whole, the container is the same one, and nothing is left of a collection."""
        with open_registry(f"127.0.0.1:{self.port}") as opened:
            report = check(opened, deep=True)
        assert report.ok, report
        container = self.engine.container(self.registry.container_id)
        assert container is not None
        assert container.running
        assert recovery.find_collections(self.engine, self.name) == ()


@pytest.fixture
def collected(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[Collected]:
    started = up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=tmp_path)
    yield Collected(engine, started.registry, tmp_path)
    local_registry.down(engine, unique, volumes=True, state=tmp_path)


def test_what_no_tag_needs_goes_and_comes_back_by_undo(collected: Collected) -> None:
    port, shared = collected.port, layer(b"shared")
    gone = make_image(port, "app", "old", shared, layer(b"old" * 1000))
    kept = make_image(port, "app", "1", shared, layer(b"one" * 1000))
    make_index(port, "app", "index", make_image(port, "app", None, layer(b"child")))
    make_artifact(port, "app", kept)
    moved = make_image(port, "app/nested", "1", layer(b"before"))
    make_image(port, "app/nested", "1", layer(b"after"))
    emptied = make_image(port, "empty", "1", layer(b"empty"))
    collected.delete("app", gone.digest)
    collected.delete("empty", emptied.digest)
    before, steps = collected.files(), list[str]()
    result = collected.collect(on_step=steps.append)
    after = collected.files()
    assert steps == ["stand-in", "undo", "manifests", "garbage-collect", "links", "check"]
    assert sum(before.values()) - sum(after.values()) == result.bytes_removed == result.plan.bytes_freed > 0
    assert [each.digest for each in result.plan.manifests if str(each.digest) == moved.digest]
    assert not any("/repositories/empty/" in path for path in after)
    assert (sorted(tags(port, "app") or ()), tags(port, "app/nested")) == (["1", "index", f"sha256-{kept.digest[7:]}"], ["1"])
    collected.check_whole()
    assert collected.plan().is_empty
    # It is pushed again as if it had never been there, and what was removed can be restored beside it.
    make_image(port, "app", "old", shared, layer(b"old" * 1000))
    collected.check_whole()
    subject = find_subject(collected.engine, collected.name)
    assert [entry.id for entry in list_undo(collected.engine, subject)] == [result.undo.id if result.undo else None]
    source = CollectionSource(collected.engine, [subject], state=collected.state)
    (entry,) = source.entries()
    assert (entry.command, entry.tags, f"localhost:{port}/app/nested" in entry.repositories) == ("gc", (), True)
    restored = list(source.restore(source.plan(entry.id), overwrite=False))
    assert [(each.repository, str(each.digest)) for each in restored] == [(f"localhost:{port}/app/nested", moved.digest)]
    assert ask(port, "GET", f"/v2/app/nested/manifests/{moved.digest}", headers={"Accept": moved.media_type})[2] == moved.raw
    assert ask(port, "GET", f"/v2/app/nested/blobs/{sha256(moved.layers[0])}")[2] == moved.layers[0]
    assert before.keys() <= collected.files().keys() | {path for path in before if "/_manifests/" in path}
    assert list_undo(collected.engine, subject) == ()
    collected.check_whole()


def test_pulls_go_on_and_pushes_are_refused_meanwhile(collected: Collected) -> None:
    port = collected.port
    image = make_image(port, "app", "1", layer(b"kept"))
    make_image(port, "app", "2", layer(b"before"))
    make_image(port, "app", "2", layer(b"after"))
    during: dict[str, tuple[int, int, int]] = {}

    def look(step: str) -> None:
        if step != "stand-in":
            pull = ask(port, "GET", f"/v2/app/blobs/{sha256(image.layers[0])}")[0]
            upload = ask(port, "POST", "/v2/app/blobs/uploads/")[0]
            during[step] = (pull, upload, ask(port, "DELETE", f"/v2/app/manifests/{image.digest}")[0])

    result = collected.collect(on_step=look)
    assert during == dict.fromkeys(("undo", "manifests", "garbage-collect", "links", "check"), (200, 405, 405))
    assert len(result.pauses) == 2
    assert push_blob(port, "app", b"after") == 201
    collected.check_whole()


def test_push_that_is_under_way_goes_on_after_it(collected: Collected) -> None:
    port = collected.port
    image = make_image(port, "base", "1", layer(b"before"))
    make_image(port, "base", "1", layer(b"after"))
    child = make_image(port, "new/index", None, layer(b"child"))
    for blob in (image.config, *image.layers):
        assert push_blob(port, "new/image", blob) == 201
    result = collected.collect()
    assert (result.plan.waiting_count, result.plan.waiting_manifests) == (2, 1)
    assert [each.repository for each in result.plan.manifests] == ["base"]
    assert ask(port, "PUT", "/v2/new/image/manifests/1", body=image.raw, headers={"Content-Type": image.media_type})[0] == 201
    make_index(port, "new/index", "1", child)
    collected.check_whole()


def test_links_that_a_stop_left_empty_are_named_and_mended(collected: Collected) -> None:
    port = collected.port
    image = make_image(port, "app", "1", layer(b"layer"))
    make_image(port, "app", "2", layer(b"before"))
    make_image(port, "app", "2", layer(b"after"))
    digests = [Digest.parse(sha256(image.layers[0])), Digest.parse(image.digest)]
    for path in (layer_path("app", digests[0]), revision_path("app", digests[1])):
        code, output = collected.engine.execute(collected.registry.container_id, ["sh", "-c", f": > /var/lib/registry/{path}"])
        assert code == 0, output
    collected.engine.restart(collected.registry.container_id)  # it remembers what is in them
    wait_for_registry(port)
    assert ask(port, "GET", f"/v2/app/blobs/{digests[0]}")[0] == 500
    with open_registry(f"127.0.0.1:{port}") as opened:
        assert not check(opened, deep=True).ok
    result = collected.collect()
    assert [each.digest for each in result.plan.damaged_links] == digests
    collected.check_whole()
    assert collected.plan().is_empty


def test_without_undo_the_space_is_free_at_once_and_expired_entries_go(collected: Collected) -> None:
    for number in range(2):
        make_image(collected.port, "app", "1", layer(f"layer {number}".encode()))
    first = collected.collect(undo_for=0.001)
    assert first.undo is not None
    make_image(collected.port, "app", "1", layer(b"again"))
    second = collected.collect(undo_for=0)
    assert second.undo is None
    assert second.expired == (first.undo.id,)
    make_image(collected.port, "app", "1", layer(b"and again"))
    third = collected.collect(undo_for=0.001)
    subject = find_subject(collected.engine, collected.name)
    assert discard_expired(collected.engine, subject, state=collected.state) == (third.undo.id if third.undo else None,)
    assert list_undo(collected.engine, find_subject(collected.engine, collected.name)) == ()


def test_young_upload_stops_it_before_anything_is_stopped(collected: Collected) -> None:
    make_image(collected.port, "app", "1")
    assert ask(collected.port, "POST", "/v2/app/blobs/uploads/")[0] == 202
    before, steps = collected.files(), list[str]()
    with pytest.raises(Conflict, match="an upload to app may be under way"):
        collected.collect(on_step=steps.append)
    assert (steps, collected.files()) == ([], before)
    result = collected.collect(grace=0)
    assert [upload.repository for upload in result.plan.uploads] == ["app"]
    assert not any("/_uploads/" in path for path in collected.files())
    collected.check_whole()


def test_upload_that_began_meanwhile_stops_it_and_the_registry_is_back(collected: Collected) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))
    before = collected.files()

    def push(step: str) -> None:
        if step == "stand-in":
            assert ask(collected.port, "POST", "/v2/app/blobs/uploads/")[0] == 202

    with pytest.raises(Conflict, match="may be under way"):
        collected.collect(on_step=push)
    assert before.keys() <= collected.files().keys()
    collected.check_whole()


def test_manifest_that_lost_its_tag_meanwhile_is_not_removed_unseen(collected: Collected) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))

    def move(step: str) -> None:
        if step == "stand-in":
            make_image(collected.port, "app", "1", layer(b"after"))

    with pytest.raises(Conflict, match="1 more manifest would be removed than planned"):
        collected.collect(on_step=move)
    collected.check_whole()


@pytest.mark.parametrize("step", ["stand-in", "manifests", "check"])
def test_failure_at_any_step_brings_the_registry_back(collected: Collected, step: str) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))

    def fail(begun: str) -> None:
        if begun == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected.collect(on_step=fail)
    collected.check_whole()
    assert collected.plan().is_empty is (step == "check")


def test_registry_that_was_stopped_stays_stopped(collected: Collected) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))
    collected.engine.stop(collected.registry.container_id)
    result = collected.collect()
    assert (len(result.plan.manifests), result.pauses) == (1, ())
    container = collected.engine.container(collected.registry.container_id)
    assert container is not None
    assert container.state == "exited"


def test_empty_registry_needs_no_collection(collected: Collected) -> None:
    assert collected.plan().is_empty
    assert collected.collect().bytes_removed == 0
    collected.check_whole()


def test_two_containers_on_one_volume_are_refused(collected: Collected, registry_image: str, unique: str) -> None:
    spec = ContainerSpec(image=registry_image, name=f"{unique}-second", volumes={collected.registry.volume: "/data"})
    second = collected.engine.run(spec)
    try:
        with pytest.raises(Conflict, match=f"two containers use the volume .*: .* and {unique}-second"):
            collected.plan()
    finally:
        collected.engine.remove(second.id, force=True)


def test_registry_started_by_somebody_else_during_the_collection_stops_it(collected: Collected, registry_image: str, unique: str) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))
    spec = ContainerSpec(image=registry_image, name=f"{unique}-second", volumes={collected.registry.volume: "/data"})
    before = collected.files()

    def start(step: str) -> None:
        if step == "garbage-collect":
            collected.engine.run(spec)

    try:
        with pytest.raises(Conflict, match="two containers use the volume"):
            collected.collect(on_step=start)
        assert {path for path in before if path.startswith("./registry/v2/blobs/")} <= collected.files().keys()
    finally:
        collected.engine.remove(f"{unique}-second", force=True, missing_ok=True)
    collected.check_whole()


def test_another_command_and_another_user_see_that_it_runs(collected: Collected, tmp_path: Path) -> None:
    make_image(collected.port, "app", "1")
    elsewhere = tmp_path / "elsewhere"
    refused: list[str] = []

    def look(step: str) -> None:
        if step == "check":
            assert recovery.recover(collected.engine, collected.name, state=elsewhere) == ()
            for act in (lambda: local_registry.down(collected.engine, collected.name), lambda: _up_elsewhere(collected, elsewhere)):
                with pytest.raises(Conflict, match="its garbage is being collected"):
                    act()
                refused.append(step)

    collected.collect(on_step=look)
    assert refused == ["check", "check"]
    collected.check_whole()


def _up_elsewhere(collected: Collected, state: Path) -> None:
    up(collected.engine, image=lambda: collected.registry.image, name=collected.name, state=state)


def test_registry_with_a_password_and_deletion_off_is_collected(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> None:
    auth = Auth(user="john", password=canary.password("gc"))
    started = up(engine, image=lambda: registry_image, name=unique, port=free_port(), state=tmp_path, auth=auth)
    try:
        collected = Collected(engine, started.registry, tmp_path)
        assert push_blob(collected.port, "app", b"unneeded", user=(auth.user, auth.password)) == 201
        statuses: list[int] = []
        result = collected.collect(grace=0, on_step=lambda step: statuses.append(ask(collected.port, "GET", "/v2/")[0]))
        assert result.blobs == 1
        assert set(statuses) == {401}
        assert push_blob(collected.port, "app", b"unneeded", user=(auth.user, auth.password)) == 201
    finally:
        local_registry.down(engine, unique, volumes=True, state=tmp_path)


@pytest.fixture
def foreign(engine: Engine, registry_image: str, unique: str) -> Iterator[Callable[..., str]]:
    """Creates a registry that is not this tool's; gives its container's id."""
    made: list[str] = []

    def run(**options: object) -> str:
        arguments: dict[str, object] = {"volumes": {f"{unique}-data": "/var/lib/registry"}, **options}
        made.append(engine.create(ContainerSpec(image=registry_image, name=f"{unique}-{len(made)}", **arguments)).id)  # type: ignore[arg-type]
        return made[-1]

    yield run
    for id in made:
        engine.remove(id, force=True, missing_ok=True)
    engine.remove_volume(f"{unique}-data", missing_ok=True)
    engine.remove_network(f"{unique}-net", missing_ok=True)


def test_container_of_somebody_else_is_collected_by_name_and_stays_as_it_was(
    engine: Engine, foreign: Callable[..., str], unique: str, tmp_path: Path
) -> None:
    port = free_port()
    engine.create_network(f"{unique}-net", labels={})
    id = foreign(
        ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),),
        environment={"REGISTRY_LOG_LEVEL": "debug"},
        network=f"{unique}-net",
        aliases=("registry.local",),
        memory=1 << 28,
        restart="always",
    )
    engine.start(id)
    wait_for_registry(port)
    push_blob(port, "app", b"unneeded")
    before = engine.configuration(id).raw
    subject = find_subject(engine, container=id)
    options = CollectionOptions(grace=0)
    stand_ins: list[Mapping[str, Any]] = []

    def look(step: str) -> None:
        if step == "check":
            stand_ins.extend(engine.configuration(each.id).raw for found in recovery.find_collections(engine) for each in found.stand_ins)

    result = collect(engine, subject, plan_collection(engine, subject, options, state=tmp_path), options, state=tmp_path, on_step=look)
    assert result.blobs == 1
    after = engine.configuration(id).raw
    for member in ("Id", "Name", "Config", "HostConfig", "Mounts"):
        assert after[member] == before[member]
    (stand_in,) = [each for each in stand_ins if each["Name"].startswith(f"/{unique}")]
    assert "REGISTRY_LOG_LEVEL=debug" in stand_in["Config"]["Env"]
    assert stand_in["HostConfig"]["Memory"] == 1 << 28
    assert {"registry.local", f"{unique}-0"} <= set(stand_in["NetworkSettings"]["Networks"][f"{unique}-net"]["Aliases"])


def test_registry_of_another_user_than_root_can_write_to_all_that_is_left(
    engine: Engine, foreign: Callable[..., str], unique: str, tmp_path: Path
) -> None:
    port = free_port()
    # An empty volume gets its owner from the image at each mount.
    owner = foreign(entrypoint=("sh", "-c", "cd /var/lib/registry && touch file && chown 1000:1000 . file"))
    engine.start(owner)
    assert engine.wait(owner) == 0
    engine.remove(owner, force=True, missing_ok=True)
    id = foreign(user="1000:1000", ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),))
    engine.start(id)
    wait_for_registry(port)
    make_image(port, "app", "1", layer(b"before"))
    make_image(port, "app", "1", layer(b"after"))
    subject, options = find_subject(engine, container=id), CollectionOptions()
    result = collect(engine, subject, plan_collection(engine, subject, options, state=tmp_path), options, state=tmp_path)
    assert result.undo is not None
    source = CollectionSource(engine, [subject], state=tmp_path)
    list(source.restore(source.plan(result.undo.id), overwrite=False))
    code, output = engine.execute(id, ["find", "/var/lib/registry", "!", "-user", "1000"])
    assert (code, output) == (0, b"")


@pytest.mark.parametrize("has_empty_links", [False, True], ids=["whole", "links left empty"])
def test_full_volume_stops_it_before_anything_is_removed_unless_nothing_is_kept(
    engine: Engine, foreign: Callable[..., str], unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_empty_links: bool
) -> None:
    port = free_port()
    with engine._client.call("creating a volume") as api:  # podman ignores the options of a mount
        api.create_volume(f"{unique}-data", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
    published = PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1")
    id = foreign(ports=(published,))
    with pytest.raises(Conflict, match="is in memory"):
        find_subject(engine, container=id)
    monkeypatch.setattr(subject, "check_durable", lambda engine, location: None)
    # As long as somebody has it, it lasts.
    engine.start(foreign(entrypoint=("sleep", "3600"), labels={labels.ROLE: labels.ROLE_PROBE}))
    engine.start(id)
    wait_for_registry(port)
    make_image(port, "app", "1", layer(b"before"))
    kept = make_image(port, "app", "1", layer(b"after"))
    if has_empty_links:
        links = (revision_path("app", Digest.parse(kept.digest)), layer_path("app", Digest.parse(sha256(kept.layers[0]))))
        script = 'cd /var/lib/registry && for each in "$@"; do : > "$each"; done'
        assert engine.execute(id, ["sh", "-c", script, "sh", *links])[0] == 0
    fill = "dd if=/dev/zero of=/var/lib/registry/filler bs=4k; cd /var/lib/registry && find . -type f | sort"
    before = engine.execute(id, ["sh", "-c", fill])[1]
    registry, wanted = find_subject(engine, container=id), CollectionOptions()
    planned = plan_collection(engine, registry, wanted, state=tmp_path)
    with pytest.raises(EngineError, match=r"cannot be kept: .*No space left on device") as caught:
        collect(engine, registry, planned, wanted, state=tmp_path)
    assert "--no-undo" in (caught.value.hint or "")
    listing = engine.execute(id, ["sh", "-c", "cd /var/lib/registry && find . -type f | sort"])[1]
    assert set(before.splitlines()) >= {line for line in listing.splitlines() if b"/registry-tool/" not in line}
    assert {line for line in before.splitlines() if line.startswith(b"./docker/")} <= set(listing.splitlines())
    result = collect(engine, registry, planned, CollectionOptions(undo_for=0), state=tmp_path)
    assert result.bytes_removed == planned.bytes_freed > 0
    assert len(result.plan.damaged_links) == 2 * has_empty_links
    with open_registry(f"127.0.0.1:{port}") as opened:
        assert check(opened, deep=True).ok


def test_engine_with_another_clock_decides_what_is_young(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    push_blob(collected.port, "app", b"of a push that is under way")
    here = time.time
    # This machine's clock is two hours ahead: by it the layer is older than the grace.
    monkeypatch.setattr(time, "time", lambda: here() + 7200)
    assert collected.plan().waiting_count == 1
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))
    assert collected.collect(undo_for=3600).blobs > 0
    source = CollectionSource(collected.engine, [find_subject(collected.engine, collected.name)], state=collected.state)
    (entry,) = source.entries()
    assert abs(entry.created.timestamp() - here()) < 1800
    assert list(source.restore(source.plan(entry.id), overwrite=False))
    # What is restored is as young as what was pushed.
    code, output = collected.engine.execute(
        collected.registry.container_id, ["sh", "-c", "cd /var/lib/registry/docker && find . -type f -exec stat -c %Y {} +"]
    )
    assert code == 0
    assert max(map(int, output.split())) < here() + 1800


def test_no_path_is_cut_where_the_buffer_of_the_image_s_xargs_ends(collected: Collected) -> None:
    # Of these, busybox's xargs cuts one in its middle if it gets all of them at once: `rm -rf` then removes another path, and leaves it.
    blobs = [blob_path(Digest.of(str(number).encode())).rpartition("/")[0] for number in range(5008)]
    with session(collected.engine, find_subject(collected.engine, collected.name), state=collected.state) as (running, _):
        running.run_on(blobs, "mkdir -p")
        running.run_on(blobs, "rm -rf")
        left = running.run("find docker/registry/v2/blobs -mindepth 3 -type d").split()
    assert left == []


@pytest.mark.parametrize("when", ["before it", "meanwhile"])
def test_container_that_was_renamed_comes_back_under_its_new_name(collected: Collected, unique: str, when: str) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))

    def rename(step: str) -> None:
        if step == ("manifests" if when == "meanwhile" else ""):
            with collected.engine._client.call("renaming a container") as api:
                api.rename(collected.registry.container_id, f"{unique}-renamed")

    if when == "before it":
        rename("")
    assert collected.collect(on_step=rename).blobs > 0
    collected.check_whole()
    container = collected.engine.container(f"{unique}-renamed")
    assert container is not None
    assert (container.id, container.running) == (collected.registry.container_id, True)
    assert collected.plan().is_empty


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"environment": {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/elsewhere"}}, "in no volume: none is mounted at /elsewhere"),
        ({"remove": True}, "removed by the engine when it stops"),
        ({"read_only_volumes": True}, "is read-only in the container"),
        ({"environment": {"REGISTRY_PROXY_REMOTEURL": "http://127.0.0.1:1"}}, "pull-through cache"),
        ({"environment": {"REGISTRY_STORAGE": "inmemory"}}, "'inmemory', not in files"),
        ({"environment": {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis"}}, "remembers its blobs in Redis"),
    ],
    ids=["no volume", "--rm", "read-only volume", "pull-through cache", "other storage", "cache in Redis"],
)
def test_container_that_cannot_be_collected_is_refused(
    engine: Engine, foreign: Callable[..., str], tmp_path: Path, options: dict[str, object], why: str
) -> None:
    id = foreign(**options)
    before = engine.container(id)
    with pytest.raises((Conflict, UsageError), match=why):
        plan_collection(engine, find_subject(engine, container=id), CollectionOptions(), state=tmp_path)
    assert engine.container(id) == before


@pytest.mark.parametrize("part", ["worker", "stand-in"])
def test_container_that_does_not_start_brings_the_registry_back(collected: Collected, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    make_image(collected.port, "app", "1", layer(b"before"))
    make_image(collected.port, "app", "1", layer(b"after"))
    planned, options = collected.plan(), CollectionOptions()
    if part == "worker":
        monkeypatch.setattr(worker, "LEASE", ("/no/such/program",))
    else:
        # Distribution panics at its start.
        monkeypatch.setattr(stand_in, "READ_ONLY", {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"})
    with pytest.raises(EngineError):
        collect(collected.engine, find_subject(collected.engine, collected.name), planned, options, state=collected.state)
    collected.check_whole()


def test_container_that_is_not_there(engine: Engine, unique: str) -> None:
    with pytest.raises(NotFound, match="there is no container"):
        find_subject(engine, container=unique)
