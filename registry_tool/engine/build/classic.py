"""The engine's builds, by its classic builder or by BuildKit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_tool.auth import credentials, docker_config
from registry_tool.base.errors import BuildFailed, Conflict, EngineError, InvalidReference, NotFound
from registry_tool.base.progress import Observer
from registry_tool.engine.build import buildkit
from registry_tool.engine.build import context as contexts
from registry_tool.engine.build.buildkit import BuildOptions
from registry_tool.engine.build.dockerfile import added_hosts, base_images, has_heredocs, needs_buildkit
from registry_tool.engine.build.source import DockerfileSource
from registry_tool.engine.streams import BuildLog
from registry_tool.oci.reference import DOCKER_HUB, Reference

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient
    from registry_tool.engine.images import Images

EXCERPT_LINES = 20

_PODMAN_HEREDOCS = (4, 8)  # the version of podman whose builder (buildah 1.33) reads here-documents
_PODMAN_STEP = re.compile(r" &imagebuilder\.Step\{.*")  # what podman adds to the error of an unknown instruction

_ATTEMPTS = 3
_CACHE_GONE = re.compile(r"failed to get digest sha256:[0-9a-f]{64}: ")
"""The classic builder's error where an image of its cache was removed while it built on it."""


def build_image(
    client: EngineClient,
    images: Images,
    context: Path | None,
    source: DockerfileSource,
    options: BuildOptions,
    *,
    extra: Mapping[str, Path],
    observer: Observer,
) -> str:
    """Build ``context`` and tag the image in ``images``; returns its id. Raises BuildFailed."""
    files = contexts.files(context, source, extra)
    reason = needs_buildkit(source.text, options.build_args)
    if reason and not client.api.is_podman:  # its own builder does all of it
        log = BuildLog(observer)
        buildkit.build(client.endpoint, options, contexts.tar_stream(files), log, reason=reason)
        return _tag_result(images, log, options, (log.image_id, *options.tags), source.text)
    if version := client.api.podman_version:
        _check_heredocs(source.text, version)
    # docker's own client does so for BuildKit.
    options = replace(options, build_args={**docker_config.proxy_variables(client.endpoint.url, observer.note), **options.build_args})
    registry_config = _registry_config(source.text, options.build_args)
    attempts_left = _ATTEMPTS
    while True:
        attempts_left -= 1
        log = BuildLog(observer)
        _build_classic(client, options, contexts.tar_stream(files), registry_config, log)
        if not attempts_left or not _CACHE_GONE.search(log.error or ""):
            return _tag_result(images, log, options, (log.image_id,), source.text)


def _build_classic(
    client: EngineClient, options: BuildOptions, tar: Iterator[bytes], registry_config: Mapping[str, Any], log: BuildLog
) -> None:
    def start(api: Any) -> Iterator[Mapping[str, Any]]:
        api.registry_config = registry_config
        events: Iterator[Mapping[str, Any]] = api.build(
            fileobj=tar,
            custom_context=True,
            decode=True,
            rm=True,
            forcerm=True,
            dockerfile=options.dockerfile,
            buildargs=dict(options.build_args),
            labels=dict(options.labels),
            target=options.target,
            nocache=options.no_cache,
            pull=options.pull,
            platform=options.platform,
        )
        return events

    try:
        # Closed, so that Ctrl-C stops the engine, too.
        with closing(client.stream("the build", start)) as events:
            for event in events:
                log.add(event)
    except (EngineError, NotFound, Conflict) as error:
        log.error = error.message
    log.close()


def _tag_result(images: Images, log: BuildLog, options: BuildOptions, names: Iterable[str | None], text: str) -> str:
    """Tag the first of ``names`` that the engine has; returns its id. Raises BuildFailed."""
    excerpt = tuple(log.lines[-EXCERPT_LINES:])
    if log.error:
        raise _build_error(log.error, text, excerpt)
    built = next((image for name in names if name and (image := images.image(name))), None)
    if built is None:
        raise BuildFailed("the build ended without an image", excerpt=excerpt)
    for tag in options.tags:
        images.tag(built.id, tag)
    return built.id


def _check_heredocs(text: str, version: str) -> None:
    """Raise BuildFailed where a podman of ``version`` would read a here-document as instructions."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _PODMAN_HEREDOCS and has_heredocs(text):
        raise BuildFailed(
            f"this Dockerfile has a here-document, which the builder of podman {version} cannot read",
            hint="Podman 4.8 can; or write the lines as a file and COPY it, or as one RUN with && between them.",
        )


class BaseImageUnavailable(BuildFailed):
    """A base image is not in the engine, and could not be pulled."""


def _build_error(message: str, text: str, excerpt: tuple[str, ...]) -> BuildFailed:
    """The error of a failed build of the Dockerfile ``text``."""
    failed = f"the build failed: {_PODMAN_STEP.sub('', message)}"
    no_network = any(mark in message for mark in ("no such host", "dial tcp", "i/o timeout", "network is unreachable"))
    if no_network and any(host in message for host in added_hosts(text)):
        hint = "The engine cannot reach that address: download the file into the Dockerfile's folder, and COPY it."
        return BuildFailed(failed, hint=hint, excerpt=excerpt)
    if no_network or any(mark in message for mark in ("pull access denied", "manifest unknown")):
        hint = "The base image is not in the engine. Is its name right, and can its registry be reached?"
        return BaseImageUnavailable(failed, hint=hint, excerpt=excerpt)
    return BuildFailed(failed, excerpt=excerpt)


def _registry_config(text: str, build_args: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The credentials there are for the base images: host -> auth config, and host/path where another image of the host has others.

    Docker takes one for a host, podman also those of a path.
    """
    configs: dict[str, dict[str, str]] = {}
    for name in base_images(text, dict(build_args)):
        try:
            reference = Reference.parse(name, default_host=DOCKER_HUB)
        except InvalidReference:
            # The builder reports what is wrong with it, and where.
            continue
        host = reference.host
        credential = credentials.find(host, repository=reference.path, on_error=lambda error: None)
        if credential is not None:
            config = credential.as_auth_config()
            if configs.setdefault("https://index.docker.io/v1/" if host == DOCKER_HUB else host, config) != config:
                configs[f"{host}/{reference.path}"] = config
    return configs
