"""``--version``: of this tool, and of the engine and the registry where they answer quickly."""

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
"""Seconds for both answers together. An engine that hangs must not hang us."""


def print_versions(session: Session) -> None:
    """Print three lines; never fails over an engine or a registry that is not there."""
    told: dict[str, str] = {}
    asking = threading.Thread(target=_query, args=(session, told), daemon=True)
    asking.start()
    asking.join(TIMEOUT)
    session.output.line(f"{program_name.name()} {registry_tool.__version__}")
    session.output.line(f"engine: {told.get('engine', f'no response within {TIMEOUT:g} s')}")
    session.output.line(f"registry: {told.get('registry', 'unknown')}")


def _query(session: Session, told: dict[str, str]) -> None:
    from registry_tool.local import registry as local_registry

    try:
        engine = session.engine
        info = engine.info
        told["engine"] = f"{info.version} ({info.platform}, {engine.endpoint.url})"
        found = next((registry for registry in local_registry.find_all(engine) if registry.running), None)
        if found is None:
            told["registry"] = "none running"
            return
        _, output = engine.execute(found.container_id, ["registry", "--version"])
        version = re.search(rb"\d+\.\d+\.\d+\S*", output)
        told["registry"] = f"{version[0].decode() if version else 'unknown version'} ({found.image}, {found.address})"
    except RegistryToolError as error:
        told.setdefault("engine", f"none ({error.message})")
