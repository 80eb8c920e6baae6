"""The line to one engine: docker's SDK, with what it does behind one's back taken out, and its failures put in our words.

The only module that imports the SDK. It costs 0.1 s, so nothing imports this module before a connection is asked for.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.auth
import docker.errors
import docker.tls
import urllib3.exceptions
from docker.utils.build import PatternMatcher
from docker.utils.json_stream import json_stream

from registry_tool.engine.endpoint import Endpoint, Tls
from registry_tool.errors import Conflict, EngineError, EngineTimeout, NotFound, Unreachable

T = TypeVar("T")

CONNECT_TIMEOUT = 10
"""Seconds for the first answer."""
CALL_TIMEOUT = 120
"""Seconds for an answer to any later call; streams may be silent for as long as they like."""


class Client(docker.APIClient):
    """The SDK's client without its own ideas about ``config.json``.

    As it comes it reads credentials from there, runs credential helpers without a time-out, and fails on a file that
    it does not like. Credentials are found by :mod:`registry_tool.credentials` and passed to each call instead.
    """

    registry_config: Mapping[str, Mapping[str, str]] = {}
    """Credentials for the base images of the next build: host -> auth config."""

    # The SDK's constructor stores what it read from the file here, then takes its credentials from what is stored.
    # Not empty: that would make it look for the file once more.
    _general_configs = property(lambda self: {"HttpHeaders": {}}, lambda self, value: None)

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        if self.registry_config:
            headers["X-Registry-Config"] = docker.auth.encode_header(dict(self.registry_config))

    def distribution(self, name: str, auth: Mapping[str, str], *, timeout: float) -> Any:
        """What a registry says of ``name``, asked by the engine. The SDK's own method has no time-out per call."""
        headers = {"X-Registry-Auth": docker.auth.encode_header(dict(auth))}
        return self._result(self._get(self._url("/distribution/{0}/json", name), headers=headers, timeout=timeout), json=True)

    def post_tar(self, path: str, source: Any, *, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a tar, read the events of its answer. The SDK's own methods hold it in memory or hide what was reported."""
        headers = {"Content-Type": "application/tar"}
        response = self._post(self._url(path), data=source, params=params, headers=headers, stream=True, timeout=None)
        self._raise_for_status(response)
        with response:
            yield from json_stream(response.iter_content(None))

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """Several images as one tar; the SDK's own method takes one."""
        response = self._get(self._url("/images/get"), params={"names": list(names)}, stream=True, timeout=None)
        self._raise_for_status(response)
        with response:
            yield from response.iter_content(1 << 20)

    def log_stream(self, container: str, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """Raw log bytes, framed where the container has no terminal. The SDK's own method drops which stream it was."""
        params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail}
        response = self._get(self._url("/containers/{0}/logs", container), params=params, stream=True, timeout=None)
        self._raise_for_status(response)
        with response:
            yield from response.iter_content(None)


class Line:
    """One engine's client, and the two ways to use it: :meth:`call` for an answer, :meth:`stream` for many."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect, and agree on a version. Raises the SDK's and requests' own exceptions: see ``connect``."""
        self.endpoint = endpoint
        self.client = Client(
            base_url=endpoint.url,
            version="auto",
            timeout=CONNECT_TIMEOUT,
            tls=_tls(endpoint.tls) if endpoint.tls else False,
            use_ssh_client=endpoint.url.startswith("ssh://"),
        )
        self.client.timeout = CALL_TIMEOUT
        # A proxy from the environment is never asked for an engine on this machine.
        self.client.trust_env = not endpoint.is_local

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def call(self, doing: str) -> Iterator[Client]:
        """The client, for one call. ``doing`` completes "the engine stopped answering during …".

        Raises NotFound (404), Conflict (409), EngineError (any other refusal), Unreachable (the line is cut).
        """
        try:
            yield self.client
        except docker.errors.APIError as error:
            raise _refusal(error, doing) from error
        except (docker.errors.DockerException, ValueError) as error:
            raise EngineError(f"{doing}: {error}") from error
        except docker.errors.StreamParseError as error:
            raise self._cut(doing) from error
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            if _is_timeout(error):
                raise EngineTimeout(f"the engine did not answer in time during {doing}", hint="Is it busy? Try again.") from error
            raise self._cut(doing) from error

    def stream(self, doing: str, start: Callable[[Client], Iterator[T]]) -> Iterator[T]:
        """What ``start`` yields, with the line's failures in our words; what the reader raises stays the reader's."""
        with self.call(doing) as client:
            items = iter(start(client))
        while True:
            with self.call(doing):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def _cut(self, doing: str) -> Unreachable:
        return Unreachable(
            f"the engine stopped answering during {doing}",
            hint=f"Is it still running? It was reached at {self.endpoint.url} ({self.endpoint.source}).",
        )


def not_ignored(context: Path, patterns: Sequence[str]) -> Iterator[str]:
    """Paths inside ``context`` that these ``.dockerignore`` patterns leave; ignored folders are not looked into. Raises OSError."""
    yield from PatternMatcher(list(patterns)).walk(str(context))


def _refusal(error: docker.errors.APIError, doing: str) -> EngineError | NotFound | Conflict:
    words = str(error.explanation or error).strip()
    message = " ".join(words.split()) or f"{doing}: the engine refused without a reason"
    if error.status_code == 404:
        return NotFound(message)
    if error.status_code == 409:
        return Conflict(message)
    return EngineError(message)


def _is_timeout(error: BaseException) -> bool:
    """Whether a time-out is at the root: requests wraps those of urllib3 in exceptions of several classes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError | urllib3.exceptions.TimeoutError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _tls(tls: Tls) -> docker.tls.TLSConfig:
    pair = (str(tls.certificate), str(tls.key)) if tls.certificate and tls.key else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(tls.ca) if tls.ca else None, verify=tls.verify)
