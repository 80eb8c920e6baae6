"""A local registry and image lifecycle manager.

As a library: ``from registry_tool import Registry``; docs/library.md shows its use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_tool.targets.registry import Registry as Registry

__version__ = "0.1.0"
__all__ = ["Registry", "__version__"]


def __getattr__(name: str) -> object:
    """``Registry`` when it is first asked for: what it stands on takes longer to import than ``regctl --help`` may."""
    if name != "Registry":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from registry_tool.targets.registry import Registry

    globals()[name] = Registry
    return Registry
