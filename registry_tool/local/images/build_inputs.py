"""Official base images (in an ``ARG`` of the Dockerfile) and copied wheels for builds without docker.io or a package index."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base.errors import BuildFailed, InvalidReference
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.build.classic import BaseImageUnavailable
from registry_tool.engine.build.dockerfile import arguments, base_images, instructions
from registry_tool.engine.build.source import DockerfileSource
from registry_tool.local.base_images import PYTHON, REDIS, REGISTRY, BaseImage, BaseImageResolver, wheels
from registry_tool.oci.reference import DOCKER_HUB, Reference

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

    Raises BuildFailed without a Dockerfile, ProvisionFailed where a base image is not available.
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


def suggest_stand_in(error: BuildFailed, text: str, build_args: Mapping[str, str]) -> None:
    """Let ``error`` name this tool's stand-in for a base image of the Dockerfile ``text`` that cannot be pulled, if there is one."""
    if not isinstance(error, BaseImageUnavailable):
        return
    repositories = {Reference.parse(base.official, default_host=DOCKER_HUB).repository: base.official for base in _BASES.values()}
    for name in base_images(text, dict(build_args)):
        with suppress(InvalidReference):
            if official := repositories.get(Reference.parse(name, default_host=DOCKER_HUB).repository):
                error.hint = (
                    f"Without Docker Hub there is a stand-in for {official}: ARG BASE={official}, then FROM ${{BASE}} instead of {name}."
                )


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
