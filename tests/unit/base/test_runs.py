"""Runs: whose they are, and when they are over."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.base import labels, runs


def test_run_is_over_when_its_block_has_ended(tmp_path: Path) -> None:
    with runs.begin(tmp_path) as run:
        assert not runs.is_over(tmp_path, run.id)
    assert runs.is_over(tmp_path, run.id)


def test_run_of_another_state_folder_is_never_over(tmp_path: Path) -> None:
    with runs.begin(tmp_path / "theirs") as run:
        pass
    assert not runs.is_over(tmp_path / "mine", run.id)
    assert not runs.is_owned(tmp_path / "mine", run.id)


def test_kept_run_is_over_only_for_who_asks_for_kept_ones(tmp_path: Path) -> None:
    with runs.begin(tmp_path) as run:
        run.keep()
        assert not runs.is_over(tmp_path, run.id, kept=True)
    assert not runs.is_over(tmp_path, run.id)
    assert runs.is_over(tmp_path, run.id, kept=True)
    runs.forget(tmp_path, run.id)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("suffix", ["/../x", "..", "\0", ""])
def test_id_that_is_no_file_name_is_no_run(tmp_path: Path, suffix: str) -> None:
    with runs.begin(tmp_path) as run:
        owner = run.id[:8]
    assert runs.is_over(tmp_path, f"{owner}{suffix}") is (suffix == "")


def test_labels_carry_the_role_and_the_id(tmp_path: Path) -> None:
    with runs.begin(tmp_path) as run:
        assert run.labels(labels.ROLE_DEMO) == {labels.ROLE: "demo", labels.DEMO: run.id}
        assert run.labels(labels.ROLE_VERIFY) == {labels.ROLE: "proof", labels.VERIFY: run.id}
