from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from registry_tool.base.errors import InvalidManifest
from registry_tool.oci import manifest as words
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import (
    ACCEPT,
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_LIST,
    EMPTY,
    MAX_SIZE,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    SCHEMA_1,
    Manifest,
    index,
    is_attestation,
    is_foreign,
    is_platform_image,
    parse,
    tombstone,
)

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def entry(media_type: str, content: bytes = b"x", **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **more}


def an_image(**changes: Any) -> dict[str, Any]:
    layers = [entry(LAYER, name) for name in (b"a", b"b", b"c")]
    document = {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": entry(OCI_CONFIG), "layers": layers, **changes}
    return {key: value for key, value in document.items() if value is not ...}


def child(os: str, architecture: str, content: bytes = b"x", **more: Any) -> dict[str, Any]:
    return entry(OCI_IMAGE, content, platform={"os": os, "architecture": architecture}, **more)


def attestation(content: bytes = b"att") -> dict[str, Any]:
    return child("unknown", "unknown", content, annotations={"vnd.docker.reference.type": "attestation-manifest"})


def an_index(*children: dict[str, Any], **changes: Any) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children), **changes}
    return {key: value for key, value in document.items() if value is not ...}


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


def read(document: object, media_type: str | None = None) -> Manifest:
    return parse(raw(document), media_type)


# --- what is read ---


def test_parse_image_keeps_its_bytes() -> None:
    odd = b'{ "layers" :[],"schemaVersion":2,\n "unknown": {"a": [1.5e3]}, "config": %s}\n' % raw(entry(OCI_CONFIG, b"config"))
    manifest = parse(odd, f"{OCI_IMAGE.upper()}; charset=utf-8")
    assert manifest.raw == odd
    assert manifest.descriptor == Descriptor(media_type=OCI_IMAGE, digest=Digest.of(odd), size=len(odd))
    assert manifest.digest == Digest.of(odd)
    assert manifest.kind == "image"
    assert manifest.config == Descriptor(media_type=OCI_CONFIG, digest=Digest.of(b"config"), size=6)
    assert manifest.layers == manifest.children == ()
    assert manifest.subject is None and manifest.artifact_type is None and manifest.annotations == {}


def test_parse_image_reads_all_members() -> None:
    subject = entry(OCI_IMAGE, b"subject")
    layer = entry(LAYER, b"l", annotations={"k": "v"}, urls=["https://example.com/l"])
    manifest = read(an_image(layers=[layer], subject=subject, artifactType="a/b", annotations={"n": "w"}))
    assert manifest.layers == (
        Descriptor(media_type=LAYER, digest=Digest.of(b"l"), size=1, annotations={"k": "v"}, urls=("https://example.com/l",)),
    )
    assert manifest.subject is not None and manifest.subject.digest == Digest.of(b"subject")
    assert (manifest.artifact_type, manifest.annotations) == ("a/b", {"n": "w"})


def test_parse_index() -> None:
    manifest = read(an_index(child("linux", "arm64", b"1"), entry(OCI_INDEX, b"2"), attestation()))
    assert manifest.kind == "index"
    assert manifest.config is None
    assert [str(entry.platform) for entry in manifest.children] == ["linux/arm64", "None", "unknown/unknown"]
    assert [str(entry.platform) for entry in filter(is_platform_image, manifest.children)] == ["linux/arm64"]


def test_parse_empty_media_type_of_a_layer_and_a_config() -> None:
    """Some builders write none; all else of the image can be known."""
    manifest = read(an_image(config=entry(""), layers=[entry(""), entry(LAYER)]))
    assert manifest.config is not None
    assert [each.media_type for each in (manifest.config, *manifest.layers)] == ["", "", LAYER]
    with pytest.raises(InvalidManifest, match="mediaType: missing"):
        read(an_index(entry("")))


