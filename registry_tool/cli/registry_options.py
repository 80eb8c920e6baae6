"""What the commands share that look into a registry: which repository is meant, and how much is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import RegistryToolError, RegistryUnreachable, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.reference import Reference

NOT_KNOWN = "-"

plain_http = click.option("--plain-http", is_flag=True, help="Speak plain HTTP to a registry that is not on this machine.")


def details(command: options.Command) -> options.Command:
    """``--details`` and ``--no-details``; None where neither was typed."""
    text = "Ask for every manifest and config, or for none; on this machine they are asked for. Docker Hub counts each as a pull."
    return click.option("--details/--no-details", default=None, help=text)(command)


def named(session: Session, name: str) -> Reference:
    """What ``name`` means on a registry's side. Raises InvalidReference, RegistryUnreachable where there is no local registry."""
    from registry_tool.oci.reference import Reference, has_host

    # What is wrong with the name is the nearer trouble; its registry is looked for when it is right.
    reference = Reference.parse(name, default_host="localhost")
    return reference if has_host(name) else Reference.parse(name, default_host=host(session))


def host(session: Session) -> str:
    """The registry that a name without a host means. Raises RegistryUnreachable where there is none."""
    found = session.registry_host()
    if found is None:
        raise RegistryUnreachable("no local registry is running", hint="Start one with: regctl up")
    return found


def platform(context: click.Context, parameter: click.Parameter, value: str | None) -> Platform | None:
    """A click callback: ``OS/ARCHITECTURE[/VARIANT]``. Raises UsageError."""
    from registry_tool.oci.descriptor import Platform

    if value is None or context.resilient_parsing:
        return None
    try:
        return Platform.parse(value)
    except ValueError:
        raise UsageError(f"{value[:80]!r} is not a platform", hint="It looks like linux/amd64 or linux/arm64/v8.") from None


def age(moment: datetime | None) -> str:
    """``3 hours ago``."""
    return formatting.age(moment.isoformat()) if moment else NOT_KNOWN


def time(moment: datetime | None) -> str | None:
    """The same for JSON."""
    return formatting.rfc3339(moment.isoformat()) if moment else None


def size(count: int | None) -> str:
    """``12.3kB``."""
    return NOT_KNOWN if count is None else units.size(count)


def exit_code(errors: list[RegistryToolError]) -> int:
    """Of an answer that is not whole: the gravest reason's."""
    return max((error.exit_code for error in errors), default=0)
