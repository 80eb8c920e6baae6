"""What is real here: whether something may be missing, ports that nobody has, and registries that answer."""

from __future__ import annotations

import http.client
import os
import random
import socket
import time
from contextlib import suppress
from typing import NoReturn

import pytest

from registry_tool.engine import Engine

REQUIRED = frozenset(part.strip() for part in os.environ.get("REGISTRY_TOOL_REQUIRE", "").split(",") if part.strip())


def missing(what: str, why: str) -> NoReturn:
    """Skip for a person; fail where ``REGISTRY_TOOL_REQUIRE`` says that ``what`` may not be skipped."""
    if what in REQUIRED:
        pytest.fail(f"{what} is required here (REGISTRY_TOOL_REQUIRE) and missing: {why}")
    pytest.skip(f"no {what}: {why}")


PORTS = range(10_000, 32_768)
"""Linux gives none of these to who asks for any port, and no connection comes from one; macOS and the BSDs neither."""


def free_port() -> int:
    """A port on loopback that nothing held a moment ago, and that nobody gets by chance: tests beside this one ask for any port all day."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_registry(port: int, *, seconds: float = 600) -> None:
    """Come back when a registry answers on ``port`` of loopback, whoever it lets in; fail when none does in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status in (200, 401):
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    pytest.fail(f"no registry answers on port {port} within {seconds:g} s")


def wait_for_words(engine: Engine, container: str, words: bytes, *, seconds: float = 600) -> None:
    """Come back when ``container`` has written ``words``: what it does before them is done. Fail when it does not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if words in b"".join(chunk for _, chunk in engine.logs(container)):
            return
        time.sleep(0.02)
    pytest.fail(f"{container} does not write {words!r} within {seconds:g} s")
