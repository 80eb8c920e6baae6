"""Base images' official names, and stand-ins with the same program, paths and command, from Debian's or Ubuntu's packages and busybox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.local.base_images.image_files import ENTRYPOINT_REDIS, ENTRYPOINT_REGISTRY, NSSWITCH, REGISTRY_CONFIG

_COMMON_PACKAGES = ("base-files", "base-passwd", "libc-bin", "netbase", "ca-certificates", "busybox-static", "usrmerge-")
"""``usrmerge-`` excludes a package that needs perl, for what an image merged from the start does not need."""

LEGACY_TABLES = "usr/local/sbin/.iptables-legacy"  # where docker's image of an engine has them
_TABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A file of an image."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an image is made of. Paths are relative to its root; links are path -> target."""

    packages: tuple[str, ...]
    labelled_packages: tuple[str, ...]
    """The packages whose versions are in the image's label."""
    changes: tuple[str, ...]
    """Instructions of a Dockerfile, as for ``docker import --change``."""
    files: Mapping[str, ImageFile] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    """Path -> id of its user and group."""
    users: Mapping[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    """Path suffixes that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that others are built on."""

    role: str
    """``registry``, ``python``, ``redis``; ``docker-engine``, ``podman-engine``."""
    official: str
    recipe: Recipe = field(repr=False)
    host: str = "docker.io"
    """The registry that ``official`` is in."""

    @property
    def local_name(self) -> str:
        """The name of the stand-in, which is never an official one."""
        return f"localhost/registry-tool/{self.role}:packages"

    @property
    def names(self) -> tuple[str, str]:
        """The names by which an engine may have it, the preferred one first."""
        return self.official, self.local_name


def _recipe(
    *packages: str,
    changes: tuple[str, ...],
    files: Mapping[str, ImageFile] | None = None,
    links: Mapping[str, str] | None = None,
    folders: Mapping[str, int] | None = None,
    users: Mapping[str, int] | None = None,
    excluded: tuple[str, ...] = (),
) -> Recipe:
    path = 'ENV PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
    return Recipe(
        packages=(*_COMMON_PACKAGES, *packages),
        labelled_packages=packages,
        changes=(path, *changes),
        files={"etc/nsswitch.conf": ImageFile(content=NSSWITCH), **(files or {})},
        links=links or {},
        folders=folders or {},
        users=users or {},
        excluded=excluded,
    )


def _entry(entrypoint: tuple[str, ...], command: tuple[str, ...]) -> tuple[str, ...]:
    lines = [f"ENTRYPOINT {json.dumps(entrypoint)}"] if entrypoint else []
    return (*lines, f"CMD {json.dumps(command)}")


REGISTRY = Base(
    role="registry",
    official="registry:2",
    recipe=_recipe(
        "docker-registry",
        changes=(*_entry(("/entrypoint.sh",), ("/etc/docker/registry/config.yml",)), "EXPOSE 5000", "VOLUME /var/lib/registry"),
        files={
            "entrypoint.sh": ImageFile(content=ENTRYPOINT_REGISTRY, mode=0o755),
            "etc/docker/registry/config.yml": ImageFile(content=REGISTRY_CONFIG),
        },
        links={"usr/bin/registry": "docker-registry"},
        folders={"var/lib/registry": 0},
    ),
)

PYTHON = Base(
    role="python",
    official="python:3.13-slim",
    recipe=_recipe(
        "python3",
        "python3-pip",
        "python-is-python3",
        "tzdata",
        "passwd",
        "login",
        changes=(*_entry((), ("python3",)), "ENV LANG=C.UTF-8"),
        # pip may install into the image, as in the official one.
        excluded=("/EXTERNALLY-MANAGED",),
    ),
)

REDIS = Base(
    role="redis",
    official="redis:7-alpine",
    recipe=_recipe(
        "redis-server",
        changes=(*_entry(("/entrypoint.sh",), ("redis-server", "--save", "")), "EXPOSE 6379", "WORKDIR /data", "USER redis"),
        files={"entrypoint.sh": ImageFile(content=ENTRYPOINT_REDIS, mode=0o755)},
        folders={"data": 999},
        users={"redis": 999},
    ),
)

PROXY = Base(
    role="proxy",
    official="haproxy:lts-alpine",
    recipe=_recipe(
        "haproxy",
        changes=(*_entry((), ("haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg")), "USER haproxy"),
        folders={"usr/local/etc/haproxy": 0},
        users={"haproxy": 99},
    ),
)
"""Its configuration is written into the container before the start. ``-W``: as process 1 it ends on SIGTERM."""

_IPTABLES = {
    # What the package's script would have linked, and the legacy kind beside it, for older kernels.
    **{f"usr/sbin/{name}": f"{name.replace('tables', 'tables-nft', 1)}" for name in _TABLES},
    **{f"{LEGACY_TABLES}/{name}": f"/usr/sbin/{name.replace('tables', 'tables-legacy', 1)}" for name in _TABLES},
}

DOCKER_ENGINE = Base(
    role="docker-engine",
    official="docker:dind",
    recipe=_recipe(
        "docker.io",
        "iptables",
        "pigz",
        changes=(*_entry((), ("dockerd",)), "VOLUME /var/lib/docker"),
        links=_IPTABLES,
        folders={"var/lib/docker": 0},
        # No interactive use.
        excluded=("usr/bin/docker", "usr/bin/ctr", "usr/bin/dnet", "usr/sbin/ovrouter", "/containerd-stress", "/containerd-shim-runc-v1"),
    ),
)

PODMAN_ENGINE = Base(
    role="podman-engine",
    official="quay.io/podman/stable:latest",
    host="quay.io",
    recipe=_recipe(
        "podman",
        "runc",
        "netavark",
        "aardvark-dns",
        "iptables",
        # Netavark of podman 5 sets its rules by nft, and without it no container with a network starts.
        "nftables",
        "pigz",
        changes=(*_entry((), ("podman",)), "VOLUME /var/lib/containers"),
        links=_IPTABLES,
        folders={"var/lib/containers": 0},
    ),
)
