"""docker's SDK without its own configuration, its failures as this tool's errors. Importing it costs 0.1 s: import this module late."""

from __future__ import annotations

import http.client
import json
import re
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
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.engine_errors import causes
from registry_tool.engine.streams import event_error

T = TypeVar("T")

CONNECT_TIMEOUT = 10  # seconds for the first response
CALL_TIMEOUT = 120  # seconds for the response to any later call. Streams may be silent for any time: a registry behind them may be slow.
_CHUNK = 1 << 20
_NOT_THERE = re.compile(r"(?:.*: )?(no such (?:container|volume|network|image)|image not known|network not found)")  # podman's messages
_STATE_FORBIDS = ": container state improper"
_SOCKET_BASE = "http+docker://localhost"  # the SDK's base URL of an engine behind a unix socket


class _SocketAdapter(UnixHTTPAdapter):
    """The SDK's adapter for a unix socket with one connection pool; the SDK's has one for each URL."""

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        return super().get_connection(_SOCKET_BASE, proxies)


class _DialAdapter(UnixHTTPAdapter):
    """Adapter for an engine without an address: each connection comes from ``dial``."""

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
    """The SDK's client without its handling of ``config.json``, time-outs and streams.

    As it comes, it takes credentials from that file, runs credential helpers without a time-out, and fails on a file
    it cannot read. Credentials are found by :mod:`registry_tool.auth.credentials` and passed to each call instead.
    """

    podman_version = ""
    """Podman's version, from the response to a ping; empty where the engine is docker."""

    registry_config: Mapping[str, Mapping[str, str]] = {}
    """Credentials for the base images of the next build: host -> auth config."""

    def __init__(self, *, is_local: bool, dial: Callable[[], socket.socket] | None = None, **options: Any) -> None:
        self._is_local = is_local
        self._dial = dial
        try:
            super().__init__(**options)
        except BaseException:
            # It requests the version, and leaves its connections open where that fails.
            self.close()
            raise

    @property
    def is_podman(self) -> bool:
        """Whether the engine is podman."""
        return bool(self.podman_version)

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        if type(adapter) is UnixHTTPAdapter:
            adapter = self._custom_adapter = self._replacement(adapter)
        super().mount(prefix, adapter)

    def _replacement(self, adapter: UnixHTTPAdapter) -> UnixHTTPAdapter:
        if self._dial is not None:
            return _DialAdapter(self._dial, adapter.timeout)
        return _SocketAdapter(adapter.socket_path, adapter.timeout, max_pool_size=adapter.max_pool_size)

    @property
    def trust_env(self) -> bool:
        """Whether requests uses the environment's proxies: never for an engine on this machine."""
        return not self._is_local

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        # requests' constructor sets its default.
        return None

    # The SDK's constructor stores config.json's content here and takes credentials from it. Not empty: it would then read the file
    # once more.
    _general_configs = property(lambda self: {"HttpHeaders": {}}, lambda self, value: None)

    def _retrieve_server_version(self) -> str:
        """Read it from the header of a ping, as docker's own client does: for ``/version`` an engine starts two programs."""
        try:
            headers = _raise_for_status(self.get(f"{self.base_url}/_ping", timeout=self.timeout)).headers
            self.podman_version = str(headers.get("Libpod-API-Version") or "")
            return str(headers["Api-Version"])
        except Exception as error:
            raise docker.errors.DockerException(f"Error while fetching server API version: {error}") from error

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        if self.registry_config:
            headers["X-Registry-Config"] = docker.auth.encode_header(dict(self.registry_config))

    def _set_request_timeout(self, options: dict[str, Any]) -> dict[str, Any]:
        options.setdefault("timeout", None if options.get("stream") else self.timeout)
        return options

    def _raise_for_status(self, response: Any) -> None:
        _raise_for_status(response)

    def _stream_helper(self, response: Any, decode: bool = False) -> Iterator[Any]:
        """Read by requests, whose failures are all OSError; the SDK reads from urllib3 directly."""
        with _raise_for_status(response):
            chunks = response.iter_content(None)
            yield from json_stream(chunks) if decode else chunks

    def distribution(self, name: str, auth: Mapping[str, str], *, timeout: float) -> None:
        """Make the engine look ``name`` up in its registry. The SDK's method has no time-out for one call."""
        headers = {"X-Registry-Auth": docker.auth.encode_header(dict(auth))}
        with _raise_for_status(self.get(self._endpoint_url("distribution", name, "json"), headers=headers, timeout=timeout)):
            return

    def image_manifests(self, name: str) -> Sequence[Mapping[str, Any]]:
        """The manifests of an image's index, with what is there of each (Engine API 1.48, containerd image store)."""
        with _raise_for_status(self.get(self._endpoint_url("images", name, "json"), params={"manifests": "1"})) as response:
            return response.json().get("Manifests") or ()

    def push_image(self, repository: str, tag: str, auth: Mapping[str, str], *, insecure: bool) -> Iterator[Any]:
        """Push ``repository:tag``; the events. ``insecure`` lets podman use plain HTTP; docker does by itself, on loopback."""
        return self._transfer(("images", repository, "push"), {"tag": tag}, auth, insecure=insecure)

    def pull_image(self, repository: str, tag: str, auth: Mapping[str, str], *, platform: str | None, insecure: bool) -> Iterator[Any]:
        """Pull ``repository:tag`` (or a digest, as ``tag``); the events. ``insecure`` as in :meth:`push_image`."""
        params = {"fromImage": repository, "tag": tag, **({"platform": platform} if platform is not None else {})}
        return self._transfer(("images", "create"), params, auth, insecure=insecure)

    def libpod_pull(
        self, name: str, auth: Mapping[str, str], *, platform: str | None, insecure: bool, timeout: float | None = None
    ) -> Iterator[Any]:
        """Pull ``name`` with podman's own interface: its docker-compatible one cannot use plain HTTP (podman 4).

        ``timeout`` is in seconds for each event.
        """
        names = ("OS", "Arch", "Variant")
        params = {"reference": name, **(dict(zip(names, platform.split("/"), strict=False)) if platform is not None else {})}
        return self._transfer(("libpod", "images", "pull"), params, auth, insecure=insecure, timeout=timeout)

    def _transfer(
        self, parts: Sequence[str], params: dict[str, str], auth: Mapping[str, str], *, insecure: bool, timeout: float | None = None
    ) -> Iterator[Any]:
        # The SDK's own methods have no place for podman's parameter, which docker does not look at.
        params |= {"tlsVerify": "false"} if insecure else {}
        headers = {"X-Registry-Auth": docker.auth.encode_header(dict(auth))}
        response = self.post(self._endpoint_url(*parts), params=params, headers=headers, stream=True, timeout=timeout)
        return self._stream_helper(response, decode=True)

    def load(self, source: BinaryIO) -> Iterator[Any]:
        """Load a tar of images. The SDK's method gives the engine two minutes for it."""
        # In chunks: of a compressed file that is read uncompressed, requests would announce the compressed size.
        chunks = iter(lambda: source.read(_CHUNK), b"")
        return self._stream_helper(
            self.post(self._endpoint_url("images", "load"), data=chunks, params={"quiet": "1"}, stream=True), decode=True
        )

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """Save several images as one tar; the SDK's method takes one."""
        with _raise_for_status(self.get(self._endpoint_url("images", "get"), params={"names": list(names)}, stream=True)) as response:
            yield from response.iter_content(_CHUNK)

    def log_stream(
        self, container: str, *, follow: bool, tail: int | None, since: str | None = None, timestamps: bool = False
    ) -> Iterator[bytes]:
        """Raw log bytes, framed where the container has no terminal. The SDK's method drops which stream it was."""
        params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail}
        params |= {"since": since} if since is not None else {}
        params |= {"timestamps": 1} if timestamps else {}
        with _raise_for_status(self.get(self._endpoint_url("containers", container, "logs"), params=params, stream=True)) as response:
            yield from response.iter_content(None)

    def begin_wait(self, container: str, *, condition: str) -> Any:
        """Request a container's exit code; the response's headers come at once, its body at the end."""
        url = self._endpoint_url("containers", container, "wait")
        return _raise_for_status(self.post(url, params={"condition": condition}, stream=True))

    def past_events(self, container: str, *, since: int) -> Iterator[Any]:
        """A container's events since ``since`` (Unix seconds) until now; ``stream`` is podman's parameter."""
        params: dict[str, str | int] = {"since": since, "stream": "false", "filters": json.dumps({"container": [container]})}
        return self._stream_helper(self.get(self._endpoint_url("events"), params=params, stream=True), decode=True)

    def exec_output(self, id: str) -> Iterator[bytes]:
        """Start an exec; its framed output. The SDK's own method loses what comes together with the answer's headers."""
        with _raise_for_status(
            self.post(self._endpoint_url("exec", id, "start"), json={"Detach": False, "Tty": False}, stream=True)
        ) as response:
            yield from response.iter_content(None)

    def _endpoint_url(self, *parts: str) -> str:
        return "/".join((self.base_url, f"v{self.api_version}", *(quote(part, safe="/:@") for part in parts)))


