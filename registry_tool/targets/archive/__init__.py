"""Images in tar archives."""

from registry_tool.targets.archive.archive import Archive, open_archive
from registry_tool.targets.archive.writer import ArchiveWriter, check_path

__all__ = ["Archive", "ArchiveWriter", "check_path", "open_archive"]
