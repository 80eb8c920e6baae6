"""This machine's own addresses, and what is spoken there.

The engine takes a registry on loopback as it is, with TLS or without, and so do we: a handshake finds out. It carries
nothing of ours, and a server that speaks plain HTTP refuses it at once.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

TRIAL_TIMEOUT = 1.0
"""Seconds that a server has for its part of the handshake. One that says nothing to it is waiting for HTTP."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` (with or without a port) is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def addresses(name: str) -> tuple[str, ...]:
    """Where to connect to for ``name``, in order. ``localhost`` is 127.0.0.1 first: on a Mac ::1 may be somebody else's."""
    return ("127.0.0.1", "::1") if name == "localhost" else (name,)


def netloc(address: str, port: int | None) -> str:
    """``ADDRESS[:PORT]`` as an URL has it, with brackets where there must be some."""
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{port}" if port else shown


def find_origin(host: str, *, plain_http: bool | None, timeout: float) -> str:
    """``http://127.0.0.1:5000``: where ``host``, a name on loopback, answers, and in what.

    ``plain_http`` None finds out whether it is TLS, True and False say so. ``timeout`` is in seconds for each address.
    Raises OSError, about the first address, where nothing answers on any.
    """
    parts = urlsplit(f"//{host}")
    refusals: list[OSError] = []
    for port in (parts.port,) if parts.port else (443, 80):
        for address in addresses(parts.hostname or ""):
            try:
                tls = speaks_tls(address, port, timeout=timeout)
            except OSError as error:
                refusals.append(error)
            else:
                plain = not tls if plain_http is None else plain_http
                return f"{'http' if plain else 'https'}://{netloc(address, port)}"
    raise refusals[0]


def speaks_tls(address: str, port: int, *, timeout: float) -> bool:
    """Whether what listens there speaks TLS. Raises OSError where nothing listens. Nobody's certificate is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=timeout) as connection:
        connection.settimeout(TRIAL_TIMEOUT)
        try:
            with context.wrap_socket(connection):
                return True
        except ssl.SSLError as error:
            # An alert is a word of TLS: it speaks it, only not with us. Anything else is no TLS at all.
            return "ALERT" in (error.reason or "")
        except OSError:
            return False
