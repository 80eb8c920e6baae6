"""Podman as the engine: the demo, and what its interface does otherwise than docker's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.private_podman import PrivatePodman, private_podman, why_not
from tests.support.requirements import missing

pytestmark = [pytest.mark.engine, pytest.mark.podman, pytest.mark.slow]

Done = subprocess.CompletedProcess[str]
Regctl = Callable[..., Done]

REGISTRY, IMAGE = "localhost:5000", "localhost:5000/john/get-started:part2"


@pytest.fixture(scope="module")
def podman() -> Iterator[PrivatePodman]:
    if reason := why_not():
        missing("podman", reason)
    with private_podman() as podman:
        yield podman


@pytest.fixture(scope="module")
def demo(podman: PrivatePodman, kept_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Regctl, Done]:
    """What runs ``regctl`` on it, and a demo that ran; its registry and its image are there. The state is the module's."""
    home = tmp_path_factory.mktemp("home")
    (home / "cache").mkdir()
    (home / "cache" / "registry-tool").symlink_to(kept_cache)

    def regctl(*words: str) -> Done:
        environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")}
        return podman.run([sys.executable, "-m", "registry_tool", *words], env=environment)

    return regctl, regctl("demo", "--json")


def test_the_demo_succeeds_and_shows_podmans_commands(demo: tuple[Regctl, Done]) -> None:
    done = demo[1]
    assert done.returncode == 0, done.stdout + done.stderr
    commands = [step["command"] for step in json.loads(done.stdout)["steps"]]
    assert f"podman push --tls-verify=false {IMAGE}" in commands
    assert not any(command.startswith("docker") for command in commands)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--rm", IMAGE, "sh", "-c", "exit 3"), 3),
        (("--rm", "--name", "slow", IMAGE, "sh", "-c", "sleep 1; exit 4"), 4),
        ((IMAGE, "sh", "-c", "exit 5"), 5),
        (("--rm", IMAGE, "no-such-program"), 127),
        (("--rm", IMAGE, "/etc/passwd"), 126),
        (("-d", IMAGE, "no-such-program"), 127),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else " ".join(value),
)
def test_run_has_dockers_exit_codes(demo: tuple[Regctl, Done], words: tuple[str, ...], code: int) -> None:
    done = demo[0]("run", *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "this is a bug" not in done.stderr


@pytest.mark.parametrize("words", [("-d",), ()], ids=["detached", "attached"])
def test_port_of_the_registry_is_refused_and_the_registry_keeps_it(demo: tuple[Regctl, Done], words: tuple[str, ...]) -> None:
    regctl = demo[0]
    refused = regctl("run", *words, "-p", f"127.0.0.1:{REGISTRY.rpartition(':')[2]}:80", IMAGE, "true")
    assert (refused.returncode, "port 5000 is taken by the container" in refused.stderr) == (125, True), refused.stderr
    assert regctl("list-tags", "-q", IMAGE.rpartition(":")[0]).stdout == "part2\n"


def test_a_short_name_is_no_image_of_the_registry(demo: tuple[Regctl, Done], tmp_path: Path) -> None:
    """Podman takes any image whose name ends so."""
    regctl = demo[0]
    before = regctl("images", "-q", "--no-trunc", IMAGE).stdout
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL unlike={tmp_path.name}\n")
    assert regctl("build", "-q", "-t", "john/get-started:part2", str(tmp_path)).returncode == 0
    assert regctl("images", "-q", "--no-trunc", IMAGE).stdout == before
    assert regctl("rmi", "john/get-started:part2").returncode == 0
    assert regctl("images", "-q", "--no-trunc", IMAGE).stdout == before


def test_pull_reports_the_registrys_digest_of_an_image_that_was_built_here(demo: tuple[Regctl, Done], tmp_path: Path) -> None:
    regctl = demo[0]
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN --mount=type=cache,target=/x echo {tmp_path} >/built\n")
    built = regctl("build", "-t", "built", str(tmp_path))
    assert built.returncode == 0, built.stdout + built.stderr
    pushed = regctl("push", "-q", "built")
    assert pushed.returncode == 0, pushed.stderr
    assert regctl("pull", "-q", "built").stdout == pushed.stdout


def test_a_verification_on_the_engine_itself_leaves_nothing(demo: tuple[Regctl, Done]) -> None:
    regctl = demo[0]
    before = regctl("ps", "-aq").stdout
    done = regctl("verify", IMAGE, "--on", "here", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert regctl("ps", "-aq").stdout == before
