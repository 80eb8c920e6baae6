"""A podman of the tests' own as the engine: its API service, storage, socket and network namespace, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base.deadline import Deadline, poll

READY_WITHIN = 600.0
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096", "memlock=8388608:8388608"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{runtime}"
[network]
network_config_dir = "{folder}/networks"
"""


def why_not() -> str | None:
    """Why no podman of one's own can be had here; None where it can."""
    if os.geteuid() != 0:
        return "a podman of the tests' own needs root"
    for program in ("podman", "unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None if shutil.which("runc") or shutil.which("crun") else "neither runc nor crun is installed"


@dataclass(frozen=True, kw_only=True)
class PrivatePodman:
    """``folder`` holds everything it writes, ``namespace`` is the process that holds its network namespace."""

    folder: Path
    namespace: int

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/podman.sock"

    def inside(self, command: Sequence[str]) -> list[str]:
        """``command`` as it is run in this engine's network."""
        return ["nsenter", "--net", f"--target={self.namespace}", *command]

    @property
    def command(self) -> list[str]:
        """The client with this engine's storage."""
        return self.inside(["podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"])

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "CONTAINERS_CONF": f"{self.folder}/containers.conf"}

    def run(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in this engine's network, against this engine."""
        return subprocess.run(
            self.inside(command),
            check=False,
            env={**os.environ, "DOCKER_HOST": self.socket, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )

    def start(self) -> subprocess.Popen[bytes]:
        """Start the API service, and wait until it answers."""
        with (self.folder / "service.log").open("ab") as log:
            service = subprocess.Popen(
                [*self.command, "system", "service", "--time=0", self.socket],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment,
                cwd="/",
            )
        if not poll(lambda: self._accepts() or service.poll() is not None, Deadline(READY_WITHIN)) or service.poll() is not None:
            raise RuntimeError((self.folder / "service.log").read_text(errors="replace"))
        return service

    def _accepts(self) -> bool:
        """Whether it takes connections: the socket is there a moment before that."""
        with socket.socket(socket.AF_UNIX) as trial:
            return trial.connect_ex(self.socket.removeprefix("unix://")) == 0

    def empty(self) -> None:
        """Remove all containers, images and volumes."""
        for words in (["rm", "--force", "--all", "--time=0"], ["rmi", "--force", "--all"], ["volume", "rm", "--force", "--all"]):
            subprocess.run([*self.command, *words], check=False, capture_output=True, timeout=600, env=self._environment)


@contextmanager
def private_podman() -> Iterator[PrivatePodman]:
    """A running podman for the block."""
    folder = Path(tempfile.mkdtemp(prefix="rt-podman-"))  # podman takes 50 characters at most
    runtime = "runc" if shutil.which("runc") else "crun"
    (folder / "containers.conf").write_text(_CONFIGURATION.format(folder=folder, runtime=runtime))
    hold = "ip link set lo up && echo up && exec sleep infinity"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        podman = PrivatePodman(folder=folder, namespace=holder.pid)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            service = podman.start()
            try:
                yield podman
            finally:
                podman.empty()
                service.terminate()
                service.wait(timeout=600)
        finally:
            holder.kill()
            shutil.rmtree(folder, ignore_errors=True)
