"""``login`` and ``logout``: a password for a registry, kept where docker keeps it."""

from __future__ import annotations

import click

from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import options, password
from registry_tool.cli.session import Session


def _reject_argument(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not context.resilient_parsing:
        raise UsageError(
            "a password in an argument can be read by everybody on this machine, and stays in the shell's history: it was not used",
            hint="Leave it out to be asked for it, or pipe it in with --password-stdin.",
        )


@click.command("login")
@click.argument("server", required=False)
@click.option("-u", "--username", metavar="USER", help="Who; asked for where it is not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("-p", "--password", "argument", hidden=True, expose_value=False, callback=_reject_argument)
@options.as_json
@click.pass_obj
def login(session: Session, server: str | None, username: str | None, password_stdin: bool) -> None:
    """Check a password against a registry, then keep it as docker does: with its credential helper, or in its config.json.

    Without SERVER it is the local registry. Docker Hub is docker.io.

    \b
    Examples:
      regctl login -u john
      cat password.txt | regctl login -u john --password-stdin registry.example.com
    """
    from registry_tool.auth.credentials import Credential
    from registry_tool.targets.registry import login as room

    host = _registry(session, server)
    user = password.ask_user(username, f"User name for {host}")
    secret = password.ask(f"Password for {user} at {host}", stdin=password_stdin)
    done = room.login(host, Credential(user, secret))
    out = session.output
    if not done.checked:
        out.note(f"{host} lets everybody in: the password was stored, but nobody checked it")
    if not done.encrypted:
        out.note(f"the password is kept unencrypted in {done.stored_in}; a credential helper would encrypt it")
    if out.json:
        out.document({"registry": host, "user": user, "checked": done.checked, "stored_in": done.stored_in, "encrypted": done.encrypted})
    else:
        out.line(f"{user} is logged in at {host}")


@click.command("logout")
@click.argument("server", required=False)
@options.missing_ok
@options.as_json
@click.pass_obj
def logout(session: Session, server: str | None, missing_ok: bool) -> None:
    """Forget the password of a registry. Without SERVER it is the local one.

    \b
    Example:
      regctl logout
    """
    from registry_tool.targets.registry import login as room

    host = _registry(session, server)
    was_there = room.logout(host).was_logged_in
    if not was_there and not missing_ok:
        raise NotFound(f"no password is stored for {host}", hint=f"Log in with: regctl login {host}")
    out = session.output
    if out.json:
        out.document({"registry": host, "removed": was_there})
    else:
        out.line(f"the password for {host} is removed" if was_there else f"no password was stored for {host}")


def _registry(session: Session, server: str | None) -> str:
    from registry_tool.oci.reference import registry_host

    if server is not None:
        return registry_host(server)
    return session.required_registry_host(hint="Start one with: regctl up. Docker Hub is: regctl login docker.io")
