"""A repository that has images and no tag, in the registry of this process and a real one."""

from __future__ import annotations

import io

import pytest

from registry_tool.base.errors import NotFound
from registry_tool.content import check, inspect
from registry_tool.content.listing import Contents
from registry_tool.oci import manifest as manifests
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT
from registry_tool.targets.registry import Registry, Repository


def test_image_in_a_repository_without_tags_is_inspected_and_the_repository_is_ok(opened: Registry, repository: Repository) -> None:
    repository.push(EMPTY, io.BytesIO(EMPTY_CONTENT))
    image = manifests.image(EMPTY, [EMPTY])
    repository.push_manifest(image, None)
    with pytest.raises(NotFound):
        repository.tags()
    inspection = inspect.inspect(Contents(repository), repository.resolve(str(image.digest)))
    assert (inspection.descriptor, inspection.siblings, inspection.errors) == (image.descriptor, (), ())
    report = check.check(opened, [repository.path])
    assert (report.ok, report.images) == (True, 0)
    assert f"{repository.name}: it has no tags, nothing was checked" in report.notes


def test_repository_that_is_not_there_is_an_error(opened: Registry, repository: Repository) -> None:
    assert isinstance(check.check(opened, [repository.path]).error, NotFound)
