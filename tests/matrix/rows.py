"""The rows of the matrix: which engine of which suite of Debian, with which image store."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

SOCKETS = MappingProxyType({"docker": "unix:///var/run/docker.sock", "podman": "unix:///run/podman/podman.sock"})
"""Where each engine listens in its container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine; ``store`` is docker's image store (``classic``, ``containerd``), or podman's only one."""

    name: str
    suite: str
    engine: str
    store: str


ROWS = (
    Row(name="trixie-classic", suite="trixie", engine="docker", store="classic"),
    Row(name="sid-classic", suite="sid", engine="docker", store="classic"),
    Row(name="sid-containerd", suite="sid", engine="docker", store="containerd"),
    Row(name="trixie-podman", suite="trixie", engine="podman", store="overlay"),
    Row(name="sid-podman", suite="sid", engine="podman", store="overlay"),
)
SHORT = ("sid-containerd", "sid-podman")
"""The rows of the short form: both are in one image."""

PACKAGES = (
    # the engines and their parts, which are only recommended
    "docker.io docker-cli docker-buildx docker-compose podman runc netavark aardvark-dns skopeo "
    "iptables nftables mount procps util-linux iproute2 "
    # what the tool and its tests use (setup/parts.sh)
    "python3 python3-venv mmdebstrap debian-archive-keyring ca-certificates redis-server curl make git dash shellcheck"
).split()
