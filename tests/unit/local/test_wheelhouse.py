"""Wheels for the image's Python and the engine's platform, never for this machine's."""

from __future__ import annotations

import http.server
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_tool.base.dirs import AppDirs, owner_id
from registry_tool.base.errors import NotFound
from registry_tool.base.progress import SILENT, Silent
from registry_tool.engine import Engine
from registry_tool.local.base_images import PYTHON, BaseImageResolver, wheelhouse, wheels
from registry_tool.local.base_images.wheelhouse import Interpreter
from tests.support.paths import ROOT
from tests.support.requirements import free_port

MUSL = Interpreter(implementation="cp", version="3.13.1", abi="cp313", platforms=("musllinux_1_2_aarch64", "musllinux_1_1_aarch64"))


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class TestInterpreter:
    def test_interpreter_survives_json(self) -> None:
        assert Interpreter.parse(MUSL.to_json()) == MUSL

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "Segmentation fault", '{"implementation": "cp", "version": "3", "abi": "x", "platforms": []}']
    )
    def test_invalid_interpreter_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - the words are the JSON reader's
            Interpreter.parse(text)

    def test_pip_options_have_all_tags(self) -> None:
        options = MUSL.options()
        pairs = list(zip(options[::2], options[1::2], strict=True))
        assert ("--python-version", "3.13.1") in pairs
        assert [value for name, value in pairs if name == "--platform"] == ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64", "any"]
        assert [value for name, value in pairs if name == "--abi"] == ["cp313", "abi3", "none"]


class TestFetch:
    """A real pip and an index of the test's own."""

    @pytest.fixture(autouse=True)
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Settings of pip on this machine do not count."""
        for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        # Until it prints something for the first time, pip needs seconds on a busy machine.
        monkeypatch.setattr(wheelhouse, "IDLE_TIMEOUT", 600.0)
        monkeypatch.setattr(wheelhouse, "_interpreter", lambda engine, base_image, base_id, folder: MUSL)

    @pytest.fixture
    def requirements(self, tmp_path: Path) -> Path:
        path = tmp_path / "requirements.txt"
        path.write_text("tiny==1.0\nnative==2.0\n")
        return path

    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """``/simple/NAME/`` on loopback, with a wheel of another Python, too."""
        simple = tmp_path / "index" / "simple"
        for name in ("tiny-1.0-py3-none-any", "native-2.0-cp313-cp313-musllinux_1_2_aarch64", "native-2.0-cp39-cp39-manylinux_2_17_x86_64"):
            _wheel(simple / name.partition("-")[0], name)
        served = tmp_path / "index"

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(served))  # type: ignore[arg-type]

            def log_message(self, format: str, *arguments: object) -> None:
                return None

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
            try:
                yield simple
            finally:
                server.shutdown()
                thread.join()

    def test_what_the_image_takes_is_fetched_once_for_each_requirement(
        self, index: Path, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "cache" / "wheels"
        (cache / f".{wheelhouse._key(requirements, MUSL)}.dead.part").mkdir(parents=True)
        first = _wheels(requirements, tmp_path)
        assert first is not None
        assert sorted(file.name for file in first.iterdir()) == [
            "native-2.0-cp313-cp313-musllinux_1_2_aarch64.whl",
            "tiny-1.0-py3-none-any.whl",
        ]
        assert list(cache.glob(".*")) == [], "what a dead one left is removed"

        with monkeypatch.context() as patch:
            patch.setattr(wheelhouse, "find_pip", lambda: pytest.fail("pip was started, and the wheels were in the cache"))
            assert _wheels(requirements, tmp_path) == first

        requirements.write_text("tiny==1.0\n")
        second = _wheels(requirements, tmp_path)
        assert second is not None
        assert second != first, "a changed requirement is another folder"
        assert [file.name for file in second.iterdir()] == ["tiny-1.0-py3-none-any.whl"]

    def test_a_wheel_that_is_not_there_is_a_note_and_leaves_nothing(self, index: Path, requirements: Path, tmp_path: Path) -> None:
        shutil.rmtree(index / "native")
        listening = Listening()
        assert _wheels(requirements, tmp_path, listening) is None
        assert listening.notes == ["no wheels fetched: No matching distribution found for native==2.0; the build uses an index"]
        assert not [entry for entry in (tmp_path / "cache" / "wheels").iterdir() if entry.suffix != ".lock"]

    def test_an_index_that_is_not_there_is_a_note(self, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
        listening = Listening()
        assert _wheels(requirements, tmp_path, listening) is None
        assert listening.notes == ["no wheels fetched: no index answers; the build uses an index"]

    def test_idle_download_is_given_up(self, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wheelhouse, "IDLE_TIMEOUT", 1.0)
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}/simple")
            listening = Listening()
            assert _wheels(requirements, tmp_path, listening) is None
        assert listening.notes == ["no wheels fetched: nothing arrived for 1 s; the build uses an index"]

    def test_without_pip_it_is_a_note(self, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        listening = Listening()
        assert _wheels(requirements, tmp_path, listening) is None
        assert listening.notes == ["no wheels fetched: there is no pip here; the build uses an index"]

    def test_pip_program_is_used_without_the_module(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        program = tmp_path / "pip3"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert wheelhouse.find_pip() == [str(program)]


@pytest.mark.engine
class TestReal:
    @pytest.fixture
    def python(self, engine: Engine, session_dirs: AppDirs) -> str:
        return BaseImageResolver(engine, session_dirs.cache, SILENT).ensure(PYTHON).name

    def test_image_reports_its_python(self, engine: Engine, python: str, tmp_path: Path) -> None:
        result = wheelhouse._interpreter(engine, python, "sha256:1", tmp_path)
        assert result.implementation == "cp"
        assert result.abi == "cp" + "".join(result.version.split(".")[:2])
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(engine.info.platform.architecture, engine.info.platform.architecture)
        assert all(platform.endswith(machine) for platform in result.platforms)

    def test_probe_container_is_removed(self, engine: Engine, python: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
        probes: list[str] = []
        wait = engine.wait

        def noting(id: str, *, timeout: float | None = None) -> int:
            probes.append(id)
            return wait(id, timeout=timeout)

        monkeypatch.setattr(engine, "wait", noting)
        wheelhouse._run_probe(engine, python, name=unique)
        assert len(probes) == 1
        assert engine.container(probes[0]) is None

    def test_probe_of_a_killed_process_is_removed(self, engine: Engine, python: str, tmp_path: Path) -> None:
        code = """
