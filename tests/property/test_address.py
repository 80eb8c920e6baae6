from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.base.address import MAX_PORT, HostPort, is_loopback
from registry_tool.base.errors import UsageError
from registry_tool.oci.reference import Reference, has_host, registry_host
from tests.property.test_reference import names

ipv6 = st.ip_addresses(v=6).map(str)
ports = st.none() | st.integers(1, MAX_PORT)
texts = st.text(max_size=80) | st.text(string.ascii_letters + string.digits + ":.-[]/@", max_size=40)


@given(st.builds(HostPort, names | ipv6, ports))
@example(HostPort("::ffff:10.0.0.1", 5000))
def test_what_is_printed_is_read_back(address: HostPort) -> None:
    assert HostPort.parse(str(address)) == address


@given(texts)
@example("localhost:" + "9" * 5000)
@example("a-" * 50_000)
@example("\ud800")
def test_any_text_is_host_and_port_or_a_value_error_of_one_line(text: str) -> None:
    try:
        parsed = HostPort.parse(text)
    except ValueError as error:
        message = str(error)
    else:
        assert parsed.port is None or 0 < parsed.port <= MAX_PORT
        assert HostPort.parse(str(parsed)) == parsed
        return
    assert "\n" not in message
    assert len(message) < 900
    assert not is_loopback(text)


@given(st.builds(HostPort, names, ports).map(str), st.sampled_from(["", "http://", "HTTPS://"]), st.sampled_from(["", "/", "/v2/", "/V1"]))
def test_a_typed_address_is_the_host_of_names(host: str, scheme: str, path: str) -> None:
    """What is typed for a registry and what its images' names begin with are read by the same rules."""
    typed = registry_host(f"{scheme}{host}{path}")
    assert Reference.parse(f"{host}/name", default_host="").host == typed


@given(texts)
def test_typed_addresses_and_hosts_of_names_are_the_same(text: str) -> None:
    try:
        host = registry_host(text)
    except UsageError:
        return
    assert registry_host(host) == host
    if has_host(f"{host}/name"):
        assert Reference.parse(f"{host}/name", default_host="").host == host
