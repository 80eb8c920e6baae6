"""Lists in pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry_tool.base.errors import (
    RegistryError,
)
from registry_tool.transport import Transport
from registry_tool.transport import transport as transport_module
from tests.support.fake_server import FakeServer, ReceivedRequest, Reply, fake_server, reply
from tests.support.transport_servers import MARY, elsewhere, ok


def chain(links: dict[str, str]) -> Callable[[ReceivedRequest], Reply]:
    def answer(request: ReceivedRequest) -> Reply:
        link = links.get(request.path)
        return reply({"path": request.path}, Link=f'<{link}>; rel="next"' if link else "")

    return answer


def paths(server: FakeServer, path: str = "/v2/_catalog") -> list[str]:
    with Transport(server.host) as transport:
        return [answer.json()["path"] for answer in transport.pages(path, params={"n": "1"})]


def test_pages_are_followed_to_the_last() -> None:
    links = {"/v2/_catalog?n=1": "/v2/_catalog?n=1&last=a", "/v2/_catalog?n=1&last=a": "?n=1&last=b"}
    with fake_server(chain(links)) as server:
        assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog?n=1&last=a", "/v2/_catalog?n=1&last=b"]


def warned(server: FakeServer) -> tuple[list[str], list[str]]:
    """The pages that were read, and the warnings."""
    warnings: list[str] = []
    with Transport(server.host, on_warning=warnings.append) as transport:
        return [answer.json()["path"] for answer in transport.pages("/v2/_catalog")], warnings


def test_loop_of_links_ends_with_a_warning() -> None:
    links = {"/v2/_catalog": "/v2/_catalog?last=a", "/v2/_catalog?last=a": "/v2/_catalog"}
    with fake_server(chain(links)) as server:
        pages, (warning,) = warned(server)
        assert pages == ["/v2/_catalog", "/v2/_catalog?last=a"]
    assert warning == f"{server.host} names no next page that can be requested: the list of /v2/_catalog may be incomplete"


def test_page_whose_path_has_a_url_in_it_is_requested_here() -> None:
    links = {"/v2/_catalog?n=1": "/v2/_catalog/http://elsewhere.example/x?n=1"}
    with fake_server(chain(links)) as server:
        assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog/http://elsewhere.example/x?n=1"]


def test_link_without_rel_is_followed_on_the_same_list_and_else_warned_of() -> None:
    links = {"/v2/_catalog": "/v2/_catalog?last=a", "/v2/_catalog?last=a": "/v2/other?last=b"}

    def answer(request: ReceivedRequest) -> Reply:
        link = links.get(request.path)
        return reply({"path": request.path}, Link=f"<{link}>" if link else "")

    with fake_server(answer) as server:
        pages, warnings = warned(server)
        assert pages == ["/v2/_catalog", "/v2/_catalog?last=a"]
        assert len(warnings) == 1


def test_complete_list_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with fake_server(chain({"/v2/_catalog": "/v2/_catalog?last=a"})) as server:
        assert warned(server) == (["/v2/_catalog", "/v2/_catalog?last=a"], [])
    assert caplog.records == []


def test_warnings_are_logged_where_nobody_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    with fake_server(lambda request: reply({}, Link="rubbish")) as server, Transport(server.host) as transport:
        for _ in range(2):
            list(transport.pages("/v2/_catalog"))
    assert [record.name for record in caplog.records] == ["registry_tool"]


def test_link_relative_to_a_redirected_address_is_followed_without_authorization() -> None:
    def there(request: ReceivedRequest) -> Reply:
        return reply({"path": request.path}, Link="" if "last" in request.path else "<?last=a>; rel=next")

    def answer(request: ReceivedRequest) -> Reply:
        known = "authorization" in request.headers
        return elsewhere(other, "/mirror/list") if known else reply({}, 401, www_authenticate='Basic realm="x"')

    with fake_server(there) as other, fake_server(answer) as server, Transport(server.host, credential=MARY) as transport:
        assert [page.json()["path"] for page in transport.pages("/v2/a/tags/list")] == ["/mirror/list", "/mirror/list?last=a"]
        assert all("authorization" not in request.headers for request in other.requests)


def test_endless_links_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_PAGES", 5)
    with fake_server(lambda request: reply({"path": ""}, Link=f'<{request.path}1>; rel="next"')) as server:
        with pytest.raises(RegistryError, match="no end of pages"):
            paths(server)
        assert len(server.requests) == 5


def test_link_to_another_host_stays_on_the_registry() -> None:
    with fake_server(ok) as other:
        with fake_server(chain({"/v2/_catalog?n=1": f"http://{other.host}/v2/_catalog?last=a"})) as server:
            assert paths(server) == ["/v2/_catalog?n=1", "/v2/_catalog?last=a"]
        assert other.requests == []
