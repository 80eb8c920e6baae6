"""Tests of ``policy.py``: ``registry`` and ``image_factory`` come from registry-tool's pytest plugin."""

from __future__ import annotations

import pytest
from policy import violations

from registry_tool.pytest_plugin.images import ImageFactory
from registry_tool.pytest_plugin.registries import Served

PATH = "john/get-started"


def release(image_factory: ImageFactory, version: str, *platforms: str, latest: bool = False) -> None:
    """Push an index with an image for each platform, whose content is its version."""
    images = [image_factory({"app/version": version}, platform=platform) for platform in platforms]
    image_factory.index(*images, name=f"{PATH}:{version}", tags=["latest"] if latest else [])


def test_complete_release_with_latest_is_right(registry: Served, image_factory: ImageFactory) -> None:
    release(image_factory, "1.2.0", "linux/amd64", "linux/arm64", latest=True)
    assert violations(registry.client, PATH) == []


def test_missing_platform_is_named(registry: Served, image_factory: ImageFactory) -> None:
    release(image_factory, "1.2.0", "linux/amd64", latest=True)
    assert violations(registry.client, PATH) == ["1.2.0 has no image for linux/arm64"]


@pytest.mark.parametrize("newer", ["1.10.0", "2.0.0"])
def test_latest_left_on_an_older_version_is_named(registry: Served, image_factory: ImageFactory, newer: str) -> None:
    release(image_factory, "1.9.0", "linux/amd64", "linux/arm64", latest=True)
    release(image_factory, newer, "linux/amd64", "linux/arm64")
    assert violations(registry.client, PATH) == [f"latest is not {newer}"]
