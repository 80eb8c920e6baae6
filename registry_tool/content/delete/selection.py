"""What to delete, as it is typed: ``NAME:TAG``, ``NAME@DIGEST``, ``NAME:GLOB``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from registry_tool.base.errors import UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One of: ``tag``; ``digest``; ``tag`` where it is at ``digest``, and nothing where it is not; ``pattern``, a glob over tags.

    ``repository`` is ``HOST/PATH``.
    """

    repository: str
    tag: str | None = None
    digest: Digest | None = None
    pattern: str | None = None

    @classmethod
    def parse(cls, text: str, *, default_host: str) -> tuple[Reference, Selection]:
        """Return (repository, selection in it). Raises UsageError where a name has neither tag nor digest, InvalidReference."""
        name, pattern = _split_glob(text)
        reference = Reference.parse(name, default_host=default_host)
        if pattern is not None and reference.tag is not None:
            raise UsageError(f"{text!r} has both a tag and a glob", hint="One of them: NAME:v1 or 'NAME:v1.*'.")
        if pattern is None and reference.tag is None and reference.digest is None:
            raise UsageError(
                f"{text} names no tag, digest or glob of tags to delete",
                hint=f"Type {text}:latest for one tag, or '{text}:*' for all of them.",
            )
        selection = cls(repository=reference.repository, tag=reference.tag, digest=reference.digest, pattern=pattern)
        return replace(reference, tag=None, digest=None), selection

    def matching(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of ``tags`` that are selected; a glob's are sorted."""
        if self.pattern is not None:
            return tuple(sorted(tag for tag in tags if fnmatchcase(tag, self.pattern)))
        return tuple(tag for tag in tags if tag == self.tag)

    def __str__(self) -> str:
        """The reference, with its host."""
        tag = self.pattern or self.tag
        return f"{self.repository}{f':{tag}' if tag else ''}{f'@{self.digest}' if self.digest else ''}"


def _split_glob(text: str) -> tuple[str, str | None]:
    """(name, glob over its tags); None where there is no glob."""
    name, colon, pattern = text.rpartition(":")
    if not colon or "/" in pattern:
        name, pattern = text, ""
    if _GLOB.search(name):
        raise UsageError(f"{text!r} has a glob outside of the tag", hint="One repository at a time; it looks like 'john/get-started:v1.*'.")
    if not _GLOB.search(pattern):
        return text, None
    if "@" in name or "@" in pattern:
        raise UsageError(f"{text!r} has both a glob and a digest", hint="A digest is typed whole; a glob is over tags: 'NAME:v1.*'.")
    return name, pattern
