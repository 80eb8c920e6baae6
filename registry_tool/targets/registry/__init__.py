"""A registry, somewhere, as its interface shows it."""

from __future__ import annotations

from registry_tool.targets.registry.blobs import Presence
from registry_tool.targets.registry.registry import Registry
from registry_tool.targets.registry.repository import Repository
from registry_tool.targets.registry.uploads import Upload

__all__ = ["Presence", "Registry", "Repository", "Upload", "open_registry"]


def open_registry(host: str, *, plain_http: bool | None = None) -> Registry:
    """As :meth:`Registry.open`."""
    return Registry.open(host, plain_http=plain_http)
