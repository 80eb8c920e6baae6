"""``regctl du`` of a registry with 20,000 and 200,000 blobs: time, memory, whether it adds up to the byte; ``regctl gc`` of 10,000.

Blobs are sparse files, written into the volume by this script: it has to run as root on the engine's machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import REGCTL, Result, Run, progress, run, said
from bench.repositories import registry
from registry_tool.base import units
from registry_tool.content.usage import storage
from registry_tool.oci.digest import Digest

SMALL, LARGE = 20_000, 200_000
COLLECTED = 10_000
"""Blobs of a registry that is collected; every second image is deleted."""
LAYERS = 50
"""Layers of an image."""
IMAGES = 40
"""Images of a repository."""


def accounts(runs: int) -> Iterator[Result]:
    """The rows of both sizes."""
    seconds: dict[int, list[float]] = {}
    memory: dict[int, list[float]] = {}
    for count in (SMALL, LARGE):
        with filled(count) as (host, total):
            for _ in range(runs):
                done = account(host, total)
                seconds.setdefault(count, []).append(done.seconds)
                memory.setdefault(count, []).append(done.memory / 1e6)
    what = f"du of {LARGE:,} blobs"
    yield Result(name=what, ours=seconds[LARGE], most=30, note="sparse files, with as many links and 3,846 manifests")
    yield Result(name=f"{what}, memory", ours=memory[LARGE], most=300, unit="MB")
    per_blob = [[each / count for each in seconds[count]] for count in (LARGE, SMALL)]
    yield Result(name=f"{what} / of {SMALL:,}, for each blob", ours=per_blob[0], theirs=per_blob[1], most=1.2)


def collections(runs: int) -> Iterator[Result]:
    """The row of a garbage collection, beside that of the registry's own in its container."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for whose in [*seconds] * runs:
        name = f"bench-{uuid.uuid4().hex[:10]}"
        with filled(COLLECTED, name=name, deleted=True) as (host, _):
            container = json.loads(said(*REGCTL, "gc", "--name", name, "--json"))["container"]
            plain = ["docker", "exec", container, "registry", "garbage-collect", "/etc/docker/registry/config.yml"]
            ours = [*REGCTL, "--no-progress", "gc", "--apply", "--yes", "--name", name, "--json"]
            seconds[whose].append(run(ours if whose == "ours" else plain).seconds)
            left = {part["name"]: part["files"] for part in json.loads(said(*REGCTL, "du", "--json", host))["parts"]}
            if left["unreferenced"]:
                sys.exit(f"{left['unreferenced']} blobs are left of the collection of {whose}")
    note = "half of them go; ours with the stand-in, the undo data, and the comparison of all files afterwards"
    yield Result(
        name=f"gc of {COLLECTED:,} blobs / registry garbage-collect", ours=seconds["ours"], theirs=seconds["theirs"], most=2, note=note
    )


def account(host: str, total: int) -> Run:
    """One run, whose parts must add up to ``total``."""
    done = run([*REGCTL, "--no-progress", "du", "--json", host])
    document = json.loads(done.output)
    parts = sum(part["bytes"] for part in document["parts"])
    if not parts == document["total"] == total:
        sys.exit(f"the account does not add up: parts {parts}, total {document['total']}, files {total}")
    return done


@contextmanager
def filled(count: int, *, name: str | None = None, deleted: bool = False) -> Iterator[tuple[str, int]]:
    """A registry with ``count`` blobs: its address, and the sum of the sizes of all files in its volume.

    ``deleted``: every second image is, as by the registry's DELETE.
    """
    with registry(name) as host:
        volume = json.loads(said(*REGCTL, "du", "--json", host))["volume"]
        root = Path(said("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", volume).strip())
        progress(f"writing {units.count(count, 'blob')} below {root}")
        write_blobs(root, count, deleted=deleted)
        yield host, sum((Path(folder) / file).lstat().st_size for folder, _, files in os.walk(root) for file in files)


def write_blobs(root: Path, count: int, *, deleted: bool = False) -> None:
    """Write a storage of ``count`` blobs below ``root``: images of a config and sparse layers, with links and tags.

    ``deleted``: every second image without the links of its manifest.
    """
    images = count // (LAYERS + 2)
    for number in range(images):
        repository = f"team-{number // IMAGES}/app"
        config = json.dumps({"os": "linux", "architecture": "amd64", "number": number}).encode()
        layers = [(Digest.of(b"%d.%d" % (number, layer)), (number * LAYERS + layer) * 7919 % 10**8) for layer in range(LAYERS)]
        entries = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": str(digest), "size": size} for digest, size in layers
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
                "size": len(config),
            },
            "layers": entries,
        }
        for digest, size in layers:
            _write(root / storage.blob_path(digest), b"", size)
            _write(root / storage.layer_path(repository, digest), str(digest).encode())
        _write(root / storage.blob_path(Digest.of(config)), config)
        _write(root / storage.layer_path(repository, Digest.of(config)), str(Digest.of(config)).encode())
        raw = json.dumps(document).encode()
        digest = Digest.of(raw)
        link = str(digest).encode()
        _write(root / storage.blob_path(digest), raw)
        if deleted and number % 2:
            continue
        _write(root / storage.revision_path(repository, digest), link)
        _write(root / storage.tag_path(repository, f"v{number}"), link)
        _write(root / storage.tag_history_path(repository, f"v{number}", digest), link)
    for number in range(count - images * (LAYERS + 2)):
        _write(root / storage.blob_path(Digest.of(b"unreferenced %d" % number)), b"", number)


def _write(path: Path, content: bytes, size: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        if size is not None:
            file.truncate(size)
