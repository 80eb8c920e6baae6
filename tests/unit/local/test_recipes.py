"""The recipes of base images."""

from __future__ import annotations

import pytest

from registry_tool.local.base_images import DOCKER_ENGINE, PODMAN_ENGINE, PROXY, PYTHON, REDIS, REGISTRY, Base
from registry_tool.local.base_images.image_files import APPLETS
from registry_tool.oci.reference import DOCKER_HUB, Reference

BASES = (REGISTRY, PYTHON, REDIS, PROXY, DOCKER_ENGINE, PODMAN_ENGINE)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.role)
def test_stand_in_never_has_an_official_name(base: Base) -> None:
    # An engine reads a name with a host before the first slash as that host's: this one is nobody's registry.
    assert base.local_name.startswith("localhost/registry-tool/")
    assert base.names == (base.official, base.local_name)


def test_bases_differ_in_role_and_names() -> None:
    assert (
        len({base.role for base in BASES})
        == len({base.local_name for base in BASES})
        == len({base.official for base in BASES})
        == len(BASES)
    )


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.role)
def test_labelled_packages_are_the_requested_ones(base: Base) -> None:
    assert set(base.recipe.labelled_packages) <= set(base.recipe.packages)
    assert not any(name.endswith("-") for name in base.recipe.labelled_packages)


def test_applets_are_named_once() -> None:
    assert len(APPLETS) == len(set(APPLETS))
    assert {"sh", "find", "stat", "wget"} <= set(APPLETS)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.role)
def test_host_is_that_of_the_official_name(base: Base) -> None:
    assert Reference.parse(base.official, default_host=DOCKER_HUB).host == base.host


@pytest.mark.parametrize("base", [DOCKER_ENGINE, PODMAN_ENGINE], ids=lambda base: base.role)
def test_an_engines_content_is_on_a_volume(base: Base) -> None:
    # On the file system of a container, which is made of layers itself, it could make none.
    [volume] = [line.split()[1] for line in base.recipe.changes if line.startswith("VOLUME")]
    assert volume.strip("/") in base.recipe.folders
