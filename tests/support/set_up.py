"""A set-up that is made up: an engine's API with its containers and images, on this machine, for the doctor to look at."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base import labels
from tests.support.fake_engine import call, query
from tests.support.fake_server import FakeServer, ReceivedRequest, Reply, fake_server, reply


@dataclass
class SetUp:
    """The engine is healthy unless it is told otherwise. ``calls`` are the requests that changed something."""

    version: str = "28.0.1"
    api: str = "1.41"
    info: dict[str, Any] = field(default_factory=dict)
    skew: float = 0.0
    """Seconds that the engine's clock is ahead."""
    containers: list[dict[str, Any]] = field(default_factory=list)
    images: set[str] = field(default_factory=lambda: {"registry:2", "python:3.13-slim"})
    calls: list[str] = field(default_factory=list)
    podman: str = ""

    def registry(self, port: int, *, name: str = "default", state: str = "running", **more: str) -> dict[str, Any]:
        """Add a registry of this tool, on ``port`` of this machine."""
        owned = {labels.ROLE: labels.ROLE_REGISTRY, labels.REGISTRY: name, **more}
        return self.container(f"registry-tool-{name}", owned, port=port, inside=5000, state=state)

    def container(self, name: str, owned: dict[str, str], *, port: int = 0, inside: int = 80, state: str = "running") -> dict[str, Any]:
        """Add a container, as an inspection has it."""
        bound = {f"{inside}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]} if port else {}
        made = {
            "Id": f"{len(self.containers) + 1:064x}",
            "Name": f"/{name}",
            "State": {"Status": state, "Running": state == "running", "ExitCode": 0},
            "Config": {"Labels": owned, "Image": "registry:2", "Env": ["REGISTRY_HTTP_SECRET=x"]},
            "HostConfig": {"PortBindings": bound},
            "Mounts": [{"Type": "volume", "Name": name, "Destination": "/var/lib/registry"}],
        }
        self.containers.append(made)
        return made

    def respond(self, request: ReceivedRequest) -> Reply:
        """The engine's response."""
        what = call(request)
        if request.path.endswith("/_ping"):
            known_by = {"Libpod-API-Version": self.podman} if self.podman else {}
            return Reply(body=b"OK", headers={"Api-Version": self.api, **known_by})
        if request.method != "GET":
            return self._change(what)
        if what == "GET /info":
            return reply(self._info())
        if what == "GET /version":
            return reply({"Version": self.version, "Os": "linux", "Arch": "amd64"})
        if what == "GET /containers/json":
            return reply([_listed(each) for each in self.containers if _fits(each, query(request))])
        if what.startswith("GET /containers/") and what.endswith("/json"):
            found = next((each for each in self.containers if each["Id"] == what.split("/")[2]), None)
            return reply(found) if found else reply({"message": "No such container"}, 404)
        if what == "GET /images/json":
            return reply([])
        if what.startswith("GET /images/") and what.endswith("/json"):
            name = what.removeprefix("GET /images/").removesuffix("/json")
            found_image = {"Id": f"sha256:{'1' * 64}", "RepoTags": [name], "Config": {}, "RootFS": {"Layers": []}}
            return reply(found_image) if name in self.images else reply({"message": "No such image"}, 404)
        if what == "GET /networks":
            return reply([])
        if what == "GET /volumes":
            return reply({"Volumes": []})
        if what.startswith("GET /volumes/"):
            return reply({"Name": what.split("/")[2], "Labels": {}})
        return reply({"message": "there is nothing"}, 404)

    def _change(self, what: str) -> Reply:
        self.calls.append(what)
        method, _, path = what.partition(" ")
        parts = path.strip("/").split("/")
        found = next((each for each in self.containers if parts[0] == "containers" and each["Id"] == parts[1]), None)
        if found is None:
            return reply({"message": "there is nothing"}, 404)
        if method == "DELETE":
            self.containers.remove(found)
        elif parts[2] in ("start", "restart"):
            found["State"] = {"Status": "running", "Running": True}
        return Reply(status=204, body=b"")

    def _info(self) -> dict[str, Any]:
        clock = datetime.fromtimestamp(time.time() + self.skew, timezone.utc)
        usual = {
            "ID": "an-engine",
            "Name": socket.gethostname(),
            "Driver": "overlay2",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2",
            "DefaultRuntime": "runc",
            "DockerRootDir": "",
            "SystemTime": clock.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {"docker.io": {"Secure": True}}},
        }
        return {**usual, **self.info}


def _listed(inspected: dict[str, Any]) -> dict[str, Any]:
    ports = [
        {"IP": host["HostIp"], "PrivatePort": int(inside.partition("/")[0]), "PublicPort": int(host["HostPort"]), "Type": "tcp"}
        for inside, hosts in inspected["HostConfig"]["PortBindings"].items()
        for host in hosts
        if inspected["State"]["Status"] in ("running", "paused")
    ]
    names, state = [inspected["Name"]], inspected["State"]["Status"]
    return {"Id": inspected["Id"], "Names": names, "State": state, "Labels": inspected["Config"]["Labels"], "Ports": ports}


def _fits(inspected: dict[str, Any], parameters: dict[str, str]) -> bool:
    if parameters.get("all") not in ("1", "true", "True") and inspected["State"]["Status"] not in ("running", "paused"):
        return False
    wanted = json.loads(parameters.get("filters", "{}")).get("label", [])
    carried = inspected["Config"]["Labels"]
    pairs = (text.partition("=") for text in wanted)
    return all(name in carried and (not equals or carried[name] == value) for name, equals, value in pairs)


@contextmanager
def served(setup: SetUp, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """The engine for the block, where docker would find it. The doctor waits for its checks as long as they take."""
    with fake_server(setup.respond) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        monkeypatch.setattr("registry_tool.doctor.run.LIMIT", 600.0)
        yield server


def helper(folder: Path, name: str, body: str) -> None:
    """A credential helper of the test's own in ``folder``."""
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
