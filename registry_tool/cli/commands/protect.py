"""``protect``, ``unprotect``: protect tags of a registry from deletion, on whichever machine that is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.codec import select
from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.content.delete import Selection
    from registry_tool.content.protection import Protection
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.registry import Repository

_MAX_TAGS = 5


@click.command("protect")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completions.repositories)
@click.option("--list", "list_all", is_flag=True, help="List the protections of the repository NAME, or of all repositories.")
@options.missing_ok
@options.registry_access
@options.quiet("the protected names, one a line")
@options.as_json
@click.pass_obj
def protect(session: Session, names: tuple[str, ...], list_all: bool, missing_ok: bool, quiet: bool) -> int:
    """Protect NAME:TAG, or the tags that match 'NAME:GLOB', from deletion.

    A protected tag is refused by delete, prune and undo, on every machine: the protection is kept in the repository itself, under a
    tag of its own that tables do not show. So is the digest of a protected tag, and whatever that needs. A glob protects tags to
    come as well. Pushing to a protected tag still moves it. With --missing-ok a tag that is not there yet is protected, too.

    \b
    Examples:
      regctl protect john/get-started:part2
      regctl protect 'john/get-started:v*'
      regctl protect --list john/get-started
    """
    if list_all:
        return _list(session, names, quiet=quiet)
    if not names:
        raise UsageError("no tag is named", hint="For example: regctl protect john/get-started:part2; --list shows what is protected.")
    documents: list[dict[str, object]] = []

    def act(name: str) -> list[str]:
        reference, pattern = _parse(session, name)
        with session.open_registry(reference.host) as registry:
            document, is_new = _protect(registry.repository(reference.path), pattern, missing_ok=missing_ok)
        documents.append(document | {"new": is_new})
        if quiet:
            return [f"{reference.repository}:{pattern}"]
        matches = document["matches"]
        tags = f" ({units.count(len(matches), 'tag')} now)" if isinstance(matches, list) and matches != [pattern] else ""
        return [f"{'Protected' if is_new else 'Already protected'}: {reference.repository}:{pattern}{tags}"]

    failures = session.for_each(names, act)
    return session.output.finish({"protections": documents}, failures)


@click.command("unprotect")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completions.repositories)
@options.missing_ok
@options.registry_access
@options.quiet("the names, one a line")
@options.as_json
@click.pass_obj
def unprotect(session: Session, names: tuple[str, ...], missing_ok: bool, quiet: bool) -> int:
    """Remove the protection of NAME:TAG or 'NAME:GLOB', spelled as protect --list shows it.

    One that cannot be read is removed by its own tag, protected-….

    \b
    Examples:
      regctl unprotect john/get-started:part2
      regctl unprotect 'john/get-started:v*'
    """
    documents: list[dict[str, object]] = []

    def act(name: str) -> list[str]:
        from registry_tool.content import delete
        from registry_tool.content.protection import read_protections

        reference, pattern = _parse(session, name)
        with session.open_registry(reference.host) as registry:
            repository = registry.repository(reference.path)
            protections = read_protections(repository)
            named = protections.named(pattern)
            if not named:
                other = protections.of(pattern)
                hint = f"It is protected {other.describe()}" if other else f"See: regctl protect --list {reference.repository}"
                raise NotFound(f"{reference.repository}:{pattern} is not protected by itself", hint=hint)
            for protection in named:
                delete.unprotect(repository, reference.repository, protection)
                documents.append({"repository": reference.repository, **select(protection, "pattern tag digest")})
        return [f"{reference.repository}:{pattern}" if quiet else f"Unprotected: {reference.repository}:{pattern}"]

    failures = session.for_each(names, act, missing_ok=missing_ok)
    return session.output.finish({"removed": documents}, failures)


def _parse(session: Session, name: str) -> tuple[Reference, str]:
    """(repository, tag or glob). Raises UsageError, InvalidReference."""
    from registry_tool.content.delete import Selection
    from registry_tool.content.protection import is_pattern
    from registry_tool.oci.reference import has_host

    def parse(default_host: str) -> tuple[Reference, Selection]:
        return Selection.parse(name, default_host=default_host)

    # An invalid name is reported before the engine is asked for its registry.
    reference, selection = parse("localhost")
    if selection.digest is not None:
        raise UsageError(f"{name} has a digest, and tags are protected", hint="A digest that a protected tag needs is protected with it.")
    pattern = selection.pattern or selection.tag or ""
    if not is_pattern(pattern):
        raise UsageError(f"{pattern[:140]!r} is no glob over tags", hint="It looks like 'v1.*' and has at most 128 characters.")
    return (reference if has_host(name) else parse(session.required_registry_host())[0]), pattern


def _protect(repository: Repository, pattern: str, *, missing_ok: bool) -> tuple[dict[str, object], bool]:
    """(document, whether the protection is new)."""
    from registry_tool.content.protection import add_protection, is_protection_tag
    from registry_tool.oci.reference import is_tag

    if is_protection_tag(pattern):
        raise UsageError(f"{pattern} is the name of a protection's own tag", hint="Name the tag of an image.")
    try:
        tags = repository.tags()
    except NotFound:
        if not missing_ok:
            raise
        tags = ()
    if is_tag(pattern) and pattern not in tags and not missing_ok:
        hint = f"See: regctl list-tags {repository.name}; --missing-ok protects a tag that is still to come."
        raise NotFound(f"there is no tag {pattern} in {repository.name}", hint=hint)
    protection, is_new = add_protection(repository, pattern)
    return _document(repository.name, protection, tags), is_new


def _document(repository: str, protection: Protection, tags: Sequence[str]) -> dict[str, object]:
    from registry_tool.content.protection import is_protection_tag

    matches = sorted(tag for tag in tags if protection.matches(tag) and not is_protection_tag(tag))
    return {"repository": repository, **select(protection, "pattern tag digest"), "matches": matches, **select(protection, "problem?")}


def _list(session: Session, names: Sequence[str], *, quiet: bool) -> int:
    """Print the protections of the repositories ``names``, or of all in the registry."""
    from registry_tool.base.concurrency import REPOSITORIES, map_ordered
    from registry_tool.content.protection import read_protections

    out = session.output
    documents: list[dict[str, object]] = []
    failures: list[RegistryToolError] = []

    def read(repository: Repository) -> list[dict[str, object]] | RegistryToolError:
        try:
            tags = repository.tags()
            return [_document(repository.name, each, tags) for each in read_protections(repository, tags).entries]
        except NotFound as error:
            # distribution lists what never had a tag, and then does not know it.
            return error if names else []
        except RegistryToolError as error:
            return error

    for host, paths in _repositories(session, names):
        with session.open_registry(host) as registry:
            repositories = [registry.repository(path) for path in (paths or sorted(registry.catalog()))]
            for found in map_ordered(read, repositories, threads=REPOSITORIES):
                if isinstance(found, RegistryToolError):
                    failures.append(found)
                else:
                    documents += found
            for note in registry.notes:
                out.note(formatting.one_line(note))
    if not out.json:
        _render(session, documents, quiet=quiet)
        for failure in failures:
            out.print_error(failure)
    return out.finish({"protections": documents}, failures)


def _render(session: Session, documents: Sequence[dict[str, object]], *, quiet: bool) -> None:
    if quiet:
        session.output.lines([f"{each['repository']}:{each['pattern'] or each['tag']}" for each in documents])
    else:
        session.output.table(("REPOSITORY", "PROTECTED", "TAGS"), [_cells(each) for each in documents])


def _repositories(session: Session, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(host, repositories in it; none where all are meant)."""
    if not names:
        yield session.required_registry_host(), []
    hosts: dict[str, list[str]] = {}
    for name in names:
        reference = session.repository(name, "protect --list")
        hosts.setdefault(reference.host, []).append(reference.path)
    yield from hosts.items()


def _cells(document: dict[str, object]) -> tuple[str, str, str]:
    matches = document["matches"]
    names = [str(each) for each in matches] if isinstance(matches, list) else []
    shown = ",".join(names[:_MAX_TAGS] + ([f"+{len(names) - _MAX_TAGS}"] if len(names) > _MAX_TAGS else []))
    if "problem" in document:
        return str(document["repository"]), "all tags", f"{document['tag']} cannot be read: {document['problem']}"
    return str(document["repository"]), str(document["pattern"]), shown or formatting.UNKNOWN
