"""The origin of a registry on loopback: which address answers, and whether in TLS.

The engine takes a registry on loopback as it is, with TLS or without, and so do we: a handshake finds out. It carries
nothing of ours, and a server that speaks plain HTTP refuses it at once.
"""

from __future__ import annotations

import socket
import ssl

from registry_tool.base.address import HostPort

TRIAL_TIMEOUT = 1.0
"""Seconds that a server has for its part of the handshake. One that says nothing to it is waiting for HTTP."""


def find_origin(host: str, *, plain_http: bool | None, timeout: float) -> str:
    """``http://127.0.0.1:5000``: where ``host``, a ``HOST[:PORT]`` on loopback, answers, and in what.

    ``plain_http`` None finds out whether it is TLS, True and False say so. ``timeout`` is in seconds for each address.
    Raises OSError, about the first address, where nothing answers on any.
    """
    name = HostPort.parse(host)
    errors: list[OSError] = []
    for port in (name.port,) if name.port else (443, 80):
        for address in name.connect_hosts:
            try:
                tls = speaks_tls(address, port, timeout=timeout)
            except OSError as error:
                errors.append(error)
            else:
                plain = not tls if plain_http is None else plain_http
                return f"{'http' if plain else 'https'}://{HostPort(address, port)}"
    raise errors[0]


def speaks_tls(address: str, port: int, *, timeout: float) -> bool:
    """Whether what listens there speaks TLS; no certificate is checked. Raises OSError where nothing listens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=timeout) as connection:
        connection.settimeout(TRIAL_TIMEOUT)
        try:
            with context.wrap_socket(connection):
                return True
        except ssl.SSLError as error:
            # An alert is TLS, only refused; anything else is no TLS at all.
            return "ALERT" in (error.reason or "")
        except OSError:
            return False
