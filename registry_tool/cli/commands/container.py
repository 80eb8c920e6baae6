"""``ps``, ``start``, ``stop``, ``restart``, ``kill`` and ``rm``: containers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from registry_tool.base import labels, units
from registry_tool.base.codec import select
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting
from registry_tool.cli.views.go_template import ListFormat

if TYPE_CHECKING:
    from registry_tool.engine import Container, PortBinding

_OURS = (labels.ROLE_REGISTRY, labels.ROLE_RUN, labels.ROLE_DEMO, labels.ROLE_PROBE, labels.ROLE_VERIFY, labels.ROLE_COLLECTION)
_SIGNAL = re.compile(r"(?:SIG)?[A-Za-z][A-Za-z0-9+-]*|[0-9]{1,2}")


@click.command("ps")
@click.option("-a", "--all", "everything", is_flag=True, help="Show stopped containers, too, and mark those of this tool.")
@options.list_filters
@options.list_format
@options.no_trunc
@options.quiet("ids")
@options.as_json
@click.pass_obj
def ps(session: Session, everything: bool, filters: tuple[str, ...], template: str | None, no_trunc: bool, quiet: bool) -> None:
    """List the engine's running containers, newest first.

    \b
    Examples:
      regctl ps
      regctl ps -a -q
      regctl ps --filter name=web --format '{{.Names}}: {{.Status}}'
    """
    wanted = ListFormat.parse(template, _FIELDS) if template is not None else None
    listed = session.engine.containers(all=everything, filters=options.filters(filters))
    containers = sorted(listed, key=lambda container: container.created, reverse=True)
    out = session.output
    if out.json:
        out.document({"containers": [_document(container) for container in containers]})
    elif wanted is not None:
        out.lines(wanted.lines([_fields(container, no_trunc=no_trunc) for container in containers]))
    elif quiet:
        out.lines([container.id if no_trunc else container.short_id for container in containers])
    else:
        heads = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", *(("OURS",) if everything else ()))
        rows = [
            (*_row(each, short=out.on_terminal and not no_trunc, no_trunc=no_trunc), *((_role(each) or "",) if everything else ()))
            for each in containers
        ]
        out.table(heads, rows)


_time = click.option(
    "-t",
    "--time",
    "seconds",
    metavar="SECONDS",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Time before it is killed.",
)
_signal = click.option("-s", "--signal", metavar="SIGNAL", default="KILL", show_default=True, help="Signal to send: TERM, HUP, 9.")


def _acts_on(complete: Callable[..., Any], *more: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Names of containers and the options of a command for them, ``more`` among them."""
    names = click.argument("names", nargs=-1, required=True, shell_complete=complete)

    def decorate(command: Any) -> Any:
        for decorator in (click.pass_obj, options.as_json, options.missing_ok, *reversed(more), names):
            command = decorator(command)
        return command

    return decorate


@click.command("start")
@_acts_on(completions.containers)
def start(session: Session, names: tuple[str, ...], missing_ok: bool) -> int:
    """Start stopped containers.

    \b
    Example:
      regctl start web
    """
    return _each(session, names, "started", session.engine.start, missing_ok=missing_ok)


@click.command("restart")
@_acts_on(completions.containers, _time)
def restart(session: Session, names: tuple[str, ...], seconds: int, missing_ok: bool) -> int:
    """Stop containers as "stop" does, and start them again.

    \b
    Example:
      regctl restart web
    """
    return _each(session, names, "restarted", lambda id: session.engine.restart(id, timeout=seconds), missing_ok=missing_ok)


@click.command("stop")
@_acts_on(completions.running_containers, _time)
def stop(session: Session, names: tuple[str, ...], seconds: int, missing_ok: bool) -> int:
    """Stop containers; those that do not exit in time are killed.

    \b
    Example:
      regctl stop web
    """
    return _each(session, names, "stopped", lambda id: session.engine.stop(id, timeout=seconds), missing_ok=missing_ok)


@click.command("kill")
@_acts_on(completions.running_containers, _signal)
def kill(session: Session, names: tuple[str, ...], signal: str, missing_ok: bool) -> int:
    """Kill containers, or send them another signal.

    \b
    Examples:
      regctl kill web
      regctl kill -s HUP web
    """
    if not _SIGNAL.fullmatch(signal):
        raise UsageError(f"{signal!r} is not a signal", hint="For example: -s TERM, -s HUP, -s 9.")
    return _each(session, names, "killed", lambda id: session.engine.kill(id, signal=signal.upper()), missing_ok=missing_ok)


@click.command("rm")
@click.argument("names", nargs=-1, shell_complete=completions.containers)
@click.option("-f", "--force", is_flag=True, help="Also remove running containers.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help='Remove what "run" started, and what killed runs of "demo" and "verify" left (asks for confirmation).',
)
@options.yes
@options.missing_ok
@options.as_json
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], force: bool, everything: bool, yes: bool, missing_ok: bool) -> int:
    """Remove containers and their anonymous volumes. A local registry is removed by "regctl down".

    \b
    Examples:
      regctl rm -f web
      regctl rm --all
    """
    if bool(names) == everything:
        raise UsageError("rm needs names or --all", hint="For example: regctl rm web")
    if everything:
        return _rm_all(session, yes=yes)
    return _each(session, names, "removed", lambda id: _remove(session, id, force=force), missing_ok=missing_ok)


