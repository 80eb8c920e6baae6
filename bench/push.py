"""``regctl push`` against ``docker push``, ``skopeo copy`` and ``docker save`` to nowhere, each into a registry of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.demo import wheels
from bench.measure import REGCTL, ROOT, Result, Run, in_turn, progress, run, said
from bench.repositories import registry

LAYERS, LAYER = 20, 50_000_000
"""The large image: layers, and bytes of each, of which half can be compressed."""

_FILES = "/var/lib/docker"

Contestants = dict[str, Callable[[], float]]


def pushes(runs: int) -> Iterator[Result]:
    """Rows of pushes of the sample image and of one of a gigabyte, by the kind of the engine's store."""
    base = _base_image()
    is_classic = "io.containerd.snapshotter" not in said("docker", "info", "--format", "{{.DriverStatus}}")
    cold = _cold if is_classic else _containerd_store
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _image(_sample(Path(folder)), base) as sample:
        yield from cold("the sample image", sample, runs)
        if is_classic:
            yield from _again(sample, runs)
            yield from _changed(Path(folder) / "sample", base, sample, runs)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _image(_large(Path(folder)), base) as large:
        yield from cold("1 GB of 20 layers", large, min(runs, 3))


def _cold(what: str, image: str, runs: int) -> Iterator[Result]:
    progress(f"cold push of {what}")
    memory: list[int] = []

    def ours() -> float:
        with _forgotten(image) as host:
            done = _timed(image, host, lambda target: [*REGCTL, "push", "--via", "direct", target])
            memory.append(done.memory)
            return done.seconds

    def docker() -> float:
        with _forgotten(image) as host:
            return _timed(image, host, lambda target: ["docker", "push", target]).seconds

    def skopeo() -> float:
        with registry() as host:
            copy = ["skopeo", "copy", "--dest-tls-verify=false", f"docker-daemon:{image}"]
            return run([*copy, f"docker://{host}/bench/app:1"]).seconds

    def archive() -> float:
        """Where the engine's files cannot be seen, as by a user who is not root: in a mount namespace that has none."""
        hidden = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {_FILES} && exec "$@"', "sh"]
        with _forgotten(image) as host:
            return _timed(image, host, lambda target: [*hidden, *REGCTL, "push", "--via", "direct", target]).seconds

    contestants: Contestants = {"ours": ours, "docker": docker, "save": lambda: _saved(image)}
    if os.geteuid() == 0 and Path(_FILES).is_dir() and shutil.which("unshare"):
        contestants["archive"] = archive
    if shutil.which("skopeo"):
        contestants["skopeo"] = skopeo
    else:
        print("skopeo is missing: what is compared with it is left out", file=sys.stderr)
    seconds = in_turn(runs, contestants, warm_up=False)
    yield Result(name=f"cold push, {what} / docker push", ours=seconds["ours"], theirs=seconds["docker"], most=0.4)
    if "skopeo" in seconds:
        yield Result(name=f"cold push, {what} / skopeo copy", ours=seconds["ours"], theirs=seconds["skopeo"], most=0.7)
    yield Result(name=f"cold push, {what} / docker save to nowhere", ours=seconds["ours"], theirs=seconds["save"], most=3)
    if "archive" in seconds:
        note = "not as root: the engine's files cannot be read, and its archive is"
        mine = seconds["archive"]
        yield Result(name=f"cold push, {what}, not as root / docker push", ours=mine, theirs=seconds["docker"], most=0.4, note=note)
    yield Result(name=f"cold push, {what}, memory", ours=[max(memory) / 1e6], most=150, unit="MB", note="the largest")


def _containerd_store(what: str, image: str, runs: int) -> Iterator[Result]:
    progress(f"cold push of {what} from the containerd store")

    def push(command: Callable[[str], list[str]]) -> Callable[[], float]:
        def once() -> float:
            with _forgotten(image) as host:
                return _timed(image, host, command).seconds

        return once

    contestants: Contestants = {
        "ours": push(lambda target: [*REGCTL, "push", target]),
        "docker": push(lambda target: ["docker", "push", target]),
        "copy": push(lambda target: [*REGCTL, "copy", f"engine:{image}", target]),
    }
    seconds = in_turn(runs, contestants, warm_up=False)
    what = f"{what}, containerd store"
    yield Result(name=f"cold push, {what} / docker push", ours=seconds["ours"], theirs=seconds["docker"], most=1.1)
    yield Result(name=f"copy from the engine, {what} / docker push", ours=seconds["copy"], theirs=seconds["docker"], most=1.2)


