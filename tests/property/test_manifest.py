from __future__ import annotations

import copy
import json
import string
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.base.errors import InvalidManifest
from registry_tool.oci.config import parse_config
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    IMAGES,
    INDEXES,
    OCI_IMAGE,
    OCI_INDEX,
    SCHEMA_1,
    Manifest,
    image,
    index,
    is_platform_image,
    parse,
    tombstone,
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.text(string.ascii_lowercase + string.digits + "./+-", min_size=1, max_size=30)
digests = st.builds(Digest.of, st.binary(max_size=4), st.sampled_from(["sha256", "sha512"]))
mappings = st.dictionaries(texts, texts, max_size=3)
platforms = st.builds(Platform, os=st.sampled_from(["linux", "unknown"]), architecture=names, variant=st.just("") | names)
descriptors = st.builds(
    Descriptor,
    media_type=names,
    digest=digests,
    size=st.integers(0, 2**63 - 1),
    annotations=mappings,
    urls=st.lists(texts, max_size=2).map(tuple),
    platform=st.none() | platforms,
    artifact_type=st.none() | names,
)
extras = st.fixed_dictionaries(
    {"subject": st.none() | descriptors, "artifact_type": st.none() | names, "annotations": st.none() | mappings}
)
lists = st.lists(descriptors, max_size=3)
images = st.builds(
    lambda config, layers, kind, more: image(config, layers, media_type=kind, **more), descriptors, lists, st.sampled_from(IMAGES), extras
)
indexes = st.builds(lambda children, kind, more: index(children, media_type=kind, **more), lists, st.sampled_from(INDEXES), extras)
manifests = images | indexes
media_types = st.none() | st.sampled_from([*IMAGES, *INDEXES, *SCHEMA_1, "text/html", "a/b; charset=x", ""]) | texts

numbers = st.integers() | st.floats() | st.sampled_from([2**63, 10**400, -1, 0, 1, 2, True])
words = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "digest", "size", "platform", "annotations"]
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def check_words(error: InvalidManifest) -> None:
    assert error.message.isprintable()
    assert len(error.message) < 500


def survives(raw: bytes, media_type: str | None = None) -> Manifest | None:
    """Whatever ``raw`` is: a manifest that keeps it, and answers all that it may be asked, or one complaint fit for a terminal."""
    try:
        manifest = parse(raw, media_type)
    except InvalidManifest as error:
        check_words(error)
        return None
    assert manifest.raw == raw
    assert manifest.descriptor.digest == Digest.of(raw)
    assert (manifest.kind == "image") == (manifest.config is not None)
    assert manifest.type in ("image", "index", "artifact", "signature")
    assert not any(is_platform_image(child) and child.platform is None for child in manifest.children)
    assert manifest.referrer.digest == manifest.digest
    hash(manifest)
    json.dumps(manifest.referrer.as_json()).encode()
    return manifest


@given(descriptors, lists, st.sampled_from(IMAGES), extras)
def test_written_image_is_read_back(config: Descriptor, layers: list[Descriptor], media_type: str, more: dict[str, Any]) -> None:
    made = image(config, layers, media_type=media_type, **more)
    assert (made.kind, made.descriptor.media_type, made.config, made.layers) == ("image", media_type, config, tuple(layers))
    assert (made.subject, made.artifact_type, made.annotations) == (more["subject"], more["artifact_type"], more["annotations"] or {})
    assert parse(made.raw) == parse(made.raw, media_type) == made
    assert image(config, layers, media_type=media_type, **more).raw == made.raw


@given(lists, st.sampled_from(INDEXES), extras)
def test_written_index_is_read_back(children: list[Descriptor], media_type: str, more: dict[str, Any]) -> None:
    made = index(children, media_type=media_type, **more)
    assert (made.kind, made.descriptor.media_type, made.children) == ("index", media_type, tuple(children))
    assert (made.subject, made.artifact_type, made.annotations) == (more["subject"], more["artifact_type"], more["annotations"] or {})
    assert parse(made.raw) == parse(made.raw, media_type) == made