class EngineClient:
    """One engine's client, and its two uses: :meth:`call` for one response, :meth:`stream` for a sequence of events."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect and negotiate the API version. Raises the SDK's and the operating system's exceptions: see ``connect``."""
        self.endpoint, tls = endpoint, endpoint.tls
        pair = (str(tls.certificate), str(tls.key)) if tls and tls.certificate and tls.key else None
        self.api = SdkClient(
            is_local=endpoint.is_local,
            dial=endpoint.dial,
            base_url=endpoint.url,
            version="auto",
            timeout=CONNECT_TIMEOUT,
            tls=docker.tls.TLSConfig(client_cert=pair, ca_cert=str(tls.ca) if tls.ca else None, verify=tls.verify) if tls else False,
            use_ssh_client=endpoint.url.startswith("ssh://"),
        )
        self.api.timeout = CALL_TIMEOUT

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    @contextmanager
    def call(self, action: str, *, missing_ok: bool = False) -> Iterator[SdkClient]:
        """The SDK's client for one call. ``action`` completes "… during ACTION"; with ``missing_ok`` a 404 ends the block.

        Raises NotFound (404), Conflict (409), EngineError (any other error status), EngineTimeout, Unreachable (connection lost).
        """
        try:
            yield self.api
        except docker.errors.APIError as error:
            refusal = _error_from(error, action)
            if isinstance(refusal, NotFound) and missing_ok:
                return
            raise refusal from error
        except UnicodeEncodeError as error:
            # Bytes of the command line that the locale cannot decode are surrogates in it.
            raise UsageError(
                f"{action}: a name has bytes that are not valid text", hint="They are not UTF-8, or the locale has none: LANG=C.UTF-8."
            ) from error
        except (docker.errors.DockerException, json.JSONDecodeError) as error:
            raise EngineError(f"the engine's response to {action} is invalid: {_one_line(error)}") from error
        except docker.errors.StreamParseError as error:
            raise self._connection_lost(action) from error
        except (OSError, http.client.HTTPException) as error:
            if any(isinstance(cause, TimeoutError) for cause in causes(error)):
                raise EngineTimeout(f"the engine did not respond in time during {action}", hint="Is it busy? Try again.") from error
            raise self._connection_lost(action) from error

    def stream(self, action: str, start: Callable[[SdkClient], Iterator[T]]) -> Generator[T, None, None]:
        """Yield what ``start`` yields; its failures alone are converted as in :meth:`call`. Closing it makes the engine stop the work."""
        with self.call(action) as client:
            items = iter(start(client))
        while True:
            with self.call(action):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def _connection_lost(self, action: str) -> Unreachable:
        return Unreachable(
            f"the engine stopped answering during {action}",
            hint=f"Is it still running? It was reached at {self.endpoint.url} ({self.endpoint.source}).",
        )


def _raise_for_status(response: Any) -> Any:
    """Return ``response``. Raises the SDK's APIError for an error status."""
    try:
        response.raise_for_status()
    except OSError as error:
        raise docker.errors.APIError(error, response=response, explanation=_explanation(response)) from error  # type: ignore[arg-type]
    return response


def _explanation(response: Any) -> str:
    """The message of an error response: docker's ``message``, podman's ``errorDetail`` or ``cause``; the body where there is none."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        for text in (document.get("message"), event_error(document), document.get("cause")):
            if isinstance(text, str) and text.strip():
                return text
    return (response.text or "").strip()


def _error_from(error: docker.errors.APIError, action: str) -> RegistryToolError:
    message = _one_line(error.explanation or "") or f"the engine refused {action} without a message (status {error.status_code})"
    # Podman's status is 500 for some of what is not there, and for what a container's state does not allow.
    absent = _NOT_THERE.fullmatch(message)
    if error.status_code == 404 or absent:
        return NotFound(f"{action}: {message}" if absent and absent[1] == message else message)
    if error.status_code == 409 or message.endswith(_STATE_FORBIDS):
        return Conflict(message)
    return EngineError(message)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
