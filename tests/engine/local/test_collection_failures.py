"""Known failures of distribution's ``garbage-collect``: each happens with it, and none with ours."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.collection import CollectionOptions, collect, find_subject, plan_collection
from registry_tool.local.registry import LocalRegistry, up
from tests.support.content import (
    ACCEPT,
    DOCKER_IMAGE,
    DOCKER_LIST,
    OCI_IMAGE,
    PushedManifest,
    layer,
    make_blob,
    make_image,
    make_index,
    sha256,
)
from tests.support.engine_snapshot import unique_name
from tests.support.registry_over_http import ask, push_blob
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Failure:
    """``prepare`` comes before the collection; ``damage`` after it: what cannot be pulled though the registry accepted it."""

    prepare: Callable[[int, str], PushedManifest]
    damage: Callable[[int, str, PushedManifest], list[str]]


def _deleted(port: int, repository: str) -> PushedManifest:
    image = make_image(port, repository, "1", layer(repository.encode()))
    assert ask(port, "DELETE", f"/v2/{repository}/manifests/{image.digest}")[0] == 202
    return image


def _unpushed(port: int, repository: str) -> PushedManifest:
    """An image of which the blobs are pushed, and the manifest is yet to come."""
    image = make_image(port, f"{repository}-example", "1", layer(repository.encode()))
    for blob in (image.config, *image.layers):
        make_blob(port, repository, blob)
    assert ask(port, "DELETE", f"/v2/{repository}-example/manifests/{image.digest}")[0] == 202
    return image


def _index(port: int, repository: str) -> PushedManifest:
    children = [
        make_image(port, repository, None, layer(f"{repository} {name}".encode()), platform=name) for name in ("linux/amd64", "linux/arm64")
    ]
    return make_index(port, repository, "1", *children)


def _docker_list(port: int, repository: str) -> PushedManifest:
    child = make_image(port, repository, None, layer(repository.encode()), media_type=DOCKER_IMAGE)
    return make_index(port, repository, "1", child, media_type=DOCKER_LIST)


def _put(port: int, repository: str, image: PushedManifest) -> list[str]:
    """Push the manifest as a client does that believes its blobs to be there."""
    status = ask(port, "PUT", f"/v2/{repository}/manifests/1", body=image.raw, headers={"Content-Type": OCI_IMAGE})[0]
    return _lost_blobs(port, repository, image) if status == 201 else []


def _push_again(port: int, repository: str, image: PushedManifest) -> list[str]:
    """Push it as every client does: without the blobs that the registry says it has."""
    for blob in (image.config, *image.layers):
        if ask(port, "HEAD", f"/v2/{repository}/blobs/{sha256(blob)}")[0] != 200:
            assert push_blob(port, repository, blob) == 201
    return _put(port, repository, image)


def _mount(port: int, repository: str, image: PushedManifest) -> list[str]:
    """Push it to another repository, with its blobs mounted from there."""
    other = f"{repository}-other"
    for blob in (image.config, *image.layers):
        if ask(port, "POST", f"/v2/{other}/blobs/uploads/?mount={sha256(blob)}&from={repository}")[0] != 201:
            assert push_blob(port, other, blob) == 201
    return _put(port, other, image)


def _lost_blobs(port: int, repository: str, image: PushedManifest) -> list[str]:
    blobs = {sha256(blob): blob for blob in (image.config, *image.layers)}
    return [digest for digest, blob in blobs.items() if not _can_be_pulled(port, repository, digest, blob)]


def _can_be_pulled(port: int, repository: str, digest: str, blob: bytes) -> bool:
    try:
        status, _, body = ask(port, "GET", f"/v2/{repository}/blobs/{digest}")
    except (OSError, http.client.HTTPException):  # it announces a size, and sends nothing
        return False
    return status == 200 and body == blob


def _lost_children(port: int, repository: str, index: PushedManifest) -> list[str]:
    assert ask(port, "GET", f"/v2/{repository}/manifests/1", headers={"Accept": ACCEPT})[0] == 200
    statuses = {
        each.digest: ask(port, "GET", f"/v2/{repository}/manifests/{each.digest}", headers={"Accept": ACCEPT})[0] for each in index.children
    }
    return [digest for digest, status in statuses.items() if status != 200]


FAILURES = {
    "distribution#3045, a push under way": Failure(_unpushed, _put),
    "distribution#1803, the same image pushed again": Failure(_deleted, _push_again),
    "distribution#3743, layers mounted from another repository": Failure(_deleted, _mount),
    "distribution#3178, children of a manifest list": Failure(_docker_list, _lost_children),
    "distribution#3004, children of an index": Failure(_index, _lost_children),
}


@pytest.fixture(scope="module")
def registries(
    session_engine: Engine, registry_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], LocalRegistry]]:
    """Starts registries of the module's own."""
    state, started = tmp_path_factory.mktemp("state"), list[str]()

    def start() -> LocalRegistry:
        name = unique_name()
        started.append(name)
        return up(session_engine, image=lambda: registry_image, name=name, port=free_port(), state=state).registry

    yield start
    for name in started:
        local_registry.down(session_engine, name, volumes=True)


Collected = tuple[int, dict[str, PushedManifest]]


@pytest.fixture(scope="module")
def by_distribution(session_engine: Engine, registries: Callable[[], LocalRegistry]) -> Collected:
    """A registry whose own ``garbage-collect`` ran beside it."""
    registry = registries()
    prepared = _prepare(registry.port)
    command = ["registry", "garbage-collect", "--delete-untagged", "/etc/docker/registry/config.yml"]
    code, output = session_engine.execute(registry.container_id, command)
    if code != 0 and b"no such file" in output:  # registry:3
        code, output = session_engine.execute(registry.container_id, [*command[:-1], "/etc/distribution/config.yml"])
    assert code == 0, output
    return registry.port, prepared


@pytest.fixture(scope="module")
def by_us(session_engine: Engine, registries: Callable[[], LocalRegistry], tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """A registry that was collected by ours."""
    registry, state, options = registries(), tmp_path_factory.mktemp("collection"), CollectionOptions()
    prepared = _prepare(registry.port)
    subject = find_subject(session_engine, registry.name)
    collect(session_engine, subject, plan_collection(session_engine, subject, options, state=state), options, state=state)
    return registry.port, prepared


def _prepare(port: int) -> dict[str, PushedManifest]:
    return {name: failure.prepare(port, _repository(name)) for name, failure in FAILURES.items()}


def _repository(name: str) -> str:
    return name.partition(",")[0].replace("#", "/")


@pytest.mark.parametrize("name", FAILURES)
def test_distribution_breaks_it(by_distribution: Collected, name: str) -> None:
    port, prepared = by_distribution
    assert FAILURES[name].damage(port, _repository(name), prepared[name]) != []


@pytest.mark.parametrize("name", FAILURES)
def test_ours_does_not(by_us: Collected, name: str) -> None:
    port, prepared = by_us
    assert FAILURES[name].damage(port, _repository(name), prepared[name]) == []
