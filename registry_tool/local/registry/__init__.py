"""The registry that we run: its container and volume, its port, whether it answers, and how it is found again."""

from __future__ import annotations

from registry_tool.local.registry.down import Down, down
from registry_tool.local.registry.passwords import Auth
from registry_tool.local.registry.reach import Look, Seen, is_answering, look, wait_until_answering
from registry_tool.local.registry.registry import LocalRegistry, find, find_all, kept_volumes, logs
from registry_tool.local.registry.spec import DEFAULT_NAME, env_lines
from registry_tool.local.registry.up import Up, up

__all__ = [
    "DEFAULT_NAME",
    "Auth",
    "Down",
    "LocalRegistry",
    "Look",
    "Seen",
    "Up",
    "down",
    "env_lines",
    "find",
    "find_all",
    "is_answering",
    "kept_volumes",
    "logs",
    "look",
    "up",
    "wait_until_answering",
]
