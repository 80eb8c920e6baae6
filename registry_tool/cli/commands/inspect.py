"""``inspect``: show the parts of an image in a registry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import completions, options
from registry_tool.cli.output import exit_code
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting
from registry_tool.cli.views import inspect as view

if TYPE_CHECKING:
    from registry_tool.cli.output import Output
    from registry_tool.content.inspect import Inspection
    from registry_tool.oci.descriptor import Platform
    from registry_tool.oci.reference import Reference
    from registry_tool.targets.registry import Repository

Result = TypeVar("Result")

_MAX_TAGS = 20
_MOST_TAGS = 200
"""Other tags that are read without ``--siblings``."""
_OF_SIBLINGS = ("siblings", "unread_tags", "layers")
"""Members of the document for which other tags are read."""
_IN_TEMPLATE = re.compile(r"\.([A-Za-z_][\w.]*)")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STEP = re.compile(r"\[(\d+)\]")


@click.command("inspect")
@click.argument("name", shell_complete=completions.repositories)
@click.option("--platform", metavar="OS/ARCH", type=options.platform, help="Platform of a multi-platform image.")
@click.option("--raw", is_flag=True, help="Print the manifest, byte for byte.")
@click.option("--config", "as_config", is_flag=True, help="Print the image's config, byte for byte.")
@click.option("--format", "path", metavar="PATH", help="Print one member of the JSON document: config.labels, layers.0.digest.")
@click.option(
    "--siblings/--no-siblings",
    default=None,
    help=f"Show other tags with the same digest or layers, or not.  [default: on this machine, up to {_MOST_TAGS} tags]",
)
@options.registry_access
@options.quiet("the digest")
@options.as_json
@click.pass_obj
def inspect(
    session: Session,
    name: str,
    platform: Platform | None,
    raw: bool,
    as_config: bool,
    path: str | None,
    siblings: bool | None,
    quiet: bool,
) -> int:
    """Show the manifest, config, history, layers and referrers of the image NAME in a registry.

    The default tag is latest; if there is none, the error lists the tags.

    \b
    Examples:
      regctl inspect john/get-started:part2
      regctl inspect --platform linux/arm64 --config docker.io/library/alpine
      regctl inspect --format config.labels john/get-started:part2
    """
    from registry_tool.content import inspect
    from registry_tool.content.listing import Contents

    if sum((raw, as_config, path is not None, quiet, session.output.json)) > 1:
        raise UsageError("only one of --raw, --config, --format, --quiet and --json at a time", hint="Leave out the others.")
    wanted = _parse_path(path) if path is not None else None
    reference = session.reference(name)
    with (
        session.open_registry(reference.host) as registry,
        session.observer(quiet=quiet, counting=True) as observer,
        session.content_cache(observer) as cache,
    ):
        repository = registry.repository(reference.path)
        if raw and platform is None:
            _write(session, _lookup(repository, reference, repository.raw_manifest))
            return 0
        descriptor = _lookup(repository, reference, repository.resolve)
        if quiet and platform is None:
            session.output.line(str(descriptor.digest))
            return 0
        contents = Contents(repository, cache, remember=True)
        if raw or quiet or as_config:
            image = inspect.image_of(contents, contents.manifest(descriptor), platform)
            if image is None:
                raise UsageError(f"{reference} has several images", hint="Choose one: --platform linux/amd64")
            if quiet:
                session.output.line(str(image.digest))
                return 0
            if as_config and image.config is None:
                raise NotFound(f"{reference} has no config", hint="See: regctl inspect --raw")
            _write(session, contents.raw_config(image.config) if as_config and image.config else image.raw)
            return 0
        tag = None if reference.digest is not None else reference.or_latest().tag
        inspection = inspect.inspect(
            contents,
            descriptor,
            tag=tag,
            platform=platform,
            siblings=_needs_siblings(reference, siblings, wanted),
            most_tags=None if siblings else _MOST_TAGS,
            observer=observer,
        )
    return _render(session.output, reference, inspection, registry.notes, wanted)


def _render(out: Output, reference: Reference, inspection: Inspection, notes: tuple[str, ...], wanted: Sequence[str] | None) -> int:
    document = {**view.document(reference, inspection), "notes": notes}
    if wanted is not None:
        out.lines(_value_lines(_pick(document, wanted)))
    elif out.json:
        out.document(document)
    else:
        view.render(out, reference, inspection)
    if not out.json:
        for note in notes:
            out.note(formatting.one_line(note))
        for error in inspection.errors:
            out.print_error(error)
    return exit_code(inspection.errors)


def _needs_siblings(reference: Reference, option: bool | None, path: Sequence[str] | None) -> bool:
    """Whether other tags are read: by default on this machine, and only where the member at ``path`` tells of them."""
    from registry_tool.base.address import is_loopback

    is_wanted = is_loopback(reference.host) if option is None else option
    return is_wanted and (path is None or path[0] in _OF_SIBLINGS)


def _lookup(repository: Repository, reference: Reference, request: Callable[[str], Result]) -> Result:
    """``request`` for ``reference``. Raises NotFound; it lists the tags where ``reference`` has none and there is no ``latest``."""
    from registry_tool.content.protection import is_protection_tag

    try:
        return request(str(reference.digest) if reference.digest is not None else reference.or_latest().tag or "")
    except NotFound as error:
        if error.response is not None and error.response.code == "NAME_UNKNOWN":
            raise
        if reference.digest is not None or reference.tag is not None:
            hint = f"See: regctl list-tags {reference.repository}"
            raise NotFound(f"there is no image {reference}: {error.message}", hint=hint) from error
        tags = sorted(tag for tag in repository.tags() if not is_protection_tag(tag))
        if not tags:
            raise NotFound(f"{reference.repository} has no tags", hint="Push an image to it: regctl push NAME") from error
        shown = tuple(tags[:_MAX_TAGS]) + ((f"and {len(tags) - _MAX_TAGS} more",) if len(tags) > _MAX_TAGS else ())
        hint = f"Choose one: regctl inspect {reference.repository}:{tags[0]}"
        raise NotFound(f"{reference.repository} has no tag latest; it has these:", hint=hint, excerpt=shown) from error


def _write(session: Session, content: bytes) -> None:
    """Write ``content`` unchanged; on a terminal without control characters."""
    if session.output.on_terminal:
        session.output.line(formatting.printable(content.decode(errors="replace")))
    else:
        session.output.write_bytes(content)


def _parse_path(text: str) -> list[str]:
    """Split ``config.labels``, ``layers.0.digest`` or ``layers[0].digest``. Raises UsageError; for a Go template it suggests the path."""
    if "{{" in text:
        match = _IN_TEMPLATE.search(text)
        path = ".".join(_CAPITAL.sub("_", word).lower() for word in match[1].split(".")) if match else "digest"
        hint = f"Use a dotted path into the JSON document: --format {path}"
        raise UsageError("--format does not take Go templates", hint=hint)
    steps = _STEP.sub(r".\1", text.strip().lstrip(".")).split(".")
    if not all(steps):
        raise UsageError(f"{text[:80]!r} is not a path", hint="It looks like config.labels or layers.0.digest.")
    return steps


def _pick(document: object, steps: Sequence[str]) -> object:
    """The value at the path. Names of labels contain dots, so the longest matching name is taken. Raises UsageError."""
    if not steps:
        return document
    if isinstance(document, Mapping):
        for length in range(len(steps), 0, -1):
            name = ".".join(steps[:length])
            if name in document:
                return _pick(document[name], steps[length:])
        known = list(map(str, document))
    elif isinstance(document, list):
        if steps[0].isascii() and steps[0].isdigit() and len(steps[0]) < 10 and int(steps[0]) < len(document):
            return _pick(document[int(steps[0])], steps[1:])
        known = [f"0 to {len(document) - 1}"] if document else []
    else:
        known = []
    hint = f"Available: {', '.join(known)}" if known else "It has no members."
    raise UsageError(f"there is no {steps[0][:80]!r}", hint=hint)


def _value_lines(value: object) -> list[str]:
    """The lines to print for a value: a string as it is, one line for each element of a list, none for null, else JSON."""
    if value is None:
        return []
    if isinstance(value, list):
        # A list in a list is one line.
        nested = ([json.dumps(element, ensure_ascii=False)] if isinstance(element, list) else _value_lines(element) for element in value)
        return [line for lines in nested for line in lines]
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
