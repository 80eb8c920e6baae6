"""What is installed: the wheel's content, the programs it brings, and the locks."""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry_tool import __version__
from registry_tool.base import resources
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKS = [ROOT / "requirements" / name for name in ("run.lock", "dev.lock", "release.lock")]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The wheel in an environment of its own, in a folder where no checkout is."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments], cwd=self.folder, capture_output=True, text=True, timeout=600
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True, timeout=600, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Installed by pip alone; libraries are those of the environment that runs the tests, which has no network to fetch others."""
    there = Installed(folder=tmp_path_factory.mktemp("an empty plàce") / "venv")
    # The pip that is here serves both: to put another one there takes longer than all the rest.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(there.folder)], check=True, timeout=600, capture_output=True)
    options = ("--quiet", "--no-index", "--no-deps", "--no-compile")
    pip = [sys.executable, "-m", "pip", "--python", str(there.python), "install", *options, str(wheel)]
    subprocess.run(pip, check=True, timeout=600, capture_output=True)
    # A .pth file in a folder that a .pth file names is not read: the editable install of this checkout stays unknown there.
    [libraries] = (there.folder / "lib").glob("python3*/site-packages")
    (libraries / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    return there


def test_the_wheel_holds_the_code_and_what_is_shipped_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = set(archive.namelist())
    tops = {name.partition("/")[0] for name in content}
    assert tops == {"registry_tool", f"registry_tool-{__version__}.dist-info"}
    sources = [
        path for pattern in ("*.py", "*.schema.json", "bundle/*.sh", "bundle/*.txt") for path in (ROOT / "registry_tool").rglob(pattern)
    ]
    code = {str(path.relative_to(ROOT)) for path in sources} | {"registry_tool/py.typed"}
    files = {f"registry_tool/_shipped/{name}" for name in ("docker-compose.registry.yml", "requirements/run.lock")}
    sample = {name for name in content if name.startswith("registry_tool/_shipped/sample_app/")}
    assert {name for name in content if name.startswith("registry_tool/")} == code | sample | files
    needed = {"Dockerfile", "requirements.txt", "app.py", ".dockerignore"}
    assert needed <= {Path(name).name for name in sample}
    assert [name for name in sample if "wheels" in name or "__pycache__" in name] == []


def test_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"registry_tool-{__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        scripts = archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "Name: registry-tool\n" in metadata
    assert "Requires-Python: >=3.10\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    requires = [line.partition(" ")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert [text.partition(">")[0] for text in requires if "; extra == 'pytest'" in text] == ["pytest"]
    wanted = {text.partition(">")[0].lower() for text in requires if "; extra ==" not in text}
    ours = {"backports-zstd", "bcrypt", "click", "cryptography", "cyclonedx-python-lib", "docker", "isal", "packageurl-python", "pyyaml"}
    ours |= {"requests", "rich", "tomli", "urllib3"}
    assert wanted == ours, "what the sample runs on is not the tool's"
    assert re.findall(r"^([a-z-]+) = (\S+)$", scripts, re.MULTILINE) == [
        ("regctl", "registry_tool.__main__:run"),
        ("registry-tool", "registry_tool.__main__:run"),
    ]
    assert "[pytest11]\nregistry_tool = registry_tool.pytest_plugin\n" in f"{scripts}\n"


def test_pytest_finds_the_plugin(installed: Installed, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("def test_it(registry):\n    assert registry.host.startswith('127.0.0.1:')\n", encoding="utf-8")
    done = installed.run("python", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test))
    assert done.returncode == 0, done.stdout + done.stderr
    without = installed.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:registry_tool", str(test))
    assert "fixture 'registry' not found" in without.stdout


@pytest.mark.parametrize("program", ["regctl", "registry-tool"])
def test_both_programs_say_their_version_without_an_engine(
    installed: Installed, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    done = installed.run(program, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout.splitlines()[0]


def test_what_is_shipped_is_found_beside_the_code(installed: Installed) -> None:
    program = "from registry_tool.base import resources; print(resources.sample_app()); print(resources.compose_file())"
    sample, compose = map(Path, installed.run("python", "-c", program).stdout.splitlines())
    assert sample.is_relative_to(installed.folder)
    assert compose.is_relative_to(installed.folder)
    for name in ("Dockerfile", "requirements.txt", "app.py"):
        assert (sample / name).read_bytes() == (ROOT / "sample_app" / name).read_bytes()
    assert compose.read_bytes() == (ROOT / "docker-compose.registry.yml").read_bytes()


def test_in_a_checkout_it_is_the_checkouts_own() -> None:
    assert resources.sample_app() == ROOT / "sample_app"
    assert resources.compose_file() == ROOT / "docker-compose.registry.yml"


def test_a_broken_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_shipped").mkdir()
    monkeypatch.setattr(resources, "_IN_WHEEL", tmp_path / "_shipped")
    with pytest.raises(FileNotFoundError, match=r"docker-compose\.registry\.yml is missing from this installation"):
        resources.compose_file()


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_alone(
    installed: Installed, empty_engine: PrivateEngine, kept_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an engine that has nothing, without a network, in a folder where no checkout is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/registry-tool").symlink_to(kept_cache)
    done = empty_engine.run(
        [str(installed.folder / "bin/regctl"), "demo", "--json"],
        timeout=600,
        env={"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is True


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_by_hash_and_names_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==\S+.*?((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 10
    lines = [line for line in text.splitlines() if not re.match(r"(    --hash=|    #|#|[A-Za-z0-9._-]+==)", line)]
    assert lines == [], "an index, a folder or a link of somebody's machine"
    assert not re.search(r"file:|https?:|/home/|/root/|/opt/|/tmp/", text)


def test_the_locks_are_in_step_with_the_project() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = document["dependency-groups"]
    run = [*document["project"]["dependencies"], *groups["build"]]
    dev = [*run, *(item for item in groups["dev"] if isinstance(item, str))]
    release = [*dev, *(item for item in groups["release"] if isinstance(item, str))]
    for lock, wanted in zip(LOCKS, (run, dev, release), strict=True):
        pinned = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
        for text in wanted:
            name, _, least = text.partition(";")[0].strip().lower().partition(">=")
            if 'python_version < "3.11"' in text and lock.name == "release.lock":
                continue  # which is for Python 3.11 and newer
            assert name in pinned, f"{lock.name} lacks {name}: make lock"
            assert _numbers(pinned[name]) >= _numbers(least), f"{lock.name} has {name} {pinned[name]}, wanted {least}: make lock"
    lines = [set(re.findall(r"^[a-z0-9._-]+==\S+", lock.read_text(encoding="utf-8"), re.MULTILINE)) for lock in LOCKS]
    assert lines[0] <= lines[1], "what a run needs is the same for the tests"
    tested = {line.partition("==")[0] for line in lines[1]}
    assert {line for line in lines[2] if line.partition("==")[0] in tested} <= lines[1], "what is tested is what is released"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
