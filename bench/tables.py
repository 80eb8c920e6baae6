"""``regctl list-tags`` on 1,000 and 10,000 tags, against a loop of ``skopeo inspect`` and against the server's own limit."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import wrk
from bench.measure import REGCTL, Result, in_turn, run, said
from registry_tool.base.concurrency import map_unordered
from registry_tool.oci import manifest
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry

FEW, MANY = 1_000, 10_000
SAMPLE = 20
"""Tags that ``skopeo`` is asked about in each run; what it takes for them is scaled up to all."""

_LAYER = b"the one layer of all these images: no table reads it"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A repository (``HOST/PATH``) of ``tags``, each of an image of its own. ``paths`` are their manifests and configs."""

    host: str
    name: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]


def tables(runs: int, *, whole_loop: bool = False) -> list[Result]:
    """Rows of the table; without ``skopeo`` or ``wrk`` none that need them. ``whole_loop``: skopeo looks at every tag, once."""
    with registry() as host, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        few, many = (
            Tables(filled(host, "bench/few", FEW), Path(folder) / "few"),
            Tables(filled(host, "bench/many", MANY), Path(folder) / "many"),
        )
        contestants: dict[str, Callable[[], float]] = {"cold": few.cold, "warm": few.warm}
        if _is_here("wrk"):
            contestants["wrk"] = lambda: wrk.seconds_for(host, few.of.paths, accept=manifest.ACCEPT)
        with_skopeo = _is_here("skopeo")
        if with_skopeo and not whole_loop:
            contestants["skopeo"] = lambda: _inspected(few.of, random.sample(few.of.tags, SAMPLE)) * FEW / SAMPLE
        seconds = in_turn(runs, **contestants)
        # Few rounds: each takes as long as all the others together.
        sizes = in_turn((runs + 1) // 2, few=few.cold, many=many.cold)
        if with_skopeo and whole_loop:
            seconds["skopeo"] = [_inspected(few.of, few.of.tags)]
        dry_runs = [run([*REGCTL, "delete", "--dry-run", f"{many.of.name}:{tag}"]).seconds for tag in many.of.tags[:runs]]
    tenth = [FEW / MANY * measured for measured in sizes["many"]]
    small, large = (max(each.memory) / 1e6 for each in (few, many))
    return [
        *_beside_others(seconds, whole_loop=whole_loop),
        Result(name="1,000 tags, warm / cold", ours=seconds["warm"], theirs=seconds["cold"], most=0.65),
        Result(name="10,000 tags, cold, a tenth / 1,000 tags, cold", ours=tenth, theirs=sizes["few"], most=1.2),
        Result(name="10,000 tags, memory", ours=[large], most=200, unit="MB", note=f"the largest; 1,000 tags take {small:.0f} MB"),
        Result(name="delete --dry-run of one tag among 10,000", ours=dry_runs, most=2),
    ]


def _beside_others(seconds: dict[str, list[float]], *, whole_loop: bool) -> Iterator[Result]:
    cold = seconds["cold"]
    if "skopeo" in seconds:
        how = "skopeo: all tags, once" if whole_loop else f"skopeo: {SAMPLE} tags in each run, times {FEW // SAMPLE}"
        yield Result(name="1,000 tags, cold / a loop of skopeo inspect", ours=cold, theirs=seconds["skopeo"], most=0.02, note=how)
    if "wrk" in seconds:
        how = f"the same manifests and configs over {wrk.CONNECTIONS} connections, by the rate of wrk"
        yield Result(name="1,000 tags, cold / the server's own limit", ours=cold, theirs=seconds["wrk"], most=2.5, note=how)


class Tables:
    """Tables of one repository, with a cache of their own; ``memory`` is bytes of each run at its largest."""

    def __init__(self, of: Filled, cache: Path) -> None:
        self.of = of
        self.memory: list[int] = []
        self._cache = cache

    def cold(self) -> float:
        """Seconds of one that knows nothing."""
        shutil.rmtree(self._cache, ignore_errors=True)
        return self.warm()

    def warm(self) -> float:
        """Seconds of one that has what the one before it kept."""
        done = run([*REGCTL, "list-tags", self.of.name], XDG_CACHE_HOME=str(self._cache))
        rows = done.output.splitlines()[1:]
        assert len(rows) == len(self.of.tags), done.output[:2000]
        assert "damaged" not in done.output
        self.memory.append(done.memory)
        return done.seconds


def _is_here(program: str) -> bool:
    if shutil.which(program):
        return True
    print(f"{program} is missing: what is compared with it is left out", file=sys.stderr)
    return False


def _inspected(filled: Filled, tags: Sequence[str]) -> float:
    return sum(run(["skopeo", "inspect", "--tls-verify=false", f"docker://{filled.name}:{tag}"]).seconds for tag in tags)


# --- a registry of its own ---


@contextmanager
def registry() -> Iterator[str]:
    """A registry for the block, on a port that nobody has; ``HOST:PORT``."""
    name = f"bench-{uuid.uuid4().hex[:10]}"
    try:
        yield str(json.loads(said(*REGCTL, "up", "--name", name, "--json"))["registry"]["address"])
    finally:
        said(*REGCTL, "down", "--name", name, "--volumes", "--yes", "--missing-ok")


def filled(host: str, path: str, count: int) -> Filled:
    """Push ``count`` images, each with a config of its own."""
    with open_registry(host) as registry:
        repository = registry.repository(path)
        layer = _described(_LAYER, "application/vnd.oci.image.layer.v1.tar")
        repository.push(layer, io.BytesIO(_LAYER))

        def push(number: int) -> tuple[str, str]:
            config = _config(path, number)
            described = _described(config, manifest.OCI_CONFIG)
            repository.push(described, io.BytesIO(config))
            image = manifest.parse(_image(described, layer), manifest.OCI_IMAGE)
            repository.push_manifest(image, _tag(number))
            return f"/v2/{path}/manifests/{image.digest}", f"/v2/{path}/blobs/{described.digest}"

        found = dict(map_unordered(push, range(count)))
    tags = tuple(map(_tag, range(count)))
    return Filled(host=host, name=repository.name, tags=tags, paths=tuple(path for number in range(count) for path in found[number]))


def _tag(number: int) -> str:
    return f"1.{number // 100}.{number % 100}"


def _config(path: str, number: int) -> bytes:
    """About as large as that of a small image of somebody's."""
    history = [{"created": "2024-05-06T07:08:09Z", "created_by": f"step {step} of {path}:{_tag(number)}"} for step in range(8)]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": f"2024-05-06T07:{number // 60 % 60:02}:{number % 60:02}Z",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["python", "app.py"], "Labels": {"number": str(number)}},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(_LAYER))]},
        "history": history,
    }
    return json.dumps(document).encode()


def _image(config: Descriptor, layer: Descriptor) -> bytes:
    described = [
        {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size} for descriptor in (config, layer)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_IMAGE, "config": described[0], "layers": described[1:]}).encode()


def _described(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
