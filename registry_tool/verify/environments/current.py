"""Places that are somebody's own engine: the present one, or one that a docker context names. Weaker than a clean one.

The image under proof is taken off the engine first, where that destroys nothing: not what other names or containers
hold, and not what the registry could not give back. Names that it had, it has again in the end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from registry_tool.base.address import is_loopback
from registry_tool.base.errors import Conflict, InvalidManifest, Mismatch, NotFound, RegistryToolError, UsageError, VerificationFailed
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine, Image, connect
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.registry import Registry
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.remote_image import RemoteImage, read_blobs, resolve
from registry_tool.verify.result import EnvironmentInfo, EnvironmentKind

_CLEAN = "A clean engine needs nothing removed: --on docker"


@dataclass(frozen=True, kw_only=True)
class CurrentEngine:
    """An engine that was there before (:class:`registry_tool.verify.environments.environment.Environment`)."""

    info: EnvironmentInfo
    engine: Engine
    host: str
    """The registry, as this engine sees it."""
    marks: Mapping[str, str] = field(default_factory=dict)
    had: Image | None = None
    """What the engine had under the image's name, before that was taken off it."""
    isolated: bool = False

    def local_name(self, image: Reference) -> str:
        return str(replace(image, host=self.host))

    @property
    def host_ip(self) -> str:
        """See ``Environment``."""
        return "127.0.0.1" if is_loopback(self._engine_host) else ""

    @property
    def _engine_host(self) -> str:
        host = None if self.engine.endpoint.is_local else urlsplit(self.engine.endpoint.url).hostname
        return host or "127.0.0.1"

    def connect(self, port: int, *, timeout: float) -> socket.socket:
        """See ``Environment``."""
        return socket.create_connection((self._engine_host, port), timeout=timeout)

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        return None

    def labels(self) -> Mapping[str, str]:
        return self.marks


@contextmanager
def here(engine: Engine, image: Reference, registry: Registry, *, labels: Mapping[str, str]) -> Iterator[CurrentEngine]:
    """The present engine, without ``image``. ``labels`` are for what is made there.

    Raises Conflict where the image cannot be taken off it without loss, and what asking the registry raises.
    """
    info, had = _info(engine, "here", "here"), engine.image(str(image))
    place = CurrentEngine(info=info, engine=engine, host=image.host, marks=labels, had=had)
    with _purged(place, image, registry):
        yield place


@contextmanager
def context(
    name: str, image: Reference, registry: Registry, *, registry_as: str | None, labels: Mapping[str, str]
) -> Iterator[CurrentEngine]:
    """The engine of docker's context ``name``, without ``image``; it reaches the registry as ``registry_as``.

    Raises UsageError (no such context; ``registry_as`` is missing where it is needed), what :func:`here` raises, Unreachable.
    """
    if registry_as is None and is_loopback(image.host):
        raise UsageError(
            f"to the engine of the context {name}, {image.host} is itself",
            hint="Say how it reaches the registry: --registry-as HOST:PORT (and it must trust that one).",
        )
    with connect(context=name) as engine:
        info = _info(engine, "context", f"context:{name}")
        place = CurrentEngine(info=info, engine=engine, host=registry_as or image.host, marks=labels)
        with _purged(place, image, registry):
            yield place


def _info(engine: Engine, kind: EnvironmentKind, name: str) -> EnvironmentInfo:
    info = engine.info
    return EnvironmentInfo(
        kind=kind, name=name, engine=f"{info.product} {info.version}", kernel=info.kernel, platform=str(info.platform), clean=False
    )


@contextmanager
def _purged(place: CurrentEngine, image: Reference, registry: Registry) -> Iterator[None]:
    try:
        origin = resolve(registry, image, place.engine.info.platform)
    except (NotFound, Mismatch, InvalidManifest):
        # The proof says so, at its first point. Nothing will be pulled, so nothing need go.
        yield
        return
    names = _names(place, origin)
    held = _held(place.engine, names)
    if held:
        _check(place, image, held)
        # What goes can be had again: not a layer is damaged.
        read_blobs(registry, origin)
    try:
        for found in held:
            _remove(place.engine, (*found.names, *found.digests, found.id))
        yield
    finally:
        with defer_signals():
            _give_back(place.engine, names, held, image.host)


def _names(place: CurrentEngine, origin: RemoteImage) -> tuple[str, ...]:
    """Its digest there, and the ids that it may have; never its tag, under which there may be another image."""
    config = origin.image.config if origin.image else None
    ids = (origin.digest, config.digest) if config else (origin.digest,)
    return (place.local_name(origin.by_digest), *map(str, ids))


def _held(engine: Engine, names: Iterable[str]) -> tuple[Image, ...]:
    return tuple({found.id: found for found in map(engine.image, names) if found}.values())


def _check(place: CurrentEngine, image: Reference, held: tuple[Image, ...]) -> None:
    """Raises Conflict where something else than the name under proof needs the image."""
    ids = {found.id for found in held}
    mine = (place.local_name(image), place.local_name(replace(image, digest=None)))
    names = [
        name for found in held for name in (*found.names, *found.digests) if name not in mine and not _is_own_digest(place, image, name)
    ]
    if names:
        raise Conflict(
            f"{image} cannot be taken off this engine: {names[0]} is the same image", hint=f"Take that name away first. {_CLEAN}"
        )
    for container in place.engine.containers(all=True):
        if container.image_id in ids:
            raise Conflict(
                f"{image} cannot be taken off this engine: the container {container.name} uses it", hint=f"Remove that first. {_CLEAN}"
            )
    for other in place.engine.images(all=True):
        if other.parent in ids:
            raise Conflict(
                f"{image} cannot be taken off this engine: {(*other.names, other.id)[0]} is built on it",
                hint=f"Remove that first. {_CLEAN}",
            )


def _is_own_digest(place: CurrentEngine, image: Reference, name: str) -> bool:
    known = Reference.parse(name, default_host=DOCKER_HUB)
    return known.digest is not None and known.repository == Reference.parse(place.local_name(image), default_host=DOCKER_HUB).repository


def _remove(engine: Engine, names: Iterable[str]) -> None:
    for name in names:
        engine.remove_image(name, missing_ok=True)


def _give_back(engine: Engine, names: tuple[str, ...], held: tuple[Image, ...], host: str) -> None:
    """What was there is there again, under its names; what was not goes."""
    now = _held(engine, names)
    if not held:
        for found in now:
            _remove(engine, (*found.names, *found.digests, found.id))
        return
    if not now:
        try:
            engine.pull(names[0], known_as=host)
        except RegistryToolError as error:
            raise VerificationFailed(
                f"{names[0]} was taken off this engine and cannot be brought back: {error.message}",
                hint=f"When the registry answers again: docker pull {names[0]}",
            ) from error
    for before in held:
        for name in before.names:
            if engine.image(name) is None:
                engine.tag(names[0], name)
