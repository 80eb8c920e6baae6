from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from registry_tool.base import concurrency
from registry_tool.base.errors import (
    AuthenticationFailed,
    ConnectionLost,
    InvalidManifest,
    Mismatch,
    NotFound,
    RegistryUnreachable,
    TooManyRequests,
)
from registry_tool.content.graph import MAX_DEPTH, Edge, Graph, Node, edges, walk
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, OCI_IMAGE, OCI_INDEX, Manifest, index, parse
from tests.support.fake_repository import PretendRepository


class Counting(PretendRepository):
    """Counts what is read, and fails as it is told: digest -> what is raised for it."""

    def __init__(self) -> None:
        super().__init__(lists_referrers=True, untags=True)
        self.read: list[Digest] = []
        self.failing: dict[Digest, Exception] = {}

    def manifest(self, reference: str | Digest) -> Manifest:
        assert isinstance(reference, Digest)
        self.read.append(reference)
        if reference in self.failing:
            raise self.failing[reference]
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
def place() -> Counting:
    return Counting()


def threads(read: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    for _, result in concurrency.map_unordered(read, items):
        yield result


def test_a_manifest_names_config_layers_children_and_subject(place: Counting) -> None:
    subject = place.image("subject")
    image = edges(place.manifests[place.image("a", subject=subject).digest])
    assert [(edge.role, edge.where, edge.is_manifest) for edge in image] == [
        ("config", "config", False),
        ("layer", "layers[0]", False),
        ("subject", "subject", True),
    ]
    cache = Descriptor(media_type="application/vnd.docker.image.rootfs.diff.tar.gzip", digest=Digest.of(b"cached"), size=1)
    both = edges(place.manifests[place.index(subject, cache).digest])
    assert [(edge.where, edge.is_manifest) for edge in both] == [("manifests[0]", True), ("manifests[1]", False)]


@pytest.mark.parametrize("each", [map, threads])
def test_each_digest_is_read_once(place: Counting, each: Callable[..., Iterable[Any]]) -> None:
    shared = place.image("shared")
    roots = [place.index(shared, place.image(f"{number}")) for number in range(20)]
    nodes = list(walk(place, [*roots, *roots, shared], each=each))
    assert len(nodes) == 41
    assert len(place.read) == len(set(place.read)) == 41
    assert {node.depth for node in nodes if node.descriptor == shared} == {1}, "as near as it is"


def test_a_circle_of_referrers_ends(place: Counting) -> None:
    image, signature = place.image("image"), place.image("signature")
    refers = {image.digest: [signature], signature.digest: [image]}
    nodes = list(walk(place, [image], referrers=lambda descriptor: refers[descriptor.digest]))
    assert [node.descriptor for node in nodes] == [image, signature]
    assert nodes[1].edges[-1] == Edge(role="referrer", where="referrers[0]", descriptor=image)


def test_only_what_is_followed_is_read(place: Counting) -> None:
    subject = place.image("subject")
    refers = place.image("refers", subject=subject)
    assert len(list(walk(place, [refers]))) == 1
    assert len(list(walk(place, [refers], follow=("subject",)))) == 2


def test_ten_thousand_indexes_inside_each_other_are_read_as_far_as_is_sensible(place: Counting) -> None:
    inner = place.image("inner")
    for _ in range(10_000):
        inner = place.index(inner)
    nodes = list(walk(place, [inner]))
    assert len(nodes) == len(place.read) == MAX_DEPTH
    assert [node.is_last for node in nodes] == [False] * (MAX_DEPTH - 1) + [True]


def test_what_is_just_as_deep_as_it_may_be_is_whole(place: Counting) -> None:
    inner = place.image("inner")
    for _ in range(MAX_DEPTH - 1):
        inner = place.index(inner)
    assert not any(node.is_last for node in walk(place, [inner]))


@pytest.mark.parametrize("error", [NotFound("x"), Mismatch("x"), InvalidManifest("x"), AuthenticationFailed("x"), ConnectionLost("x")])
def test_what_fails_for_one_is_told_beside_the_others(place: Counting, error: Exception) -> None:
    children = [place.image(f"{number}") for number in range(3)]
    place.failing[children[1].digest] = error
    nodes = list(walk(place, [place.index(*children)]))
    assert [node.error for node in nodes] == [None, None, error, None]
    assert nodes[2].manifest is None


@pytest.mark.parametrize("error", [TooManyRequests("x"), RegistryUnreachable("x")])
def test_what_everything_would_meet_is_raised(place: Counting, error: Exception) -> None:
    image = place.image("x")
    place.failing[image.digest] = error
    with pytest.raises(type(error)):
        list(walk(place, [image]))


def test_referrers_that_cannot_be_had_are_told_beside_the_manifest(place: Counting) -> None:
    def refuse(descriptor: Descriptor) -> Iterable[Descriptor]:
        raise AuthenticationFailed("x")

    [node] = walk(place, [place.image("x")], referrers=refuse)
    assert node.manifest is not None
    assert isinstance(node.error, AuthenticationFailed)


def test_a_graph_knows_what_damage_hits(place: Counting) -> None:
    image = place.image("image")
    signature = place.image("signature", subject=image)
    inner, outer = place.index(image), place.index(place.index(image), place.image("other"))
    refers = {image.digest: [signature]}
    graph = Graph()
    for node in walk(place, [outer, signature], referrers=lambda descriptor: refers.get(descriptor.digest, ())):
        graph.add(node)
    layer = Digest.of(b"image")
    assert graph.above(layer) == {layer, image.digest, inner.digest, outer.digest}, "a signature is no less whole for it"
    signed = Digest.of(b"signature")
    assert graph.above(signed) == {signed, signature.digest, image.digest, inner.digest, outer.digest}
    assert [(holder, edge.role) for holder, edge in graph.named_by(image.digest)].count((signature.digest, "subject")) == 1
    assert graph.named_by(Digest.of(b"nobody")) == ()


def test_a_graph_survives_a_circle() -> None:
    first = Descriptor(media_type=OCI_INDEX, digest=Digest.of(b"1"), size=1)
    second = Descriptor(media_type=OCI_INDEX, digest=Digest.of(b"2"), size=1)
    graph = Graph()
    for one, other in ((first, second), (second, first)):
        graph.add(Node(descriptor=one, depth=1, edges=(Edge(role="child", where="manifests[0]", descriptor=other),)))
    assert graph.above(first.digest) == {first.digest, second.digest}
