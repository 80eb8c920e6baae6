"""A registry: its repositories, and the requests that are about all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from registry_tool.base.address import is_loopback
from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import AuthenticationFailed, NotARegistry, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import ACCEPT
from registry_tool.oci.reference import check_repository, is_repository, registry_host
from registry_tool.targets.registry.repository import Capabilities, Repository, header_digest, manifest_path
from registry_tool.targets.registry.upload_records import UploadRecords
from registry_tool.transport import Response, Transport, log_warning

if TYPE_CHECKING:
    from registry_tool.auth.credentials import Credential, HostCredentials
    from registry_tool.auth.host_settings import HostSettings

_CATALOG = "/v2/_catalog"
_NOT_SUPPORTED = (405, 501)
_PAGE = 1000
"""Names requested at once; registry:3 sends no more, and some others less."""


class Registry:
    """One registry; its repositories and threads share connections, capabilities and limiter. Requests raise what ``Transport`` does."""

    def __init__(self, transport: Transport) -> None:
        self.host = transport.host
        self._transport = transport
        self.capabilities = Capabilities(transport)
        self.limiter = RateLimiter(lambda: transport.rate_limit_remaining, lambda: transport.latency)
        """To be entered for each request of whoever makes many."""
        self.upload_records: UploadRecords | None = None
        """Keeps the uploads of its repositories, so that another run can go on with them; None: they are not kept."""

    @classmethod
    def open(
        cls,
        host: str,
        *,
        plain_http: bool | None = None,
        insecure: bool | None = None,
        credential: Credential | tuple[str, str] | None = None,
        auth_file: Path | None = None,
        on_warning: Callable[[str], None] = log_warning,
    ) -> Registry:
        """Return the registry at ``host`` (``localhost:5000``, ``docker.io``). Sends nothing yet.

        ``credential``, ``("mary", PASSWORD)``, is used if the registry wants one; otherwise one is looked up then, in
        ``auth_file`` alone if it is given. ``plain_http`` and ``insecure`` (its certificate is not checked) None: as
        remembered at a login; else TLS, unless the host is on this machine and speaks plain HTTP. ``on_warning`` gets what
        does not end a request, and yet matters (a credential helper that failed); by default the log does. Raises
        UsageError.
        """
        host = registry_host(host)
        if credential is not None:
            credential = _checked(credential)
        settings = _settings(host) if not is_loopback(host) else None
        unchecked = (settings is not None and settings.insecure) if insecure is None else insecure
        if unchecked and not is_loopback(host):
            remembered = f" (remembered; regctl logout {host} forgets it)" if insecure is None else ""
            on_warning(f"the certificate of {host} is not checked: others on the way can read and change everything{remembered}")
        transport = Transport(
            host,
            plain_http=(settings is not None and settings.plain_http) or None if plain_http is None else plain_http,
            insecure=unchecked,
            credential=credential or _stored(host, auth_file),
            on_warning=on_warning,
        )
        return cls(transport)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    @property
    def authenticated(self) -> bool:
        """Whether the registry asked for authentication and was answered."""
        return self._transport.authenticated

    def ping(self) -> None:
        """Check that a registry answers and lets us in. Raises NotARegistry."""
        try:
            self._transport.get("/v2/")
        except NotFound as error:
            # The one path that every registry has.
            raise NotARegistry(f"the server at {self.host} is not a registry: {error.message}", hint=error.hint) from error

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of its responses until now: entries of lists that were skipped, lists that may be incomplete."""
        return tuple(self.capabilities.notes)

    def repository(self, path: str) -> Repository:
        """Return the repository ``path``, ``john/get-started``. Sends nothing yet. Raises InvalidReference."""
        return Repository(self._transport, path, self.capabilities, self.limiter, self.upload_records)

    def catalog(self) -> Iterator[str]:
        """The repositories, page by page, each once, empty ones too. Raises AuthenticationFailed, NotFound where they are not shown."""
        seen: set[str] = set()
        for response in self._catalog_pages():
            for name in self.capabilities.names(self.host, response, "repositories", is_repository):
                if name not in seen:
                    seen.add(name)
                    yield name

    def _catalog_pages(self) -> Iterator[Response]:
        note = self.capabilities.add_note
        pages = self._transport.pages(_CATALOG, params={"n": str(_PAGE)}, on_incomplete=note)
        try:
            first = next(pages)
        except (RegistryError, NotFound, NotARegistry) as error:
            if not _may_be_about_the_number(error):
                raise
            # It may be more than it sends at once (distribution, catalog.maxentries).
            pages = self._transport.pages(_CATALOG, on_incomplete=note)
            first = self._first_without_number(pages)
        yield first
        yield from pages

    def _first_without_number(self, pages: Iterator[Response]) -> Response:
        try:
            return next(pages)
        except (RegistryError, NotFound, NotARegistry) as error:
            response = error.response
            is_unsupported = response is not None and (response.status in _NOT_SUPPORTED or response.code == "UNSUPPORTED")
            if not is_unsupported and not isinstance(error, (NotFound, NotARegistry)):
                raise
            # Where no registry is, there is no catalog either.
            self.ping()
            hint = f"Name a repository: regctl list-tags {self.host}/NAME"
            missing = NotFound(f"{self.host} has no catalog: it does not list its repositories", hint=hint)
            missing.response = response
            raise missing from error

    def digest(self, repository: str, tag: str) -> Digest | None:
        """The digest that ``tag`` (or a digest) stands for now, None where it is not there. Raises InvalidReference."""
        check_repository(repository)
        path, headers = manifest_path(repository, tag), {"Accept": ACCEPT}
        try:
            response = self._transport.head(path, headers=headers, may_be_missing=True)
        except NotFound:
            return None
        return header_digest(response) or Digest.of(response.body or self._transport.get(path, headers=headers).body)


# What a registry on this machine rarely needs is imported when it does.


def _checked(credential: Credential | tuple[str, str]) -> Credential:
    from registry_tool.auth.credentials import Credential, check_credential  # noqa: PLC0415

    if isinstance(credential, tuple):
        credential = Credential(*credential)
    check_credential(credential)
    return credential


def _settings(host: str) -> HostSettings:
    from registry_tool.auth import host_settings  # noqa: PLC0415

    return host_settings.load(host)


def _stored(host: str, auth_file: Path | None) -> Callable[[str], Credential | None]:
    """The function that looks a credential up, by repository. Raises UsageError where ``auth_file`` is not there."""

    @cache
    def credentials() -> HostCredentials:
        from registry_tool.auth.credentials import HostCredentials  # noqa: PLC0415

        return HostCredentials(host, auth_file=auth_file)

    if auth_file is not None:
        credentials()
    return lambda repository: credentials().find(repository)


def _may_be_about_the_number(error: RegistryToolError) -> bool:
    """Whether a refused catalog may be had without a number of names."""
    if isinstance(error, AuthenticationFailed):
        error.hint = f"{error.hint}. Some registries show no catalog: name a repository."
        return False
    status = error.response.status if error.response is not None else 500
    return (status < 500 or status in _NOT_SUPPORTED) and not isinstance(error, TooManyRequests)
