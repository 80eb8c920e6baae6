"""``up``: one registry of a name, running and answering, whatever was there before.

The walk is: look for it by its labels; use it, start it, or recreate it on its volume; where there is none, create it.
Everything that another ``up`` may do meanwhile shows as a conflict of names or as a container that is gone: then we look again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry_tool.base import files
from registry_tool.base.errors import Conflict, NotFound, PortTaken, RegistryToolError, RegistryUnreachable
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.values import Container
from registry_tool.local.registry import ports, registry, spec
from registry_tool.local.registry import volume_state as keeping
from registry_tool.local.registry.passwords import Auth
from registry_tool.local.registry.reach import wait_until_answering
from registry_tool.local.registry.registry import LocalRegistry
from registry_tool.local.registry.volume_state import VolumeState

_TRIES = 40
"""How often we look again after somebody else was faster, with pauses of 50 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """What ``up`` did. ``port_note`` says why the port is not the usual or remembered one, where it is not."""

    registry: LocalRegistry
    created: bool
    """A container was created: there was none, or not as it was asked for."""
    port_note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _UpRequest:
    """What was typed; None means: as it is, or as it was."""

    engine: Engine
    image: Callable[[], str]
    name: str
    port: int | None
    auth: Auth | None
    restart: str | None
    state: Path

    def over(self, kept: VolumeState) -> VolumeState:
        """``kept``, with what was asked for in its place."""
        settings = replace(kept.settings, restart=self.restart or kept.settings.restart)
        if self.auth is None:
            return replace(kept, settings=settings)
        known = kept.htpasswd is not None and self.auth.is_in(kept.htpasswd)
        return VolumeState(settings=replace(settings, user=self.auth.user), htpasswd=kept.htpasswd if known else self.auth.htpasswd())


class _LookAgain(Exception):
    """Somebody else changed what was found."""


def up(
    engine: Engine,
    *,
    image: Callable[[], str],
    name: str = spec.DEFAULT_NAME,
    port: int | None = None,
    auth: Auth | None = None,
    restart: str | None = None,
    timeout: float = 30.0,
    state: Path,
    observer: Observer = SILENT,
) -> Up:
    """Make the registry ``name`` run, and come back when it answers from here.

    ``image`` is only called where a container has to be created. What is None stays as it is or was; without any
    memory the port is the next free one from 5000 on and the restart policy ``unless-stopped``. ``timeout`` is in
    seconds, for the answer alone. ``state`` is the folder for the lock.

    Raises UsageError, PortTaken (which names the holder), Conflict (a container or volume of that name is somebody
    else's), RegistryUnreachable, NotARegistry, and whatever ``image`` and the engine raise.
    """
    spec.check_name(name)
    if port is not None:
        spec.check_port(port)
    if restart is not None:
        spec.check_restart(restart)
    asked = _UpRequest(engine=engine, image=image, name=name, port=port, auth=auth, restart=restart, state=state)
    with lock(engine, name, state, observer):
        created, note = _settle(asked)
        found = registry.find(engine, name)
    if found is None:
        raise RegistryUnreachable(f"the registry {name!r} was removed while it came up", hint="Try again.")
    wait_until_answering(engine, found, timeout=timeout)
    return Up(registry=replace(found, state="running"), created=created, port_note=note)


def lock(engine: Engine, name: str, state: Path, observer: Observer) -> AbstractContextManager[None]:
    """One ``up`` or ``down`` at a time for one registry of one engine."""
    which = hashlib.sha256(engine.id.encode()).hexdigest()[:12]
    waiting = f"waiting for another command that is busy with the registry {name!r}"
    return files.lock(state / f"registry-{which}-{name}.lock", waiting=lambda: observer.note(waiting))


def _settle(asked: _UpRequest) -> tuple[bool, str | None]:
    """(was a container created?, why this port?) when a container of the registry was started."""
    for _ in range(_TRIES):
        found = registry.find(asked.engine, asked.name)
        try:
            return _begin(asked) if found is None else _go_on(asked, found)
        except _LookAgain:
            time.sleep(0.05)
    raise Conflict(f"the registry {asked.name!r} goes as often as it is found", hint="Look for another program that cleans up here.")


def _begin(asked: _UpRequest) -> tuple[bool, str | None]:
    """There is no container: create one, on the volume where there is one."""
    image = asked.image()
    try:
        kept = keeping.read_volume(asked.engine, asked.name, image, state=asked.state)
    except NotFound as error:
        if asked.engine.image(image) is None:
            raise
        raise _LookAgain from error
    return _create(asked, image, asked.over(kept or VolumeState(settings=spec.RegistrySettings.fresh())))


def _go_on(asked: _UpRequest, found: LocalRegistry) -> tuple[bool, str | None]:
    """There is a container: use it, start it, or put another in its place."""
    port_fits = found.port != 0 and asked.port in (None, found.port)
    if found.running and port_fits and asked.auth is None and asked.restart is None:
        return False, None
    container = asked.engine.container(found.container_id)
    if container is None:
        raise _LookAgain
    kept = _read(asked.engine, container)
    wanted = asked.over(kept)
    # Compose may run it without the password that its volume remembers.
    others_let_in = asked.auth is not None and found.user != asked.auth.user
    as_asked = port_fits and wanted == kept and not others_let_in
    if as_asked and found.running:
        return False, None
    if as_asked and found.state in ("created", "exited"):
        try:
            _start(asked.engine, container, found, kept)
        except PortTaken:
            held_by = _holder(asked, found.port) or "something else"
            if asked.port is not None:
                raise ports.taken(found.port, held_by) from None
            return _replace(asked, found, kept, wanted)
        return False, None
    return _replace(asked, found, kept, wanted)


