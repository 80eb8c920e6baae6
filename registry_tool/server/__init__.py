"""A registry in this process that behaves as ``registry:2`` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry_tool.server.application import Application
from registry_tool.server.listener import Server, run_server
from registry_tool.server.memory import MemoryStorage
from registry_tool.server.storage import LinkKind, Storage, StoredUpload, WrongDigest

__all__ = [
    "Application",
    "LinkKind",
    "MemoryStorage",
    "RunningRegistry",
    "Server",
    "Storage",
    "StoredUpload",
    "WrongDigest",
    "run_registry",
    "run_server",
]


@dataclass(frozen=True, kw_only=True)
class RunningRegistry:
    """A registry that listens at ``host`` (``127.0.0.1:PORT``). ``errors`` stays empty unless the registry has a bug."""

    host: str
    port: int
    application: Application
    errors: list[Exception]


@contextmanager
def run_registry(application: Application | None = None, *, address: str = "127.0.0.1", port: int = 0) -> Iterator[RunningRegistry]:
    """Run ``application``, or an empty registry in memory, for the block. Raises OSError where the port is taken."""
    served = application or Application(MemoryStorage())
    with run_server(served, address=address, port=port) as server:
        yield RunningRegistry(host=server.host, port=server.port, application=served, errors=server.errors)
