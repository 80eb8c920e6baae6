from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.auth import credentials, docker_config, host_settings
from registry_tool.auth.credentials import Credential
from registry_tool.auth.host_settings import HostSettings
from registry_tool.base.errors import (
    AuthenticationFailed,
    CredentialsError,
    Mismatch,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryUnreachable,
    UsageError,
)
from registry_tool.engine import Engine
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import open_registry
from registry_tool.targets.registry import registry as registry_module
from registry_tool.transport import pool, transport
from tests.support import canary
from tests.support.fake_server import ReceivedRequest, Reply, fake_server, reply, self_signed

EMPTY = Digest.of(b"{}")
MARY = Credential("mary", canary.password("mary"))
BASIC = "Basic " + base64.b64encode(f"mary:{MARY.password}".encode()).decode()
UNKNOWN = {"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]}


def tags(answer: Callable[[ReceivedRequest], Reply]) -> tuple[str, ...]:
    with fake_server(answer) as server, open_registry(server.host) as registry:
        return registry.repository("john/get-started").tags()


# --- failures ---


def test_tags_of_an_unknown_repository_raise_not_found() -> None:
    with pytest.raises(NotFound, match="there is no repository john/get-started at 127.0.0.1"):
        tags(lambda received: reply(UNKNOWN, 404))


@pytest.mark.parametrize("document", [[], 3, "x", {"tags": "x"}, {"tags": {"a": 1}}])
def test_response_that_is_no_list_of_tags_raises(document: object) -> None:
    with pytest.raises(RegistryError, match="not a list of tags"):
        tags(lambda received: reply(document))


def test_entries_of_lists_that_are_no_names_are_skipped_and_noted() -> None:
    entries = ["a", 1, None, "", "A b", "a"]
    with fake_server(lambda received: reply({"tags": entries, "repositories": entries})) as server, open_registry(server.host) as registry:
        assert registry.repository("john/app").tags() == ("a",)
        assert list(registry.catalog()) == ["a"]
        tags_note, catalog_note = registry.notes
    assert tags_note == f"{server.host}/john/app: skipped 4 entries of the list of tags, not a valid name: 1, null, '' and 1 more"
    assert catalog_note.startswith(f"{server.host}: skipped 4 entries of the list of repositories")


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
        pytest.raises(NotARegistry, match=f"the server at {server.host} is not a registry"),
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


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "user@localhost", "localhost:0", "localhost:99999", "http://", "localhost/path", "a/b", "[:::]", "a\r\nb", None, 7],
)
def test_host_that_cannot_be_one_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageError, match="is not a registry's address"):
        open_registry(host)


def test_host_is_read_as_people_type_it() -> None:
    with open_registry("https://localhost:1/v2/") as registry:
        assert registry.host == "localhost:1"


def guarded(received: ReceivedRequest) -> Reply:
    return Reply() if received.headers.get("authorization") == BASIC else reply({}, 401, www_authenticate='Basic realm="x"')


@pytest.mark.parametrize("credential", [MARY, (MARY.username, MARY.password)])
def test_given_credential_goes_before_stored_ones(credential: Credential | tuple[str, str]) -> None:
    with fake_server(guarded) as server:
        credentials.store(server.host, Credential("john", canary.password("john")))
        with open_registry(server.host, credential=credential) as registry:
            registry.ping()
            assert registry.authenticated
        with open_registry(server.host) as registry, pytest.raises(AuthenticationFailed):
            registry.ping()


