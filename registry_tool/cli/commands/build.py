"""``build``: an image from a Dockerfile."""

from __future__ import annotations

import os
from pathlib import Path

import click

from registry_tool.base import labels
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting


@click.command("build")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-t", "--tag", "tags", metavar="NAME", multiple=True, help="The image's name; may be repeated.")
@click.option("-f", "--file", "dockerfile", metavar="FILE", type=click.Path(path_type=Path), help="Instead of PATH/Dockerfile.")
@click.option("--build-arg", "build_args", metavar="KEY=VALUE", multiple=True, help="A value for an ARG of the Dockerfile.")
@click.option("--label", "own_labels", metavar="KEY=VALUE", multiple=True, help="A label for the image.")
@click.option("--target", metavar="STAGE", help="Build up to this stage.")
@click.option("--no-cache", is_flag=True, help="Build every step again.")
@click.option("--pull", is_flag=True, help="Look for a newer base image.")
@click.option("--platform", metavar="OS/ARCH", help="Build for linux/arm64 and the like.")
@options.quiet("the image's id")
@options.as_json
@click.pass_obj
def build(
    session: Session,
    path: Path,
    tags: tuple[str, ...],
    dockerfile: Path | None,
    build_args: tuple[str, ...],
    own_labels: tuple[str, ...],
    target: str | None,
    no_cache: bool,
    pull: bool,
    platform: str | None,
    quiet: bool,
) -> None:
    """Build an image from the Dockerfile in the folder PATH.

    \b
    Examples:
      regctl build -t friendlyhello .
      regctl build -t john/get-started:part2 -f Dockerfile.dev .
    """
    from registry_tool.local.base_images import BaseImageResolver
    from registry_tool.local.images import build_inputs
    from registry_tool.oci.reference import DOCKER_HUB, Reference

    for tag in tags:
        if Reference.parse(tag, default_host=DOCKER_HUB).digest is not None:
            raise UsageError(
                f"{tag} names a digest, and that cannot be given", hint="A name looks like friendlyhello or john/get-started:part2."
            )
    inside = _inside(path, dockerfile) if dockerfile else None
    with session.observer(quiet=quiet) as observer:
        prepared = build_inputs.prepare(
            session.engine,
            BaseImageResolver(session.engine, session.dirs.cache, observer),
            session.dirs.cache,
            path,
            dockerfile=dockerfile,
            build_args=options.key_value_pairs(build_args, "--build-arg", os.environ),
            observer=observer,
        )
        image_id = session.engine.build(
            path,
            tags=tags,
            dockerfile=inside,
            build_args=prepared.build_args,
            extra=prepared.extra,
            labels={**options.key_value_pairs(own_labels, "--label", {}), labels.ROLE: labels.ROLE_APP},
            target=target,
            no_cache=no_cache,
            pull=pull,
            platform=platform,
            observer=observer,
        )
    out = session.output
    if out.json:
        out.document({"id": image_id, "names": list(tags)})
    elif quiet:
        out.line(image_id)
    else:
        out.line(f"{formatting.short_id(image_id)} {'is ' + ', '.join(tags) + ' now' if tags else 'has no name; give it one with -t'}")


def _inside(path: Path, dockerfile: Path) -> str:
    """The Dockerfile as a path inside the context. As docker has it, ``-f`` counts from here, not from PATH."""
    if not dockerfile.is_file():
        raise NotFound(f"no such file: {dockerfile}", hint="-f counts from here, not from PATH.")
    try:
        return dockerfile.resolve().relative_to(path.resolve()).as_posix()
    except ValueError:
        raise UsageError(f"the Dockerfile {dockerfile} lies outside of {path}", hint="Copy it into the folder that is built.") from None
