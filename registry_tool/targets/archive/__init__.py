"""Images in tar archives."""

from registry_tool.targets.archive.archive import Archive, open_archive
from registry_tool.targets.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveWriter", "open_archive"]
