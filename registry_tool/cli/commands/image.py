"""``tag``, ``push``, ``pull``, ``images`` and ``rmi``: images by name."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

from registry_tool.base import labels, units
from registry_tool.base.codec import select, to_json
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting
from registry_tool.cli.views.go_template import ListFormat

if TYPE_CHECKING:
    from registry_tool.engine import Image, TransferResult
    from registry_tool.local.images.push_route import Via
    from registry_tool.oci.reference import Reference

_PATTERN = re.compile(r"[*?\[]")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{4,64}")
BASE_PREFIX = "localhost/registry-tool/"
"""The beginning of the names of base images that were built here."""


@click.command("tag")
@click.argument("source", shell_complete=completions.images)
@click.argument("target", shell_complete=completions.repositories)
@options.quiet("the full name")
@options.as_json
@click.pass_obj
def tag(session: Session, source: str, target: str, quiet: bool) -> None:
    """Tag the image SOURCE as TARGET in the local registry. "regctl push TARGET" then pushes it.

    \b
    Example:
      regctl tag friendlyhello john/get-started:part2
    """
    from registry_tool.local.images import resolve

    host = session.registry_host(source, target)
    try:
        resolved = resolve.engine_image(session.engine, host, source)
    except NotFound as error:
        if source in ("ls", "list"):
            raise NotFound(error.message, hint=f"Did you mean: regctl list-tags {target}?") from error
        raise
    reference = resolve.registry_reference(target, host)
    if reference.digest is not None:
        raise UsageError(f"{target} has a digest, and a name to assign is needed", hint=f"Try: regctl tag {source} {reference.path}:TAG")
    session.engine.tag(resolved.image.id, str(reference))
    if resolved.note:
        session.output.note(resolved.note)
    document = {"reference": reference, "id": resolved.image.id, "note": resolved.note}
    session.output.result(document, str(reference) if quiet else f"Tagged {formatting.short_id(resolved.image.id)} as {reference}")


@click.command("push")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completions.images)
@click.option(
    "--via",
    type=click.Choice(["auto", "direct", "engine"]),
    default="auto",
    show_default=True,
    help="Who pushes: the engine, or this program from the engine's archive (direct).",
)
@click.option("--no-check", is_flag=True, help="Do not check that the registry has every part.")
@options.auth_file
@options.quiet("REPOSITORY@DIGEST")
@options.as_json
@click.pass_obj
def push(session: Session, names: tuple[str, ...], via: Via, no_check: bool, quiet: bool) -> int:
    """Push the images NAME to the local registry, and check that the registry has all of each.

    If the engine has an image of exactly this name, it is tagged for the registry first: a push after a new build
    pushes the new image.

    Where the engine would compress most of an image anew, this program reads it from the engine and pushes it
    directly, which is faster; the image keeps its id.

    \b
    Examples:
      regctl push john/get-started:part2
      regctl push -q friendlyhello
    """
    from registry_tool.local.images import resolve, transfer

    def push_one(name: str) -> _Transfer:
        host = session.registry_host(name)
        with session.observer(quiet=quiet) as observer:
            observer.note(f"The push refers to repository [{resolve.registry_reference(name, host).repository}]")
            with session.layer_cache(observer) as cache:
                pushed = transfer.push(session.engine, host, name, via=via, cache=cache, check=not no_check, observer=observer)
            observer.note(f"Pushed by {'this program' if pushed.route.via == 'direct' else 'the engine'}: {pushed.route.reason}")
        if pushed.note and not quiet:
            session.output.note(pushed.note)
        if pushed.warning:
            session.output.note(pushed.warning)
        for line in pushed.partial:
            session.output.note(line)
        members = {
            "checked": pushed.checked,
            "via": pushed.route.via,
            "reason": pushed.route.reason,
            **({"note": pushed.note} if pushed.note else {}),
            **(
                {"partial_of": str(pushed.result.partial_of), "missing": [str(platform) for platform in pushed.missing]}
                if pushed.partial
                else {}
            ),
        }
        return _Transfer(pushed.reference, pushed.result, members)

    return _transfer_all(session, names, "pushed", push_one, quiet=quiet)


@click.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completions.repositories)
@click.option("--platform", metavar="OS/ARCH", help="Platform of a multi-platform image: linux/arm64.")
@options.auth_file
@options.quiet("REPOSITORY@DIGEST")
@options.as_json
@click.pass_obj
def pull(session: Session, names: tuple[str, ...], platform: str | None, quiet: bool) -> int:
    """Pull the images NAME from the local registry. Images on Docker Hub are named docker.io/….

    \b
    Examples:
      regctl pull john/get-started:part2
      regctl pull docker.io/library/alpine
    """
    from registry_tool.local.images import transfer

    def pull_one(name: str) -> _Transfer:
        with session.observer(quiet=quiet) as observer:
            reference, moved = transfer.pull(session.engine, session.registry_host(name), name, platform=platform, observer=observer)
        return _Transfer(reference, moved, {})

    return _transfer_all(session, names, "pulled", pull_one, quiet=quiet)


@click.command("images")
@click.argument("name", required=False, shell_complete=completions.images)
@click.option("-a", "--all", "everything", is_flag=True, help="Show intermediate images, too, and mark those of this tool.")
@options.list_filters
@options.list_format
@options.no_trunc
@options.quiet("ids")
@options.missing_ok
@options.as_json
@click.pass_obj
def images(
    session: Session,
    name: str | None,
    everything: bool,
    filters: tuple[str, ...],
    template: str | None,
    no_trunc: bool,
    quiet: bool,
    missing_ok: bool,
) -> None:
    """List the engine's images, newest first; with NAME, only those of that name.

    NAME is a repository, an image of it, an id or a pattern ('john/*'). If the engine has no such name, it is looked for in the
    local registry's.

    \b
    Examples:
      regctl images
      regctl images friendlyhello
      regctl images --filter dangling=true --format '{{.ID}} {{.Size}}'
    """
    wanted = ListFormat.parse(template, _FIELDS) if template is not None else None
    host = session.registry_host()
    listed = sorted(session.engine.images(all=everything, filters=options.filters(filters)), key=lambda image: image.created, reverse=True)
    rows = [(image, *pair) for image in listed for pair in _repository_tags(image)]
    if name is not None:
        rows, note = _matching(rows, name, host, podman=session.engine.is_podman)
        if note and not quiet:
            session.output.note(note)
        if not rows and not missing_ok:
            from registry_tool.local.images import resolve

            if _PATTERN.search(name):
                raise NotFound(f"no such images: {name}", hint="See: regctl images")
            raise resolve.not_found(name)
    out = session.output
    if out.json:
        out.document({"images": [_document(image, repository, tag_, host) for image, repository, tag_ in rows]})
    elif wanted is not None:
        out.lines(wanted.lines([_fields(image, repository, tag_, no_trunc=no_trunc) for image, repository, tag_ in rows]))
    elif quiet:
        out.lines(list(dict.fromkeys(_id(image, no_trunc=no_trunc) for image, _, _ in rows)))
    else:
        mark = ("OURS",) if everything else ()
        table = [
            (repository, tag_, _id(image, no_trunc=no_trunc), formatting.age(image.created), units.size(image.size))
            + ((role(image, host) or "",) if everything else ())
            for image, repository, tag_ in rows
        ]
        out.table(("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", *mark), table)


@click.command("rmi")
@click.argument("names", nargs=-1, shell_complete=completions.images)
@click.option("-f", "--force", is_flag=True, help="Also remove images with several names or a stopped container.")
@click.option("--all", "everything", is_flag=True, help="Remove all images that this tool built, tagged or pulled (asks for confirmation).")
@click.option("--bases", is_flag=True, help="With --all, also remove base images that were built here.")
@options.yes
@options.missing_ok
@options.as_json
@click.pass_obj
def rmi(session: Session, names: tuple[str, ...], force: bool, everything: bool, bases: bool, yes: bool, missing_ok: bool) -> int:
    """Remove images by name or id.

    \b
    Examples:
      regctl rmi friendlyhello
      regctl rmi --all
    """
    if bool(names) == everything or (bases and not everything):
        raise UsageError("rmi needs names or --all (with --bases for the base images, too)", hint="For example: regctl rmi friendlyhello")
    host = session.registry_host(*names)
    wanted: Iterable[str] = names
    if everything:
        wanted = [name for image in session.engine.images() for name in removable_names(image, host, bases=bases)]
        if wanted and not session.confirm(
            [f"{units.count(len(wanted), 'image')} will be removed:", *(f"  {name}" for name in wanted)], yes=yes
        ):
            return 1
    untagged: list[str] = []
    deleted: list[str] = []

    def act(name: str) -> list[str]:
        from registry_tool.local.images import resolve

        resolved = resolve.engine_image(session.engine, host, name)
        removed = session.engine.remove_image(resolved.name, force=force)
        untagged.extend(removed.untagged)
        deleted.extend(removed.deleted)
        return [*(f"Untagged: {text}" for text in removed.untagged), *(f"Deleted: {text}" for text in removed.deleted)]

    # With --all, a name may be removed together with another image of the plan.
    failures = session.for_each(list(wanted), act, missing_ok=missing_ok or everything)
    return session.output.finish({"untagged": untagged, "deleted": deleted}, failures)


def role(image: Image, host: str | None) -> str | None:
    """The role of an image of this tool, or ``registry`` for a name in the local registry; None for other images."""
    label = labels.ROLE_DEMO if labels.DEMO in image.labels else image.labels.get(labels.ROLE)
    # An image inherits the labels of its base image.
    if label == labels.ROLE_BASE:
        label = label if any(name.startswith(BASE_PREFIX) for name in image.names) else None
    return label or ("registry" if any(_is_in_registry(name, host) for name in (*image.names, *image.digests)) else None)


def removable_names(image: Image, host: str | None, *, bases: bool) -> list[str]:
    """What ``rmi --all`` removes of an image: names, or the id if it has none.

    Of other people's images it removes only the name in the local registry, and never the tags of caches and backups.
    """
    if labels.DEMO in image.labels or image.labels.get(labels.ROLE) == labels.ROLE_APP:
        return [name for name in image.names if not name.startswith(BASE_PREFIX)] if image.names else [image.id]
    names = [name for name in image.names if _is_in_registry(name, host) or (bases and name.startswith(BASE_PREFIX))]
    return names or [digest for digest in image.digests if _is_in_registry(digest, host) and not image.names]


def _is_in_registry(name: str, host: str | None) -> bool:
    return host is not None and name.startswith(f"{host}/")


def _id(image: Image, *, no_trunc: bool) -> str:
    return image.id if no_trunc else formatting.short_id(image.id)


_FIELDS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Labels": "LABELS",
}
"""The fields of docker's templates for images, and the heads of their columns."""


