"""The bill of materials of a bundle."""

from __future__ import annotations

import json

from registry_tool.bundle.bill import bill_of_materials
from registry_tool.bundle.contents import BundledFile, BundledImage
from registry_tool.oci.digest import Digest

DIGEST = Digest.of(b"manifest")
IMAGE = BundledImage(name="localhost:5000/john/app:1", role="", digest=DIGEST, media_type="x", size=8, blobs=(str(DIGEST),))
WHEEL = BundledFile(path="wheels/backports_zstd-1.8.0-cp311-cp311-any.whl", size=1, sha256="0" * 64)
OTHER = BundledFile(path="README.txt", size=1, sha256="1" * 64)


def test_images_and_wheels_are_listed_with_their_digests() -> None:
    document = json.loads(bill_of_materials([IMAGE], [WHEEL, OTHER]))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    image, wheel = sorted(document["components"], key=lambda component: str(component["type"]))
    assert (image["type"], image["name"], image["version"]) == ("container", "localhost:5000/john/app", "1")
    assert image["hashes"] == [{"alg": "SHA-256", "content": DIGEST.hex}]
    assert image["purl"].startswith("pkg:oci/app@sha256")
    assert (wheel["type"], wheel["name"], wheel["version"]) == ("library", "backports-zstd", "1.8.0")
    assert wheel["purl"] == "pkg:pypi/backports-zstd@1.8.0"


def test_bill_of_the_same_things_has_the_same_bytes() -> None:
    other = BundledImage(name="a/b:1", role="", digest=DIGEST, media_type="x", size=8, blobs=())
    assert bill_of_materials([IMAGE, other], [WHEEL]) == bill_of_materials([other, IMAGE], [WHEEL])
    assert bill_of_materials([IMAGE], []) != bill_of_materials([other], [])
    assert b"timestamp" not in bill_of_materials([], [])
