from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    InvalidManifest,
    Mismatch,
    NotFound,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.content.graph import MAX_DEPTH, Edge, Graph, Node, edges, read_node, traverse
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, OCI_IMAGE, OCI_INDEX, Manifest, index, parse
from tests.support.fake_repository import FakeRepository


class CountingRepository(FakeRepository):
    """Records what is read, and raises what ``failures`` has for a digest."""

    def __init__(self) -> None:
        super().__init__(lists_referrers=True, untags=True)
        self.read: list[Digest] = []
        self.failures: dict[Digest, Exception] = {}

    def manifest(self, reference: str | Digest) -> Manifest:
        assert isinstance(reference, Digest)
        self.read.append(reference)
        if reference in self.failures:
            raise self.failures[reference]
        return super().manifest(reference)

    def image(self, name: str, *, subject: Descriptor | None = None) -> Descriptor:
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "config": EMPTY.as_json(),
            "layers": [{"mediaType": "application/octet-stream", "digest": str(Digest.of(name.encode())), "size": 1}],
        }
        if subject is not None:
            document["subject"] = subject.as_json()
        return self.push_manifest(parse(json.dumps(document).encode()), None)

    def index(self, *children: Descriptor) -> Descriptor:
        return self.push_manifest(index(children), None)


@pytest.fixture
def repository() -> CountingRepository:
    return CountingRepository()


def nodes(
    repository: CountingRepository,
    *roots: Descriptor,
    referrers: dict[Digest, list[Descriptor]] | None = None,
    threads: int = 1,
) -> list[Node]:
    def list_referrers(descriptor: Descriptor) -> Iterable[Descriptor]:
        return (referrers or {}).get(descriptor.digest, ())

    def read(descriptor: Descriptor) -> Node:
        return read_node(descriptor, lambda each: repository.manifest(each.digest), list_referrers)

    return list(traverse(roots, read, lambda node: [*node.children, *node.referrers], threads=threads))


def test_edges_of_image_and_index_have_roles_and_paths(repository: CountingRepository) -> None:
    subject = repository.image("subject")
    image = edges(repository.manifests[repository.image("a", subject=subject).digest])
    assert [(edge.role, edge.path, edge.is_manifest) for edge in image] == [
        ("config", "config", False),
        ("layer", "layers[0]", False),
        ("subject", "subject", True),
    ]
    cache = Descriptor(media_type="application/vnd.docker.image.rootfs.diff.tar.gzip", digest=Digest.of(b"cached"), size=1)
    both = edges(repository.manifests[repository.index(subject, cache).digest])
    assert [(edge.path, edge.is_manifest) for edge in both] == [("manifests[0]", True), ("manifests[1]", False)]


@pytest.mark.parametrize("threads", [1, 8])
def test_traverse_reads_each_digest_once_breadth_first(repository: CountingRepository, threads: int) -> None:
    shared = repository.image("shared")
    roots = [repository.index(shared, repository.image(f"{number}")) for number in range(20)]
    traversed = nodes(repository, *roots, *roots, shared, threads=threads)
    assert [node.descriptor for node in traversed[:21]] == [*roots, shared]
    assert len(traversed) == 41
    assert len(repository.read) == len(set(repository.read)) == 41


def test_traverse_with_threads_yields_in_the_order_without_them(repository: CountingRepository) -> None:
    outer = [repository.index(*(repository.index(repository.image(f"{a}.{b}")) for b in range(7))) for a in range(7)]
    alone = [node.descriptor for node in nodes(repository, *outer)]
    first_is_slow = threading.Event()

    def read(descriptor: Descriptor) -> Node:
        # In each level the first is the last to be read.
        if descriptor.digest in (outer[0].digest, alone[7].digest):
            first_is_slow.wait(0.1)
        return read_node(descriptor, lambda each: repository.manifest(each.digest))

    assert [node.descriptor for node in traverse(outer, read, lambda node: node.children, threads=8)] == alone


