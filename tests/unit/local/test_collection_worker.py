"""The worker of a collection without an engine: what it gives to ``xargs``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from registry_tool.engine import Engine
from registry_tool.local.collection.worker import Worker
from registry_tool.local.registry.spec import STORAGE

_BUSYBOX_BUFFER = 30_700
"""Bytes of input after which busybox's xargs may cut a path in two."""


class Recorder:
    """An engine that keeps the files it is given, and runs nothing."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        """What it was given, in the order of a shell's pattern."""
        self.scripts: list[str] = []

    def put_files(self, container: str, folder: str, files: Mapping[str, tuple[bytes, int]]) -> None:
        self.files += [content for _, (content, _) in sorted(files.items())]

    def execute(self, container: str, command: list[str]) -> tuple[int, bytes]:
        self.scripts.append(command[2])
        return 0, b""


@pytest.mark.parametrize("length", [1, 79, 250, 15_999])
def test_paths_for_one_xargs_fit_into_its_buffer(length: int) -> None:
    recorder, paths = Recorder(), [str(number).rjust(length, "0")[-length:] for number in range(200_000 // length)]
    Worker(cast(Engine, recorder), "id").run_on(paths, "rm -f")
    assert b"".join(recorder.files).decode().splitlines() == paths
    assert len(recorder.files) > 1
    # Each ends with a path, and leaves room for the command and the environment.
    assert all(content.endswith(b"\n") and len(content) < _BUSYBOX_BUFFER * 0.6 for content in recorder.files)


def test_no_path_runs_nothing() -> None:
    recorder = Recorder()
    Worker(cast(Engine, recorder), "id").run_on([], "rm -f")
    assert recorder.files == []


@pytest.mark.parametrize(("tolerant", "code", "runs"), [(False, 123, 1), (True, 0, 3)])
def test_first_failure_ends_it_unless_it_is_tolerant(tmp_path: Path, tolerant: bool, code: int, runs: int) -> None:
    recorder, log = Recorder(), tmp_path / "log"
    command = f"sh -c 'echo >>{log}; exit 1'"
    Worker(cast(Engine, recorder), "id").run_on((f"{number:0200}" for number in range(200)), command, tolerant=tolerant)
    name = re.findall(r"in (/\S+)-\*", recorder.scripts[-1])[0]
    for number, content in enumerate(recorder.files):
        tmp_path.joinpath(f"list-{number}").write_bytes(content)
    script = recorder.scripts[-1].replace(name, f"{tmp_path}/list").replace(f"cd {STORAGE} || exit", "")
    done = subprocess.run(["sh", "-c", script], check=False, timeout=600)
    assert (done.returncode, len(log.read_text().splitlines())) == (code, runs)
    assert not list(tmp_path.glob("list-*"))
