"""What engines need, so that they pull through a proxy: mirrors of docker, podman and containerd."""

from __future__ import annotations

import json
from dataclasses import dataclass

from registry_tool.local.registry import LocalRegistry
from registry_tool.local.registry.proxy import image_prefix, is_docker_hub


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSetting:
    """A file of a program, and what it has to hold; ``path`` is empty where no file does it, and ``content`` says what does."""

    client: str
    path: str
    content: str


def mirror_settings(registry: LocalRegistry) -> tuple[ClientSetting, ...]:
    """What docker, podman and containerd need to pull through the proxy ``registry``; nothing for a registry that is none."""
    if registry.proxy is None:
        return ()
    url, prefix = registry.proxy, image_prefix(registry.proxy)
    url_here = f"{'https' if registry.tls else 'http'}://{registry.address}"
    docker = ClientSetting(client="docker", path="", content=f"mirrors docker.io only: pull {registry.address}/NAME for {prefix}/NAME")
    if is_docker_hub(url):
        mirrors = json.dumps({"registry-mirrors": [url_here]})
        docker = ClientSetting(client="docker", path="/etc/docker/daemon.json", content=f"{mirrors}\n")
    insecure = "insecure = true\n" if url.startswith("http://") else ""
    unverified = "" if registry.tls else "insecure = true\n"
    podman = (
        f'[[registry]]\nprefix = "{prefix}"\nlocation = "{prefix}"\n{insecure}\n'
        f'[[registry.mirror]]\nlocation = "{registry.address}"\n{unverified}'
    )
    containerd = f'server = "{url}"\n\n[host."{url_here}"]\n  capabilities = ["pull", "resolve"]\n'
    return (
        docker,
        ClientSetting(client="podman", path=f"/etc/containers/registries.conf.d/registry-tool-{registry.name}.conf", content=podman),
        ClientSetting(client="containerd", path=f"/etc/containerd/certs.d/{prefix}/hosts.toml", content=containerd),
    )
