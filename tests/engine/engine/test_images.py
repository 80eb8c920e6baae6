"""Images of a real engine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_tool.base.errors import Conflict, EngineError, NotFound
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.engine.images import label_filter, split_tag

MakeImage = Callable[..., str]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a", ("a", "latest")),
        ("a:1", ("a", "1")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
        ("localhost:5000/a/b:part2", ("localhost:5000/a/b", "part2")),
    ],
)
def test_split(name: str, parts: tuple[str, str]) -> None:
    assert split_tag(name) == parts


def test_label_filter() -> None:
    assert label_filter({}) == {}
    assert label_filter({"a": "1", "b": ""}) == {"label": ["a=1", "b"]}
    assert label_filter(["a=1"]) == {"label": ["a=1"]}


@pytest.mark.engine
@pytest.mark.parametrize("name", ["nope", "localhost:5000/nope:1", "nope@sha256:" + "0" * 64, "sha256:" + "0" * 64])
def test_missing_image_is_not_found(engine: Engine, unique: str, name: str) -> None:
    assert engine.image(name) is None
    with pytest.raises(NotFound):
        engine.remove_image(name)
    with pytest.raises(NotFound):
        engine.tag(name, f"{unique}:1")


@pytest.mark.engine
def test_an_image_that_a_container_uses_stays(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    tiny_image(f"{unique}:1")
    made = engine.create(ContainerSpec(image=f"{unique}:1", command=("x",)))
    try:
        with pytest.raises(Conflict, match=made.short_id):
            engine.remove_image(f"{unique}:1")
        assert engine.image(f"{unique}:1")
    finally:
        engine.remove(made.id)


@pytest.mark.engine
def test_tag_and_untag(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    image_id = tiny_image(f"{unique}:1", {"run": unique})
    engine.tag(f"{unique}:1", f"localhost:5000/{unique}/x")
    image = engine.image(image_id)
    assert image is not None
    assert sorted(image.names) == sorted([f"{unique}:1", f"localhost:5000/{unique}/x:latest"])
    assert image.labels == {"run": unique}
    assert image.platform == engine.info.platform
    assert len(image.layers) == 1
    assert image.created
    assert engine.remove_image(f"{unique}:1").untagged == (f"{unique}:1",)
    gone = engine.remove_image(f"localhost:5000/{unique}/x")
    assert image_id in gone.deleted
    assert engine.image(image_id) is None


@pytest.mark.engine
def test_untagged_parents_go_with_the_image(engine: Engine, tmp_path: Path, unique: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nLABEL run={unique}\nLABEL step=2\n")
    engine.build(tmp_path, tags=[f"{unique}:1"])
    assert any("step" not in image.labels for image in engine.images(all=True, labels={"run": unique}))
    engine.remove_image(f"{unique}:1")
    assert engine.images(all=True, labels={"run": unique}) == ()


@pytest.mark.engine
def test_untagged_parents_go_also_where_another_image_shared_some(engine: Engine, tmp_path: Path, unique: str) -> None:
    """containerd's store removes shared ones with the first image, and does not find the others from the second."""
    for last in ("a", "b"):
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nLABEL run={unique}\nLABEL step=2\nLABEL last={last}\nLABEL end={last}\n")
        engine.build(tmp_path, tags=[f"{unique}:{last}"])
    engine.remove_image(f"{unique}:a")
    assert engine.image(f"{unique}:b")
    engine.remove_image(f"{unique}:b")
    assert engine.images(all=True, labels={"run": unique}) == ()


@pytest.mark.engine
def test_listing_by_labels(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    image_id = tiny_image(f"{unique}:1", {"run": unique, "kind": "a"})
    other = tiny_image(f"{unique}:2", {"run": unique, "kind": "b"})
    assert {image.id for image in engine.images(labels={"run": unique})} == {image_id, other}
    assert [image.id for image in engine.images(labels={"run": unique, "kind": "a"})] == [image_id]
    assert [image.id for image in engine.images(labels={"run": "", "kind": "b"}) if image.labels["run"] == unique] == [other]
    listed = engine.images(labels={"run": unique, "kind": "a"})[0]
    assert listed.names == (f"{unique}:1",)
    if engine.is_podman:
        assert [digest.partition("@")[0] for digest in listed.digests] == [unique]
    else:
        assert listed.digests == ((f"{unique}@{image_id}",) if engine.has_containerd_store else ())
    assert listed.created.endswith("Z")
    assert engine.images(labels={"run": f"{unique}-no"}) == ()


@pytest.mark.engine
def test_a_name_that_moves_leaves_an_image_without_one(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    first = tiny_image(f"{unique}:1", {"run": unique})
    tiny_image(f"{unique}:1", {"run": unique})
    nameless = next(image for image in engine.images(labels={"run": unique}) if image.id == first)
    assert nameless.names == ()
    assert nameless.digests == ()


@pytest.mark.engine
def test_import_of_no_tar_fails(engine: Engine, tmp_path: Path, unique: str) -> None:
    with pytest.raises(NotFound, match="no such file"):
        engine.import_image(tmp_path / "none.tar", name=f"{unique}:1")
    (tmp_path / "rubbish.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(EngineError):
        engine.import_image(tmp_path / "rubbish.tar", name=f"{unique}:1")
    assert engine.image(f"{unique}:1") is None


@pytest.mark.engine
def test_changes_of_an_import(engine: Engine, tmp_path: Path, unique: str) -> None:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w"):
        pass
    imported = engine.import_image(path, name=unique, changes=['CMD ["x", "y z"]', "EXPOSE 80", f"LABEL run={unique}"])
    try:
        image = engine.image(f"{unique}:latest")
        assert image is not None
        assert (image.id, image.exposed, image.labels) == (imported, ("80/tcp",), {"run": unique})
    finally:
        engine.remove_image(unique)


@pytest.mark.engine
def test_saving_and_loading(engine: Engine, tiny_image: MakeImage, unique: str) -> None:
    ids = [tiny_image(f"{unique}:{tag}") for tag in ("1", "2")]
    tar = io.BytesIO()
    engine.save_image([f"{unique}:1", f"{unique}:2"], tar)
    for image_id in ids:
        engine.remove_image(image_id, force=True)
    tar.seek(0)
    assert sorted(engine.load_image(tar)) == [f"{unique}:1", f"{unique}:2"], "they were saved under their whole names"
    assert [engine.image(image_id) is not None for image_id in ids] == [True, True]


@pytest.mark.engine
def test_save_of_missing_image_and_load_of_no_tar_fail(engine: Engine, unique: str) -> None:
    with pytest.raises(NotFound):
        engine.save_image([unique], io.BytesIO())
    with pytest.raises(EngineError):
        engine.load_image(io.BytesIO(b"rubbish" * 1000))
