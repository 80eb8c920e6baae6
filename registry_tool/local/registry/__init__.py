"""The local registry: its container, volume and port, started, stopped and found by labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_tool.base.deferred import deferred
from registry_tool.local.registry.lookup import LocalRegistry, find, find_all
from registry_tool.local.registry.proxy import Proxy
from registry_tool.local.registry.readiness import PortProbe, PortState, is_ready, probe_port, wait_until_ready
from registry_tool.local.registry.spec import DEFAULT_NAME, compose_env

if TYPE_CHECKING:
    from registry_tool.local.registry.passwords import Auth
    from registry_tool.local.registry.removal import DownResult, down
    from registry_tool.local.registry.serving import ServerTls, read_files
    from registry_tool.local.registry.startup import OnMove, PortMove, UpResult, up
    from registry_tool.local.registry.users import UserChange, add_user, list_users, remove_user
else:
    # Who looks a registry up starts and removes none.
    _STARTUP = dict.fromkeys(("OnMove", "PortMove", "UpResult", "up"), f"{__name__}.startup")
    _REMOVAL = dict.fromkeys(("DownResult", "down"), f"{__name__}.removal")
    _SERVING = dict.fromkeys(("ServerTls", "read_files"), f"{__name__}.serving")
    _USERS = dict.fromkeys(("UserChange", "add_user", "list_users", "remove_user"), f"{__name__}.users")
    __getattr__ = deferred(__name__, {"Auth": f"{__name__}.passwords", **_REMOVAL, **_SERVING, **_STARTUP, **_USERS})

__all__ = [
    "DEFAULT_NAME",
    "Auth",
    "DownResult",
    "LocalRegistry",
    "OnMove",
    "PortMove",
    "PortProbe",
    "PortState",
    "Proxy",
    "ServerTls",
    "UpResult",
    "UserChange",
    "add_user",
    "compose_env",
    "down",
    "find",
    "find_all",
    "is_ready",
    "list_users",
    "probe_port",
    "read_files",
    "remove_user",
    "up",
    "wait_until_ready",
]
