"""Authorities (``*.crt``) and client certificates (``NAME.cert``, ``NAME.key``) by registry, as docker's: ``certs.d/HOST[:PORT]``."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from registry_tool.auth import docker_config
from registry_tool.base.dirs import state_folder
from registry_tool.base.errors import RegistryUnreachable

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def ssl_context(host: str, *, verify: bool, bundle: str | None) -> ssl.SSLContext:
    """The TLS settings for ``host`` (with the port, where it was given).

    Without ``verify`` any certificate is taken, as the engine does on loopback. Where none of the environment's
    variables names authorities, they are the system's and those in the file ``bundle``, if any; ``certs.d`` adds to them.
    Raises RegistryUnreachable where a certificate file is unusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        variable, path = authorities_variable() or (None, bundle)
        if variable is None:
            context.load_default_certs()
        if path is not None:
            _load_authorities(context, host, Path(path), variable)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for folder in _folders(host):
        if verify:
            for file in sorted(folder.glob("*.crt")):
                _load_authorities(context, host, file)
        for certificate in sorted(folder.glob("*.cert")):
            _load_client_certificate(context, host, certificate)
    return context


def authorities_variable() -> tuple[str, str] | None:
    """Name and value of the environment variable that names the authorities, if one does: the first of those that others read, too."""
    return next(iter(authorities_variables()), None)


def authorities_variables() -> tuple[tuple[str, str], ...]:
    """Name and value of each environment variable that names authorities, for this or other programs."""
    return tuple((name, value) for name in _VARIABLES if (value := os.environ.get(name)))


def certificate_folders() -> Iterator[Path]:
    """The ``certs.d`` of this tool, docker and podman, with and without root, as far as they exist: a folder for each registry."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    bases = (state_folder(), docker_config.folder(), config / "docker", config / "containers", Path("/etc/docker"), Path("/etc/containers"))
    yield from (base / "certs.d" for base in dict.fromkeys(bases) if (base / "certs.d").is_dir())


def _folders(host: str) -> Iterator[Path]:
    yield from (folder / host for folder in certificate_folders() if (folder / host).is_dir())


def _load_authorities(context: ssl.SSLContext, host: str, path: Path, variable: str | None = None) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(host, path, error.strerror or str(error), variable) from error


def _load_client_certificate(context: ssl.SSLContext, host: str, certificate: Path) -> None:
    def refuse_password() -> str:
        # Without this OpenSSL would ask on the terminal, below every bar and in the middle of a script.
        raise _unusable(host, certificate, "its key needs a password, which is not supported")

    key = certificate.with_suffix(".key")
    if not key.exists():
        raise _unusable(host, certificate, f"{key.name} is missing beside it; an authority's certificate ends in .crt")
    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(host, certificate, str(error)) from error


def _unusable(host: str, path: Path, why: str, variable: str | None = None) -> RegistryUnreachable:
    hint = f"Repair the file, or the variable {variable}, which names it." if variable else "Repair the file, or move it away."
    return RegistryUnreachable(f"{host} cannot be trusted: {path}: {why}", hint=hint)
