"""A registry's settings, users and certificate in its volume: read, write, create the volume."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry_tool.base import dirs, labels
from registry_tool.base.errors import Conflict, EngineError, RegistryError
from registry_tool.engine import Engine
from registry_tool.engine.specs import ContainerSpec
from registry_tool.engine.values import Container
from registry_tool.local.registry import spec
from registry_tool.local.registry.passwords import Users
from registry_tool.local.registry.proxy import ProxySettings
from registry_tool.local.registry.serving import TlsFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeState:
    """Settings, and users where there is a password."""

    settings: spec.RegistrySettings
    proxy_configuration: bytes | None = field(default=None, repr=False)
    """Has the password for the upstream in it."""
    users: Users = field(default_factory=Users)
    tls: TlsFiles | None = None

    def with_port(self, port: int | None) -> VolumeState:
        """The same with another port."""
        return replace(self, settings=replace(self.settings, port=port))


def read(engine: Engine, container: Container) -> VolumeState:
    """Read the state in the volume of ``container``, which need not run; without settings there, that of the container itself.

    Raises RegistryError where the settings are damaged: without them the registry might be open to everybody.
    """
    content = engine.get_file(container.id, spec.SETTINGS)
    if content is None:
        secret = dict(entry.partition("=")[::2] for entry in container.environment).get("REGISTRY_HTTP_SECRET")
        settings = spec.RegistrySettings(port=None, secret=secret) if secret else spec.RegistrySettings.generate()
        # Created by an `up` that was killed: a password is required and was never written, so nobody gets in, and that stays so.
        url = container.labels.get(labels.PROXY)
        proxy = ProxySettings(url=url) if url else None  # which needs `up --proxy` again, to know how to log in there
        return VolumeState(settings=replace(settings, user=container.labels.get(labels.USER), proxy=proxy))
    try:
        settings = spec.RegistrySettings.parse(content)
    except ValueError as error:
        raise RegistryError(
            f"the registry's settings in its volume are damaged: {error}",
            hint=f"Repair {spec.SETTINGS} in the volume {container.mounts.get(spec.STORAGE, '')}, "
            "or remove the file to begin with new settings.",
        ) from error
    return VolumeState(
        settings=settings,
        users=Users.parse(engine.get_file(container.id, spec.HTPASSWD) or b""),
        proxy_configuration=engine.get_file(container.id, spec.PROXY) if settings.proxy else None,
        tls=_read_tls(engine, container.id) if settings.tls is not None else None,
    )


def _read_tls(engine: Engine, container_id: str) -> TlsFiles | None:
    certificate, key = engine.get_file(container_id, spec.CERTIFICATE), engine.get_file(container_id, spec.KEY)
    if certificate is None or key is None:
        return None
    return TlsFiles(certificate=certificate, key=key, authority=engine.get_file(container_id, spec.AUTHORITY) or None)


def read_volume(engine: Engine, name: str, image: str, *, state: Path) -> VolumeState | None:
    """Read the state of the registry ``name`` through a temporary container that is never started; None without a volume.

    The caller holds the lock in ``state``, so a temporary container of that owner is one that was left. Raises Conflict where the
    volume is another owner's; NotFound where something was removed meanwhile; RegistryError as :func:`read`.
    """
    volume = engine.volume(spec.resource_name(name))
    if volume is None:
        return None
    if volume.labels.get(labels.REGISTRY) != name or volume.labels.get(labels.ROLE) != labels.ROLE_REGISTRY:
        raise Conflict(
            f"the volume {volume.name} is somebody else's: it does not carry this tool's labels, and was not touched",
            hint="Take another name for the registry: regctl up --name NAME",
        )
    temporary = f"{spec.resource_name(name)}-probe-{dirs.owner_id(state)}"
    container_spec = ContainerSpec(
        image=image,
        name=temporary,
        # For a volume without settings: compose's secret where compose created it.
        environment={"REGISTRY_HTTP_SECRET": spec.COMPOSE_SIGNING_KEY} if spec.COMPOSE_PROJECT in volume.labels else {},
        labels=_probe_labels(name),
        volumes={volume.name: spec.STORAGE},
        read_only_volumes=True,
    )
    engine.remove(temporary, force=True, missing_ok=True)
    container = engine.create(container_spec)
    try:
        return read(engine, container)
    finally:
        engine.remove(container.id, force=True)


def remove_probes(engine: Engine, name: str) -> None:
    """Remove the temporary containers on the volume of the registry ``name``: a volume in use cannot be removed."""
    for probe in engine.containers(all=True, labels=_probe_labels(name)):
        engine.remove(probe.id, force=True, missing_ok=True)


def _probe_labels(name: str) -> dict[str, str]:
    return {labels.ROLE: labels.ROLE_PROBE, labels.REGISTRY: name}


def write(engine: Engine, container_id: str, state: VolumeState) -> None:
    """Write ``state`` into the volume of a container, which need not run."""
    files = {f"{spec.SETTINGS_FOLDER}/settings.json": (state.settings.to_json(), 0o600)}
    if state.proxy_configuration is not None:
        files[f"{spec.SETTINGS_FOLDER}/proxy.yml"] = (state.proxy_configuration, 0o600)
    if state.users.hashes:
        files[f"{spec.SETTINGS_FOLDER}/htpasswd"] = (state.users.htpasswd(), 0o600)
    if state.tls is not None:
        files[f"{spec.SETTINGS_FOLDER}/server.key"] = (state.tls.key, 0o600)
        files[f"{spec.SETTINGS_FOLDER}/server.crt"] = (state.tls.certificate, 0o644)
        # Of an earlier certificate it would be the wrong one.
        files[f"{spec.SETTINGS_FOLDER}/ca.crt"] = (state.tls.authority or b"", 0o644)
    engine.put_files(container_id, spec.STORAGE, files)


def write_users(engine: Engine, container: Container, users: Users) -> None:
    """Write ``users`` into the volume of ``container``, which sees them with its next request.

    Where it runs, the file is replaced by a rename: without one, a request in between would fail with 400.
    """
    now = time.time()  # with its fraction: the registry reads a changed file again by its time, and two changes may be of one second
    file, replacement = f"{spec.SETTINGS_FOLDER}/htpasswd", f"{spec.SETTINGS_FOLDER}/htpasswd.new"
    if container.running:
        engine.put_files(container.id, spec.STORAGE, {replacement: (users.htpasswd(), 0o600)}, modified=now)
        with suppress(EngineError):  # an image without a program for it
            code, _ = engine.execute(container.id, ("mv", "-f", f"{spec.STORAGE}/{replacement}", spec.HTPASSWD))
            if code == 0:
                return
    engine.put_files(container.id, spec.STORAGE, {file: (users.htpasswd(), 0o600)}, modified=now)


def create_volume(engine: Engine, name: str) -> bool:
    """Create the volume of the registry ``name`` where there is none; returns whether it was created."""
    if engine.volume(spec.resource_name(name)) is not None:
        return False
    engine.create_volume(spec.resource_name(name), labels=spec.resource_labels(name))
    return True
