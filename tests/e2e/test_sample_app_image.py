"""The sample app as an image: built by both builders, and run by docker and by podman with no option but ``-p``."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from registry_tool.base.dirs import AppDirs
from registry_tool.base.progress import SILENT
from registry_tool.base.resources import sample_app
from registry_tool.engine import Engine
from registry_tool.local.base_images import PYTHON, REDIS, BaseImage, BaseImageResolver, wheels
from tests.support.engine_snapshot import unique_name
from tests.support.requirements import missing

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DISABLED = "<b>Visits:</b> <i>cannot connect to Redis, counter disabled</i>"
IN_TIME = 25.0  # seconds: 3 as the page promises, on a machine that is very busy; a dead name server of the tests is waited for longer
# A newer client hands BuildKit's work to a plugin that may be absent; one that old has it inside.
DOCKER = next((path for path in ("/usr/bin/docker", shutil.which("docker")) if path and Path(path).exists()), "docker")

Docker = Callable[..., str]
Build = Callable[..., tuple[str, str]]
Run = Callable[..., str]
Page = Callable[[str], tuple[str, float]]

# Asks for the page from inside: of a container, of a network namespace.
ASK = """
import sys, time, urllib.request
began = time.monotonic()
print(urllib.request.urlopen(sys.argv[1], timeout=600).read().decode())
print(time.monotonic() - began)
"""


@pytest.fixture(scope="module")
def python(session_engine: Engine, session_dirs: AppDirs) -> BaseImage:
    return BaseImageResolver(session_engine, session_dirs.cache, SILENT).ensure(PYTHON)


@pytest.fixture(scope="module")
def python_image(python: BaseImage) -> str:
    return python.name


@pytest.fixture(scope="module")
def whole_context(session_engine: Engine, session_dirs: AppDirs, python: BaseImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's folder with the wheels in it, as ``regctl build`` sends it."""
    folder = tmp_path_factory.mktemp("sample") / "context"
    shutil.copytree(sample_app(), folder, ignore=shutil.ignore_patterns("wheels", "__pycache__"))
    result = wheels(session_engine, python.name, python.id, folder / "requirements.txt", session_dirs.cache)
    assert result is not None
    shutil.copytree(result, folder / "wheels")
    return folder


@pytest.fixture
def context(whole_context: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole_context, tmp_path / "context"))


@pytest.fixture
def docker(engine: Engine) -> Docker:
    """A docker command on the tests' engine: its output, or a failed test."""

    def command(*words: str, fails: bool = False, **variables: str) -> str:
        done = subprocess.run([DOCKER, *words], capture_output=True, text=True, timeout=600, check=False, env=os.environ | variables)
        message = done.stdout + done.stderr
        if "buildx component is missing" in message:
            missing("buildkit", "this docker has no BuildKit inside and no buildx plugin")
        assert (done.returncode != 0) is fails, message
        return message.strip()

    return command


@pytest.fixture
def build(docker: Docker, python_image: str, unique: str) -> Iterator[Build]:
    """Builds a context under a name of its own: the name, and what the build said. The images are gone afterwards."""
    names: list[str] = []

    def command(context: Path, *options: str, buildkit: str = "0") -> tuple[str, str]:
        names.append(f"{unique}:{len(names)}")
        words = ["build", "-t", names[-1], "--build-arg", f"BASE_IMAGE={python_image}", *options, str(context)]
        return names[-1], docker(*words, DOCKER_BUILDKIT=buildkit, BUILDKIT_PROGRESS="plain")

    yield command
    for name in names:
        docker("rmi", "-f", name)


