"""``install.sh`` with a bundle whose tool is a program of the test's own, which prints what it is called with."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from registry_tool.bundle import kit as parts
from tests.support.cli_runner import Answer

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def make_kit(folder: Path, **members: object) -> Path:
    """A bundle as far as ``install.sh`` looks at it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("registry_tool/__init__.py", "")
        archive.writestr("registry_tool/__main__.py", "import json, sys; print(json.dumps(sys.argv[1:]))")
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels/tool.whl").write_bytes(packed.getvalue())
    script = parts.documents()["install.sh"]
    assert isinstance(script, bytes)
    (folder / "install.sh").write_bytes(script)
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    document = {
        "format": 1,
        "wheels": [{"python": PYTHON, "platform": f"{sys.platform}/{MACHINE}", "files": ["wheels/tool.whl"]}],
        "files": [{"path": "wheels/tool.whl", "size": len(packed.getvalue()), "sha256": sha256}],
    }
    (folder / "bundle.json").write_text(json.dumps(document | members))
    return folder


def install(kit: Path, *words: str, home: Path, script: str = "install.sh") -> Answer:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHON": sys.executable}
    done = subprocess.run(["sh", str(kit / script), *words], capture_output=True, text=True, check=False, env=environment, cwd=home)
    return Answer(done.returncode, done.stdout, done.stderr)


def test_no_module_of_the_folder_where_it_is_typed_is_imported(kit: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, kit):
        (folder / "registry_tool").mkdir()
        for name in ("json.py", "hashlib.py", "runpy.py", "registry_tool/__init__.py"):
            (folder / name).write_text("raise SystemExit('of the folder')")
    assert calls(install(kit, home=tmp_path)) == [["bundle", "apply", str(kit)]]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(["sh", "install.sh", "--demo"], capture_output=True, text=True, check=False, env=environment, cwd=kit)
    assert calls(Answer(done.returncode, done.stdout, done.stderr)) == [["bundle", "apply", str(kit)], ["demo"]]


def test_without_a_home_the_folder_has_to_be_named(kit: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    line = ["sh", str(kit / "install.sh")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "HOME is not set" in done.stderr
    done = subprocess.run(
        [*line, "--prefix", str(tmp_path / "tool")], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert calls(Answer(done.returncode, done.stdout, done.stderr)) == [["bundle", "apply", str(kit)]]


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return make_kit(tmp_path / "a kit")


def calls(answer: Answer) -> list[list[str]]:
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines() if line.startswith("[")]


def test_tool_is_unpacked_once_and_applies_the_bundle(kit: Path, tmp_path: Path) -> None:
    assert calls(install(kit, home=tmp_path)) == [["bundle", "apply", str(kit)]]
    [tool] = (tmp_path / ".local/share/registry-tool-bundle").iterdir()
    mark = tool / "mark"
    mark.touch()
    assert calls(install(kit, "--demo", home=tmp_path)) == [["bundle", "apply", str(kit)], ["demo"]]
    assert mark.exists()
    assert [each.name for each in tool.parent.iterdir()] == [tool.name]


def test_options_go_to_the_tool_and_the_bundle_may_be_elsewhere(kit: Path, tmp_path: Path) -> None:
    words = ("--map", "a b=c", "kit.tar.001", "--keep-going", "--to", "host:1", "--prefix", str(tmp_path / "own prefix"))
    expected = ["bundle", "apply", "--map", "a b=c", "--keep-going", "--to", "host:1", "kit.tar.001"]
    assert calls(install(kit, *words, home=tmp_path)) == [expected]
    assert (tmp_path / "own prefix").is_dir()
    assert not (tmp_path / ".local").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param({"format": 2}, "the bundle has format 2", id="newer"),
        pytest.param({"wheels": []}, "It has it for: none", id="no tool"),
        pytest.param(
            {"wheels": [{"python": "3.99", "platform": "linux/x", "files": []}]}, "It has it for: 3.99 on linux/x", id="another Python"
        ),
        pytest.param({"files": 3}, "bundle.json cannot be read", id="no document"),
    ],
)
def test_what_cannot_be_installed_is_told(tmp_path: Path, members: dict[str, object], message: str) -> None:
    answer = install(make_kit(tmp_path / "kit", **members), home=tmp_path)
    assert (answer.code, answer.out) == (1, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_damaged_or_missing_wheel_is_named_and_nothing_is_left(kit: Path, tmp_path: Path) -> None:
    wheel = kit / "wheels/tool.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    assert "wheels/tool.whl is damaged" in install(kit, home=tmp_path).err
    wheel.unlink()
    assert "tool.whl is missing" in install(kit, home=tmp_path).err
    (kit / "bundle.json").unlink()
    assert "Unpack it beside install.sh" in install(kit, home=tmp_path).err
    assert list((tmp_path / ".local/share/registry-tool-bundle").iterdir()) == []


def test_delta_whose_wheels_are_not_beside_it_needs_its_base_installed(tmp_path: Path) -> None:
    """Its wheels are in the base: where that was installed the tool is there, and nothing of it is needed."""
    kit, delta = make_kit(tmp_path / "kit"), tmp_path / "delta"
    delta.mkdir()
    shutil.copy(kit / "install.sh", delta)
    document = json.loads((kit / "bundle.json").read_bytes())
    (delta / "bundle.json").write_text(json.dumps(document | {"base": {"sha256": "0" * 64}}))
    refused = install(delta, home=tmp_path)
    assert refused.code == 1
    assert "tool.whl is missing" in refused.err
    assert "It is a delta: install the bundle before it first." in refused.err
    assert install(kit, home=tmp_path).code == 0
    assert calls(install(delta, home=tmp_path)) == [["bundle", "apply", str(delta)]]


def test_script_and_bundle_without_modes_are_installed(kit: Path, tmp_path: Path) -> None:
    """As on FAT, where no file can be executed, and all can be read."""
    for path in kit.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert calls(install(kit, home=tmp_path)) == [["bundle", "apply", str(kit)]]


def test_demo_of_another_registry_is_refused(kit: Path, tmp_path: Path) -> None:
    answer = install(kit, "--demo", "--to", "host:1", home=tmp_path)
    assert answer.code == 1
    assert "exclude each other" in answer.err
    assert "needs a value" in install(kit, "--map", home=tmp_path).err
    assert "sh install.sh [OPTIONS] [BUNDLE]" in install(kit, "--help", home=tmp_path).out
