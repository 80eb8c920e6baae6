"""Reading files of rules: skopeo's YAML (skopeo-sync(1)), and a TOML of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from registry_tool.auth.credentials import Credential
from registry_tool.base import toml_reader, yaml_reader
from registry_tool.base.errors import NotFound, RegistryToolError, UsageError
from registry_tool.base.reader import Document
from registry_tool.content.copy import CopyOptions
from registry_tool.content.copy.jobs import TagSelection
from registry_tool.content.copy.location import Location, join_name
from registry_tool.content.sync.rules import MAX_SIZE, HostAccess, SyncRule, SyncRules, destination_of
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.reference import registry_host
from registry_tool.oci.versions import Range

Value = TypeVar("Value")

_YAML_KEYS = ("images", "images-by-tag-regex", "images-by-semver", "credentials", "tls-verify", "cert-dir")
_TOML_KEYS = ("destination", "scoped", "platforms", "referrers", "image")
_IMAGE_KEYS = ("source", "destination", "tags", "regex", "semver", "platforms", "referrers")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def load(path: Path, destination: str | None, *, default_host: str, scoped: bool = False, options: CopyOptions) -> SyncRules:
    """Read the rules in a file: TOML where its name ends so, else skopeo's YAML.

    ``destination`` is where a rule says nothing else, and always for YAML; ``options`` likewise. Raises NotFound,
    RegistryToolError where it cannot be read, UsageError.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}", hint="See: regctl sync --help") from None
    except OSError as error:
        raise RegistryToolError(f"{path} cannot be read: {error.strerror or error}") from error
    read = from_toml if path.suffix == ".toml" else from_yaml
    rules = read(content, str(path), destination, default_host=default_host, scoped=scoped, options=options)
    rules.check(str(path))
    return rules


# --- skopeo's YAML ---


def from_yaml(content: bytes, file: str, destination: str | None, *, default_host: str, scoped: bool, options: CopyOptions) -> SyncRules:
    """Read skopeo's YAML: registry -> ``images``, ``images-by-tag-regex``, ``images-by-semver``. Raises UsageError."""
    document, _ = yaml_reader.read(content, file=file)
    if destination is None:
        raise UsageError(f"{file} names no destination", hint=f"Name it: regctl sync {file} DESTINATION")
    target = _below(destination, default_host)
    parse = partial(Location.parse, default_host=default_host)
    rules: list[SyncRule] = []
    access: dict[str, HostAccess] = {}
    notes: list[str] = []
    for name in document.members:
        registry = document.inner(name)
        registry.only(_YAML_KEYS)
        host = _checked(document, name, registry_host, name)
        credentials = registry.inner("credentials")
        credential = None
        if credentials.members:
            credential = Credential(credentials.required_text("username"), credentials.text("password") or "")
        verify = registry.parsed("tls-verify", _truth)
        access[host] = HostAccess(credential=credential, insecure=None if verify is None else not verify)
        if registry.has("cert-dir"):
            notes.append(f"{file}: {name}: cert-dir is not read; certificates are taken from docker's certs.d")
        for repository, images, tags in _yaml_images(registry):
            source = _checked(registry, repository, parse, f"{host}/{repository}")
            where = destination_of(source, target, scoped=scoped)
            rules.append(SyncRule(source=source, destination=where, images=images, tags=tags, options=options))
    return SyncRules(rules=tuple(rules), access=access, notes=tuple(notes))


def _yaml_images(registry: Document) -> Iterator[tuple[str, tuple[str, ...], TagSelection]]:
    """(repository, tags and digests by name, selection) of each image of a registry."""
    images = registry.inner("images")
    for name in images.members:
        named = images.texts(name, empty=False)
        yield name, named, TagSelection(all=not named)
    by_regex = registry.inner("images-by-tag-regex")
    for name in by_regex.members:
        yield name, (), TagSelection(regex=by_regex.required(name, _regex))
    by_version = registry.inner("images-by-semver")
    for name in by_version.members:
        yield name, (), TagSelection(versions=by_version.required(name, _range))


# --- a TOML of our own ---


def from_toml(content: bytes, file: str, destination: str | None, *, default_host: str, scoped: bool, options: CopyOptions) -> SyncRules:
    """Read our TOML: ``destination``, and an ``[[image]]`` for each repository. Raises UsageError."""
    source = toml_reader.source(file)
    document = Document(toml_reader.read(content, file=file, max_size=MAX_SIZE, source=source), source=source)
    document.only(_TOML_KEYS)
    scoped = scoped or document.truth("scoped")
    options = _options(document, options)
    default = document.text("destination", empty=False) or destination
    parse = partial(Location.parse, default_host=default_host)
    rules = []
    for image in document.objects("image"):
        image.only(_IMAGE_KEYS)
        name = image.required_text("source")
        location = _checked(image, "source", parse, name)
        where = image.text("destination", empty=False) or default
        if where is None:
            image.refuse("destination", "missing, and the file has none for all images")
        target = _checked(image, "destination", parse, where)
        tags = TagSelection(
            globs=image.texts("tags", empty=False), regex=image.parsed("regex", _regex), versions=image.parsed("semver", _range)
        )
        images = (location.image,) if location.image is not None else ()
        if images and tags:
            image.refuse("source", f"{name} is one image, and tags are selected", hint=f"Try: {location.store}")
        rules.append(
            SyncRule(
                source=location,
                destination=destination_of(location, target, scoped=scoped),
                images=images,
                tags=tags if tags or images else TagSelection(all=True),
                options=_options(image, options),
            )
        )
    return SyncRules(rules=tuple(rules))


def _options(document: Document, options: CopyOptions) -> CopyOptions:
    """``options``, with what ``document`` says."""
    platforms = tuple(_checked(document, "platforms", Platform.parse, text) for text in document.texts("platforms"))
    referrers = document.truth("referrers") if document.has("referrers") else options.referrers
    return replace(options, platforms=platforms or options.platforms, referrers=referrers)


# --- parts of both ---


def sources(rule: SyncRule) -> list[Location]:
    """The places that a rule copies from: its images by name, or the repository."""
    if not rule.images or rule.source.image is not None:
        return [rule.source]
    return [Location.parse(join_name(rule.name, image), default_host="") for image in rule.images]


def _below(destination: str, default_host: str) -> Location:
    """A destination, which is a prefix where it is a name in a registry: skopeo writes no slash at its end."""
    location = Location.parse(destination, default_host=default_host)
    if location.kind != "registry" or location.is_prefix:
        return location
    if location.image is not None:
        raise UsageError(f"{destination} is one image, and repositories are mirrored", hint=f"Try: {location.store}/")
    return Location.parse(f"{location.store}/", default_host=default_host)


def _checked(document: Document, key: str, parse: Callable[[str], Value], text: str) -> Value:
    """``text`` as ``parse`` reads it; its error says where in the file it is."""
    try:
        return parse(text)
    except (UsageError, ValueError) as error:
        document.refuse(key, error.message if isinstance(error, UsageError) else str(error))


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


def _range(text: str) -> Range:
    try:
        return Range.parse(text)
    except UsageError as error:
        raise ValueError(error.message) from None


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError(f"{text[:80]!r} is neither true nor false")
    return _TRUTHS[text.lower()]
