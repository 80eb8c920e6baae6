"""Fifty images, damaged in six ways behind the registry's back: exactly that is found, whatever the registry still remembers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from registry_tool.content.check import CheckReport, check
from registry_tool.targets.registry import open_registry
from tests.support.content import config, layer, sha256, zstd_packed
from tests.support.damage import Damageable, fifty_images, image_of, in_a_container, in_this_process
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy


@pytest.fixture(params=["in this process", pytest.param("in a container", marks=pytest.mark.engine)])
def damageable(request: pytest.FixtureRequest, unique: str) -> Iterator[Damageable]:
    if request.param == "in this process":
        with in_this_process() as registry:
            yield registry
        return
    with in_a_container(request.getfixturevalue("engine"), request.getfixturevalue("registry_image"), unique) as registry:
        yield registry


def counted(proxy: FaultyProxy, *, deep: bool) -> CheckReport:
    """A check that asked nothing twice."""
    proxy.reset()
    with open_registry(proxy.host) as registry:
        report = check(registry, deep=deep)
    assert report.error is None
    assert proxy.repeated() == []
    return report


def told(report: CheckReport) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(kind, repository, digest, tags) of every finding."""
    return sorted(
        (finding.kind, finding.reference.partition("/")[2].partition("@")[0], str(finding.digest), finding.tags)
        for finding in report.findings
    )


def test_check_finds_damage_and_nothing_else(damageable: Damageable) -> None:
    made = fifty_images(damageable.port)
    [size] = [len(blob) for blob in made.lying.layers]
    lie = ("wrong-size", "lying", sha256(made.lying.layers[0]), ("1",))
    with faulty_proxy(damageable.port) as proxy:
        # Pushing has warmed the registry's memory, and so does this.
        for whole in (counted(proxy, deep=False), counted(proxy, deep=True)):
            assert told(whole) == [lie]
            assert f"has {size} bytes, its descriptor says {size + 7}" in whole.findings[0].detail
            assert whole.images == 50
        blobs = counted(proxy, deep=False).blobs

        config, child = made.lost_config.config, made.index.children[1]
        result = sorted(
            [
                lie,
                ("missing-layer", "lost/layer", damageable.remove(made.lost_layer.layers[0]), ("1", "2", "3")),
                ("missing-config", "lost/config", damageable.remove(config), ("1",)),
                ("truncated-blob", "cut/short", damageable.truncate(made.cut_layer.layers[0]), ("1",)),
                ("missing-child", "many/platforms", damageable.remove(child.raw), ("1",)),
            ]
        )
        flipped = damageable.flip(made.flipped_layer.layers[0])
        corrupt = [("corrupt-blob", where, flipped, ("1",)) for where in ("also/flipped", "flipped")]
        for memory in ("warm", "cold"):
            if memory == "cold":
                damageable.restart()
            shallow, deep_one = counted(proxy, deep=False), counted(proxy, deep=True)
            assert told(shallow) == result, memory
            assert told(deep_one) == sorted([*result, *corrupt]), memory
            assert (shallow.images, shallow.blobs) == (deep_one.images, deep_one.blobs) == (50, blobs - 2)
            assert shallow.bytes_read < deep_one.bytes_read


def test_check_compares_zstd_layers_with_the_config(damageable: Damageable) -> None:
    message: dict[str, object] = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"}
    one, other = layer(b"one"), layer(b"other")
    image_of(damageable.port, "whole", "1", config([one]), message, content=zstd_packed(gzip.decompress(one)))
    lying = image_of(damageable.port, "lying", "1", config([one]), message, content=zstd_packed(gzip.decompress(other)))
    with faulty_proxy(damageable.port) as proxy:
        assert told(counted(proxy, deep=False)) == []
        result = counted(proxy, deep=True)
    assert told(result) == [("wrong-diff-id", "lying", sha256(lying.config), ("1",))]
    assert result.notes == ()
