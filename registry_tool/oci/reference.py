"""References: ``[HOST/]PATH[:TAG][@DIGEST]`` (distribution/reference). The caller decides what a name without a host means."""

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
    """The name of an image, parsed. ``host`` is its registry's ``HOST[:PORT]``."""

    host: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_host: str) -> Reference:
        """Read ``text``; without a host it is in ``default_host``. No tag is added. Raises InvalidReference, which names the wrong part."""
        if not text:
            raise InvalidReference("the name is empty", hint=_EXAMPLE)
        if text.startswith(("http://", "https://")):
            raise InvalidReference(f"{_shown(text)} is a URL, not a name", hint="Leave out the http:// or https://.")
        name, at, digest_text = text.partition("@")
        try:
            digest = Digest.parse(digest_text) if at else None
        except ValueError as error:
            raise _invalid(text, str(error)) from None
        host, name = _split_host(name, text, default_host)
        name, tag = _split_tag(name, text)
        if host == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        _check_path(name, text)
        return cls(host=host, path=name, tag=tag, digest=digest)

    def or_latest(self) -> Reference:
        """This reference, with the tag ``latest`` where it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository, by digest only."""
        return replace(self, tag=None, digest=digest)

    @property
    def repository(self) -> str:
        """``HOST/PATH``: the repository with its registry."""
        return f"{self.host}/{self.path}"

    @property
    def familiar(self) -> str:
        """The familiar name, as docker prints it: without ``docker.io/library/``."""
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
    """Whether its first part is a host: with a dot or colon, or ``localhost``. ``John/app`` has none, unlike in docker: it is an error."""
    first, slash, _ = text.partition("/")
    if not slash:
        return False
    return first == "localhost" or any(mark in first for mark in ".:[")


def registry_host(text: str) -> str:
    """``HOST[:PORT]`` of a registry as people type it: ``https://HOST/v2/`` will do, too. Raises UsageError."""
    try:
        match = _TYPED_HOST.fullmatch(text.strip())
        return _checked_host(match["host"] if match else text)
    except (ValueError, AttributeError, TypeError):
        raise UsageError(
            f"{str(text)[:80]!r} is not a registry's address", hint="It looks like localhost:5000 or registry.example.com."
        ) from None


def check_repository(path: str) -> None:
    """Raise InvalidReference, which names the wrong part, where ``path`` is not a repository's."""
    if not isinstance(path, str):
        raise InvalidReference(f"{str(path)[:80]!r} is not a repository's name", hint=_EXAMPLE)
    _check_path(path, path)


def is_tag(text: str) -> bool:
    """Whether ``text`` is a valid tag. What a registry lists may be none."""
    return len(text) <= MAX_TAG_LENGTH and _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Whether ``text`` is a valid path of a repository. What a registry lists may be none."""
    return len(text) <= MAX_PATH_LENGTH and all(map(_COMPONENT.fullmatch, text.split("/")))


def _split_host(name: str, text: str, default_host: str) -> tuple[str, str]:
    if not has_host(name):
        return default_host, name
    host, _, path = name.partition("/")
    try:
        return _checked_host(host), path
    except ValueError as error:
        raise _invalid(text, str(error)) from None


def _checked_host(host: str) -> str:
    HostPort.parse(host)
    return DOCKER_HUB if host == "index.docker.io" else host


def _split_tag(name: str, text: str) -> tuple[str, str | None]:
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None
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