def _fields(image: Image, repository: str, tag_: str, *, no_trunc: bool) -> dict[str, str]:
    digests = [digest.partition("@")[2] for digest in image.digests if digest.partition("@")[0] == repository]
    return {
        "ID": _id(image, no_trunc=no_trunc),
        "Repository": repository,
        "Tag": tag_,
        "Digest": digests[0] if digests else "<none>",
        "CreatedSince": formatting.age(image.created),
        "CreatedAt": formatting.docker_time(image.created),
        "Size": units.size(image.size),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(image.labels.items())),
    }


def _repository_tags(image: Image) -> list[tuple[str, str]]:
    """(repository, tag) for each name; ``<none>`` as docker prints it if there is none."""
    if image.names:
        return [(name.rpartition(":")[0], name.rpartition(":")[2]) for name in image.names]
    return [(digest.partition("@")[0], "<none>") for digest in image.digests] or [("<none>", "<none>")]


_Rows = list[tuple["Image", str, str]]


def _matching(rows: _Rows, name: str, host: str | None, *, podman: bool = False) -> tuple[_Rows, str | None]:
    """The rows that ``name`` means: as typed, else in the local registry, else by its id; a note where both names are there.

    Raises InvalidReference.
    """
    from registry_tool.local.images.resolve import PODMAN_HOST
    from registry_tool.oci.reference import DOCKER_HUB, has_host

    is_pattern = bool(_PATTERN.search(name))
    by_id = [row for row in rows if _is_id_of(name, row[0])] if _ID.fullmatch(name) else []
    if by_id and name.startswith("sha256:"):
        return by_id, None

    def behind(default_host: str) -> _Rows:
        if not is_pattern:
            return _named(rows, name, default_host)
        pattern = name if default_host == DOCKER_HUB else f"{glob.escape(default_host)}/{name}"
        return [row for row in rows if _matches_pattern(row[1], row[2], pattern)]

    is_short = not has_host(name)
    typed = behind(DOCKER_HUB) or (behind(PODMAN_HOST) if podman and is_short else [])
    local = behind(host) if host is not None and is_short else []
    note = None
    if typed and {row[0].id for row in typed}.isdisjoint(row[0].id for row in local) and local:
        note = f"using {name}; {host}/{name} is {'of other images' if is_pattern else 'another image'}"
    return typed or local or by_id, note


