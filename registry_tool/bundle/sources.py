"""Names of images: of a compose file, of Kubernetes objects (a chart as Helm renders it), of a list in TOML, of a registry by a glob."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from registry_tool.base import toml_reader, yaml_reader
from registry_tool.base.errors import InvalidReference, NotFound, UsageError
from registry_tool.base.interpolation import expand
from registry_tool.base.reader import Document
from registry_tool.content.protection import is_protection_tag
from registry_tool.oci.reference import DEFAULT_TAG, DOCKER_HUB, Reference, has_host
from registry_tool.targets.registry import Registry

MAX_BYTES = 4 << 20
_GLOB = frozenset("*?[")
# Tekton's $(params.image), and what Argo Workflows fill in; a chart that is not rendered has {{ .Values }} instead.
_FILLED_IN_LATER = re.compile(r"\$\(|\{\{=|\{\{-?\s*(?:inputs|outputs|workflow|item|steps|tasks|pod)\b")


def compose_images(content: bytes, *, file: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The images of a compose file's services, variables filled in. Raises UsageError."""
    document, _ = yaml_reader.read(content, file=file, expand=lambda text: expand(text, environment.get))
    services = document.inner("services")
    names = (services.inner(name).text("image", empty=False) for name in services.members)
    return _whole_names((name for name in names if name is not None), file, "no service has an image")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestImages:
    """Images of Kubernetes objects; ``filled_in_later`` are texts that only a running workflow knows, as ``$(params.image)``."""

    names: tuple[str, ...]
    filled_in_later: tuple[str, ...]


def manifest_images(content: bytes, *, file: str) -> ManifestImages:
    """The images of Kubernetes objects: every ``image`` in any of the documents, of volumes, too. Raises UsageError."""
    texts = yaml_reader.texts_at(content, "image", file=file, max_size=MAX_BYTES, inner="reference")
    later = tuple(text for text in texts if _FILLED_IN_LATER.search(text))
    names = (text for text in texts if text not in later)
    return ManifestImages(names=_whole_names(names, file, "no object has an image"), filled_in_later=later)


def listed_images(content: bytes, *, file: str) -> tuple[str, ...]:
    """The list ``images`` of a TOML file, each as it would be typed. Raises UsageError."""
    source = toml_reader.source(file)
    document = Document(toml_reader.read(content, file=file, max_size=MAX_BYTES, source=source), source=source)
    document.only(("images",))
    names = document.texts("images", empty=False)
    if not names:
        raise UsageError(f"{file} lists no image", hint='It looks like images = ["john/get-started:part2"].')
    return names


def is_glob(name: str) -> bool:
    """Whether ``name`` stands for all images of a registry that match it."""
    return not _GLOB.isdisjoint(name)


def matching_images(glob: str, *, default_host: str, open_registry: Callable[[str], Registry]) -> tuple[str, ...]:
    """The images of a registry that match ``[HOST/]REPOSITORY[:TAG]``; without a tag those with the tag latest.

    Raises NotFound where there is none.
    """
    host, path = glob.split("/", 1) if has_host(glob) else (default_host, glob)
    repositories, colon, tags = path.rpartition(":") if ":" in path.rpartition("/")[2] else (path, "", DEFAULT_TAG)
    names = []
    with open_registry(host) as registry:
        for repository in sorted(registry.catalog()) if is_glob(repositories) else [repositories]:
            if not fnmatchcase(repository, repositories):
                continue
            try:
                present = registry.repository(repository).tags()
            except NotFound:
                # Without a tag a repository may be listed, and not be there.
                continue
            names += [f"{host}/{repository}:{tag}" for tag in present if fnmatchcase(tag, tags) and not is_protection_tag(tag)]
    if not names:
        hint = "See: regctl catalog" if colon else f"All tags of it: {glob}:*"
        raise NotFound(f"no image matches {glob}", hint=hint)
    return tuple(names)


def _whole_names(names: Iterable[str], file: str, otherwise: str) -> tuple[str, ...]:
    """Names as docker means them, each once."""
    whole: Sequence[str] = [_whole_name(name, file) for name in names if name]
    if not whole:
        raise UsageError(f"{file}: {otherwise}", hint="Is this the file you meant?")
    return tuple(dict.fromkeys(whole))


def _whole_name(name: str, file: str) -> str:
    try:
        return str(Reference.parse(name, default_host=DOCKER_HUB).or_latest())
    except InvalidReference as error:
        raise UsageError(f"{file}: {error.message}", hint="Render a chart first: helm template CHART") from error
