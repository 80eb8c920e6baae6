"""``up``: one registry of a name, used, started, recreated on its volume or created; it starts over after a concurrent change."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry_tool.base.address import HostPort
from registry_tool.base.errors import Conflict, NotFound, PortTaken, RegistryToolError, RegistryUnreachable, UsageError
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.engine.values import Container
from registry_tool.local.registry import lookup, machine, ports, recovery, serving, spec, upstream, volume_state
from registry_tool.local.registry.locks import lock
from registry_tool.local.registry.lookup import LocalRegistry
from registry_tool.local.registry.passwords import Auth, short_password
from registry_tool.local.registry.proxy import Proxy
from registry_tool.local.registry.readiness import wait_until_ready
from registry_tool.local.registry.serving import ServerTls, TlsFiles
from registry_tool.local.registry.volume_state import VolumeState

_TRIES, _PAUSE = 40, 0.05  # how often it starts over after a concurrent change, and the seconds in between


@dataclass(frozen=True, slots=True, kw_only=True)
class UpResult:
    """What ``up`` did. ``port_note`` says why the port is not the usual or remembered one, where it is not, or where it was before."""

    registry: LocalRegistry
    created: bool
    """Whether a container was created: there was none, or one of another configuration."""
    port_note: str | None = None
    upstream_problem: str | None = None
    """Why a proxy serves only what it has stored, where it does."""
    hosts: tuple[str, ...] = ()
    """``HOST:PORT`` by which other machines reach it."""
    certificate_note: str | None = None
    """What a person should know of its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMove:
    """A registry's change to another port. ``names`` of images on the engine begin with the address ``before``, and lead nowhere then."""

    name: str
    before: str
    after: str
    names: tuple[str, ...]


OnMove = Callable[[PortMove], None]
"""Called before a registry gets another port; what it raises leaves the registry as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _UpRequest:
    """Options of ``up``; None: as it is, or was."""

    engine: Engine
    image: Callable[[], str]
    name: str
    port: int | None
    auth: Auth | None
    restart: str | None
    proxy: Proxy | None
    state: Path
    on_move: OnMove | None
    listen: str | None = None
    tls: ServerTls | None = None
    names: tuple[str, ...] | None = None
    insecure: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether no option but the port is given."""
        return all(option is None for option in (self.auth, self.restart, self.proxy, self.listen, self.tls, self.names))

    def applied_to(self, state: VolumeState) -> VolumeState:
        """``state`` with these options, and with a new certificate where that is due. Raises UsageError where they are refused."""
        listen = self.listen or state.settings.listen
        tls = state.settings.tls if self.tls is None else self.tls.kind
        self._check_exposure(listen, tls, user=state.settings.user if self.auth is None else self.auth.user)
        if self.proxy is not None:
            state = upstream.apply(self.engine, self.name, self.proxy, state)
        settings = replace(
            state.settings,
            restart=self.restart or state.settings.restart,
            listen=listen,
            tls=tls,
            names=state.settings.names if self.names is None else self.names,
        )
        return replace(self._with_user(state, settings), tls=self._tls_files(state, settings))

    def _check_exposure(self, listen: str, tls: str | None, *, user: str | None) -> None:
        """Refuse to listen beyond loopback without a password and TLS, unless a person insists on it now, or did before."""
        if self.insecure or spec.is_loopback_ip(listen):
            return
        if self.auth is not None and self.auth.is_short:
            raise short_password()
        if self.listen is None and self.tls is None:
            return
        missing = [option for option, value in (("--auth USER", user), ("--tls", tls)) if value is None]
        if missing:
            raise UsageError(
                f"other machines could use a registry that listens at {listen} without {' and without '.join(missing)}",
                hint=f"Add {' and '.join(missing)}; --insecure takes the risk: whoever reaches it may read or change everything.",
            )

    def _tls_files(self, state: VolumeState, settings: spec.RegistrySettings) -> TlsFiles | None:
        if settings.tls == "ca":
            stored = state.tls if state.settings.tls == "ca" else None
            endpoint = self.engine.endpoint
            is_current = stored is not None and serving.is_current(stored, endpoint, settings)
            return stored if is_current else serving.issue(endpoint, settings, state=self.state)
        if settings.tls is None:
            return None
        files = self.tls.files if self.tls is not None else state.tls
        if files is None:
            raise Conflict(
                f"the certificate of the registry {self.name!r} is missing in its volume", hint="Give it again: --cert FILE --key FILE"
            )
        return files

    def _with_user(self, state: VolumeState, settings: spec.RegistrySettings) -> VolumeState:
        if self.auth is None:
            return replace(state, settings=settings)
        users = state.users
        if not self.auth.is_in(users) or state.settings.user != self.auth.user:
            # Of another name it replaces the one of before; users that `user add` added stay.
            users = users.with_user(self.auth, instead_of=state.settings.user)
        return replace(state, settings=replace(settings, user=self.auth.user), users=users)


