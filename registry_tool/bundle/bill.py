"""The bill of materials of a bundle, in CycloneDX 1.6: its images, and the wheels of this tool and of the sample app."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from pathlib import PurePosixPath

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from registry_tool.bundle.contents import BundledFile, BundledImage
from registry_tool.oci.reference import DOCKER_HUB, Reference

_NAMESPACE = uuid.UUID("8f0c0f3e-2f0a-5a55-9f0c-6d1b6a3d9c11")


def bill_of_materials(images: Iterable[BundledImage], files: Iterable[BundledFile]) -> bytes:
    """The document; the same images and files give the same bytes, so it has no time, and its serial number is of what it lists."""
    components = [*map(_image, images), *(_wheel(file) for file in files if file.path.endswith(".whl"))]
    listed = "\n".join(sorted(str(component.bom_ref.value) for component in components))
    bom = Bom(components=components, serial_number=uuid.uuid5(_NAMESPACE, hashlib.sha256(listed.encode()).hexdigest()))
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _image(image: BundledImage) -> Component:
    reference = Reference.parse(image.name, default_host=DOCKER_HUB)
    purl = PackageURL(
        type="oci",
        name=reference.path.rpartition("/")[2],
        version=str(image.digest),
        qualifiers={"repository_url": reference.repository, "tag": reference.tag or ""},
    )
    return Component(
        type=ComponentType.CONTAINER,
        name=reference.repository,
        version=reference.tag or str(image.digest),
        bom_ref=image.name,
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.hex)] if image.digest.algorithm == "sha256" else [],
    )


def _wheel(file: BundledFile) -> Component:
    name, version, *_ = PurePosixPath(file.path).name.split("-")
    return Component(
        type=ComponentType.LIBRARY,
        name=name.replace("_", "-"),
        version=version,
        bom_ref=file.path,
        purl=PackageURL(type="pypi", name=name.replace("_", "-").lower(), version=version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
    )
