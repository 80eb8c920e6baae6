"""The line to one engine: docker's SDK, with what it does behind one's back taken out, and its failures put in our words.

Importing the SDK costs 0.1 s, so nothing imports this module before a connection is asked for.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import docker
import docker.auth
import docker.errors
import docker.tls
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool
from docker.utils.json_stream import json_stream

from registry_tool.base.errors import Conflict, EngineError, EngineTimeout, NotFound, RegistryToolError, Unreachable, UsageError
from registry_tool.engine.endpoint import Endpoint, Tls

T = TypeVar("T")

CONNECT_TIMEOUT = 10
"""Seconds for the first answer."""
CALL_TIMEOUT = 120
"""Seconds for the answer to any later call. Streams may be silent for as long as they like: a registry takes its time."""
_CHUNK = 1 << 20
_SOCKET_BASE = "http+docker://localhost"
"""What the SDK calls an engine that is reached by a socket."""


class _SocketAdapter(UnixHTTPAdapter):
    """The SDK's way to a socket, with one pool of connections for it; the SDK has one for each address that is asked for."""

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        return super().get_connection(_SOCKET_BASE, proxies)


class _DialAdapter(UnixHTTPAdapter):
    """The same for an engine at no address: each connection is one that ``dial`` gives."""

    def __init__(self, dial: Callable[[], socket.socket], timeout: int) -> None:
        super().__init__("http+unix:///nowhere", timeout)
        self._pool = _DialPool(dial, timeout)

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()


class _DialPool(UnixHTTPConnectionPool):
    def __init__(self, dial: Callable[[], socket.socket], timeout: int) -> None:
        super().__init__(_SOCKET_BASE, "/nowhere", timeout, maxsize=10)
        self._dial = dial

    def _new_conn(self) -> Any:
        return _DialConnection(self._dial, self.timeout)


class _DialConnection(UnixHTTPConnection):
    def __init__(self, dial: Callable[[], socket.socket], timeout: Any) -> None:
        super().__init__(_SOCKET_BASE, "/nowhere", timeout)
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial()
        self.sock.settimeout(self.timeout)


class SdkClient(docker.APIClient):
    """The SDK's client without its own ideas about ``config.json``, time-outs and streams.

    As it comes it takes credentials from that file, runs credential helpers without a time-out, and fails on a file
    that it does not like. Credentials are found by :mod:`registry_tool.auth.credentials` and passed to each call instead.
    """

    registry_config: Mapping[str, Mapping[str, str]] = {}
    """Credentials for the base images of the next build: host -> auth config."""

    def __init__(self, *, is_local: bool, dial: Callable[[], socket.socket] | None = None, **options: Any) -> None:
        self._is_local = is_local
        self._dial = dial
        try:
            super().__init__(**options)
        except BaseException:
            # It asks for the version, and leaves its connections open where that fails.
            self.close()
            raise

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        if type(adapter) is UnixHTTPAdapter:
            adapter = self._custom_adapter = self._replaced(adapter)
        super().mount(prefix, adapter)

    def _replaced(self, adapter: UnixHTTPAdapter) -> UnixHTTPAdapter:
        if self._dial is not None:
            return _DialAdapter(self._dial, adapter.timeout)
        return _SocketAdapter(adapter.socket_path, adapter.timeout, max_pool_size=adapter.max_pool_size)

    @property
    def trust_env(self) -> bool:
        """Whether requests looks at the environment's proxies: never for an engine on this machine, not even to connect."""
        return not self._is_local

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        # requests' constructor wants to set its default.
        return None

    # The SDK's constructor stores the file's content here, then takes credentials from what is stored. Not empty: an
    # empty one would make it look for the file once more.
    _general_configs = property(lambda self: {"HttpHeaders": {}}, lambda self, value: None)

    def _retrieve_server_version(self) -> str:
        """By the header of a ping, as docker's own client does it: for ``/version`` an engine starts two programs."""
        try:
            return str(_raise_for_status(self.get(f"{self.base_url}/_ping", timeout=self.timeout)).headers["Api-Version"])
        except Exception as error:
            raise docker.errors.DockerException(f"Error while fetching server API version: {error}") from error

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        if self.registry_config:
            headers["X-Registry-Config"] = docker.auth.encode_header(dict(self.registry_config))

    def _set_request_timeout(self, options: dict[str, Any]) -> dict[str, Any]:
        options.setdefault("timeout", None if options.get("stream") else self.timeout)
        return options

    def _stream_helper(self, response: Any, decode: bool = False) -> Iterator[Any]:
        """By requests' own reading, whose failures are all OSError; the SDK reads from below it."""
        with _raise_for_status(response):
            chunks = response.iter_content(None)
            yield from json_stream(chunks) if decode else chunks

    def distribution(self, name: str, auth: Mapping[str, str], *, timeout: float) -> None:
        """Have the engine look ``name`` up in its registry. The SDK's own method has no time-out for one call."""
        headers = {"X-Registry-Auth": docker.auth.encode_header(dict(auth))}
        with _raise_for_status(self.get(self._endpoint_url("distribution", name, "json"), headers=headers, timeout=timeout)):
            return

    def load(self, source: BinaryIO) -> Iterator[Any]:
        """Take in a tar of images. The SDK's own method gives the engine two minutes for it."""
        # In chunks: of a compressed file that is read uncompressed, requests would announce the compressed size.
        chunks = iter(lambda: source.read(_CHUNK), b"")
        return self._stream_helper(
            self.post(self._endpoint_url("images", "load"), data=chunks, params={"quiet": "1"}, stream=True), decode=True
        )

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """Several images as one tar; the SDK's own method takes one."""
        with _raise_for_status(self.get(self._endpoint_url("images", "get"), params={"names": list(names)}, stream=True)) as response:
            yield from response.iter_content(_CHUNK)

    def log_stream(self, container: str, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """Raw log bytes, framed where the container has no terminal. The SDK's own method drops which stream it was."""
        params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail}
        with _raise_for_status(self.get(self._endpoint_url("containers", container, "logs"), params=params, stream=True)) as response:
            yield from response.iter_content(None)

    def _endpoint_url(self, *parts: str) -> str:
        return "/".join((self.base_url, f"v{self.api_version}", *(quote(part, safe="/:@") for part in parts)))


