"""The engine's containers: create, inspect, exec, read, stop, remove."""

from __future__ import annotations

import io
import posixpath
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import Conflict, EngineError, EngineTimeout, NotFound, PortTaken, RegistryToolError, UsageError
from registry_tool.engine import published_ports
from registry_tool.engine.engine_errors import PORT_HINT, create_error, start_error
from registry_tool.engine.exit_wait import REMOVAL_TIMEOUT, ExitWait, PodmanRemovalWait
from registry_tool.engine.image_names import familiar, stored_name
from registry_tool.engine.images import merged_filters, rfc3339
from registry_tool.engine.streams import demultiplex
from registry_tool.engine.values import Container, PortBinding, Privileges

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient
    from registry_tool.engine.specs import ContainerSpec, Mount

_MAX_LINKS = 5
_LINKS_WITHOUT_END = ("too many links", "too many levels of symbolic links")  # docker's message, and podman's
_HAS_DEPENDENTS = "has dependent containers"  # podman's message; docker removes what others depend on
_PODMAN_UNMASKED = ("unmask=ALL",)  # podman's interface does not take the lists of masked paths
_NAMESPACES = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode"}
_LOG_SETTLES, _LOG_PAUSE = 1.0, 0.1  # seconds that the end of a log is waited for, and between two reads of it
_LONGEST_TAIL, _LONGEST_LINE = 64 << 10, 500  # bytes of a log's end that are kept, and characters of a line


