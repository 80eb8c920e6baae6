"""A registry, somewhere, as its interface shows it."""

from __future__ import annotations

from registry_tool import credentials
from registry_tool.remote.blobs import Presence
from registry_tool.remote.registry import Registry
from registry_tool.remote.repository import Repository
from registry_tool.remote.uploads import Upload
from registry_tool.transport import Transport

__all__ = ["Presence", "Registry", "Repository", "Upload", "open"]


def open(host: str, *, plain_http: bool | None = None) -> Registry:
    """The registry at ``host`` (``localhost:5000``, ``docker.io``). Asks nothing yet.

    Credentials are looked for only if the registry wants to see some; CredentialsError then comes from what asked.
    """
    return Registry(Transport(host, plain_http=plain_http, credential=lambda: credentials.find(host)))
