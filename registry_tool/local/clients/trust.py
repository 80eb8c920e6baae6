"""What the clients of a registry need to trust the authority of its certificate: files, planned first and written then.

Places: docker and podman ``certs.d`` (man docker-certs.d, containers-certs.d), containerd's hosts.toml (docs/hosts.md), the system's store.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from registry_tool.base import files
from registry_tool.base.crypto import certificates
from registry_tool.base.errors import Conflict, RegistryToolError, UsageError
from registry_tool.engine import Engine
from registry_tool.local.clients import nodes

CLIENTS = ("regctl", "docker", "podman", "system", "containerd", "kind", "k3d", "insecure")
"""``podman`` is skopeo and buildah, too; ``insecure`` is docker without any check of certificates, the last resort."""
_CERTIFICATE = "registry-tool.crt"  # beside what others put there: each *.crt in the folder counts
HEAD = "# Written by regctl.\n"
"""The first line of files that are this tool's as a whole, and may be written anew."""
_UPDATE_TIMEOUT = 120.0
_STORES = (
    ("usr/local/share/ca-certificates", ("update-ca-certificates",)),  # Debian, Alpine
    ("etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract")),  # Fedora
    ("usr/share/pki/trust/anchors", ("update-ca-certificates",)),  # openSUSE
)