def _again(image: str, runs: int) -> Iterator[Result]:
    progress("push again")
    with _forgotten(image) as host, _forgotten(image) as other:

        def ours() -> float:
            return _timed(image, host, lambda target: [*REGCTL, "push", target]).seconds

        def docker() -> float:
            return _timed(image, other, lambda target: ["docker", "push", target]).seconds

        seconds = in_turn(runs, {"ours": ours, "docker": docker})
    more = [mine - theirs for mine, theirs in zip(seconds["ours"], seconds["docker"], strict=True)]
    yield Result(name="push again, nothing new, more than docker push", ours=more, most=0.3)


def _changed(context: Path, base: str, image: str, runs: int) -> Iterator[Result]:
    progress("push after a change of one line")

    def after(first: list[str], second: list[str]) -> Callable[[], float]:
        def push() -> float:
            app = context / "app.py"
            app.write_text(f"{app.read_text(encoding='utf-8')}# {uuid.uuid4()}\n", encoding="utf-8")
            with _image(context, base) as changed, _forgotten(image, changed) as host:
                _timed(image, host, lambda target: [*first, target])
                return _timed(changed, host, lambda target: [*second, target]).seconds

        return push

    push, docker = [*REGCTL, "push"], ["docker", "push"]
    contestants: Contestants = {
        "known": after(docker, push),
        "docker": after(docker, docker),
        "direct": after([*push, "--via", "direct"], push),
        "save": lambda: _saved(image),
    }
    seconds = in_turn(runs, contestants, warm_up=False)
    more = [mine - theirs for mine, theirs in zip(seconds["known"], seconds["docker"], strict=True)]
    yield Result(name="one line changed, base known to the engine, more than docker push", ours=more, most=0.3)
    yield Result(name="one line changed, base pushed directly / docker save", ours=seconds["direct"], theirs=seconds["save"], most=1.2)


def _timed(image: str, host: str, command: Callable[[str], list[str]]) -> Run:
    """Push ``image`` to ``host`` by ``command``, which takes the name."""
    target = f"{host}/bench/app:1"
    said("docker", "tag", image, target)
    return run(command(target))


@contextmanager
def _forgotten(*images: str) -> Iterator[str]:
    """A registry for the block, of which the engine knows nothing afterwards."""
    with registry() as host:
        try:
            yield host
        finally:
            names = said("docker", "image", "inspect", "--format", '{{join .RepoTags "\\n"}}\n{{join .RepoDigests "\\n"}}', *images)
            there = [name for name in names.split() if name.startswith(f"{host}/")]
            # In the classic store the last tag takes the digests along, in containerd's a digest takes its tag.
            said("sh", "-c", 'for name; do docker rmi "$name" || :; done', "sh", *sorted(there, key=lambda name: "@" not in name))


def _saved(image: str) -> float:
    return run(["sh", "-c", f"docker save {image} >/dev/null"]).seconds


def _base_image() -> str:
    first = json.loads(said(*REGCTL, "demo", "--json", "--image", f"bench/{uuid.uuid4().hex[:10]}:part2"))
    return str(next(image["name"] for image in first["images"] if image["role"] == "python"))


@contextmanager
def _image(context: Path, base: str) -> Iterator[str]:
    """An image built from ``context``, for the block."""
    name = f"bench-push-{uuid.uuid4().hex[:10]}:1"
    said("docker", "build", "-q", "-t", name, "--build-arg", f"BASE_IMAGE={base}", str(context))
    try:
        yield name
    finally:
        said("docker", "rmi", "-f", name)


def _sample(folder: Path) -> Path:
    context = folder / "sample"
    shutil.copytree(ROOT / "sample_app", context)
    if (newest := wheels()) is not None:
        shutil.copytree(newest, context / "wheels", dirs_exist_ok=True)
    return context


def _large(folder: Path) -> Path:
    lines = ["ARG BASE_IMAGE", "FROM $BASE_IMAGE"]
    for number in range(LAYERS):
        random_ = random.Random(number)  # noqa: S311 - nothing secret
        pieces = (random_.randbytes(50_000) + bytes(50_000) for _ in range(LAYER // 100_000))
        (folder / f"file-{number}").write_bytes(b"".join(pieces))
        lines.append(f"COPY file-{number} /")
    (folder / "Dockerfile").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder
