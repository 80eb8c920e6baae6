"""``run``: run a container in the foreground or in the background."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from registry_tool.base import labels
from registry_tool.base.errors import Conflict, NotFound, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.engine import Container, ContainerSpec, PortBinding

_CONTAINER_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
"""What docker accepts; checked here, so that no image is pulled in vain."""


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the container's id.")
@click.option("-i", "--interactive", is_flag=True, help="Keep standard input open.")
@click.option("-t", "--tty", is_flag=True, help="Allocate a terminal.")
@click.option(
    "-p",
    "--publish",
    metavar="[[IP:]PORT:]PORT",
    multiple=True,
    type=options.published_ports,
    help="Publish a port or a range: 4000:80 is 4000 here, 80 in the container; 127.0.0.1:4000:80 for this machine alone.",
)
@click.option("-P", "--publish-all", is_flag=True, help="Publish each port that the image exposes on a free one.")
@click.option("-e", "--env", metavar="KEY[=VALUE]", multiple=True, help="Set a variable; KEY alone takes its value from this shell.")
@click.option("--name", metavar="NAME", help="Name of the container.")
@click.option("--rm", "remove", is_flag=True, help="Remove the container when it exits.")
@options.as_json
@click.pass_obj
def run(
    session: Session,
    image: str,
    command: tuple[str, ...],
    detach: bool,
    interactive: bool,
    tty: bool,
    publish: tuple[tuple[PortBinding, ...], ...],
    publish_all: bool,
    env: tuple[str, ...],
    name: str | None,
    remove: bool,
) -> int:
    """Run a container of IMAGE, with COMMAND instead of the image's own. An image that the engine does not have is pulled.

    In the foreground, regctl prints the container's output, stops it on Ctrl-C, and exits with its exit code.

    \b
    Examples:
      regctl run -p 4000:80 friendlyhello
      regctl run -d -p 4000:80 john/get-started:part2
      regctl run -it --rm friendlyhello sh
    """
    out = session.output
    if out.json and not detach:
        raise UsageError("--json needs -d: in the foreground the output is the container's", hint="Add -d.")
    if tty and interactive and not detach and not sys.stdin.isatty():
        raise UsageError("-it needs a terminal, and standard input is not one", hint="Leave -t out: regctl run -i …")
    spec = _spec(image, command, env, name)
    ports = tuple(binding for bindings in publish for binding in bindings)
    spec = replace(spec, tty=tty, interactive=interactive, ports=ports, publish_all=publish_all)
    from registry_tool.local.images import transfer

    with session.observer(quiet=out.json) as observer:
        present = transfer.ensure_image(session.engine, session.registry_host(image), image, observer=observer)
    if present.note:
        out.note(present.note)
    if present.result:
        out.note(f"Digest: {present.result.digest}")
        out.note(f"Status: {present.result.status}")
    spec = replace(spec, image=present.name)
    if not detach:
        return _run_attached(session, spec, remove=remove)
    container = session.engine.run(replace(spec, remove=remove))
    out.result({"id": container.id, "name": container.name, "image": present.name, "image_id": present.image_id}, container.id)
    return 0


def _spec(image: str, command: tuple[str, ...], env: tuple[str, ...], name: str | None) -> ContainerSpec:
    from registry_tool.engine import ContainerSpec

    if name and not _CONTAINER_NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is not a container name",
            hint="Use two or more letters, digits, '_', '.' and '-', beginning with a letter or digit: --name web",
        )
    return ContainerSpec(
        image=image,
        command=command,
        name=name,
        environment=options.key_value_pairs(env, "-e", os.environ),
        labels={labels.ROLE: labels.ROLE_RUN},
    )


def _run_attached(session: Session, spec: ContainerSpec, *, remove: bool) -> int:
    """Attach, start, and connect the streams until the container exits; an interruption stops it."""
    from registry_tool.cli import terminal

    engine = session.engine
    container = engine.create(spec)
    started = exited = False
    try:
        with engine.attach(container.id, stdin=spec.interactive) as stream:
            engine.start(container.id)
            started = True
            terminal.connect_streams(engine, container, stream, spec, session.output)
        if (now := engine.container(container.id)) is not None and now.running and spec.interactive and spec.tty:
            # Detached with Ctrl-P Ctrl-Q.
            session.output.note(f"detached; {container.name} is still running. Stop it with: regctl stop {container.name}")
            exited, remove = True, False
            return 0
        code = engine.wait(container.id)
        exited = True
        return code
    finally:
        if started and not exited:
            _stop(session, container)
        if remove or not started:
            engine.remove(container.id, force=True, missing_ok=True)


def _stop(session: Session, container: Container) -> None:
    session.output.note(f"stopping {container.name or formatting.short_id(container.id)}")
    with suppress(NotFound, Conflict):  # it exited meanwhile
        session.engine.stop(container.id)
