"""Responses of servers for the tests of the transport, and a user."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

from registry_tool.auth.credentials import Credential
from tests.support import canary
from tests.support.fake_server import FakeServer, ReceivedRequest, Reply, reply

MARY = Credential("mary", canary.password("pässword"))
BASIC = "Basic " + base64.b64encode(f"mary:{MARY.password}".encode()).decode()


def ok(request: ReceivedRequest) -> Reply:
    return Reply()


def elsewhere(there: FakeServer, path: str, status: int = 307) -> Reply:
    return Reply(status=status, headers={"Location": f"http://{there.host}{path}"})


class Tokens:
    """A registry whose tokens are made at ``realm``, and, on the same server, the place that makes them."""

    def __init__(self, realm: str | None = None) -> None:
        self.realm = realm
        self.host = ""
        self.made = 0
        self.valid: set[str] = set()

    def __call__(self, request: ReceivedRequest) -> Reply:
        where = urlsplit(request.path)
        if where.path == "/token":
            return self.make(request, parse_qs(where.query or request.body.decode()))
        scope = f"repository:{'/'.join(where.path.split('/')[2:-2])}:pull"
        if request.headers.get("authorization", "") in {f"Bearer {token}-{scope}" for token in self.valid}:
            return Reply()
        realm = self.realm or f"http://{self.host}/token"
        return reply({}, 401, www_authenticate=f'Bearer realm="{realm}",service="the registry",scope="{scope}"')

    def make(self, request: ReceivedRequest, query: dict[str, list[str]]) -> Reply:
        if request.headers.get("authorization") not in (None, BASIC):
            return reply({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}, 401)
        assert query["service"] == ["the registry"]
        self.made += 1
        self.valid.add(f"t{self.made}")
        return reply({"access_token" if request.method == "POST" else "token": f"t{self.made}-{query['scope'][0]}"})
