"""Wiring a cluster of kind, k3d or minikube to a local registry, in the way that Kubernetes has a standard for (KEP-1755).

Each node's containerd takes the registry's container for ``localhost:PORT``, which in a node is the node; both are in one network; and
a config map says so to programs that look for a registry (``local-registry-hosting`` in ``kube-public``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from registry_tool.base.crypto.certificates import CertificateInfo
from registry_tool.base.errors import Conflict, RegistryToolError
from registry_tool.engine import Container, Engine
from registry_tool.local.clients import nodes, trust
from registry_tool.local.clients.trust import HEAD, ClientFile
from registry_tool.local.registry import LocalRegistry
from registry_tool.local.registry.spec import name_option, resource_name

_ALONE = ("bridge", "podman", "host", "none")
"""Networks in which containers have no names."""
_REGISTRIES = "/etc/rancher/k3s/registries.yaml"
_HELP = "https://kind.sigs.k8s.io/docs/user/local-registry/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What a cluster needs: files in its nodes, the registry's container in its ``networks``, and the config map."""

    JSON_MEMBERS: ClassVar = "kind cluster registry=address networks files manifest"
    kind: str
    cluster: str
    address: str
    container: str
    """The registry's container."""
    node: str
    """The node in which the config map is applied."""
    networks: tuple[str, ...]
    """Those of the nodes that the registry is not in yet."""
    files: tuple[ClientFile, ...]
    manifest: str

    @property
    def kubectl(self) -> tuple[str, ...]:
        """The command that applies the manifest, in the node."""
        return nodes.KINDS[self.kind].kubectl


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """What was done. ``error`` is kubectl's, where the config map could not be applied: the rest works without it."""

    plan: ClusterPlan
    networks: tuple[str, ...]
    files: tuple[ClientFile, ...]
    error: str | None = None


def plan(
    engine: Engine,
    kind: str,
    cluster: str,
    registry: LocalRegistry,
    *,
    certificate: CertificateInfo | None = None,
    authorities: bytes | None = None,
) -> ClusterPlan:
    """Plan the wiring of the ``cluster``; with TLS the registry has a ``certificate``, of ``authorities`` where these are known.

    Writes nothing. Raises NotFound where there is no such cluster; Conflict where a file of somebody else is in the way, no network has
    names, or the certificate is not for the registry's name in it.
    """
    if registry.tls and (certificate is None or not certificate.covers(resource_name(registry.name))):
        raise Conflict(
            f"the registry's certificate is not for {resource_name(registry.name)}, its name in the cluster's network",
            hint=f"Add the name: regctl up{name_option(registry.name)} --tls --tls-name {resource_name(registry.name)}",
        )
    members = nodes.find(engine, kind, cluster)
    container = engine.container(registry.container_id)
    joined = container.networks if container is not None else {}
    networks = tuple(dict.fromkeys(name for node in members for name in node.networks if name not in _ALONE))
    if not networks:
        raise Conflict(f"the nodes of {cluster} are in no network with names", hint="Create the cluster again, without --network.")
    inside = f"{'https' if registry.tls else 'http'}://{resource_name(registry.name)}:5000"
    wanted = [
        trust.with_state(file, lambda: engine)
        for node in members
        for file in _files(kind, node, registry.address, inside, authorities.decode("ascii") if authorities else None)
    ]
    return ClusterPlan(
        kind=kind,
        cluster=cluster,
        address=registry.address,
        container=registry.container_id,
        node=nodes.control_plane(kind, members).name,
        networks=tuple(name for name in networks if name not in joined),
        files=tuple(wanted),
        manifest=config_map(registry.address, f"{resource_name(registry.name)}:5000"),
    )


def connect(engine: Engine, planned: ClusterPlan, *, alias: str) -> Connected:
    """Apply a plan; repeated, it changes nothing. ``alias`` is the registry's name in the networks. Raises EngineError."""
    for network in planned.networks:
        engine.connect_network(network, planned.container, aliases=(alias,))
    written = trust.apply(planned.files, engine=engine)
    engine.put_files(planned.node, "/", {nodes.MANIFEST.lstrip("/"): (planned.manifest.encode(), 0o644)})
    error = None
    try:
        code, output = engine.execute(planned.node, planned.kubectl)
        if code:
            error = " ".join(output.decode(errors="replace").split())[-300:] or f"kubectl ended with {code}"
    except RegistryToolError as raised:
        error = raised.message
    return Connected(plan=planned, networks=planned.networks, files=written, error=error)


def after(planned: ClusterPlan, done: Connected) -> ClusterPlan:
    """The plan with the states of its files after it was applied."""
    return replace(planned, files=done.files)


def config_map(address: str, inside: str) -> str:
    """The manifest of the config map ``local-registry-hosting``."""
    return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: local-registry-hosting
  namespace: kube-public
data:
  localRegistryHosting.v1: |
    host: "{address}"
    hostFromContainerRuntime: "{inside}"
    hostFromClusterNetwork: "{inside}"
    help: "{_HELP}"
"""


def _files(kind: str, node: Container, address: str, inside: str, pem: str | None) -> list[ClientFile]:
    folder: Path = nodes.KINDS[kind].folder
    authority = folder / address / "registry-tool.crt"
    toml = f'{HEAD}server = "{inside}"\n\n[host."{inside}"]\n  capabilities = ["pull", "resolve", "push"]\n'
    files = [ClientFile(client=kind, path=folder / address / "hosts.toml", content=toml + (f'  ca = "{authority}"\n' if pem else ""))]
    if pem:
        files.append(ClientFile(client=kind, path=authority, content=pem))
    if kind == "k3d":
        # K3s makes hosts.toml of this when it starts.
        host = inside.partition("//")[2]
        tls = f'configs:\n  "{host}":\n    tls:\n      ca_file: "{authority}"\n' if pem else ""
        content = f'{HEAD}mirrors:\n  "{address}":\n    endpoint:\n      - "{inside}"\n{tls}'
        files.append(ClientFile(client=kind, path=Path(_REGISTRIES), content=content))
    return [replace(file, node=node.name) for file in files]
