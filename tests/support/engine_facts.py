"""What one engine does otherwise than another, for tests that hold on both."""

from __future__ import annotations

from collections.abc import Mapping

from registry_tool.engine import Engine


def reports_layers(engine: Engine) -> bool:
    """Whether it reports layers and bytes of a push or pull: podman's interface for docker's clients reports neither."""
    return not engine.is_podman


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """``labels`` without those that podman's builder adds."""
    return {key: value for key, value in labels.items() if not key.startswith("io.buildah.")}
