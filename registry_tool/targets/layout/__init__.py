"""OCI image layouts (image-spec 1.1, image-layout.md): a folder with many images, and what any other place of this form has in common."""

from registry_tool.targets.layout.index import LayoutImage, LayoutIndex
from registry_tool.targets.layout.layout import Layout
from registry_tool.targets.layout.reader import LayoutReader

__all__ = ["Layout", "LayoutImage", "LayoutIndex", "LayoutReader"]