class Containers:
    """The engine's containers. A part of :class:`~registry_tool.engine.engine.Engine`."""

    _client: EngineClient

    def container(self, name_or_id: str) -> Container | None:
        """The container of that name or id; None where there is none."""
        if not name_or_id.strip("/"):
            return None  # without a name the engine lists all
        try:
            with self._client.call(f"looking at the container {name_or_id}") as api:
                return of_inspection(api.inspect_container(name_or_id))
        except NotFound:
            return None

    def containers(
        self, *, all: bool = False, labels: Mapping[str, str] = {}, filters: Mapping[str, Sequence[str]] = {}
    ) -> tuple[Container, ...]:
        """The running containers, or ``all``, newest first. A listing has no environment, host name, exit code."""
        with self._client.call("listing the containers") as api:
            entries = api.containers(all=all, filters=merged_filters(labels, filters))
        return tuple(_of_listing(entry) for entry in entries)

    def create(self, spec: ContainerSpec) -> Container:
        """Create a container without starting it. Raises NotFound (no such image), Conflict (the name is taken), EngineError."""
        spec = replace(spec, image=stored_name(self._client, spec.image))
        try:
            with self._client.call(f"creating a container of {spec.image}") as api:
                config = configuration(spec, podman=api.is_podman)
                created: Any = api.create_container_from_config(config, spec.name, spec.platform)  # type: ignore[no-untyped-call]
        except RegistryToolError as error:
            raise create_error(error, image=familiar(spec.image), name=spec.name) from error
        container = self.container(created["Id"])
        if container is None:
            raise NotFound(f"the container {created['Id'][:12]} is gone")
        return container

    def start(self, id: str) -> None:
        """Start a container. Raises NotFound; PortTaken; EngineError for a command that cannot run."""
        self._check_ports(id)
        try:
            with self._client.call(f"starting the container {id}") as api:
                api.start(id)
        except RegistryToolError as error:
            raise start_error(error) from error

    def run(self, spec: ContainerSpec) -> Container:
        """Create and start; where the start fails, the container is removed again. Raises what :meth:`create` and :meth:`start` raise."""
        created = self.create(spec)
        try:
            self.start(created.id)
        except BaseException:
            self.remove(created.id, force=True, missing_ok=True)
            raise
        # With ``remove``, a container that ended at once is gone already.
        return self.container(created.id) or created

    def stop(self, id: str, *, timeout: int = 10) -> None:
        """Send the stop signal, and SIGKILL after ``timeout`` seconds. Raises NotFound."""
        with self._client.call(f"stopping the container {id}") as api:
            api.stop(id, timeout=timeout)

    def restart(self, id: str, *, timeout: int = 10) -> None:
        """Stop it as :meth:`stop` does, and start it again. Raises NotFound; what :meth:`start` raises."""
        try:
            with self._client.call(f"restarting the container {id}") as api:
                api.restart(id, timeout=timeout)
        except RegistryToolError as error:
            raise start_error(error) from error

    def kill(self, id: str, *, signal: str = "KILL") -> None:
        """Send a signal. Raises NotFound; Conflict where it is not running; UsageError where the engine knows no such signal."""
        try:
            with self._client.call(f"killing the container {id}") as api:
                api.kill(id, signal)
        except EngineError as error:
            if "invalid signal" not in error.message.lower():
                raise
            raise UsageError(f"{signal} is not a signal to the engine", hint="For example: TERM, HUP, 9.") from error

    def remove(self, id: str, *, force: bool = False, missing_ok: bool = False) -> None:
        """Remove it with its anonymous volumes. Raises NotFound unless ``missing_ok``; Conflict where it runs, unless ``force``."""
        try:
            with self._client.call(f"removing the container {id}", missing_ok=missing_ok) as api:
                api.remove_container(id, v=True, force=force)
        except (Conflict, EngineError) as error:
            if _HAS_DEPENDENTS in error.message:
                raise Conflict(error.message, hint="Remove those first: they share its network or its volumes.") from error
            if "already in progress" not in error.message:
                raise
            # Polled: an engine that is asked to wait for a removal which is nearly done may never respond (Docker 20.10).
            if not poll(lambda: self.container(id) is None, Deadline(REMOVAL_TIMEOUT)):
                message = f"the container {id[:12]} is still being removed after {REMOVAL_TIMEOUT} s"
                raise EngineTimeout(message, hint="Try again.") from None

    def wait(self, id: str, *, timeout: float | None = None) -> int:
        """Wait until it has ended; returns its exit code. Raises NotFound; EngineTimeout after ``timeout`` seconds."""
        with self._client.call(f"waiting for the container {id}") as api:
            # The SDK's type says int; requests takes any number.
            ended: Any = api.wait(id, timeout=timeout)  # type: ignore[arg-type]
        return int(ended["StatusCode"])

    def begin_wait(self, id: str, *, removed: bool) -> ExitWait:
        """Begin to wait for its next exit, or with ``removed`` for its removal. To be called before the start. Raises NotFound."""
        with self._client.call(f"waiting for the container {id}") as api:
            if removed and api.is_podman:
                return PodmanRemovalWait(self._client, id, api.begin_wait(id, condition="next-exit"))
            return ExitWait(self._client, id, api.begin_wait(id, condition="removed" if removed else "next-exit"))

    def logs(
        self, id: str, *, follow: bool = False, tail: int | None = None, since: str | None = None, timestamps: bool = False
    ) -> Iterator[tuple[str, bytes]]:
        """Yield ``("stdout" | "stderr", chunk)`` of its log: the last ``tail`` lines, or all; ``since`` Unix seconds. Raises NotFound."""
        with self._client.call(f"reading the log of {id}") as api:
            tty = bool(api.inspect_container(id)["Config"]["Tty"])
        if since is not None and self._client.api.is_podman:
            since = since.partition(".")[0]  # a fraction makes it leave out later lines
        chunks = self._client.stream(
            f"reading the log of {id}", lambda api: api.log_stream(id, follow=follow, tail=tail, since=since, timestamps=timestamps)
        )
        if tty:
            return (("stdout", chunk) for chunk in chunks)
        return demultiplex(chunks)

    def log_tail(self, id: str, lines: int, *, settle: bool = True) -> tuple[str, ...]:
        """The last non-empty ``lines`` of its log, if any; with ``settle`` it is read until nothing is added, for a second at most."""
        deadline = Deadline(_LOG_SETTLES)
        try:
            before, content = b"", self._log_end(id, lines)
            while settle and not (content and content == before) and not deadline.passed:
                time.sleep(_LOG_PAUSE)
                before, content = content, self._log_end(id, lines)
        except (NotFound, Conflict, EngineError):
            return ()
        return tuple(line[:_LONGEST_LINE] for line in content.decode(errors="replace").splitlines() if line.strip())[-lines:]

    def bytes_written(self, id: str) -> int:
        """Bytes that it wrote into its own file system, volumes left out. Slow: the engine reads all of it."""
        with self._client.call(f"measuring the container {id}") as api:
            entries: Any = api.containers(all=True, size=True, filters={"id": id})
        return int(entries[0].get("SizeRw") or 0) if entries else 0

    def put_files(self, id: str, folder: str, files: Mapping[str, tuple[bytes, int]], *, modified: float | None = None) -> None:
        """Write ``files`` (name -> content and mode) below the existing ``folder``; also before the start, also on volumes.

        ``modified`` is their time (seconds since 1970), by default now in whole seconds.
        """
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, (content, mode) in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(content), mode, modified or int(time.time())
                tar.addfile(member, io.BytesIO(content))
            # Without what fills the last record: podman's reader ends at the two empty blocks, and whoever writes more may fail.
            end = tar.offset + 2 * tarfile.BLOCKSIZE
        self.put_archive(id, folder, buffer.getvalue()[:end])

    def put_archive(self, id: str, folder: str, archive: bytes) -> None:
        """Unpack a tar below the existing ``folder``; also before the start, also on volumes."""
        with self._client.call(f"writing into the container {id}") as api:
            api.put_archive(id, folder, archive)

    def get_file(self, id: str, path: str) -> bytes | None:
        """The content of a file inside, links followed; None where there is no such file. Raises NotFound (no such container)."""
        cut: tarfile.ReadError | None = None
        for _ in range(_MAX_LINKS):
            try:
                with self._client.call(f"reading {path} in the container {id}") as api:
                    chunks, _stat = api.get_archive(id, path)
                    content = b"".join(chunks)
            except NotFound as error:
                if "no such container" in error.message.lower():
                    raise
                return None
            except EngineError as error:
                if any(words in error.message for words in _LINKS_WITHOUT_END):
                    return None
                raise
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    member = tar.next()
                    if member is not None and member.issym():
                        path = posixpath.join(posixpath.dirname(path), member.linkname)
                        continue
                    stream = tar.extractfile(member) if member is not None else None
                    return stream.read() if stream is not None else None
            except tarfile.ReadError as error:
                cut = error  # the file became shorter while the engine read it: what is there now is read
        if cut is not None:
            raise EngineError(f"{path} in the container {id} could not be read: {cut}")
        return None

    def _check_ports(self, id: str) -> None:
        """Raise PortTaken where another container has a port that ``id`` publishes, before podman does.

        What its network's program (netavark 1.4) takes back then are rules of the other container, too, which loses its port.
        """
        starting = self.container(id) if self._client.api.is_podman else None
        if starting is None or starting.running or not starting.ports:
            return
        for other in self.containers():
            taken = published_ports.find_conflict(starting.ports, other.ports) if other.id != starting.id else None
            if taken is not None:
                raise PortTaken(f"port {taken.host_port} is taken by the container {other.name}", hint=PORT_HINT)

    def _log_end(self, id: str, lines: int) -> bytes:
        content = b""
        for _, chunk in self.logs(id, tail=lines):
            content = (content + chunk)[-_LONGEST_TAIL:]
        return content


