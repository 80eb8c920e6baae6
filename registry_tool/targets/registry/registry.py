"""A registry: its repositories, and the few questions that are about all of it (OCI distribution specification 1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from registry_tool.auth import credentials
from registry_tool.base.errors import NotARegistry, NotFound
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import ACCEPT
from registry_tool.targets.registry.capabilities import Capabilities, manifest_path
from registry_tool.targets.registry.repository import Repository, names_in
from registry_tool.transport import Transport

_PAGE = 1000
"""Names wanted at once; registry:3 gives no more, and some others less."""


class Registry:
    """One registry. Its repositories share its connections; what it can do is found out once. Threads may share it.

    Whatever asks raises what :class:`registry_tool.transport.Transport` does.
    """

    def __init__(self, transport: Transport) -> None:
        self.host = transport.host
        self._transport = transport
        self.capabilities = Capabilities(transport)

    @classmethod
    def open(cls, host: str, *, plain_http: bool | None = None) -> Registry:
        """The registry at ``host`` (``localhost:5000``, ``docker.io``). Asks nothing yet.

        Credentials are looked for only if the registry wants to see some; CredentialsError then comes from what asked.
        ``plain_http`` None: TLS, unless the host is on this machine and speaks plain HTTP.
        """
        return cls(Transport(host, plain_http=plain_http, credential=lambda: credentials.find(host)))

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def ping(self) -> None:
        """See that a registry answers and lets us in."""
        try:
            self._transport.get("/v2/")
        except NotFound as error:
            # The one path that every registry has.
            raise NotARegistry(f"what answers at {self.host} is no registry: {error.message}", hint=error.hint) from error

    def repository(self, path: str) -> Repository:
        """The repository ``path``, ``john/get-started``. Asks nothing yet."""
        return Repository(self._transport, path, self.capabilities)

    def catalog(self) -> Iterator[str]:
        """The repositories, as they come: page by page, each once. Empty ones are among them.

        Many registries do not show this to everybody, or at all: AuthenticationFailed, NotFound.
        """
        seen: set[str] = set()
        for answer in self._transport.pages("/v2/_catalog", params={"n": str(_PAGE)}):
            for name in names_in(self.host, answer, "repositories"):
                if name not in seen:
                    seen.add(name)
                    yield name

    def tags(self, repository: str) -> tuple[str, ...]:
        """As :meth:`registry_tool.targets.registry.repository.Repository.tags`."""
        return self.repository(repository).tags()

    def digest(self, repository: str, tag: str) -> Digest | None:
        """The digest that ``tag`` (or a digest) has now, None where it is not there."""
        path, headers = manifest_path(repository, tag), {"Accept": ACCEPT}
        try:
            answer = self._transport.head(path, headers=headers)
        except NotFound:
            return None
        try:
            return Digest.parse(answer.headers.get("docker-content-digest", ""))
        except ValueError:
            # The specification lets a registry leave the header away: the digest is that of the manifest's bytes.
            return Digest.of(self._transport.get(path, headers=headers).body)
