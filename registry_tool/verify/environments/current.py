"""Environments that existed before: the current engine, or one that a docker context names. They verify less than a clean one.

The image is removed from the engine first, and gets its names again at the end: where this process is killed, from the next run, which
finds them in a file. Where another name, a container or an image needs it, as after a build, it stays, and the checks say what they could
not look at.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from registry_tool.base import files, runs
from registry_tool.base.address import is_loopback
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound, RegistryToolError, UsageError, VerificationFailed
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.reader import Document
from registry_tool.base.signals import defer_signals
from registry_tool.engine import Engine, Image, connect
from registry_tool.oci.reference import DOCKER_HUB, Reference
from registry_tool.targets.registry import Registry
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.remote_image import RemoteImage, read_blobs, resolve
from registry_tool.verify.result import EnvironmentInfo, EnvironmentKind

MAX_RECORD = 1 << 16  # bytes


@dataclass(frozen=True, kw_only=True)
class CurrentEngine:
    """See :class:`registry_tool.verify.environments.environment.Environment`."""

    info: EnvironmentInfo
    engine: Engine
    registry_host: str
    """The registry's HOST:PORT as this engine sees it."""
    run_labels: Mapping[str, str] = field(default_factory=dict)
    removed: Image | None = None
    """The engine's image of that name before it was removed."""
    kept: str | None = None
    isolated: bool = False
    reaches_containers: bool = False
    """The engine may be in a virtual machine."""

    def local_name(self, image: Reference) -> str:
        """See ``Environment``."""
        return str(replace(image, host=self.registry_host))

    @property
    def host_ip(self) -> str:
        """See ``Environment``."""
        return "127.0.0.1" if is_loopback(self._engine_host) else ""

    @property
    def _engine_host(self) -> str:
        host = None if self.engine.endpoint.is_local else urlsplit(self.engine.endpoint.url).hostname
        return host or "127.0.0.1"

    def connect(self, port: int, *, timeout: float, host: str | None = None) -> socket.socket:
        """See ``Environment``."""
        return socket.create_connection((host or self._engine_host, port), timeout=timeout)

    def traffic(self, *, reset: bool = False) -> Traffic | None:
        """See ``Environment``."""
        return None

    def labels(self) -> Mapping[str, str]:
        """See ``Environment``."""
        return self.run_labels


@contextmanager
def open_here(
    engine: Engine, image: Reference, registry: Registry, *, labels: Mapping[str, str], record: Path | None = None
) -> Iterator[CurrentEngine]:
    """The current engine without ``image``, or with it where it cannot be removed without loss. Raises RegistryError, Unreachable.

    What is removed is written to the file ``record`` as long as it is not there again (:func:`restore_interrupted`).
    """
    environment = CurrentEngine(
        info=_info(engine, "here", "here"), engine=engine, registry_host=image.host, run_labels=labels, removed=engine.image(str(image))
    )
    with _image_removed(environment, image, registry, record) as prepared:
        yield prepared


@contextmanager
def open_context(
    name: str, image: Reference, registry: Registry, *, registry_as: str | None, labels: Mapping[str, str], record: Path | None = None
) -> Iterator[CurrentEngine]:
    """The engine of context ``name``, see ``open_here``. Raises UsageError where there is no such context or it needs ``registry_as``."""
    if registry_as is None and is_loopback(image.host):
        raise UsageError(
            f"to the engine of the context {name}, {image.host} is itself",
            hint="Give the registry's address as that engine reaches it: --registry-as HOST:PORT (and it must trust that one).",
        )
    with connect(context=name) as engine:
        info = _info(engine, "context", f"context:{name}")
        environment = CurrentEngine(info=info, engine=engine, registry_host=registry_as or image.host, run_labels=labels)
        with _image_removed(environment, image, registry, record) as prepared:
            yield prepared


def restore_interrupted(engine: Engine, state: Path, observer: Observer = SILENT) -> None:
    """Restore on ``engine`` what runs removed that were killed then. What cannot be restored now is tried again by the next run."""
    for path in sorted(record_file(state, "*").parent.glob("*.json")):
        if not runs.is_over(state, path.stem):
            continue
        try:
            removed = Document.read(path.read_bytes(), what=str(path), max_size=MAX_RECORD)
            if removed.required_text("engine") != engine.id:
                continue
            by_digest = removed.required_text("by_digest")
            _restore(engine, (by_digest,), removed.texts("tags"), host=removed.required_text("host"))
            observer.note(f"{by_digest} is on this engine again: a run that was killed had removed it")
        except (RegistryToolError, OSError) as error:
            observer.note(f"what {path} names cannot be restored yet: {error}")
            continue
        path.unlink(missing_ok=True)


