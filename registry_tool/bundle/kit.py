"""What a bundle has beside images: the tool, the sample app, ``install.sh``, and the images that this tool needs itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from registry_tool.base import resources
from registry_tool.base.dirs import AppDirs
from registry_tool.base.progress import SILENT, Observer
from registry_tool.bundle.apply import SAMPLE
from registry_tool.bundle.contents import WheelSet
from registry_tool.bundle.wheels import dependency_wheels, sample_files, tool_wheel
from registry_tool.engine import Engine
from registry_tool.local.base_images import PYTHON, REGISTRY, BaseImageResolver
from registry_tool.local.base_images import wheels as wheels_for

WHEELS = "wheels"
_HERE = Path(__file__).parent


def documents() -> dict[str, Path | bytes]:
    """``install.sh``, ``README.txt`` and the compose file. Raises FileNotFoundError."""
    return {
        "install.sh": (_HERE / "install.sh").read_bytes(),
        "README.txt": (_HERE / "README.txt").read_bytes(),
        "docker-compose.registry.yml": resources.compose_file().read_bytes(),
    }


def tool_files(
    pythons: Sequence[str], platforms: Sequence[str], cache: Path, observer: Observer = SILENT
) -> tuple[dict[str, Path | bytes], tuple[WheelSet, ...]]:
    """Wheels of this tool and its dependencies. Raises RegistryToolError where they cannot be had, UsageError, OSError."""
    name, content = tool_wheel()
    collected: dict[str, Path | bytes] = {f"{WHEELS}/{name}": content}
    sets = []
    for python in sorted(set(pythons), key=lambda text: tuple(map(int, text.split(".")))):
        for platform in sorted(set(platforms)):
            folder = dependency_wheels(python, platform, cache, observer)
            paths = {f"{WHEELS}/{wheel.name}": wheel for wheel in sorted(folder.iterdir())}
            collected |= paths
            sets.append(WheelSet(python=python, platform=platform, files=tuple(sorted({f"{WHEELS}/{name}", *paths}))))
    return collected, tuple(sets)


def base_images(engine: Engine, dirs: AppDirs, *, sample: bool, observer: Observer = SILENT) -> dict[str, str]:
    """Role -> the name of an image in the engine, which it is brought to where it has it not: the registry's, and the ``sample`` app's."""
    resolver = BaseImageResolver(engine, dirs.cache, observer)
    return {base.role: resolver.ensure(base).name for base in ((REGISTRY, PYTHON) if sample else (REGISTRY,))}


def sample_app(
    engine: Engine | None, names: Mapping[str, str], dirs: AppDirs, observer: Observer = SILENT
) -> tuple[dict[str, Path | bytes], str]:
    """The sample app's files, with the wheels that its base image takes, and the key of these in the cache; without an engine none."""
    collected: dict[str, Path | bytes] = {f"{SAMPLE}/{name}": content for name, content in sample_files()}
    name = names.get(PYTHON.role)
    image = engine.image(name) if engine is not None and name is not None else None
    if engine is None or image is None or name is None:
        return collected, ""
    folder = wheels_for(engine, name, image.id, resources.sample_app() / "requirements.txt", dirs.cache, observer)
    if folder is None:
        return collected, ""
    return collected | {f"{SAMPLE}/wheels/{wheel.name}": wheel for wheel in sorted(folder.iterdir())}, folder.name
