"""The check that the tests leave the engine alone: it sees damage, and takes nobody else's work for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from registry_tool.base import labels, runs
from registry_tool.engine import Container, Engine
from tests.support.engine_snapshot import MARK, differences, snapshot, unique_name

OTHER_RUN = {labels.ROLE: labels.ROLE_VERIFY, labels.VERIFY: "0123456789abcdef"}


def engine(*containers: Container) -> Engine:
    """An engine that has these containers and nothing else."""
    listing = SimpleNamespace(
        containers=lambda all=False, labels=None: [item for item in containers if set(labels or ()) <= set(item.labels)],
        images=lambda labels=None: [],
        volumes=lambda labels=None: [],
        networks=lambda labels=None: [],
    )
    return cast(Engine, listing)


def container(name: str, state: str = "running", **marks: str) -> Container:
    return Container(id=name, name=name, image="i", image_id="i", state=state, labels=marks)


def labelled(name: str, marks: dict[str, str]) -> Container:
    return container(name, **cast(Any, marks))


def test_what_was_there_and_is_gone_or_stopped_is_damage(tmp_path: Path) -> None:
    before = snapshot(engine(container("theirs"), container("stopped")))
    after = engine(container("stopped", "exited"))
    assert sorted(differences(before, after, tmp_path)) == [
        "gone or changed: container stopped (running)",
        "gone or changed: container theirs (running)",
    ]


@pytest.mark.parametrize("name", [f"registry-{unique_name()}", MARK], ids=["unique", "mark"])
def test_what_has_a_name_of_this_run_and_is_left_is_damage(tmp_path: Path, name: str) -> None:
    left = labelled(name, {labels.ROLE: labels.ROLE_REGISTRY})
    assert differences(snapshot(engine()), engine(left), tmp_path) == [f"left: container {name}"]


def test_what_a_run_of_a_state_folder_of_this_run_left_is_damage(tmp_path: Path) -> None:
    with runs.begin(tmp_path / "test" / "state") as run:
        left = labelled("a", {labels.ROLE: labels.ROLE_VERIFY, labels.VERIFY: run.id})
    assert differences(snapshot(engine()), engine(left), tmp_path) == ["left: container a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([labelled("a", OTHER_RUN)], []),
        ([labelled("registry-t0123456789abc", {labels.ROLE: labels.ROLE_REGISTRY})], []),
        ([], [labelled("a", OTHER_RUN)]),
        ([], [labelled("a", {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: "default"})]),
        ([], [container("theirs")]),
    ],
    ids=["a verify that ended", "another run of the tests", "a verify that began", "a registry that was started", "a new container"],
)
def test_what_others_do_meanwhile_is_no_damage(tmp_path: Path, before: list[Container], after: list[Container]) -> None:
    assert differences(snapshot(engine(*before)), engine(*after), tmp_path) == []
