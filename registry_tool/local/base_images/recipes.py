"""The base images: what they are called on Docker Hub, what ours are called, and what ours are made of.

Ours are stand-ins, equal in use and not in content: the same program, the same paths, the same start, from the packages
of the Debian or Ubuntu this runs on. A shell and the small tools are busybox's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.local.base_images.files import ENTRYPOINT_REDIS, ENTRYPOINT_REGISTRY, NSSWITCH, REGISTRY_CONFIG

_EVERYWHERE = ("base-files", "base-passwd", "libc-bin", "netbase", "ca-certificates", "busybox-static", "usrmerge-")
"""``usrmerge-``: not that one, which wants all of perl to do what an image that was merged from the start does not need."""

LEGACY_TABLES = "usr/local/sbin/.iptables-legacy"
"""Where docker's own image of an engine has them."""
_TABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file that is put into an image."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an image is made of. Paths are relative to its root, links are path -> where it leads."""

    packages: tuple[str, ...]
    named: tuple[str, ...]
    """The packages whose versions the image's label tells."""
    changes: tuple[str, ...]
    """Lines of a Dockerfile, as ``docker import --change`` takes them."""
    files: Mapping[str, Text] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    """Path -> the user and group that own it."""
    users: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Ends of paths that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that others stand on. ``own`` is the name of what is built here: never an official one."""

    role: str
    """``registry``, ``python``, ``redis``; ``docker-engine``, ``podman-engine``."""
    official: str
    recipe: Recipe = field(repr=False)
    hub: str = "docker.io"
    """The registry that ``official`` is in."""

    @property
    def own(self) -> str:
        """The name of the image that is built here."""
        return f"localhost/registry-tool/{self.role}:packages"

    @property
    def names(self) -> tuple[str, str]:
        """Under which an engine may have it, in the order in which they are looked for."""
        return self.official, self.own


def _recipe(
    *packages: str,
    changes: tuple[str, ...],
    files: Mapping[str, Text] | None = None,
    links: Mapping[str, str] | None = None,
    folders: Mapping[str, int] | None = None,
    users: Mapping[str, int] | None = None,
    without: tuple[str, ...] = (),
) -> Recipe:
    path = 'ENV PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
    return Recipe(
        packages=(*_EVERYWHERE, *packages),
        named=packages,
        changes=(path, *changes),
        files={"etc/nsswitch.conf": Text(content=NSSWITCH), **(files or {})},
        links=links or {},
        folders=folders or {},
        users=users or {},
        without=without,
    )


def _start(entrypoint: tuple[str, ...], command: tuple[str, ...]) -> tuple[str, ...]:
    lines = [f"ENTRYPOINT {json.dumps(entrypoint)}"] if entrypoint else []
    return (*lines, f"CMD {json.dumps(command)}")


REGISTRY = Base(
    role="registry",
    official="registry:2",
    recipe=_recipe(
        "docker-registry",
        changes=(
            *_start(("/entrypoint.sh",), ("/etc/docker/registry/config.yml",)),
            "EXPOSE 5000",
            "VOLUME /var/lib/registry",
        ),
        files={
            "entrypoint.sh": Text(content=ENTRYPOINT_REGISTRY, mode=0o755),
            "etc/docker/registry/config.yml": Text(content=REGISTRY_CONFIG),
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
        changes=(*_start((), ("python3",)), "ENV LANG=C.UTF-8"),
        # An image is nobody's system: pip may install into it, as it may in the official one.
        without=("/EXTERNALLY-MANAGED",),
    ),
)

REDIS = Base(
    role="redis",
    official="redis:7-alpine",
    recipe=_recipe(
        "redis-server",
        changes=(
            *_start(("/entrypoint.sh",), ("redis-server", "--save", "")),
            "EXPOSE 6379",
            "WORKDIR /data",
            "USER redis",
        ),
        files={"entrypoint.sh": Text(content=ENTRYPOINT_REDIS, mode=0o755)},
        folders={"data": 999},
        users={"redis": 999},
    ),
)

PROXY = Base(
    role="proxy",
    official="haproxy:lts-alpine",
    recipe=_recipe(
        "haproxy",
        changes=(
            *_start((), ("haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg")),
            "USER haproxy",
        ),
        folders={"usr/local/etc/haproxy": 0},
        users={"haproxy": 99},
    ),
)
"""Neither comes with a configuration: it is written into the container before its start. ``-W``: as process 1 it ends when asked to."""

_IPTABLES = {
    # What the package's script would have linked; the older kind beside it, for kernels that know nothing newer.
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
        changes=(*_start((), ("dockerd",)), "VOLUME /var/lib/docker"),
        links=_IPTABLES,
        folders={"var/lib/docker": 0},
        # Nobody types in there.
        without=("usr/bin/docker", "usr/bin/ctr", "usr/bin/dnet", "usr/sbin/ovrouter", "/containerd-stress", "/containerd-shim-runc-v1"),
    ),
)

PODMAN_ENGINE = Base(
    role="podman-engine",
    official="quay.io/podman/stable:latest",
    hub="quay.io",
    recipe=_recipe(
        "podman",
        "runc",
        "netavark",
        "aardvark-dns",
        "iptables",
        "pigz",
        changes=(*_start((), ("podman",)), "VOLUME /var/lib/containers"),
        links=_IPTABLES,
        folders={"var/lib/containers": 0},
    ),
)
