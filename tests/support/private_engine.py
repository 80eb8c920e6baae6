"""An engine of the tests' own: its own containerd, data, socket and network namespace. Whatever kills, fills, restarts
or unplugs an engine does so to one of these.

``lo`` alone means that nothing outside exists; with ``swallow=True`` a default route leads into a link at whose other end
nothing listens, so that every packet to the outside is swallowed. The host's own routes and firewall are never touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base.deadline import Deadline, poll

READY_WITHIN = 600.0
Done = subprocess.CompletedProcess[str]


def why_not() -> str | None:
    """Why no engine of one's own can be had here; None where it can."""
    if os.geteuid() != 0:
        return "an engine of the tests' own needs root"
    for program in ("ip", "nsenter", "dockerd", "containerd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


@dataclass(kw_only=True)
class PrivateEngine:
    """``folder`` holds everything it writes. Started and stopped as often as one likes."""

    folder: Path
    sockets: Path
    """A folder with a short name: the path of a socket has a hundred characters at most."""
    namespace: str
    options: tuple[str, ...] = ()
    settings: Path | None = None
    """A folder that its dockerd sees as /etc/docker, where certs.d is; such an engine runs no containers."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def socket(self) -> str:
        return f"unix://{self.sockets}/docker.sock"

    def inside(self, command: Sequence[str]) -> list[str]:
        """``command`` as it is run in this engine's network. Never ``ip netns exec``: that loses the cgroups."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]

    def start(self) -> None:
        (self.folder / "docker.pid").unlink(missing_ok=True)
        containerd = self.folder / "containerd"
        containerd.mkdir(parents=True, exist_ok=True)
        config = containerd / "config.toml"
        # Its defaults put things into /opt and /run, where another one's may be.
        config.write_text(
            "version = 2\n"
            f'root = "{containerd}/root"\nstate = "{containerd}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{self.sockets}/containerd.sock"\n'
        )
        self._spawn("containerd.log", ["containerd", "--config", str(config)])
        self._until((self.sockets / "containerd.sock").exists, "containerd")
        script = 'mkdir -p /etc/docker && mount --bind "$0" /etc/docker && exec "$@"'
        self._spawn(
            "dockerd.log",
            [
                *(["unshare", "--mount", "sh", "-c", script, str(self.settings)] if self.settings is not None else []),
                "dockerd",
                f"--containerd={self.sockets}/containerd.sock",
                f"--data-root={self.folder}/data",
                f"--exec-root={self.sockets}/exec",
                f"--pidfile={self.folder}/docker.pid",
                f"--host={self.socket}",
                *self.options,
            ],
        )
        self._until(self._answers, "dockerd")

    def kill(self) -> None:
        """``kill -9`` of the engine and its containerd; what they started lives on."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def stop(self) -> None:
        """End the engine as an init system would, then its containerd."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=600)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """While the block runs, a route leads out of its network, and every packet on it is lost; the engine knows it from its start."""
        self.stop()
        _ip(self.namespace, "link", "add", "nowhere", "type", "veth", "peer", "name", "nobody")
        _ip(self.namespace, "address", "add", "198.51.100.2/24", "dev", "nowhere")
        _ip(self.namespace, "link", "set", "nowhere", "up")
        _ip(self.namespace, "link", "set", "nobody", "up")
        _ip(self.namespace, "neigh", "add", "198.51.100.1", "lladdr", "02:00:00:00:00:01", "dev", "nowhere")
        _ip(self.namespace, "route", "add", "default", "via", "198.51.100.1")
        self.start()
        try:
            # Docker 28 may have a container back that was removed just before it ended, whose volume is gone.
            self._remove("ps -aq", "rm -fv")
            yield
        finally:
            _ip(self.namespace, "link", "delete", "nowhere")

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which docker and regctl use this engine."""
        return {**os.environ, "DOCKER_HOST": self.socket, **(extra or {})}

    def run(self, command: Sequence[str], *, timeout: float = 600, env: Mapping[str, str] | None = None) -> Done:
        """Run ``command`` in this engine's network, against this engine."""
        return subprocess.run(
            self.inside(command),
            check=False,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def empty(self, *, keep_bases: bool = False) -> None:
        """Start it where it does not run, and remove containers, volumes, networks and images; base images and build cache may stay."""
        if not self._answers():
            self.kill()
            self.start()
        for listing, removal in (
            ("ps -aq", "rm -fv"),
            ("volume ls -q", "volume rm -f"),
            ("network ls -q --filter type=custom", "network rm"),
        ):
            self._remove(listing, removal)
        if keep_bases:
            names = self._lines("images --format {{.Repository}}:{{.Tag}}")
            self._docker("rmi -f", [name for name in names if not name.startswith("localhost/registry-tool/") and "<none>" not in name])
        else:
            # An image that another one stands on goes with that: what is left is looked at, not what was said.
            self._remove("images -aq --no-trunc", "rmi -f")

    def _remove(self, listing: str, removal: str) -> None:
        """Remove all that is listed, until nothing is: the engine itself may be removing some of it, or still making what a client left."""

        def is_empty() -> bool:
            names = self._lines(listing)
            self._docker(removal, names, may_fail=True)
            return not names

        assert poll(is_empty, Deadline(READY_WITHIN)), f"docker {removal} leaves {self._lines(listing)}"

    def _lines(self, listing: str) -> list[str]:
        done = self.run(["docker", *listing.split()])
        assert done.returncode == 0, done.stderr
        return list(dict.fromkeys(done.stdout.split()))

    def _docker(self, command: str, names: list[str], *, may_fail: bool = False) -> None:
        if names:
            done = self.run(["docker", *command.split(), *names])
            assert done.returncode == 0 or may_fail, done.stderr

    def _spawn(self, log: str, command: Sequence[str]) -> None:
        with (self.folder / log).open("ab") as stream:
            self.processes.append(
                subprocess.Popen(
                    self.inside(command), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, env=_plain()
                )
            )

    def _answers(self) -> bool:
        result = subprocess.run(
            ["docker", "--host", self.socket, "version"],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_plain(),
        )
        return result.returncode == 0

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not ready():
            ended = [process for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                log = "\n".join((self.folder / f"{what}.log").read_text(errors="replace").splitlines()[-15:])
                raise RuntimeError(f"{what} of the tests' own did not come up:\n{log}")
            time.sleep(0.05)


@contextmanager
def private_engine(folder: Path, *, options: tuple[str, ...] = (), settings: Path | None = None) -> Iterator[PrivateEngine]:
    """A running engine in a network namespace of its own; nothing of it is left afterwards."""
    namespace = f"rt-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    sockets = Path(tempfile.mkdtemp(prefix="rt-"))
    engine = PrivateEngine(folder=folder, sockets=sockets, namespace=namespace, options=options, settings=settings)
    try:
        _ip(namespace, "link", "set", "lo", "up")
        engine.start()
        yield engine
    finally:
        _end_containers(engine)
        engine.stop()
        _unmount(folder)
        _unmount(sockets)
        subprocess.run(["ip", "netns", "delete", namespace], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(sockets, ignore_errors=True)


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True)


def _end_containers(engine: PrivateEngine) -> None:
    if not engine._answers():
        return
    listed = subprocess.run(["docker", "--host", engine.socket, "ps", "-aq"], check=False, capture_output=True, text=True, env=_plain())
    if listed.stdout.split():
        subprocess.run(
            ["docker", "--host", engine.socket, "rm", "-fv", *listed.stdout.split()], check=False, capture_output=True, env=_plain()
        )


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False)


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
