"""``build``: build an image from a Dockerfile."""

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
@click.option("-t", "--tag", "tags", metavar="NAME", multiple=True, help="Name of the image; may be repeated.")
@click.option(
    "-f", "--file", "dockerfile", metavar="FILE", type=click.Path(path_type=Path), help="Dockerfile to use.  [default: PATH/Dockerfile]"
)
@click.option("--build-arg", "build_args", metavar="KEY=VALUE", multiple=True, help="Value for an ARG of the Dockerfile.")
@click.option("--label", "image_labels", metavar="KEY=VALUE", multiple=True, help="Label for the image.")
@click.option("--target", metavar="STAGE", help="Build up to this stage.")
@click.option("--no-cache", is_flag=True, help="Do not use the build cache.")
@click.option("--pull", is_flag=True, help="Pull a newer base image if there is one.")
@click.option("--platform", metavar="OS/ARCH", help="Platform to build for: linux/arm64.")
@options.quiet("the image's id")
@options.as_json
@click.pass_obj
def build(
    session: Session,
    path: Path,
    tags: tuple[str, ...],
    dockerfile: Path | None,
    build_args: tuple[str, ...],
    image_labels: tuple[str, ...],
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
                f"{tag} has a digest, and a name to assign is needed", hint="A name looks like friendlyhello or john/get-started:part2."
            )
    context_path = _path_in_context(path, dockerfile) if dockerfile else None
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
            dockerfile=context_path,
            build_args=prepared.build_args,
            extra=prepared.extra,
            labels={**options.key_value_pairs(image_labels, "--label", {}), labels.ROLE: labels.ROLE_APP},
            target=target,
            no_cache=no_cache,
            pull=pull,
            platform=platform,
            observer=observer,
        )
    short_id = formatting.short_id(image_id)
    text = f"Tagged {short_id} as {', '.join(tags)}" if tags else f"Built {short_id}, without a name; give it one with -t"
    session.output.result({"id": image_id, "names": tags}, image_id if quiet else text)


def _path_in_context(path: Path, dockerfile: Path) -> str:
    """The path of the Dockerfile in the context. As in docker, ``-f`` is relative to the current folder."""
    if not dockerfile.is_file():
        raise NotFound(f"no such file: {dockerfile}", hint="-f is relative to the current folder, not to PATH.")
    try:
        return dockerfile.resolve().relative_to(path.resolve()).as_posix()
    except ValueError:
        raise UsageError(f"the Dockerfile {dockerfile} is outside of {path}", hint="Copy it into the build context.") from None
