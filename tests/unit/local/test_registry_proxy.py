"""A proxy's upstream as it is typed, its configuration, and what is remembered of it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base import labels, yaml_reader
from registry_tool.base.errors import Conflict, NotARegistry, UsageError
from registry_tool.local.clients.mirror import mirror_settings
from registry_tool.local.registry import LocalRegistry, Proxy, proxy, spec, upstream
from registry_tool.local.registry.proxy import ProxySettings
from registry_tool.local.registry.spec import RegistrySettings
from tests.support import canary
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import Reply, fake_server, reply

HUB = "https://registry-1.docker.io"


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("https://ghcr.io", "https://ghcr.io"),
        ("https://ghcr.io/", "https://ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000"),
        ("localhost:5001", "http://localhost:5001"),
        ("[::1]:5001", "http://[::1]:5001"),
        ("docker.io", HUB),
        ("https://index.docker.io/", HUB),
        (HUB, HUB),
    ],
)
def test_upstream_is_a_url_or_a_host(typed: str, url: str) -> None:
    assert Proxy.parse(typed).url == url


@pytest.mark.parametrize(
    "typed", ["", "https://", "ftp://a", "https://a/b", "https://a?b", "https://john:pw@a", "a b", "https://a:0", "-a"]
)
def test_what_is_no_url_of_a_registry_is_refused(typed: str) -> None:
    with pytest.raises(UsageError):
        Proxy.parse(typed)


@given(user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), password=st.text(st.characters(exclude_categories=["Cs"])))
def test_configuration_is_ascii_yaml_that_keeps_every_character_of_a_password(user: str, password: str) -> None:
    content = Proxy(url=HUB, user=user, password=password).configuration(HUB, "/storage")

    assert content.isascii()
    unescaped = re.sub(r"\\U([0-9a-f]{8})", lambda match: json.dumps(chr(int(match[1], 16)))[1:-1], content.decode())
    assert json.loads(unescaped)["proxy"] == {"remoteurl": HUB, "username": user, "password": password}


def test_configuration_is_read_as_yaml() -> None:
    content = Proxy(url=HUB, user="jöhn", password="\x85 '\"\u2028").configuration("http://a:5000", "/storage")

    members = yaml_reader.read(content, file="proxy.yml")[0].members
    assert members["proxy"] == {"remoteurl": "http://a:5000", "username": "jöhn", "password": "\x85 '\"\u2028"}


def test_password_is_in_no_repr_label_variable_or_command() -> None:
    secret = canary.password("upstream")
    settings = RegistrySettings(port=1, secret="s", proxy=ProxySettings(url=HUB, user="john"))
    container = spec.container_spec("mirror", image="registry:2", port=1, settings=settings)

    assert secret not in repr(Proxy(url=HUB, user="john", password=secret))
    assert container.labels[labels.PROXY] == HUB
    assert container.environment["REGISTRY_STORAGE_DELETE_ENABLED"] == "false"
    assert container.entrypoint is not None
    assert container.entrypoint[-1] == "/var/lib/registry/registry-tool/proxy.yml"


@pytest.mark.parametrize("members", ["x", {}, {"url": 1}, {"url": "u", "user": 1}, []])
def test_damaged_proxy_in_the_settings_is_a_value_error(members: object) -> None:
    with pytest.raises(ValueError, match="not a proxy"):
        RegistrySettings.parse(json.dumps({"secret": "s", "proxy": members}).encode())


def test_proxy_survives_the_settings() -> None:
    settings = RegistrySettings(port=1, secret="s", proxy=ProxySettings(url=HUB, user="john", upstream="team"))

    assert RegistrySettings.parse(settings.to_json()) == settings


@pytest.mark.parametrize("before", [None, ProxySettings(url="https://ghcr.io")], ids=["no proxy", "another upstream"])
def test_registry_with_other_content_does_not_become_a_proxy(before: ProxySettings | None) -> None:
    with pytest.raises(Conflict, match="would get mixed"):
        upstream.check_same("default", Proxy.parse("docker.io"), before)


def test_web_page_as_an_upstream_is_not_a_registry() -> None:
    page = Reply(body=b"<html>", headers={"Content-Type": "text/html"})
    with fake_server(lambda _: page) as server, pytest.raises(NotARegistry, match="is not a registry"):
        upstream.check(Proxy(url=f"http://{server.host}"))


def test_upstream_with_basic_authentication_is_refused() -> None:
    with fake_server(lambda _: reply({}, 401, www_authenticate='Basic realm="x"')) as server, pytest.raises(UsageError, match="Basic"):
        upstream.check(Proxy(url=f"http://{server.host}"))


@pytest.mark.parametrize(
    "answer",
    [reply({}), reply({}, 401, www_authenticate='Bearer realm="https://a/token"'), Reply(hang_up=True)],
    ids=["open", "tokens", "silent"],
)
def test_other_upstreams_are_tried_by_the_registry_itself(answer: Reply) -> None:
    with fake_server(lambda _: answer) as server:
        upstream.check(Proxy(url=f"http://{server.host}"))


def test_loopback_that_is_no_local_registry_is_refused() -> None:
    nothing = fake_engine({"GET /containers/json": reply([])})
    with nothing as (engine, _), pytest.raises(UsageError, match="not a registry that regctl up started"):
        upstream.settings_of(engine, "mirror", Proxy.parse("localhost:1"))


def _registry(url: str | None) -> LocalRegistry:
    return LocalRegistry(name="m", port=5001, container_id="1", container_name="m", image="i", volume="v", state="running", proxy=url)


def test_mirror_of_docker_hub_is_in_all_three_engines() -> None:
    docker, podman, containerd = mirror_settings(_registry(HUB))

    assert json.loads(docker.content) == {"registry-mirrors": ["http://localhost:5001"]}
    assert podman.content == (
        '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n\n[[registry.mirror]]\nlocation = "localhost:5001"\ninsecure = true\n'
    )
    assert containerd.path == "/etc/containerd/certs.d/docker.io/hosts.toml"
    assert containerd.content == f'server = "{HUB}"\n\n[host."http://localhost:5001"]\n  capabilities = ["pull", "resolve"]\n'


def test_docker_mirrors_docker_hub_only() -> None:
    docker = mirror_settings(_registry("https://ghcr.io"))[0]

    assert (docker.path, docker.content) == ("", "mirrors docker.io only: pull localhost:5001/NAME for ghcr.io/NAME")
    assert mirror_settings(_registry(None)) == ()
    assert proxy.image_prefix(HUB) == "docker.io"
