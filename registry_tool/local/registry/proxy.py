"""A registry that is a pull-through proxy of another one: distribution's ``proxy`` section (configuration.md), and what it lacks.

Distribution 2.8 does not start while its upstream does not answer, and it deletes what it stored after seven days. Here a program in
the container serves what is stored, read-only, until a proxy can start; and deletion is off, so that nothing is lost with time.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from registry_tool.base.address import HostPort
from registry_tool.base.errors import UsageError

DOCKER_HUB = "https://registry-1.docker.io"
STATE = "/tmp/registry-tool-proxy"  # noqa: S108 - in the registry's container
"""In the container: empty while it is a proxy, else why it is not one now."""
_NAMES_OF_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_PORT, _TRIAL_PORT = 5000, 5999
_ODD = re.compile(r"[^\n -~]")

# A proxy is tried on another port first: it ends at once where the upstream refuses, and hangs where that is silent. Then the same is
# started in the place of the read-only registry. `wait` is interrupted by signals, a command in the foreground is not.
_PROGRAM = rf"""
server= trial= ready=
trap 'kill $server $trial 2>/dev/null; wait $server; exit 0' TERM INT
pause() {{ sleep "$1" & wait $!; }}
listens() {{ # PROCESS PORT (hexadecimal): within 60 tries
    left=60
    while [ $left -gt 0 ] && kill -0 "$1" 2>/dev/null; do
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qi ":$2 .* 0A " && return 0
        left=$((left - 1))
        pause 0.1
    done
    return 1
}}
works() {{
    REGISTRY_HTTP_ADDR=127.0.0.1:{_TRIAL_PORT} registry serve "$1" >/tmp/trial 2>&1 & trial=$!
    listens $trial {_TRIAL_PORT:x} && ready=yes || ready=
    kill $trial 2>/dev/null; wait $trial 2>/dev/null; trial=
    [ "$ready" ] && return 0
    reason=$(grep -m1 '^panic: ' /tmp/trial)
    echo "${{reason:-it does not answer}}" >{STATE}
    return 1
}}
: >{STATE}
works "$1"
while :; do
    if [ "$ready" ]; then
        registry serve "$1" & server=$!
        listens $server {_PORT:x} && : >{STATE}
        wait $server
        echo 'the proxy ended' >{STATE}
    fi
    echo "the upstream cannot be used, what is stored is served: $(cat {STATE})" >&2
    REGISTRY_STORAGE_MAINTENANCE='{{"readonly":{{"enabled":true}}}}' registry serve /etc/docker/registry/config.yml & server=$!
    until pause 10; works "$1"; do :; done
    kill $server; wait $server
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """What is remembered of a proxy, without a password. ``upstream`` is the name of a local registry, where that is the upstream."""

    url: str
    user: str | None = None
    upstream: str | None = None

    @classmethod
    def parse(cls, members: object) -> ProxySettings | None:
        """Read the member ``proxy`` of ``settings.json``. Raises ValueError."""
        if members is None:
            return None
        values = [members.get(name) for name in ("url", "user", "upstream")] if isinstance(members, dict) else [None]
        if not isinstance(values[0], str) or not all(value is None or isinstance(value, str) for value in values):
            raise ValueError(f"not a proxy: {members!r}")
        return cls(url=values[0], user=values[1], upstream=values[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy of the registry at ``url``, as whom it logs in there."""

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, *, user: str | None = None, password: str | None = None) -> Proxy:
        """Read an upstream's URL or ``HOST[:PORT]``: https, or http on this machine. Raises UsageError."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "", text
        example = "For example: --proxy https://registry-1.docker.io"
        if "@" in rest:
            raise UsageError(
                "the upstream's URL has a user name in it", hint="Name the user with --proxy-user; the password is prompted for."
            )
        try:
            host = HostPort.parse(rest.rstrip("/"))
        except ValueError:
            raise UsageError(f"{text[:80]!r} is not the URL of a registry", hint=example) from None
        scheme = scheme or ("http" if host.is_loopback else "https")
        if scheme not in ("http", "https"):
            raise UsageError(f"{text[:80]!r} is neither an http nor an https URL", hint=example)
        url = DOCKER_HUB if host.host in _NAMES_OF_DOCKER_HUB else f"{scheme}://{host}"
        return cls(url=url, user=user, password=password)

    @property
    def host(self) -> HostPort:
        """The upstream's address."""
        return HostPort.parse(urlsplit(self.url).netloc)

    def configuration(self, url: str, storage: str) -> bytes:
        """The registry's configuration file, with the password; ``url`` is the upstream as its container sees it."""
        login: dict[str, Any] = {} if self.user is None else {"username": self.user, "password": self.password or ""}
        document = {
            "version": "0.1",
            "log": {"fields": {"service": "registry"}},
            "storage": {"cache": {"blobdescriptor": "inmemory"}, "filesystem": {"rootdirectory": storage}},
            "http": {"addr": ":5000", "headers": {"X-Content-Type-Options": ["nosniff"]}},
            "proxy": {"remoteurl": url, **login},
        }
        # JSON is YAML, but for characters that YAML takes for line breaks or refuses, and for escapes in pairs.
        text = json.dumps(document, indent=2, ensure_ascii=False)
        return (_ODD.sub(lambda match: f"\\U{ord(match[0]):08x}", text) + "\n").encode()


def command(configuration: str) -> tuple[str, ...]:
    """The command of a proxy's container; ``configuration`` is the path of its file in there."""
    return ("/bin/sh", "-c", _PROGRAM, "registry-proxy", configuration)


def is_docker_hub(url: str) -> bool:
    """Whether ``url`` is Docker Hub, whose images docker can pull through a mirror."""
    with suppress(ValueError):
        return HostPort.parse(urlsplit(url).netloc).host in _NAMES_OF_DOCKER_HUB
    return False


def image_prefix(url: str) -> str:
    """What the names of the upstream's images begin with: ``docker.io``, ``ghcr.io``, ``localhost:5001``."""
    return "docker.io" if is_docker_hub(url) else urlsplit(url).netloc
