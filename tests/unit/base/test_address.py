"""``HOST[:PORT]`` and port numbers."""

from __future__ import annotations

import pytest

from registry_tool.base.address import HostPort, check_port, is_loopback, parse_port


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not a host"),
        (":5000", "':5000' is not a host"),
        ("localhost:", "'localhost:' is not a host"),
        ("localhost:x", "'localhost:x' is not a host"),
        ("localhost:-1", "'localhost:-1' is not a host"),
        ("localhost:0", "'0' is not a port (1 to 65535)"),
        ("localhost:65536", "'65536' is not a port (1 to 65535)"),
        ("localhost:" + "9" * 5000, f"'{'9' * 80}' is not a port (1 to 65535)"),
        ("localhost:5000/", "'localhost:5000/' is not a host"),
        ("http://localhost", "'http://localhost' is not a host"),
        ("user@localhost", "'user@localhost' is not a host"),
        ("local host", "'local host' is not a host"),
        ("localhost:5000\n", "'localhost:5000\\n' is not a host"),
        ("-a.example.com", "'-a.example.com' is not a host"),
        ("a-.example.com", "'a-.example.com' is not a host"),
        ("a..b", "'a..b' is not a host"),
        ("a.example.com.", "'a.example.com.' is not a host"),
        ("b\u00fccher.example", "'b\u00fccher.example' is not a host"),
        ("localhost:\u0661", "'localhost:\u0661' is not a host"),
        ("::1", "'::1' is not a host"),
        ("[::1", "'[::1' is not a host"),
        ("[::1]x", "'[::1]x' is not a host"),
        ("[10.0.0.1]", "'[10.0.0.1]' is not a host"),
        ("[::ffff:10.0.0.256]", "'[::ffff:10.0.0.256]' is not a host"),
        ("[]", "'[]' is not a host"),
        ("[:::]", "'[:::]' is not a host"),
        ("[1::2::3]:5000", "'[1::2::3]:5000' is not a host"),
        ("a" * 64, f"'{'a' * 64}' is not a host"),
        ("a." * 127 + "b", f"'{('a.' * 127)[:77]}...' is not a host"),
        ("a_" * 100, f"'{('a_' * 100)[:77]}...' is not a host"),
    ],
)
def test_parse_of_no_host_and_port_names_the_part(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="is not a") as caught:
        HostPort.parse(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None),
        ("localhost:5000", "localhost", 5000),
        ("registry.example.com:65535", "registry.example.com", 65535),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("UPPER.example", "UPPER.example", None),
        ("[::1]", "::1", None),
        ("[::ffff:10.0.0.1]:5000", "::ffff:10.0.0.1", 5000),
        ("a" * 63 + ".b", "a" * 63 + ".b", None),
        ("[fe80::A]:5000", "fe80::A", 5000),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
    ],
)
def test_parse_takes_host_and_port_apart(text: str, host: str, port: int | None) -> None:
    parsed = HostPort.parse(text)
    assert parsed == (host, port)
    assert str(parsed) == text


@pytest.mark.parametrize("text", ["", "0", "65536", "+1", "-1", "1.5", " 1", "1\n", "\u0661", "0x10", "000080", "9" * 5000])
def test_parse_port_of_no_port_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a port \(1 to 65535\)$"):
        parse_port(text)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_check_port_out_of_range_is_a_value_error(port: int) -> None:
    with pytest.raises(ValueError, match=rf"^{port} is not a port \(1 to 65535\)$"):
        check_port(port)


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_parse_port_accepts_1_to_65535(port: int) -> None:
    check_port(port)
    assert parse_port(str(port)) == port


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:5000", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "docker.io", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1:5000", "[fe80::1]", "[", "a]b", "::1", "[1:2]"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_localhost_is_connected_to_by_ipv4_first() -> None:
    assert HostPort.parse("localhost:1").connect_hosts == ("127.0.0.1", "::1")
    assert HostPort("127.0.0.2").connect_hosts == ("127.0.0.2",)
