"""Images of Kubernetes objects, in the shapes that rendered charts have."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.bundle.sources import manifest_images
from tests.support.cli_runner import Typed
from tests.support.content import layer, make_image
from tests.support.recording_server import RecordingServer

DIGEST = f"sha256:{'a' * 64}"

CHART = f"""\
# Rendered by helm template
---
# Source: shop/charts/db/templates/service.yaml
apiVersion: v1
kind: ConfigMap
metadata: {{name: injector, labels: {{image: }}}}
data:
  template.yaml: |
    containers:
    - image: "{{{{ .Values.never }}}}"
  dashboard.json: '{{"image": "no-image-of-mine:1"}}'
--- # Source: shop/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers:
        - name: wait
          image: "docker.io/library/busybox:1.36"
      containers:
        - name: web
          image: >-
            registry.k8s.io/shop/web:v1.9.6@{DIGEST}
          args: ["--secret=$(POD_NAMESPACE)/shop"]
        - {{name: helper, image: 'ghcr.io/shop/helper', imagePullPolicy: Always}}
      volumes:
        - name: model
          image: {{reference: "quay.io/shop/model:v2", pullPolicy: IfNotPresent}}
...
---
apiVersion: apps/v1
kind: StatefulSet
spec:
  template:
    spec:
      initContainers: [&wait {{name: wait, image: "busybox:1.36"}}]
      containers:
      - image: shop/db@{DIGEST}
        name: db
      ephemeralContainers: [*wait]
---
---
apiVersion: batch/v1
kind: CronJob
spec: {{jobTemplate: {{spec: {{template: {{spec: {{containers: [{{name: job, image: "localhost:5000/shop/job:2024.01"}}]}}}}}}}}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
  - schema:
      openAPIV3Schema:
        properties:
          image: {{description: "The image: as docker names it", type: string}}
          volume:
            properties:
              image: {{properties: {{reference: {{type: string}}}}}}
---
apiVersion: v1
kind: List
items:
- apiVersion: monitoring.example.com/v1
  kind: Prometheus
  spec: {{image: quay.io/prometheus/prometheus:v3.0.0, image: null}}
- kind: DaemonSet
  spec: {{template: {{spec: {{containers: [{{image: shop/agent:1}}, {{image: ~}}, {{image: ""}}]}}}}}}
"""

NAMES = (
    "docker.io/library/busybox:1.36",
    f"registry.k8s.io/shop/web:v1.9.6@{DIGEST}",
    "ghcr.io/shop/helper:latest",
    "quay.io/shop/model:v2",
    f"docker.io/shop/db@{DIGEST}",
    "localhost:5000/shop/job:2024.01",
    "quay.io/prometheus/prometheus:v3.0.0",
    "docker.io/shop/agent:1",
)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "dos"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_images_of_a_rendered_chart_are_found_once_each(end: str, mark: str) -> None:
    images = manifest_images((mark + CHART).replace("\n", end).encode(), file="rendered.yaml")
    assert images.names == NAMES
    assert images.filled_in_later == ()


@pytest.mark.parametrize(
    "text", ["$(params.image)", "{{inputs.parameters.image}}", "reg/{{ workflow.parameters.name }}:1", "{{=item.image}}"]
)
def test_image_that_is_filled_in_where_it_runs_is_no_image(text: str) -> None:
    images = manifest_images(f"a: {{image: '{text}'}}\nb: {{image: app:1}}\n".encode(), file="x")
    assert (images.names, images.filled_in_later) == (("docker.io/library/app:1",), (text,))


@pytest.mark.parametrize(
    "text", ["{{ .Values.image }}", '{{ include "app.image" . }}', "{{- .Values.image -}}", "${IMAGE}", "https://example.com/logo.png"]
)
def test_chart_that_is_not_rendered_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid name|is a URL"):
        manifest_images(f"image: '{text}'\n".encode(), file="values.yaml")


def test_image_that_is_filled_in_later_is_noted_and_the_others_are_taken(
    typed: Typed, watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    made = make_image(watching.port, "app", "1", layer(b"a"))
    (tmp_path / "tasks.yaml").write_text(f"steps: [{{image: $(params.image)}}, {{image: '{watching.host}/app:1'}}]\n")
    plain = ("--no-tool", "--no-registry", "--no-sample")
    answer = typed("bundle", "create", "-o", str(tmp_path / "kit"), *plain, "--manifest", str(tmp_path / "tasks.yaml"), "--json")
    assert answer.code == 0, answer.err
    assert [image["digest"] for image in answer.json["result"]["images"]] == [made.digest]
    assert "$(params.image) is known only where it runs" in answer.err


def test_image_by_its_digest_alone_has_no_name_to_be_applied_by(
    typed: Typed, watching: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    made = make_image(watching.port, "app", "1", layer(b"a"))
    (tmp_path / "pod.yaml").write_text(f"image: {watching.host}/app@{made.digest}\n")
    plain = ("--no-tool", "--no-registry", "--no-sample")
    answer = typed("bundle", "create", "-o", str(tmp_path / "kit"), *plain, "--manifest", str(tmp_path / "pod.yaml"))
    assert answer.code == 2
    assert "Name it with its tag" in answer.err