def configuration(spec: ContainerSpec, *, podman: bool = False) -> dict[str, Any]:
    """``spec`` as the body of ContainerCreate (Engine API), for ``podman`` as it takes it. Raises UsageError where a port is not one."""
    config: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": list(spec.command) or None,
        "Entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "Env": [f"{key}={value}" for key, value in spec.environment.items()],
        "Labels": dict(spec.labels),
        "ExposedPorts": {binding.container_port: {} for binding in spec.ports},
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Volumes": {bind: {} for bind in spec.binds if ":" not in bind} or None,
        "Tty": spec.tty,
        "OpenStdin": spec.interactive,
        "StdinOnce": spec.interactive,
        "AttachStdin": spec.interactive,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _host_configuration(spec, podman=podman),
    }
    if spec.network and spec.network not in ("host", "none", "default") and not spec.network.startswith("container:"):
        config["NetworkingConfig"] = {"EndpointsConfig": {spec.network: {"Aliases": list(spec.aliases)}}}
    return {key: value for key, value in config.items() if value is not None}


def _host_configuration(spec: ContainerSpec, *, podman: bool) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for binding in spec.ports:
        published_ports.check(binding)
        address = {"HostIp": binding.host_ip, "HostPort": published_ports.host_ports(binding)}
        bindings.setdefault(binding.container_port, []).append(address)
    policy, _, retries = spec.restart.partition(":")
    suffix = ":ro" if spec.read_only_volumes else ""
    security = (*spec.security_opt, *(_PODMAN_UNMASKED if spec.unmasked and podman else ()))
    host: dict[str, Any] = {
        "PortBindings": bindings,
        "PublishAllPorts": spec.publish_all,
        "Binds": [
            *(f"{volume}:{destination}{suffix}" for volume, destination in spec.volumes.items()),
            *(bind for bind in spec.binds if ":" in bind),
        ],
        "Mounts": [_mount(mount) for mount in spec.mounts] or None,
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(retries or 0)},
        "AutoRemove": spec.remove,
        "NetworkMode": spec.network,
        "ConsoleSize": list(spec.terminal_size) if spec.terminal_size else None,
        **_limits(spec),
        "Privileged": spec.privileged or None,
        "CapAdd": list(spec.cap_add) or None,
        "SecurityOpt": list(security) or None,
        "DeviceCgroupRules": list(spec.device_rules) or None,
        "CgroupnsMode": spec.cgroupns,
        # An empty list is not the same as none.
        "MaskedPaths": [] if spec.unmasked else None,
        "ReadonlyPaths": [] if spec.unmasked else None,
    }
    return {key: value for key, value in host.items() if value is not None}