def _named(rows: _Rows, name: str, default_host: str) -> _Rows:
    from registry_tool.oci.reference import DOCKER_HUB, Reference

    wanted = Reference.parse(name, default_host=default_host)
    return [
        row
        for row in rows
        if row[1] != "<none>"
        and Reference.parse(row[1], default_host=DOCKER_HUB).repository == wanted.repository
        and wanted.tag in (None, row[2])
        and (wanted.digest is None or any(digest.endswith(str(wanted.digest)) for digest in row[0].digests))
    ]


def _is_id_of(text: str, image: Image) -> bool:
    return image.id.removeprefix("sha256:").startswith(text.removeprefix("sha256:"))


def _matches_pattern(repository: str, tag_: str, pattern: str) -> bool:
    """Docker's patterns: ``*`` and ``?`` stay within one component of a name; a pattern without a tag is for all tags."""
    import fnmatch

    if repository == "<none>":
        return False
    name = f"{repository}:{tag_}" if ":" in pattern.rpartition("/")[2] else repository
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _document(image: Image, repository: str, tag_: str, host: str | None) -> dict[str, object]:
    return {
        "repository": None if repository == "<none>" else repository,
        "tag": None if tag_ == "<none>" else tag_,
        **select(image, "id digests"),
        "created": formatting.json_time(image.created),
        "size": image.size,
        "ours": role(image, host),
    }


