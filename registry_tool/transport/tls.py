"""Whose word on certificates counts, and whose certificate is ours, registry by registry.

As docker has it ("Verify repository client with certificates"): a folder ``certs.d/HOST[:PORT]`` with authorities in
``*.crt``, and with our own certificate in ``NAME.cert`` with its key in ``NAME.key``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from registry_tool.auth import docker_config
from registry_tool.base.errors import RegistryUnreachable

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def context(host: str, *, checked: bool, bundle: str) -> ssl.SSLContext:
    """How TLS is spoken to ``host`` (with the port, where it was given).

    Not ``checked`` takes any certificate, as the engine does on loopback. Where none of the environment's variables
    names authorities, they are the system's and those in the file ``bundle``; ``certs.d`` adds to them. Raises
    RegistryUnreachable where a file that should be one of certificates is not.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if checked:
        named = next((value for name in _VARIABLES if (value := os.environ.get(name))), None)
        if named is None:
            made.load_default_certs()
        _add(made, host, Path(named or bundle))
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    for folder in _folders(host):
        _add_folder(made, host, folder)
    return made


def _folders(host: str) -> Iterator[Path]:
    """Where docker and podman look, with and without root."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    bases = (docker_config.folder(), config / "docker", config / "containers", Path("/etc/docker"), Path("/etc/containers"))
    for base in dict.fromkeys(bases):
        if (folder := base / "certs.d" / host).is_dir():
            yield folder


def _add_folder(made: ssl.SSLContext, host: str, folder: Path) -> None:
    if made.verify_mode is not ssl.CERT_NONE:
        for file in sorted(folder.glob("*.crt")):
            _add(made, host, file)
    for certificate in sorted(folder.glob("*.cert")):
        key = certificate.with_suffix(".key")
        if not key.exists():
            raise _unfit(host, certificate, f"{key.name} is missing beside it; an authority's certificate ends in .crt")
        try:
            made.load_cert_chain(certificate, key, password=lambda path=certificate: _no_password(host, path))
        except (OSError, ssl.SSLError) as error:
            raise _unfit(host, certificate, str(error)) from error


def _add(made: ssl.SSLContext, host: str, file: Path) -> None:
    try:
        if file.is_dir():
            made.load_verify_locations(capath=file)
        else:
            made.load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise _unfit(host, file, error.strerror or str(error)) from error


def _no_password(host: str, path: Path) -> str:
    # Without this OpenSSL would ask on the terminal, below every bar and in the middle of a script.
    raise _unfit(host, path, "its key wants a password, which nobody can be asked for here")


def _unfit(host: str, file: Path, why: str) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"{host} cannot be trusted: {file}: {why}", hint="Repair the file, or the variable or folder that leads to it."
    )
