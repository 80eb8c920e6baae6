"""Engines' messages (docker 20.10 to 29, podman 4 and 5, without error codes) as this tool's errors with hints. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry_tool.base.address import is_loopback
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
from registry_tool.oci.reference import DOCKER_HUB, Reference

_NO_REGISTRY = (
    "connection refused",
    "no such host",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "connection reset by peer",
    "server misbehaving",
    "client.timeout exceeded",
    ": eof",
    "use of closed network connection",
    "broken pipe",
)
_DENIED = (
    "no basic auth credentials",
    "authentication required",
    "unauthorized",
    "access to the resource is denied",
    "denied:",
    "incorrect username or password",
)
_UNAUTHENTICATED = ("no basic auth credentials", "401 unauthorized", "incorrect username or password")
"""Beside these, "repository does not exist or may require authorization" (containerd) is about the password."""
_PLAIN_HTTP = ("server gave http response to https client",)
_UNTRUSTED = ("x509:", "tls: failed to verify")
_HTML = re.compile(r"invalid character '<'|<html|<!doctype html|unknown: <(?:!--|\?xml|head|title|body|h[1-6]|p|div|center|pre)\b")
"""Docker has the error of its parser, or since 25, as podman, the whole page in the place of the registry's message. Go's <nil> is none."""
_ABSENT_HERE = ("does not exist locally", "no such image", "image not known", "reference does not exist")
_ABSENT_THERE = ("manifest unknown", "not found", "repository does not exist", "name unknown", "no matching manifest")
_FULL = ("no space left on device", "disk quota exceeded")
_BROKEN = ("unexpected http status: 5", "500 internal server error", "blob upload invalid", "unknown: unknown error")
_PORT_TAKEN = ("port is already allocated", "address already in use", "ports are not available")
_NO_COMMAND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NO_PROGRAM = 'exec: "": executable file not found'  # podman's; docker does not create such a container
_NETWORK = "netavark: "  # podman's program for networks
_NO_NFT = "unable to execute nft"
_NFT_HINT = "Podman needs nft for its networks. On Debian and Ubuntu: sudo apt-get install nftables"
_NOT_EXECUTABLE = ("permission denied", "is a directory")
_PREPARING = re.compile("^preparing container [0-9a-f]{64} for attach: ")  # podman's
_PORT_FORBIDDEN = ("cannot expose privileged port", "bind: permission denied")

PORT_HINT = "Choose another one, or stop what holds it."


class PlainHttpRefused(PullFailed):
    """An engine did not pull over plain HTTP."""


def push_error(name: str, message: str) -> RegistryToolError:
    """The error for a failed push of ``name``."""
    if _contains(message, (*_ABSENT_HERE, "tag does not exist")):
        return NotFound(f"the engine has no image {name}", hint="regctl images lists those that are there.")
    return _transfer_error(name, message, "push", PushFailed)


def pull_error(name: str, message: str) -> RegistryToolError:
    """The error for a failed pull of ``name``."""
    # Docker Hub does not distinguish private from missing: "pull access denied …, repository does not exist or …".
    if _contains(message, _ABSENT_THERE) and not _is_page(message) and not _contains(message, (*_NO_REGISTRY, *_UNAUTHENTICATED)):
        hint = f"Is the name right, and was it pushed? regctl list-tags {_reference(name).repository}"
        return NotFound(f"there is no image {name} in its registry: {message}", hint=hint)
    return _transfer_error(name, message, "pull", PullFailed)


def _transfer_error(name: str, message: str, verb: str, kind: type[PushFailed] | type[PullFailed]) -> RegistryToolError:
    host = _reference(name).host
    failed = f"the {verb} of {name} failed"
    if _contains(message, _PLAIN_HTTP):
        return (PlainHttpRefused if kind is PullFailed else kind)(
            f"{failed}: {host} speaks plain HTTP, and the engine expects HTTPS",
            hint=f'Docker: list "{host}" in "insecure-registries" of daemon.json; podman: insecure = true for it in registries.conf.',
        )
    if _contains(message, _UNTRUSTED):
        return kind(
            f"{failed}: the engine does not trust {host}: {message}", hint="Its certificate authority belongs into /etc/docker/certs.d."
        )
    if _is_page(message):
        hint = "Is the port right? Something else listens there."
        return NotARegistry(f"the server at {host} is not a registry: it answered the {verb} with a web page", hint=hint)
    if _contains(message, (*_DENIED, *_UNAUTHENTICATED)):
        return AuthenticationFailed(f"{host} refused the {verb} of {name}: {message}", hint=f"regctl login {host}")
    if _contains(message, _FULL):
        whose = "the registry's" if kind is PushFailed else "the engine's"
        return kind(f"{failed}: {whose} disk is full: {message}", hint="Make room there, then try again.")
    if _contains(message, _NO_REGISTRY):
        hint = "Start it: regctl up." if is_loopback(host) else "Is the name right, and does the network work?"
        return RegistryUnreachable(f"the engine cannot reach the registry {host}: {message}", hint=hint)
    # A registry does not report the reason; a full disk looks like this.
    broken = _contains(message, _BROKEN)
    return kind(f"{failed}: {message}", hint="The registry failed: is its disk full? Its log says why: regctl logs." if broken else None)


def is_disk_full(message: str) -> bool:
    """Whether an engine failed because a disk is full."""
    return _contains(message, _FULL)


def start_error(error: RegistryToolError) -> RegistryToolError:
    """The error for a failed start; ``error`` itself where nothing more is known."""
    if _contains(error.message, _PORT_TAKEN):
        match = re.search(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]| ):(\d+)", error.message)
        port = f"port {match[1]}" if match else "a port"
        return PortTaken(f"{port} is taken: {error.message}", hint=PORT_HINT)
    if _contains(error.message, _PORT_FORBIDDEN):
        return EngineError(error.message, hint="This engine may not bind ports below 1024: choose a higher one.")
    if isinstance(error, NotFound | EngineError | Conflict) and "no such container" not in error.message.lower():
        # As docker's client tells them apart.
        message = _PREPARING.sub("", error.message)
        if _NO_PROGRAM in message:
            return EngineError("no command specified", hint="The image has none. Name one: regctl run IMAGE COMMAND")
        if message.startswith(_NETWORK):
            return EngineError(message, hint=_NFT_HINT if _NO_NFT in message else None)
        if _contains(message, _NO_COMMAND):
            return CommandNotFound(message, hint="Is it in the image? A command replaces the image's own: regctl run IMAGE COMMAND")
        if _contains(message, _NOT_EXECUTABLE):
            return CommandNotExecutable(message, hint="Is it a program, and executable? In the Dockerfile: RUN chmod +x FILE")
    if isinstance(error, NotFound) and "no such container" not in error.message.lower():
        # A command that is not in the image is a 404, too, on some engines.
        return EngineError(error.message)
    return error


def create_error(error: RegistryToolError, *, image: str, name: str | None) -> RegistryToolError:
    """The error for a failed creation; ``error`` itself where nothing more is known."""
    message = error.message.lower()
    if "already in use" in message and name:
        holder = re.search(r"by (?:container )?\"?([0-9a-f]{12})[0-9a-f]*", error.message)
        by = f" by container {holder[1]}" if holder else ""
        return Conflict(f"the container name {name} is taken{by}", hint="Choose another --name, or remove that container.")
    if isinstance(error, NotFound) and _contains(error.message, _ABSENT_HERE):
        return NotFound(f"the engine has no image {image}", hint="regctl images lists those that are there.")
    return error


def causes(error: BaseException) -> list[BaseException]:
    """``error`` and what caused it, outermost first: the SDK, requests and urllib3 wrap exceptions in each other."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _reference(name: str) -> Reference:
    return Reference.parse(name, default_host=DOCKER_HUB)


def _is_page(message: str) -> bool:
    return _HTML.search(message.lower()) is not None


def _contains(message: str, marks: Iterable[str]) -> bool:
    lower = message.lower()
    return any(mark in lower for mark in marks)
