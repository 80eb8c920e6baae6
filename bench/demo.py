"""``regctl demo`` against the same steps typed as docker commands in a shell script, a new repository each time."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from bench.measure import REGCTL, ROOT, Result, in_turn, run, said

BY_HAND = """
set -eu
docker start {registry} >/dev/null
docker build -q -t {friendly} --label bench={label} --build-arg BASE_IMAGE={base} {context} >/dev/null
docker tag {friendly} {target}
docker push -q {target} >/dev/null
docker rmi {friendly} {target} >/dev/null
docker pull -q {target} >/dev/null
docker run -d --name {friendly} -p 127.0.0.1:{port}:80 {target} >/dev/null
until curl -fsS http://localhost:{port}/ >/dev/null 2>&1; do sleep 0.02; done
docker rm -fv {friendly} >/dev/null
"""


def demo(runs: int) -> Result:
    """Both build on what an earlier demo left: base images, wheels, a registry that runs."""
    first = json.loads(said(*REGCTL, "demo", "--json", "--image", f"bench/{_new()}:part2"))
    base = next(image["name"] for image in first["images"] if image["role"] == "python")
    address = first["registry"]["address"]
    status = json.loads(said(*REGCTL, "status", "--name", "default", "--json"))
    container = status["registries"][0]["container"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(ROOT / "sample_app", context)
        if (newest := wheels()) is not None:
            shutil.copytree(newest, context / "wheels", dirs_exist_ok=True)
        keeper = f"bench-keeper-{_new()}"
        # Holds the build cache of both, which docker rmi would otherwise take along.
        said("docker", "build", "-q", "-t", keeper, "--build-arg", f"BASE_IMAGE={base}", str(context))

        def ours() -> float:
            name = _new()
            try:
                return run([*REGCTL, "demo", "--image", f"bench/{name}:part2"]).seconds
            finally:
                said("docker", "rmi", f"{address}/bench/{name}:part2")

        def theirs() -> float:
            name = _new()
            target = f"{address}/bench/{name}:part2"
            script = BY_HAND.format(
                registry=container, friendly=f"bench-{name}", label=name, base=base, context=context, target=target, port=4900
            )
            try:
                return run(["sh", "-c", script]).seconds
            finally:
                said("docker", "rmi", target)

        try:
            seconds = in_turn(runs, {"ours": ours, "theirs": theirs})
        finally:
            said("docker", "rmi", keeper)
            images = said("docker", "images", "-q", "--filter", f"reference={address}/bench/*").split()
            if images:
                said("docker", "rmi", "-f", *set(images))
    return Result(name="regctl demo / the same steps typed", ours=seconds["ours"], theirs=seconds["theirs"], most=1.15)


def wheels() -> Path | None:
    """The sample app's wheels, as the last demo downloaded them."""
    return max((_cache() / "wheels").glob("*/"), key=lambda path: path.stat().st_mtime, default=None)


def _new() -> str:
    return uuid.uuid4().hex[:10]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registry-tool"