def test_artifact_kind_is_its_type_or_its_configs() -> None:
    helm = "application/vnd.cncf.helm.config.v1+json"
    assert read(an_image(config=entry(helm), artifactType=None)).artifact_kind == helm
    assert read(an_image(config=entry(helm), artifactType="a/b")).artifact_kind == "a/b"
    assert read(an_image(config=entry(OCI_CONFIG))).artifact_kind is None
    assert read(an_image(config=entry(EMPTY.media_type))).artifact_kind is None
    notation = read(an_image(config=entry("application/vnd.cncf.notary.signature"), layers=[entry("application/jose+json")]))
    assert notation.type == "signature"


def test_parse_docker_media_types() -> None:
    image = read(an_image(mediaType=DOCKER_IMAGE, config=entry(DOCKER_CONFIG)))
    assert (image.kind, image.type, image.descriptor.media_type) == ("image", "image", DOCKER_IMAGE)
    manifests = read(an_index(child("linux", "amd64"), child("linux", "arm64"), mediaType=DOCKER_LIST))
    assert (manifests.kind, manifests.type, manifests.descriptor.media_type) == ("index", "index", DOCKER_LIST)


@pytest.mark.parametrize("empty", [None, []])
def test_parse_null_and_empty_members(empty: object) -> None:
    assert read(an_image(layers=empty, annotations=None, subject=None)).layers == ()
    assert read(an_index() | {"manifests": empty}).children == ()


@pytest.mark.parametrize(
    ("document", "said", "media_type"),
    [
        (an_image(mediaType=...), None, OCI_IMAGE),
        (an_image(mediaType=...), DOCKER_IMAGE, DOCKER_IMAGE),
        (an_index(mediaType=...), None, OCI_INDEX),
        (an_index(mediaType=...), OCI_INDEX, OCI_INDEX),
        (an_index(mediaType=DOCKER_LIST), None, DOCKER_LIST),
        (an_index(), "", OCI_INDEX),
    ],
)
def test_parse_media_type_of_document_or_registry(document: object, said: str | None, media_type: str) -> None:
    assert read(document, said).descriptor.media_type == media_type


def test_parse_with_sha512() -> None:
    content = raw(an_image())
    assert str(parse(content, algorithm="sha512").digest) == f"sha512:{hashlib.sha512(content).hexdigest()}"


def test_parse_empty_platform_is_none() -> None:
    manifest = read(an_index(entry(OCI_IMAGE, platform={}), entry(OCI_IMAGE, platform={"os": "", "architecture": ""})))
    assert [entry.platform for entry in manifest.children] == [None, None]


def test_accept_lists_every_type() -> None:
    assert ACCEPT.split(", ")[:4] == [OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST]
    others = [name.partition(";q=") for name in ACCEPT.split(", ")[4:]]
    assert {name for name, _, _ in others} == {*SCHEMA_1, OCI_ARTIFACT, "*/*"}
    assert all(float(weight) < 1 for _, _, weight in others), "a registry that can choose sends what is read"


# --- what is refused, and where it says so ---


