"""Repositories for the tests of deletions: selections, tags, tombstones."""

from __future__ import annotations

from registry_tool.content import delete
from registry_tool.content.delete import DeletionPlan, Selection
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY_CONTENT, OCI_IMAGE, tombstone
from registry_tool.targets.registry import Repository
from tests.support.content import (
    ACCEPT,
    PushedManifest,
    make_blob,
    put_manifest,
)
from tests.support.faulty_proxy import FaultyProxy
from tests.support.registry_over_http import ask

NAME = "john/app"


def of(tag: str | None = None, *, digest: str | None = None, pattern: str | None = None) -> Selection:
    return Selection(repository=f"localhost/{NAME}", tag=tag, digest=Digest.parse(digest) if digest else None, pattern=pattern)


def write(proxy: FaultyProxy) -> int:
    """How many requests changed something, or tried to."""
    return proxy.count("PUT|POST|PATCH|DELETE")


def there(proxy: FaultyProxy, reference: str) -> bool:
    return ask(proxy.target, "GET", f"/v2/{NAME}/manifests/{reference}", headers={"Accept": ACCEPT})[0] == 200


def at(proxy: FaultyProxy, tag: str) -> str:
    return ask(proxy.target, "HEAD", f"/v2/{NAME}/manifests/{tag}", headers={"Accept": ACCEPT})[1]["docker-content-digest"]


def retag(proxy: FaultyProxy, made: PushedManifest, *names: str) -> None:
    for name in names:
        put_manifest(proxy.target, NAME, name, made.raw, made.media_type)


def push_tombstone(proxy: FaultyProxy, tag: str) -> str:
    """As a killed deletion leaves it."""
    replacement = tombstone(tag, unique=f"{tag}'s")
    make_blob(proxy.target, NAME, EMPTY_CONTENT)
    return put_manifest(proxy.target, NAME, tag, replacement.raw, OCI_IMAGE)


def applied(repository: Repository, plan: DeletionPlan, *, allow_empty: bool = False) -> list[tuple[str, tuple[str, ...]]]:
    return [(done.what, done.tags) for done in delete.apply(plan, repository, allow_empty=allow_empty)]
