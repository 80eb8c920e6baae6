"""What every room uses and nothing of registries: errors, addresses, deadlines, files, folders, progress."""

from __future__ import annotations

from registry_tool import __version__

USER_AGENT = f"registry-tool/{__version__}"
"""How this program names itself to servers."""
