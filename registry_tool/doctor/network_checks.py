"""Checks of names, ports, proxies, HTTP and TLS between this machine and its registries."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
import urllib.request
from functools import partial
from pathlib import Path

from registry_tool.auth import docker_config, host_settings
from registry_tool.base.address import HostPort
from registry_tool.base.crypto.certificates import parse as parse_certificate
from registry_tool.base.errors import RegistryToolError
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.doctor.diagnosis import Observation, combined, ok, skipped, warning, wrong
from registry_tool.doctor.surroundings import CheckedRegistry, Surroundings
from registry_tool.engine import EngineSetup
from registry_tool.local.registry import authority, ports
from registry_tool.local.registry.spec import DEFAULT_PORT, LOOPBACK, name_option
from registry_tool.transport import tls
from registry_tool.transport.transport import speaks_tls

_TIMEOUT = 3.0
_NO_PROXY = "localhost,127.0.0.1,::1"
_SOON = 14 * 86400.0
"""Seconds before its end from which a certificate is a warning."""


def port(surroundings: Surroundings) -> Observation:
    """Who holds the default port, and the port of a registry that does not run."""
    try:
        engine = surroundings.engine
        containers, local, registries = engine.containers(), engine.endpoint.is_local, surroundings.local_registries
    except RegistryToolError:
        containers, local, registries = (), True, ()
    blocked = [
        wrong(
            f"port {each.port} of the registry {each.name}, which does not run, is in use by {held_by}",
            f"Stop that, or: regctl up{name_option(each.name)} --port {each.port + 1}",
        )
        for each in registries
        if not each.running and each.port and (held_by := ports.holder(each.port, containers, local=local)) is not None
    ]
    if blocked:
        return combined(blocked)
    held_by = ports.holder(DEFAULT_PORT, containers, local=local)
    if held_by is None:
        return ok(f"port {DEFAULT_PORT} is free")
    if any(each.running for each in registries):
        return ok(f"port {DEFAULT_PORT} is in use by {held_by}")
    return warning(
        f"port {DEFAULT_PORT} is in use by {held_by}", "regctl up takes the next free port. To have this one, stop what holds it."
    )


def localhost(surroundings: Surroundings) -> Observation:
    """What ``localhost`` means, and whether something else answers there on ::1."""
    fix = f"In /etc/hosts: {LOOPBACK} localhost. Or write {LOOPBACK} instead of localhost."
    try:
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)))
    except OSError as error:
        return wrong(f"localhost has no address: {error.strerror or error}", fix)
    shown = ", ".join(addresses)
    strange = [address for address in addresses if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    if strange or LOOPBACK not in addresses:
        return wrong(f"localhost is {shown}, not {LOOPBACK}", fix)
    for registry in _local_registries(surroundings):
        host = HostPort.parse(registry.host)
        if (
            addresses[0] != LOOPBACK
            and host.port is not None
            and not _is_same_server(host.port, tls=registry.local is not None and registry.local.tls)
        ):
            return wrong(
                f"localhost is {addresses[0]} first, and on port {host.port} something else than the registry answers there",
                f"Write {LOOPBACK}:{host.port} instead of localhost:{host.port}, or stop what listens on [::1]:{host.port}.",
            )
    return ok(f"localhost is {shown}")


def proxy(surroundings: Surroundings) -> Observation:
    """Whether proxy variables send requests for this machine to a proxy."""
    proxies = urllib.request.getproxies_environment()
    used = next((proxies[scheme] for scheme in ("http", "all") if scheme in proxies), None)
    if used is not None:
        swallowed = [host for host in ("localhost", LOOPBACK) if not urllib.request.proxy_bypass_environment(host)]  # type: ignore[attr-defined]
        if swallowed:
            return wrong(
                f"programs ask the proxy {_without_password(used)} for {' and '.join(swallowed)}: curl, pip and Python's own among them",
                f"export NO_PROXY={_NO_PROXY} no_proxy={_NO_PROXY} (with what is in it already)",
            )
    containers = docker_config.proxy_variables(_engine_url(surroundings), lambda message: None)
    if "HTTP_PROXY" in containers and "localhost" not in containers.get("NO_PROXY", ""):
        return warning(
            f"containers get the proxy {_without_password(containers['HTTP_PROXY'])} from {docker_config.file()}, for localhost, too",
            f'Add "noProxy": "{_NO_PROXY}" there, in "proxies".',
        )
    return ok("no proxy" if used is None else f"{_without_password(used)}, not for localhost")


def https(surroundings: Surroundings) -> Observation:
    """Whether registries speak what clients expect: plain HTTP on loopback only, TLS elsewhere."""
    registries = surroundings.registries
    if not registries:
        return skipped("no local registry")
    return combined(_protocol(surroundings, each) for each in registries)


def certificates(surroundings: Surroundings) -> Observation:
    """Whether the authorities and certificates that are configured can be read, and how long they last."""
    for name, value in tls.authorities_variables():
        if not Path(value).exists():
            return wrong(f"{name} is {value}, which does not exist: no registry elsewhere is trusted", f"Correct or unset {name}.")
    hosts: dict[str, None] = {}
    for folder in tls.certificate_folders():
        try:
            hosts |= dict.fromkeys(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        except OSError as error:
            return wrong(f"{folder} cannot be read: {error.strerror or error}", f"Make it readable: sudo chmod -R a+rX {folder}")
    observed = [_configured(host) for host in hosts]
    observed += _own_authority(surroundings)
    observed += [_served(each.host) for each in _registries(surroundings) if not HostPort.parse(each.host).is_loopback]
    return combined(observed) if observed else ok("none configured")


# --- HTTP and TLS ---


def _protocol(surroundings: Surroundings, registry: CheckedRegistry) -> Observation:
    host = HostPort.parse(registry.host)
    name, settings = registry.host, host_settings.load(registry.host)
    try:
        is_tls = any(speaks_tls(address, host.port or 443, timeout=_TIMEOUT) for address in host.connect_hosts[:1])
    except OSError:
        return skipped(f"{name} does not respond")
    if host.is_loopback:
        return ok(f"{name} speaks {'TLS' if is_tls else 'plain HTTP'}, as engines accept on loopback")
    if is_tls and settings.plain_http:
        forget = partial(_forget, name)
        return wrong(f"{name} speaks TLS, and is remembered to speak plain HTTP", f"regctl logout {name}", mend=forget)
    if is_tls:
        return ok(f"{name} speaks TLS")
    if not _is_insecure(host, surroundings.setup):
        return wrong(
            f"{name} speaks plain HTTP, and the engine expects TLS",
            f'Better serve TLS there. Or: {{"insecure-registries": ["{name}"]}} in /etc/docker/daemon.json and a restart; '
            f"podman: insecure = true in registries.conf; regctl login --plain-http {name} for this tool.",
        )
    if not settings.plain_http:
        return warning(f"{name} speaks plain HTTP, which the engine takes and this tool does not", f"regctl login --plain-http {name}")
    return ok(f"{name} speaks plain HTTP, as the engine and this tool are set up for")


def _forget(host: str) -> None:
    host_settings.forget(host)


def _is_insecure(host: HostPort, setup: EngineSetup) -> bool:
    """Whether the engine reaches ``host`` by plain HTTP."""
    try:
        addresses = {ipaddress.ip_address(str(entry[4][0])) for entry in socket.getaddrinfo(host.host, None)}
    except (OSError, ValueError):
        addresses = set()
    for entry in setup.insecure:
        if entry in (str(host), host.host):
            return True
        try:
            network = ipaddress.ip_network(entry)
        except ValueError:
            continue
        if any(address in network for address in addresses):
            return True
    return False


# --- certificates ---


def _own_authority(surroundings: Surroundings) -> list[Observation]:
    """This tool's own authority, where there is one."""
    try:
        pem = authority.certificate(surroundings.dirs.state)
    except RegistryToolError as error:
        return [wrong(error.message, error.hint or "Restore it.")]
    if pem is None:
        return []
    return [_lasting("this tool's own authority", parse_certificate(pem).not_after.timestamp())]


