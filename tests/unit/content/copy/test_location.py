"""What is typed as a place, and what is copied from where to where."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import Conflict, InvalidReference, NotFound, RegistryToolError, UsageError
from registry_tool.content.copy import CopyOptions
from registry_tool.content.copy.jobs import TagSelection, make_jobs
from registry_tool.content.copy.location import Location
from registry_tool.content.copy.places import Places
from registry_tool.targets.registry import open_registry
from tests.support.content import make_image
from tests.unit.content.copy.conftest import Side

HOST = "localhost:5000"
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("typed", "kind", "store", "image"),
    [
        ("john/app:1", "registry", f"{HOST}/john/app", "1"),
        ("app", "registry", f"{HOST}/app", None),
        (f"ghcr.io/a/b@{DIGEST}", "registry", "ghcr.io/a/b", DIGEST),
        (f"ghcr.io/a/b:1@{DIGEST}", "registry", "ghcr.io/a/b", DIGEST),
        ("docker://alpine:3", "registry", f"{HOST}/alpine", "3"),
        ("docker.io/alpine:3", "registry", "docker.io/library/alpine", "3"),
        ("oci:/srv/images", "oci", "oci:/srv/images", None),
        ("oci:images:1", "oci", "oci:images", "1"),
        ("oci:images:localhost:5000/john/app:1", "oci", "oci:images", "localhost:5000/john/app:1"),
        (f"oci:images@{DIGEST}", "oci", "oci:images", DIGEST),
        ("oci-archive:images.tar:1", "oci-archive", "oci-archive:images.tar", "1"),
        ("docker-archive:a.tar:john/app:1", "docker-archive", "docker-archive:a.tar", "john/app:1"),
        ("engine:friendlyhello", "engine", "engine", "friendlyhello"),
        ("engine:john/app:1", "engine", "engine", "john/app:1"),
        # A repository of that name, and one of its tags.
        ("oci/app:1", "registry", f"{HOST}/oci/app", "1"),
    ],
)
def test_place_is_parsed(typed: str, kind: str, store: str, image: str | None) -> None:
    location = Location.parse(typed, default_host=HOST)
    assert (location.kind, location.store, location.image, location.is_prefix) == (kind, store, image, False)


@pytest.mark.parametrize(
    ("typed", "store"), [("mirror/", f"{HOST}/mirror"), ("ghcr.io/a/b/", "ghcr.io/a/b"), ("127.0.0.1:5001/", "127.0.0.1:5001")]
)
def test_place_with_a_slash_at_its_end_is_a_prefix(typed: str, store: str) -> None:
    location = Location.parse(typed, default_host=HOST)
    assert (location.store, location.is_prefix) == (store, True)
    assert location.below("library/alpine").store == f"{store}/alpine"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "oci:",
        "oci-archive:",
        "oci::1",
        "oci:images:",
        "oci:images@sha256:x",
        "docker-daemon:alpine",
        "containers-storage:alpine",
        "UPPER/app",
        "app:1:2",
        "ghcr.io/a:1/",
        "http://ghcr.io/a",
    ],
)
def test_what_is_no_place_is_refused(typed: str) -> None:
    with pytest.raises((UsageError, InvalidReference)):
        Location.parse(typed, default_host=HOST)


def jobs(side: Side, *names: str, selection: TagSelection = TagSelection()) -> list[tuple[str, str, dict[str, tuple[str, ...]]]]:  # noqa: B008
    locations = [Location.parse(name, default_host=side.server.host) for name in names]
    with Places(open_registry) as places:
        made = make_jobs(places, locations[:-1], locations[-1], tags=selection, options=CopyOptions())
    host = f"{side.server.host}/"
    return [(job.source_name.removeprefix(host), job.destination_name.removeprefix(host), dict(job.references)) for job in made]


def test_destination_without_a_tag_keeps_those_of_the_sources(source: Side) -> None:
    assert jobs(source, "a:1", "a:2", "a", "b") == [("a", "b", {"1": ("1",), "2": ("2",), "latest": ("latest",)})]
    assert jobs(source, f"a:1@{DIGEST}", "b") == [("a", "b", {DIGEST: ("1",)})]
    assert jobs(source, f"a@{DIGEST}", "b") == [("a", "b", {DIGEST: ()})]
    assert jobs(source, "a:1", "b:2") == [("a", "b", {"1": ("2",)})]


def test_prefix_gets_a_repository_for_each_source(source: Side) -> None:
    assert jobs(source, "x/a:1", "y/c:2", "mirror/") == [("x/a", "mirror/a", {"1": ("1",)}), ("y/c", "mirror/c", {"2": ("2",)})]


def test_selected_tags_are_copied(source: Side) -> None:
    for tag in ("v1.0", "v1.1", "v2.0", "latest"):
        make_image(source.port, "a", tag)
    assert [set(found) for _, _, found in jobs(source, "a", "b", selection=TagSelection(all=True))] == [{"v1.0", "v1.1", "v2.0", "latest"}]
    assert [set(found) for _, _, found in jobs(source, "a", "b", selection=TagSelection(globs=("v1.*", "l*")))] == [
        {"v1.0", "v1.1", "latest"}
    ]


@pytest.mark.parametrize(
    ("names", "selection", "error"),
    [
        (("a:1", "a:2", "b:3"), TagSelection(), UsageError),
        (("a:1", f"b@{DIGEST}"), TagSelection(), UsageError),
        (("a:1", "c:1", "b"), TagSelection(), UsageError),
        (("x/a:1", "y/a:1", "mirror/"), TagSelection(), Conflict),
        (("a:1", "b"), TagSelection(all=True), UsageError),
        (("a", "b:1"), TagSelection(all=True), UsageError),
        (("a/", "b"), TagSelection(), UsageError),
        (("a", "b"), TagSelection(globs=("v*",)), NotFound),
        (("oci:/nowhere", "b"), TagSelection(), NotFound),
        (("oci:a", "oci:a:1"), TagSelection(), UsageError),
    ],
)
def test_places_that_do_not_fit_are_refused(
    source: Side, names: tuple[str, ...], selection: TagSelection, error: type[RegistryToolError]
) -> None:
    make_image(source.port, "a", "1")
    source.server.forget()
    with pytest.raises(error):
        jobs(source, *names, selection=selection)
    assert set(source.server.counts) <= {"GET"}
