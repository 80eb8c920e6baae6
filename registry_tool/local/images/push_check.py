"""Check what was pushed: an engine skips layers that a registry only remembers, after a garbage collection in it (distribution#1803)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from registry_tool.base.concurrency import map_ordered
from registry_tool.base.errors import (
    CredentialsError,
    InvalidManifest,
    Mismatch,
    NotARegistry,
    NotFound,
    PushFailed,
    RegistryError,
    RegistryToolError,
    Unreachable,
)
from registry_tool.content.check.blobs import BlobStatus, blob_status
from registry_tool.content.graph import Node, read_node, traverse
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import OCI_IMAGE, is_foreign
from registry_tool.oci.reference import Reference
from registry_tool.targets.registry import Repository, open_registry

_MAX_LISTED = 10


def check_push(pushed: Reference, digest: Digest, *, cure: Callable[[], str], auth_file: Path | None = None) -> str | None:
    """Check that the tag, its manifests, and the last byte of each blob are in the registry: a small request for each.

    Returns why that could not be checked, if so: who may push need not be allowed to pull. Raises PushFailed, whose hint is from ``cure``,
    where something is not there; NotARegistry.
    """
    try:
        with open_registry(pushed.host, auth_file=auth_file) as registry:
            problems, total, now = _problems(registry.repository(pushed.path), pushed.tag, digest)
    except NotARegistry:
        raise  # a web server that accepts everything
    except (RegistryError, Unreachable, CredentialsError) as error:
        return f"{pushed} was pushed, and not checked: {error.message}"
    if problems:
        lines = problems[:_MAX_LISTED] + ([f"and {len(problems) - _MAX_LISTED} more"] if len(problems) > _MAX_LISTED else [])
        raise PushFailed(
            f"{pushed} was pushed and is incomplete in the registry: {len(problems)} of {total} parts missing or damaged",
            hint=cure(),
            excerpt=tuple(lines),
        )
    if now not in (None, digest):
        return f"{pushed} was pushed as {digest}, and is {now} now: something else was pushed since, or the registry keeps its tags"
    return None


def _problems(repository: Repository, tag: str | None, digest: Digest) -> tuple[list[str], int, Digest | None]:
    """What is wrong, a line for each part, the number of parts, and what the tag stands for. Raises what concerns all requests."""
    problems: list[str] = []
    now: Digest | None = None
    if tag is not None:
        try:
            now = repository.resolve(tag).digest
        except (NotFound, Mismatch, InvalidManifest) as error:
            problems.append(f"tag {tag}: {error.message}")

    def read(descriptor: Descriptor) -> Node:
        with repository.limiter:
            node = read_node(descriptor, lambda wanted: repository.manifest(wanted.digest))
        if node.error is not None and not isinstance(node.error, NotFound | Mismatch | InvalidManifest):
            raise node.error
        return node

    nodes = list(traverse([Descriptor(media_type=OCI_IMAGE, digest=digest, size=0)], read, lambda node: node.children))
    problems += [f"manifest {node.descriptor.digest}: {_reason(node.error)}" for node in nodes if node.manifest is None]
    edges = [edge for node in nodes for edge in node.edges if edge.role in ("config", "layer") and not is_foreign(edge.descriptor)]
    blobs = list({edge.descriptor.digest: edge.descriptor for edge in edges}.values())

    def status(blob: Descriptor) -> BlobStatus:
        with repository.limiter:
            return blob_status(repository, blob)

    for blob, state in zip(blobs, map_ordered(status, blobs), strict=True):
        if state.problem == "unreadable":
            raise RegistryError(state.detail)
        if state.problem or state.in_doubt:
            problems.append(f"{blob.digest}: {'missing' if state.problem == 'missing' else f'not {blob.size} bytes'}")
    return problems, len(nodes) + len(blobs) + (tag is not None), now


def _reason(error: RegistryToolError | None) -> str:
    return "missing" if isinstance(error, NotFound) or error is None else error.message
