"""Official base images (in an ``ARG`` of the Dockerfile) and copied wheels for builds without docker.io or a package index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.build.dockerfile import arguments, base_images, instructions
from registry_tool.engine.build.source import DockerfileSource
from registry_tool.local.base_images import PYTHON, REDIS, REGISTRY, BaseImage, BaseImageResolver, wheels

_BASES = {base.official: base for base in (PYTHON, REDIS, REGISTRY)}
_WHEELS = "wheels"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """``build_args`` and ``extra`` for :meth:`Engine.build`; ``bases`` are the base images that were resolved."""

    build_args: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Path] = field(default_factory=dict)
    bases: tuple[BaseImage, ...] = ()


def prepare(
    engine: Engine,
    bases: BaseImageResolver,
    cache: Path,
    context: Path | None,
    *,
    dockerfile: DockerfileSource | None = None,
    build_args: Mapping[str, str] | None = None,
    observer: Observer = SILENT,
) -> BuildInputs:
    """Prepare the inputs of ``context``; ``build_args`` take precedence.

    Raises BuildFailed without a Dockerfile, ProvisionFailed where a base image cannot be had.
    """
    chosen = dict(build_args or {})
    text = (dockerfile or DockerfileSource.on_disk(context or Path())).text
    resolved = []
    for name, default in arguments(text).items():
        base = _BASES.get(default)
        if base is None or name in chosen:
            continue
        image = bases.ensure(base)
        resolved.append(image)
        if image.name != default:
            chosen[name] = image.name
            observer.note(f"{default} is not here: building on {image.name} instead ({name})")
    extra = _wheels(engine, cache, context, text, chosen, observer) if context else {}
    return BuildInputs(build_args=chosen, extra=extra, bases=tuple(resolved))


def _wheels(engine: Engine, cache: Path, context: Path, text: str, build_args: Mapping[str, str], observer: Observer) -> Mapping[str, Path]:
    requirements = context / "requirements.txt"
    copied = any(instruction == "COPY" and "wheel" in operands for instruction, operands in instructions(text))
    bases = base_images(text, dict(build_args))
    if not copied or not bases or not requirements.is_file() or (context / _WHEELS).exists():
        return {}
    image = engine.image(bases[0])
    if image is None:
        return {}
    folder = wheels(engine, bases[0], image.id, requirements, cache, observer)
    return {_WHEELS: folder} if folder else {}
