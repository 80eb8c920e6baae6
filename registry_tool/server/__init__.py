"""A registry in this process that behaves as ``registry:2`` does."""

from __future__ import annotations

from contextlib import AbstractContextManager

from registry_tool.server.application import Application
from registry_tool.server.listener import Server, run_server
from registry_tool.server.storage import MemoryStorage, Storage, WrongDigest

__all__ = ["Application", "MemoryStorage", "RunningRegistry", "Storage", "WrongDigest", "run_registry", "run_server"]

RunningRegistry = Server[Application]
"""A registry that listens at its ``host``; its ``errors`` stay empty unless it has a bug."""


def run_registry(
    application: Application | None = None, *, address: str = "127.0.0.1", port: int = 0
) -> AbstractContextManager[RunningRegistry]:
    """Run ``application``, or an empty registry in memory, for a block. Raises OSError where the port is taken."""
    return run_server(application or Application(MemoryStorage()), address=address, port=port)
