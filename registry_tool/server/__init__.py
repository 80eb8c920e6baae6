"""A registry in this process, which behaves as ``registry:2`` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry_tool.server.application import Application
from registry_tool.server.listener import Server, serving
from registry_tool.server.memory import MemoryStorage
from registry_tool.server.storage import Kind, Storage, StoredUpload, WrongDigest

__all__ = ["Application", "Kind", "MemoryStorage", "Running", "Server", "Storage", "StoredUpload", "WrongDigest", "running", "serving"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A registry that answers at ``host`` (``127.0.0.1:PORT``). ``errors`` stays empty unless the registry has a bug."""

    host: str
    port: int
    application: Application
    errors: list[Exception]


@contextmanager
def running(application: Application | None = None, *, address: str = "127.0.0.1", port: int = 0) -> Iterator[Running]:
    """A registry for the block: ``application``, or an empty one in memory. OSError where the port is taken."""
    served = application or Application(MemoryStorage())
    with serving(served, address=address, port=port) as server:
        yield Running(host=server.host, port=server.port, application=served, errors=server.errors)
