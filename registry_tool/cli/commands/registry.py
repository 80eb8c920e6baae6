"""``up``, ``down``, ``status`` and ``logs``: the local registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base.codec import to_json
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import completions, options, program_name
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry_tool.cli.views.progress import ProgressLines
    from registry_tool.local.clients.mirror import ClientSetting
    from registry_tool.local.registry import LocalRegistry, PortMove, Proxy, ServerTls

_MAX_NAMES = 5
_STARTS = 30.0  # seconds until a registry that was just started should respond

_name = click.option("--name", metavar="NAME", default="default", show_default=True, help="Name of the registry.")


@click.command("up")
@_name
@click.option("-p", "--port", metavar="PORT", type=options.port_number, help="Port to listen on.  [default: first free from 5000]")
@click.option("--auth", metavar="USER", help="Require a login as USER (prompts for the password).")
@click.option("--password-file", type=click.Path(path_type=Path), help="Read the password for --auth from a file.")
@click.option("--password-stdin", is_flag=True, help="Read the password for --auth from standard input.")
@click.option("--listen", metavar="ADDRESS", help="Address of this machine to listen at, beside loopback; 0.0.0.0: all.")
@click.option("--tls/--no-tls", default=None, help="Speak TLS, with a certificate by an authority of this tool, or stop that.")
@click.option("--cert", type=click.Path(path_type=Path), help="Speak TLS with this certificate, followed by its authorities' (PEM).")
@click.option("--key", type=click.Path(path_type=Path), help="The private key of --cert (PEM).")
@click.option("--tls-name", "names", metavar="NAME", multiple=True, help="Further name or address for the certificate of --tls.")
@click.option("--insecure", is_flag=True, help="Listen beyond loopback even without --auth and --tls.")
@click.option("--restart", metavar="POLICY", help="no, always, unless-stopped or on-failure[:N].  [default: unless-stopped]")
@click.option("--proxy", metavar="URL", help="Make it a mirror that fetches images from the registry at URL when they are pulled.")
@click.option("--proxy-user", metavar="USER", help="Log in to URL as USER (prompts for the password).")
@click.option("--proxy-password-file", type=click.Path(path_type=Path), help="Read the password for --proxy-user from a file.")
@click.option("--proxy-password-stdin", is_flag=True, help="Read the password for --proxy-user from standard input.")
@click.option("--timeout", metavar="SECONDS", type=options.seconds, default=30.0, show_default=True, help="Time limit until it is ready.")
@options.yes
@options.quiet("its address")
@options.as_json
@click.pass_obj
def up(
    session: Session,
    name: str,
    port: int | None,
    auth: str | None,
    password_file: Path | None,
    password_stdin: bool,
    listen: str | None,
    tls: bool | None,
    cert: Path | None,
    key: Path | None,
    names: tuple[str, ...],
    insecure: bool,
    restart: str | None,
    proxy: str | None,
    proxy_user: str | None,
    proxy_password_file: Path | None,
    proxy_password_stdin: bool,
    timeout: float,
    yes: bool,
    quiet: bool,
) -> int:
    """Start the local registry. Nothing happens if it is running already.

    Its content is in a volume, which stays when the container is removed. --port moves a registry that has another port; asks for
    confirmation if the engine has images named after the old address.

    It is reachable from this machine only, unless --listen names an address of it; that requires --auth and --tls, so that nobody
    reads or changes what is not theirs. Options are remembered. The certificate of --tls is valid for a year; "up" renews it when less
    than a third of that is left.

    --proxy makes a pull-through mirror: it takes no pushes, keeps what was pulled, and serves that when the upstream is gone.

    \b
    Examples:
      regctl up
      regctl up --name team --port 5001 --auth john
      regctl up --name mirror --proxy https://registry-1.docker.io
      regctl up --listen 0.0.0.0 --tls --auth john
    """
    from registry_tool.local.bring_up import registry_up
    from registry_tool.local.clients.mirror import mirror_settings
    from registry_tool.local.registry import Auth

    if auth is None and (password_file or password_stdin):
        raise UsageError("a password needs a user", hint="Name the user with --auth USER.")
    chosen_tls = _tls(tls, cert, key)
    who = None
    if auth is not None:
        who = Auth(user=auth, password=options.password(f"Password for {auth}", file=password_file, stdin=password_stdin, twice=True))
    if proxy_password_stdin and password_stdin:
        raise UsageError("two passwords cannot be read from standard input", hint="Give one with --password-file or --proxy-password-file.")
    upstream = _proxy(proxy, user=proxy_user, file=proxy_password_file, stdin=proxy_password_stdin)
    try:
        with session.observer(quiet=quiet) as observer:
            result = registry_up(
                session.engine,
                session.dirs,
                name=name,
                port=port,
                auth=who,
                restart=restart,
                proxy=upstream,
                timeout=timeout,
                on_move=lambda move: _confirm_move(session, observer, move, yes=yes),
                listen=listen,
                tls=chosen_tls,
                names=names or None,
                insecure=insecure,
                observer=observer,
            )
    except _DeclinedError:
        return 1
    registry, image = result.up.registry, result.base_image
    created, source, port_note = result.up.created, image.source if image else None, result.up.port_note
    hosts, certificate_note = result.up.hosts, result.up.certificate_note
    if not (quiet or session.output.json):
        reach = f"other machines reach it at {', '.join(hosts)}" if hosts else None
        for note in filter(None, (port_note, reach, certificate_note)):
            session.output.note(note)
    if result.up.upstream_problem:
        session.output.note(f"{registry.proxy} cannot be used now ({result.up.upstream_problem}): what is stored is served")
    made_from = f"{registry.image}, from {source}" if source else registry.image
    text = f"{registry.name}: {'started' if created else 'already up'} at {registry.address} ({made_from})"
    clients = mirror_settings(registry)
    document = {
        "registry": registry,
        "created": created,
        "provisioned": source,
        "port_note": port_note,
        "hosts": hosts,
        "certificate_note": certificate_note,
        "upstream_problem": result.up.upstream_problem,
        "clients": clients,
    }
    session.output.result(document, *([registry.address] if quiet else [text, *_mirror_lines(registry, clients)]))
    return 0


def _proxy(url: str | None, *, user: str | None, file: Path | None, stdin: bool) -> Proxy | None:
    """The upstream that was typed, with its password. Raises UsageError."""
    from registry_tool.local.registry import Proxy

    if user is None and (file or stdin):
        raise UsageError("a password needs a user", hint="Name the user with --proxy-user USER.")
    if url is None:
        if user is not None:
            raise UsageError("--proxy-user needs --proxy", hint="Name the upstream: --proxy URL")
        return None
    proxy = Proxy.parse(url)
    if user is None:
        return proxy
    return replace(proxy, user=user, password=options.password(f"Password for {user} at {proxy.host}", file=file, stdin=stdin))


def _mirror_lines(registry: LocalRegistry, clients: Sequence[ClientSetting]) -> Iterator[str]:
    """What a person needs to know of a proxy."""
    if registry.proxy is None:
        return
    yield f"It fetches from {registry.proxy} what is pulled, and keeps it."
    yield "To pull through it:"
    for setting in clients:
        yield f"{setting.client}: {setting.path or setting.content}"
        yield from (f"    {line}".rstrip() for line in setting.content.splitlines() if setting.path)


def _tls(tls: bool | None, cert: Path | None, key: Path | None) -> ServerTls | None:
    """What --tls, --no-tls, --cert and --key say together. Raises UsageError."""
    from registry_tool.local.registry import ServerTls, read_files

    if (cert is None) != (key is None):
        raise UsageError("--cert and --key need each other")
    if cert is not None and key is not None:
        if tls is False:
            raise UsageError("--cert and --no-tls exclude each other")
        return ServerTls(kind="files", files=read_files(cert, key))
    return None if tls is None else ServerTls(kind="ca" if tls else None)


class _DeclinedError(Exception):
    """The answer to a question was no."""


def _confirm_move(session: Session, observer: ProgressLines, move: PortMove, *, yes: bool) -> None:
    """Ask before names of images lead nowhere. Raises ConfirmationRequired."""
    if not move.names:
        return
    observer.stop()
    shown = [f"  {name}" for name in move.names[:_MAX_NAMES]]
    if len(move.names) > _MAX_NAMES:
        shown.append(f"  and {len(move.names) - _MAX_NAMES} more")
    lines = [f"This moves the registry {move.name} from {move.before} to {move.after}. These names of images no longer lead to it:", *shown]
    if not session.confirm(lines, yes=yes, otherwise="Nothing was changed."):
        raise _DeclinedError


@click.command("down")
@_name
@click.option("-v", "--volumes", is_flag=True, help="Also remove its content (asks for confirmation).")
@options.yes
@options.missing_ok
@options.as_json
@click.pass_obj
def down(session: Session, name: str, volumes: bool, yes: bool, missing_ok: bool) -> int:
    """Remove the local registry's container. Its content stays in a volume, which the next "up" uses again.

    \b
    Examples:
      regctl down
      regctl down --volumes
    """
    from registry_tool.local import registry as local_registry
    from registry_tool.local.registry.spec import name_option

    if volumes:
        session.engine  # noqa: B018 - without an engine there is nothing to ask about
        if not session.confirm([f"This removes the registry {name} and everything in it."], yes=yes):
            return 1
    try:
        with session.observer() as observer:
            result = local_registry.down(session.engine, name, volumes=volumes, state=session.dirs.state, observer=observer)
    except NotFound:
        if not missing_ok:
            raise
        result = local_registry.DownResult(name=name)
    lines = [f"removed the container {container}" for container in result.removed]
    if not (result.removed or result.volume_removed):
        lines.append("nothing to remove")
    if result.volume_removed:
        lines.append(f"removed the volume {result.volume_removed}, with everything in it")
    elif result.volume_kept:
        me, option = program_name.command(), name_option(name)
        bring_back, remove = f"{me} up{option} brings it back", f"{me} down{option} --volumes removes it"
        lines.append(f"the content stays in the volume {result.volume_kept} ({bring_back}, {remove})")
    session.output.result(result, *(f"{name}: {line}" for line in lines))
    return 0


@click.command("status")
@click.option("--name", metavar="NAME", help="Show only this registry.")
@click.option("--env", is_flag=True, help="Print settings for docker-compose.registry.yml, as its .env file.")
@options.quiet("its address")
@options.as_json
@click.pass_obj
def status(session: Session, name: str | None, env: bool, quiet: bool) -> int:
    """Show whether the local registry runs. Exit code: 0 running, 1 not running, 3 no engine.

    \b
    Examples:
      regctl status
      regctl status --env > .env
    """
    from registry_tool.local import registry as local_registry
    from registry_tool.local.registry.recovery import find_collections
    from registry_tool.local.registry.spec import check_name

    if name is not None:
        check_name(name)
    out = session.output
    if env:
        out.lines(_env(session, name or local_registry.DEFAULT_NAME))
        return 0
    collections = find_collections(session.engine, name)
    if collections:
        recover(session, name)
        collections = find_collections(session.engine, name)
    collected = {each.container_id for each in collections if each.stand_ins}
    registries = [
        replace(registry, state="read-only") if registry.container_id in collected else registry
        for registry in local_registry.find_all(session.engine)
        if name in (None, registry.name)
    ]
    chosen = next(
        (registry for registry in registries if registry.name == (name or "default")), registries[0] if len(registries) == 1 else None
    )
    ready = {registry.name: registry.state in ("running", "read-only") and local_registry.is_ready(registry) for registry in registries}
    running = chosen is not None and ready[chosen.name]
    if out.json:
        documents = [{**to_json(registry), "answering": ready[registry.name]} for registry in registries]
        out.document({"running": running, "registry": chosen.name if chosen else None, "registries": documents})
    elif quiet:
        if running and chosen is not None:
            out.line(chosen.address)
    elif registries:
        heads = ["NAME", "ADDRESS", "STATE", "USER", "IMAGE", "VOLUME", "STARTED BY"]
        rows = [_row(registry, answering=ready[registry.name]) for registry in registries]
        if any(registry.proxy for registry in registries):
            heads, rows = [*heads, "PROXY OF"], [[*row, registry.proxy or ""] for row, registry in zip(rows, registries, strict=True)]
        if any(registry.tls or registry.listens_beyond_loopback for registry in registries):
            heads, rows = [*heads, "LISTENS AT"], [[*row, _listens_at(each)] for row, each in zip(rows, registries, strict=True)]
        out.table(heads, rows)
        for note in filter(None, (_certificate_note(session, registry) for registry in registries if registry.tls)):
            out.note(note)
        # Compose's file knows the default registry alone.
        if any(registry.started_by == "registry-tool" and registry.name == local_registry.DEFAULT_NAME for registry in registries):
            out.note("To hand it to compose: regctl down, then docker-compose -f docker-compose.registry.yml up -d (its content stays).")
    else:
        named, option = (f" named {name}", f" --name {name}") if name else ("", "")
        out.line(f"no local registry{named}; start it with: {program_name.command()} up{option}")
    return 0 if running else 1


@click.command("logs")
@click.argument("name", default="default", shell_complete=completions.containers)
@click.option("-f", "--follow", is_flag=True, help="Follow the output until Ctrl-C.")
@click.option("-n", "--tail", metavar="LINES", type=options.tail, help="Print only the last lines; all is all of them.")
@click.option("--since", metavar="TIME", type=options.since, help="Print only lines since TIME: 10m (ago), 2024-05-06T07:08:09Z.")
@click.option("-t", "--timestamps", is_flag=True, help="Print the time of each line.")
@click.pass_obj
def logs(session: Session, name: str, follow: bool, tail: int | None, since: str | None, timestamps: bool) -> None:
    """Print the logs of the local registry NAME or, if there is none of that name, of the container NAME.

    \b
    Examples:
      regctl logs -f
      regctl logs -n 20 my-container
      regctl logs -t --since 10m my-container
    """
    from registry_tool.local import registry as local_registry

    engine = session.engine
    registry = local_registry.find(engine, name)
    container = engine.container(registry.container_id if registry else name)
    if container is None:
        hint = "Start it with: regctl up" if name == "default" else "See: regctl status, regctl ps -a"
        raise NotFound(f"there is neither a registry nor a container named {name}" if name != "default" else "no local registry", hint=hint)
    for stream, chunk in engine.logs(container.id, follow=follow, tail=tail, since=since, timestamps=timestamps):
        (session.output.write_bytes if stream == "stdout" else session.output.write_error_bytes)(chunk)


def recover(session: Session, name: str | None) -> None:
    """Bring back the registry ``name``, or all, whose garbage collection died, and say so."""
    from registry_tool.base.deadline import Deadline, poll
    from registry_tool.local import registry as local_registry
    from registry_tool.local.registry import recovery

    for dead in recovery.recover(session.engine, name, state=session.dirs.state):
        session.output.note(recovery.interruption(dead))
        registry = local_registry.find(session.engine, dead.registry)
        if registry is not None and registry.running:
            poll(lambda: local_registry.is_ready(registry), Deadline(_STARTS))  # noqa: B023 - it is called in this round only


def _env(session: Session, name: str) -> tuple[str, ...]:
    """Settings for compose: the registry's port, and images that replace official ones on this engine."""
    from registry_tool.local import registry as local_registry
    from registry_tool.local.base_images import REDIS, REGISTRY
    from registry_tool.local.registry.spec import DEFAULT_PORT

    registry = local_registry.find(session.engine, name)
    port = registry.port if registry and registry.port else DEFAULT_PORT
    wanted = {
        "registry": (registry.image,) if registry else (REGISTRY.official, REGISTRY.local_name),
        "app": (f"localhost:{port}/john/get-started:part2",),
        "redis": (REDIS.official, REDIS.local_name),
    }
    present = {role: next((image for image in images if session.engine.image(image)), None) for role, images in wanted.items()}
    return local_registry.compose_env(port=port, images={role: image for role, image in present.items() if image})


def _listens_at(registry: LocalRegistry) -> str:
    return f"{registry.listen}, with TLS" if registry.tls else registry.listen


def _certificate_note(session: Session, registry: LocalRegistry) -> str | None:
    """What a person has to do about the certificate of a registry, if anything."""
    from registry_tool.local.registry import serving
    from registry_tool.local.registry.spec import name_option

    info = serving.server_certificate(session.engine, registry)
    if info is None:
        return f"{registry.name}: its certificate cannot be read"
    if not serving.is_ending(info):
        return None
    return f"{registry.name}: its certificate is valid until {info.not_after:%Y-%m-%d}; to renew it: regctl up{name_option(registry.name)}"


def _row(registry: LocalRegistry, *, answering: bool) -> list[str]:
    state = {"running": "running, not responding"}.get(registry.state, registry.state) if not answering else registry.state
    if state == "read-only":
        state = "read-only, collecting garbage"
    return [registry.name, registry.address, state, registry.user or "anyone", registry.image, registry.volume, registry.started_by]