class _ConcurrentChange(Exception):
    """Another process changed the container or volume meanwhile."""


def up(
    engine: Engine,
    *,
    image: Callable[[], str],
    name: str = spec.DEFAULT_NAME,
    port: int | None = None,
    auth: Auth | None = None,
    restart: str | None = None,
    proxy: Proxy | None = None,
    timeout: float = 30.0,
    state: Path,
    on_move: OnMove | None = None,
    listen: str | None = None,
    tls: ServerTls | None = None,
    names: tuple[str, ...] | None = None,
    insecure: bool = False,
    observer: Observer = SILENT,
) -> UpResult:
    """Start the registry ``name`` and wait until it is ready, ``timeout`` seconds at most.

    ``image`` is only called where a container is created. An option that is None stays as it is or was; at first the port is the next
    free one from 5000 on, and the restart policy ``unless-stopped``. ``state`` is the folder of the lock.

    A garbage collection of it that died is recovered first.

    Raises UsageError; PortTaken (which names the holder); Conflict (a container or volume of that name is another owner's, or its
    garbage is being collected); RegistryUnreachable; NotARegistry; and whatever ``image`` and the engine raise.
    """
    spec.check_name(name)
    if port is not None:
        spec.check_port(port)
    if restart is not None:
        spec.check_restart(restart)
    if proxy is not None:
        upstream.check(proxy)
    if listen is not None:
        listen = _check_listen(engine, listen)
    if names is not None:
        names = tuple(map(spec.check_tls_name, names))
    request = _UpRequest(
        engine=engine,
        image=image,
        name=name,
        port=port,
        auth=auth,
        restart=restart,
        proxy=proxy,
        state=state,
        on_move=on_move,
        listen=listen,
        tls=tls,
        names=names,
        insecure=insecure,
    )
    with lock(engine, name, state, observer):
        recovery.check_not_collected(engine, name, state=state, observer=observer)
        is_new = proxy is not None and engine.volume(spec.resource_name(name)) is None
        created, note = _ensure_started(request)
        current = lookup.find(engine, name)
        if created:
            upstream.rejoin(engine, name)
    if current is None:
        raise RegistryUnreachable(f"the registry {name!r} was removed while it came up", hint="Try again.")
    wait_until_ready(engine, current, timeout=timeout)
    problem = upstream.problem(engine, current)
    if problem is not None and is_new:
        with lock(engine, name, state, observer):
            remove(engine, current)
            upstream.leave(engine, name)
            engine.remove_volume(spec.resource_name(name), missing_ok=True)
        raise upstream.unusable(current, problem)
    current = replace(current, state="running")
    hosts, certificate_note = _reach(engine, current, state)
    return UpResult(
        registry=current, created=created, port_note=note, upstream_problem=problem, hosts=hosts, certificate_note=certificate_note
    )


