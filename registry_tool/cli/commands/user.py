"""``user``: the users of the local registry."""

from __future__ import annotations

from pathlib import Path

import click

from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session


@click.command("user")
@click.argument("action", type=click.Choice(["add", "remove", "list"]), metavar="add|remove|list")
@click.argument("user", metavar="[USER]", required=False)
@click.option("--name", metavar="NAME", default="default", show_default=True, help="Name of the registry.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Read the password from a file.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.missing_ok
@options.quiet("the names of the users, one a line")
@options.as_json
@click.pass_obj
def user(
    session: Session,
    action: str,
    user: str | None,
    name: str,
    password_file: Path | None,
    password_stdin: bool,
    missing_ok: bool,
    quiet: bool,
) -> int:
    """Add USER to the users of the local registry, remove USER, or list them. "up --auth" makes the first one.

    "add" prompts for the password, and changes that of a user who is there already. A change counts from the next request on, and
    the registry keeps running; if the user of "up --auth" is removed, it restarts.

    \b
    Examples:
      regctl user add mary
      regctl user remove mary --name team
      regctl user list
    """
    from registry_tool.local import registry as local_registry
    from registry_tool.local.registry.passwords import Auth, check_user

    if action == "list":
        if user is not None:
            raise UsageError("list takes no user", hint="regctl user list shows all users.")
        result = local_registry.list_users(session.engine, name)
    elif user is None:
        raise UsageError(f"{action} needs a user", hint=f"For example: regctl user {action} mary")
    elif action == "add":
        check_user(user)
        auth = Auth(user=user, password=options.password(f"Password for {user}", file=password_file, stdin=password_stdin, twice=True))
        with session.observer(quiet=quiet) as observer:
            result = local_registry.add_user(session.engine, auth, name, state=session.dirs.state, observer=observer)
    else:
        try:
            with session.observer(quiet=quiet) as observer:
                result = local_registry.remove_user(session.engine, user, name, state=session.dirs.state, observer=observer)
        except NotFound:
            if not missing_ok:
                raise
            result = local_registry.UserChange(registry=name, users=(), user=user)
    done = {"added": "added the user", "changed": "changed the password of", "removed": "removed the user", None: "there is no user"}
    if quiet:
        lines = result.users
    elif result.user is None:
        lines = result.users or (f"{name}: everybody may use it, without a password",)
    else:
        lines = (f"{name}: {done[result.change]} {result.user}",)
    session.output.result(result, *lines)
    return 0