@pytest.fixture(scope="module")
def image(session_engine: Engine, whole_context: Path, python_image: str) -> Iterator[str]:
    """The app's image, built once: what runs it changes nothing in it."""
    name = f"{unique_name()}:app"
    words = [DOCKER, "build", "-t", name, "--build-arg", f"BASE_IMAGE={python_image}", str(whole_context)]
    plain = {"DOCKER_HOST": session_engine.endpoint.url, "DOCKER_CONFIG": str(whole_context.parent), "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, env=os.environ | plain)
    assert done.returncode == 0, done.stdout + done.stderr
    yield name
    session_engine.remove_image(name, force=True)


@pytest.fixture
def run(docker: Docker) -> Iterator[Run]:
    """``docker run -d`` with the options given: the container. They are all gone afterwards."""
    started: list[str] = []

    def command(*words: str) -> str:
        started.append(docker("run", "-d", *words).splitlines()[-1])
        return started[-1]

    yield command
    for container in started:
        docker("rm", "-fv", container)


@pytest.fixture
def page(docker: Docker) -> Page:
    """What the container answers on the port it publishes, and after how many seconds."""

    def ask(container: str) -> tuple[str, float]:
        until_it_serves(lambda: docker("logs", container))
        address = docker("port", container).splitlines()[0].rpartition(" ")[2]
        began = time.monotonic()
        with urllib.request.urlopen(f"http://{address}/", timeout=600) as response:
            body: str = response.read().decode()
        return body, time.monotonic() - began

    return ask


def until_it_serves(logs: Callable[[], str]) -> None:
    end = time.monotonic() + 600
    while "* Running on http://0.0.0.0:" not in logs():
        assert time.monotonic() < end, logs()
        time.sleep(0.05)


def host_name(body: str) -> str:
    result = re.search("<b>Hostname:</b> (.*?)<br/>", body)
    assert result, body
    return result[1]


# Building


@pytest.mark.parametrize("buildkit", ["0", pytest.param("1", marks=pytest.mark.docker_only("BuildKit is docker's"))])
def test_wheels_at_hand_need_no_index_and_a_changed_app_no_second_installation(
    build: Build, run: Run, page: Page, context: Path, unique: str, buildkit: str
) -> None:
    with (context / "requirements.txt").open("a") as requirements:
        requirements.write(f"# {unique}\n")  # no builder has seen it, and none has an old answer
    name, message = build(context, "--network=none", "--no-cache", buildkit=buildkit)
    assert "Successfully installed" in message
    assert "Hello World!" in page(run("-p", "127.0.0.1::80", name))[0]
    app = context / "app.py"
    app.write_text(app.read_text().replace("Hello {name}!", "Bye {name}!"))
    name, message = build(context, "--network=none", buildkit=buildkit)
    assert "Successfully installed" not in message
    assert "Bye World!" in page(run("-p", "127.0.0.1::80", name))[0]


@pytest.mark.parametrize("buildkit", ["0", pytest.param("1", marks=pytest.mark.docker_only("BuildKit is docker's"))])
def test_without_wheels_an_index_is_asked(docker: Docker, context: Path, python_image: str, unique: str, buildkit: str) -> None:
    """Seen where there is none: everything before pip went well, and pip says what it looked for."""
    shutil.rmtree(context / "wheels")
    with (context / "requirements.txt").open("a") as requirements:
        requirements.write(f"# {unique}\n")  # what is built is nobody else's, and can go
    words = ["build", "--network=none", "--force-rm", "--build-arg", f"BASE_IMAGE={python_image}", str(context)]
    message = docker(*words, fails=True, DOCKER_BUILDKIT=buildkit, BUILDKIT_PROGRESS="plain")
    steps = re.findall(r"^ ---> ([0-9a-f]{12})$", message, re.MULTILINE)
    if len(steps) > 1:  # the classic builder leaves what it got done as an image without a name; the first is the base
        docker("rmi", steps[-1])
    assert "/simple/flask/" in message
    assert "No matching distribution found for flask" in message


def test_nothing_else_of_the_folder_is_in_the_image(docker: Docker, image: str) -> None:
    assert docker("run", "--rm", image, "ls", "-A", "/app") == "app.py"


# Running, on docker


def test_the_page_names_its_container(run: Run, page: Page, image: str) -> None:
    container = run("-p", "127.0.0.1::80", "-e", "NAME=<b>", image)
    body, seconds = page(container)
    assert body == f"<h3>Hello &lt;b&gt;!</h3><b>Hostname:</b> {container[:12]}<br/>{DISABLED}"
    assert seconds < IN_TIME


def test_the_process_that_serves_is_nobody(docker: Docker, run: Run, page: Page, image: str) -> None:
    container = run("-p", "127.0.0.1::80", image)
    page(container)
    status = docker("exec", container, "grep", "-E", "^(Uid|Gid|Groups|CapEff):", "/proc/1/status")
    assert [line.split()[1:] for line in status.splitlines()] == [["65534"] * 4, ["65534"] * 4, [], ["0" * 16]]


@pytest.mark.parametrize("options", [("--user=1000",), ("--user=1000:1000", "--read-only"), ("--cap-drop=ALL",), ("--read-only",)])
def test_it_serves_whoever_it_runs_as(run: Run, page: Page, image: str, options: tuple[str, ...]) -> None:
    container = run("-p", "127.0.0.1::8080", "-e", "PORT=8080", *options, image)
    assert host_name(page(container)[0]) == container[:12]


@pytest.mark.parametrize(
    "options",
    [
        ("--network=none",),
        ("--dns=192.0.2.1", "--dns=192.0.2.2", "--dns-search=a.example", "--dns-search=b.example", "--dns-opt=timeout:30"),
    ],
    ids=["no network", "dead name servers"],
)
def test_the_page_is_in_time_where_no_name_server_answers(docker: Docker, run: Run, image: str, options: tuple[str, ...]) -> None:
    container = run(*options, image)
    until_it_serves(lambda: docker("logs", container))
    for _ in range(3):
        body, seconds = docker("exec", container, "python", "-c", ASK, "http://127.0.0.1:80/").splitlines()
        assert body.endswith(DISABLED)
        assert float(seconds) < IN_TIME


def hears_sigterm(docker: Docker, container: str) -> bool:
    """Whether its process asked for SIGTERM, as the kernel knows it."""
    caught = re.search(r"^SigCgt:\s(\w+)$", docker("exec", container, "cat", "/proc/1/status"), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_it_ends_at_once_when_it_is_stopped_while_it_starts(docker: Docker, run: Run, image: str) -> None:
    """As process 1, which ignores a signal that it did not ask for; docker kills it after a minute then."""
    for _ in range(5):
        container = run(image)
        # Until Python itself has started nothing can be asked for; from then on it is, long before the page is served.
        eventually(partial(hears_sigterm, docker, container))
        docker("stop", "--time=60", container)
        assert docker("inspect", "--format={{.State.ExitCode}}", container) == "0"


@pytest.fixture
def network(docker: Docker, unique: str) -> Iterator[str]:
    docker("network", "create", unique)
    yield unique
    docker("network", "rm", unique)


def test_it_counts_beside_a_redis_that_comes_and_goes(  # the network before what runs in it: it goes after that, too
    docker: Docker, network: str, run: Run, page: Page, image: str, session_engine: Engine, session_dirs: AppDirs
) -> None:
    redis_image = BaseImageResolver(session_engine, session_dirs.cache, SILENT).ensure(REDIS).name
    redis = run(f"--network={network}", "--network-alias=redis", redis_image)
    app = run(f"--network={network}", "-p", "127.0.0.1::80", image)

    def counts_on() -> bool:
        """Whether three visits get consecutive numbers: on a busy machine, Redis may not answer one in time."""
        shown = [page(app)[0].rpartition(" ")[2] for _ in range(3)]
        return all(map(str.isdigit, shown)) and [int(number) - int(shown[0]) for number in shown] == [0, 1, 2]

    eventually(counts_on)
    docker("stop", "--time=1", redis)
    body, seconds = page(app)
    assert body.endswith(DISABLED)
    assert seconds < IN_TIME
    docker("start", redis)
    eventually(lambda: DISABLED not in page(app)[0])
    docker("stop", "--time=60", app)
    assert docker("inspect", "--format={{.State.ExitCode}}", app) == "0"


def eventually(holds: Callable[[], bool], within: float = 600.0) -> None:
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


# Running, on podman

PODMAN_LIMITS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096", "memlock=8388608:8388608"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_config_dir = "{folder}/networks"
"""


@dataclass(frozen=True, kw_only=True)
class Podman:
    """Images, configuration and a network namespace of its own: nothing of it is left on the machine."""

    folder: Path
    namespace: int  # the process that holds it

    def __call__(self, *words: str) -> str:
        return self.inside("podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", *words)

    def inside(self, *words: str) -> str:
        done = subprocess.run(
            ["nsenter", "--net", f"--target={self.namespace}", *words],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            # Podman reads docker's configuration where DOCKER_CONFIG says, and it has to be there then.
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "CONTAINERS_CONF": f"{self.folder}/containers.conf"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def page(self, port: int) -> tuple[str, float]:
        body, seconds = self.inside(sys.executable, "-c", ASK, f"http://127.0.0.1:{port}/").splitlines()
        return body, float(seconds)


@pytest.fixture
def podman() -> Iterator[Podman]:
    if os.geteuid() != 0:
        missing("podman", "a podman of the test's own needs root")
    for program in ("podman", "runc", "unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            missing("podman", f"{program} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="rt-podman-"))  # podman takes 50 characters at most
    (folder / "containers.conf").write_text(PODMAN_LIMITS.format(folder=folder))
    hold = "ip link set lo up && echo up && exec sleep infinity"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        ours = Podman(folder=folder, namespace=holder.pid)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            yield ours
            ours("rm", "--force", "--all", "--time=0")
            ours("rmi", "--force", "--all")
        finally:
            holder.kill()
    shutil.rmtree(folder)


@pytest.mark.podman
def test_podman_runs_it_with_no_option_but_its_port(docker: Docker, image: str, podman: Podman, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    docker("save", "-o", str(archive), image)
    podman("load", "-i", str(archive))
    archive.unlink()
    container = podman("run", "-d", "-p", "4000:80", image)
    until_it_serves(lambda: podman("logs", container))
    assert podman("exec", container, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "1024"  # low ports are root's
    body, seconds = podman.page(4000)
    assert host_name(body) == container[:12]
    assert body.endswith(DISABLED)
    assert seconds < IN_TIME
    status = podman("exec", container, "grep", "-E", "^(Uid|CapEff):", "/proc/1/status")
    assert [line.split()[1:] for line in status.splitlines()] == [["65534"] * 4, ["0" * 16]]
    podman("stop", "--time=60", container)
    assert podman("inspect", "--format={{.State.ExitCode}}", container) == "0"
    container = podman("run", "-d", "-p", "4001:8080", "-e", "PORT=8080", "--user=1000", image)
    until_it_serves(lambda: podman("logs", container))
    assert host_name(podman.page(4001)[0]) == container[:12]
