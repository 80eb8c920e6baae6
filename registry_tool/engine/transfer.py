"""Push and pull by the engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from registry_tool.base.address import is_loopback
from registry_tool.base.errors import (
    AuthenticationFailed,
    Conflict,
    CredentialsError,
    EngineError,
    EngineTimeout,
    NotFound,
    PullFailed,
    PushFailed,
    RegistryToolError,
)
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine.engine_errors import PlainHttpRefused, pull_error, push_error
from registry_tool.engine.images import Images, split_tag
from registry_tool.engine.streams import DOCKER_MANIFEST, TransferLog, event_error
from registry_tool.engine.values import TransferResult
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import DOCKER_HUB, Reference

Auth = Mapping[str, str]
Events = Generator[Mapping[str, Any], None, None]


class Transfer(Images):
    """The engine's push and pull. A part of :class:`~registry_tool.engine.engine.Engine`."""

    auth_file: Path | None = None
    """Where credentials are read from, instead of all other stores."""

    def push(self, name: str, *, observer: Observer = SILENT) -> TransferResult:
        """Push ``name``. On loopback, and where a login remembered so, podman may use plain HTTP, as docker does by its own settings.

        Raises NotFound (no such image here), RegistryUnreachable, AuthenticationFailed, PushFailed.
        """
        repository, tag = split_tag(name)

        def start(auth: Auth) -> Events:
            return self._client.stream(
                f"the push of {name}", lambda api: api.push_image(repository, tag, auth, insecure=_is_insecure(_host(name)))
            )

        log = _transfer(name, start, push_error, observer, auth_file=self.auth_file)
        if log.descriptor is None:
            raise PushFailed(f"the engine ended the push of {name} without a digest", hint="Push again; the engine's log may say more.")
        return _result(name, log, log.descriptor)

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        known_as: str | None = None,
        expected: Digest | None = None,
        observer: Observer = SILENT,
    ) -> TransferResult:
        """Pull ``name``, for ``platform`` (``linux/arm64``) or the engine's own.

        ``known_as`` is the host whose credentials are used, where the engine knows the registry by another name. ``expected`` is the
        digest that ``name`` has in its registry: podman does not report which of an image's digests it pulled.

        Raises NotFound, RegistryUnreachable, AuthenticationFailed, PullFailed.
        """
        reference = Reference.parse(name, default_host=DOCKER_HUB)
        repository, tag = (split_tag(name.partition("@")[0])[0], str(reference.digest)) if reference.digest else split_tag(name)
        insecure = _is_insecure(reference.host)

        def start(auth: Auth) -> Events:
            return self._client.stream(
                f"the pull of {name}",
                lambda api: api.pull_image(repository, tag, auth, platform=platform, insecure=insecure),
            )

        def start_libpod(auth: Auth) -> Events:
            return self._client.stream(f"the pull of {name}", lambda api: api.libpod_pull(name, auth, platform=platform, insecure=True))

        before = self.image(name) if self._client.api.is_podman else None
        try:
            log = _transfer(name, start, pull_error, observer, auth_file=self.auth_file, host=known_as)
        except PlainHttpRefused:
            if not insecure:
                raise
            log = _transfer(name, start_libpod, pull_error, observer, auth_file=self.auth_file, host=known_as)
        if self._client.api.is_podman:
            # Docker's words, which podman does not report.
            after = self.image(name)
            is_same = before is not None and after is not None and before.id == after.id
            log.status = log.status or f"{'Image is up to date' if is_same else 'Downloaded newer image'} for {name}"
        return _result(name, log, log.descriptor or self._descriptor_of(name, reference.digest or expected))

    def can_pull(self, name: str, *, timeout: float) -> bool:
        """Whether the engine finds ``name`` in its registry within ``timeout`` seconds."""
        reference = Reference.parse(name, default_host=DOCKER_HUB)
        auth = _auth_config(reference.host, reference.path, auth_file=self.auth_file, on_error=lambda error: None)
        try:
            if self._client.api.is_podman:
                return self._begins_to_pull(name, auth, timeout)
            with self._client.call(f"asking for {name}") as api:
                api.distribution(name, auth, timeout=timeout)
        except (EngineError, NotFound, EngineTimeout):
            return False
        return True

    def _begins_to_pull(self, name: str, auth: Auth, timeout: float) -> bool:
        """Whether podman, which cannot be asked whether a registry has an image, gets to its layers; the pull is broken off there."""
        insecure = _is_insecure(_host(name))
        pull = self._client.stream(
            f"asking for {name}", lambda api: api.libpod_pull(name, auth, platform=None, insecure=insecure, timeout=timeout)
        )
        with closing(pull) as events:
            following = (event for event in events if not str(event.get("stream", "")).startswith("Trying to pull"))
            first = next(following, None)
        return first is not None and event_error(first) is None

    def _descriptor_of(self, name: str, expected: Digest | None) -> Descriptor:
        """The digest of the image that was pulled: podman's interface ends a pull without ``Digest:``.

        It keeps every manifest of an image, also the one that it made when it built it, and does not tell which is the registry's.
        """
        image = self.image(name)
        repository = Reference.parse(name, default_host=DOCKER_HUB).repository
        kept = [Reference.parse(each, default_host=DOCKER_HUB) for each in image.digests] if image else []
        digests = [each.digest for each in kept if each.digest is not None and each.repository == repository]
        if not digests:
            raise PullFailed(f"the engine ended the pull of {name} without a digest", hint="Pull again; the engine's log may say more.")
        return Descriptor(media_type=DOCKER_MANIFEST, digest=expected if expected in digests else digests[0], size=0)


