"""``connect``: a local cluster that pulls from the local registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry_tool.base.errors import NotFound
from registry_tool.cli import options, program_name
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry_tool.local.clients.clusters import ClusterPlan, Connected

_KINDS = ("kind", "k3d", "minikube")


@click.command("connect")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("cluster", metavar="NAME")
@click.option("--name", metavar="REGISTRY", default="default", show_default=True, help="Name of the registry.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@options.as_json
@click.pass_obj
def connect(session: Session, kind: str, cluster: str, name: str, dry_run: bool) -> int:
    """Let the cluster NAME of kind, k3d or minikube pull from the local registry, by the same names as this machine.

    The registry joins the network of the cluster, its nodes get a file for containerd, and the config map local-registry-hosting
    says so to tools. A second run changes nothing. After a "down" and "up" of the registry, connect again.

    \b
    Examples:
      regctl connect kind kind
      regctl connect k3d mycluster --dry-run
    """
    from registry_tool.local import registry as local_registry
    from registry_tool.local.clients import clusters
    from registry_tool.local.registry import serving
    from registry_tool.local.registry.lookup import not_found
    from registry_tool.local.registry.spec import resource_name

    engine = session.engine
    registry = local_registry.find(engine, name)
    if registry is None:
        raise not_found(engine, name)
    if not registry.running:
        raise NotFound(f"the registry {name!r} does not run", hint=f"Start it: regctl up --name {name}")
    certificate, authorities = serving.server_certificate(engine, registry), serving.authority_certificate(engine, registry)
    plan = clusters.plan(engine, kind, cluster, registry, certificate=certificate, authorities=authorities)
    if dry_run:
        session.output.result({"ok": True, "applied": False, "plan": plan, "error": None}, *plan_lines(plan))
        return 0
    done = clusters.connect(engine, plan, alias=resource_name(name))
    failed = [file for file in done.files if file.state == "failed"]
    error = done.error or next((file.error for file in failed), None)
    shown = {"ok": error is None, "applied": True, "plan": clusters.after(plan, done), "error": error}
    session.output.result(shown, *result_lines(done))
    return 1 if error else 0


def plan_lines(plan: ClusterPlan) -> Iterator[str]:
    """What a plan would do."""
    for network in plan.networks:
        yield f"docker network connect {network} {plan.container[:12]}"
    for file in plan.files:
        yield f"{file.node}: {file.path}{' (as it has to be)' if file.state == 'present' else ''}"
        if file.state != "present":
            yield from (f"    {line}" for line in file.content.splitlines())
    yield f"kubectl apply, in {plan.node}:"
    yield from (f"    {line}" for line in plan.manifest.splitlines())


def result_lines(done: Connected) -> Iterator[str]:
    """What was done."""
    for network in done.networks:
        yield f"joined the network {network}"
    for file in done.files:
        yield f"{file.node}: {file.path}: {file.error or {'present': 'as it has to be'}.get(file.state, file.state)}"
    if done.error:
        yield f"the config map could not be applied: {done.error}"
        yield "Pulls work without it. To apply it:"
        yield f"  {program_name.command()} connect {done.plan.kind} {done.plan.cluster} --dry-run shows it, for kubectl apply -f -"
    else:
        yield f"{done.plan.cluster}: pods pull {done.plan.address}/NAME"
    if done.plan.kind == "k3d":
        yield f"k3s reads its file when it starts: k3d cluster stop {done.plan.cluster}, then start"