import os, sys
from pathlib import Path
from registry_tool.engine import connect
from registry_tool.local.base_images import wheelhouse
with connect() as engine:
    engine.wait = lambda *words, **named: os.kill(os.getpid(), 9)
    wheelhouse._interpreter(engine, sys.argv[1], "sha256:1", Path(sys.argv[2]))
"""
        killed = subprocess.run([sys.executable, "-c", code, python, str(tmp_path)], cwd=ROOT)
        assert killed.returncode == -signal.SIGKILL
        name = f"registry-tool-python-{next(tmp_path.glob('python-*.lock')).stem[7:19]}-{owner_id(tmp_path)}"
        assert engine.container(name) is not None
        assert wheelhouse._interpreter(engine, python, "sha256:1", tmp_path).implementation == "cp"
        assert engine.container(name) is None

    def test_image_is_probed_once(self, engine: Engine, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result = wheelhouse._interpreter(engine, python, "sha256:1", tmp_path)
        monkeypatch.setattr(wheelhouse, "_run_probe", lambda engine, base_image, name: pytest.fail("the image was probed again"))
        assert wheelhouse._interpreter(engine, python, "sha256:1", tmp_path) == result

    def test_damaged_cached_interpreter_is_probed_again(self, engine: Engine, python: str, tmp_path: Path) -> None:
        result = wheelhouse._interpreter(engine, python, "sha256:1", tmp_path)
        next(tmp_path.glob("python-*.json")).write_text("{")
        assert wheelhouse._interpreter(engine, python, "sha256:1", tmp_path) == result

    def test_an_image_without_a_python_is_a_note(self, engine: Engine, tmp_path: Path, tiny_image: Callable[..., str], unique: str) -> None:
        made = tiny_image(f"{unique}:1")
        (tmp_path / "requirements.txt").write_text("tiny==1.0\n")
        listening = Listening()
        assert wheels(engine, f"{unique}:1", made, tmp_path / "requirements.txt", tmp_path, listening) is None
        assert len(listening.notes) == 1
        assert f"{unique}:1 does not report which it takes" in listening.notes[0]

    def test_an_image_that_is_not_there_is_an_error(self, engine: Engine, tmp_path: Path, unique: str) -> None:
        (tmp_path / "requirements.txt").write_text("tiny==1.0\n")
        with pytest.raises(NotFound):
            wheels(engine, f"{unique}:1", "sha256:0", tmp_path / "requirements.txt", tmp_path)


def _wheels(requirements: Path, tmp_path: Path, observer: Listening | None = None) -> Path | None:
    # The engine is only needed for the image's Python, which these tests set themselves.
    return wheels(None, "an image", "sha256:0", requirements, tmp_path / "cache", observer or SILENT)  # type: ignore[arg-type]


def _wheel(folder: Path, stem: str) -> None:
    name, version = stem.split("-")[:2]
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {stem.split('-', 2)[2]}\n")
        wheel.writestr(f"{info}/RECORD", "")
