"""Error messages of engines, as they occurred, and the errors made of them."""

from __future__ import annotations

import pytest

from registry_tool.base.errors import (
    AuthenticationFailed,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    EngineError,
    NotARegistry,
    NotFound,
    PortTaken,
    PullFailed,
    PushFailed,
    RegistryToolError,
    RegistryUnreachable,
)
from registry_tool.engine.engine_errors import create_error, pull_error, push_error, start_error

NAME = "localhost:5000/john/get-started:part2"
DENIED = f'resolving "{NAME}": pull access denied, repository does not exist or may require authorization: authorization failed'


@pytest.mark.parametrize(
    ("message", "kind", "hint"),
    [
        ('Get "http://localhost:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', RegistryUnreachable, "regctl up"),
        (
            'Get "http://localhost:5000/v2/": read tcp 127.0.0.1:1->127.0.0.1:5000: read: connection reset by peer',
            RegistryUnreachable,
            "regctl up",
        ),
        ('Head "http://localhost:5000/v2/john/get-started/blobs/sha256:ab": EOF', RegistryUnreachable, "regctl up"),
        ("http: server gave HTTP response to HTTPS client", PushFailed, "insecure-registries"),
        ("x509: certificate signed by unknown authority", PushFailed, "certs.d"),
        ("error parsing HTTP 404 response body: invalid character '<' looking for beginning of value: \"<html>\"", NotARegistry, "port"),
        ("unknown: <!DOCTYPE html>\n<html>\n<p>not found</p></html>", NotARegistry, "port"),  # docker 25 and newer
        ("unknown: <h1>404 not found</h1>", NotARegistry, "port"),
        ("unknown: <nil>", PushFailed, ""),  # Go's word for an error without words
        ("no basic auth credentials", AuthenticationFailed, "regctl login localhost:5000"),
        ("unauthorized: authentication required", AuthenticationFailed, "regctl login localhost:5000"),
        ("denied: requested access to the resource is denied", AuthenticationFailed, "regctl login localhost:5000"),
        ("write /var/lib/registry/x: no space left on device", PushFailed, "room"),
        ("An image does not exist locally with the tag: localhost:5000/john/get-started", NotFound, "regctl images"),
        ("tag does not exist locally", NotFound, "regctl images"),
        # docker 28 with containerd's image store
        ("tag does not exist: localhost:5000/john/get-started:part2", NotFound, "regctl images"),
        ("write tcp 127.0.0.1:1->127.0.0.1:5000: use of closed network connection", RegistryUnreachable, "regctl up"),
        ("failed to copy: write tcp 127.0.0.1:1->127.0.0.1:5000: write: broken pipe", RegistryUnreachable, "regctl up"),
        (
            "unexpected status from POST request to http://localhost:5000/v2/x/blobs/uploads/: 401 Unauthorized",
            AuthenticationFailed,
            "login",
        ),
        ("something new", PushFailed, ""),
        ("received unexpected HTTP status: 500 Internal Server Error", PushFailed, "disk full"),
        ("error from registry: blob upload invalid", PushFailed, "disk full"),
        ("unexpected status from PUT request to http://localhost:5000/v2/x/uploads/1: 500 Internal Server Error", PushFailed, "disk full"),
    ],
)
def test_push_error_by_message(message: str, kind: type[RegistryToolError], hint: str) -> None:
    error = push_error(NAME, message)
    assert type(error) is kind
    assert hint in (error.hint or "")
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("name", "message", "kind", "hint"),
    [
        (NAME, "manifest for localhost:5000/john/get-started:part2 not found: manifest unknown: manifest unknown", NotFound, "list-tags"),
        (
            "nope",
            "pull access denied for nope, repository does not exist or may require 'docker login'",
            NotFound,
            "docker.io/library/nope",
        ),
        (
            "nope",
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            RegistryUnreachable,
            "network",
        ),
        ("nope", "dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: server misbehaving", RegistryUnreachable, "network"),
        (NAME, "connect: connection refused", RegistryUnreachable, "regctl up"),
        (NAME, "error parsing HTTP 404 response body: invalid character '<' …: \"<h1>not found</h1>\"", NotARegistry, "port"),
        (NAME, "unauthorized: authentication required", AuthenticationFailed, "regctl login"),
        (NAME, "unknown: <!DOCTYPE html>\n<html>\n<p>not found</p></html>", NotARegistry, "port"),  # docker 25 and newer
        (NAME, "error unmarshalling content: invalid character '<' looking for beginning of value", NotARegistry, "port"),
        # docker 28 with containerd's image store
        (
            NAME,
            f"{DENIED}: no basic auth credentials",
            AuthenticationFailed,
            "regctl login",
        ),
        (
            NAME,
            f"{DENIED} (server message: insufficient_scope)",
            NotFound,
            "list-tags",
        ),
        (NAME, "failed to register layer: write /bin/x: no space left on device", PullFailed, "room"),
        (NAME, "no matching manifest for linux/arm64/v8 in the manifest list entries", NotFound, ""),
        (NAME, "filesystem layer verification failed for digest sha256:ab", PullFailed, ""),
    ],
)
def test_pull_error_by_message(name: str, message: str, kind: type[RegistryToolError], hint: str) -> None:
    error = pull_error(name, message)
    assert type(error) is kind
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    "message",
    [
        "driver failed programming external connectivity on endpoint x (ab): Bind for 127.0.0.1:4000 failed: port is already allocated",
        "driver failed programming … : Error starting userland proxy: listen tcp4 0.0.0.0:4000: bind: address already in use",
        "rootlessport listen tcp 0.0.0.0:4000: bind: address already in use",
        "Ports are not available: exposing port TCP 0.0.0.0:4000 -> 0.0.0.0:0: listen tcp 0.0.0.0:4000: bind: address already in use",
        "listen tcp6 [::]:4000: bind: address already in use",
    ],
)
def test_start_error_names_the_taken_port(message: str) -> None:
    error = start_error(EngineError(message))
    assert type(error) is PortTaken
    assert error.message.startswith("port 4000 is taken")


@pytest.mark.parametrize(
    "message",
    [
        "rootlessport cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf",
        "listen tcp 127.0.0.1:80: bind: permission denied",
    ],
)
def test_start_error_for_a_privileged_port(message: str) -> None:
    error = start_error(EngineError(message))
    assert type(error) is EngineError
    assert error.hint is not None
    assert "1024" in error.hint


def test_missing_command_is_not_a_missing_container() -> None:
    message = 'OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown'
    assert type(start_error(NotFound(message))) is CommandNotFound
    assert type(start_error(EngineError('exec: "/etc": permission denied: unknown'))) is CommandNotExecutable
    assert type(start_error(NotFound("something else is not there"))) is EngineError
    assert type(start_error(NotFound("No such container: abc"))) is NotFound


@pytest.mark.parametrize(
    "message",
    [
        'Conflict. The container name "/web" is already in use by container "0123456789abcdef0123". You have to remove (or rename) it.',
        'the container name "web" is already in use by 0123456789abcdef0123.',
    ],
)
def test_create_error_names_the_holder_of_the_name(message: str) -> None:
    error = create_error(Conflict(message), image="a", name="web")
    assert type(error) is Conflict
    assert error.message == "the container name web is taken by container 0123456789ab"


def test_create_error_for_a_missing_image() -> None:
    error = create_error(NotFound("No such image: a:latest"), image="a", name=None)
    assert error.message == "the engine has no image a"


def test_unknown_error_stays_unchanged() -> None:
    unknown = EngineError("something new")
    assert create_error(unknown, image="a", name="b") is unknown
    assert start_error(unknown) is unknown