def _check_listen(engine: Engine, listen: str) -> str:
    """The address for ``--listen``, which this machine must have if the engine is on it. Raises UsageError."""
    address = spec.parse_listen(listen)
    if engine.endpoint.is_local and not machine.is_local_address(address):
        raise UsageError(f"this machine has no address {address}", hint="--listen 0.0.0.0 is all its IPv4 addresses.")
    return address


def _reach(engine: Engine, registry: LocalRegistry, state: Path) -> tuple[tuple[str, ...], str | None]:
    """How others reach the registry, and the note about its certificate; this tool's own client trusts its authority then."""
    hosts = serving.hosts(engine, registry)
    lasting = {HostPort(host, registry.port) for host in machine.server_names(engine.endpoint, registry.listen)}
    shown = tuple(host for host in hosts if HostPort.parse(host) in lasting) or hosts
    info = serving.server_certificate(engine, registry)
    if info is None:
        return shown, None
    authority = serving.authority_certificate(engine, registry)
    if authority is not None:
        serving.remember_authority(authority, hosts, state=state)
    ours = [host.host for host in lasting if not host.is_loopback]
    if ours and not any(map(info.covers, ours)):
        return shown, f"its certificate is for {', '.join((*info.names, *info.addresses))}: for no name or address of this machine"
    if serving.is_ending(info):
        return shown, f"its certificate is valid until {info.not_after:%Y-%m-%d %H:%M} UTC"
    return shown, None


def replace_container(
    engine: Engine, current: LocalRegistry, stored: VolumeState, wanted: VolumeState, *, state: Path, timeout: float = 30.0
) -> None:
    """Replace a registry's container by one with the state ``wanted``, as ``up`` does; the caller has the registry's lock.

    Where that fails, it is created again as it was. Raises what :func:`up` raises.
    """
    request = _UpRequest(
        engine=engine,
        image=lambda: current.image,
        name=current.name,
        port=None,
        auth=None,
        restart=None,
        proxy=None,
        state=state,
        on_move=None,
    )
    _replace(request, current, stored, wanted)
    upstream.rejoin(engine, current.name)
    replaced = lookup.find(engine, current.name)
    if replaced is not None:
        wait_until_ready(engine, replaced, timeout=timeout)


def _ensure_started(request: _UpRequest) -> tuple[bool, str | None]:
    """Start the registry; returns whether a container was created, and the note about its port."""
    for _ in range(_TRIES):
        current = lookup.find(request.engine, request.name)
        try:
            return _create_new(request) if current is None else _reuse(request, current)
        except _ConcurrentChange:
            time.sleep(_PAUSE)
    raise Conflict(f"the registry {request.name!r} is removed as often as it is found", hint="Does another program clean up here?")


def _create_new(request: _UpRequest) -> tuple[bool, str | None]:
    """Create the container, on its volume where there is one."""
    image = request.image()
    try:
        stored = volume_state.read_volume(request.engine, request.name, image, state=request.state)
    except NotFound as error:
        if request.engine.image(image) is None:
            raise
        raise _ConcurrentChange from error
    if stored is not None and request.proxy is not None:
        upstream.check_same(request.name, request.proxy, stored.settings.proxy)
    note = _announce_move(request, stored.settings.port if stored else None)
    wanted = request.applied_to(stored or VolumeState(settings=spec.RegistrySettings.generate()))
    created, reason = _create(replace(request, listen=wanted.settings.listen), image, wanted)
    return created, reason or note


