"""A local registry and image lifecycle manager.

As a library: ``from registry_tool import Registry``; docs/library.md shows its use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_tool.content.copy.library import copy as copy
    from registry_tool.targets.registry import Registry as Registry

__version__ = "0.1.0"
__all__ = ["Registry", "__version__", "copy"]

_MODULES = {"Registry": "registry_tool.targets.registry", "copy": "registry_tool.content.copy.library"}


def __getattr__(name: str) -> object:
    """``Registry`` and ``copy`` when they are first asked for: what they stand on takes longer to import than ``regctl --help`` may."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
