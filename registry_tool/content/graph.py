"""The manifests of a repository and what they name: :func:`traverse` reads on from one to the next, :class:`Graph` keeps who names what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from registry_tool.base.concurrency import map_ordered
from registry_tool.base.errors import ConnectionLost, InvalidManifest, Mismatch, NotFound, RegistryError, RegistryToolError, TooManyRequests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import IMAGES, INDEXES, SCHEMA_1, Manifest

MAX_DEPTH = 16
"""Manifests inside each other that are read. An index of indexes is two deep, with its referrers and theirs four."""
MANIFESTS = frozenset((*IMAGES, *INDEXES, *SCHEMA_1))
"""Media types of manifests."""

Role = Literal["config", "layer", "child", "subject", "referrer"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """``descriptor`` is named at ``path`` of a manifest (``layers[2]``), as its ``role``."""

    role: Role
    path: str
    descriptor: Descriptor

    @property
    def is_manifest(self) -> bool:
        """Whether it leads to a manifest. Builders keep caches in indexes whose entries are layers."""
        if self.role == "child":
            return self.descriptor.media_type in MANIFESTS
        return self.role in ("subject", "referrer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A manifest and its referrers. ``descriptor`` is the first that led to it.

    ``manifest`` is None where it could not be read, and ``error`` says why. With both, its referrers could not be listed.
    ``is_last``: it leads on, and is MAX_DEPTH deep itself.
    """

    descriptor: Descriptor
    manifest: Manifest | None = None
    referrers: tuple[Descriptor, ...] = ()
    error: RegistryToolError | None = None
    is_last: bool = False

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All that it names, in its order, and its referrers."""
        return (edges(self.manifest) if self.manifest is not None else ()) + referrer_edges(self.referrers)

    @property
    def children(self) -> list[Descriptor]:
        """The manifests that it contains, if it is an index."""
        return [child for child in self.manifest.children if child.media_type in MANIFESTS] if self.manifest is not None else []


def edges(manifest: Manifest) -> tuple[Edge, ...]:
    """All that ``manifest`` names, in its order. It does not know its referrers."""
    named: list[Edge] = []
    if manifest.config is not None:
        named.append(Edge(role="config", path="config", descriptor=manifest.config))
    named += _numbered("layer", "layers", manifest.layers)
    named += _numbered("child", "manifests", manifest.children)
    if manifest.subject is not None:
        named.append(Edge(role="subject", path="subject", descriptor=manifest.subject))
    return tuple(named)


def referrer_edges(referrers: Iterable[Descriptor]) -> tuple[Edge, ...]:
    """The edges to a manifest's referrers, as a registry lists them."""
    return _numbered("referrer", "referrers", referrers)


def _numbered(role: Role, path: str, descriptors: Iterable[Descriptor]) -> tuple[Edge, ...]:
    return tuple(Edge(role=role, path=f"{path}[{number}]", descriptor=descriptor) for number, descriptor in enumerate(descriptors))


# --- reading ---


def traverse(
    roots: Iterable[Descriptor],
    read: Callable[[Descriptor], Node],
    follow: Callable[[Node], list[Descriptor]],
    *,
    threads: int | Callable[[], int] = 1,
) -> Iterator[Node]:
    """Visit ``roots`` and what ``follow`` leads to from there: each digest once, breadth first, always in the same order.

    ``read`` runs in up to ``threads`` threads, ``follow`` in the caller's. It ends, whatever manifests say: cycles are cut,
    and below MAX_DEPTH nothing is read.
    """
    seen: set[Digest] = set()
    level = unseen(roots, seen)
    for depth in range(1, MAX_DEPTH + 1):
        below: list[Descriptor] = []
        for node in map(read, level) if threads == 1 else map_ordered(read, level, threads=threads):
            targets = follow(node)
            if depth < MAX_DEPTH:
                below += unseen(targets, seen)
                yield node
            else:
                yield replace(node, is_last=bool(targets))
        if not below:
            return
        level = below


def unseen(descriptors: Iterable[Descriptor], seen: set[Digest]) -> list[Descriptor]:
    """Those of ``descriptors`` whose digest is not in ``seen``, each once; it is then."""
    new = []
    for descriptor in descriptors:
        if descriptor.digest not in seen:
            seen.add(descriptor.digest)
            new.append(descriptor)
    return new


def read_node(
    descriptor: Descriptor,
    manifest: Callable[[Descriptor], Manifest],
    referrers: Callable[[Descriptor], Iterable[Descriptor]] = lambda _: (),
) -> Node:
    """Read a manifest and list its referrers. A failure of it alone is the node's ``error``; raises what :func:`attempt` does."""
    read = attempt(lambda: manifest(descriptor))
    if isinstance(read, RegistryToolError):
        return Node(descriptor=descriptor, error=read)
    listed = attempt(lambda: referrers(read.descriptor))
    if isinstance(listed, RegistryToolError):
        return Node(descriptor=descriptor, manifest=read, error=listed)
    return Node(descriptor=descriptor, manifest=read, referrers=tuple(listed))


def attempt(request: Callable[[], Result]) -> Result | RegistryToolError:
    """The result of ``request``, or a failure of it alone. Raises Unreachable, TooManyRequests, CredentialsError: all would meet them."""
    try:
        return request()
    except TooManyRequests:
        raise
    except (NotFound, Mismatch, InvalidManifest, RegistryError, ConnectionLost) as error:
        return error


def closure(roots: Iterable[Digest], follow: Callable[[Digest], Iterable[Digest]]) -> dict[Digest, None]:
    """``roots`` and all that ``follow`` leads to from there, depth first."""
    reached: dict[Digest, None] = {}
    waiting = list(roots)[::-1]
    while waiting:
        digest = waiting.pop()
        if digest not in reached:
            reached[digest] = None
            waiting += list(follow(digest))[::-1]
    return reached


def without_bytes(manifest: Manifest) -> Manifest:
    """``manifest`` to be kept in memory with ten thousand others."""
    return replace(manifest, raw=b"")


# --- who names what ---


class Graph:
    """Which manifest of a repository names which digest."""

    def __init__(self) -> None:
        self.edges: dict[Digest, tuple[Edge, ...]] = {}
        self._named_by: dict[Digest, list[tuple[Digest, Edge]]] = {}

    def add(self, digest: Digest, edges: tuple[Edge, ...]) -> None:
        """Let the manifest ``digest`` name what is at the end of ``edges``, too."""
        self.edges[digest] = self.edges.get(digest, ()) + edges
        for edge in edges:
            self._named_by.setdefault(edge.descriptor.digest, []).append((digest, edge))

    def named_by(self, digest: Digest) -> tuple[tuple[Digest, Edge], ...]:
        """(manifest, edge) of each that names ``digest``."""
        return tuple(self._named_by.get(digest, ()))

    def dependents(self, digest: Digest) -> set[Digest]:
        """``digest`` and all from which it is reached, which damage to it damages: not its referrers, which are whole without it."""
        return set(closure([digest], lambda each: [holder for holder, edge in self.named_by(each) if edge.role != "subject"]))
