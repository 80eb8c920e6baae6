"""What a name that somebody typed means.

On the engine's side it means what it means to docker; where the engine has no such image, the same name in the local
registry's part of the engine is tried. On the registry's side a name without a host means the local registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry_tool.base.errors import NotFound, RegistryUnreachable
from registry_tool.engine import Engine, Image
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host

_ID = re.compile(r"(?:sha256:)?[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """An image in the engine, the name it was found by, and a note where another image has a name just as good."""

    image: Image
    name: str
    note: str | None = None


def on_registry(text: str, registry_host: str | None) -> Reference:
    """The reference that ``text`` means on the registry's side; ``latest`` where there is neither tag nor digest.

    ``registry_host`` is None where no local registry is there: then a name without a host raises RegistryUnreachable.
    """
    if registry_host is None and not has_host(text):
        Reference.parse(text, default_host="localhost")  # a wrong name is the nearer trouble
        raise RegistryUnreachable("no local registry is running", hint="Start one with: regctl up")
    return Reference.parse(text, default_host=registry_host or DOCKER_HUB).or_latest()


def search_engine(engine: Engine, registry_host: str | None, text: str) -> ResolvedImage | None:
    """The image that ``text`` means on the engine's side, or None. Raises InvalidReference."""
    if not _ID.fullmatch(text):
        Reference.parse(text, default_host=DOCKER_HUB)
    typed = engine.image(text)
    local_name = _local_name(text, registry_host)
    local = engine.image(local_name) if local_name else None
    if typed is not None:
        note = None
        if local is not None and local_name is not None and local.id != typed.id and _answers_to(typed, text):
            note = f"using {text} ({_short(typed)}); {local_name} is another image ({_short(local)})"
        return ResolvedImage(image=typed, name=text, note=note)
    if local is not None and local_name is not None:
        return ResolvedImage(image=local, name=local_name)
    return None


def on_engine(engine: Engine, registry_host: str | None, text: str) -> ResolvedImage:
    """As :func:`search_engine`, but an image that is nowhere is NotFound."""
    found = search_engine(engine, registry_host, text)
    if found is None:
        raise absent(text)
    return found


def absent(text: str) -> NotFound:
    """The error for an image that is neither in the engine nor in the local registry."""
    hub = Reference.parse(text, default_host=DOCKER_HUB).or_latest() if not text.startswith("sha256:") else None
    hint = "See what there is with: regctl images"
    if hub is not None and not has_host(text):
        hint += f". From Docker Hub it is spelled out: {hub}"
    return NotFound(f"no such image: {text}", hint=hint)


def by_name(engine: Engine, text: str) -> Image | None:
    """The image that has ``text`` as its *name*; one whose id happens to begin with these letters does not count."""
    image = engine.image(text)
    return image if image is not None and _answers_to(image, text) else None


def _local_name(text: str, registry_host: str | None) -> str | None:
    if registry_host is None or has_host(text) or text.startswith("sha256:"):
        return None
    return str(Reference.parse(text, default_host=registry_host).or_latest())


def _answers_to(image: Image, text: str) -> bool:
    wanted = Reference.parse(text, default_host=DOCKER_HUB).or_latest()
    if wanted.digest is not None:
        return True
    return any(Reference.parse(name, default_host=DOCKER_HUB) == wanted for name in image.names)


def _short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:12]
