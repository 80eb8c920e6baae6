"""Nodes of kind, k3d and minikube: containers of this engine, found by the labels that those programs give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.errors import NotFound
from registry_tool.engine import Container, Engine

MANIFEST = "/etc/registry-tool/local-registry-hosting.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKind:
    """A program that makes clusters. ``label`` is its nodes' label with the cluster's name, ``folder`` containerd's certs.d in a node.

    ``control_plane`` is the label, and its value, of a node that has ``kubectl``: the command that applies :data:`MANIFEST`.
    """

    label: str
    folder: Path
    control_plane: tuple[str, str]
    kubectl: tuple[str, ...]
    roles: tuple[str, tuple[str, ...]] | None = None
    """A label, and its values on containers that run containerd; None: all do."""


KINDS = {
    "kind": ClusterKind(
        label="io.x-k8s.kind.cluster",
        folder=Path("/etc/containerd/certs.d"),
        control_plane=("io.x-k8s.kind.role", "control-plane"),
        kubectl=("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "apply", "-f", MANIFEST),
        roles=("io.x-k8s.kind.role", ("control-plane", "worker")),
    ),
    "k3d": ClusterKind(
        label="k3d.cluster",
        folder=Path("/var/lib/rancher/k3s/agent/etc/containerd/certs.d"),
        control_plane=("k3d.role", "server"),
        kubectl=("kubectl", "apply", "-f", MANIFEST),
        roles=("k3d.role", ("server", "agent")),
    ),
    "minikube": ClusterKind(
        label="name.minikube.sigs.k8s.io",
        folder=Path("/etc/containerd/certs.d"),
        control_plane=("role.minikube.sigs.k8s.io", ""),
        kubectl=(
            "sh",
            "-c",
            f"$(ls /var/lib/minikube/binaries/*/kubectl | tail -n 1) --kubeconfig /var/lib/minikube/kubeconfig apply -f {MANIFEST}",
        ),
    ),
}


def find(engine: Engine, kind: str, cluster: str | None = None) -> tuple[Container, ...]:
    """The nodes of the clusters of that ``kind``, or of one ``cluster``, by name. Raises NotFound where there are none."""
    cluster_kind = KINDS[kind]
    found = []
    for container in engine.containers(all=True, labels={cluster_kind.label: cluster or ""}):
        role = cluster_kind.roles
        if role is None or container.labels.get(role[0]) in role[1]:
            found.append(container)
    if not found:
        which = f"no {kind} cluster {cluster!r}" if cluster else f"no {kind} cluster"
        raise NotFound(f"there is {which} on this engine", hint=f"See: {kind} {'profile list' if kind == 'minikube' else 'get clusters'}")
    return tuple(sorted(found, key=lambda container: container.name))


def control_plane(kind: str, nodes: tuple[Container, ...]) -> Container:
    """The node that has the cluster's ``kubectl``: the first one where none is labelled."""
    label, value = KINDS[kind].control_plane
    return next((node for node in nodes if value and node.labels.get(label) == value), nodes[0])