@pytest.mark.parametrize("threads", [1, 8])
def test_traverse_over_a_cycle_of_referrers_ends(repository: CountingRepository, threads: int) -> None:
    image, signature = repository.image("image"), repository.image("signature")
    referrers = {image.digest: [signature], signature.digest: [image]}
    traversed = nodes(repository, image, referrers=referrers, threads=threads)
    assert [node.descriptor for node in traversed] == [image, signature]
    assert traversed[1].edges[-1] == Edge(role="referrer", path="referrers[0]", descriptor=image)


def test_traverse_reads_only_what_is_followed(repository: CountingRepository) -> None:
    signature = repository.image("signature", subject=repository.image("subject"))
    assert len(nodes(repository, signature)) == 1
    subjects = traverse(
        [signature],
        lambda each: read_node(each, lambda descriptor: repository.manifest(descriptor.digest)),
        lambda node: [node.manifest.subject] if node.manifest and node.manifest.subject else [],
    )
    assert len(list(subjects)) == 2


def test_traverse_into_ten_thousand_nested_indexes_ends_at_the_limit(repository: CountingRepository) -> None:
    inner = repository.image("inner")
    for _ in range(10_000):
        inner = repository.index(inner)
    traversed = nodes(repository, inner)
    assert len(traversed) == len(repository.read) == MAX_DEPTH
    assert [node.is_last for node in traversed] == [False] * (MAX_DEPTH - 1) + [True]


def test_traverse_to_exactly_the_limit_is_complete(repository: CountingRepository) -> None:
    inner = repository.image("inner")
    for _ in range(MAX_DEPTH - 1):
        inner = repository.index(inner)
    assert not any(node.is_last for node in nodes(repository, inner))


@pytest.mark.parametrize("error", [NotFound("x"), Mismatch("x"), InvalidManifest("x"), AuthenticationFailed("x"), ConnectionLost("x")])
def test_failure_of_one_manifest_is_its_nodes_error(repository: CountingRepository, error: Exception) -> None:
    children = [repository.image(f"{number}") for number in range(3)]
    repository.failures[children[1].digest] = error
    traversed = nodes(repository, repository.index(*children))
    assert [node.error for node in traversed] == [None, None, error, None]
    assert traversed[2].manifest is None


@pytest.mark.parametrize("error", [TooManyRequests("x"), RegistryUnreachable("x")])
def test_failure_that_all_would_meet_is_raised(repository: CountingRepository, error: Exception) -> None:
    image = repository.image("x")
    repository.failures[image.digest] = error
    with pytest.raises(type(error)):
        nodes(repository, image)


def test_failure_to_list_referrers_leaves_the_manifest(repository: CountingRepository) -> None:
    def refuse(descriptor: Descriptor) -> Iterable[Descriptor]:
        raise AuthenticationFailed("x")

    image = repository.image("x")
    node = read_node(image, lambda each: repository.manifest(each.digest), refuse)
    assert node.manifest is not None
    assert isinstance(node.error, AuthenticationFailed)


def test_dependents_of_a_layer_are_all_that_its_damage_damages(repository: CountingRepository) -> None:
    image = repository.image("image")
    signature = repository.image("signature", subject=image)
    inner, outer = repository.index(image), repository.index(repository.index(image), repository.image("other"))
    graph = Graph()
    for node in nodes(repository, outer, signature, referrers={image.digest: [signature]}):
        graph.add(node.descriptor.digest, node.edges)
    layer = Digest.of(b"image")
    assert graph.dependents(layer) == {layer, image.digest, inner.digest, outer.digest}, "a signature is no less whole for it"
    signed = Digest.of(b"signature")
    assert graph.dependents(signed) == {signed, signature.digest, image.digest, inner.digest, outer.digest}
    assert [(holder, edge.role) for holder, edge in graph.named_by(image.digest)].count((signature.digest, "subject")) == 1
    assert graph.named_by(Digest.of(b"nobody")) == ()


def test_dependents_in_a_cycle_end() -> None:
    first = Descriptor(media_type=OCI_INDEX, digest=Digest.of(b"1"), size=1)
    second = Descriptor(media_type=OCI_INDEX, digest=Digest.of(b"2"), size=1)
    child = partial(Edge, role="child", path="manifests[0]")
    graph = Graph()
    for one, other in ((first, second), (second, first)):
        graph.add(one.digest, (child(descriptor=other),))
    assert graph.dependents(first.digest) == {first.digest, second.digest}