State = Literal["missing", "present", "written", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPaths:
    """Where the machine's files are: ``root`` is ``/``, ``home`` the user's folder, ``config`` docker's; ``is_root``: for all users."""

    root: Path = Path("/")
    home: Path = field(default_factory=Path.home)
    config: Path = field(default_factory=lambda: Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"))
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    def has_program(self, *names: str) -> bool:
        """Whether one of these programs is on this machine."""
        return any(shutil.which(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFile:
    """A file that ``client`` needs. ``command`` has to be run after it was written, by a user who may; ``note`` says what to know."""

    JSON_MEMBERS: ClassVar = "client node path content state command note error?"
    client: str
    path: Path
    node: str | None = None
    """The container of a cluster's node that the file is in; None: on this machine."""
    content: str
    state: State = "missing"
    command: str | None = None
    note: str | None = None
    error: str | None = None

    @property
    def shell(self) -> str:
        """The commands that write it, for a shell of a user who may."""
        folder, path = shlex.quote(str(self.path.parent)), shlex.quote(str(self.path))
        if self.node is not None:
            inside = shlex.quote(f"mkdir -p {folder} && cat >{path}")
            return f"printf %s {shlex.quote(self.content)} | docker exec -i {self.node} sh -c {inside}"
        lines = [f"sudo mkdir -p {folder}", f"printf %s {shlex.quote(self.content)} | sudo tee {path} >/dev/null"]
        return "\n".join([*lines, *([f"sudo {self.command}"] if self.command else [])])


def read_authorities(content: bytes, name: str) -> bytes:
    """The certificates of a PEM file, without whatever else is in it. Raises UsageError for a private key, or no certificate."""
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{name} has a private key in it, which no client may have", hint="Give the certificate of the authority alone.")
    try:
        return b"".join(info.pem for info in certificates.parse_all(content))
    except certificates.InvalidCertificate as error:
        raise UsageError(f"{name}: {error}", hint="It has to be a PEM file, which begins with -----BEGIN CERTIFICATE-----.") from None


def plan(
    hosts: Sequence[str], authorities: bytes, clients: Iterable[str], paths: ClientPaths, *, engine: Callable[[], Engine] | None = None
) -> tuple[ClientFile, ...]:
    """What the ``clients`` of the registry at ``hosts`` (``HOST[:PORT]``) need on this machine; reads files and writes none.

    ``engine`` has the nodes of kind and k3d, and is only called for these.

    Raises Conflict where a file of somebody else is in the way, RegistryToolError where one cannot be read.
    """
    pem = authorities.decode("ascii")
    planned: list[ClientFile] = []
    for client in dict.fromkeys(clients):
        if client == "insecure":
            planned.append(_insecure(hosts, paths))
        elif client == "system":
            planned.append(_certificate(client, hosts[0], pem, paths))
        elif client in nodes.KINDS:
            if engine is None:
                raise UsageError(f"{client} needs an engine")
            for node in nodes.find(engine(), client):
                folder = nodes.KINDS[client].folder
                planned += [replace(each, node=node.name) for host in hosts for each in containerd(host, pem, folder, client=client)]
        elif client == "containerd":
            planned += [each for host in hosts for each in containerd(host, pem, paths.root / "etc/containerd/certs.d")]
        else:
            planned += [_certificate(client, host, pem, paths) for host in hosts]
    return tuple(with_state(each, engine) for each in planned)


def usual_clients(paths: ClientPaths) -> tuple[str, ...]:
    """The clients that are on this machine and have a place for authorities of one registry alone."""
    programs = {"docker": ("docker", "dockerd"), "podman": ("podman", "skopeo", "buildah"), "containerd": ("nerdctl", "k3s")}
    return ("regctl", *(client for client, names in programs.items() if paths.has_program(*names)))


def apply(
    planned: Iterable[ClientFile], *, engine: Engine | None = None, run: Callable[[Sequence[str]], None] | None = None
) -> tuple[ClientFile, ...]:
    """Write what is missing, each file atomically; what fails is in ``error``, and does not keep the others from being written.

    ``engine`` has the nodes; ``run`` runs the commands that follow, None: on this machine.
    """
    return tuple(_apply(each, engine, run or _run) for each in planned)


def containerd(host: str, pem: str, folder: Path, *, client: str = "containerd") -> list[ClientFile]:
    """Files of containerd in ``folder``."""
    toml = f'{HEAD}server = "https://{host}"\n\n[host."https://{host}"]\n  ca = "{folder}/{host}/{_CERTIFICATE}"\n'
    note = f'Its configuration has to have config_path = "{folder}".' if client == "containerd" else None
    return [
        ClientFile(client=client, path=folder / host / _CERTIFICATE, content=pem),
        ClientFile(client=client, path=folder / host / "hosts.toml", content=toml, note=note),
    ]


def _certificate(client: str, host: str, pem: str, paths: ClientPaths) -> ClientFile:
    if client == "system":
        folder, words = next(((paths.root / folder, words) for folder, words in _STORES if (paths.root / folder).is_dir()), (None, ()))
        if folder is None:
            folder, words = paths.root / _STORES[0][0], _STORES[0][1]
        name = f"registry-tool-{host.replace(':', '-').strip('[]')}.crt"
        note = "Engines and other programs that run have to be started again."
        return ClientFile(client=client, path=folder / name, content=pem, command=" ".join(words), note=note)
    folders = {
        "regctl": paths.config / "certs.d",
        "docker": paths.root / "etc/docker/certs.d",
        "podman": paths.root / "etc/containers/certs.d" if paths.is_root else paths.home / ".config/containers/certs.d",
    }
    return ClientFile(client=client, path=folders[client] / host / _CERTIFICATE, content=pem)


def _insecure(hosts: Sequence[str], paths: ClientPaths) -> ClientFile:
    """``daemon.json`` with the hosts among its insecure registries, and all else in it as it is."""
    path = paths.root / "etc/docker/daemon.json"
    try:
        document = json.loads(path.read_bytes() or b"{}") if path.exists() else {}
        if not isinstance(document, dict) or not isinstance(document.setdefault("insecure-registries", []), list):
            raise ValueError("it is not an object with a list insecure-registries")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RegistryToolError(f"{path} cannot be read: {reason}", hint="Repair it: dockerd does not start with it either.") from None
    missing = [host for host in hosts if host not in document["insecure-registries"]]
    if not missing:
        return ClientFile(client="insecure", path=path, content=path.read_text(encoding="utf-8"))
    document["insecure-registries"] += missing
    return ClientFile(
        client="insecure",
        path=path,
        content=json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        command="systemctl reload docker",
        note="Whoever is on the way to the registry can read and change everything, passwords too: a last resort.",
    )


def with_state(file: ClientFile, engine: Callable[[], Engine] | None = None) -> ClientFile:
    """``file``, and whether it is there. Raises Conflict where another one is in its place."""
    present = _read(file.path) if file.node is None or engine is None else engine().get_file(file.node, str(file.path))
    if present == file.content.encode():
        return replace(file, state="present")
    is_generated = file.path.name in ("hosts.toml", "registries.yaml")
    if present is not None and is_generated and not present.startswith(HEAD.encode()):
        raise Conflict(
            f"{file.path} is there, and is not this tool's",
            hint="Add to it what is missing:\n" + file.content,
        )
    return file


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None  # where it cannot be read it cannot be written either, and that is reported


def _apply(file: ClientFile, engine: Engine | None, run: Callable[[Sequence[str]], None]) -> ClientFile:
    if file.state == "present":
        return file
    try:
        if file.node is not None and engine is not None:
            engine.put_files(file.node, "/", {str(file.path).lstrip("/"): (file.content.encode(), 0o644)})
        else:
            _make_folders(file.path.parent)
            files.atomic_write(file.path, file.content.encode(), mode=_mode(file.path))
        if file.command:
            _run_after(file, run)
    except (OSError, RegistryToolError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return replace(file, state="failed", error=reason)
    return replace(file, state="written")


def _mode(path: Path) -> int:
    """The mode that ``path`` has: ``daemon.json`` may hold a proxy's password. A new file is for everybody."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644


def _run_after(file: ClientFile, run: Callable[[Sequence[str]], None]) -> None:
    """Run the command of a file that was written. Raises what that raises."""
    try:
        run(shlex.split(file.command or ""))
    except BaseException:
        if file.client == "system":
            file.path.unlink(missing_ok=True)  # otherwise the next run would take it for done
        raise


def _make_folders(folder: Path) -> None:
    """Make ``folder`` and those above it, readable by everybody whatever the umask."""
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir()
            each.chmod(0o755)


def _run(words: Sequence[str]) -> None:
    """Run a command. Raises RegistryToolError."""
    try:
        done = subprocess.run(words, check=False, capture_output=True, timeout=_UPDATE_TIMEOUT, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryToolError(f"{shlex.join(words)}: {error}") from error
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RegistryToolError(f"{shlex.join(words)} failed: {' '.join(tail) or f'exit code {done.returncode}'}")
