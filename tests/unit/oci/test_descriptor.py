from __future__ import annotations

import json

import pytest

from registry_tool.engine import Platform as OfEngine
from registry_tool.oci.descriptor import Descriptor, Platform
from registry_tool.oci.digest import Digest

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform(os="linux", architecture="amd64")),
        ("linux/arm64/v8", Platform(os="linux", architecture="arm64", variant="v8")),
        ("Linux/x86_64", Platform(os="linux", architecture="amd64")),
        ("linux/aarch64", Platform(os="linux", architecture="arm64")),
        ("windows(10.0.17763.1)/amd64", Platform(os="windows", architecture="amd64", os_version="10.0.17763.1")),
        ("windows/amd64:10.0.17763.1", Platform(os="windows", architecture="amd64", os_version="10.0.17763.1")),
        ("windows(10.0+win32k+x)/amd64", Platform(os="windows", architecture="amd64", os_version="10.0", os_features=("win32k", "x"))),
        ("linux/arm/v7:5", Platform(os="linux", architecture="arm", variant="v7", os_version="5")),
    ],
)
def test_platform_parse(text: str, platform: Platform) -> None:
    assert Platform.parse(text) == platform


@pytest.mark.parametrize(
    "text",
    [
        "",
        "linux",
        "linux/",
        "/amd64",
        "linux/arm/v7/x",
        "linux/am d64",
        "linux/amd64\n",
        "linux/\x1b[2J",
        "windows(10/amd64",
        "windows(1)/amd64:1",
        "linux/amd64:",
        "linux/amd64:a b",
    ],
)
def test_platform_parse_of_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform") as caught:
        Platform.parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("own", "wanted", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/amd64", "linux/386", False),
        ("windows(10.0.17763.1)/amd64", "windows/amd64", True),
        ("windows(10.0.17763.1)/amd64", "windows(10.0.17763)/amd64", True),
        ("windows(10.0.177)/amd64", "windows(10.0.17)/amd64", False),
        ("windows/amd64", "windows(10.0.17763)/amd64", False),
        ("windows(1+win32k)/amd64", "windows(+win32k)/amd64", True),
        ("windows(1)/amd64", "windows(+win32k)/amd64", False),
    ],
)
def test_platform_fits_with_the_default_variant(own: str, wanted: str, fits: bool) -> None:
    assert Platform.parse(own).fits(Platform.parse(wanted)) is fits


def test_platform_str() -> None:
    assert OfEngine is Platform
    assert str(Platform(os="linux", architecture="arm64", variant="v8")) == "linux/arm64/v8"
    assert str(Platform(os="linux", architecture="amd64")) == "linux/amd64"
    for text in ("windows(10.0.17763.1)/amd64", "windows(10+win32k)/amd64", "windows(+win32k)/arm64/v8"):
        assert str(Platform.parse(text)) == text


def test_descriptor_with_annotations_is_hashable() -> None:
    def make(note: str) -> Descriptor:
        return Descriptor(media_type="a/b", digest=DIGEST, size=1, annotations={"note": note})

    assert len({make("one"), make("one"), make("two")}) == 2


def test_descriptor_as_json() -> None:
    bare = Descriptor(media_type="a/b", digest=DIGEST, size=1)
    assert bare.as_json() == {"mediaType": "a/b", "digest": str(DIGEST), "size": 1}
    whole = Descriptor(
        media_type="a/b",
        digest=DIGEST,
        size=1,
        annotations={"k": "v"},
        urls=("https://example.com/x",),
        platform=Platform(os="linux", architecture="arm", variant="v7"),
        artifact_type="c/d",
    )
    assert json.loads(json.dumps(whole.as_json())) == {
        "mediaType": "a/b",
        "digest": str(DIGEST),
        "size": 1,
        "annotations": {"k": "v"},
        "urls": ["https://example.com/x"],
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "artifactType": "c/d",
    }
