"""``setup/venv.sh`` on machines that are made up."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fake_machine import SHELLS, Machine
from tests.support.paths import ROOT


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A bare Debian, root, nothing installed."""
    return Machine(tmp_path / "máquina de Ana", request.param)


@dataclass
class Checkout:
    """A copy of what venv.sh reads, in a folder with a space and a letter that is not ASCII, on a made-up machine."""

    machine: Machine
    folder: Path

    def set_up(self, kind: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(str(self.folder / "setup/venv.sh"), kind, **environment)

    @property
    def installs(self) -> list[str]:
        return self.machine.calls("venv-python")

    def python(self, name: str = "python3") -> None:
        """A Python that makes virtual environments; their Python only notes what it was called with."""
        inner = 'printf "#!/bin/sh\\necho \\"venv-python \\$*\\" >>\\"\\$SETUP_ROOT/calls\\"\\nexit \\${PIP_ENDS:-0}\\n" >.venv/bin/python'
        make = f'if [ "$2" = venv ]; then mkdir -p .venv/bin; {inner}; chmod 755 .venv/bin/python; fi'
        self.machine.program(name, f'case "$*" in *virtualenv*) exit 1 ;; esac\n{make}')


@pytest.fixture
def checkout(machine: Machine) -> Checkout:
    folder = machine.root / "mein Übungsordner"
    shutil.copytree(ROOT / "setup", folder / "setup")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Checkout(machine, folder)


def _pip_lines(calls: list[str]) -> list[str]:
    return [call for call in calls if call.startswith("-m pip")]


def test_a_virtual_environment_is_made_from_the_lock_once(checkout: Checkout) -> None:
    checkout.python()
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    lock, itself = _pip_lines(checkout.installs)
    assert "--require-hashes -r requirements/run.lock" in lock
    assert "--no-deps --no-build-isolation -e ." in itself
    again = checkout.set_up()
    assert (again.returncode, again.stderr) == (0, "")
    assert len(_pip_lines(checkout.installs)) == 2


@pytest.mark.parametrize("changed", ["requirements/run.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_is_installed(checkout: Checkout, changed: str) -> None:
    checkout.python()
    checkout.set_up()
    with (checkout.folder / changed).open("a") as file:
        file.write("# changed\n")
    (checkout.folder / ".venv/kept").touch()
    assert checkout.set_up().returncode == 0
    assert len(_pip_lines(checkout.installs)) == 4
    assert (checkout.folder / ".venv/kept").exists(), "what is there is brought up to date, not made anew"


@pytest.mark.parametrize(("there", "wanted"), [("dev", "run"), ("release", "run"), ("release", "dev")])
def test_an_environment_that_holds_more_than_is_wanted_is_kept(checkout: Checkout, there: str, wanted: str) -> None:
    checkout.python()
    assert checkout.set_up(there).returncode == 0
    assert checkout.set_up(wanted).stderr == ""
    assert len(_pip_lines(checkout.installs)) == 2


def test_an_environment_that_holds_less_than_is_wanted_is_added_to(checkout: Checkout) -> None:
    checkout.python()
    for kind in ("run", "dev", "release"):
        assert checkout.set_up(kind).returncode == 0
        (checkout.folder / f".venv/{kind}").touch()
    locks = [word for call in _pip_lines(checkout.installs) for word in call.split() if word.endswith(".lock")]
    assert locks == [f"requirements/{kind}.lock" for kind in ("run", "dev", "release")]
    assert (checkout.folder / ".venv/run").exists(), "what is there is brought up to date, not made anew"


def test_a_release_on_an_older_python_is_explained(checkout: Checkout) -> None:
    checkout.python()
    assert checkout.set_up("dev").returncode == 0
    inner = checkout.folder / ".venv/bin/python"
    inner.write_text('#!/bin/sh\ncase "$*" in *"(3, 11)"*) exit 1 ;; esac\n')
    done = checkout.set_up("release")
    assert done.returncode == 1
    assert "this takes Python 3.11 or newer" in done.stderr
    assert (checkout.folder / ".venv/ready").exists(), "what is there can be used on"


def test_a_set_up_that_was_killed_starts_clean(checkout: Checkout) -> None:
    checkout.python()
    checkout.set_up()
    (checkout.folder / "requirements/run.lock").write_text("# another\n")
    (checkout.folder / ".venv/half").touch()
    broken = checkout.set_up(PIP_ENDS="1")
    assert broken.returncode == 1
    checkout.python()
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    assert not (checkout.folder / ".venv/half").exists()


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.python()
    checkout.set_up()
    (checkout.folder / ".venv/old").touch()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.set_up().returncode == 0
    assert not (checkout.folder / ".venv/old").exists()


def test_a_pip_that_fails_is_explained(checkout: Checkout) -> None:
    checkout.python()
    checkout.set_up()
    (checkout.folder / "requirements/run.lock").write_text("# another\n")
    inner = checkout.folder / ".venv/bin/python"
    inner.write_text('#!/bin/sh\n[ "$2" != pip ]\n')
    done = checkout.set_up()
    assert done.returncode == 1
    assert "is there a network?" in done.stderr
    assert not (checkout.folder / ".venv/ready").exists()


def test_a_shim_that_fails_is_skipped(checkout: Checkout) -> None:
    checkout.machine.program("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    checkout.python("python3.11")
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    assert "-m venv .venv" in checkout.machine.calls("python3.11")


def test_no_python_is_one_line(checkout: Checkout) -> None:
    (checkout.machine.bin / "python").unlink()
    checkout.machine.is_user(1000)
    done = checkout.set_up()
    assert (done.returncode, done.stderr) == (1, "Python 3.10 or newer is missing: sudo apt-get install python3-venv\n")


def test_an_old_python_on_a_mac_is_one_line(checkout: Checkout) -> None:
    checkout.machine.is_system("Darwin")
    checkout.machine.program("python3", "exit 1")
    checkout.machine.program("python", "exit 1")
    done = checkout.set_up()
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.10 or newer is missing: brew install python3")
    assert done.stderr.count("\n") == 1


def test_a_python_that_was_named_is_used_or_refused(checkout: Checkout) -> None:
    checkout.python("python3")
    checkout.python("mine")
    assert checkout.set_up(PYTHON="mine").returncode == 0
    assert checkout.machine.calls("python3") == []
    shutil.rmtree(checkout.folder / ".venv")
    done = checkout.set_up(PYTHON="/nowhere/python")
    assert (done.returncode, done.stderr) == (1, "PYTHON=/nowhere/python is no Python 3.10 or newer\n")


WITHOUT_ENSUREPIP = """case "$*" in
    *ensurepip*) [ -e "$SETUP_ROOT/ensurepip" ] || exit 1 ;;
    *virtualenv*) exit 1 ;;
    *print*) echo python3.11-venv ;;
    *venv*) mkdir -p .venv/bin; printf '#!/bin/sh\\n' >.venv/bin/python; chmod 755 .venv/bin/python ;;
esac"""


def test_debians_python_without_ensurepip(checkout: Checkout) -> None:
    (checkout.machine.bin / "python").unlink()
    checkout.machine.program("python3", WITHOUT_ENSUREPIP)
    checkout.machine.program("apt-get", 'touch "$SETUP_ROOT/ensurepip"')
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    assert "installing Debian's python3.11-venv" in done.stderr
    assert checkout.machine.calls("apt-get")[0].endswith("install python3.11-venv")


def test_debians_python_without_ensurepip_and_without_root(checkout: Checkout) -> None:
    (checkout.machine.bin / "python").unlink()
    checkout.machine.program("python3", WITHOUT_ENSUREPIP)
    checkout.machine.program("apt-get")
    checkout.machine.is_user(1000)
    done = checkout.set_up()
    assert (done.returncode, done.stderr) == (1, "python3 cannot make virtual environments: sudo apt-get install python3.11-venv\n")
