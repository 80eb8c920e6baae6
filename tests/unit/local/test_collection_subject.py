"""Which registries can be collected, and where they are."""

from __future__ import annotations

from typing import Any

import pytest

from registry_tool.engine import Container, PortBinding
from registry_tool.local.collection.subject import is_cached_in_redis, loopback_port

IN_REDIS: dict[str, Any] = {"storage": {"cache": {"blobdescriptor": "redis"}}}


@pytest.mark.parametrize(
    ("environment", "members", "expected"),
    [
        ({}, {}, False),
        ({}, {"storage": {"cache": {"blobdescriptor": "inmemory"}}}, False),
        ({}, {"storage": "filesystem"}, False),
        ({}, IN_REDIS, True),
        ({}, {"storage": {"cache": {"layerinfo": "redis"}}}, True),
        ({"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis"}, {}, True),
        ({"REGISTRY_STORAGE_CACHE": "{blobdescriptor: redis}"}, {}, True),
        ({"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory"}, IN_REDIS, False),
        ({"REGISTRY_REDIS_ADDR": "redis:6379"}, {}, False),
    ],
)
def test_cache_of_blobs_in_redis_is_found(environment: dict[str, str], members: dict[str, Any], expected: bool) -> None:
    assert is_cached_in_redis(environment, members) is expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [((), 0), (("127.0.0.1",), 5001), (("",), 5001), (("0.0.0.0", "::"), 5001), (("192.0.2.1",), 0), (("192.0.2.1", "127.0.0.1"), 5002)],
)
def test_port_is_one_on_loopback(addresses: tuple[str, ...], expected: int) -> None:
    ports = tuple(
        PortBinding(container_port="5000/tcp", host_port=number, host_ip=address) for number, address in enumerate(addresses, 5001)
    )
    container = Container(id="1" * 64, name="registry", image="registry:2", image_id="sha256:1", state="running", ports=ports)
    assert loopback_port(container) == expected