def record_file(state: Path, run_id: str) -> Path:
    """The file in which a run records what it removed."""
    return state / "verify" / f"{run_id}.json"


def _info(engine: Engine, kind: EnvironmentKind, name: str) -> EnvironmentInfo:
    info = engine.info
    return EnvironmentInfo(
        kind=kind, name=name, engine=f"{info.product} {info.version}", kernel=info.kernel, platform=str(info.platform), clean=False
    )


@contextmanager
def _image_removed(environment: CurrentEngine, image: Reference, registry: Registry, record: Path | None) -> Iterator[CurrentEngine]:
    try:
        remote = resolve(registry, image, environment.engine.info.platform)
    except (NotFound, Mismatch, InvalidManifest):
        # The first check reports it. Nothing will be pulled, so nothing has to be removed.
        yield environment
        return
    names = _names(environment, remote)
    before = _find_images(environment.engine, names)
    if before and (kept := _user_of(environment, image, before)):
        try:
            yield replace(environment, kept=kept)
        finally:
            if not any(names[0] in present.digests for present in before):
                # What the pull added. Other names stay, and with them the image.
                with defer_signals():
                    environment.engine.remove_image(names[0], missing_ok=True)
        return
    if before:
        # The registry can give back what is removed: no layer is damaged.
        read_blobs(registry, remote)
    tags = tuple(name for present in before for name in present.names)
    if before and record is not None:
        content = {"engine": environment.engine.id, "by_digest": names[0], "tags": tags, "host": image.host}
        files.atomic_write(record, json.dumps(content).encode())
    try:
        _remove(environment.engine, before)
        yield environment
    finally:
        with defer_signals():
            if before:
                _restore(environment.engine, names, tags, host=image.host)
                if record is not None:
                    record.unlink(missing_ok=True)
            else:
                _remove(environment.engine, _find_images(environment.engine, names))


def _names(environment: CurrentEngine, remote: RemoteImage) -> tuple[str, ...]:
    """Its digest there, and the ids that it may have; not its tag, which may be another image's."""
    config = remote.image.config if remote.image else None
    ids = (remote.digest, config.digest) if config else (remote.digest,)
    return (environment.local_name(remote.by_digest), *map(str, ids))


def _find_images(engine: Engine, names: Iterable[str]) -> tuple[Image, ...]:
    return tuple({image.id: image for image in map(engine.image, names) if image}.values())


def _user_of(environment: CurrentEngine, image: Reference, before: tuple[Image, ...]) -> str | None:
    """What needs the image, so that it cannot be removed: another name, a container, an image; None where nothing does."""
    ids = {present.id for present in before}
    local = Reference.parse(environment.local_name(image), default_host=DOCKER_HUB)
    for name in (name for present in before for name in (*present.names, *present.digests)):
        other = Reference.parse(name, default_host=DOCKER_HUB)
        is_digest = other.digest is not None and other.repository == local.repository
        if not is_digest and other not in (local, replace(local, digest=None)):
            return f"{name} is the same image"
    for container in environment.engine.containers(all=True):
        if container.image_id in ids:
            return f"the container {container.name} uses it"
    for child in environment.engine.images(all=True):
        if child.parent in ids:
            return f"{(*child.names, child.short_id)[0]} is built on it"
    return None


def _remove(engine: Engine, images: Iterable[Image]) -> None:
    for image in images:
        for name in (*image.names, *image.digests, image.id):
            engine.remove_image(name, missing_ok=True)


def _restore(engine: Engine, names: tuple[str, ...], tags: tuple[str, ...], *, host: str) -> None:
    """Bring the image back that has ``names``, the first of which can be pulled, and give it its ``tags`` where those are free."""
    if not _find_images(engine, names):
        try:
            engine.pull(names[0], known_as=host)
        except RegistryToolError as error:
            raise VerificationFailed(
                f"{names[0]} was removed from this engine and cannot be pulled again: {error.message}",
                hint=f"When the registry responds again: docker pull {names[0]}",
            ) from error
    for name in tags:
        if engine.image(name) is None:
            engine.tag(names[0], name)
