"""Pushing an image straight from an engine's archive stream: compressed and uploaded as it is read."""

from registry_tool.content.direct.push import DirectPush, push_image

__all__ = ["DirectPush", "push_image"]
