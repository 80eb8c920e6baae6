"""Resolving typed image names: the engine's, else the local registry's; on the registry's side a name without a host is local."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry_tool.base.errors import InvalidReference, NotFound, RegistryToolError, RegistryUnreachable
from registry_tool.engine import Engine, Image
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host

_ID = re.compile(r"(?:sha256:)?[0-9a-f]{4,64}")
PODMAN_HOST = "localhost"
"""The host that podman gives to what it builds and loads under a name without one."""
_DIGEST = re.compile(r"sha(?:256|384|512):[0-9a-f]{4,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """An image in the engine, its name there, and a note where the local registry's name is another image."""

    image: Image
    name: str
    note: str | None = None


def registry_reference(text: str, registry_host: str | None) -> Reference:
    """The registry's reference of ``text`` (default: ``latest``). Raises InvalidReference; RegistryUnreachable (no host, none local)."""
    if _DIGEST.fullmatch(text):
        raise InvalidReference(
            f"{text} is an image's id or digest, and a name is needed",
            hint="Name an image with: regctl tag ID NAME. By its digest it is NAME@sha256:…",
        )
    if registry_host is None and not has_host(text):
        Reference.parse(text, default_host="localhost")  # an invalid name is reported first
        raise RegistryUnreachable("no local registry is running", hint="Start one with: regctl up")
    return Reference.parse(text, default_host=registry_host or DOCKER_HUB).or_latest()


def find_engine_image(engine: Engine, registry_host: str | None, text: str) -> ResolvedImage | None:
    """The image of ``text`` on the engine's side, or None. Raises InvalidReference."""
    if not _ID.fullmatch(text):
        Reference.parse(text, default_host=DOCKER_HUB)
    typed = engine.image(text)
    local_name = _local_name(text, registry_host)
    local = engine.image(local_name) if local_name else None
    if typed is not None:
        note = None
        if local is not None and local_name is not None and local.id != typed.id and _has_name(typed, text):
            note = f"using {text} ({typed.short_id}); {local_name} is another image ({local.short_id})"
        return ResolvedImage(image=typed, name=text, note=note)
    if local is not None and local_name is not None:
        return ResolvedImage(image=local, name=local_name)
    return None


def engine_image(engine: Engine, registry_host: str | None, text: str) -> ResolvedImage:
    """As :func:`find_engine_image`, for an image that must exist. Raises InvalidReference, NotFound."""
    image = find_engine_image(engine, registry_host, text)
    if image is None:
        raise not_found(text)
    return image


def hub_hint(error: RegistryToolError, text: str) -> str | None:
    """The hint of ``error`` with the name of ``text`` on Docker Hub, where it names no registry."""
    if has_host(text):
        return error.hint
    hub = Reference.parse(text, default_host=DOCKER_HUB).or_latest()
    return f"{(error.hint or '').rstrip('.')}. From Docker Hub it is spelled out: {hub}".lstrip(". ")


def not_found(text: str) -> NotFound:
    """The error for an image that is neither in the engine nor in the local registry."""
    hub = Reference.parse(text, default_host=DOCKER_HUB).or_latest() if not text.startswith("sha256:") else None
    hint = "See: regctl images"
    if hub is not None and not has_host(text):
        hint += f". From Docker Hub it is spelled out: {hub}"
    return NotFound(f"no such image: {text}", hint=hint)


def find_by_name(engine: Engine, text: str) -> Image | None:
    """The image with the *name* ``text``; one whose id begins with these letters does not count."""
    image = engine.image(text)
    return image if image is not None and _has_name(image, text) else None


def _local_name(text: str, registry_host: str | None) -> str | None:
    if registry_host is None or has_host(text) or text.startswith("sha256:"):
        return None
    return str(Reference.parse(text, default_host=registry_host).or_latest())


def _has_name(image: Image, text: str) -> bool:
    wanted = Reference.parse(text, default_host=DOCKER_HUB).or_latest()
    if wanted.digest is not None:
        return True
    local = Reference.parse(text, default_host=PODMAN_HOST).or_latest()
    return any(Reference.parse(name, default_host=DOCKER_HUB) in (wanted, local) for name in image.names)