def _transfer(
    name: str,
    start: Callable[[Auth], Events],
    error_from: Callable[[str, str], RegistryToolError],
    observer: Observer,
    *,
    auth_file: Path | None,
    host: str | None = None,
) -> TransferLog:
    """Read the whole stream. Raises what it reports, or what the engine responds with instead of it."""
    troubles: list[CredentialsError] = []
    reference = Reference.parse(name, default_host=DOCKER_HUB)
    auth = _auth_config(host or reference.host, reference.path, auth_file=auth_file, on_error=troubles.append)
    log = TransferLog(observer)
    try:
        # Closed, so that Ctrl-C stops the engine, too.
        with closing(start(auth)) as events:
            for event in events:
                log.add(event)
        reported = log.error
    except (EngineError, NotFound, Conflict) as refusal:
        reported = refusal.message
    if reported is None:
        # A registry on this machine rarely wants credentials; of others it is not known.
        for trouble in troubles if not is_loopback(reference.host) else ():
            observer.note(f"{trouble.message}: went on without credentials")
        return log
    error = error_from(name, reported)
    if troubles and isinstance(error, AuthenticationFailed):
        # A credential store that failed matters only where credentials were wanted.
        raise troubles[0] from error
    raise error


def _result(name: str, log: TransferLog, descriptor: Descriptor) -> TransferResult:
    return TransferResult(
        reference=name,
        descriptor=descriptor,
        status=log.status,
        layers=log.progress.layers,
        bytes_moved=log.progress.bytes_moved,
        partial_of=log.partial_of,
    )


def _is_insecure(host: str) -> bool:
    """Whether podman may use plain HTTP, or a certificate that is not trusted: on loopback, and where a login remembered so."""
    from registry_tool.auth import host_settings  # noqa: PLC0415 - few commands push or pull by the engine

    settings = host_settings.load(host)
    return is_loopback(host) or settings.plain_http or settings.insecure


def _host(name: str) -> str:
    return Reference.parse(name, default_host=DOCKER_HUB).host


def _auth_config(host: str, repository: str, *, auth_file: Path | None, on_error: Callable[[CredentialsError], None]) -> dict[str, str]:
    """The credentials for ``repository`` at ``host``; empty where there are none."""
    from registry_tool.auth import credentials  # noqa: PLC0415 - few commands push or pull by the engine

    credential = credentials.find(host, repository=repository, auth_file=auth_file, on_error=on_error)
    return credential.as_auth_config() if credential else {}
