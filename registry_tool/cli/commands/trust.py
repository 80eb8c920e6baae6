"""``trust``: what clients need so that they trust a registry's certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry_tool.local.clients.trust import ClientFile

_CLIENTS = ("regctl", "docker", "podman", "system", "containerd", "kind", "k3d", "insecure")


@click.command("trust")
@click.argument("registry", required=False, type=options.registry_host)
@click.option("--ca", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Certificate of the authority (PEM).")
@click.option(
    "--for",
    "clients",
    metavar="CLIENT",
    type=click.Choice(_CLIENTS),
    multiple=True,
    help=f"One of {', '.join(_CLIENTS)}; repeatable.  [default: those of the first three, and containerd, that are here]",
)
@click.option("--apply", "is_applied", is_flag=True, help="Write the files.")
@options.as_json
@click.pass_obj
def trust(session: Session, registry: str | None, ca: Path | None, clients: tuple[str, ...], is_applied: bool) -> int:
    """Show what clients need so that they trust the certificate of REGISTRY (HOST[:PORT]); --apply writes it.

    The authority is that of the local registry, with every name of its certificate, or in the FILE of --ca. Without --apply
    nothing is written. Files that are right are left; where this user may not write one, the command that does it is printed.
    "--for podman" is skopeo and buildah, too; "--for insecure" makes docker accept any certificate, or none.

    \b
    Examples:
      regctl trust
      regctl trust registry.lan:5000 --ca ca.crt --apply
      regctl trust registry.lan:5000 --ca ca.crt --for docker --for system
    """
    from registry_tool.local.clients import trust as local_trust

    hosts, authorities = _authorities(session, registry, ca)
    paths = local_trust.ClientPaths()
    chosen = clients or local_trust.usual_clients(paths)
    files = local_trust.plan(hosts, authorities, chosen, paths, engine=session.connect_engine)
    if is_applied:
        needs_engine = any(file.node for file in files)
        files = local_trust.apply(files, engine=session.engine if needs_engine else None)
    is_failed = any(file.state == "failed" for file in files)
    document = {"hosts": hosts, "applied": is_applied, "files": files}
    session.output.result(document, *lines(hosts, files, is_applied=is_applied))
    return 1 if is_failed else 0


def lines(hosts: Sequence[str], files: Sequence[ClientFile], *, is_applied: bool) -> Iterator[str]:
    """What a person reads of the files."""
    certificate = next((file.content for file in files if file.path.suffix == ".crt"), None)
    for file in files:
        where = f"{file.path}{f' in {file.node}' if file.node else ''}"
        if file.state == "failed":
            yield f"{file.client}: {where} was not written: {file.error}. Run:"
            yield from (f"    {line}" for line in file.shell.splitlines())
            continue
        yield f"{file.client}: {where}: {_STATES[file.state]}"
        if file.state == "missing":
            if file.content != certificate:
                yield from (f"    {line}" for line in file.content.splitlines())
            if file.command:
                yield f"  then: {file.command}"
        if file.note and file.state != "present":
            yield f"  {file.note}"
    if not is_applied and certificate:
        yield "The files .crt have to hold:"
        yield from (f"    {line}" for line in certificate.splitlines())
    if not is_applied and any(file.state == "missing" for file in files):
        yield f"Nothing was written; --apply does it, so that {', '.join(hosts)} is trusted."


_STATES = {"missing": "is missing", "present": "is as it has to be", "written": "written"}


def _authorities(session: Session, registry: str | None, ca: Path | None) -> tuple[tuple[str, ...], bytes]:
    """Hosts and authorities: of ``--ca``, else of a local registry. Raises UsageError, NotFound, RegistryToolError."""
    from registry_tool.local.clients.trust import read_authorities

    if ca is not None:
        host = registry or session.required_registry_host("Name the registry: regctl trust HOST[:PORT] --ca FILE")
        try:
            return (host,), read_authorities(ca.read_bytes(), str(ca))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise (NotFound if missing else RegistryToolError)(f"{ca} cannot be read: {error.strerror or error}") from None
    return _of_local_registry(session, registry)


def _of_local_registry(session: Session, host: str | None) -> tuple[tuple[str, ...], bytes]:
    """What the volume of a local registry has: of the one at ``host``, or of the first with TLS, the default one before others.

    Raises UsageError. A registry elsewhere, with the same port, is none of them.
    """
    from registry_tool.local import registry as local_registry
    from registry_tool.local.registry import serving

    for registry in local_registry.find_all(session.engine):
        authority = serving.authority_certificate(session.engine, registry)
        if authority is not None:
            hosts = serving.hosts(session.engine, registry) or (registry.address,)
            if host in (None, registry.address, *hosts):
                return ((host,) if host else hosts), authority
    raise UsageError(
        f"no registry on this engine has TLS and the address {host}" if host else "no registry on this engine has TLS",
        hint="Name the certificate of its authority: regctl trust HOST[:PORT] --ca FILE",
    )
