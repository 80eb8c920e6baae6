"""Descriptors and platforms (OCI image specification 1.1, descriptor.md and image-index.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.oci.digest import Digest

_PLATFORM_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# Synonyms to docker. ``arm64`` and ``arm64/v8`` are one platform, and so are ``arm`` and ``arm/v7``.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``linux/amd64``, ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``OS/ARCHITECTURE[/VARIANT]`` as typed for ``--platform``. Raises ValueError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(map(_PLATFORM_PART.fullmatch, parts)):
            raise ValueError(f"not a platform: {text[:80]!r}")
        os, architecture, *variant = (part.lower() for part in parts)
        return cls(os=os, architecture=_ARCHITECTURES.get(architecture, architecture), variant="".join(variant))

    def fits(self, wanted: Platform) -> bool:
        """Whether both are one platform; a missing variant is the architecture's default."""
        return self._normalized() == wanted._normalized()

    def _normalized(self) -> tuple[str, str, str]:
        return self.os, self.architecture, self.variant or _DEFAULT_VARIANTS.get(self.architecture, "")

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Type, digest and size (bytes) of content. ``urls`` of a foreign layer are shown, never followed."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    artifact_type: str | None = None

    def as_json(self) -> dict[str, object]:
        """Its members in a manifest, without the empty ones."""
        members: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            members["urls"] = list(self.urls)
        if self.annotations:
            members["annotations"] = dict(self.annotations)
        if self.platform is not None:
            parts = {"os": self.platform.os, "architecture": self.platform.architecture, "variant": self.platform.variant}
            members["platform"] = {name: value for name, value in parts.items() if value or name != "variant"}
        if self.artifact_type is not None:
            members["artifactType"] = self.artifact_type
        return members
