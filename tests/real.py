"""What is real here: whether something may be missing, and ports that nobody has."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest

REQUIRED = frozenset(part.strip() for part in os.environ.get("REGISTRY_TOOL_REQUIRE", "").split(",") if part.strip())


def missing(what: str, why: str) -> NoReturn:
    """Skip for a person; fail where ``REGISTRY_TOOL_REQUIRE`` says that ``what`` may not be skipped."""
    if what in REQUIRED:
        pytest.fail(f"{what} is required here (REGISTRY_TOOL_REQUIRE) and missing: {why}")
    pytest.skip(f"no {what}: {why}")


def free_port() -> int:
    """A port on loopback that nothing held a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
