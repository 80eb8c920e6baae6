"""What a registry has under a name: the image that is meant, what it is made of, what it weighs."""

from __future__ import annotations

import json

import pytest

from registry_tool import server
from registry_tool.base.errors import Mismatch, NotFound
from registry_tool.engine import Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import open_registry
from registry_tool.verify.remote_image import RemoteImage, read_blobs, resolve
from tests.support.content import DOCKER_IMAGE, config, layer, make_blob, make_image, make_index, put_manifest, sha256
from tests.support.damage import in_this_process

AMD = Platform(os="linux", architecture="amd64")
ARM = Platform(os="linux", architecture="arm64")
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def _look(port: int, name: str, platform: Platform = AMD) -> RemoteImage:
    image = Reference.parse(f"localhost:{port}/{name}", default_host="")
    with open_registry(image.host) as registry:
        return resolve(registry, image, platform)


def test_size_counts_manifest_config_and_each_layer_once(registry: server.RunningRegistry) -> None:
    twice = layer(b"twice")
    made = make_image(registry.port, "john/app", "1", twice, layer(b"once"), twice)
    result = _look(registry.port, "john/app:1")
    assert str(result.digest) == made.digest
    assert result.size == len(made.raw) + len(made.config) + len(twice) + len(layer(b"once"))
    assert str(result.by_digest) == f"localhost:{registry.port}/john/app@{made.digest}"
    assert result.platforms == ("linux/amd64",)


def test_index_resolves_to_the_platforms_image(registry: server.RunningRegistry) -> None:
    children = [make_image(registry.port, "john/app", platform=platform) for platform in ("linux/arm64", "linux/amd64", "linux/s390x")]
    made = make_index(registry.port, "john/app", "1", *children)
    for platform, child in ((AMD, children[1]), (ARM, children[0])):
        result = _look(registry.port, "john/app:1", platform)
        assert result.image is not None
        assert (str(result.digest), str(result.image.digest)) == (made.digest, child.digest)
        assert result.size == len(made.raw) + len(child.raw) + child.size
        assert result.config is not None
        assert result.config.platform == platform


def test_index_without_the_platform_has_its_platforms(registry: server.RunningRegistry) -> None:
    make_index(registry.port, "john/app", "1", make_image(registry.port, "john/app", platform="linux/s390x"))
    result = _look(registry.port, "john/app:1")
    assert (result.image, result.config, result.size, result.blobs) == (None, None, 0, ())
    assert result.platforms == ("linux/s390x",)


def test_foreign_layers_are_not_counted() -> None:
    with in_this_process() as registry:
        ours = layer(b"own")
        made = config([ours])
        make_blob(registry.port, "john/app", made)
        make_blob(registry.port, "john/app", ours)
        windows = {"mediaType": FOREIGN, "digest": sha256(b"windows"), "size": 10**9, "urls": ["https://example.com/windows"]}
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_IMAGE,
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": sha256(made), "size": len(made)},
                "layers": [
                    windows,
                    {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": sha256(ours), "size": len(ours)},
                ],
            }
        ).encode()
        put_manifest(registry.port, "john/app", "1", raw, DOCKER_IMAGE)
        assert _look(registry.port, "john/app:1").size == len(raw) + len(made) + len(ours)


def test_missing_name_is_not_found(registry: server.RunningRegistry) -> None:
    with pytest.raises(NotFound):
        _look(registry.port, "john/app:1")
    with pytest.raises(NotFound):
        _look(registry.port, f"john/app@{Digest.of(b'nothing')}")


def test_damaged_config_is_kept_as_an_error() -> None:
    with in_this_process() as registry:
        made = make_image(registry.port, "john/app", "1")
        registry.flip(made.config)
        result = _look(registry.port, "john/app:1")
    assert result.config is None
    assert isinstance(result.config_error, Mismatch)
    assert str(result.digest) == made.digest


def test_reading_all_blobs_finds_a_damaged_one() -> None:
    with in_this_process() as registry:
        made = make_image(registry.port, "john/app", "1", layer(b"a"), layer(b"b" * 100_000))
        image = Reference.parse(f"localhost:{registry.port}/john/app:1", default_host="")
        with open_registry(image.host) as opened:
            result = resolve(opened, image, AMD)
            read_blobs(opened, result)
            registry.flip(made.layers[1])
            with pytest.raises(Mismatch):
                read_blobs(opened, result)
