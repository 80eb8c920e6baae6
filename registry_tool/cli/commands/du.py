"""``du``: where the bytes of a registry are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import units
from registry_tool.base.errors import InvalidManifest, NotFound, RegistryToolError, Unreachable, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.output import exit_code
from registry_tool.cli.session import Session

if TYPE_CHECKING:
    from registry_tool.content.usage.account import Account, Kind
    from registry_tool.content.usage.report import UsageReport
    from registry_tool.engine import Container
    from registry_tool.local.storage_reader import StorageReader
    from registry_tool.oci.digest import Digest

_GLOB = re.compile(r"[*?\[]")


@click.command("du")
@click.argument("names", nargs=-1, metavar="[NAME|GLOB...|HOST:PORT]", shell_complete=completions.repositories)
@click.option(
    "--by",
    type=click.Choice(["repository", "tag", "image", "layer", "platform"]),
    help="What a line is about.  [default: repository; tag with NAME]",
)
@click.option("--tree", "as_tree", is_flag=True, help="Print repositories, tags, images and layers as a tree.")
@click.option("--top", metavar="N", type=click.IntRange(min=1), help="Print only the N largest.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also draw a treemap of all bytes.")
@click.option("--container", "container_name", metavar="CONTAINER", help="List the storage of the registry in this container.")
@options.registry_access
@options.as_json
@click.pass_obj
def du(
    session: Session,
    names: tuple[str, ...],
    by: str | None,
    as_tree: bool,
    top: int | None,
    svg: Path | None,
    container_name: str | None,
) -> int:
    """Show where the bytes of a registry are: all of them, or those of the repositories NAME.

    SIZE is all that something needs. UNIQUE would be freed if it alone were deleted, SHARED is needed by others, too. The storage of
    a local registry, or of one in CONTAINER, is listed file by file, while it runs: all parts add up to the sum of the files.
    Any other registry is asked for what its tags lead to.

    \b
    Examples:
      regctl du
      regctl du --by layer --top 10 'john/*'
      regctl du --container my-registry --svg usage.svg
    """
    if as_tree and (session.output.json or by):
        raise UsageError("--tree goes with neither --json nor --by", hint="regctl du --json has the same sizes by tag: --by tag")
    from registry_tool.content.usage.report import report as make_report

    kind: Kind = by or ("tag" if names and not _is_registry(names) else "repository")  # type: ignore[assignment] # click has checked it
    host, globs = _selection(session, names, container_name)
    container = _container(session, host, container_name)
    notes: tuple[str, ...] = ()
    errors: dict[str, tuple[RegistryToolError, ...]] = {}
    volume: str | None = None
    if container is not None:
        account, volume = _read_storage(session, container, platforms=kind == "platform")
        registry = host or container.name
    else:
        account, notes, errors = _read_interface(session, str(host), globs)
        registry = str(host)
    within = _within(account, globs, registry)
    usage = make_report(
        account,
        registry=registry,
        source="interface" if container is None else "storage",
        volume=volume,
        by=kind,
        within=within,
        top=top,
        errors=errors,
        notes=notes,
    )
    if svg is not None:
        _write_svg(usage, account, svg)
    _print(session, usage, account, within, as_tree=as_tree, parts=within is None and by is None, top=top)
    failures = [error for each in errors.values() for error in each]
    if not session.output.json:
        for name, each in errors.items():
            session.output.note(f"{name}: {each[0].message}" + (f" (and {len(each) - 1} more)" if len(each) > 1 else ""))
    return exit_code(failures)


def _is_registry(names: Sequence[str]) -> bool:
    return len(names) == 1 and options.REGISTRY_ADDRESS.fullmatch(names[0]) is not None


def _selection(session: Session, names: Sequence[str], container_name: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The registry (None: that of the container), and patterns of paths in it; none for all. Raises UsageError, InvalidReference."""
    from registry_tool.oci.reference import Reference, has_host

    if _is_registry(names):
        if container_name is not None:
            raise UsageError("--container and HOST:PORT are two registries", hint="Give one of them.")
        return options.registry_host(names[0]), ()
    hosts, globs = [], []
    for name in names:
        host = name.partition("/")[0] if has_host(name) else ""
        if _GLOB.search(name):
            hosts.append(options.registry_host(host) if host else "")
            globs.append(name[len(host) + 1 :] if host else name)
            continue
        reference = Reference.parse(name, default_host="localhost")
        if reference.tag is not None or reference.digest is not None:
            raise UsageError(f"{name} is an image, and a repository is needed", hint=f"Try: regctl du --by tag {reference.path}")
        hosts.append(reference.host if host else "")
        globs.append(reference.path)
    chosen = set(hosts)
    if len(chosen) > 1 or (container_name is not None and chosen - {""}):
        raise UsageError("the names are in different registries", hint="Look at one after the other.")
    host = "".join(chosen)
    if container_name is not None:
        return None, tuple(globs)
    return host or session.required_registry_host(), tuple(globs)


