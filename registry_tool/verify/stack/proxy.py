"""Configuration of the proxy (HAProxy) before an app's replicas: one port, and the death of a replica is not noticed through it.

HAProxy Configuration Manual, "mode", "option redispatch", "retry-on", "check". Each request goes to the next replica, also within one
connection; where that cannot be reached, to another. A check every 0.2 s removes a replica that does not answer. It is a connection
without a request, closed in order ("linger"): it counts no visit and is in no log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

FOLDER = "/usr/local/etc/haproxy"
FILE = "haproxy.cfg"
PORT = 8080  # inside: one that nobody has to be root for
REPLICA = "X-Registry-Tool-Replica"  # the header with the replica's name

_CONFIGURATION = """\
global
    maxconn 128
defaults
    mode {mode}
    timeout connect 1s
    timeout check 1s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch 1
frontend port
    bind :{port}
    default_backend replicas
{frontend}\
backend replicas
    balance roundrobin
    option tcp-check
    tcp-check connect linger
    default-server check inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
{backend}\
"""
_TCP = """\
    log stdout format raw local0 info
    log-format "served %s %ts"
"""
_HTTP = f"""\
    retry-on conn-failure empty-response
    http-response set-header {REPLICA} %s
"""


def configuration(replicas: Mapping[str, str], port: int, *, http: bool) -> bytes:
    """The configuration for ``replicas`` (name -> address) on ``port``; ``http`` forwards requests, else connections are forwarded."""
    mode = {"mode": "http", "frontend": "", "backend": _HTTP} if http else {"mode": "tcp", "frontend": _TCP, "backend": ""}
    text = _CONFIGURATION.format(port=PORT, **mode)
    return (text + "".join(f"    server {name} {address}:{port}\n" for name, address in replicas.items())).encode()


def logged_replicas(log: Iterable[bytes]) -> list[str]:
    """The replica of each connection, in order, of a proxy that forwards connections (``log-format``).

    A connection that no replica took has ``S`` first in its state, for the server's side.
    """
    return re.findall(r"^served (\S+) [^S]", b"".join(log).decode(errors="replace"), re.MULTILINE)
