"""What ``inspect`` shows: as text for a person, as a document for a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.cli.views import formatting
from registry_tool.oci.manifest import is_attestation

if TYPE_CHECKING:
    from registry_tool.cli.output import Output
    from registry_tool.content.inspect import Inspection, Layer, Referrer
    from registry_tool.oci.config import Config
    from registry_tool.oci.descriptor import Descriptor
    from registry_tool.oci.reference import Reference

_WIDTH = 60


def document(reference: Reference, found: Inspection) -> dict[str, object]:
    """As ``docs/json.md`` has it."""
    return {
        "reference": str(reference if reference.digest else reference.or_latest()),
        "digest": str(found.descriptor.digest),
        "media_type": found.descriptor.media_type,
        "type": found.details.type,
        "artifact_type": found.manifest.artifact_type,
        "created": formatting.rfc3339(found.details.created),
        "size": found.details.size,
        "platforms": [str(platform) for platform in found.details.platforms],
        "siblings": None if found.siblings is None else list(found.siblings),
        "annotations": dict(found.manifest.annotations),
        "subject": str(found.manifest.subject.digest) if found.manifest.subject else None,
        "image": str(found.image.digest) if found.image else None,
        "config": _config(found),
        "history": _history(found.config),
        "layers": [_layer(layer) for layer in found.layers],
        "children": [_child(child) for child in found.manifest.children],
        "referrers": [_referrer(referrer) for referrer in found.referrers],
        "errors": [error.as_json() for error in found.errors],
    }


def _config(found: Inspection) -> dict[str, object] | None:
    config = found.config
    if config is None or found.image is None or found.image.config is None:
        return None
    return {
        "digest": str(found.image.config.digest),
        "size": found.image.config.size,
        "created": formatting.rfc3339(config.created),
        "platform": str(config.platform) if config.platform else None,
        "user": config.user,
        "env": list(config.env),
        "entrypoint": list(config.entrypoint),
        "cmd": list(config.cmd),
        "exposed": list(config.exposed),
        "labels": dict(config.labels),
    }


def _history(config: Config | None) -> list[dict[str, object]]:
    return [
        {
            "created": formatting.rfc3339(step.created),
            "created_by": step.created_by,
            "comment": step.comment,
            "empty_layer": step.empty_layer,
        }
        for step in (config.history if config else ())
    ]


def _layer(layer: Layer) -> dict[str, object]:
    return {
        "digest": str(layer.descriptor.digest),
        "media_type": layer.descriptor.media_type,
        "size": layer.descriptor.size,
        "created_by": layer.step or None,
        "shared_with": None if layer.shared is None else list(layer.shared),
    }


def _child(child: Descriptor) -> dict[str, object]:
    return {
        "digest": str(child.digest),
        "media_type": child.media_type,
        "size": child.size,
        "platform": str(child.platform) if child.platform and not is_attestation(child) else None,
        "attestation": is_attestation(child),
    }


def _referrer(referrer: Referrer) -> dict[str, object]:
    return {
        "digest": str(referrer.descriptor.digest),
        "media_type": referrer.descriptor.media_type,
        "artifact_type": referrer.descriptor.artifact_type,
        "size": referrer.descriptor.size,
        "annotations": dict(referrer.descriptor.annotations),
        "referrers": [_referrer(each) for each in referrer.referrers],
    }


# --- for a person ---


def render(out: Output, reference: Reference, found: Inspection) -> None:
    """All of it, part by part; parts that are empty are left out."""
    out.spans((str(reference if reference.digest else reference.or_latest()), "bold"))
    _facts(out, _manifest(found))
    if found.config is not None:
        _section(out, "CONFIG")
        _facts(out, _run(found.config))
    for title, pairs in (("LABELS", found.config.labels if found.config else {}), ("ANNOTATIONS", found.manifest.annotations)):
        if pairs:
            _section(out, title)
            _facts(out, pairs)
    _tables(out, found)
    if found.referrers:
        _section(out, "REFERRERS")
        out.lines([line for referrer in found.referrers for line in _tree(referrer, "  ")])


def _manifest(found: Inspection) -> dict[str, str]:
    details = found.details
    facts = {
        "digest": str(found.descriptor.digest),
        "type": f"{details.type} ({found.descriptor.media_type})",
        "artifact type": found.manifest.artifact_type or "",
        "created": formatting.age(details.created),
        "size": formatting.size(details.size),
        "shared": _shared(found.layers),
        "platforms": ", ".join(map(str, details.platforms)),
        "siblings": "not read" if found.siblings is None else ", ".join(found.siblings),
        "subject": str(found.manifest.subject.digest) if found.manifest.subject else "",
    }
    return {name: value for name, value in facts.items() if value}


def _shared(layers: tuple[Layer, ...]) -> str:
    known = {layer.descriptor.digest: layer for layer in layers if layer.shared is not None}
    if not known:
        return ""
    shared = sum(digest_layer.descriptor.size for digest_layer in known.values() if digest_layer.shared)
    whole = sum(layer.descriptor.size for layer in known.values())
    return f"{units.size(shared)} of {units.size(whole)} in layers shared with other tags"


def _run(config: Config) -> dict[str, str]:
    facts = {
        "platform": str(config.platform or ""),
        "entrypoint": " ".join(config.entrypoint),
        "command": " ".join(config.cmd),
        "user": config.user,
        "ports": ", ".join(config.exposed),
        "environment": ", ".join(config.env),
    }
    return {name: value for name, value in facts.items() if value}


def _tables(out: Output, found: Inspection) -> None:
    if found.manifest.children:
        out.line()
        rows = [
            (
                child.digest.short,
                "attestation" if is_attestation(child) else str(child.platform or formatting.UNKNOWN),
                child.media_type,
            )
            for child in found.manifest.children
        ]
        out.table(("IMAGE", "PLATFORM", "MEDIA TYPE"), rows)
    if found.layers:
        out.line()
        out.table(("LAYER", "SIZE", "SHARED WITH", "MADE BY"), [_layer_cells(layer, whole=not out.on_terminal) for layer in found.layers])
    if found.config is not None and found.config.history:
        out.line()
        steps = [(formatting.age(step.created), "no" if step.empty_layer else "yes", step.created_by) for step in found.config.history]
        width = _WIDTH if out.on_terminal else None
        out.table(("HISTORY", "LAYER", "STEP"), [(age, layer, _shortened(step, width)) for age, layer, step in steps])


def _layer_cells(layer: Layer, *, whole: bool) -> tuple[str, ...]:
    shared = formatting.UNKNOWN if not layer.shared else ",".join(layer.shared)
    if not whole and layer.shared and len(layer.shared) > 2:
        shared = units.count(len(layer.shared), "tag")
    return layer.descriptor.digest.short, units.size(layer.descriptor.size), shared, _shortened(layer.step, None if whole else _WIDTH)


def _shortened(text: str, width: int | None) -> str:
    return text if width is None else formatting.shortened(formatting.one_line(text), width)


def _section(out: Output, title: str) -> None:
    out.line()
    out.spans((title, "head"))


def _facts(out: Output, facts: Mapping[str, str]) -> None:
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        out.line(f"  {formatting.one_line(name).ljust(width)}   {formatting.one_line(value)}")


def _tree(referrer: Referrer, indent: str) -> Iterator[str]:
    kind = referrer.descriptor.artifact_type or referrer.descriptor.media_type
    word = f", its referrers cannot be read: {referrer.error.message}" if referrer.error else ""
    yield indent + formatting.one_line(f"{referrer.descriptor.digest.short} {kind}{word}")
    for each in referrer.referrers:
        yield from _tree(each, f"{indent}  ")
