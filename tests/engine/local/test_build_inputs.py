"""What a build is given beside its context, and what it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from registry_tool.base.errors import BuildFailed
from registry_tool.base.progress import SILENT
from registry_tool.engine import Engine
from registry_tool.local.base_images import PYTHON, Base, BaseImage, BaseImageResolver
from registry_tool.local.images import build_inputs

pytestmark = pytest.mark.engine

Write = Callable[[str], Path]


class Ladder:
    """A resolver whose first source is a stand-in: whether a real one has the official image depends on the machine."""

    def __init__(self) -> None:
        self.roles: list[str] = []

    def ensure(self, base: Base) -> BaseImage:
        self.roles.append(base.role)
        return BaseImage(role=base.role, name="localhost/stand-in:1", id="sha256:0", source="packages", imported=True)


@pytest.fixture
def context(tmp_path: Path) -> Write:
    def write(dockerfile: str) -> Path:
        (tmp_path / "Dockerfile").write_text(dockerfile)
        return tmp_path

    return write


def prepare(engine: Engine, context: Path, tmp_path: Path, **chosen: str) -> tuple[build_inputs.BuildInputs, list[str]]:
    bases = Ladder()
    inputs = build_inputs.prepare(engine, cast(BaseImageResolver, bases), tmp_path / "cache", context, build_args=chosen, observer=SILENT)
    return inputs, bases.roles


def test_context_without_a_dockerfile_fails(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no Dockerfile"):
        prepare(engine, tmp_path, tmp_path)


@pytest.mark.parametrize(
    "dockerfile",
    [
        f"FROM {PYTHON.official}\n",  # fixed: it is what the person wants
        "ARG BASE_IMAGE=alpine:3\nFROM ${BASE_IMAGE}\n",  # open, but no image of ours
        f"FROM scratch\nARG BASE_IMAGE={PYTHON.official}\n",  # an ARG of a stage chooses no base
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n",
    ],
)
def test_fixed_base_image_is_unchanged(engine: Engine, context: Write, tmp_path: Path, dockerfile: str) -> None:
    assert prepare(engine, context(dockerfile), tmp_path) == (build_inputs.BuildInputs(), [])


def test_given_build_args_take_precedence(engine: Engine, context: Write, tmp_path: Path) -> None:
    dockerfile = f"ARG BASE_IMAGE={PYTHON.official}\nFROM ${{BASE_IMAGE}}\n"
    inputs, roles = prepare(engine, context(dockerfile), tmp_path, BASE_IMAGE="mine:1")
    assert (dict(inputs.build_args), roles) == ({"BASE_IMAGE": "mine:1"}, [])


def test_open_base_image_is_resolved_and_noted(engine: Engine, context: Write, tmp_path: Path) -> None:
    dockerfile = f'ARG OTHER="{PYTHON.official}"\nFROM ${{OTHER}} AS x\nFROM scratch\n'
    inputs, roles = prepare(engine, context(dockerfile), tmp_path, KEEP="1")
    assert dict(inputs.build_args) == {"KEEP": "1", "OTHER": "localhost/stand-in:1"}
    assert [base.role for base in inputs.bases] == roles == ["python"]


def test_existing_wheels_are_kept(engine: Engine, context: Write, tmp_path: Path, unique: str) -> None:
    folder = context(f"FROM {unique}\nCOPY requirements.txt wheel[s] /wheels/\n")
    (folder / "requirements.txt").write_text("flask==3.1.3\n")
    (folder / "wheels").mkdir()
    assert prepare(engine, folder, tmp_path)[0].extra == {}
