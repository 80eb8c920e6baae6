"""What a build needs that is not in its context: a base image where docker.io cannot be reached, and wheels where no index can.

Both only where the Dockerfile leaves them open, as the sample app's does: a base image in an ``ARG`` whose default is an
official image that this tool knows how to replace, and a ``COPY`` that takes wheels where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.build.dockerfile import arguments, base_images, instructions
from registry_tool.local import base_images as provision
from registry_tool.local.base_images import PYTHON, REDIS, REGISTRY, BaseImage, BaseImageResolver

_KNOWN = {base.official: base for base in (PYTHON, REDIS, REGISTRY)}
_WHEELS = "wheels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """``build_args`` and ``extra`` for :meth:`Engine.build`; ``bases`` are the base images that were looked for."""

    build_args: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Path] = field(default_factory=dict)
    bases: tuple[BaseImage, ...] = ()


def prepare(
    engine: Engine,
    ladder: BaseImageResolver,
    cache: Path,
    context: Path,
    *,
    dockerfile: Path | None = None,
    build_args: Mapping[str, str] | None = None,
    observer: Observer = SILENT,
) -> Prepared:
    """Bring what the build of ``context`` needs. What the caller chose in ``build_args`` is left as it is.

    Raises ProvisionFailed where a base image cannot be had. A Dockerfile that is not there is the engine's to complain of.
    """
    chosen = dict(build_args or {})
    path = dockerfile or context / "Dockerfile"
    if not path.is_file():
        return Prepared(build_args=chosen)
    text = path.read_text(errors="replace")
    bases = []
    for name, default in arguments(text).items():
        base = _KNOWN.get(default)
        if base is None or name in chosen:
            continue
        had = ladder.ensure(base)
        bases.append(had)
        if had.name != default:
            chosen[name] = had.name
            observer.note(f"{default} is not here: building on {had.name} instead ({name})")
    extra = _wheels(engine, cache, context, text, chosen, observer)
    return Prepared(build_args=chosen, extra=extra, bases=tuple(bases))


def _wheels(engine: Engine, cache: Path, context: Path, text: str, build_args: Mapping[str, str], observer: Observer) -> Mapping[str, Path]:
    requirements = context / "requirements.txt"
    wanted = any(word == "COPY" and "wheel" in rest for word, rest in instructions(text))
    bases = base_images(text, dict(build_args))
    if not wanted or not bases or not requirements.is_file() or (context / _WHEELS).exists():
        return {}
    image = engine.image(bases[0])
    if image is None:
        return {}
    found = provision.wheels(engine, bases[0], image.id, requirements, cache, observer)
    return {_WHEELS: found} if found else {}
