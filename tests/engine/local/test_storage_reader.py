"""The account of a real registry's volume, and what its own ``garbage-collect`` frees of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.content.usage.account import Account
from registry_tool.content.usage.storage import blob_path
from registry_tool.content.usage.whatif import Removals, freed
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding
from registry_tool.local.registry.spec import STORAGE, environment
from registry_tool.local.storage_reader import StorageReader, locate
from registry_tool.oci.digest import Digest
from tests.support.content import PushedManifest, layer, make_blob, make_image, make_index
from tests.support.engine_snapshot import unique_name
from tests.support.registry_over_http import ask
from tests.support.requirements import free_port, wait_for_registry

pytestmark = pytest.mark.engine
CONFIGURATION = "/etc/docker/registry/config.yml"


@dataclass(frozen=True)
class Stock:
    """A registry of the module's own with content of each kind."""

    container: Container
    port: int
    deleted: PushedManifest
    index: PushedManifest


@pytest.fixture(scope="module")
def stock(session_engine: Engine, registry_image: str) -> Iterator[Stock]:
    name, port = unique_name(), free_port()
    session_engine.create_volume(name, labels={})
    container = session_engine.run(
        ContainerSpec(
            image=registry_image,
            name=name,
            environment=environment("secret", auth=False),
            ports=(PortBinding(container_port="5000/tcp", host_port=port, host_ip="127.0.0.1"),),
            volumes={name: STORAGE},
        )
    )
    try:
        wait_for_registry(port)
        shared = layer(b"shared" * 5000)
        deleted = make_image(port, "john/app", "1", shared, layer(b"of one alone" * 3000))
        make_image(port, "john/app", "2", shared, layer(b"2"))
        make_image(port, "john/app", "2", shared, layer(b"2 again"))  # leaves the first one untagged
        make_image(port, "john/app/nested", "1", shared)
        index = make_index(port, "mary/app", "both", make_image(port, "mary/app", platform="linux/arm64"), make_image(port, "mary/app"))
        make_blob(port, "mary/app", b"named by nothing")
        status, headers, _ = ask(port, "POST", "/v2/mary/app/blobs/uploads/")
        assert status == 202
        location = headers["location"].partition(f":{port}")[2] or headers["location"]
        assert ask(port, "PATCH", location, body=b"half done", headers={"Content-Type": "application/octet-stream"})[0] == 202
        yield Stock(container, port, deleted, index)
    finally:
        session_engine.remove(container.id, force=True)
        session_engine.remove_volume(name)


def sum_of_sizes(engine: Engine, container: Container) -> int:
    code, output = engine.execute(container.id, ["sh", "-c", f"find {STORAGE} -type f -exec wc -c {{}} + | grep -v ' total$'"])
    assert code == 0, output
    return sum(int(line.split()[0]) for line in output.decode().splitlines())


def test_account_adds_up_to_the_sum_of_the_files_while_the_registry_runs(session_engine: Engine, stock: Stock) -> None:
    storage, manifests = StorageReader(session_engine, locate(session_engine, stock.container)).read()
    account = Account(storage, manifests)
    parts = {part.name: part.bytes for part in account.parts}
    assert sum(parts.values()) == storage.total == sum_of_sizes(session_engine, stock.container)
    assert storage.other == ()
    assert sorted(storage.repositories) == ["john/app", "john/app/nested", "mary/app"]
    assert storage.repositories["john/app"].tags["1"] == Digest.parse(stock.deleted.digest)
    assert parts["unreferenced"] == len(b"named by nothing")
    assert parts["uploads"] > len(b"half done")
    assert parts["untagged"] > 0
    assert manifests.damaged == {}
    after = session_engine.container(stock.container.id)
    assert after is not None
    assert after.running


def test_prediction_is_what_the_registrys_own_collection_frees(session_engine: Engine, stock: Stock) -> None:
    reader = StorageReader(session_engine, locate(session_engine, stock.container))
    before, manifests = reader.read()
    gone = [("john/app", stock.deleted.digest), ("mary/app", stock.index.digest)]
    prediction = freed(before, manifests, Removals(manifests=frozenset((name, Digest.parse(digest)) for name, digest in gone)))
    for name, digest in gone:
        assert ask(stock.port, "DELETE", f"/v2/{name}/manifests/{digest}")[0] == 202
    code, output = session_engine.execute(stock.container.id, ["registry", "garbage-collect", CONFIGURATION])
    assert code == 0, output
    after = reader.list()
    assert prediction.bytes == before.total - after.total
    assert prediction.files == before.files - after.files
    assert prediction.blobs == before.blobs.keys() - after.blobs.keys()


def test_damaged_manifests_are_predicted_as_the_registry_takes_them(session_engine: Engine, stock: Stock) -> None:
    lost, cut = make_image(stock.port, "lost", "1", layer(b"lost")), make_image(stock.port, "cut", "1")
    for damage, made in (("rm", lost), ("truncate -s 20", cut)):
        path = f"{STORAGE}/{blob_path(Digest.parse(made.digest))}"
        assert session_engine.execute(stock.container.id, [*damage.split(), path])[0] == 0
    reader = StorageReader(session_engine, locate(session_engine, stock.container))
    before, manifests = reader.read()
    assert freed(before, manifests, Removals()).blocked_by == (("cut", Digest.parse(cut.digest)),)
    collect = ["registry", "garbage-collect", CONFIGURATION]
    assert b"failed to mark" in session_engine.execute(stock.container.id, collect)[1]
    assert reader.list().total == before.total
    assert ask(stock.port, "DELETE", f"/v2/cut/manifests/{cut.digest}")[0] == 202
    prediction = freed(before, manifests, Removals(manifests=frozenset({("cut", Digest.parse(cut.digest))})))
    assert session_engine.execute(stock.container.id, collect)[0] == 0
    after = reader.list()
    assert Digest.of(layer(b"lost")) in prediction.blobs, "a manifest that is missing keeps nothing"
    assert prediction.blobs == before.blobs.keys() - after.blobs.keys()
    assert prediction.bytes == before.total - after.total


@pytest.mark.parametrize("folder", [STORAGE, f"{STORAGE}/docker/registry/v2/repositories"])
def test_files_that_nobody_may_read_are_read_as_the_registry_does(session_engine: Engine, stock: Stock, folder: str) -> None:
    assert session_engine.execute(stock.container.id, ["chmod", "700", folder])[0] == 0
    try:
        storage, _ = StorageReader(session_engine, locate(session_engine, stock.container)).read()
    finally:
        session_engine.execute(stock.container.id, ["chmod", "755", folder])
    assert "john/app" in storage.repositories
    assert storage.total == sum_of_sizes(session_engine, stock.container)


def test_container_without_a_volume_for_its_content_is_refused(session_engine: Engine, registry_image: str, unique: str) -> None:
    elsewhere = {"REGISTRY_STORAGE": "filesystem", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/elsewhere"}
    container = session_engine.create(ContainerSpec(image=registry_image, name=unique, environment=elsewhere))
    try:
        with pytest.raises(UsageError, match="in no volume: none is mounted at /elsewhere"):
            locate(session_engine, container)
    finally:
        session_engine.remove(container.id, force=True)
