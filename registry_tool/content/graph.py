"""What a manifest leads to: its config and layers, an index's children, its subject, its referrers; read over any Target.

:func:`edges` is what a manifest itself says. :func:`walk` reads on from there, each digest once, so that neither a
circle nor an image that a thousand indexes share costs more than it is. :class:`Graph` keeps who names what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from registry_tool.base.errors import ConnectionLost, InvalidManifest, Mismatch, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, INDEXES, SCHEMA_1, Manifest
from registry_tool.targets.target import Target

MAX_DEPTH = 32
"""Manifests inside each other that are read. An index of indexes is two deep, with its referrers and theirs four."""

Role = Literal["config", "layer", "child", "subject", "referrer"]

_MANIFESTS = (*IMAGES, *INDEXES, *SCHEMA_1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """``descriptor`` is named at ``where`` (``layers[2]``), as what ``role`` says."""

    role: Role
    where: str
    descriptor: Descriptor

    @property
    def is_manifest(self) -> bool:
        """Whether a manifest is at its end. Builders keep caches in indexes whose entries are layers."""
        if self.role == "child":
            return self.descriptor.media_type in _MANIFESTS
        return self.role in ("subject", "referrer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A manifest that was come to. ``descriptor`` is as it was named first, ``depth`` how far from a root that was.

    ``manifest`` None: it could not be read, and ``error`` says why. With both, its referrers could not be had.
    ``is_last``: what it names is too deep, and is not walked to.
    """

    descriptor: Descriptor
    depth: int
    manifest: Manifest | None = None
    edges: tuple[Edge, ...] = ()
    error: RegistryToolError | None = None
    is_last: bool = False


def edges(manifest: Manifest) -> tuple[Edge, ...]:
    """All that ``manifest`` names, in its order. Referrers are not among them: it does not know who refers to it."""
    found: list[Edge] = []
    if manifest.config is not None:
        found.append(Edge(role="config", where="config", descriptor=manifest.config))
    found += _numbered("layer", "layers", manifest.layers)
    found += _numbered("child", "manifests", manifest.children)
    if manifest.subject is not None:
        found.append(Edge(role="subject", where="subject", descriptor=manifest.subject))
    return tuple(found)


def referrer_edges(referrers: Iterable[Descriptor]) -> tuple[Edge, ...]:
    """What refers to a manifest, as a registry lists it."""
    return _numbered("referrer", "referrers", referrers)


def _numbered(role: Role, where: str, descriptors: Iterable[Descriptor]) -> tuple[Edge, ...]:
    return tuple(Edge(role=role, where=f"{where}[{number}]", descriptor=each) for number, each in enumerate(descriptors))


# --- reading ---

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Does one thing to each of many, and gives the results in their order: ``map``, or something that uses threads."""


def _nobody(descriptor: Descriptor) -> tuple[Descriptor, ...]:
    return ()


def walk(
    target: Target,
    roots: Iterable[Descriptor],
    *,
    follow: tuple[Role, ...] = ("child", "referrer"),
    referrers: Callable[[Descriptor], Iterable[Descriptor]] = _nobody,
    max_depth: int = MAX_DEPTH,
    each: Each = map,
) -> Iterator[Node]:
    """Read ``roots`` and every manifest that is reached from them by ``follow``: each digest once, the nearest first.

    ``referrers`` asks who refers to a manifest: ``target.referrers``; left out, nobody does. ``each`` may read many at
    once. What cannot be read is a node that says so, and so is one that is ``max_depth`` deep; what concerns the whole
    place is raised: Unreachable, TooManyRequests, CredentialsError.
    """

    def read(depth: int, descriptor: Descriptor) -> Node:
        try:
            manifest = target.manifest(descriptor.digest)
        except _ONE_THINGS_FAILURE as error:
            return Node(descriptor=descriptor, depth=depth, error=_of_one_thing(error))
        found, failure = edges(manifest), None
        try:
            found += referrer_edges(referrers(manifest.descriptor))
        except _ONE_THINGS_FAILURE as error:
            failure = _of_one_thing(error)
        is_last = depth == max_depth and any(edge.is_manifest and edge.role in follow for edge in found)
        return Node(descriptor=descriptor, depth=depth, manifest=manifest, edges=found, error=failure, is_last=is_last)

    seen: set[Digest] = set()
    level = _unseen(roots, seen)
    for depth in range(1, max_depth + 1):
        below: list[Descriptor] = []
        for node in each(partial(read, depth), level):
            below += _unseen((edge.descriptor for edge in node.edges if edge.is_manifest and edge.role in follow), seen)
            yield node
        if not below:
            return
        level = below


def _unseen(descriptors: Iterable[Descriptor], seen: set[Digest]) -> list[Descriptor]:
    found = []
    for descriptor in descriptors:
        if descriptor.digest not in seen:
            seen.add(descriptor.digest)
            found.append(descriptor)
    return found


_ONE_THINGS_FAILURE = (NotFound, Mismatch, InvalidManifest, RegistryError, ConnectionLost)


def _of_one_thing(error: RegistryToolError) -> RegistryToolError:
    """``error``, unless it is one that everything else would meet as well: that is raised."""
    if isinstance(error, TooManyRequests):
        raise error
    return error


# --- who names what ---


class Graph:
    """The nodes of one repository, without their bytes: who names a digest, and from where it is reached."""

    def __init__(self) -> None:
        self.edges: dict[Digest, tuple[Edge, ...]] = {}
        self._named_by: dict[Digest, list[tuple[Digest, Edge]]] = {}

    def add(self, node: Node) -> None:
        """Keep what ``node`` leads to."""
        self.connect(node.descriptor.digest, node.edges)

    def connect(self, digest: Digest, found: tuple[Edge, ...]) -> None:
        """Let ``digest`` lead to what is ``found``, too."""
        self.edges[digest] = self.edges.get(digest, ()) + found
        for edge in found:
            self._named_by.setdefault(edge.descriptor.digest, []).append((digest, edge))

    def named_by(self, digest: Digest) -> tuple[tuple[Digest, Edge], ...]:
        """(the manifest that names it, how), for every manifest that does."""
        return tuple(self._named_by.get(digest, ()))

    def above(self, digest: Digest, *, by: tuple[Role, ...] = ("config", "layer", "child", "referrer")) -> set[Digest]:
        """``digest`` itself, and all from which it is reached: what damage to it damages. A signature is none of its image's."""
        found = {digest}
        waiting = [digest]
        while waiting:
            for holder, edge in self._named_by.get(waiting.pop(), ()):
                if edge.role in by and holder not in found:
                    found.add(holder)
                    waiting.append(holder)
        return found
