"""A machine that is made up: stubs of uname, id, apt-get, dockerd and the like, and nothing else on PATH.

What set-up does on one real machine is seen there. What it does on a Mac, on a Fedora, beside another docker's packages or with
a broken apt cannot be provoked on it; stubs tell it here.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

SHELLS = [name for name in ("dash", "bash", "sh") if shutil.which(name)][:2]
BASICS = "sh cat cksum date dirname env grep head ls mkdir mktemp mv chmod pwd readlink rm sed setsid sleep tail touch tr".split()

ASK = """case "$*" in
    "-m setup.engine_state") cat "$SETUP_ROOT/answer" ;;
    *setup/listens.py*) exit 1 ;;
    *setup/hub.py*) exit 1 ;;
esac"""


@dataclass
class Machine:
    """A made-up machine: ``root`` stands before absolute paths, ``bin`` is all there is on PATH."""

    root: Path
    shell: str

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        for name in BASICS:
            real = shutil.which(name)
            assert real, f"{name} is missing on this machine"
            (self.bin / name).symlink_to(real)
        self.program("python", ASK)
        self.answer("silent nothing listens")
        self.is_user(0)
        self.is_system("Linux")
        self.has_packages()

    @property
    def bin(self) -> Path:
        return self.root / "programs"

    def program(self, name: str, body: str = "") -> Path:
        """Put a stub on PATH; every call of it is written to ``calls``."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"$SETUP_ROOT/calls"\n{body}\n')
        path.chmod(0o755)
        return path

    def file(self, name: str, content: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def answer(self, line: str) -> None:
        self.file("answer", line + "\n")

    def is_user(self, number: int) -> None:
        self.program("id", f"echo {number}")

    def is_system(self, kernel: str, release: str = "ID=debian\n") -> None:
        self.program("uname", f"echo {kernel}")
        self.file("etc/os-release", release)

    def has_packages(self, *names: str) -> None:
        self.file("packages", "".join(f"{name}\n" for name in names))
        self.program("dpkg-query", 'for last; do :; done; grep -qx "$last" "$SETUP_ROOT/packages" && echo installed')

    def has_systemd(self, *units: str) -> None:
        (self.root / "run/systemd/system").mkdir(parents=True)
        known = "|".join(units) or "none"
        self.program(
            "systemctl", f'case "$1 $2" in "cat {known}") ;; start*) echo "answers here" >"$SETUP_ROOT/answer" ;; *) exit 1 ;; esac'
        )

    def dockerd(self, body: str = 'echo "answers here" >"$SETUP_ROOT/answer"; exec sleep 60') -> None:
        self.program("dockerd", body)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": str(self.bin), "SETUP_ROOT": str(self.root), "SETUP_PYTHON": str(self.bin / "python"), "SETUP_TIMEOUT": "1",
            "HOME": str(self.root), **environment,
        }  # fmt: skip
        shell = shutil.which(self.shell)
        assert shell
        # A descriptor too many, as make -j and CI runners hand on: a detached engine must not keep it.
        command = [shell, "-c", 'exec 7>&1; exec "$0" "$@"', shell, script, *arguments]
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600)

    def engine(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # One that is to answer may take its time on a busy machine, and so may one that is installed first.
        dockerd = self.bin / "dockerd"
        is_silent = dockerd.exists() and "answers here" not in dockerd.read_text()
        return self.run("setup/engine.sh", *arguments, **{"SETUP_TIMEOUT": "1" if is_silent else "60", **environment})

    def calls(self, name: str) -> list[str]:
        file = self.root / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix(name).strip() for line in lines if line.split()[0] == name]
