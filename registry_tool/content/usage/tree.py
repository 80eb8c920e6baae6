"""The account as a tree: repositories, their tags, the images of these by platform, and their layers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from registry_tool.content.graph import MAX_DEPTH
from registry_tool.content.protection import is_protection_tag
from registry_tool.content.usage.account import Account
from registry_tool.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageNode:
    """A node: ``size`` is all that it needs (bytes), ``unique`` what would be freed with it alone; None where that is not told."""

    name: str
    size: int
    unique: int | None = None
    nodes: tuple[UsageNode, ...] = ()


def tree(account: Account, within: Collection[str] | None = None) -> tuple[UsageNode, ...]:
    """The repositories ``within`` (None: all), the largest first."""
    tags = {row.name: row for row in account.rows("tag", within)}
    nodes = []
    for row in account.rows("repository", within):
        repository = account.storage.repositories[row.name]
        below = [
            UsageNode(name=tag, size=tags[f"{row.name}:{tag}"].size, unique=tags[f"{row.name}:{tag}"].unique, nodes=_parts(account, digest))
            for tag, digest in repository.tags.items()
            if not is_protection_tag(tag)
        ]
        nodes.append(UsageNode(name=row.name, size=row.size, unique=row.unique, nodes=_largest_first(below)))
    return tuple(nodes)


def _parts(account: Account, digest: Digest, depth: int = 1) -> tuple[UsageNode, ...]:
    """The entries of an index, or the layers of an image."""
    manifest = account.manifests.read.get(digest)
    if manifest is None or depth == MAX_DEPTH:
        return ()
    sizes = account.storage.blobs
    nodes = [UsageNode(name=str(layer.digest), size=sizes.get(layer.digest, 0)) for layer in manifest.layers]
    for child in manifest.children:
        name = str(child.platform) if child.platform is not None and child.platform.os != "unknown" else str(child.digest)
        nodes.append(UsageNode(name=name, size=account.size_of(child.digest), nodes=_parts(account, child.digest, depth + 1)))
    return tuple(nodes)


def _largest_first(nodes: list[UsageNode]) -> tuple[UsageNode, ...]:
    return tuple(sorted(nodes, key=lambda node: (-node.size, node.name)))
