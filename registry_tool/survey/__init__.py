"""What a repository holds, as a table: every tag, and what it stands for."""

from __future__ import annotations

from registry_tool.survey.catalog import Catalog, Holding, catalog, names
from registry_tool.survey.contents import Contents, Details
from registry_tool.survey.source import Cache, NoCache, Source, ends_all
from registry_tool.survey.survey import survey
from registry_tool.survey.table import Options, Row, Table

__all__ = [
    "Cache",
    "Catalog",
    "Contents",
    "Details",
    "Holding",
    "NoCache",
    "Options",
    "Row",
    "Source",
    "Table",
    "catalog",
    "ends_all",
    "names",
    "survey",
]
