"""A clean engine of a row: a container on this machine's engine, with a checkout of HEAD and its virtual environment inside."""

from __future__ import annotations

import fcntl
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.dirs import app_dirs
from tests.matrix import image
from tests.matrix.commands import Failed, Unavailable, run, say
from tests.matrix.rows import SOCKETS, Row
from tests.support.paths import ROOT

CHECKOUT = "/registry-tool"
_START = Path(__file__).with_name("start.sh")
_READY_WITHIN = 120  # seconds
_TRIES = 2  # an index may not answer once
_VOLUMES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/tmp")
"""An overlay upon an overlay cannot be mounted: these are volumes, and go with the container."""
_WHEELS = "registry-tool-matrix-wheels"
_NARROW = (
    "--cap-add=ALL --cap-drop=SYS_RESOURCE --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined "
    "--security-opt=systempaths=unconfined --cgroupns=private"
).split()
"""Where the engine lacks a capability itself, it refuses --privileged."""
_PASSED_ON = ("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A running engine of ``row``."""

    row: Row
    container: str

    def run(self, *command: str, timeout: float = 600) -> str:
        """Run ``command`` in the checkout; returns what it printed. Raises Failed."""
        return run("docker", "exec", f"--workdir={CHECKOUT}", self.container, *command, timeout=timeout)

    def show(self, *command: str, timeout: float) -> int:
        """Run ``command`` in the checkout with its output on this terminal; returns its exit code. Raises Failed when it times out."""
        line = ["docker", "exec", f"--workdir={CHECKOUT}", "--env=PYTHONUNBUFFERED=1", self.container, *command]
        try:
            return subprocess.run(line, check=False, stdin=subprocess.DEVNULL, timeout=timeout).returncode
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.row.name}: timed out after {timeout:g} s: {' '.join(command)[:160]}") from None

    def copy_out(self, path: str, to: Path) -> None:
        """Copy a file of the container."""
        run("docker", "cp", f"{self.container}:{path}", str(to))


@contextmanager
def open_place(row: Row, *, image_name: str, requirements: str) -> Iterator[Place]:
    """A clean engine of ``row``, with the packages of ``requirements`` (``run``, ``dev``) in the virtual environment.

    Whatever a killed run left of the same row is removed first. Raises Failed, Unavailable.
    """
    name = f"registry-tool-matrix-{row.name}"
    with _alone(row):
        _remove(name)
        try:
            _start(row, name, image_name)
            place = Place(row=row, container=name)
            _wait(place)
            _check_out(place, requirements)
            yield place
        finally:
            _remove(name)


@contextmanager
def _alone(row: Row) -> Iterator[None]:
    """Hold the row's lock: who has it may remove its container."""
    folder = app_dirs().state / "matrix"
    folder.mkdir(exist_ok=True)
    with (folder / f"{row.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{row.name}: waiting for another run of this row …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(name: str) -> None:
    """Remove the row's container with its volumes, where the matrix made it."""
    if run("docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}$", "--filter", f"label={image.LABEL}"):
        with suppress(Failed):  # somebody else may be removing it
            run("docker", "rm", "--force", "--volumes", name)


def _start(row: Row, name: str, image_name: str) -> None:
    run("docker", "volume", "create", f"--label={image.LABEL}={row.suite}", _WHEELS)
    options = [
        f"--name={name}",
        f"--hostname={row.name}",
        f"--label={image.LABEL}={row.suite}",
        *(f"--volume={folder}" for folder in _VOLUMES),
        f"--volume={_WHEELS}:/root/.cache/pip",
        f"--env=DOCKER_HOST={SOCKETS[row.engine]}",
        *(f"--env={variable}" for variable in _PASSED_ON if variable in os.environ),
        *_certificates(),
    ]
    command = [image_name, "sh", "-c", _START.read_text(encoding="utf-8"), "start", row.engine, row.store]
    try:
        run("docker", "run", "--detach", "--privileged", *options, *command)
    except Failed as privileged:
        run("docker", "rm", "--force", "--volumes", name)
        try:
            run("docker", "run", "--detach", *_NARROW, *options, *command)
        except Failed as narrow:
            raise Unavailable(f"no engine in a container here: {narrow}\nand with --privileged: {privileged}") from narrow


def _certificates() -> list[str]:
    """Authorities that only this machine knows, of its proxies for instance."""
    known = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or _CERTIFICATES
    if not Path(known).is_file():
        return []
    variables = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return [f"--volume={Path(known).resolve()}:{_CERTIFICATES}:ro", *(f"--env={variable}={_CERTIFICATES}" for variable in variables)]


def _wait(place: Place) -> None:
    try:
        place_ready = f"for i in $(seq {_READY_WITHIN * 2}); do docker version >/dev/null 2>&1 && exit 0; sleep 0.5; done; exit 1"
        run("docker", "exec", place.container, "sh", "-c", place_ready, timeout=2 * _READY_WITHIN + 60)
    except Failed as error:
        log = subprocess.run(
            ["docker", "logs", "--tail=20", place.container], check=False, capture_output=True, text=True, errors="replace"
        )
        raise Failed(f"{place.row.name}: the engine does not start: {error}\n{log.stdout}{log.stderr}") from error


def _check_out(place: Place, requirements: str) -> None:
    run("docker", "exec", place.container, "mkdir", CHECKOUT)
    with subprocess.Popen(["git", "-C", str(ROOT), "archive", "HEAD"], stdout=subprocess.PIPE) as archive:
        run("docker", "cp", "-", f"{place.container}:{CHECKOUT}", stdin=archive.stdout)
    if archive.returncode:
        raise Failed("git archive failed")
    say(f"{place.row.name}: {versions(place)}; making the virtual environment …")
    for left in reversed(range(_TRIES)):
        try:
            place.run("sh", "setup/venv.sh", requirements, timeout=900)
        except Failed as error:
            if not left:
                raise Unavailable(f"Python's packages cannot be had: {error}") from error
        else:
            return


def versions(place: Place) -> str:
    """Names and versions of the engine and Python."""
    form = "{{range .Server.Components}}{{.Name}} {{.Version}}\n{{end}}"
    engine = next(line for line in place.run("docker", "version", "--format", form).splitlines() if line).replace("Engine", "Docker")
    engine = engine.replace("Podman Docker", "Podman").partition("+")[0]
    return f"{engine}, {place.run('python3', '--version').strip()}"
