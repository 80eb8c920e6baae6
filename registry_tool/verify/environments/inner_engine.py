"""The engines that run in a container: their images, start scripts and configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry_tool.local.base_images import DOCKER_ENGINE, PODMAN_ENGINE, Base
from registry_tool.local.base_images.recipes import LEGACY_TABLES
from registry_tool.verify.result import EnvironmentKind

SOCKETS = "/run/registry-tool"  # a volume that only the engine and the forwarder share
SOCKET = f"{SOCKETS}/engine.sock"
"""The inner engine's socket. Not a port: containers could reach that, and dockerd waits a second to warn of it."""
START = "registry-tool-start"  # the start script at the root of the engine's container

Files = Mapping[str, tuple[bytes, int]]

_BEGIN = f"""\
#!/bin/sh
set -eu
# Without all privileges cgroups are mounted read-only; an engine makes some.
while read -r _ where kind options _; do
    case "$kind:$options" in
        cgroup*:ro | cgroup*:ro,*) mount -o remount,bind,rw "$where" ;;
    esac
done </proc/self/mounts
# In cgroups v2 a group with processes delegates no controllers to those below it.
cd /sys/fs/cgroup
if [ -f cgroup.controllers ]; then
    mkdir -p init
    while read -r process; do echo "$process" >init/cgroup.procs || :; done <cgroup.procs
    for controller in $(cat cgroup.controllers); do echo "+$controller" >cgroup.subtree_control || echo "no $controller in here"; done
fi
cd /
if ! iptables -nL >/dev/null 2>&1; then
    PATH="/{LEGACY_TABLES}:$PATH"
    export PATH
fi
"""

_DOCKER = f"""\
# Connections to anywhere else are rejected at once, by the chain that docker evaluates first.
if ip route replace default dev lo; then
    iptables -N DOCKER-USER
    iptables -A DOCKER-USER -o lo -p tcp -j REJECT --reject-with tcp-reset
    iptables -A DOCKER-USER -o lo -j REJECT
fi
# A local registry that fails twice is gone: five tries with growing pauses would take more than a minute.
exec dockerd --host unix://{SOCKET} --log-level warn --max-download-attempts 2
"""

_PODMAN = f"""\
# podman's own rules come first; without a route, at least names are not resolved for long.
ip route del default 2>/dev/null || :
# Its name server wants one to ask: podman makes no such file in a container without a network.
[ -s /etc/resolv.conf ] || echo 'nameserver 127.0.0.1' >/etc/resolv.conf
# Without all privileges an engine cannot set limits above its own.
limit() {{ awk -v "name=$1" 'index($0, name) == 1 {{ sub(name, ""); print ($2 == "unlimited" ? -1 : $2) }}' /proc/self/limits; }}
files=$(limit 'Max open files')
processes=$(limit 'Max processes')
cat >/etc/containers/containers.conf <<END
[containers]
default_ulimits = ["nofile=$files:$files", "nproc=$processes:$processes"]
default_sysctls = ["net.ipv4.ip_unprivileged_port_start=0"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
END
runtime=$(command -v runc || command -v crun)
exec podman --runtime "$runtime" --log-level warn system service --time 0 unix://{SOCKET}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerEngine:
    """One kind of engine. ``files`` returns what its container gets before the start, for a registry's HOST:PORT."""

    kind: EnvironmentKind
    base: Base
    files: Callable[[str], Files]


def _docker_files(registry: str) -> Files:
    # On loopback, docker asks for no TLS.
    return {START: ((_BEGIN + _DOCKER).encode(), 0o755)}


def _podman_files(registry: str) -> Files:
    settings = f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
    return {START: ((_BEGIN + _PODMAN).encode(), 0o755), "etc/containers/registries.conf.d/registry-tool.conf": (settings.encode(), 0o644)}


INNER: Mapping[str, InnerEngine] = MappingProxyType(
    {
        "docker": InnerEngine(kind="docker", base=DOCKER_ENGINE, files=_docker_files),
        "podman": InnerEngine(kind="podman", base=PODMAN_ENGINE, files=_podman_files),
    }
)
