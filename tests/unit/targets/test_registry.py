from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from registry_tool.auth import credentials, docker_config
from registry_tool.auth.credentials import Credential
from registry_tool.base.errors import AuthenticationFailed, CredentialsError, NotARegistry, NotFound, RegistryError, RegistryUnreachable
from registry_tool.engine import Engine
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply

EMPTY = Digest.of(b"{}")
UNKNOWN = {"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]}


def tags(answer: Callable[[ReceivedRequest], Reply]) -> tuple[str, ...]:
    with fake_server(answer) as server, open_registry(server.host) as registry:
        return registry.repository("john/get-started").tags()


# --- failures ---


def test_tags_of_an_unknown_repository_raise_not_found() -> None:
    with pytest.raises(NotFound, match="404 NAME_UNKNOWN repository name not known"):
        tags(lambda received: reply(UNKNOWN, 404))


@pytest.mark.parametrize("document", [[], 3, "x", {"tags": "x"}, {"tags": {"a": 1}}])
def test_response_that_is_no_list_of_tags_raises(document: object) -> None:
    with pytest.raises(RegistryError, match="no list of tags"):
        tags(lambda received: reply(document))


def test_entries_of_lists_that_are_no_names_are_skipped_and_noted() -> None:
    entries = ["a", 1, None, "", "A b", "a"]
    with fake_server(lambda received: reply({"tags": entries, "repositories": entries})) as server, open_registry(server.host) as registry:
        assert registry.repository("john/app").tags() == ("a",)
        assert list(registry.catalog()) == ["a"]
        tags_note, catalog_note = registry.notes
    assert tags_note == f"{server.host}/john/app: skipped what the registry lists among its tags, and is no name: 1, null, '' and 1 more"
    assert catalog_note.startswith(f"{server.host}: skipped what the registry lists among its repositories")


def test_truncated_list_of_tags_raises() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if "last" in received.path:
            return reply({}, 500)
        return reply({"tags": ["a"]}, Link='<?last=a>; rel="next"')

    with pytest.raises(RegistryError, match="GET /v2/john/get-started/tags/list\\?last=a: 500"):
        tags(answer)


def test_host_without_v2_is_no_registry() -> None:
    with (
        fake_server(lambda received: reply({}, 404)) as server,
        open_registry(server.host) as registry,
        pytest.raises(NotARegistry, match=f"what answers at {server.host} is no registry"),
    ):
        registry.ping()


def test_unreachable_host_raises() -> None:
    with open_registry("localhost:1") as registry, pytest.raises(RegistryUnreachable):
        registry.ping()


def test_broken_credential_store_is_an_error_only_when_a_password_is_needed() -> None:
    docker_config.save({"credsStore": "nowhere"})
    with fake_server(lambda received: Reply()) as server, open_registry(server.host) as registry:
        registry.ping()
        server.respond = lambda received: reply({}, 401, www_authenticate='Basic realm="x"')
        with pytest.raises(CredentialsError, match="docker-credential-nowhere"):
            registry.ping()


# --- what is there ---


def test_stored_credential_is_sent() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        return Reply() if received.headers.get("authorization") else reply({}, 401, www_authenticate='Basic realm="x"')

    with (
        fake_server(answer) as server,
        open_registry(server.host) as registry,
        pytest.raises(AuthenticationFailed),
    ):
        registry.ping()
    with fake_server(answer) as server, open_registry(server.host) as registry:
        credentials.store(server.host, Credential("mary", canary.password()))
        registry.ping()


@pytest.mark.parametrize("document", [{"name": "a", "tags": None}, {"name": "a", "tags": []}, {"name": "a"}])
def test_repository_without_tags_lists_none(document: object) -> None:
    assert tags(lambda received: reply(document)) == ()


def test_tags_of_all_pages_are_listed_in_order_and_once() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if "last" in received.path:
            return reply({"tags": ["b", "part2"]}, Link='</v2/john/get-started/tags/list>; rel="next"')
        return reply({"tags": ["v2", "b"]}, Link='</v2/john/get-started/tags/list?last=b>; rel="next"')

    assert tags(answer) == ("v2", "b", "part2")


def test_digest_is_that_of_the_header() -> None:
    with (
        fake_server(lambda received: reply({}, Docker_Content_Digest=f"sha256:{'a' * 64}")) as server,
        open_registry(server.host) as registry,
    ):
        assert registry.digest("a/b", "v1") == Digest("sha256", "a" * 64)
        (received,) = server.requests
    assert (received.method, received.path) == ("HEAD", "/v2/a/b/manifests/v1")
    assert "application/vnd.oci.image.index.v1+json" in received.headers["accept"]
    assert "application/vnd.docker.distribution.manifest.v2+json" in received.headers["accept"]


def test_digest_without_a_header_is_that_of_the_bytes() -> None:
    with fake_server(lambda received: Reply(body=b"{}")) as server, open_registry(server.host) as registry:
        assert registry.digest("a", "v1") == EMPTY == Digest("sha256", hashlib.sha256(b"{}").hexdigest())


def test_digest_of_an_unknown_tag_is_none() -> None:
    with fake_server(lambda received: reply(UNKNOWN, 404)) as server, open_registry(server.host) as registry:
        assert registry.digest("a", "v1") is None


# --- a real one ---


@pytest.mark.engine
def test_tags_and_digests_of_a_real_registry(engine: Engine, local: LocalRegistry, tiny_image: Callable[..., str], unique: str) -> None:
    with open_registry(local.address) as registry:
        registry.ping()
        with pytest.raises(NotFound, match="NAME_UNKNOWN"):
            registry.repository(unique).tags()
        assert registry.digest(unique, "v1") is None
        for tag in ("v1", "v2"):
            name = f"{local.address}/{unique}:{tag}"
            tiny_image(name)
            moved = engine.push(name)
            assert registry.digest(unique, tag) == moved.digest
        assert registry.repository(unique).tags() == ("v1", "v2")


# --- all of it ---


def test_catalog_is_read_page_by_page_and_names_are_unique() -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if "last" in received.path:
            return reply({"repositories": ["b", "c"]})
        return reply({"repositories": ["a", "b"]}, Link='</v2/_catalog?last=b&n=2>; rel="next"')

    with fake_server(answer) as server, open_registry(server.host) as registry:
        names = registry.catalog()
        assert next(names) == "a"
        assert [received.path for received in server.requests] == ["/v2/_catalog?n=1000"]
        assert list(names) == ["b", "c"]


@pytest.mark.parametrize("document", [{"repositories": None}, {"repositories": []}, {}])
def test_catalog_of_an_empty_registry_is_empty(document: object) -> None:
    with fake_server(lambda received: reply(document)) as server, open_registry(server.host) as registry:
        assert list(registry.catalog()) == []


@pytest.mark.parametrize("document", [[], 3, {"repositories": "x"}, {"repositories": {"a": 1}}])
def test_response_that_is_no_catalog_raises(document: object) -> None:
    with (
        fake_server(lambda received: reply(document)) as server,
        open_registry(server.host) as registry,
        pytest.raises(RegistryError, match="no list of repositories"),
    ):
        list(registry.catalog())


def test_refused_catalog_raises() -> None:
    with (
        fake_server(lambda received: reply({}, 401, www_authenticate='Basic realm="x"')) as server,
        open_registry(server.host) as registry,
        pytest.raises(AuthenticationFailed),
    ):
        list(registry.catalog())


@pytest.mark.parametrize("status", [400, 406, 416, 422])
def test_catalog_that_sends_fewer_names_at_once_is_asked_without_a_number(status: int) -> None:
    refused = {"errors": [{"code": "PAGINATION_NUMBER_INVALID", "message": "invalid number of results requested"}]}

    def answer(received: ReceivedRequest) -> Reply:
        if "n=1000" in received.path:
            return reply(refused, status)
        if "last" in received.path:
            return reply({"repositories": ["b"]})
        return reply({"repositories": ["a"]}, Link='</v2/_catalog?last=a&n=1>; rel="next"')

    with fake_server(answer) as server, open_registry(server.host) as registry:
        assert list(registry.catalog()) == ["a", "b"]


NO_CATALOG = [
    reply(UNKNOWN, 404),
    Reply(status=404, body=b"404 page not found", headers={"Content-Type": "text/plain"}),
    Reply(status=404, body=b"<html>", headers={"Content-Type": "text/html"}),
    reply({}, 405),
    reply({}, 501),
    reply({"errors": [{"code": "UNSUPPORTED", "message": "no"}]}, 400),
]


@pytest.mark.parametrize("answered", NO_CATALOG)
def test_registry_without_catalog_is_named_as_such(answered: Reply) -> None:
    with (
        fake_server(lambda received: answered if "_catalog" in received.path else Reply()) as server,
        open_registry(server.host) as registry,
        pytest.raises(NotFound) as caught,
    ):
        list(registry.catalog())
    assert caught.value.message == f"{server.host} has no catalog: it does not list its repositories"
    assert caught.value.hint == f"Name a repository: regctl list-tags {server.host}/NAME"
    assert caught.value.response is not None


def test_what_is_no_registry_is_not_named_a_registry_without_catalog() -> None:
    page = Reply(status=404, body=b"<html>", headers={"Content-Type": "text/html"})
    with (
        fake_server(lambda received: page) as server,
        open_registry(server.host) as registry,
        pytest.raises(NotARegistry, match="is no registry"),
    ):
        list(registry.catalog())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_catalog_that_fails_is_not_asked_otherwise(status: int) -> None:
    with fake_server(lambda received: reply({}, status)) as server, open_registry(server.host) as registry:
        with pytest.raises(RegistryError, match=f"_catalog\\?n=1000: {status}"):
            list(registry.catalog())
        assert {received.path for received in server.requests} == {"/v2/_catalog?n=1000"}


@pytest.mark.parametrize("status", [401, 403])
def test_catalog_that_this_user_may_not_see_is_no_wrong_password(status: int) -> None:
    def answer(received: ReceivedRequest) -> Reply:
        if received.path.startswith("/token"):
            return reply({"token": "t"})
        return reply(UNKNOWN, status if "authorization" in received.headers else 401, www_authenticate=challenge)

    with fake_server(answer) as server, open_registry(server.host) as registry:
        challenge = f'Bearer realm="http://{server.host}/token",service="r"'
        credentials.store(server.host, Credential("mary", canary.password()))
        with pytest.raises(AuthenticationFailed) as caught:
            list(registry.catalog())
    assert "the password" not in caught.value.message
    assert caught.value.hint
    assert caught.value.hint.endswith("Some registries show no catalog: name a repository.")


def test_list_that_may_be_incomplete_is_warned_of_by_the_registry() -> None:
    warnings: list[str] = []
    with (
        fake_server(lambda received: reply({"tags": ["v1"]}, Link="rubbish")) as server,
        open_registry(server.host, on_warning=warnings.append) as registry,
    ):
        assert registry.repository("a").tags() == ("v1",)
        assert registry.repository("a").tags() == ("v1",)
    assert warnings == [f"{server.host} names no next page that can be requested: the list of /v2/a/tags/list may be incomplete"]


def test_repositories_share_the_registrys_connections() -> None:
    with fake_server(lambda received: reply({"tags": ["v1"]})) as server, open_registry(server.host) as registry:
        repositories = [registry.repository(name) for name in ("a", "b/c")]
        assert [repository.name for repository in repositories] == [f"{server.host}/a", f"{server.host}/b/c"]
        assert server.requests == []
        assert [repository.tags() for repository in repositories] == [("v1",), ("v1",)]