def _container(session: Session, host: str | None, name: str | None) -> Container | None:
    """The container whose storage is listed; None where the registry is asked instead. Raises NotFound."""
    from registry_tool.base.address import HostPort, is_loopback
    from registry_tool.local import registry as local_registry

    if name is not None:
        container = session.engine.container(name)
        if container is None:
            raise NotFound(f"no such container: {name}", hint="See: regctl ps -a")
        return container
    if host is not None and is_loopback(host):
        with suppress(Unreachable):
            for registry in local_registry.find_all(session.engine):
                if registry.port == HostPort.parse(host).port:
                    return session.engine.container(registry.container_id)
    return None


def _read_storage(session: Session, container: Container, *, platforms: bool) -> tuple[Account, str]:
    from registry_tool.content.usage.account import Account
    from registry_tool.local.storage_reader import StorageReader, locate

    location = locate(session.engine, container)
    reader = StorageReader(session.engine, location)
    storage, manifests = reader.read()
    account = Account(storage, manifests)
    if platforms:
        account = Account(storage, manifests, _configured_platforms(reader, account.configs()))
    return account, location.source


def _configured_platforms(reader: StorageReader, configs: dict[Digest, Digest]) -> dict[Digest, str]:
    """Image -> the platform in its config, of those whose config can be read."""
    from registry_tool.oci.config import parse_config

    contents = reader.read_blobs(set(configs.values()))
    platforms = {}
    for image, config in configs.items():
        with suppress(KeyError, InvalidManifest):
            platforms[image] = str(parse_config(contents[config], lenient=True).platform or "none")
    return platforms


def _read_interface(
    session: Session, host: str, globs: Sequence[str]
) -> tuple[Account, tuple[str, ...], dict[str, tuple[RegistryToolError, ...]]]:
    from registry_tool.content.usage.account import Account
    from registry_tool.content.usage.remote import NOT_SEEN, read_registry

    with (
        session.open_registry(host) as registry,
        session.observer(counting=True) as observer,
        session.content_cache(observer) as cache,
    ):
        is_listed = not globs or any(map(_GLOB.search, globs))
        names = [name for name in registry.catalog() if not globs or _matches(name, globs)] if is_listed else list(globs)
        storage, manifests, errors = read_registry(registry, names, cache=cache, observer=observer)
        notes = (NOT_SEEN, *(("only these repositories were read: UNIQUE may be needed by others",) if globs else ()), *registry.notes)
    return Account(storage, manifests), notes, errors


def _within(account: Account, globs: Sequence[str], registry: str) -> list[str] | None:
    """The repositories that match; None for all. Raises NotFound where a pattern matches none."""
    if not globs:
        return None
    names = list(account.storage.repositories)
    for glob in globs:
        if not any(_matches(name, [glob]) for name in names):
            raise NotFound(f"There is no repository {glob} at {registry}", hint=f"See: regctl catalog {registry}")
    return [name for name in names if _matches(name, globs)]


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _write_svg(usage: UsageReport, account: Account, path: Path) -> None:
    from registry_tool.base import files
    from registry_tool.cli.views.treemap import treemap
    from registry_tool.cli.views.usage import title

    try:
        files.atomic_write(path, treemap(title(usage), account.areas).encode())
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be written: {error.strerror or error}", hint="Name another file with --svg.") from error


def _print(
    session: Session,
    usage: UsageReport,
    account: Account,
    within: list[str] | None,
    *,
    as_tree: bool,
    parts: bool,
    top: int | None,
) -> None:
    from registry_tool.cli.views import usage as view

    out = session.output
    if out.json:
        out.document(usage)
        return
    if as_tree:
        from registry_tool.content.usage.tree import tree

        nodes = tree(account, within)
        out.spans((view.title(usage), "bold"))
        out.lines(list(view.tree_lines(nodes[:top], short=out.on_terminal)))
        if top is not None and len(nodes) > top:
            out.note(f"{units.count(len(nodes) - top, 'more repository')}: leave out --top to see all")
    else:
        view.render(out, usage, parts=parts)
        if len(usage.rows) < usage.count:
            out.flush()
            out.note(f"{usage.count - len(usage.rows)} more: leave out --top to see all")
    out.flush()
    view.render_notes(out, usage)