def _mount(mount: Mount) -> dict[str, Any]:
    options = {f"{mount.type.capitalize()}Options": dict(mount.options)} if mount.options else {}
    return {"Type": mount.type, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only, **options}


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    files = {"Name": "fsize", "Soft": spec.file_size, "Hard": spec.file_size}
    # Two files: the older one is deleted when the newer is full, so the last lines are always there.
    log = {"max-size": str((spec.log_size or 0) // 2), "max-file": "2"}
    return {
        "Memory": spec.memory,
        "MemorySwap": None if spec.swap else spec.memory,
        "PidsLimit": spec.processes,
        "LogConfig": {"Type": "json-file", "Config": log} if spec.log_size else None,
        "Ulimits": [files] if spec.file_size else None,
    }


_DOCKER_STATES = {"configured": "created", "initialized": "created", "stopping": "running", "stopped": "exited"}
"""Podman's states between docker's: one that is ``stopped`` has ended, with its exit code, and is not cleaned up yet."""


def _docker_state(state: str) -> str:
    return _DOCKER_STATES.get(state, state)


def of_inspection(entry: Mapping[str, Any]) -> Container:
    """The container of an inspection's document (Engine API, ContainerInspect)."""
    config, state = entry.get("Config") or {}, entry.get("State") or {}
    settings = entry.get("NetworkSettings") or {}
    status = _docker_state(state.get("Status") or "")
    return Container(
        id=entry["Id"],
        name=(entry.get("Name") or "").lstrip("/"),
        image=familiar(config.get("Image") or ""),
        image_id=entry.get("Image") or "",
        state=status,
        created=entry.get("Created") or "",
        command=tuple(config.get("Cmd") or ()),
        labels=config.get("Labels") or {},
        # A container that does not run publishes nothing: then these are the ports it was created with.
        ports=_bound(settings.get("Ports") or {}) or _bound((entry.get("HostConfig") or {}).get("PortBindings") or {}),
        environment=tuple(config.get("Env") or ()),
        mounts=_mounts(entry),
        networks=_networks(settings, mode=str((entry.get("HostConfig") or {}).get("NetworkMode") or "")),
        hostname=config.get("Hostname") or "",
        exit_code=state.get("ExitCode") if status in ("exited", "dead") else None,
        entrypoint=_as_tuple(config.get("Entrypoint")),
        user=config.get("User") or "",
        out_of_memory=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        privileges=_privileges(entry),
        health_command=_health_command(config),
    )


def _of_listing(entry: Mapping[str, Any]) -> Container:
    return Container(
        id=entry["Id"],
        # A linked container has further names, "/other/alias": its proper one has one slash.
        name=next((name.lstrip("/") for name in entry.get("Names") or () if name.count("/") <= 1), ""),
        image=familiar(entry.get("Image") or ""),
        image_id=entry.get("ImageID") or "",
        state=_docker_state(entry.get("State") or ""),
        status=entry.get("Status") or "",
        created=rfc3339(entry.get("Created")),
        command=(entry["Command"],) if entry.get("Command") else (),
        labels=entry.get("Labels") or {},
        ports=tuple(
            PortBinding(
                container_port=f"{port['PrivatePort']}/{port.get('Type') or 'tcp'}",
                host_port=port["PublicPort"],
                host_ip=port.get("IP") or "",
            )
            for port in entry.get("Ports") or ()
            if port.get("PublicPort")
        ),
        mounts=_mounts(entry),
        networks=_networks(entry.get("NetworkSettings") or {}, mode=str((entry.get("HostConfig") or {}).get("NetworkMode") or "")),
    )


def _bound(ports: Mapping[str, Any]) -> tuple[PortBinding, ...]:
    return tuple(
        PortBinding(container_port=container_port, host_port=int(address["HostPort"]), host_ip=address.get("HostIp") or "")
        for container_port, addresses in ports.items()
        for address in addresses or ()
        if str(address.get("HostPort") or "").isdigit()
    )


def _mounts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {
        mount["Destination"]: mount.get("Name") or mount.get("Source") or ""
        for mount in entry.get("Mounts") or ()
        if isinstance(mount, dict) and mount.get("Destination")
    }


def _privileges(entry: Mapping[str, Any]) -> Privileges:
    host = entry.get("HostConfig") or {}
    return Privileges(
        network=host.get("NetworkMode") or "",
        privileged=bool(host.get("Privileged")),
        capabilities=tuple(host.get("CapAdd") or ()),
        binds=tuple(mount["Destination"] for mount in entry.get("Mounts") or () if mount and mount.get("Type") == "bind"),
        devices=tuple(device.get("PathInContainer") or "" for device in host.get("Devices") or ()),
        namespaces=tuple(name for name, mode in _NAMESPACES.items() if host.get(mode) == "host"),
    )


def _health_command(config: Mapping[str, Any]) -> tuple[str, ...]:
    """``Healthcheck.Test`` as a command: ``["CMD", …]``, ``["CMD-SHELL", TEXT]``, ``["NONE"]``."""
    kind, *words = (config.get("Healthcheck") or {}).get("Test") or ("NONE",)
    if kind not in ("CMD", "CMD-SHELL") or not words:
        return ()
    shell = (config.get("Shell") or ("/bin/sh", "-c")) if kind == "CMD-SHELL" else ()
    return (*shell, *words)


def _as_tuple(value: Any) -> tuple[str, ...]:
    # podman's interface has a single string for some of these.
    return (value,) if isinstance(value, str) and value else tuple(value or ())


def _networks(settings: Mapping[str, Any], *, mode: str) -> dict[str, str]:
    if mode.startswith("container:"):
        return {}  # podman lists those of the container whose network it is in
    return {name: (entry or {}).get("IPAddress") or "" for name, entry in (settings.get("Networks") or {}).items()}
