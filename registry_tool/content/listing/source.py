"""Where a table's content comes from: a repository that is asked no more than it allows, and a cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from registry_tool.base.errors import AuthenticationFailed, ConnectionLost, RegistryToolError, TooManyRequests, Unreachable
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import Manifest
from registry_tool.targets.target import Readable

Answer = TypeVar("Answer")


class Cache(Protocol):
    """Small content from an earlier run, by its digest; may know nothing. Threads share it."""

    def get(self, digest: Digest) -> bytes | None: ...

    def put(self, digest: Digest, content: bytes) -> None: ...


class ContentSource(Protocol):
    """What a table is made from: a repository in a registry. ``head`` costs less than a manifest, and on Docker Hub nothing."""

    @property
    def rate_limit_remaining(self) -> int | None: ...

    def tags(self) -> tuple[str, ...]: ...

    def head(self, reference: str) -> Descriptor: ...

    def manifest(self, reference: str | Digest) -> Manifest: ...

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> AbstractContextManager[Readable]: ...

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]: ...


class NoCache:
    """Knows nothing, and forgets it."""

    def get(self, digest: Digest) -> bytes | None:
        return None

    def put(self, digest: Digest, content: bytes) -> None:
        return None


class Memory:
    """A cache that keeps what ``below`` does not."""

    def __init__(self, below: Cache) -> None:
        self._below = below
        self._kept: dict[Digest, bytes] = {}

    def get(self, digest: Digest) -> bytes | None:
        return self._kept.get(digest) or self._below.get(digest)

    def put(self, digest: Digest, content: bytes) -> None:
        self._kept[digest] = content
        self._below.put(digest, content)


class RateLimiter:
    """How many requests the registry lets us make, by its own word: no more than that are under way, and none beyond."""

    def __init__(self, source: ContentSource) -> None:
        self._source = source
        self._under_way = 0
        self._least: int | None = None
        self._changed = threading.Condition()

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask when it may be asked. Raises TooManyRequests, before anything was asked, where nothing is left."""
        with self._changed:
            while (left := self._left()) is not None and left <= self._under_way:
                if not self._under_way:
                    raise TooManyRequests(
                        "the registry lets us ask nothing more for now (RateLimit-Remaining: 0)", hint="Wait, or log in: regctl login"
                    )
                self._changed.wait()
            self._under_way += 1
        try:
            return question()
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _left(self) -> int | None:
        """The least that was said: answers overtake each other, and an older one would promise more than there is."""
        said = self._source.rate_limit_remaining
        if said is not None:
            self._least = said if self._least is None else min(said, self._least)
        return self._least


def ends_all(error: RegistryToolError) -> bool:
    """Whether there is no use in asking the registry for anything else."""
    return isinstance(error, (TooManyRequests, AuthenticationFailed, Unreachable)) and not isinstance(error, ConnectionLost)
