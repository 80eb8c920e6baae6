"""This tool as a wheel, and what of the lock is for which Python."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.bundle import kit, wheels


def test_wheel_of_this_installation_is_the_same_each_time_and_runs(tmp_path: Path) -> None:
    name, content = wheels.tool_wheel()
    assert wheels.tool_wheel() == (name, content)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        wheel.extractall(tmp_path)
    assert not list(tmp_path.rglob("__pycache__"))
    program = "from registry_tool.base import resources as r; print(r.sample_app(), r.compose_file(), r.lock_file())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split() == [
        str(tmp_path / "registry_tool/_shipped" / each) for each in ("sample_app", "docker-compose.registry.yml", "requirements/run.lock")
    ]


@pytest.mark.parametrize(
    ("python", "platform", "has", "has_not"),
    [
        ("3.10", "linux/amd64", {"tomli", "backports-zstd", "isal"}, {"hatchling", "pywin32"}),
        ("3.13", "linux/arm64", {"backports-zstd", "isal", "click"}, {"tomli", "editables"}),
        ("3.14", "linux/s390x", {"click", "urllib3", "pygments"}, {"tomli", "backports-zstd", "isal"}),
    ],
)
def test_lock_is_for_a_python_and_a_platform(python: str, platform: str, has: set[str], has_not: set[str]) -> None:
    lines = wheels.locked_requirements(python, platform).splitlines()
    names = {line.partition("==")[0] for line in lines}
    assert has <= names
    assert not names & has_not
    assert all("--hash=sha256:" in line for line in lines)


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("", True),
        ("python_full_version < '3.11'", False),
        ("python_full_version < '3.14' and sys_platform == 'linux'", True),
        ("(sys_platform == 'win32') or python_version >= '3.9'", True),
        ("'linux' != sys_platform", False),
    ],
)
def test_marker_is_evaluated(marker: str, holds: bool) -> None:
    assert wheels.applies(marker, {"python_full_version": "3.11.0", "python_version": "3.11", "sys_platform": "linux"}) is holds


@pytest.mark.parametrize("marker", ["__import__('os')", "a b", "unknown == 'x'", "python_version == 3"])
def test_what_is_no_marker_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="not a marker"):
        wheels.applies(marker, {"python_version": "3.11"})


@pytest.mark.parametrize("python", ["3.9", "2.7", "3", "3.11.2", "x", ""])
def test_python_that_the_tool_does_not_run_on_is_refused(python: str) -> None:
    with pytest.raises(UsageError):
        wheels.check_python(python)
    with pytest.raises(UsageError):
        wheels.check_platform("plan9/amd64")


def test_documents_are_there() -> None:
    assert set(kit.documents()) == {"install.sh", "README.txt", "docker-compose.registry.yml"}
