"""``list-tags``: what a repository holds."""

from __future__ import annotations

import click

from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.errors import RegistryUnreachable, UsageError


@click.command("list-tags")
@click.argument("name")
@options.quiet("the tags, one a line,")
@options.as_json
@click.pass_obj
def list_tags(session: Session, name: str, quiet: bool) -> None:
    """List the tags of the repository NAME, in the local registry where NAME has no host.

    \b
    Examples:
      regctl list-tags john/get-started
      regctl list-tags -q docker.io/library/alpine
    """
    from registry_tool import remote
    from registry_tool.reference import Reference, has_host

    host = None
    if has_host(name):
        host = "localhost"  # not used: the name has its own
    else:
        Reference.parse(name, default_host="localhost")  # a wrong name is the nearer trouble
        host = session.registry_host()
    if host is None:
        raise RegistryUnreachable("no local registry is running", hint="Start one with: regctl up")
    reference = Reference.parse(name, default_host=host)
    if reference.tag is not None or reference.digest is not None:
        raise UsageError(f"{name} names one image, and a repository is wanted", hint=f"Try: regctl list-tags {reference.repository}")
    tags = remote.open(reference.host).tags(reference.path)
    out = session.output
    if out.json:
        out.document({"repository": reference.repository, "tags": [{"name": tag} for tag in tags]})
    elif quiet:
        out.lines(tags)
    else:
        out.table(("REPOSITORY", "TAG"), [(reference.repository, tag) for tag in tags])