def transfer_document(reference: Reference, moved: TransferResult) -> dict[str, object]:
    """A push or a pull for JSON."""
    layers = [{"id": key, "status": status} for key, status in moved.layers.items()]
    result = {"reference": reference, "digest": moved.digest, "status": moved.status or None, "layers": layers}
    return {name: to_json(value) for name, value in result.items()} | {"bytes_moved": moved.bytes_moved}


class _Transfer(NamedTuple):
    reference: Reference
    moved: TransferResult
    members: Mapping[str, object]
    """Further members of its document."""

    @property
    def document(self) -> dict[str, object]:
        return transfer_document(self.reference, self.moved) | dict(self.members)

    def lines(self, *, quiet: bool) -> list[str]:
        if quiet:
            return [f"{self.reference.repository}@{self.moved.digest}"]
        return [str(self.reference), f"Digest: {self.moved.digest}", *([f"Status: {self.moved.status}"] if self.moved.status else [])]


def _transfer_all(session: Session, names: tuple[str, ...], word: str, transfer: Callable[[str], _Transfer], *, quiet: bool) -> int:
    """Push or pull each name; of several, the others also after one failed. One has its own document, several have a list."""
    if len(names) == 1:
        done = transfer(names[0])
        session.output.result(done.document, *done.lines(quiet=quiet))
        return 0
    documents: list[dict[str, object]] = []

    def once(name: str) -> list[str]:
        done = transfer(name)
        documents.append(done.document)
        return done.lines(quiet=quiet)

    failures = session.for_each(names, once)
    return session.output.finish({word: documents}, failures)
