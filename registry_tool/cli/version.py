"""``--version``: the versions of this tool, the engine and the registry."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import registry_tool
from registry_tool.base.errors import RegistryToolError
from registry_tool.cli import program_name

if TYPE_CHECKING:
    from registry_tool.cli.session import Session

TIMEOUT = 3.0
"""Seconds for engine and registry together: an engine that hangs must not block the command."""


def print_versions(session: Session) -> None:
    """Print three lines; an engine or a registry that is missing is no error."""
    versions: dict[str, str] = {}
    thread = threading.Thread(target=_query, args=(session, versions), daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    session.output.line(f"{program_name.name()} {registry_tool.__version__}")
    session.output.line(f"engine: {versions.get('engine', f'no response within {TIMEOUT:g} s')}")
    session.output.line(f"registry: {versions.get('registry', 'unknown')}")


def _query(session: Session, versions: dict[str, str]) -> None:
    from registry_tool.local import registry as local_registry

    try:
        engine = session.engine
        info = engine.info
        versions["engine"] = f"{info.version} ({info.platform}, {engine.endpoint.url})"
        running = next((registry for registry in local_registry.find_all(engine) if registry.running), None)
        if running is None:
            versions["registry"] = "none running"
            return
        _, output = engine.execute(running.container_id, ["registry", "--version"])
        version = re.search(rb"\d+\.\d+\.\d+\S*", output)
        versions["registry"] = f"{version[0].decode() if version else 'unknown version'} ({running.image}, {running.address})"
    except RegistryToolError as error:
        versions.setdefault("engine", f"none ({error.message})")
