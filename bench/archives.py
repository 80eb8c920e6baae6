"""``regctl export`` and ``import`` of ten images, against ``docker save``, ``load`` and ``push``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.copies import IMAGES, images_with_shared_layers
from bench.measure import REGCTL, Result, in_turn, progress, run, said
from bench.repositories import registry


def archives(runs: int) -> Iterator[Result]:
    """The row of export and import, and its memory."""
    progress(f"export and import of {IMAGES} images")
    with registry() as source, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        names = [f"{source}/{path}:1" for path in images_with_shared_layers(source)]
        path = Path(folder) / "images.tar"
        memory: list[int] = []

        def ours() -> float:
            with registry() as destination:
                exported = run([*REGCTL, "export", *names, "-o", str(path)])
                imported = run([*REGCTL, "import", str(path), f"{destination}/"])
            memory.extend((exported.memory, imported.memory))
            return exported.seconds + imported.seconds

        def docker() -> float:
            """Save, load into an engine that has them no more, and push; pulling, removing and tagging are not counted."""
            with registry() as destination:
                pushed = [name.replace(source, destination) for name in names]
                for name in names:
                    said("docker", "pull", "-q", name)
                seconds = run(["docker", "save", "-o", str(path), *names]).seconds
                said("docker", "rmi", *names)
                seconds += run(["docker", "load", "-q", "-i", str(path)]).seconds
                for name, other in zip(names, pushed, strict=True):
                    said("docker", "tag", name, other)
                seconds += sum(run(["docker", "push", "-q", other]).seconds for other in pushed)
                said("docker", "rmi", *names, *pushed)
            return seconds

        seconds = in_turn(runs, {"ours": ours, "docker": docker})
    what = f"export + import of {IMAGES} images"
    yield Result(name=f"{what} / docker save + load + push", ours=seconds["ours"], theirs=seconds["docker"], most=0.5)
    yield Result(name=f"{what}, memory", ours=[max(memory) / 1e6], most=150, unit="MB")
