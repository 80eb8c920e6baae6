"""A registry's read interface (OCI distribution specification 1.1, "Pull" and "Content discovery")."""

from __future__ import annotations

from types import TracebackType

from registry_tool.digest import Digest
from registry_tool.errors import NotARegistry, NotFound, RegistryError
from registry_tool.transport import Transport

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT_MANIFESTS = {"Accept": ", ".join(_MANIFESTS)}


class Registry:
    """One registry. ``repository`` is a path in it, ``john/get-started``.

    Whatever asks raises what :meth:`registry_tool.transport.Transport.get` raises.
    """

    def __init__(self, transport: Transport) -> None:
        self.host = transport.host
        self._transport = transport

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._transport.close()

    def ping(self) -> None:
        """See that a registry answers and lets us in."""
        try:
            self._transport.get("/v2/")
        except NotFound as error:
            # The one path that every registry has.
            raise NotARegistry(f"what answers at {self.host} is no registry: {error.message}", hint=error.hint) from error

    def tags(self, repository: str) -> tuple[str, ...]:
        """The repository's tags as the registry orders them. NotFound where the registry knows no such repository.

        A repository whose last tag was deleted is there, and has none.
        """
        tags: dict[str, None] = {}
        for answer in self._transport.pages(f"/v2/{repository}/tags/list"):
            document = answer.json()
            # distribution writes null for none.
            page = (document.get("tags") or []) if isinstance(document, dict) else None
            if not isinstance(page, list) or not all(isinstance(tag, str) for tag in page):
                raise RegistryError(f"{self.host} answers {answer.path} with something that is no list of tags", hint="Look at its log.")
            tags.update(dict.fromkeys(page))
        return tuple(tags)

    def digest(self, repository: str, tag: str) -> Digest | None:
        """The digest that ``tag`` (or a digest) has now, None where it is not there."""
        path = f"/v2/{repository}/manifests/{tag}"
        try:
            answer = self._transport.head(path, headers=_ACCEPT_MANIFESTS)
        except NotFound:
            return None
        try:
            return Digest.parse(answer.headers.get("docker-content-digest", ""))
        except ValueError:
            # The specification lets a registry leave the header away: the digest is that of the manifest's bytes.
            return Digest.of(self._transport.get(path, headers=_ACCEPT_MANIFESTS).body)