def _read(engine: Engine, container: Container) -> VolumeState:
    try:
        return keeping.read(engine, container)
    except NotFound as error:
        raise _LookAgain from error


def _start(engine: Engine, container: Container, found: LocalRegistry, kept: VolumeState) -> None:
    try:
        if found.state == "created" and found.started_by != "compose":
            # An `up` that was killed got no further; written again they are the same.
            keeping.write(engine, container.id, replace(kept, settings=replace(kept.settings, port=found.port)))
        engine.start(container.id)
    except NotFound as error:
        raise _LookAgain from error


def _replace(asked: _UpRequest, found: LocalRegistry, kept: VolumeState, wanted: VolumeState) -> tuple[bool, str | None]:
    """Another container on the same volume; where it cannot be had, the one that was there comes back."""
    if found.volume != spec.thing_name(asked.name):
        raise Conflict(
            f"the registry's container {found.container_name} keeps its content in {found.volume or 'no volume'}, "
            f"not in {spec.thing_name(asked.name)}: it was left as it is",
            hint="It can be used as it is (without --port, --auth, --restart), or changed where it was started from.",
        )
    if asked.port is not None and asked.port != found.port:
        held_by = _holder(asked, asked.port)
        if held_by is not None:
            raise ports.taken(asked.port, held_by)
    port = asked.port or found.port or wanted.settings.port
    remove(asked.engine, found)
    try:
        return _create(asked, found.image, replace(wanted, settings=replace(wanted.settings, port=port)))
    except RegistryToolError:
        if found.running:
            _create(replace(asked, port=None), found.image, replace(kept, settings=replace(kept.settings, port=found.port or None)))
        raise


def remove(engine: Engine, found: LocalRegistry) -> None:
    """Stop a registry's container, giving it ten seconds to write what it has, and remove it. Gone already is fine."""
    try:
        if found.running:
            engine.stop(found.container_id, timeout=10)
        engine.remove(found.container_id, force=True)
    except NotFound:
        return


def _create(asked: _UpRequest, image: str, wanted: VolumeState) -> tuple[bool, str | None]:
    """A container and, where there is none, its volume; where the container cannot be had, no new volume stays either."""
    made = keeping.make_volume(asked.engine, asked.name)
    try:
        return _on_a_port(asked, image, wanted)
    except _LookAgain:
        raise  # somebody else's container uses it now
    except BaseException:
        if made:
            with suppress(Conflict):  # somebody else was faster and uses it
                asked.engine.remove_volume(spec.thing_name(asked.name), missing_ok=True)
        raise


def _on_a_port(asked: _UpRequest, image: str, wanted: VolumeState) -> tuple[bool, str | None]:
    """A container on the port that was asked for, the remembered one, or the next free one."""
    remembered = wanted.settings.port
    lost: set[int] = set()
    note = None
    while True:
        port, reason = _port(asked, remembered, lost)
        note = note or reason
        if _started(asked, image, port, wanted):
            return True, f"{note}; this registry is on {port}" if note else None
        # Somebody was faster than us, or the engine sees what we cannot.
        held_by = _holder(asked, port) or "something else, says the engine"
        if asked.port is not None:
            raise ports.taken(port, held_by)
        lost.add(port)
        note = note or f"port {port} is held by {held_by}"


def _port(asked: _UpRequest, remembered: int | None, lost: set[int]) -> tuple[int, str | None]:
    """(the port to try, why it is not the usual one)."""
    if asked.port is not None:
        held_by = _holder(asked, asked.port)
        if held_by is not None:
            raise ports.taken(asked.port, held_by)
        return asked.port, None
    reason = None
    if remembered is not None and remembered not in lost:
        held_by = _holder(asked, remembered)
        if held_by is None:
            return remembered, None
        reason = f"its port {remembered} is held by {held_by}"
    # A registry that is stopped wants its port again.
    others = {other.port for other in registry.find_all(asked.engine) if other.name != asked.name}
    port, held_by = ports.next_free(asked.engine.containers(), here=asked.engine.endpoint.is_local, avoid=lost | others)
    if reason is None and held_by is not None:
        reason = f"port {spec.FIRST_PORT} is held by {held_by}"
    return port, reason


def _holder(asked: _UpRequest, port: int) -> str | None:
    return ports.holder(port, asked.engine.containers(), here=asked.engine.endpoint.is_local)


def _started(asked: _UpRequest, image: str, port: int, wanted: VolumeState) -> bool:
    """Create and start; False where the port was taken. What was created and cannot start is removed again."""
    wanted = replace(wanted, settings=replace(wanted.settings, port=port))
    description = spec.container_spec(asked.name, image=image, port=port, settings=wanted.settings)
    try:
        container = asked.engine.create(description)
    except Conflict:
        raise _conflict(asked) from None
    try:
        keeping.write(asked.engine, container.id, wanted)
        asked.engine.start(container.id)
    except PortTaken:
        asked.engine.remove(container.id, force=True)
        return False
    except BaseException:
        asked.engine.remove(container.id, force=True)
        raise
    return True


def _conflict(asked: _UpRequest) -> Exception:
    """The container's name is taken: by another ``up`` that was faster, or by somebody else."""
    name = spec.thing_name(asked.name)
    holder = asked.engine.container(name)
    if holder is None or spec.thing_labels(asked.name).items() <= holder.labels.items():
        return _LookAgain()
    return Conflict(
        f"a container of somebody else has the name {name}: it does not carry this tool's labels, and was not touched",
        hint="Take another name for the registry: regctl up --name NAME",
    )