def _remove(session: Session, container_id: str, *, force: bool) -> None:
    """Remove a container; with the last one of a kept demo its network goes, too."""
    container = session.engine.container(container_id)
    session.engine.remove(container_id, force=force)
    run_id = container.labels.get(labels.DEMO) if container is not None else None
    if run_id:
        from registry_tool.local import orphans

        for name in orphans.forget_kept(session.engine, session.dirs.state, run_id):
            session.output.note(f"removed {name}, which only the demo's containers used")


def _rm_all(session: Session, *, yes: bool) -> int:
    from registry_tool.local import orphans

    engine, state = session.engine, session.dirs.state
    of_demos, of_verifications = orphans.find(engine, state, labels.ROLE_DEMO, kept=True), orphans.find(engine, state, labels.ROLE_VERIFY)
    ran = engine.containers(all=True, labels={labels.ROLE: labels.ROLE_RUN})
    containers = {container.id: container for container in (*ran, *of_demos.containers, *of_verifications.containers)}
    networks = [network.name for network in (*of_demos.networks, *of_verifications.networks)]
    volumes = [volume.name for volume in (*of_demos.volumes, *of_verifications.volumes)]
    plan = [f"  {each.name or each.short_id} ({each.image}, {each.status or each.state})" for each in containers.values()]
    plan += [f"  network {name}" for name in networks] + [f"  volume {name}" for name in volumes]
    headline = f"{units.count(len(containers), 'container')} will be removed:" if containers else "These will be removed:"
    if plan and not session.confirm([headline, *plan], yes=yes):
        return 1
    done: list[str] = []

    def act(container_id: str) -> list[str]:
        container = containers[container_id]
        # What a killed verify left need not exit in order.
        if container.running and container not in of_verifications.containers:
            engine.stop(container_id)
        engine.remove(container_id, force=True)
        done.append(container.name or container.short_id)
        return done[-1:]

    # A container may be removed meanwhile by itself (--rm).
    failures = session.for_each(list(containers), act, missing_ok=True)
    orphans.remove(engine, state, of_demos)
    orphans.remove(engine, state, of_verifications)
    return session.output.finish({"removed": done, "networks": networks, "volumes": volumes}, failures)


def _each(session: Session, names: tuple[str, ...], word: str, act: Callable[[str], None], *, missing_ok: bool) -> int:
    """``act`` on the container that each name means; the name is printed as it was typed, as docker does."""
    done: list[str] = []

    def once(name: str) -> list[str]:
        container = session.engine.container(name)
        if container is None:
            raise NotFound(f"no such container: {name}", hint="See: regctl ps -a")
        act(container.id)
        done.append(name)
        return [name]

    failures = session.for_each(names, once, missing_ok=missing_ok)
    return session.output.finish({word: done}, failures)


def _row(container: Container, *, short: bool, no_trunc: bool) -> tuple[str, ...]:
    command = formatting.one_line(" ".join(container.command))
    return (
        container.id if no_trunc else container.short_id,
        _image(container, no_trunc=no_trunc),
        f'"{formatting.shortened(command, 20) if short else command}"',
        formatting.age(container.created),
        container.status or container.state,
        ", ".join(map(_port, container.ports)),
        container.name,
    )


def _image(container: Container, *, no_trunc: bool) -> str:
    # The engine gives the full id if the image has lost its name.
    is_id = container.image.startswith("sha256:") and not no_trunc
    return formatting.short_id(container.image) if is_id else container.image


def _fields(container: Container, *, no_trunc: bool) -> dict[str, str]:
    """What docker's templates know of a container, without its size, which takes an engine long to find out."""
    command = formatting.one_line(" ".join(container.command))
    return {
        "ID": container.id if no_trunc else container.short_id,
        "Image": _image(container, no_trunc=no_trunc),
        "Command": f'"{command if no_trunc else formatting.shortened(command, 20)}"',
        "CreatedAt": formatting.docker_time(container.created),
        "RunningFor": formatting.age(container.created),
        "Status": container.status or container.state,
        "State": container.state,
        "Ports": ", ".join(map(_port, container.ports)),
        "Names": container.name,
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(container.labels.items())),
        "Mounts": ",".join(filter(None, container.mounts.values())),
        "Networks": ",".join(container.networks),
    }


_FIELDS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
}
"""The fields of docker's templates for containers, and the heads of their columns."""


def _port(binding: PortBinding) -> str:
    address = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip or "0.0.0.0"  # noqa: S104 - docker's way to say "every address"
    return f"{address}:{binding.host_port}->{binding.container_port}"


def _role(container: Container) -> str | None:
    """The role of a container of this tool. Other roles are inherited from its image."""
    role = container.labels.get(labels.ROLE)
    return role if role in _OURS else None


def _document(container: Container) -> dict[str, object]:
    return {
        **select(container, "id name image"),
        "command": " ".join(container.command),
        "created": formatting.json_time(container.created),
        **select(container, "state status"),
        "ports": [select(port, "host_ip host_port container_port") for port in container.ports],
        "ours": _role(container),
    }