def broken(path: str, value: Any) -> dict[str, Any]:
    """An image with one thing in it made wrong; ``...`` takes it away."""
    document: Any = an_image(annotations={"k": "v"}, subject=entry(OCI_IMAGE))
    at = document
    *way, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    for part in way:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return document  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("layers/2/digest", "sha256:abc", r"layers[2].digest: not 64 lower-case hexadecimal digits: 'abc'"),
        ("layers/2/digest", ..., r"layers[2].digest: missing"),
        ("layers/0/digest", 7, r"layers[0].digest: a string is required, not a number"),
        ("layers/1/size", -1, r"layers[1].size: -1 is less than 0"),
        ("layers/1/size", "1", r"layers[1].size: a whole number is required, not a string"),
        ("layers/1/size", 1.0, r"layers[1].size: a whole number is required, not a number"),
        ("layers/1/size", True, r"layers[1].size: a whole number is required, not true or false"),
        ("layers/1/size", ..., r"layers[1].size: missing"),
        ("layers/1/mediaType", ..., r"layers[1].mediaType: missing"),
        ("layers/1", None, r"layers[1].digest: missing"),
        ("layers/1", [], r"layers[1]: an object is required, not an array"),
        ("layers", {}, r"layers: an array is required, not an object"),
        ("config", ..., r"config: missing"),
        ("config", None, r"config: missing"),
        ("config", "x", r"config: an object is required, not a string"),
        ("config/digest", "md5:" + "0" * 32, r"config.digest: not a digest algorithm this tool knows: 'md5'"),
        ("config/annotations", {"a": 1}, r"config.annotations.a: a string is required, not a number"),
        ("config/annotations", {"\x1b[2J": 1}, r"config.annotations.'\x1b[2J': a string is required, not a number"),
        ("config/urls", ["a", 1], r"config.urls[1]: a string is required, not a number"),
        ("config/platform", {"os": 1}, r"config.platform.os: a string is required, not a number"),
        ("subject/size", None, r"subject.size: missing"),
        ("annotations", [], r"annotations: an object is required, not an array"),
        ("artifactType", {}, r"artifactType: a string is required, not an object"),
        ("schemaVersion", ..., r"schemaVersion: missing"),
        ("schemaVersion", 3, r"schemaVersion: 2 is required, not 3"),
        ("mediaType", "text/plain", r"mediaType: 'text/plain' is neither an image nor an index"),
        ("mediaType", "\x1b[31mred\n", r"mediaType: '\x1b[31mred\n' is neither an image nor an index"),
        ("manifests", [], r"manifests: does not belong into the manifest of an image"),
        ("fsLayers", [], r"fsLayers: does not belong into the manifest of an image"),
    ],
)
def test_parse_wrong_member_is_named_with_its_path(path: str, value: object, message: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        read(broken(path, value))
    assert caught.value.message == message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("key", ["config", "layers", "fsLayers"])
def test_parse_image_and_index_in_one_is_an_error(key: str) -> None:
    with pytest.raises(InvalidManifest, match=f"{key}: does not belong into an index"):
        read(an_index(**{key: []}))


@pytest.mark.parametrize("document", [an_image(), an_index()])
@pytest.mark.parametrize("said", [DOCKER_IMAGE, DOCKER_LIST, "application/json", "text/html; charset=utf-8", "\x1b[2J"])
def test_parse_differing_media_types_are_an_error(document: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifest, match="mediaType: the document calls itself .*, and is declared as ") as caught:
        read(document, said)
    assert caught.value.message.isprintable()
    with pytest.raises(InvalidManifest, match=r"neither|does not belong|missing"):
        read(document | {"mediaType": None}, said if said not in (DOCKER_IMAGE, DOCKER_LIST) else "a/b")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}, None),
        (an_image(), words.SCHEMA_1[1]),
        (an_image(mediaType=words.SCHEMA_1[0]), None),
    ],
)
def test_parse_schema_1_is_an_error(document: object, said: str | None) -> None:
    with pytest.raises(InvalidManifest, match="schema 1") as caught:
        read(document, said)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b"<html>", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\\ud800"}', "not UTF-8"),
        (b'{"\\udfff": 1}', "not UTF-8"),
        (b"[]", "a JSON object is required, not an array"),
        (b"null", "a JSON object is required, not null"),
        (b'"x"', "a JSON object is required, not a string"),
        (b"true", "a JSON object is required, not true or false"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"a": ' + b"9" * 20 + b"}", "a number of 20 digits"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b'{"a": {"\\u001b[2J": 1, "x": 2, "\\u001b[2J": 2}}', r"'\\x1b\[2J' appears twice"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 100 deep"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b"{}" + b" " * MAX_SIZE, f"{MAX_SIZE + 2} bytes are too many, {MAX_SIZE} are allowed"),
    ],
    ids=range(24),
)
def test_parse_of_no_json_object_is_an_error(content: bytes, message: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"^manifest: .*{message}") as caught:
        parse(content)
    assert caught.value.message.isprintable()


def test_parse_endless_number_is_refused_in_time() -> None:
    with pytest.raises(InvalidManifest, match=f"a number of {MAX_SIZE - 10} digits"):
        parse(b'{"a": ' + b"9" * (MAX_SIZE - 10) + b"}")


