"""Files that a cluster's nodes get; a stand-in node is in ``tests/engine/local/test_trust.py``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from registry_tool.base import yaml_reader
from registry_tool.base.crypto import certificates
from registry_tool.base.errors import Conflict
from registry_tool.cli.commands.connect import plan_lines, result_lines
from registry_tool.engine import Engine
from registry_tool.local.clients import clusters
from registry_tool.local.clients.clusters import Connected
from registry_tool.local.registry import LocalRegistry
from tests.support.fake_engine import fake_engine
from tests.support.fake_server import reply

REGISTRY = LocalRegistry(
    name="default", port=5000, container_id="r" * 64, container_name="registry", image="i", volume="v", state="running"
)
TLS = replace(REGISTRY, tls=True)


def _node(name: str, labels: dict[str, str], network: str = "cluster") -> dict[str, Any]:
    networks = {network: {"IPAddress": "10.0.0.2"}}
    return {"Id": name, "Names": [f"/{name}"], "State": "running", "Labels": labels, "NetworkSettings": {"Networks": networks}}


@pytest.fixture(params=["k3d", "minikube"])
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, str]]:
    labels = {
        "k3d": ({"k3d.cluster": "c", "k3d.role": "server"}, {"k3d.cluster": "c", "k3d.role": "loadbalancer"}),
        "minikube": ({"name.minikube.sigs.k8s.io": "c"},),
    }[request.param]
    answers = {"GET /containers/json": reply([_node(f"n{number}", each) for number, each in enumerate(labels)])}
    with fake_engine(answers) as (engine, _):
        yield engine, request.param


def test_nodes_get_containerd_s_file_and_k3s_its_own(cluster: tuple[Engine, str]) -> None:
    engine, kind = cluster

    plan = clusters.plan(engine, kind, "c", REGISTRY)

    assert (plan.networks, plan.node) == (("cluster",), "n0")
    files = {(file.node, file.path.name): file.content for file in plan.files}
    assert '[host."http://registry-tool-default:5000"]' in files["n0", "hosts.toml"]
    assert set(files) == {("n0", "hosts.toml")} | ({("n0", "registries.yaml")} if kind == "k3d" else set())
    if kind == "k3d":
        members = yaml_reader.read(files["n0", "registries.yaml"].encode(), file="registries.yaml")[0].members
        assert members == {"mirrors": {"localhost:5000": {"endpoint": ["http://registry-tool-default:5000"]}}}


def test_registry_with_tls_is_reached_by_https_with_its_authority(cluster: tuple[Engine, str]) -> None:
    engine, kind = cluster
    authority = certificates.generate_authority("test", days=3)
    certificate = certificates.parse(certificates.issue(authority, names=["registry-tool-default"], days=2).certificate)

    files = {
        file.path.name: file.content for file in clusters.plan(engine, kind, "c", TLS, certificate=certificate, authorities=b"PEM\n").files
    }

    assert files["registry-tool.crt"] == "PEM\n"
    assert '[host."https://registry-tool-default:5000"]' in files["hosts.toml"]
    assert "registry-tool.crt" in files["hosts.toml"]
    if kind == "k3d":
        members = yaml_reader.read(files["registries.yaml"].encode(), file="registries.yaml")[0].members
        assert set(members["configs"]) == {"registry-tool-default:5000"}


def test_registry_whose_certificate_has_another_name_is_refused(cluster: tuple[Engine, str]) -> None:
    engine, kind = cluster
    authority = certificates.generate_authority("test", days=3)
    certificate = certificates.parse(certificates.issue(authority, names=["localhost"], days=2).certificate)

    for each in (certificate, None):
        with pytest.raises(Conflict, match="is not for registry-tool-default"):
            clusters.plan(engine, kind, "c", TLS, certificate=each)


def test_config_map_is_the_one_of_the_standard() -> None:
    members = yaml_reader.read(clusters.config_map("localhost:5000", "a:5000").encode(), file="map.yaml")[0].members

    assert members["metadata"] == {"name": "local-registry-hosting", "namespace": "kube-public"}
    inner = yaml_reader.read(members["data"]["localRegistryHosting.v1"].encode(), file="map.yaml")[0].members
    assert (inner["host"], inner["hostFromClusterNetwork"]) == ("localhost:5000", "a:5000")


def test_cluster_without_a_network_with_names_is_refused() -> None:
    answers = {"GET /containers/json": reply([_node("n", {"name.minikube.sigs.k8s.io": "c"}, "bridge")])}
    with fake_engine(answers) as (engine, _), pytest.raises(Conflict, match="no network with names"):
        clusters.plan(engine, "minikube", "c", REGISTRY)


def test_lines_say_what_is_done_and_what_failed(cluster: tuple[Engine, str]) -> None:
    engine, kind = cluster
    plan = clusters.plan(engine, kind, "c", REGISTRY)

    assert next(plan_lines(plan)).startswith("docker network connect cluster rrrrrrrrrrrr")
    failed = list(result_lines(Connected(plan=plan, networks=plan.networks, files=plan.files, error="no kubectl")))
    assert "the config map could not be applied: no kubectl" in failed
    done = list(result_lines(Connected(plan=plan, networks=(), files=plan.files)))
    assert "c: pods pull localhost:5000/NAME" in done
