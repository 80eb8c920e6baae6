"""Where a Dockerfile comes from, and how the builder gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from registry_tool.base.errors import BuildFailed

IGNORE_FILE = ".dockerignore"
DEFAULT_NAMES = ("Dockerfile", "dockerfile")
OUTSIDE_DOCKERFILE = ".dockerfile-from-elsewhere"

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
"""How gzip, bzip2, xz and Zstandard begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileSource:
    """A Dockerfile. ``inside`` is its path in the build context, ``ignore_file`` the one beside it, which need not exist."""

    content: bytes = field(repr=False)
    inside: str = OUTSIDE_DOCKERFILE
    ignore_file: Path | None = None

    @property
    def text(self) -> str:
        """The content for reading: a comment may be in any encoding, and the builder gets the bytes."""
        return self.content.decode("utf-8-sig", "replace")

    @classmethod
    def from_stdin(cls, content: bytes) -> DockerfileSource:
        """The Dockerfile that was read from standard input. Raises BuildFailed where it is empty or an archive."""
        if not content.strip():
            raise BuildFailed("the Dockerfile on standard input is empty")
        if content.startswith(_COMPRESSED) or content[257:262] == b"ustar":
            raise BuildFailed("a build context as an archive on standard input is not supported", hint="Unpack it, and build the folder.")
        return cls(content=content)

    @classmethod
    def on_disk(cls, context: Path, path: Path | None = None) -> DockerfileSource:
        """The Dockerfile at ``path``, by default ``context``'s own, whichever links lead to it. Raises BuildFailed."""
        if not context.is_dir():
            raise BuildFailed(f"there is no build context {context}", hint="It is a folder with a Dockerfile in it.")
        if path is None:
            path = next((context / name for name in DEFAULT_NAMES if (context / name).exists()), context / DEFAULT_NAMES[0])
        try:
            content = path.read_bytes()
            target, root = path.resolve(), context.resolve()
        except FileNotFoundError:
            raise BuildFailed(f"there is no Dockerfile {path.absolute()}", hint="-f names another one.") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise BuildFailed(f"{path} cannot be read: {error}") from error
        if not content.strip():
            raise BuildFailed(f"{path} is empty")
        inside = target.relative_to(root).as_posix() if target.is_relative_to(root) else OUTSIDE_DOCKERFILE
        return cls(content=content, inside=inside, ignore_file=path.with_name(f"{path.name}{IGNORE_FILE}"))
