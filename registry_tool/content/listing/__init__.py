"""Tables of what a registry holds: a repository's tags and what each stands for; its repositories are in ``catalog``."""

from __future__ import annotations

from registry_tool.content.listing.contents import Contents, Details, is_registry_wide
from registry_tool.content.listing.table import Options, Row, TagTable
from registry_tool.content.listing.tags import list_tags

__all__ = ["Contents", "Details", "Options", "Row", "TagTable", "is_registry_wide", "list_tags"]
