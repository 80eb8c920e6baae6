"""Layers read from the files of docker's classic store: the bytes of the tar stream, and nothing from outside."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry_tool.base.errors import EngineError
from registry_tool.engine import Image
from registry_tool.engine.layer_store import LayerStore
from tests.support.content import sha256
from tests.support.layer_files import FILE, SEGMENT, store, write_entries
from tests.support.open_files import open_files
from tests.support.saved_images import SavedImage

LAYERS = (os.urandom(20_000), b"", os.urandom(SEGMENT), os.urandom(SEGMENT + FILE), os.urandom(600_000))


def opened(image: Image) -> LayerStore:
    found = LayerStore.of(image)
    assert found is not None
    return found


def read(image: Image, count: int) -> bytes:
    layer = opened(image).layer(image.layers[:count])
    content = b"".join(layer.pieces())
    assert layer.size == len(content)
    return content


def test_each_layer_is_the_bytes_of_its_tar_stream(tmp_path: Path) -> None:
    saved = SavedImage(LAYERS)
    image = store(tmp_path, saved)
    assert tuple(read(image, count) for count in range(1, len(LAYERS) + 1)) == LAYERS
    assert opened(image).config(image.id) == saved.config


def test_name_that_is_no_utf_8_is_found(tmp_path: Path) -> None:
    image = store(tmp_path, SavedImage([b"content"]))
    name = b"caf\xe9"
    (Path(image.layer_folder) / os.fsdecode(name)).write_bytes(b"content")
    entry = {"type": 1, "name": "caf\ufffd", "name_raw": base64.b64encode(name).decode(), "size": 7, "payload": None}
    write_entries(rest_of(tmp_path), [entry])
    assert read(image, 1) == b"content"


@pytest.mark.parametrize("folder", ["", "overlay2/x/diff", "/", "/var/lib/docker/btrfs/subvolumes/x", "/nonexistent/overlay2/x/diff"])
def test_image_whose_files_are_not_here_has_no_store(folder: str) -> None:
    assert LayerStore.of(replace(SavedImage([b"x"]).image, layer_folder=folder)) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
def test_image_whose_files_cannot_be_read_has_no_store(tmp_path: Path) -> None:
    image = store(tmp_path, SavedImage([b"x"]))
    (tmp_path / "image").chmod(0)
    try:
        assert LayerStore.of(image) is None
    finally:
        (tmp_path / "image").chmod(0o700)


def rest_of(root: Path) -> Path:
    (path,) = root.glob("image/overlay2/layerdb/sha256/*/tar-split.json.gz")
    return path


def first_file(root: Path) -> Path:
    (path,) = root.glob("overlay2/*/diff/first")
    return path


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "file is gone": lambda root: first_file(root).unlink(),
    "file is shorter": lambda root: os.truncate(first_file(root), 10),
    "file is longer": lambda root: os.truncate(first_file(root), 10_000),
    "file is a link": lambda root: replace_by_link(first_file(root)),
    "file is a pipe": lambda root: replace_by_pipe(first_file(root)),
    "folder on the way is a link": lambda root: replace_by_link(first_file(root).with_name("a")),
    "folder is gone": lambda root: first_file(root).parent.rename(root / "elsewhere"),
    "rest is gone": lambda root: rest_of(root).unlink(),
    "rest is cut": lambda root: os.truncate(rest_of(root), rest_of(root).stat().st_size // 2),
    "rest is no gzip": lambda root: rest_of(root).write_bytes(b"{}"),
    "rest is of no entries": lambda root: write_entries(rest_of(root), [{}]),
    "entry of an unknown type": lambda root: write_entries(rest_of(root), [{"type": 3}]),
    "entry without a name": lambda root: write_entries(rest_of(root), [{"type": 1, "size": 1}]),
    "name that climbs": lambda root: write_entries(rest_of(root), [{"type": 1, "size": 1, "name": "../../x/y"}]),
    "name of the folder itself": lambda root: write_entries(rest_of(root), [{"type": 1, "size": 1, "name": "./"}]),
    "name of the layer's folder climbs": lambda root: rest_of(root).with_name("cache-id").write_text("../x"),
    "name of the layer's folder is gone": lambda root: rest_of(root).with_name("cache-id").unlink(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_layer_that_is_not_there_as_expected_is_an_error_of_the_engine(tmp_path: Path, fault: Callable[[Path], object]) -> None:
    image = store(tmp_path, SavedImage([os.urandom(20_000)]))
    fault(tmp_path)
    before = open_files()
    with pytest.raises(EngineError, match="cannot be read"):
        read(image, 1)
    assert open_files() - before == set()


def test_config_that_is_another_one_or_gone_is_an_error_of_the_engine(tmp_path: Path) -> None:
    image = store(tmp_path, SavedImage([b"x"]))
    opened_before = opened(image)
    config = tmp_path / "image" / "overlay2" / "imagedb" / "content" / "sha256" / image.id.removeprefix("sha256:")
    config.write_bytes(b"{}")
    with pytest.raises(EngineError, match="other content"):
        opened_before.config(image.id)
    config.unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        opened_before.config(image.id)


def test_layer_that_the_store_does_not_have_is_an_error_of_the_engine(tmp_path: Path) -> None:
    image = store(tmp_path, SavedImage([b"x"]))
    with pytest.raises(EngineError, match="cannot be read"):
        opened(image).layer([*image.layers, sha256(b"another")])
