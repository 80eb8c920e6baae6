"""Clones keep the configuration of their container."""

from __future__ import annotations

from typing import Any

import pytest

from registry_tool.base.errors import Conflict
from registry_tool.engine.container_configuration import ContainerConfiguration, check_cloneable
from registry_tool.engine.containers import of_inspection

ID = "0123456789abcdef" * 4


def _configuration(**members: Any) -> ContainerConfiguration:
    raw: dict[str, Any] = {
        "Id": ID,
        "Name": "/registry",
        "Image": "sha256:1",
        "State": {"Status": "running"},
        "Config": {
            "Hostname": ID[:12],
            "Env": ["A=1", "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED=true"],
            "Cmd": ["/etc/config.yml"],
            "Labels": {"mine": "x", "com.docker.compose.project": "p", "io.registry-tool.role": "registry"},
            "User": "1000",
        },
        "HostConfig": {
            "Binds": ["data:/var/lib/registry"],
            "Memory": 1 << 28,
            "RestartPolicy": {"Name": "always"},
            "PortBindings": {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5000"}]},
            "NetworkMode": "net-b",
        },
        "Mounts": [
            {
                "Type": "volume",
                "Name": "data",
                "Source": "/var/lib/docker/volumes/data/_data",
                "Destination": "/var/lib/registry",
                "RW": True,
            },
            {"Type": "bind", "Source": "/etc/registry", "Destination": "/etc/registry", "RW": False},
            {"Type": "volume", "Name": "f" * 64, "Source": "/x", "Destination": "/cache", "RW": True},
        ],
        "NetworkSettings": {
            "Networks": {
                "net-a": {"Aliases": ["registry.a", ID[:12]], "IPAMConfig": {"IPv4Address": "10.0.0.2"}, "IPAddress": "10.0.0.2"},
                "net-b": {"Aliases": None},
            }
        },
    }
    for member, value in members.items():
        raw[member] = {**raw[member], **value} if isinstance(value, dict) else value
    return ContainerConfiguration(container=of_inspection(raw), raw=raw)


def _clone(configuration: ContainerConfiguration) -> tuple[dict[str, Any], dict[str, Any]]:
    return configuration.clone(
        environment={"B": "2"}, without="REGISTRY_STORAGE_MAINTENANCE", labels={"new": "y"}, read_only="/var/lib/registry", alias="registry"
    )


def test_environment_and_labels_are_changed_and_nothing_else() -> None:
    body, _ = _clone(_configuration())
    assert body["Env"] == ["A=1", "B=2"]
    assert body["Labels"] == {"mine": "x", "new": "y"}
    assert (body["Cmd"], body["User"], body["Hostname"]) == (["/etc/config.yml"], "1000", ID[:12])
    assert body["HostConfig"]["Memory"] == 1 << 28
    assert body["HostConfig"]["PortBindings"] == {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5000"}]}


def test_engine_never_restarts_it() -> None:
    assert _clone(_configuration())[0]["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_content_is_mounted_read_only_and_anonymous_volumes_are_shared() -> None:
    body, _ = _clone(_configuration())
    assert body["HostConfig"]["Binds"] == ["data:/var/lib/registry:ro", "/etc/registry:/etc/registry:ro", f"{'f' * 64}:/cache:rw"]


def test_it_has_the_names_of_its_container_in_every_network() -> None:
    body, others = _clone(_configuration())
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"net-b": {"Aliases": ["registry"]}}
    assert others == {"net-a": {"Aliases": ["registry.a", "registry"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}}


def test_default_network_has_no_names() -> None:
    configuration = _configuration(HostConfig={"NetworkMode": "default"}, NetworkSettings={"Networks": {"bridge": {"Aliases": None}}})
    assert _clone(configuration)[0]["NetworkingConfig"]["EndpointsConfig"] == {"bridge": {}}


@pytest.mark.parametrize("mode", ["host", "none", "container:abc"])
def test_without_a_network_of_its_own_none_is_configured(mode: str) -> None:
    body, others = _clone(_configuration(HostConfig={"NetworkMode": mode}))
    assert "NetworkingConfig" not in body
    assert others == {}
    assert ("Hostname" in body) is (mode == "none")


def test_original_is_not_changed() -> None:
    configuration = _configuration()
    _clone(configuration)
    assert configuration.raw["HostConfig"]["RestartPolicy"] == {"Name": "always"}


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"AutoRemove": True}, "removed by the engine when it stops"),
        ({"VolumesFrom": ["other"]}, "volumes of another container"),
        ({"PublishAllPorts": True}, "a port that the engine chooses"),
        ({"PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": ""}]}}, "a port that the engine chooses"),
        ({"PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": "0"}]}}, "a port that the engine chooses"),
        ({"PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": "5000-5010"}]}}, "a port that the engine chooses"),
    ],
)
def test_container_that_cannot_be_cloned_is_refused(members: dict[str, Any], why: str) -> None:
    with pytest.raises(Conflict, match=why):
        check_cloneable(_configuration(HostConfig=members))


def test_stopped_container_needs_no_fixed_port() -> None:
    bindings = {"PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": ""}]}}
    check_cloneable(_configuration(HostConfig=bindings, State={"Status": "exited"}))