@given(texts, texts)
def test_any_tombstone_is_recognised(tag: str, unique: str) -> None:
    assert parse(tombstone(tag, unique=unique).raw).is_tombstone


@given(st.binary(max_size=200), media_types)
def test_any_bytes_are_parsed_or_refused(raw: bytes, media_type: str | None) -> None:
    survives(raw, media_type)


@given(json_values, media_types)
@example({"schemaVersion": 10**400}, None)
@example({"schemaVersion": 2, "mediaType": OCI_IMAGE, "manifests": [], "config": {}}, OCI_INDEX)
@example(None, "\ud800")
def test_any_json_is_parsed_or_refused(document: object, media_type: str | None) -> None:
    survives(json.dumps(document).encode(), media_type)


@given(manifests, media_types, st.data())
def test_manifest_with_one_value_changed_is_parsed_or_refused(manifest: Manifest, media_type: str | None, data: st.DataObject) -> None:
    document = json.loads(manifest.raw)
    holder, key = data.draw(st.sampled_from([*places(document)]))
    change = data.draw(st.sampled_from(["replace", "remove", "add"]))
    value = data.draw(json_values)
    if change == "remove":
        del holder[key]
    elif change == "replace":
        holder[key] = value
    elif isinstance(holder, dict):
        holder[data.draw(words | st.text(max_size=8))] = value
    else:
        holder.insert(key, value)
    survives(json.dumps(document).encode(), media_type)


@given(manifests, st.data())
def test_manifest_with_a_duplicate_name_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    document = json.loads(manifest.raw)
    holder, key = data.draw(st.sampled_from([(holder, key) for holder, key in places(document) if isinstance(holder, dict)]))
    twice = copy.deepcopy(holder[key])
    holder["\N{BLACK STAR}" * 40] = twice
    raw = json.dumps(document, ensure_ascii=False).replace(json.dumps("\N{BLACK STAR}" * 40, ensure_ascii=False), json.dumps(key))
    assert survives(raw.encode()) is None


@given(manifests, st.data())
def test_manifest_with_bytes_changed_is_parsed_or_refused(manifest: Manifest, data: st.DataObject) -> None:
    raw = manifest.raw
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 20)))
    survives(raw[:start] + data.draw(st.binary(max_size=20)) + raw[end:])


@given(st.sampled_from('{["'), st.integers(1, 100_000), st.sampled_from(["", "1", '"a":']))
def test_any_depth_is_parsed_or_refused(bracket: str, depth: int, between: str) -> None:
    assert survives((bracket + between).encode() * depth) is None


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_config_is_parsed_or_refused(raw: bytes) -> None:
    try:
        config = parse_config(raw)
    except InvalidManifest as error:
        check_words(error)
    else:
        assert config.raw == raw


config_values = json_values | st.sampled_from(["2024-01-02T03:04:05Z", "9999-12-31T23:59:59-23:59", "sha256:" + "0" * 64])
config_members = st.fixed_dictionaries(
    {},
    optional={
        "created": config_values | st.text(string.digits + "-:.TZ+", max_size=30),
        "os": config_values,
        "rootfs": config_values | st.fixed_dictionaries({"diff_ids": st.lists(config_values, max_size=3)}),
        "history": config_values
        | st.lists(st.dictionaries(st.sampled_from(["created", "created_by", "empty_layer"]), config_values), max_size=3),
        "config": config_values
        | st.dictionaries(st.sampled_from(["Labels", "Env", "Cmd", "Entrypoint", "ExposedPorts", "User"]), config_values),
    },
)


@given(config_members)
def test_any_members_of_a_config_are_parsed_or_refused(members: dict[str, Any]) -> None:
    try:
        config = parse_config(json.dumps(members).encode())
    except InvalidManifest as error:
        check_words(error)
        return
    moments = [config.created, *(step.created for step in config.history)]
    assert all(moment is None or (moment.utcoffset() is not None and moment.year >= 1970) for moment in moments)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (object, name) and (array, index) in ``document``."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield document, key
        yield from places(value)


def test_docker_and_oci_types_are_both_generated() -> None:
    assert {*IMAGES, *INDEXES} == {OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST}
