"""Options that several commands share, and parsers of what is typed for them."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry_tool.base.errors import NotFound, RegistryToolError, UsageError

if TYPE_CHECKING:
    from registry_tool.engine import PortBinding
    from registry_tool.oci.descriptor import Platform

Command = TypeVar("Command", bound=Callable[..., Any])


def as_json(command: Command) -> Command:
    """``--json``. Eager, so that an error in another option is printed as JSON, too."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            context.obj.output.json = True

    option = click.option("--json", is_flag=True, is_eager=True, expose_value=False, callback=remember, help="Print one JSON document.")
    return option(command)


def quiet(what: str) -> Callable[[Command], Command]:
    """``-q``: print ``what`` only."""
    return click.option("-q", "--quiet", is_flag=True, help=f"Print only {what}.")


no_undo = click.option("--no-undo", is_flag=True, help="Keep nothing for undo.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
missing_ok = click.option("--missing-ok", is_flag=True, help="Do not fail if it does not exist.")
no_trunc = click.option("--no-trunc", is_flag=True, help="Print whole ids and commands.")
list_format = click.option(
    "--format", "template", metavar="FORMAT", help="Print each as docker's FORMAT says: '{{.ID}} {{.Names}}', 'table …' or json."
)
list_filters = click.option(
    "--filter", "filters", metavar="KEY=VALUE", multiple=True, help="List only what matches: the engine's filters, as name=web, label=KEY."
)


REGISTRY_ADDRESS = re.compile(r"(?:localhost|[^/@]*[.\]][^/@]*):[0-9]+")
"""A registry's address, where a name may stand; ``app:1`` is a repository and a tag."""


def _stored_in_session(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if not context.resilient_parsing:
        setattr(context.obj, str(parameter.name), value)


_SESSION: dict[str, Any] = {"expose_value": False, "callback": _stored_in_session}
_plain_http = click.option("--plain-http", is_flag=True, default=None, help="Use plain HTTP for a registry elsewhere.", **_SESSION)
_insecure = click.option("--insecure", is_flag=True, default=None, help="Do not check the registry's certificate.", **_SESSION)
auth_file = click.option(
    "--authfile",
    "auth_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read credentials from this auth.json or config.json only.",
    **_SESSION,
)


def connection(command: Command) -> Command:
    """``--plain-http``, ``--insecure``: how the registry is reached; kept in the session."""
    return _plain_http(_insecure(command))


def registry_access(command: Command) -> Command:
    """``--authfile`` besides :func:`connection`: for commands that send requests to a registry."""
    return connection(auth_file(command))


details = click.option(
    "--details/--no-details",
    default=None,
    help="Fetch manifests and configs, or not; Docker Hub counts each as a pull.  [default: only from a registry on this machine]",
)


def seconds(text: str) -> float:
    """A timeout in seconds: more than 0, at most a day. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86400:
        raise UsageError(f"{text!r} is not a timeout", hint="It is in seconds: more than 0, at most 86400.")
    return value


def volume_size(text: str) -> int:
    """Bytes of a volume: 1 MB at least. Raises UsageError."""
    from registry_tool.base import units

    try:
        value = units.parse_size(text)
    except ValueError as error:
        raise UsageError(str(error), hint="It looks like 650MB or 4GB.") from None
    if value < 1_000_000:
        raise UsageError(f"{text} is too small for a volume", hint="It is 1MB at least.")
    return value


def duration(text: str) -> float:
    """Seconds of ``7d``, ``1h30m``, ``0``: not negative, at most ten years. Raises UsageError."""
    from registry_tool.cli.views import times

    try:
        days = re.fullmatch(r"([0-9]{1,4})d", text, re.ASCII)
        value = 86400.0 * int(days[1]) if days else 0.0 if text == "0" else times.span(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 3653 * 86400:
        raise UsageError(f"{text[:80]!r} is not a duration", hint="It looks like 30m, 1h or 7d.")
    return value


undo_for = click.option("--undo-for", metavar="TIME", type=duration, default="7d", show_default=True, help="How long undo can restore it.")


def registry_host(text: str) -> str:
    """``HOST[:PORT]`` of a registry. Raises UsageError."""
    from registry_tool.oci import reference

    host = reference.registry_host(text)
    if not reference.has_host(f"{host}/name"):
        # In a name it would be a part of the repository.
        raise UsageError(f"{text!r} is not a registry's address", hint=f"Give its port, too: {host}:5000")
    return host


def port_number(text: str) -> int:
    """A port number. Raises UsageError."""
    from registry_tool.base.address import parse_port

    try:
        return parse_port(text)
    except ValueError as error:
        raise UsageError(str(error), hint="It looks like 5000.") from None


def published_ports(text: str) -> tuple[PortBinding, ...]:
    """Ports of docker's ``-p``. Raises UsageError."""
    from registry_tool.engine import published_ports

    return published_ports.parse(text)


def run_syntax(parser: str) -> Callable[[str], Any]:
    """The ``parser`` of :mod:`registry_tool.engine.run_syntax`, imported when it is used; it raises UsageError."""

    def parse(text: str) -> Any:
        from registry_tool.engine import run_syntax

        return getattr(run_syntax, parser)(text)

    return parse


def env_file(file: Path) -> dict[str, str]:
    """The variables in docker's ``--env-file``. Raises NotFound, RegistryToolError where it cannot be read; UsageError."""
    from registry_tool.engine import run_syntax

    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {file}", hint="--env-file is relative to the current folder.") from error
    except OSError as error:
        raise RegistryToolError(f"{file} cannot be read: {error.strerror}") from error
    return run_syntax.env_file(content, str(file), os.environ)


def tail(text: str) -> int | None:
    """Number of lines, or ``all`` (None), as docker's ``--tail``. Raises UsageError."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{text[:80]!r} is not a number of lines", hint="For example: -n 20")
    return int(text)


def since(text: str) -> str:
    """Unix seconds of docker's ``--since``: a time ago, RFC 3339 (here, where it has no zone), Unix seconds. Raises UsageError."""
    import time

    from registry_tool.cli.views import times

    try:
        return times.since(text, time.time())
    except (ValueError, OverflowError):
        raise UsageError(f"{text[:80]!r} is not a time", hint="It looks like 10m, 1h30m or 2024-05-06T07:08:09.") from None


def filters(entries: tuple[str, ...]) -> dict[str, list[str]]:
    """Values of docker's ``--filter``: key -> values. Raises UsageError."""
    merged: dict[str, list[str]] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{entry[:80]!r} is not KEY=VALUE", hint="It looks like --filter name=web or --filter label=KEY=VALUE.")
        merged.setdefault(key.strip().lower(), []).append(value.strip())
    return merged


def key_value_pairs(entries: tuple[str, ...], option: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Parse ``KEY=VALUE`` entries; ``KEY`` alone takes its value from ``environment``, as in docker. Raises UsageError."""
    values: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key or any(letter.isspace() for letter in key):
            raise UsageError(f"{entry!r} is not KEY=VALUE", hint=f"It looks like {option} NAME=World.")
        if equals:
            values[key] = value
        elif key in environment:
            values[key] = environment[key]
    return values


def platform(text: str) -> Platform:
    """``OS/ARCH[/VARIANT]``, with the system's version ``OS(VERSION)/ARCH``. Raises UsageError."""
    from registry_tool.oci.descriptor import Platform

    try:
        return Platform.parse(text)
    except ValueError:
        raise UsageError(
            f"{text[:80]!r} is not a platform", hint="It looks like linux/amd64, linux/arm64/v8 or 'windows(10.0.17763)/amd64'."
        ) from None


def platforms(verb: str) -> Callable[[Command], Command]:
    """``--platform``, repeatable, of a command that moves images; ``verb`` is what it does with them."""
    return click.option(
        "--platform",
        "platforms",
        metavar="OS/ARCH",
        type=platform,
        multiple=True,
        help=f"Of an index {verb} this image alone; of several platforms a smaller index.",
    )


def referrers(verb: str) -> Callable[[Command], Command]:
    """``--referrers`` of a command that moves images."""
    return click.option("--referrers", is_flag=True, help=f"{verb.capitalize()} signatures, attestations and SBOMs, too.")


def password(question: str, *, file: Path | None = None, stdin: bool = False, twice: bool = False) -> str:
    """Read a password from ``file``, standard input or the terminal, where ``twice`` asks for a confirmation.

    Never from an argument, which all users of the machine can read. Raises UsageError without a terminal, RegistryToolError
    where the file cannot be read.
    """
    if file is not None and stdin:
        raise UsageError("--password-file and --password-stdin exclude each other")
    if file is None and not stdin:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for the password on", hint="Pipe it in with --password-stdin.")
        typed: str = click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
        return typed
    try:
        text = sys.stdin.read() if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise RegistryToolError(f"the password file {file} cannot be read: {reason}") from error
    if not (secret := text.rstrip("\r\n")):
        raise UsageError(f"there is no password in {file or 'standard input'}")
    return secret
