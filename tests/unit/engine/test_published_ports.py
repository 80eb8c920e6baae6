"""docker's ``-p``: what is refused, and what docker makes of the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.engine import ContainerSpec, PortBinding
from registry_tool.engine.containers import configuration
from registry_tool.engine.published_ports import check, parse

NO_ADDRESSES = (
    *("127.0.0", "127.1", "1", "2130706433", "0x7f.0.0.1", "127.0.0.01", "127.0.0.256", "127.0.0.1.", "127.0.0.1 ", " 127.0.0.1"),
    *("localhost", "*", "example.com", "10.0.0.0/8", "１27.0.0.1", "::g", ":", ":::", "1::2::3", "fe80::1%eth0", "[::1%lo]"),
    *("[]", "[", "]", "[::1", "::1]", "[[::1]]", "[127.0.0]", "[localhost]", "[::1]x", "12345::"),
)
REFUSED = (
    *("", "x", ":", "80:", "::", "4000:", "/tcp", ":/tcp", "-", "80-", "-80", "81-80", "80-81-82", "4000-4002:80-81", "4000:80-81"),
    *("70000:80", "80:70000", "65536", "0", "0:0", "0-5:80", "-1:80", "+80:80", "4000: 80", " 4000:80", "4000:80 ", "４000:80", "4_0:80"),
    *("80/icmp", "80/tcp4", "80/tcp/udp", "80//", "4000/tcp:80", "80/ tcp", "1.2.3.4", "1.2.3.4:80", "127.0.0.1:x:80", "127.0.0.1: :80"),
    *("[::1]", "[::1]:80", "1.2.3.4:5:6:7", "0x50:80", "1e3:80", "4000:80\n", "9" * 5000),
)
TAKEN = {
    "80": [("", 0, None, "80/tcp")],
    ":80": [("", 0, None, "80/tcp")],
    "0:80": [("", 0, None, "80/tcp")],
    "::80": [("", 0, None, "80/tcp")],
    "::1": [("", 0, None, "1/tcp")],
    "4000:80": [("", 4000, None, "80/tcp")],
    "04000:0080": [("", 4000, None, "80/tcp")],
    "4000:80/": [("", 4000, None, "80/tcp")],
    "80/TCP": [("", 0, None, "80/tcp")],
    "4000:53/udp": [("", 4000, None, "53/udp")],
    "4000:53/Sctp": [("", 4000, None, "53/sctp")],
    "0.0.0.0:4000:80": [("0.0.0.0", 4000, None, "80/tcp")],
    "127.0.0.1:4000:80": [("127.0.0.1", 4000, None, "80/tcp")],
    "127.0.0.1::80": [("127.0.0.1", 0, None, "80/tcp")],
    "127.0.0.1:0:80": [("127.0.0.1", 0, None, "80/tcp")],
    "[127.0.0.1]:4000:80": [("127.0.0.1", 4000, None, "80/tcp")],
    "[::1]:4000:80": [("::1", 4000, None, "80/tcp")],
    "::1:4555:80": [("::1", 4555, None, "80/tcp")],
    "::1::80": [("::1", 0, None, "80/tcp")],
    "[::]:4000:80": [("::", 4000, None, "80/tcp")],
    "2001:DB8::1:4000:80": [("2001:db8::1", 4000, None, "80/tcp")],
    "80-80": [("", 0, None, "80/tcp")],
    "80-81": [("", 0, None, "80/tcp"), ("", 0, None, "81/tcp")],
    "4000-4001:80-81/udp": [("", 4000, None, "80/udp"), ("", 4001, None, "81/udp")],
    "127.0.0.1:4000-4001:80-81": [("127.0.0.1", 4000, None, "80/tcp"), ("127.0.0.1", 4001, None, "81/tcp")],
    "4000-4002:80": [("", 4000, 4002, "80/tcp")],
    "4000-4000:80": [("", 4000, None, "80/tcp")],
}


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("ports", ["4555:80", ":80", "4000-4001:80-81"])
def test_publishing_at_what_is_no_ip_address_is_a_usage_error(address: str, ports: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(f"{address}:{ports}")
    assert raised.value.hint


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_port_to_publish_is_a_usage_error_of_one_short_line(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"host_ip": "127.0.0"}, "'127.0.0' is not an IP address"),
        ({"host_ip": "localhost"}, "'localhost' is not an IP address"),
        ({"host_ip": " "}, "' ' is not an IP address"),
        ({"host_ip": "[::1]"}, "'[::1]' is not an IP address"),
        ({"host_port": -1}, "-1 is not a port"),
        ({"host_port": 65536}, "65536 is not a port"),
        ({"host_port": True}, "True is not a port"),
        ({"host_port": 80.5}, "80.5 is not a port"),
        ({"last_host_port": 3999}, "4000-3999 is not a range"),
        ({"last_host_port": 65536}, "65536 is not a port"),
        ({"host_port": 0, "last_host_port": 5}, "0-5 is not a range"),
        ({"container_port": "80"}, "'80' is not a container's port"),
        ({"container_port": "0/tcp"}, "'0/tcp' is not a container's port"),
        ({"container_port": "80/icmp"}, "'80/icmp' is not a container's port"),
    ],
)
def test_a_binding_that_an_engine_would_misread_is_not_sent(members: dict[str, Any], text: str) -> None:
    binding = PortBinding(**{"container_port": "80/tcp", "host_port": 4000, **members})
    for refusing in (check, lambda binding: configuration(ContainerSpec(image="x", ports=(binding,)))):
        with pytest.raises(UsageError, match=re.escape(text)):
            refusing(binding)


@pytest.mark.parametrize("text", TAKEN)
def test_what_docker_publishes_is_published_so(text: str) -> None:
    bindings = parse(text)
    assert [(each.host_ip, each.host_port, each.last_host_port, each.container_port) for each in bindings] == TAKEN[text]
    for binding in bindings:
        check(binding)


@given(st.text("0123456789abcf.:[]-/%tcpud ", max_size=30) | st.text(max_size=30))
def test_any_text_is_refused_or_publishes_at_an_address_that_is_one(text: str) -> None:
    try:
        bindings = parse(text)
    except UsageError:
        return
    for binding in bindings:
        check(binding)
        assert bool(binding.host_ip) == bool(text.rpartition(":")[0].rpartition(":")[0])


def test_a_binding_becomes_the_engines_form() -> None:
    spec = ContainerSpec(image="x", ports=(*parse("127.0.0.1:4000-4002:80"), *parse("[::1]:4003:80"), *parse("81")), publish_all=True)
    body = configuration(spec)
    assert body["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}}
    assert body["HostConfig"]["PublishAllPorts"] is True
    assert body["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4000-4002"}, {"HostIp": "::1", "HostPort": "4003"}],
        "81/tcp": [{"HostIp": "", "HostPort": ""}],
    }
