"""A registry over HTTP (OCI distribution specification 1.1)."""

from __future__ import annotations

from registry_tool.targets.registry.blobs import Presence
from registry_tool.targets.registry.registry import Registry
from registry_tool.targets.registry.repository import Repository

__all__ = ["Presence", "Registry", "Repository", "open_registry"]

open_registry = Registry.open