@pytest.mark.parametrize("credential", [("", "x"), ("mary", ""), ("a:b", canary.password())])
def test_invalid_credential_is_a_usage_error(credential: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        open_registry("localhost:1", credential=credential)


def test_named_file_is_the_only_place_of_credentials(tmp_path: Path) -> None:
    file = canary.exempt(tmp_path / "auth.json")
    with fake_server(guarded) as server:
        credentials.store(server.host, MARY)
        file.write_text("{}")
        with open_registry(server.host, auth_file=file) as registry, pytest.raises(AuthenticationFailed, match="no credentials stored"):
            registry.ping()
        file.write_text(json.dumps({"auths": {server.host: {"auth": BASIC.partition(" ")[2]}}}))
        credentials.store(server.host, Credential("john", canary.password("john")))
        with open_registry(server.host, auth_file=file) as registry:
            registry.ping()
    with pytest.raises(UsageError, match="no such file"):
        open_registry(server.host, auth_file=tmp_path / "nowhere.json")


def test_credential_of_a_namespace_is_sent_for_its_repositories_only(tmp_path: Path) -> None:
    file = canary.exempt(tmp_path / "auth.json")
    with fake_server(guarded) as server:
        file.write_text(json.dumps({"auths": {f"{server.host}/mary": {"auth": BASIC.partition(" ")[2]}}}))
        with open_registry(server.host, auth_file=file) as registry:
            registry.repository("mary/app").tags()
            for ask in (registry.ping, registry.repository("john/app").tags, registry.repository("maryanne").tags):
                with pytest.raises(AuthenticationFailed, match="no credentials stored"):
                    ask()
    assert {received.path for received in server.requests if "authorization" in received.headers} == {"/v2/mary/app/tags/list"}


@pytest.mark.parametrize("broken", ["helper", "file", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"])
def test_public_image_is_read_with_a_warning_where_a_credential_store_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    rubbish = f"rubbish {canary.password()}"
    if broken == "helper":
        docker_config.save({"credsStore": "nowhere"})
    elif broken == "file":
        docker_config.folder().mkdir()
        canary.exempt(docker_config.file()).write_text(rubbish)
    elif broken == "DOCKER_AUTH_CONFIG":
        monkeypatch.setenv(broken, rubbish)
    else:
        canary.exempt(tmp_path / "auth.json").write_text(rubbish)
        monkeypatch.setenv(broken, str(tmp_path / "auth.json"))

    def answer(received: ReceivedRequest) -> Reply:
        if received.path.startswith("/token"):
            return reply({"token": "anonymous"})
        if "authorization" not in received.headers:
            return reply({}, 401, www_authenticate=f'Bearer realm="http://{server.host}/token"')
        return reply({"tags": ["v1"]}) if "public" in received.path else reply({}, 403)

    warnings: list[str] = []
    with fake_server(answer) as server, open_registry(server.host, on_warning=warnings.append) as registry:
        assert registry.repository("public").tags() == ("v1",)
        (warning,) = warnings
        assert warning.endswith(": going on without credentials")
        canary.search("in a warning", warning)
        with pytest.raises(CredentialsError) as caught:
            registry.repository("private").tags()
        assert caught.value.message in warning


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is on loopback pass for a registry elsewhere."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (transport, pool, registry_module):
        monkeypatch.setattr(module, "is_loopback", lambda host: False)


def test_remembered_plain_http_is_used_unless_an_argument_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with fake_server(lambda received: Reply()) as server:
        with open_registry(server.host) as registry, pytest.raises(RegistryUnreachable, match="does not speak TLS"):
            registry.ping()
        host_settings.remember(server.host, HostSettings(plain_http=True))
        with open_registry(server.host) as registry:
            registry.ping()
        with open_registry(server.host, plain_http=False) as registry, pytest.raises(RegistryUnreachable, match="does not speak TLS"):
            registry.ping()


@pytest.mark.usefixtures("has_openssl")
def test_unchecked_certificate_is_warned_of_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    warnings: list[str] = []
    with fake_server(lambda received: Reply(), certificate=self_signed(tmp_path)) as server:
        with open_registry(server.host) as registry, pytest.raises(RegistryUnreachable, match="cannot be trusted"):
            registry.ping()
        with open_registry(server.host, insecure=True, on_warning=warnings.append) as registry:
            registry.ping()
        host_settings.remember(server.host, HostSettings(insecure=True))
        for _ in range(2):
            with open_registry(server.host, on_warning=warnings.append) as registry:
                registry.ping()
        with open_registry(server.host, insecure=False) as registry, pytest.raises(RegistryUnreachable, match="cannot be trusted"):
            registry.ping()
    unchecked = f"the certificate of {server.host} is not checked: others on the way can read and change everything"
    remembered = f"{unchecked} (remembered; regctl logout {server.host} forgets it)"
    assert warnings == [unchecked, remembered, remembered]


def test_loopback_has_no_settings() -> None:
    with fake_server(lambda received: Reply()) as server:
        host_settings.remember(server.host, HostSettings(insecure=True))
        warnings: list[str] = []
        with open_registry(server.host, on_warning=warnings.append) as registry:
            registry.ping()
        assert warnings == []


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


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_encoding_of_a_blob_is_ignored_and_its_digest_decides(encoding: str) -> None:
    """Storage services call a layer's own compression an encoding."""
    layer = gzip.compress(b"content")
    descriptor = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(layer), size=len(layer))
    packed = Reply(body=layer, headers={"Content-Encoding": encoding})
    with fake_server(lambda received: packed) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        with repository.fetch(descriptor) as stream:
            assert stream.read() == layer
        other = Descriptor(media_type=descriptor.media_type, digest=Digest.of(b"content"), size=len(layer))
        with pytest.raises(Mismatch), repository.fetch(other) as stream:
            stream.read()


# --- a real one ---


@pytest.mark.engine
def test_tags_and_digests_of_a_real_registry(engine: Engine, local: LocalRegistry, tiny_image: Callable[..., str], unique: str) -> None:
    with open_registry(local.address) as registry:
        registry.ping()
        with pytest.raises(NotFound, match=f"there is no repository {unique} at"):
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
        pytest.raises(RegistryError, match="not a list of repositories"),
    ):
        list(registry.catalog())


def test_refused_catalog_raises() -> None:
    with (
        fake_server(lambda received: reply({}, 401, www_authenticate='Basic realm="x"')) as server,
        open_registry(server.host) as registry,
        pytest.raises(AuthenticationFailed),
    ):
        list(registry.catalog())


@pytest.mark.parametrize("status", [400, 404, 405, 406, 416, 422, 501])
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
        pytest.raises(NotARegistry, match="is not a registry"),
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


def test_list_that_may_be_incomplete_is_noted_once() -> None:
    document = {"tags": ["v1"], "repositories": ["a"]}
    with fake_server(lambda received: reply(document, Link="rubbish")) as server, open_registry(server.host) as registry:
        repository = registry.repository("a")
        for _ in range(2):
            assert repository.tags() == ("v1",)
            assert repository.has_unlisted_tags
            assert list(registry.catalog()) == ["a"]
        assert registry.notes == tuple(
            f"{server.host} names no next page that can be requested: the list of {path} may be incomplete"
            for path in ("/v2/a/tags/list", "/v2/_catalog")
        )


def test_repositories_share_the_registrys_connections() -> None:
    with fake_server(lambda received: reply({"tags": ["v1"]})) as server, open_registry(server.host) as registry:
        repositories = [registry.repository(name) for name in ("a", "b/c")]
        assert [repository.name for repository in repositories] == [f"{server.host}/a", f"{server.host}/b/c"]
        assert server.requests == []
        assert [repository.tags() for repository in repositories] == [("v1",), ("v1",)]
