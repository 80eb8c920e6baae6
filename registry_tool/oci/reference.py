"""A reference names an image: ``[HOST/]PATH[:TAG][@DIGEST]`` (distribution/reference, the whole grammar).

A reference is only ever obtained by :meth:`Reference.parse`. What a name without a host means is the caller's to
say: on the registry's side it is the local registry, on the engine's side it is Docker Hub, spelled ``docker.io``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from registry_tool.base.address import HostPort
from registry_tool.base.errors import InvalidReference, UsageError
from registry_tool.oci.digest import Digest

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
MAX_PATH_LENGTH = 255
MAX_TAG_LENGTH = 128

_EXAMPLE = "A name looks like john/get-started:part2."

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_TYPED_HOST = re.compile(r"(?:https?://)?(?P<host>[^/]*)(?:/(?:v[12]/?)?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One image's name, taken apart. ``host`` is where its registry answers, with the port where one was given."""

    host: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_host: str) -> Reference:
        """Read ``text``; a name without a host belongs to ``default_host``.

        ``docker.io/alpine`` is ``docker.io/library/alpine``, as everywhere. Nothing is added where neither tag nor
        digest was given: see :meth:`or_latest`. Raises InvalidReference, whose message names the part that is wrong.
        """
        if not text:
            raise InvalidReference("the name is empty", hint=_EXAMPLE)
        if text.startswith(("http://", "https://")):
            raise InvalidReference(f"{_shown(text)} is an address for a browser, not a name", hint="Leave out the http:// or https://.")
        rest, at, digest_text = text.partition("@")
        digest = _digest(digest_text, text) if at else None
        host, rest = _split_host(rest, text, default_host)
        rest, tag = _split_tag(rest, text)
        if host == DOCKER_HUB and "/" not in rest:
            rest = f"library/{rest}"
        _check_path(rest, text)
        return cls(host=host, path=rest, tag=tag, digest=digest)

    def or_latest(self) -> Reference:
        """The same, with the tag ``latest`` where there is neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository by digest alone."""
        return replace(self, tag=None, digest=digest)

    @property
    def repository(self) -> str:
        """``HOST/PATH``: the repository with its registry."""
        return f"{self.host}/{self.path}"

    @property
    def familiar(self) -> str:
        """As docker prints it: without ``docker.io/library/``."""
        text = str(self)
        for prefix in (f"{DOCKER_HUB}/library/", f"{DOCKER_HUB}/"):
            if text.startswith(prefix):
                return text[len(prefix) :]
        return text

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.path}{tag}{digest}"


def has_host(text: str) -> bool:
    """Whether the name's first part is a host: it has a dot or a port, or is ``localhost``.

    docker also takes ``John/app`` for a host named ``John``; here that is a repository with a wrong letter, and said so.
    """
    first, slash, _ = text.partition("/")
    if not slash:
        return False
    return first == "localhost" or any(mark in first for mark in ".:[")


def registry_host(text: str) -> str:
    """``HOST[:PORT]`` of a registry as people type it: ``https://HOST/v2/`` will do, too. Raises UsageError."""
    match = _TYPED_HOST.fullmatch(text.strip())
    try:
        return _checked_host(match["host"] if match else text)
    except ValueError:
        raise UsageError(
            f"{text[:80]!r} is not a registry's address", hint="It looks like localhost:5000 or registry.example.com."
        ) from None


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag. What a registry lists as one need not be."""
    return len(text) <= MAX_TAG_LENGTH and _TAG.fullmatch(text) is not None


def _split_host(rest: str, text: str, default_host: str) -> tuple[str, str]:
    if not has_host(rest):
        return default_host, rest
    host, _, path = rest.partition("/")
    try:
        return _checked_host(host), path
    except ValueError as error:
        raise _invalid(text, str(error)) from None


def _checked_host(host: str) -> str:
    HostPort.parse(host)
    return DOCKER_HUB if host == "index.docker.io" else host


def _split_tag(rest: str, text: str) -> tuple[str, str | None]:
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, None
    if not tag:
        raise _invalid(text, "the tag is empty")
    if len(tag) > MAX_TAG_LENGTH:
        raise _invalid(text, f"the tag has {len(tag)} characters, {MAX_TAG_LENGTH} are allowed")
    if not _TAG.fullmatch(tag):
        raise _invalid(text, f"{tag!r} is not a tag: letters, digits, '_', '.' and '-', not beginning with '.' or '-'")
    return path, tag


def _check_path(path: str, text: str) -> None:
    if len(path) > MAX_PATH_LENGTH:
        raise _invalid(text, f"the repository has {len(path)} characters, {MAX_PATH_LENGTH} are allowed")
    for component in path.split("/"):
        if _COMPONENT.fullmatch(component):
            continue
        if not component:
            raise _invalid(text, "a part between two slashes is empty")
        if component != component.lower() and _COMPONENT.fullmatch(component.lower()):
            raise _invalid(text, f"{component!r} has upper-case letters: repository names are lower case", hint=f"Try {_lower(text)!r}.")
        raise _invalid(
            text, f"{component!r} is not a repository name: lower-case letters and digits, with '.', '_', '__' or '-' between them"
        )


def _digest(digest_text: str, text: str) -> Digest:
    try:
        return Digest.parse(digest_text)
    except ValueError as error:
        raise _invalid(text, str(error)) from None


def _lower(text: str) -> str:
    """``text`` with all but its tag in lower case: a tag may have upper-case letters."""
    name, at, digest = text.partition("@")
    path, colon, tag = name.rpartition(":")
    lower = f"{path.lower()}:{tag}" if colon and "/" not in tag else name.lower()
    return f"{lower}{at}{digest}"


def _invalid(text: str, why: str, *, hint: str = _EXAMPLE) -> InvalidReference:
    return InvalidReference(f"invalid name {_shown(text)}: {why}", hint=hint)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
