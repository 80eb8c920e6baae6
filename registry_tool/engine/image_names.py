"""Names of images as an engine has them. Podman resolves a name without a host to any image whose name ends so: it is given whole ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry_tool.base.errors import InvalidReference, NotFound
from registry_tool.oci.reference import DOCKER_HUB, Reference, has_host

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient

_LOCAL = "localhost"  # the host of what podman itself builds and loads under a name without one
_ID = re.compile(r"[0-9a-f]{4,64}")
_WHOLE_ID = 64


def familiar(name: str) -> str:
    """``name`` as docker lists it: without ``docker.io/``, which podman lists, where it has the same meaning without."""
    short = name.removeprefix(f"{DOCKER_HUB}/")
    if short == name:
        return name
    official = short.removeprefix("library/")
    short = official if "/" not in official else short
    return name if has_host(short) else short


def candidates(name: str) -> tuple[str, ...]:
    """The whole names, and the id, that ``name`` may be to podman: on Docker Hub, as to docker, else made here by podman itself."""
    if has_host(name) or name.startswith("sha256:") or (_ID.fullmatch(name) and len(name) == _WHOLE_ID):
        return (name,)
    try:
        reference = Reference.parse(name, default_host=DOCKER_HUB).or_latest()
    except InvalidReference:
        return (name,)  # the engine says what is wrong
    local = Reference.parse(name, default_host=_LOCAL).or_latest()
    return (str(reference), str(local), *((name,) if _ID.fullmatch(name) else ()))


def new_name(name: str, *, podman: bool) -> str:
    """``name`` as an engine is to give it: podman would move the name of another image that ends so."""
    if not podman or has_host(name):
        return name
    return str(Reference.parse(name, default_host=DOCKER_HUB).or_latest())


def is_meant(name: str, image_id: str) -> bool:
    """Whether the image that podman found for one of :func:`candidates` is that: an id is not the end of another image's name."""
    return _ID.fullmatch(name) is None or image_id.removeprefix("sha256:").startswith(name)


def stored_name(client: EngineClient, name: str) -> str:
    """``name`` as the engine takes it without a guess; the first that it may be where there is no such image."""
    names = candidates(name) if client.api.is_podman else (name,)
    for candidate in names if len(names) > 1 else ():
        try:
            with client.call(f"looking for the image {name}") as api:
                if is_meant(candidate, str(api.inspect_image(candidate)["Id"])):  # type: ignore[no-untyped-call]
                    return candidate
        except NotFound:
            continue
    return names[0]
