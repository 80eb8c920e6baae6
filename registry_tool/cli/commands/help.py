"""``help`` and ``version``: the same as the options ``--help`` and ``--version``."""

from __future__ import annotations

import click

from registry_tool.cli.session import Session


@click.command("help")
@click.argument("command", nargs=-1)
@click.pass_context
def help(context: click.Context, command: tuple[str, ...]) -> None:
    """Print the help of COMMAND, or of this program.

    \b
    Examples:
      regctl help
      regctl help push
    """
    current = context.find_root()
    for name in command:
        group = current.command
        if not isinstance(group, click.Group):
            break
        _, resolved, _ = group.resolve_command(current, [name])
        if resolved is not None:
            current = click.Context(resolved, parent=current, info_name=name)
    click.echo(current.get_help())


@click.command("version")
@click.pass_obj
def version(session: Session) -> None:
    """Print the versions of this tool, the engine and the registry.

    \b
    Example:
      regctl version
    """
    from registry_tool.cli.app import print_versions

    print_versions(session)