def _reuse(request: _UpRequest, current: LocalRegistry) -> tuple[bool, str | None]:
    """Use the container, start it, or replace it."""
    port_fits = current.port != 0 and request.port in (None, current.port)
    # The certificate of one with TLS may have to be renewed.
    if current.running and port_fits and request.changes_nothing and not current.tls:
        return False, None
    container = request.engine.container(current.container_id)
    if container is None:
        raise _ConcurrentChange
    stored = _read(request.engine, container)
    if request.proxy is not None:
        upstream.check_same(request.name, request.proxy, stored.settings.proxy)
    wanted = request.applied_to(stored)
    # Compose may run it without the password and the certificate that are in its volume.
    user_fits = request.auth is None or current.user == request.auth.user
    tls_fits = request.tls is None or current.tls == (wanted.settings.tls is not None)
    listen_fits = request.listen is None or current.listen == wanted.settings.listen
    unchanged = (
        port_fits and wanted == stored and user_fits and tls_fits and listen_fits and not _is_volume_missing(request.engine, current)
    )
    if unchanged and current.running:
        return False, None
    if unchanged and current.state in ("created", "exited"):
        try:
            _start(request.engine, container, current, stored)
        except PortTaken:
            held_by = _port_holder(request, current.port) or "something else"
            if request.port is not None:
                raise ports.port_taken(current.port, held_by) from None
            return _replace(request, current, stored, wanted)
        return False, None
    return _replace(request, current, stored, wanted)


def _is_volume_missing(engine: Engine, current: LocalRegistry) -> bool:
    """Whether the container can never start again: after a restart, docker may have one back that was removed with its volume."""
    return not current.running and bool(current.volume) and not current.volume.startswith("/") and engine.volume(current.volume) is None


def _read(engine: Engine, container: Container) -> VolumeState:
    try:
        return volume_state.read(engine, container)
    except NotFound as error:
        raise _ConcurrentChange from error


def _start(engine: Engine, container: Container, current: LocalRegistry, stored: VolumeState) -> None:
    try:
        if current.state == "created" and current.started_by != "compose":
            # An `up` that was killed may not have written them.
            volume_state.write(engine, container.id, stored.with_port(current.port))
        engine.start(container.id)
    except NotFound as error:
        raise _ConcurrentChange from error


def _replace(request: _UpRequest, current: LocalRegistry, stored: VolumeState, wanted: VolumeState) -> tuple[bool, str | None]:
    """Replace the container, on the same volume; where that fails, it is created again as it was."""
    if current.volume != spec.resource_name(request.name):
        raise Conflict(
            f"the registry's container {current.container_name} keeps its content in {current.volume or 'no volume'}, "
            f"not in {spec.resource_name(request.name)}: it was left as it is",
            hint="It can be used as it is (without --port, --auth, --restart), or changed where it was started from.",
        )
    if request.port is not None and request.port != current.port:
        _check_free(request, request.port)
    note = _announce_move(request, current.port, host=current.host)
    image = current.image if request.engine.image(current.image) is not None else request.image()
    remove(request.engine, current)
    try:
        created, reason = _create(
            replace(request, listen=wanted.settings.listen), image, wanted.with_port(request.port or current.port or wanted.settings.port)
        )
        return created, reason or note
    except RegistryToolError:
        if current.running:
            _create(replace(request, port=None), image, stored.with_port(current.port or None))
        raise


def _announce_move(request: _UpRequest, before: int | None, *, host: str = "localhost") -> str | None:
    """Call ``on_move`` where the registry was on another port; returns the note about it."""
    if not before or request.port in (None, before):
        return None
    move = PortMove(
        name=request.name,
        before=f"{host}:{before}",
        after=f"{host}:{request.port}",
        names=_names_at(request.engine, (f"{host}:{before}/", f"127.0.0.1:{before}/")),
    )
    if request.on_move is not None:
        request.on_move(move)
    return f"moved from {move.before} to {move.after}"


def _names_at(engine: Engine, beginnings: tuple[str, ...]) -> tuple[str, ...]:
    """The names of images that begin so; of an image without names, those by digest."""
    names = {name for image in engine.images() for name in image.names or image.digests if name.startswith(beginnings)}
    return tuple(sorted(names))


def remove(engine: Engine, current: LocalRegistry) -> None:
    """Stop a registry's container within ten seconds and remove it, if it is still there."""
    try:
        if current.running:
            engine.stop(current.container_id, timeout=10)
        engine.remove(current.container_id, force=True)
    except NotFound:
        return