class EngineClient:
    """One engine's client, and the two ways to use it: :meth:`call` for an answer, :meth:`stream` for many."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect, and agree on a version. Raises the SDK's and the operating system's own exceptions: see ``connect``."""
        self.endpoint = endpoint
        self.api = SdkClient(
            is_local=endpoint.is_local,
            dial=endpoint.dial,
            base_url=endpoint.url,
            version="auto",
            timeout=CONNECT_TIMEOUT,
            tls=_tls(endpoint.tls) if endpoint.tls else False,
            use_ssh_client=endpoint.url.startswith("ssh://"),
        )
        self.api.timeout = CALL_TIMEOUT

    def close(self) -> None:
        self.api.close()

    @contextmanager
    def call(self, doing: str, *, missing_ok: bool = False) -> Iterator[SdkClient]:
        """The client, for one call. ``doing`` completes "the engine stopped answering during …". With ``missing_ok`` a 404 ends the block.

        Raises NotFound (404), Conflict (409), EngineError (any other refusal), EngineTimeout, Unreachable (the line is cut).
        """
        try:
            yield self.api
        except docker.errors.APIError as error:
            if error.status_code == 404 and missing_ok:
                return
            raise _error_from(error, doing) from error
        except UnicodeEncodeError as error:
            # Bytes of the command line that are no text here stand as surrogates in it.
            raise UsageError(
                f"{doing}: a name in this is no text", hint="It has other bytes than UTF-8, or the locale knows none: LANG=C.UTF-8."
            ) from error
        except (docker.errors.DockerException, json.JSONDecodeError) as error:
            raise EngineError(f"the engine's answer to {doing} makes no sense: {_one_line(error)}") from error
        except docker.errors.StreamParseError as error:
            raise self._connection_lost(doing) from error
        except (OSError, http.client.HTTPException) as error:
            if _is_timeout(error):
                raise EngineTimeout(f"the engine did not answer in time during {doing}", hint="Is it busy? Try again.") from error
            raise self._connection_lost(doing) from error

    def stream(self, doing: str, start: Callable[[SdkClient], Iterator[T]]) -> Generator[T, None, None]:
        """What ``start`` yields, with the line's failures in our words; what the reader raises stays the reader's.

        Closing it early hangs up, and the engine gives the work up.
        """
        with self.call(doing) as client:
            items = iter(start(client))
        while True:
            with self.call(doing):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def _connection_lost(self, doing: str) -> Unreachable:
        return Unreachable(
            f"the engine stopped answering during {doing}",
            hint=f"Is it still running? It was reached at {self.endpoint.url} ({self.endpoint.source}).",
        )


def _raise_for_status(response: Any) -> Any:
    """``response``, or what it refuses as the SDK's exception."""
    try:
        response.raise_for_status()
    except OSError as error:
        refused: Any = error
        docker.errors.create_api_error_from_http_exception(refused)
    return response


def _error_from(error: docker.errors.APIError, doing: str) -> RegistryToolError:
    message = _one_line(error.explanation or "") or f"the engine refused {doing} without a word (status {error.status_code})"
    if error.status_code == 404:
        return NotFound(message)
    if error.status_code == 409:
        return Conflict(message)
    return EngineError(message)


def _is_timeout(error: BaseException) -> bool:
    """Whether a time-out is at the root: the layers above wrap it in exceptions of several classes."""
    layer: BaseException | None = error
    while layer is not None:
        if isinstance(layer, TimeoutError):
            return True
        layer = layer.__cause__ or layer.__context__
    return False


def _one_line(words: object) -> str:
    return " ".join(str(words).split())


def _tls(tls: Tls) -> docker.tls.TLSConfig:
    pair = (str(tls.certificate), str(tls.key)) if tls.certificate and tls.key else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(tls.ca) if tls.ca else None, verify=tls.verify)
