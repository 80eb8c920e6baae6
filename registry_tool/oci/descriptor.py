"""Descriptors and platforms (OCI image specification 1.1, descriptor.md and image-index.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry_tool.oci.digest import Digest

_PLATFORM_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_SYSTEM = re.compile(
    r"(?P<os>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\((?P<version>[A-Za-z0-9._-]*)(?P<features>(?:\+[A-Za-z0-9._-]+)*)\))?", re.ASCII
)
# Synonyms to docker. ``arm64`` and ``arm64/v8`` are one platform, and so are ``arm`` and ``arm/v7``.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``linux/amd64``, ``linux/arm64/v8``, ``windows(10.0.17763.1+win32k)/amd64`` with ``os.version`` and ``os.features``."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read what is typed for ``--platform``: as :meth:`__str__` writes it, or crane's ``OS/ARCHITECTURE[/VARIANT]:OSVERSION``.

        Raises ValueError.
        """
        name, colon, version = text.partition(":")
        parts = name.split("/")
        match = _SYSTEM.fullmatch(parts[0])
        if match is None or len(parts) not in (2, 3) or not all(map(_PLATFORM_PART.fullmatch, parts[1:])):
            raise ValueError(f"not a platform: {text[:80]!r}")
        if colon and (match["version"] or not _PLATFORM_PART.fullmatch(version)):
            raise ValueError(f"not a platform: {text[:80]!r}")
        architecture, *variant = (part.lower() for part in parts[1:])
        return cls(
            os=match["os"].lower(),
            architecture=_ARCHITECTURES.get(architecture, architecture),
            variant="".join(variant),
            os_version=version or match["version"] or "",
            os_features=tuple((match["features"] or "").split("+")[1:]),
        )

    def fits(self, wanted: Platform) -> bool:
        """Whether it is the ``wanted`` platform, whose version may be the beginning of its own. A missing variant is the default one."""
        is_version = f"{self.os_version}.".startswith(f"{wanted.os_version}.") if wanted.os_version else True
        return self._normalized() == wanted._normalized() and is_version and set(wanted.os_features) <= set(self.os_features)

    def _normalized(self) -> tuple[str, str, str]:
        return self.os, self.architecture, self.variant or _DEFAULT_VARIANTS.get(self.architecture, "")

    def __str__(self) -> str:
        details = "+".join((self.os_version, *self.os_features))
        system = f"{self.os}({details})" if details else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


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
            platform = self.platform
            optional = {"variant": platform.variant, "os.version": platform.os_version, "os.features": list(platform.os_features)}
            required = {"os": platform.os, "architecture": platform.architecture}
            members["platform"] = {**required, **{name: value for name, value in optional.items() if value}}
        if self.artifact_type is not None:
            members["artifactType"] = self.artifact_type
        return members
