"""Times this tool against docker typed by hand, in one run, and writes the ratios to ``bench/results/``.

Ratios are what counts: machines differ, and the same machine differs from hour to hour. The two contestants take
turns (A B A B …), so that both see the same weather, and medians are compared. Needs an engine, and a folder of
wheels and base images from an earlier ``make demo``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGCTL = [str(Path(sys.executable).with_name("regctl"))]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Medians in seconds; ``ratio`` is ours by theirs, and ``limit`` what the project promises."""

    name: str
    ours: list[float]
    theirs: list[float]
    limit: str

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ours) / statistics.median(self.theirs) if self.theirs else None


def timed(command: list[str]) -> float:
    """Seconds of one run that must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=_env())
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return time.perf_counter() - started


def in_turn(runs: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Both once to warm up, then ``runs`` times in turn."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


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
    """``regctl demo`` against the same steps typed as docker commands in a shell script, a new repository each time."""
    first = json.loads(_said([*REGCTL, "demo", "--json", "--image", f"bench/{_new()}:part2"]))
    base = next(image["name"] for image in first["images"] if image["role"] == "python")
    address = first["registry"]["address"]
    status = json.loads(_said([*REGCTL, "status", "--name", "default", "--json"]))
    container = status["registries"][0]["container"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(ROOT / "sample_app", context)
        wheels = sorted((_cache() / "wheels").glob("*/"), key=lambda path: path.stat().st_mtime)
        if wheels:
            shutil.copytree(wheels[-1], context / "wheels", dirs_exist_ok=True)
        keeper = f"bench-keeper-{_new()}"
        # Holds the build cache of both, which docker rmi would otherwise take along.
        _said(["docker", "build", "-q", "-t", keeper, "--build-arg", f"BASE_IMAGE={base}", str(context)])

        def ours() -> float:
            name = _new()
            try:
                return timed([*REGCTL, "demo", "--image", f"bench/{name}:part2"])
            finally:
                _said(["docker", "rmi", f"{address}/bench/{name}:part2"])

        def theirs() -> float:
            name = _new()
            target = f"{address}/bench/{name}:part2"
            script = BY_HAND.format(
                registry=container, friendly=f"bench-{name}", label=name, base=base, context=context, target=target, port=4900
            )
            try:
                return timed(["sh", "-c", script])
            finally:
                _said(["docker", "rmi", target])

        try:
            mine, hand = in_turn(runs, ours, theirs)
        finally:
            _said(["docker", "rmi", keeper])
            images = _said(["docker", "images", "-q", "--filter", f"reference={address}/bench/*"]).split()
            if images:
                _said(["docker", "rmi", "-f", *set(images)])
    return Result(name="regctl demo / the same steps typed", ours=mine, theirs=hand, limit="ratio <= 1.15")


def alone(name: str, command: list[str], runs: int, limit: str) -> Result:
    """A command that is compared with a bound instead of another command."""
    timed(command)
    return Result(name=name, ours=[timed(command) for _ in range(runs)], theirs=[], limit=limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (5)")
    runs = parser.parse_args().runs
    results = [
        alone("regctl --help", [*REGCTL, "--help"], runs, "median <= 0.12 s"),
        demo(runs),
        alone("regctl status", [*REGCTL, "status"], runs, "median <= 0.4 s"),
    ]
    for result in results:
        ratio = f"ratio {result.ratio:.2f}" if result.ratio is not None else ""
        print(f"{result.name:<40} median {result.median:7.3f} s  {ratio:<12} {result.limit}")
    target = ROOT / "bench" / "results" / "latest.json"
    target.parent.mkdir(exist_ok=True)
    document = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "results": [{**asdict(result), "median": result.median, "ratio": result.ratio} for result in results],
    }
    target.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written to {target.relative_to(ROOT)}")


def _new() -> str:
    return uuid.uuid4().hex[:10]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registry-tool"


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_env()).stdout


def _env() -> dict[str, str]:
    # The builder that the SDK drives is the classic one; both contestants use the same.
    # An installed program's modules are compiled; so they are here after the first run.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "DOCKER_BUILDKIT": "0"}


if __name__ == "__main__":
    main()
