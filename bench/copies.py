"""``regctl copy`` and ``sync`` between two registries, against loops of ``skopeo copy`` and ``crane copy`` and against ``skopeo sync``."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import wrk
from bench.link import ROUND_TRIP, link_to
from bench.measure import REGCTL, Result, find_crane, in_turn, progress, run, said
from bench.repositories import Filled, filled, registry
from registry_tool.oci import manifest
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import ACCEPT
from registry_tool.targets.registry import open_registry

IMAGES = 10
BASE, OWN = (16 << 20, 8 << 20, 4 << 20), 2 << 20
"""Bytes of the layers that all images share, and of the one of each; compressed they are as many."""
TAGS = 200

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def copies(runs: int) -> Iterator[Result]:
    """Rows of copies; none where there is no skopeo."""
    if shutil.which("skopeo") is None:
        return
    with registry() as source:
        yield from _ten_images(runs, source)
        yield from _mirror(runs, source)


def _ten_images(runs: int, source: str) -> Iterator[Result]:
    progress(f"copy of {IMAGES} images")
    names = images_with_shared_layers(source)
    memory: list[int] = []

    def ours(destination: str) -> float:
        done = run([*REGCTL, "copy", *(f"{source}/{name}:1" for name in names), f"{destination}/copies/"])
        memory.append(done.memory)
        return done.seconds

    def skopeo(destination: str) -> float:
        tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
        pairs = ((f"docker://{source}/{name}:1", f"docker://{destination}/copies/{name.rpartition('/')[2]}:1") for name in names)
        return sum(run(["skopeo", "copy", "-q", *tls, *pair]).seconds for pair in pairs)

    program = find_crane()

    def crane(destination: str) -> float:
        pairs = ((f"{source}/{name}:1", f"{destination}/copies/{name.rpartition('/')[2]}:1") for name in names)
        return sum(run([str(program), "copy", "--insecure", *pair]).seconds for pair in pairs)

    contestants = {"ours": _into_an_empty_registry(ours), "skopeo": _into_an_empty_registry(skopeo)}
    if program is not None:
        contestants["crane"] = _into_an_empty_registry(crane)
    seconds = in_turn(runs, contestants)
    what = f"copy of {IMAGES} images with a shared base"
    yield Result(name=f"{what} / a loop of skopeo copy", ours=seconds["ours"], theirs=seconds["skopeo"], most=0.35)
    if "crane" in seconds:
        yield Result(name=f"{what} / a loop of crane copy", ours=seconds["ours"], theirs=seconds["crane"], most=0.7)
    yield Result(name=f"{what}, memory", ours=[max(memory) / 1e6], most=150, unit="MB")


def _into_an_empty_registry(contestant: Callable[[str], float]) -> Callable[[], float]:
    """With a registry for each run: nothing of an earlier one can be mounted."""

    def once() -> float:
        with registry() as destination:
            return contestant(destination)

    return once


def _mirror(runs: int, source: str) -> Iterator[Result]:
    progress(f"mirror of {TAGS} tags")
    of = filled(source, "bench/mirrored", TAGS)
    with registry() as destination, link_to(int(source.rpartition(":")[2])) as link, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        near = _unchanged(runs, of.name, destination, Path(folder))
        yield Result(name=f"mirror of {TAGS} tags, nothing new / skopeo sync", ours=near["ours"], theirs=near["skopeo"], most=0.1)
        if shutil.which("wrk") is not None:
            limit = _limit(runs, (of, replace(of, host=destination, path=f"mirror/{of.path.rpartition('/')[2]}")))
            note = f"GETs of the same tags of both registries over {wrk.CONNECTIONS} connections, by the rate of wrk"
            name = f"mirror of {TAGS} tags, nothing new / the registries' own limit"
            yield Result(name=name, ours=near["ours"], theirs=limit, most=2.5, note=note)
        # One run takes skopeo many seconds.
        far = _unchanged(1, f"{link.address}/{of.path}", destination, Path(folder))
    note = f"the source is behind a proxy of its own: {1000 * ROUND_TRIP:g} ms for a round trip"
    name = f"mirror of {TAGS} tags over {1000 * ROUND_TRIP:g} ms, nothing new / skopeo sync"
    yield Result(name=name, ours=far["ours"], theirs=far["skopeo"], most=0.1, note=note)


def _limit(runs: int, sides: Sequence[Filled]) -> list[float]:
    """Seconds that the registries of a mirror need to say what each tag stands for: one after the other, as they share the machine."""

    def once() -> float:
        return sum(wrk.seconds_for(side.host, [f"/v2/{side.path}/manifests/{tag}" for tag in side.tags], accept=ACCEPT) for side in sides)

    return [once() for _ in range(runs)]


def _unchanged(runs: int, source: str, destination: str, folder: Path) -> dict[str, list[float]]:
    """Seconds of mirrors of what is there already."""
    rules = folder / "mirror.toml"
    rules.write_text(f'destination = "{destination}/mirror/"\n[[image]]\nsource = "{source}"\n', encoding="utf-8")
    said(*REGCTL, "sync", str(rules))
    command = ["skopeo", "sync", "--src", "docker", "--dest", "docker", "--src-tls-verify=false", "--dest-tls-verify=false"]
    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: run([*REGCTL, "sync", str(rules)]).seconds,
        "skopeo": lambda: run([*command, source, f"{destination}/mirror"]).seconds,
    }
    return in_turn(runs, contestants, warm_up=runs > 1)


def images_with_shared_layers(host: str) -> list[str]:
    """Push images of which all share the largest layers; the paths of their repositories. Engines can pull them."""
    base = [_layer(f"base-{number}", size) for number, size in enumerate(BASE)]
    paths = [f"bench/image-{number}" for number in range(IMAGES)]
    with open_registry(host) as registry:
        for path in paths:
            repository = registry.repository(path)
            layers = [*base, _layer("own", OWN)]
            diff_ids = [str(diff_id) for diff_id, _ in layers]
            document = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
            config = json.dumps(document).encode()
            described = [_described(config, manifest.OCI_CONFIG), *(_described(layer, _LAYER) for _, layer in layers)]
            for descriptor, content in zip(described, (config, *(layer for _, layer in layers)), strict=True):
                repository.push(descriptor, io.BytesIO(content))
            repository.push_manifest(manifest.image(described[0], described[1:]), "1")
    return paths


def _layer(name: str, size: int) -> tuple[Digest, bytes]:
    """A layer with one file that nothing compresses: its diff id, and what is stored."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    return Digest.of(stream.getvalue()), gzip.compress(stream.getvalue(), 1, mtime=0)


def _described(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
