"""Registries whose storage can be damaged, and fifty images to damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from registry_tool import server
from registry_tool.engine import ContainerSpec, Engine, PortBinding
from registry_tool.local.registry.spec import environment
from registry_tool.oci.digest import Digest
from tests.support.content import (
    DOCKER_IMAGE,
    OCI_IMAGE,
    PushedManifest,
    config,
    layer,
    make_blob,
    make_image,
    make_index,
    put_manifest,
    sha256,
)
from tests.support.registry_over_http import over_one_connection
from tests.support.requirements import free_port, wait_for_registry

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@dataclass(frozen=True, kw_only=True)
class Damageable:
    """``change(digest, how)`` is done to the bytes of a blob; None takes it away. After ``restart`` the registry remembers nothing."""

    port: int
    change: Callable[[str, Callable[[bytes], bytes] | None], None]
    restart: Callable[[], None]

    def remove(self, content: bytes) -> str:
        """Take it away; its digest."""
        self.change(sha256(content), None)
        return sha256(content)

    def truncate(self, content: bytes) -> str:
        """Leave the first half; its digest."""
        self.change(sha256(content), lambda whole: whole[: len(whole) // 2])
        return sha256(content)

    def flip(self, content: bytes, at: int = -1) -> str:
        """Make one byte another one; its digest before."""

        def flipped(whole: bytes) -> bytes:
            changed = bytearray(whole)
            changed[at] ^= 1
            return bytes(changed)

        self.change(sha256(content), flipped)
        return sha256(content)


@contextmanager
def in_this_process() -> Iterator[Damageable]:
    """A registry in memory."""
    storage = server.MemoryStorage()

    def change(digest: str, how: Callable[[bytes], bytes] | None) -> None:
        content = storage.blobs.pop(Digest.parse(digest))
        if how is not None:
            storage.blobs[Digest.parse(digest)] = how(content)

    with ExitStack() as running:
        # Nobody is given it while the registry restarts.
        port = free_port()

        def start() -> None:
            running.enter_context(server.run_registry(server.Application(storage, foreign_urls=True), port=port))

        start()

        def restart() -> None:
            running.close()
            start()

        yield Damageable(port=port, change=change, restart=restart)


@contextmanager
def in_a_container(engine: Engine, image: str, name: str) -> Iterator[Damageable]:
    """A real registry that takes foreign layers; its files are changed in the container."""
    port = free_port()
    variables = {**environment("not a secret", auth=False), "REGISTRY_VALIDATION_DISABLED": "true"}
    published = (PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),)
    container = engine.run(ContainerSpec(image=image, name=name, environment=variables, ports=published))

    def change(digest: str, how: Callable[[bytes], bytes] | None) -> None:
        hexadecimal = digest.partition(":")[2]
        path = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
        if how is None:
            code, output = engine.execute(container.id, ["rm", path])
            assert code == 0, output
            return
        content = engine.get_file(container.id, path)
        assert content is not None
        folder, _, file = path.rpartition("/")
        engine.put_files(container.id, folder, {file: (how(content), 0o644)})

    def restart() -> None:
        engine.stop(container.id)
        engine.start(container.id)
        wait_for_registry(port)

    try:
        wait_for_registry(port)
        yield Damageable(port=port, change=change, restart=restart)
    finally:
        engine.remove(container.id, force=True)


@dataclass(kw_only=True)
class Fifty:
    """What there is to damage, each with the tags that are on it."""

    lost_layer: PushedManifest
    lost_config: PushedManifest
    cut_layer: PushedManifest
    flipped_layer: PushedManifest
    index: PushedManifest
    lying: PushedManifest
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)


@over_one_connection
def fifty_images(port: int) -> Fifty:
    """Fifty images, all complete but the one that says a wrong size: it is pushed like that."""
    made = Fifty(
        lost_layer=make_image(port, "lost/layer", "1", layer(b"lost"), layer(b"kept")),
        lost_config=make_image(port, "lost/config", "1", layer(b"without a config")),
        cut_layer=make_image(port, "cut/short", "1", layer(b"0123456789" * 1000)),
        flipped_layer=make_image(port, "flipped", "1", layer(b"flipped")),
        index=make_index(
            port,
            "many/platforms",
            "1",
            make_image(port, "many/platforms", platform="linux/amd64"),
            make_image(port, "many/platforms", platform="linux/arm64"),
        ),
        lying=lying_image(port, "lying", "1"),
    )
    # Images that share what is damaged are affected, too, also in another repository, which has the same bytes.
    make_image(port, "lost/layer", "2", layer(b"lost"), layer(b"of two"))
    put_manifest(port, "lost/layer", "3", made.lost_layer.raw, made.lost_layer.media_type)
    make_image(port, "also/flipped", "1", layer(b"flipped"), layer(b"beside it"))
    built_by_buildkit(port, "whole/buildkit", "1")
    foreign_image(port, "whole/foreign", "1")
    for number in range(40):
        make_image(port, f"plain/{number % 5}", f"{number}")
    return made


def built_by_buildkit(port: int, repository: str, tag: str) -> PushedManifest:
    """An index of one platform and an attestation, as every build with BuildKit makes it."""
    child = make_image(port, repository)
    return make_index(port, repository, tag, child, attestations=[attestation(port, repository, child)])


def attestation(port: int, repository: str, subject: PushedManifest) -> PushedManifest:
    """A statement on ``subject``: an image to look at, whose layer is no file system."""
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"name": subject.digest}]}).encode()
    configuration = json.dumps(
        {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": [sha256(statement)]}}
    ).encode()
    return image_of(port, repository, None, configuration, {"mediaType": "application/vnd.in-toto+json"}, content=statement)


def foreign_image(port: int, repository: str, tag: str) -> PushedManifest:
    """An image whose first layer lies elsewhere."""
    elsewhere, here = layer(b"far away"), layer(f"{repository}:{tag}".encode())
    configuration = config([elsewhere, here])
    named: dict[str, object] = {
        "mediaType": FOREIGN,
        "digest": sha256(elsewhere),
        "size": len(elsewhere),
        "urls": ["https://far.away/layer"],
    }
    return image_of(port, repository, tag, configuration, named, {}, content=here, media_type=DOCKER_IMAGE)


def lying_image(port: int, repository: str, tag: str, *, by: int = 7) -> PushedManifest:
    """An image that says of its whole layer that it is larger than it is, or smaller."""
    content = layer(f"{repository}:{tag}".encode())
    return image_of(port, repository, tag, config([content]), {"size": len(content) + by}, content=content)


@over_one_connection
def image_of(
    port: int,
    repository: str,
    tag: str | None,
    configuration: bytes,
    *layers: dict[str, object],
    content: bytes,
    media_type: str = OCI_IMAGE,
) -> PushedManifest:
    """Push an image with ``layers`` as descriptors; members that they leave out are those of ``content``."""
    kinds = {
        OCI_IMAGE: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        DOCKER_IMAGE: ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    }
    of_config, of_layer = kinds[media_type]
    usual: dict[str, object] = {"mediaType": of_layer, "digest": sha256(content), "size": len(content)}
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": of_config, "digest": sha256(configuration), "size": len(configuration)},
        "layers": [usual | members for members in layers],
    }
    raw = json.dumps(document).encode()
    for blob in (configuration, content):
        make_blob(port, repository, blob)
    made = PushedManifest(repository=repository, tag=tag, media_type=media_type, raw=raw, config=configuration, layers=(content,))
    put_manifest(port, repository, tag or made.digest, raw, media_type)
    return made
