"""``run``: run a container in the foreground or in the background; ``exec``: run a command in one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry_tool.base import labels
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.base.signals import defer_signals
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.engine import Container, ContainerSpec, Engine
    from registry_tool.engine.exit_wait import ExitWait

Command = TypeVar("Command", bound=Callable[..., Any])

_EXIT_SETTLES = 10.0  # seconds until a container whose output has ended counts as exited
_CONTAINER_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
"""What docker accepts; checked here, so that no image is pulled in vain."""


def _process_options(command: Command) -> Command:
    """The options that ``run`` and ``exec`` share: what the process gets."""
    for option in reversed(
        (
            click.option("-d", "--detach", is_flag=True, help="Run in the background."),
            click.option("-i", "--interactive", is_flag=True, help="Keep standard input open."),
            click.option("-t", "--tty", is_flag=True, help="Allocate a terminal."),
            click.option(
                "-e", "--env", metavar="KEY[=VALUE]", multiple=True, help="Set a variable; KEY alone takes its value from this shell."
            ),
            click.option(
                "--env-file",
                "env_files",
                metavar="FILE",
                multiple=True,
                type=click.Path(path_type=Path),
                help="Set the variables in FILE, a KEY=VALUE on each line.",
            ),
            click.option("-u", "--user", metavar="USER[:GROUP]", default="", help="User to run as.  [default: the image's]"),
            click.option("-w", "--workdir", "working_dir", metavar="FOLDER", help="Working folder in the container."),
        )
    ):
        command = option(command)
    return command


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("image", shell_complete=completions.images)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_process_options
@click.option(
    "-p",
    "--publish",
    metavar="[[IP:]PORT:]PORT",
    multiple=True,
    type=options.published_ports,
    help="Publish a port or a range: 4000:80 is 4000 here, 80 in the container; 127.0.0.1:4000:80 for this machine alone.",
)
@click.option("-P", "--publish-all", is_flag=True, help="Publish each port that the image exposes on a free one.")
@click.option("--name", metavar="NAME", help="Name of the container.")
@click.option("--rm", "remove", is_flag=True, help="Remove the container when it exits.")
@click.option(
    "-v",
    "--volume",
    "binds",
    metavar="SOURCE:PATH[:ro]",
    multiple=True,
    type=options.run_syntax("volume"),
    help="Mount a volume or a folder at PATH.",
)
@click.option(
    "--mount",
    "mounts",
    metavar="KEY=VALUE,…",
    multiple=True,
    type=options.run_syntax("mount"),
    help="Mount as type=bind, volume or tmpfs, with source and target.",
)
@click.option("--network", metavar="NAME", help="Network to join; host, none or container:NAME.")
@click.option("--entrypoint", metavar="PROGRAM", help="Program to run instead of the image's entry point.")
@click.option(
    "--restart",
    metavar="POLICY",
    default="no",
    type=options.run_syntax("restart_policy"),
    help="no, always, unless-stopped or on-failure[:N].  [default: no]",
)
@click.option("-m", "--memory", metavar="SIZE", type=options.run_syntax("memory"), help="Limit of memory: 512m, 1g.")
@click.option("--platform", metavar="OS/ARCH", type=options.platform, help="Platform of a multi-platform image: linux/arm64.")
@click.option(
    "--pull",
    type=click.Choice(("always", "missing", "never")),
    default="missing",
    show_default=True,
    help="When to pull the image from its registry.",
)
@click.option("--sig-proxy", metavar="BOOL", type=bool, default=True, show_default=True, help="Pass signals on to the container.")
@options.as_json
@click.pass_obj
def run(session: Session, /, image: str, command: tuple[str, ...], pull: str, sig_proxy: bool, **given: Any) -> int:
    """Run a container of IMAGE, with COMMAND instead of the image's own. An image that the engine does not have is pulled.

    In the foreground, regctl prints the container's output, passes signals (Ctrl-C) on to it, and exits with its exit code;
    the third Ctrl-C that it ignores stops it. Exit code 125: it could not be run, 126: its command is no program,
    127: its command was not found.

    \b
    Examples:
      regctl run -p 4000:80 friendlyhello
      regctl run -d -p 127.0.0.1:4000:80 john/get-started:part2
      regctl run -it --rm friendlyhello sh
    """
    out = session.output
    if out.json and not given["detach"]:
        raise UsageError("--json needs -d: in the foreground the output is the container's", hint="Add -d.")
    spec = _spec(image, command, given)
    from registry_tool.auth import docker_config
    from registry_tool.local.images import transfer

    platform = given["platform"]
    with session.observer(quiet=out.json) as observer:
        present = transfer.ensure_image(
            session.engine, session.registry_host(image), image, policy=pull, platform=platform, observer=observer
        )
    if present.note:
        out.note(present.note)
    if present.result:
        out.note(f"Digest: {present.result.digest}")
        if present.result.status:
            out.note(f"Status: {present.result.status}")
    proxies = docker_config.proxy_variables(session.engine.endpoint.url, out.note)
    spec = replace(spec, image=present.name, environment={**proxies, **spec.environment})
    if not given["detach"]:
        return _run_attached(session, spec, forward=sig_proxy)
    container = session.engine.run(spec)
    out.result({"id": container.id, "name": container.name, "image": present.name, "image_id": present.image_id}, container.id)
    return 0


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("name", shell_complete=completions.running_containers)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_process_options
@click.pass_obj
def exec(session: Session, /, name: str, command: tuple[str, ...], detach: bool, **given: Any) -> int:
    """Run COMMAND in the running container NAME, and exit with its exit code.

    \b
    Examples:
      regctl exec web ls /
      regctl exec -it web sh
    """
    from registry_tool.cli import terminal
    from registry_tool.engine import ExecSpec

    _check_terminal(given["tty"], given["interactive"], detach=detach)
    engine = session.engine
    container = engine.container(name)
    if container is None:
        raise NotFound(f"no such container: {name}", hint="See: regctl ps -a")
    spec = ExecSpec(
        command=command,
        environment=_environment(given),
        user=given["user"],
        working_dir=given["working_dir"],
        tty=given["tty"],
        interactive=given["interactive"] and not detach,
    )
    exec_id = engine.exec_create(container.id, spec)
    if detach:
        engine.exec_detached(exec_id)
        return 0
    with engine.exec_attach(exec_id, tty=spec.tty) as stream:
        terminal.connect_streams(
            stream,
            session.output,
            interactive=spec.interactive,
            resize=lambda rows, columns: engine.exec_resize(exec_id, rows=rows, columns=columns),
        )
    return engine.exec_exit_code(exec_id)


def _spec(image: str, command: tuple[str, ...], given: dict[str, Any]) -> ContainerSpec:
    from registry_tool.cli import terminal
    from registry_tool.engine import ContainerSpec

    name, entrypoint, tty = given["name"], given["entrypoint"], given["tty"]
    if name and not _CONTAINER_NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is not a container name",
            hint="Use two or more letters, digits, '_', '.' and '-', beginning with a letter or digit: --name web",
        )
    if given["remove"] and given["restart"] != "no":
        raise UsageError("--rm and --restart exclude each other", hint="Leave one of them out.")
    _check_terminal(tty, given["interactive"], detach=given["detach"])
    return ContainerSpec(
        image=image,
        command=command,
        name=name,
        environment=_environment(given),
        labels={labels.ROLE: labels.ROLE_RUN},
        ports=tuple(binding for bindings in given["publish"] for binding in bindings),
        publish_all=given["publish_all"],
        binds=given["binds"],
        mounts=given["mounts"],
        network=given["network"],
        user=given["user"] or None,
        entrypoint=None if entrypoint is None else (entrypoint,),
        working_dir=given["working_dir"],
        platform=str(given["platform"]) if given["platform"] else None,
        restart=given["restart"],
        remove=given["remove"],
        tty=tty,
        terminal_size=terminal.terminal_size() if tty else None,
        interactive=given["interactive"],
        memory=given["memory"],
        swap=True,
    )


def _environment(given: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for file in given["env_files"]:
        values |= options.env_file(file)
    return values | options.key_value_pairs(given["env"], "-e", os.environ)


def _check_terminal(tty: bool, interactive: bool, *, detach: bool) -> None:
    if tty and interactive and not detach and not sys.stdin.isatty():
        raise UsageError("-it needs a terminal, and standard input is not one", hint="Leave -t out: only -i.")


def _run_attached(session: Session, spec: ContainerSpec, *, forward: bool) -> int:
    """Attach, start, and connect streams and signals until the container exits; returns its exit code.

    With ``remove`` the engine removes it, whatever becomes of this program.
    """
    from registry_tool.cli import terminal

    engine = session.engine
    created: list[Container] = []
    waiting: ExitWait | None = None

    def stop() -> None:
        session.output.note(f"stopping {container.name}")
        engine.stop(container.id)

    started = False
    with terminal.SignalForwarder(lambda name: engine.kill(container.id, signal=name), stop, active=forward) as signals:
        try:
            with defer_signals():
                created.append(engine.create(spec))
            container = created[0]
            with engine.attach(container.id, stdin=spec.interactive) as stream:
                # Before the start: a container that is removed, or restarted, has no exit code any more.
                waiting = engine.begin_wait(container.id, removed=spec.remove) if spec.remove or spec.restart != "no" else None
                engine.start(container.id)
                started = True
                signals.begin()
                detached = terminal.connect_streams(
                    stream,
                    session.output,
                    interactive=spec.interactive,
                    resize=lambda rows, columns: engine.resize(container.id, rows=rows, columns=columns),
                )
            if spec.interactive and spec.tty and _stays(engine, container.id, within=0 if detached else _EXIT_SETTLES):
                session.output.note(f"detached; {container.name} is still running. Stop it with: regctl stop {container.name}")
                return 0
            return waiting.exit_code() if waiting else engine.wait(container.id)
        except BaseException:
            if waiting is not None:
                waiting.close()
            if started:
                # Nobody sees what it prints any more.
                with suppress(RegistryToolError):
                    engine.stop(created[0].id)
            for each in created if not started else ():
                engine.remove(each.id, force=True, missing_ok=True)
            raise


def _stays(engine: Engine, container_id: str, *, within: float) -> bool:
    """Whether the container runs on: podman ends its output before it counts as exited, ``within`` seconds at most."""

    def ended() -> bool:
        container = engine.container(container_id)
        return container is None or not container.running

    return not poll(ended, Deadline(within))