def test_parse_largest_allowed_size() -> None:
    content = raw(an_image())
    assert parse(content + b" " * (MAX_SIZE - len(content))).descriptor.size == MAX_SIZE


def test_parse_many_duplicate_names_are_refused_in_time() -> None:
    """What looks for the one that appears twice must not do so once for each name."""
    names = ",".join(f'"{number}":1' for number in range(300_000))
    with pytest.raises(InvalidManifest, match="'299999' appears twice"):
        parse(f'{{{names},"299999":1}}'.encode())


# --- what a person calls it ---


SIGNATURE_LAYER = [entry("application/vnd.dev.cosign.simplesigning.v1+json")]


@pytest.mark.parametrize(
    ("document", "type"),
    [
        (an_image(), "image"),
        (an_image(layers=[]), "image"),
        (an_image(layers=[entry(FOREIGN)]), "image"),
        (an_image(layers=SIGNATURE_LAYER), "signature"),
        (an_image(artifactType="application/vnd.cncf.notary.signature", config=EMPTY.as_json()), "signature"),
        (an_image(artifactType="application/vnd.dev.sigstore.bundle.v0.3+json", config=EMPTY.as_json()), "signature"),
        (an_image(artifactType="application/spdx+json"), "artifact"),
        (an_image(config=entry("application/vnd.cncf.helm.config.v1+json")), "artifact"),
        (an_image(layers=[entry("application/vnd.in-toto+json")]), "artifact"),
        (an_index(), "index"),
        (an_index(child("linux", "amd64")), "index"),
        (an_index(child("linux", "amd64"), child("linux", "arm64", b"y"), attestation()), "index"),
        (an_index(child("linux", "amd64"), attestation()), "image"),
        (an_index(child("linux", "amd64"), attestation(b"1"), attestation(b"2")), "image"),
        (an_index(child("linux", "amd64"), entry(OCI_IMAGE), attestation()), "index"),
        (an_index(attestation()), "index"),
        (an_index(artifactType="a/b"), "artifact"),
    ],
)
def test_manifest_type(document: dict[str, Any], type: str) -> None:
    assert read(document).type == type


def test_attestation_is_no_platform_image() -> None:
    marked = child("linux", "amd64", b"m", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    manifest = read(an_index(child("linux", "amd64"), marked, child("unknown", "unknown", b"u")))
    assert [is_attestation(entry) for entry in manifest.children] == [False, True, False]
    assert [entry.platform for entry in filter(is_platform_image, manifest.children)] == [Platform(os="linux", architecture="amd64")]


@pytest.mark.parametrize(
    ("media_type", "foreign"),
    [
        (FOREIGN, True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", True),
        (LAYER, False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
    ],
)
def test_is_foreign(media_type: str, foreign: bool) -> None:
    assert is_foreign(Descriptor(media_type=media_type, digest=Digest.of(b""), size=0)) is foreign


# --- what is made ---


def test_tombstone_is_unique_and_recognised() -> None:
    one, two = tombstone("part2", unique="1"), tombstone("part2", unique="2")
    assert one.digest != two.digest
    assert one.digest == tombstone("part2", unique="1").digest
    again = parse(one.raw, OCI_IMAGE)
    assert again.is_tombstone
    assert again.config == EMPTY and again.layers == (EMPTY,)
    assert "part2" in again.annotations.values()
    assert not read(an_image()).is_tombstone


def test_empty_descriptor_is_the_specification_s() -> None:
    assert str(EMPTY.digest) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert EMPTY.size == 2


def test_referrer_entry() -> None:
    signature = read(an_image(subject=entry(OCI_IMAGE), artifactType="a/b", annotations={"k": "v"}))
    assert signature.referrer == Descriptor(
        media_type=OCI_IMAGE, digest=signature.digest, size=signature.descriptor.size, artifact_type="a/b", annotations={"k": "v"}
    )
    assert read(an_image(subject=entry(OCI_IMAGE))).referrer.artifact_type == OCI_CONFIG
    assert index([], subject=EMPTY).referrer.artifact_type is None
