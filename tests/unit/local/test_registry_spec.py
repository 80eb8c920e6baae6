"""The description of a registry, and what is remembered of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.local.registry import spec
from registry_tool.local.registry.spec import RegistrySettings


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "A", "a b", "a/b", "ä", "a" * 64, "a\n", "../x"])
def test_a_name_that_no_container_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="invalid registry name"):
        spec.check_name(name)


@pytest.mark.parametrize("name", ["default", "a", "0", "team-1", "a_b.c", "a" * 63])
def test_other_names_are_fine(name: str) -> None:
    spec.check_name(name)


@pytest.mark.parametrize("port", [-1, 0, 65536, 70000])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"{port} is not a port"):
        spec.check_port(port)


@pytest.mark.parametrize("restart", ["", "sometimes", "on-failure:", "on-failure:x", "always:3", "no\n"])
def test_a_restart_policy_that_docker_does_not_know_is_refused(restart: str) -> None:
    with pytest.raises(UsageError, match="not a restart policy"):
        spec.check_restart(restart)


@pytest.mark.parametrize("restart", ["no", "always", "unless-stopped", "on-failure", "on-failure:3"])
def test_docker_s_restart_policies_are_fine(restart: str) -> None:
    spec.check_restart(restart)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"secret": ""}',
        b'{"secret": 1}',
        b'{"secret": "s", "port": "5000"}',
        b'{"secret": "s", "port": true}',
        b'{"secret": "s", "port": 70000}',
        b'{"secret": "s", "user": 1}',
        b'{"secret": "s", "restart": "sometimes"}',
        b'{"secret": "s", "port": 5000',
        b'{"secret": "s", "listen": "everywhere"}',
        b'{"secret": "s", "listen": 1}',
        b'{"secret": "s", "tls": "maybe"}',
        b'{"secret": "s", "tls": true}',
        b'{"secret": "s", "names": "box"}',
        b'{"secret": "s", "names": [1]}',
    ],
)
def test_damaged_settings_are_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RegistrySettings.parse(content)


def test_unknown_settings_members_are_ignored() -> None:
    assert RegistrySettings.parse(b'{"secret": "s", "port": 5001, "colour": "blue"}') == RegistrySettings(port=5001, secret="s")


@given(
    port=st.none() | st.integers(1, 65535),
    secret=st.text(min_size=1),
    user=st.none() | st.text(),
    restart=st.sampled_from(["no", "always", "unless-stopped", "on-failure", "on-failure:3"]),
    listen=st.sampled_from(["127.0.0.1", "0.0.0.0", "192.0.2.7", "::", "2001:db8::7"]),
    tls=st.sampled_from([None, "ca", "files"]),
    names=st.lists(st.text()).map(tuple),
)
def test_settings_survive_json(
    port: int | None, secret: str, user: str | None, restart: str, listen: str, tls: str | None, names: tuple[str, ...]
) -> None:
    settings = RegistrySettings(port=port, secret=secret, user=user, restart=restart, listen=listen, tls=tls, names=names)

    assert RegistrySettings.parse(settings.to_json()) == settings


def test_every_new_registry_has_a_secret_of_its_own_that_no_repr_shows() -> None:
    first, second = RegistrySettings.generate(), RegistrySettings.generate()

    assert first.secret != second.secret
    assert len(bytes.fromhex(first.secret)) == 32
    assert first.secret not in repr(first)
    assert json.loads(first.to_json())["secret"] == first.secret


def test_a_registry_is_on_loopback_only_and_nothing_comes_from_the_host() -> None:
    described = spec.container_spec("team", image="registry:2", port=5007, settings=RegistrySettings(port=None, secret="s"))

    assert [(port.host_ip, port.host_port, port.container_port) for port in described.ports] == [("127.0.0.1", 5007, "5000/tcp")]
    assert dict(described.volumes) == {"registry-tool-team": "/var/lib/registry"}
    assert not any(name.startswith("com.docker.") for name in described.labels)


def test_user_enables_the_password_and_is_in_a_label() -> None:
    without = spec.container_spec("a", image="i", port=1, settings=RegistrySettings(port=None, secret="s"))
    with_user = spec.container_spec("a", image="i", port=1, settings=RegistrySettings(port=None, secret="s", user="john"))

    added = dict(with_user.environment.items() - without.environment.items())
    assert added == {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry-tool",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/var/lib/registry/registry-tool/htpasswd",
    }
    assert dict(with_user.labels.items() - without.labels.items()) == {"io.registry-tool.user": "john"}


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1", ["127.0.0.1"]), ("0.0.0.0", ["0.0.0.0"]), ("192.0.2.7", ["127.0.0.1", "192.0.2.7"]), ("::", ["127.0.0.1", "::"])],
)
def test_loopback_is_published_wherever_it_listens(listen: str, expected: list[str]) -> None:
    described = spec.container_spec("a", image="i", port=5007, settings=RegistrySettings(port=None, secret="s", listen=listen))
    assert [port.host_ip for port in described.ports] == expected
    assert {(port.host_port, port.container_port) for port in described.ports} == {(5007, "5000/tcp")}


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost", "127.0.0.1"), ("::1", "127.0.0.1"), ("127.0.0.9", "127.0.0.1"), ("[::]", "::"), ("2001:DB8:0::7", "2001:db8::7")],
)
def test_address_to_listen_at_has_one_form(address: str, expected: str) -> None:
    assert spec.parse_listen(address) == expected


def test_tls_has_its_files_in_the_volume_and_no_key_in_the_environment() -> None:
    without = spec.container_spec("a", image="i", port=1, settings=RegistrySettings(port=None, secret="s"))
    with_tls = spec.container_spec("a", image="i", port=1, settings=RegistrySettings(port=None, secret="s", tls="ca"))
    assert dict(with_tls.environment.items() - without.environment.items()) == {
        "REGISTRY_HTTP_TLS_CERTIFICATE": "/var/lib/registry/registry-tool/server.crt",
        "REGISTRY_HTTP_TLS_KEY": "/var/lib/registry/registry-tool/server.key",
        "REGISTRY_HTTP_TLS_MINIMUMTLS": "tls1.2",
    }
    assert dict(with_tls.labels.items() - without.labels.items()) == {"io.registry-tool.tls": "ca"}


def test_compose_env_has_known_images_only() -> None:
    assert spec.compose_env(port=5001, images={"redis": "own/redis", "registry": "own/registry", "python": "own/python"}) == (
        "REGISTRY_TOOL_PORT=5001",
        "REGISTRY_TOOL_IMAGE=own/registry",
        "REGISTRY_TOOL_REDIS_IMAGE=own/redis",
    )
