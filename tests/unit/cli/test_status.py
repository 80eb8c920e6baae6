"""``status``: what it imports and asks the engine for, as it is typed often and has to be fast."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.fake_engine import call, fake_engine
from tests.support.fake_server import reply

UNUSED = (
    "registry_tool.auth.credentials",
    "registry_tool.auth.host_settings",
    "registry_tool.engine.build.",
    "registry_tool.engine.container_configuration",
    "registry_tool.engine.engine_setup",
    "registry_tool.engine.specs",
    "registry_tool.local.registry.passwords",
    "registry_tool.local.registry.removal",
    "registry_tool.local.registry.startup",
    "registry_tool.local.registry.users",
    "registry_tool.local.registry.volume_state",
    "registry_tool.targets",
    "registry_tool.transport",
    "rich",
)
"""Packages and modules that look nothing up."""


def test_status_imports_no_module_that_builds_creates_or_transfers_and_lists_twice(tmp_path: Path) -> None:
    code = (
        "import sys; from registry_tool.cli.app import main; code = main(['status']); "
        f"heavy = [name for name in sys.modules if name.startswith({UNUSED!r})]; "
        "print(*heavy, file=sys.stderr); sys.exit(code)"
    )
    with fake_engine({"GET /containers/json": reply([])}) as (engine, server):
        before = len(server.requests)
        environment = {**os.environ, "DOCKER_HOST": engine.endpoint.url, "XDG_STATE_HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=environment)
        requests = [call(request) for request in server.requests[before:]]
    assert (done.returncode, done.stderr) == (1, "\n")
    assert done.stdout.startswith("no local registry; ")
    # Of collections and of registries, after the ping.
    assert requests[1:] == ["GET /containers/json"] * 2
