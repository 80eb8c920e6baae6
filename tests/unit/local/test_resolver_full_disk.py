"""Base images where the engine's disk is full."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from registry_tool.base.errors import ProvisionFailed
from registry_tool.local.base_images import REGISTRY, BaseImageResolver
from registry_tool.local.base_images.archive import ImageArchive
from registry_tool.oci.descriptor import Platform
from tests.support.fake_engine import events, fake_engine
from tests.support.fake_server import reply

FULL = "write /var/lib/docker/overlay2/x/diff/usr/bin/registry: no space left on device"


def test_kept_copy_stays_where_the_engine_s_disk_is_full(tmp_path: Path) -> None:
    archive = ImageArchive(tmp_path / "bases")
    path = archive.path(REGISTRY.role, Platform.parse("linux/amd64"))
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"an image"))
    content = path.read_bytes()
    description = {"name": "registry:2", "id": "x", "source": "docker.io", "platform": "linux/amd64", "size": len(content)}
    described = path.with_name(path.name.removesuffix(".tar.gz") + ".json")
    described.write_text(json.dumps({**description, "sha256": hashlib.sha256(content).hexdigest()}))
    answers = {
        "GET /info": reply({"ID": "an-engine"}),
        "GET /version": reply({"Version": "28", "Os": "linux", "Arch": "amd64"}),
        "POST /images/load": events({"errorDetail": {"message": FULL}, "error": FULL}),
    }
    with fake_engine(answers) as (engine, _), pytest.raises(ProvisionFailed, match="the engine's disk is full") as raised:
        BaseImageResolver(engine, tmp_path).ensure(REGISTRY)
    assert raised.value.advice is not None
    assert raised.value.advice.endswith("regctl doctor disk")
    assert path.read_bytes() == content
    assert described.exists()