def _configured(host: str) -> Observation:
    """The files in ``certs.d`` for ``host``."""
    try:
        tls.ssl_context(host, verify=True, bundle=None)
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Repair the file, or move it away.")
    ends: list[float] = []
    for folder in tls.certificate_folders():
        for file in sorted((folder / host).glob("*.crt")):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=file)
            ends += [ssl.cert_time_to_seconds(str(entry["notAfter"])) for entry in context.get_ca_certs()]
    return _lasting(f"the authority of {host}", min(ends)) if ends else ok(f"{host}: readable")


def _served(name: str) -> Observation:
    """The certificate that a registry elsewhere shows."""
    host = HostPort.parse(name)
    try:
        if not speaks_tls(host.host, host.port or 443, timeout=_TIMEOUT):
            return ok(f"{name} has none")
        context = tls.ssl_context(name, verify=True, bundle=None)
        with (
            socket.create_connection((host.host, host.port or 443), timeout=_TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host.host) as secured,
        ):
            served = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        fix = f"Put its authority into {docker_config.folder()}/certs.d/{name}/ca.crt and /etc/docker/certs.d/{name}/ca.crt, or renew it."
        return wrong(f"the certificate of {name} is not trusted: {error.verify_message}", fix)
    except RegistryToolError as error:
        return wrong(error.message, error.hint or "Repair the file, or move it away.")
    except OSError as error:
        return skipped(f"{name} does not respond: {error.strerror or error}")
    return _lasting(f"the certificate of {name}", ssl.cert_time_to_seconds(str(served["notAfter"])))


def _lasting(what: str, end: float) -> Observation:
    """``end`` is in Unix seconds."""
    day = time.strftime("%Y-%m-%d", time.gmtime(end))
    if end < time.time():
        return wrong(f"{what} expired on {day}", "Renew it.")
    return warning(f"{what} ends on {day}", "Renew it.") if end < time.time() + _SOON else ok(f"{what} lasts until {day}")


# --- small things ---


def _local_registries(surroundings: Surroundings) -> tuple[CheckedRegistry, ...]:
    return tuple(each for each in _registries(surroundings) if each.local is not None and surroundings.responds(each))


def _registries(surroundings: Surroundings) -> tuple[CheckedRegistry, ...]:
    """The registries that are looked at; without an engine none."""
    try:
        return surroundings.registries
    except RegistryToolError:
        return ()


def _is_same_server(port: int, *, tls: bool) -> bool:
    """Whether nothing answers on ::1, or a registry does, as on 127.0.0.1."""
    try:
        socket.create_connection(("::1", port), timeout=_TIMEOUT).close()
    except OSError:
        return True
    try:
        page = get_page(f"{'https' if tls else 'http'}://[::1]:{port}/v2/", timeout=_TIMEOUT)
    except NoResponse:
        return False
    return "docker-distribution-api-version" in page.headers


def _engine_url(surroundings: Surroundings) -> str:
    try:
        return surroundings.engine.endpoint.url
    except RegistryToolError:
        return ""


def _without_password(url: str) -> str:
    scheme, separator, address = url.rpartition("://")
    return f"{scheme}{separator}{address.rpartition('@')[2]}"
