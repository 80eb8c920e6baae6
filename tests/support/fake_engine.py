"""A container engine's API with responses of the test's own, for what an engine answers and cannot be made to answer here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from registry_tool.engine import Endpoint, Engine, connect_to
from tests.support.fake_server import FakeServer, ReceivedRequest, Reply, fake_server, reply

Answers = Mapping[str, Reply | Callable[[ReceivedRequest], Reply]]
"""``POST /containers/create`` -> the response; the path is without the version and the query."""


@contextmanager
def fake_engine(answers: Answers, *, podman: str = "") -> Iterator[tuple[Engine, FakeServer]]:
    """An engine for the block, connected, and the server behind it; what is not in ``answers`` is not there (404).

    ``podman`` is podman's version; without it the engine is docker.
    """
    known_by = {"Libpod-API-Version": podman} if podman else {}

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/_ping"):
            return Reply(body=b"OK", headers={"Api-Version": "1.41", **known_by})
        answer = answers.get(call(request), reply({"message": "page not found"}, 404))
        return answer(request) if callable(answer) else answer

    with fake_server(respond) as server, connect_to(Endpoint(url=f"tcp://{server.host}", source="a test")) as engine:
        yield engine, server


def call(request: ReceivedRequest) -> str:
    """``POST /containers/create`` of a request."""
    path = unquote(urlsplit(request.path).path)
    return f"{request.method} /{path.lstrip('/').partition('/')[2]}"


def query(request: ReceivedRequest) -> dict[str, str]:
    """The parameters of a request, one value each."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(request.path).query, keep_blank_values=True).items()}


def events(*documents: object) -> Reply:
    """A stream of JSON documents."""
    return Reply(body=b"".join(json.dumps(document).encode() + b"\r\n" for document in documents))