def _create(request: _UpRequest, image: str, wanted: VolumeState) -> tuple[bool, str | None]:
    """Create the container and, where there is none, its volume, which is removed again where the container fails."""
    created = volume_state.create_volume(request.engine, request.name)
    try:
        return _create_on_port(request, image, wanted)
    except _ConcurrentChange:
        raise  # another process's container uses it now
    except BaseException:
        if created:
            with suppress(Conflict):  # another process uses it now
                request.engine.remove_volume(spec.resource_name(request.name), missing_ok=True)
        raise


def _create_on_port(request: _UpRequest, image: str, wanted: VolumeState) -> tuple[bool, str | None]:
    """Create the container on the given port, the remembered one, or the next free one."""
    remembered = wanted.settings.port
    taken: set[int] = set()
    note = None
    while True:
        port, reason = _choose_port(request, remembered, taken)
        note = note or reason
        if _create_and_start(request, image, port, wanted):
            return True, f"{note}; this registry is on {port}" if note else None
        # Taken meanwhile, or by something that only the engine sees.
        held_by = _port_holder(request, port) or "something else, according to the engine"
        if request.port is not None:
            raise ports.port_taken(port, held_by)
        taken.add(port)
        note = note or f"port {port} is in use by {held_by}"


def _choose_port(request: _UpRequest, remembered: int | None, taken: set[int]) -> tuple[int, str | None]:
    """The port to try, and why it is not the usual one."""
    if request.port is not None:
        _check_free(request, request.port)
        return request.port, None
    reason = None
    if remembered is not None and remembered not in taken:
        held_by = _port_holder(request, remembered)
        if held_by is None:
            return remembered, None
        reason = f"its port {remembered} is in use by {held_by}"
    # A stopped registry keeps its port.
    others = {other.port for other in lookup.find_all(request.engine) if other.name != request.name}
    port, held_by = ports.next_free(
        request.engine.containers(), local=request.engine.endpoint.is_local, listen=request.listen or spec.LOOPBACK, avoid=taken | others
    )
    if reason is None and held_by is not None:
        reason = f"port {spec.DEFAULT_PORT} is in use by {held_by}"
    return port, reason


def _check_free(request: _UpRequest, port: int) -> None:
    held_by = _port_holder(request, port)
    if held_by is not None:
        raise ports.port_taken(port, held_by)


def _port_holder(request: _UpRequest, port: int) -> str | None:
    listen = request.listen or spec.LOOPBACK
    return ports.holder(port, request.engine.containers(), local=request.engine.endpoint.is_local, listen=listen)


def _create_and_start(request: _UpRequest, image: str, port: int, wanted: VolumeState) -> bool:
    """Create and start; returns whether the port was free. A container that cannot start is removed again."""
    wanted = wanted.with_port(port)
    upstream.join(request.engine, request.name, wanted.settings.proxy)
    description = spec.container_spec(request.name, image=image, port=port, settings=wanted.settings)
    try:
        container = request.engine.create(description)
    except Conflict:
        raise _name_conflict(request) from None
    try:
        volume_state.write(request.engine, container.id, wanted)
        request.engine.start(container.id)
    except BaseException as error:
        request.engine.remove(container.id, force=True)
        if isinstance(error, PortTaken):
            return False
        raise
    return True


def _name_conflict(request: _UpRequest) -> Exception:
    """The error for a taken container name: by another ``up``, or by another owner."""
    name = spec.resource_name(request.name)
    holder = request.engine.container(name)
    if holder is None or spec.resource_labels(request.name).items() <= holder.labels.items():
        return _ConcurrentChange()
    return Conflict(
        f"a container of somebody else has the name {name}: it does not carry this tool's labels, and was not touched",
        hint="Take another name for the registry: regctl up --name NAME",
    )
