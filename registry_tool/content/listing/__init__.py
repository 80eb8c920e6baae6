"""What a repository holds, as a table: every tag, and what it stands for."""

from __future__ import annotations

from registry_tool.content.listing.catalog import Catalog, RepositorySummary, catalog
from registry_tool.content.listing.contents import Contents, Details
from registry_tool.content.listing.source import Cache, ContentSource, NoCache, ends_all
from registry_tool.content.listing.table import Options, Row, TagTable
from registry_tool.content.listing.tags import list_tags

__all__ = [
    "Cache",
    "Catalog",
    "ContentSource",
    "Contents",
    "Details",
    "NoCache",
    "Options",
    "RepositorySummary",
    "Row",
    "TagTable",
    "catalog",
    "ends_all",
    "list_tags",
]
