"""``build``: build an image from a Dockerfile."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry_tool.base import labels
from registry_tool.base.errors import BuildFailed, NotFound, UsageError
from registry_tool.cli import options
from registry_tool.cli.session import Session
from registry_tool.cli.views import formatting

if TYPE_CHECKING:
    from registry_tool.engine.build.source import DockerfileSource

STDIN = Path("-")


@click.command("build")
@click.argument("path", required=False, metavar="PATH", type=click.Path(path_type=Path))
@click.option("-t", "--tag", "tags", metavar="NAME", multiple=True, help="Name of the image; may be repeated.")
@click.option(
    "-f",
    "--file",
    "dockerfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Dockerfile to use; - is standard input.  [default: PATH/Dockerfile]",
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
    path: Path | None,
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
    """Build an image from the Dockerfile in the folder PATH, or from one on standard input (-) without any other file.

    \b
    Examples:
      regctl build -t friendlyhello .
      regctl build -t john/get-started:part2 -f Dockerfile.dev .
      regctl build -t tiny - < Dockerfile
    """
    from registry_tool.local.base_images import BaseImageResolver
    from registry_tool.local.images import build_inputs
    from registry_tool.oci.reference import DOCKER_HUB, Reference

    if path is None:
        named = "".join(f" -t {tag}" for tag in tags)
        raise UsageError("build needs the folder of the Dockerfile", hint=f"For the folder here, with a dot: regctl build{named} .")
    for tag in tags:
        if Reference.parse(tag, default_host=DOCKER_HUB).digest is not None:
            raise UsageError(
                f"{tag} has a digest, and a name to assign is needed", hint="A name looks like friendlyhello or john/get-started:part2."
            )
    context = None if path == STDIN else path
    source = _source(context, dockerfile)
    arguments = options.key_value_pairs(build_args, "--build-arg", os.environ)
    with session.observer(quiet=quiet) as observer:
        try:
            prepared = build_inputs.prepare(
                session.engine,
                BaseImageResolver(session.engine, session.dirs.cache, observer),
                session.dirs.cache,
                context,
                dockerfile=source,
                build_args=arguments,
                observer=observer,
            )
            image_id = session.engine.build(
                context,
                tags=tags,
                dockerfile=source,
                build_args=prepared.build_args,
                extra=prepared.extra,
                labels={**_labels(image_labels), labels.ROLE: labels.ROLE_APP},
                target=target,
                no_cache=no_cache,
                pull=pull,
                platform=platform,
                observer=observer,
            )
        except BuildFailed as error:
            build_inputs.suggest_stand_in(error, source.text, arguments)
            if observer.shows_notes and not session.output.json:
                error.excerpt = ()  # it was shown line by line
            raise
    short_id = formatting.short_id(image_id)
    text = f"Tagged {short_id} as {', '.join(tags)}" if tags else f"Built {short_id}, without a name; give it one with -t"
    session.output.result({"id": image_id, "names": tags}, image_id if quiet else text)


def _labels(entries: tuple[str, ...]) -> dict[str, str]:
    """The labels; one without a value is empty, as in docker."""
    return options.key_value_pairs(tuple(entry if "=" in entry else f"{entry}=" for entry in entries), "--label", {})


def _source(path: Path | None, dockerfile: Path | None) -> DockerfileSource:
    """The Dockerfile. As in docker, ``-f`` is relative to the current folder, and ``-`` is standard input."""
    from registry_tool.engine.build.source import DockerfileSource

    if path is None and dockerfile is not None:
        raise UsageError("-f names a Dockerfile, and so does PATH where it is -", hint="Leave out -f, or give a folder.")
    if path is None or dockerfile == STDIN:
        return DockerfileSource.from_stdin(sys.stdin.buffer.read())
    if dockerfile is not None and not dockerfile.exists():
        raise NotFound(f"no such file: {dockerfile}", hint="-f is relative to the current folder, not to PATH.")
    return DockerfileSource.on_disk(path, dockerfile)
