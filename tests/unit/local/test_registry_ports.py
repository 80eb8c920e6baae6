"""Free ports, and the names of those who hold one."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry_tool.base import labels
from registry_tool.base.errors import Conflict
from registry_tool.engine.values import Container, PortBinding
from registry_tool.local.registry import ports
from tests.support.paths import ROOT


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def _container(port: int, *, host_ip: str = "", state: str = "running", own: dict[str, str] | None = None) -> Container:
    binding = PortBinding(container_port="80/tcp", host_port=port, host_ip=host_ip)
    return Container(id="abc", name="web", image="i", image_id="i", state=state, ports=(binding,), labels=own or {})


def test_a_port_with_a_listener_is_taken(listening: socket.socket) -> None:
    assert ports.is_taken(listening.getsockname()[1])


def test_a_free_port_is_free_on_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(family: socket.AddressFamily) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return socket.socket(family)

    monkeypatch.setattr(ports, "socket", SimpleNamespace(**{**vars(socket), "socket": without_ipv6}))
    assert not ports.is_taken(1)


def test_a_port_that_is_bound_and_not_listened_on_is_taken() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        assert ports.is_taken(server.getsockname()[1])


def test_a_port_that_a_listener_has_on_every_address_is_taken() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert ports.is_taken(server.getsockname()[1])


def test_a_port_where_ipv6_s_loopback_answers_is_taken() -> None:
    with socket.socket(socket.AF_INET6) as server:
        try:
            server.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback on this machine")
        server.listen()
        assert ports.is_taken(server.getsockname()[1])


def test_a_port_whose_last_connections_are_still_being_closed_is_free(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listening.accept()
        accepted.close()  # the server's side closes first: its side waits
        assert client.recv(1) == b""
    listening.close()

    assert not ports.is_taken(port)


def test_privileged_port_is_not_taken() -> None:
    if os.geteuid() != 0:
        assert not ports.is_taken(1)
        return
    code = "import os; from registry_tool.local.registry.ports import is_taken; os.setuid(65534); raise SystemExit(is_taken(1))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="names of processes come from /proc here")
def test_a_process_is_named_with_its_pid(listening: socket.socket) -> None:
    words = ports.holder(listening.getsockname()[1], (), local=True)

    assert words == f"the process {Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"


@pytest.mark.parametrize("host_ip", ["", "0.0.0.0", "127.0.0.1", "::"])
def test_a_container_that_publishes_the_port_is_named(host_ip: str) -> None:
    assert ports.holder(5123, (_container(5123, host_ip=host_ip),), local=False) == "the container 'web'"


def test_a_paused_container_holds_its_port() -> None:
    assert ports.holder(5123, (_container(5123, state="paused"),), local=False) == "the container 'web'"


def test_a_registry_of_ours_is_named_as_one() -> None:
    own = {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: "team"}

    assert ports.holder(5123, (_container(5123, own=own),), local=False) == "the registry 'team' of this tool"


@pytest.mark.parametrize(
    "container",
    [_container(5124), _container(5123, host_ip="192.0.2.1"), _container(5123, state="exited")],
    ids=["another port", "another address", "stopped"],
)
def test_a_container_that_does_not_hold_the_port_is_not_named(container: Container) -> None:
    assert ports.holder(5123, (container,), local=False) is None


def test_ports_are_not_tried_for_an_engine_on_another_machine(listening: socket.socket) -> None:
    assert ports.holder(listening.getsockname()[1], (), local=False) is None


def test_free_first_port_has_no_reason() -> None:
    assert ports.next_free((), local=False) == (5000, None)


def test_next_free_port_names_the_holder_of_the_first() -> None:
    containers = (_container(5000), _container(5001))

    assert ports.next_free(containers, local=False, avoid={5002}) == (5003, "the container 'web'")


def test_no_port_at_all_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="no port from 5000 on is free"):
        ports.next_free((), local=False, avoid=range(5000, 65536))


def test_the_error_names_port_and_holder() -> None:
    error = ports.port_taken(5000, "the container 'web'")

    assert error.message == "port 5000 is in use by the container 'web'"
    assert error.hint is not None
    assert "--port" in error.hint


def test_lsof_output_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lsof = tmp_path / "lsof"
    lsof.write_text("#!/bin/sh\nprintf 'p612\\ncControlCe\\np700\\ncother\\n'\n")
    lsof.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert ports._process_of_lsof(5000) == "the process ControlCe (pid 612)"


def test_unreadable_process_is_not_named(tmp_path: Path, listening: socket.socket) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(Path("/proc/net/tcp").read_text())

    assert ports._process_of_proc(listening.getsockname()[1], proc=tmp_path) is None
