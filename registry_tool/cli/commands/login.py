"""``login`` and ``logout``: credentials for a registry, stored where docker stores them."""

from __future__ import annotations

import sys

import click

from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session


def _reject_argument(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not context.resilient_parsing:
        raise UsageError(
            "a password is not taken as an argument: other users can see it, and it stays in the shell's history",
            hint="Omit it to be prompted, or pipe it in with --password-stdin.",
        )


@click.command("login")
@click.argument("server", required=False)
@click.option("-u", "--username", metavar="USER", help="User name (prompted if omitted).")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("-p", "--password", "argument", hidden=True, expose_value=False, callback=_reject_argument)
@options.connection
@options.as_json
@click.pass_obj
def login(session: Session, server: str | None, username: str | None, password_stdin: bool) -> None:
    """Log in to a registry: check the password, then store it as docker does, in a credential helper or its config.json.

    SERVER is the local registry by default; Docker Hub is docker.io. It is remembered until the logout if SERVER is to be
    reached with --plain-http or --insecure.

    \b
    Examples:
      regctl login -u john
      regctl login -u john --password-stdin registry.example.com < password.txt
    """
    from registry_tool.auth.credentials import Credential
    from registry_tool.targets.registry import login as registry_login

    host = _registry(session, server)
    user = username
    if user is None:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for the user name on", hint="Give it with -u USER.")
        user = click.prompt(f"User name for {host}", err=True)
    secret = options.password(f"Password for {user} at {host}", stdin=password_stdin)
    out = session.output
    stored = registry_login.login(
        host, Credential(user, secret), plain_http=session.plain_http, insecure=session.insecure, on_warning=out.note
    )
    if stored.is_remembered:
        how = "by plain HTTP, unencrypted" if session.plain_http else "without a check of its certificate"
        out.note(f"remembered: {host} is reached {how}; to forget it: regctl logout {host}")
    if not stored.checked:
        out.note(f"{host} requires no login: the password was stored unchecked")
    if not stored.encrypted:
        out.note(f"the password is stored unencrypted in {stored.stored_in}; a credential helper would encrypt it")
    document = {"registry": host, "user": user, "checked": stored.checked, "stored_in": stored.stored_in, "encrypted": stored.encrypted}
    out.result(document, f"Logged in to {host} as {user}")


@click.command("logout")
@click.argument("server", required=False)
@options.missing_ok
@options.as_json
@click.pass_obj
def logout(session: Session, server: str | None, missing_ok: bool) -> None:
    """Remove stored credentials for a registry. SERVER is the local registry by default.

    \b
    Example:
      regctl logout
    """
    from registry_tool.targets.registry import login as registry_login

    host = _registry(session, server)
    result = registry_login.logout(host)
    was_stored = result.was_logged_in
    if result.forgotten:
        session.output.note(f"{host} is reached by TLS again, and its certificate is checked")
    if not was_stored and not result.forgotten and not missing_ok:
        raise NotFound(f"no credentials are stored for {host}", hint=f"Log in with: regctl login {host}")
    text = f"Removed the credentials for {host}" if was_stored else f"No credentials are stored for {host}"
    session.output.result({"registry": host, "removed": was_stored}, text)


def _registry(session: Session, server: str | None) -> str:
    from registry_tool.oci.reference import registry_host

    if server is not None:
        return registry_host(server)
    return session.required_registry_host(hint="Start one with: regctl up. Docker Hub is: regctl login docker.io")
